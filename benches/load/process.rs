//! Child processes and what the kernel knows of them: CPU time, memory, ports, the machine.

use std::collections::BTreeMap;
use std::fs;
use std::net::{TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// Ticks per second of the times in `/proc/PID/stat`: the same on every Linux.
const TICKS_PER_SECOND: f64 = 100.0;

/// A process that is asked to end when this is dropped, and made to when it does not.
pub(crate) struct Running(Child);

impl Running {
    /// Starts it without a terminal; its messages go to the null device.
    pub(crate) fn start(command: &mut Command) -> Running {
        let quiet = command
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        Running(
            quiet
                .spawn()
                .unwrap_or_else(|error| panic!("{:?}: {error}", command.get_program())),
        )
    }

    /// Takes over a child that was started otherwise.
    pub(crate) fn adopt(child: Child) -> Running {
        Running(child)
    }

    /// It and its descendants, without the fixtures of this program that it started.
    pub(crate) fn tree(&self) -> Vec<u32> {
        let own = std::env::current_exe().ok();
        let mut children: BTreeMap<u32, Vec<u32>> = BTreeMap::new();
        for pid in fs::read_dir("/proc")
            .into_iter()
            .flatten()
            .flatten()
            .filter_map(|e| e.file_name().to_str()?.parse().ok())
        {
            if let Some(parent) = stat(pid).and_then(|fields| fields.get(1)?.parse().ok()) {
                children.entry(parent).or_default().push(pid);
            }
        }
        let (mut tree, mut left) = (Vec::new(), vec![self.0.id()]);
        while let Some(pid) = left.pop() {
            left.extend(children.get(&pid).into_iter().flatten());
            if fs::read_link(format!("/proc/{pid}/exe")).ok() != own {
                tree.push(pid);
            }
        }
        tree
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let pid = rustix::process::Pid::from_child(&self.0);
        // It may be gone already, which is what is wanted.
        let _ = rustix::process::kill_process(pid, rustix::process::Signal::TERM);
        let deadline = Instant::now() + Duration::from_secs(5);
        while matches!(self.0.try_wait(), Ok(None)) {
            if Instant::now() > deadline {
                let _ = self.0.kill();
                let _ = self.0.wait();
                return;
            }
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}

/// The fields of `/proc/PID/stat` after the name: state, parent, …
fn stat(pid: u32) -> Option<Vec<String>> {
    let text = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let after_name = text.rsplit_once(')')?.1;
    Some(after_name.split_whitespace().map(str::to_owned).collect())
}

/// Time on a processor of these processes so far, in seconds: to the nanosecond where the kernel tells for each
/// thread, else in ticks.
pub(crate) fn cpu_seconds(pids: &[u32]) -> f64 {
    let ticks = |pid: u32| -> Option<f64> {
        let fields = stat(pid)?;
        let ticks = fields.get(11)?.parse::<f64>().ok()? + fields.get(12)?.parse::<f64>().ok()?;
        Some(ticks / TICKS_PER_SECOND)
    };
    pids.iter()
        .filter_map(|pid| scheduled(*pid).or_else(|| ticks(*pid)))
        .sum()
}

/// What the scheduler says that a process's threads ran, in seconds; threads that ended are not in it.
fn scheduled(pid: u32) -> Option<f64> {
    let mut nanoseconds = 0.0;
    for thread in fs::read_dir(format!("/proc/{pid}/task")).ok()? {
        let text = fs::read_to_string(thread.ok()?.path().join("schedstat")).ok()?;
        nanoseconds += text.split_whitespace().next()?.parse::<f64>().ok()?;
    }
    Some(nanoseconds / 1e9)
}

/// Resident memory of these processes, in KiB; pages that they share count in each.
pub(crate) fn resident_kib(pids: &[u32]) -> u64 {
    let resident = |pid: &u32| -> Option<u64> {
        let text = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
        let line = text.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
        line.split_whitespace().next()?.parse().ok()
    };
    pids.iter().filter_map(resident).sum()
}

/// A port that the kernel picked and nobody listens on.
pub(crate) fn free_port() -> u16 {
    let listener = TcpListener::bind(("127.0.0.1", 0)).expect("a port on loopback");
    listener
        .local_addr()
        .expect("a bound socket has an address")
        .port()
}

/// Waits until somebody listens.
pub(crate) fn wait_for_port(port: u16, name: &str) {
    let deadline = Instant::now() + Duration::from_secs(10);
    while TcpStream::connect(("127.0.0.1", port)).is_err() {
        assert!(
            Instant::now() < deadline,
            "{name} does not listen on port {port}"
        );
        std::thread::sleep(Duration::from_micros(200));
    }
}

/// As many descriptors as the machine allows, here and in what is started from here.
pub(crate) fn raise_descriptor_limit() {
    use rustix::process::{Resource, getrlimit, setrlimit};
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    // A refusal shows as a connection that cannot be opened, with a message of its own.
    let _ = setrlimit(Resource::Nofile, limit);
}

/// A folder of this run for configuration files.
pub(crate) fn folder() -> PathBuf {
    let folder = std::env::temp_dir().join(format!("switchbox-load-{}", std::process::id()));
    fs::create_dir_all(&folder).expect("a folder for configuration files");
    folder
}

/// Removes that folder.
///
/// # Errors
/// Why it is still there.
pub(crate) fn remove_folder() -> Result<(), String> {
    let folder = folder();
    fs::remove_dir_all(&folder).map_err(|error| format!("{}: {error}", folder.display()))
}

/// One line on what this was measured on.
pub(crate) fn machine() -> String {
    let cpuinfo = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = cpuinfo
        .lines()
        .find_map(|line| line.strip_prefix("model name")?.split_once(": "));
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let kernel = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    format!(
        "{cores} cores, {}, Linux {}",
        model.map_or("unknown", |(_, model)| model),
        kernel.trim()
    )
}

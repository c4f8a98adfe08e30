//! What the system says about this process.

use rustix::process::{Resource, getrlimit};
use std::fs;
use std::time::Duration;

/// Clock ticks per second in `/proc/self/stat`: `USER_HZ`, which is 100 on every architecture that Linux
/// still knows (proc(5)).
const TICKS_PER_SECOND: u64 = 100;

/// One look at this process. What cannot be read is zero.
#[derive(Clone, Copy, Debug, Default)]
pub struct Process {
    /// Resident memory.
    pub resident_bytes: u64,
    /// Mapped address space.
    pub virtual_bytes: u64,
    /// User and system time spent.
    pub cpu: Duration,
    /// Threads.
    pub threads: u64,
    /// Open file descriptors.
    pub open_fds: u64,
    /// Most of them; `None` if unlimited.
    pub fds_max: Option<u64>,
}

impl Process {
    /// Reads three files of `/proc`.
    pub fn read() -> Process {
        let (virtual_bytes, resident_bytes) = memory();
        let stat = fs::read_to_string("/proc/self/stat").unwrap_or_default();
        // The second field is the program's name, in parentheses, and may hold anything.
        let after_name = stat.rsplit_once(')').map_or("", |(_, rest)| rest);
        let field = |number: usize| -> u64 {
            after_name
                .split_whitespace()
                .nth(number - 3)
                .and_then(|text| text.parse().ok())
                .unwrap_or(0)
        };
        let ticks = field(14) + field(15);
        Process {
            resident_bytes,
            virtual_bytes,
            cpu: Duration::from_millis(ticks * 1000 / TICKS_PER_SECOND),
            threads: field(20),
            // The descriptor that reads the folder is among them.
            open_fds: fs::read_dir("/proc/self/fd")
                .map_or(0, |entries| entries.count().saturating_sub(1) as u64),
            fds_max: getrlimit(Resource::Nofile).current,
        }
    }
}

/// Resident bytes of this process, and bytes there are for it: its control group's limit, or the machine's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Memory {
    /// Resident now.
    pub used: u64,
    /// The most there is; zero if unknown.
    pub total: u64,
}

impl Memory {
    /// Reads `/proc/self/statm`, `/proc/meminfo` and the control group's limit.
    pub fn read() -> Memory {
        let machine = fs::read_to_string("/proc/meminfo")
            .ok()
            .and_then(|text| {
                text.lines().find_map(|line| {
                    line.strip_prefix("MemTotal:")?
                        .split_whitespace()
                        .next()?
                        .parse()
                        .ok()
                })
            })
            .map_or(0, |kibibytes: u64| kibibytes * 1024);
        // Inside a container the root of the mount is the group; `max` means no limit.
        let group = fs::read_to_string("/sys/fs/cgroup/memory.max")
            .ok()
            .and_then(|text| text.trim().parse().ok())
            .unwrap_or(u64::MAX);
        let total = if machine == 0 && group == u64::MAX {
            0
        } else if machine == 0 {
            group
        } else {
            machine.min(group)
        };
        Memory {
            used: memory().1,
            total,
        }
    }
}

/// Virtual and resident bytes.
fn memory() -> (u64, u64) {
    let statm = fs::read_to_string("/proc/self/statm").unwrap_or_default();
    let mut pages = statm
        .split_whitespace()
        .map(|text| text.parse::<u64>().unwrap_or(0));
    let page = rustix::param::page_size() as u64;
    (
        pages.next().unwrap_or(0) * page,
        pages.next().unwrap_or(0) * page,
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_process_is_seen() {
        let process = Process::read();
        assert!(process.resident_bytes > 100_000, "{process:?}");
        assert!(
            process.virtual_bytes >= process.resident_bytes,
            "{process:?}"
        );
        assert!(process.threads >= 1, "{process:?}");
        assert!(process.open_fds >= 3, "{process:?}");
        let memory = Memory::read();
        assert!(memory.total > memory.used && memory.used > 0, "{memory:?}");
    }
}

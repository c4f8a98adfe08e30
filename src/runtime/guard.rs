//! The hidden verb `switchbox guard`: the short life of a child between our fork and its own program, and
//! the keeper that outlives us by a moment.
//!
//! A child is started as `switchbox guard --parent PID --files N -- PROGRAM ARGUMENT…`, which ties its
//! life to ours and then *becomes* the program: no process of ours stays between. What the kernel does not
//! tie to us, grandchildren above all, is known by process group to one keeper (`switchbox guard --keeper`)
//! that reads our notes from a pipe and kills what is left when the pipe ends, however we ended.

use rustix::process::{
    Pid, Resource, Rlimit, Signal, getppid, getrlimit, kill_process_group,
    set_parent_process_death_signal, setrlimit,
};
use std::ffi::OsString;
use std::io::{ErrorKind, Read};
use std::os::unix::process::CommandExt;
use std::process::{Command, ExitCode};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

/// The verb's exit code when its command line is not one that we write (sysexits `EX_USAGE`).
const USAGE: u8 = 64;
/// The exit code of a child whose program exists but could not be executed, as shells have it.
const NOT_EXECUTABLE: u8 = 126;
/// The exit code of a child whose program was not found, as shells have it.
const NOT_FOUND: u8 = 127;

/// Runs the verb with the arguments after `guard`. Returns only if there is no program to become: the
/// exit code is 127 (not found), 126 (not executable), 64 (a command line that we do not write), and 0
/// when the keeper has done its work or the parent was gone already.
pub fn run(arguments: impl IntoIterator<Item = OsString>) -> ExitCode {
    let mut arguments = arguments.into_iter();
    let mut parent = None;
    let mut files = None;
    while let Some(argument) = arguments.next() {
        match argument.to_str() {
            Some("--keeper") => {
                // Comes back only where there is no shell.
                let _ = shell().exec();
                return keep(std::io::stdin().lock());
            }
            Some("--parent") => parent = number(arguments.next()),
            Some("--files") => files = number(arguments.next()),
            Some("--") => break,
            _ => return ExitCode::from(USAGE),
        }
    }
    let (Some(parent), Some(program)) = (parent, arguments.next()) else {
        return ExitCode::from(USAGE);
    };
    become_child(parent, files, &program, arguments)
}

fn number(argument: Option<OsString>) -> Option<u64> {
    argument?.to_str()?.parse().ok()
}

/// Ties this process to `parent` and becomes `program`.
fn become_child(
    parent: u64,
    files: Option<u64>,
    program: &OsString,
    arguments: impl Iterator<Item = OsString>,
) -> ExitCode {
    // The wish must stand before the parent is looked at: it may end between the two.
    if let Err(error) = set_parent_process_death_signal(Some(Signal::KILL)) {
        eprintln!("switchbox guard: the kernel does not tie children to parents: {error}");
    }
    let living = getppid().and_then(|pid| u64::try_from(pid.as_raw_nonzero().get()).ok());
    if living != Some(parent) {
        return ExitCode::SUCCESS;
    }
    // We raise our own limit on open files as far as it goes; programs that loop over all possible
    // descriptors, or select(2) on them, expect the one they would have had without us.
    if let Some(files) = files {
        let maximum = getrlimit(Resource::Nofile).maximum;
        let _ = setrlimit(
            Resource::Nofile,
            Rlimit {
                current: Some(files),
                maximum,
            },
        );
    }
    let error = Command::new(program).args(arguments).exec();
    eprintln!("switchbox guard: {}: {error}", program.to_string_lossy());
    ExitCode::from(match error.kind() {
        ErrorKind::NotFound => NOT_FOUND,
        _ => NOT_EXECUTABLE,
    })
}

/// What [`keep`] does, in the words of the system's shell: a process that is there for as long as the gateway
/// and does nothing should not hold two megabytes more than it needs.
const KEEP: &str = r#"
trap '' TERM INT HUP
groups=' '
while read -r note; do
  group=${note#?}
  case $group in '' | 0 | 1 | *[!0-9]*) continue ;; esac
  case $groups in
    *" $group "*) known=yes ;;
    *) known=no ;;
  esac
  case $note$known in
    +*no) groups="$groups$group " ;;
    -*yes) groups="${groups%% $group *} ${groups#* $group }" ;;
  esac
done
for group in $groups; do kill -s KILL -- "-$group"; done
exit 0
"#;

/// The shell that does it.
fn shell() -> Command {
    let mut shell = Command::new("/bin/sh");
    shell.arg0("switchbox-guard").args(["-c", KEEP]);
    shell
}

/// Reads `+GROUP` and `-GROUP` lines until they end, then kills the groups that were added and not taken
/// back.
///
/// Does nothing else and allocates next to nothing, since it is there for as long as the gateway is.
fn keep(mut notes: impl Read) -> ExitCode {
    for signal in [
        signal_hook::consts::SIGTERM,
        signal_hook::consts::SIGINT,
        signal_hook::consts::SIGHUP,
    ] {
        // A flag that nobody reads: the signal is taken and forgotten. The keeper ends with its parent.
        let _ = signal_hook::flag::register(signal, Arc::new(AtomicBool::new(false)));
    }
    // It was started by way of /proc/self/exe, and would be called that in lists of processes.
    let _ = rustix::thread::set_name(c"switchbox-guard");
    let mut groups = Groups::default();
    let mut buffer = [0; 512];
    loop {
        match notes.read(&mut buffer) {
            Ok(0) => break,
            Ok(length) => groups.note(&buffer[..length]),
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(_) => break,
        }
    }
    for group in groups.known {
        let _ = kill_process_group(group, Signal::KILL);
    }
    ExitCode::SUCCESS
}

/// The process groups that the notes leave over.
#[derive(Default)]
struct Groups {
    known: Vec<Pid>,
    sign: Option<u8>,
    digits: i32,
}

impl Groups {
    /// Takes the next bytes of the notes, which may begin and end anywhere in a line.
    fn note(&mut self, bytes: &[u8]) {
        for &byte in bytes {
            match byte {
                b'+' | b'-' => self.sign = Some(byte),
                b'0'..=b'9' => {
                    self.digits = self
                        .digits
                        .saturating_mul(10)
                        .saturating_add(i32::from(byte - b'0'));
                }
                _ => self.end_line(),
            }
        }
    }

    fn end_line(&mut self) {
        let (sign, digits) = (self.sign.take(), std::mem::take(&mut self.digits));
        // Group 1 would be everybody's, and 0 our own.
        let Some(group) = (digits > 1).then(|| Pid::from_raw(digits)).flatten() else {
            return;
        };
        match sign {
            Some(b'+') if !self.known.contains(&group) => self.known.push(group),
            Some(b'-') => self.known.retain(|known| *known != group),
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn left_over(pieces: &[&str]) -> Vec<i32> {
        let mut groups = Groups::default();
        for piece in pieces {
            groups.note(piece.as_bytes());
        }
        groups
            .known
            .iter()
            .map(|pid| pid.as_raw_nonzero().get())
            .collect()
    }

    #[test]
    fn keeper_knows_what_was_added_and_not_taken_back() {
        let check = |pieces: &[&str], expected: &[i32]| {
            assert_eq!(left_over(pieces), expected, "{pieces:?}");
        };
        check(&[], &[]);
        check(&["+12\n+13\n-12\n"], &[13]);
        check(&["+1", "2\n", "+", "13", "\n-12", "\n"], &[13]);
        check(&["+12\n+12\n"], &[12]);
        check(&["+12"], &[]);
    }

    #[test]
    fn shell_knows_the_same_groups() {
        let check = |notes: &str| {
            let listed = KEEP.replace("kill -s KILL -- \"-$group\"", "echo \"$group\"");
            let mut shell = Command::new("/bin/sh")
                .args(["-c", &listed])
                .stdin(std::process::Stdio::piped())
                .stdout(std::process::Stdio::piped())
                .spawn()
                .expect("every system that tests run on has a shell");
            let mut stdin = shell.stdin.take().expect("asked for above");
            std::io::Write::write_all(&mut stdin, notes.as_bytes()).expect("it reads");
            drop(stdin);
            let output = shell.wait_with_output().expect("it ends");
            let groups: Vec<i32> = String::from_utf8_lossy(&output.stdout)
                .lines()
                .map(|line| line.parse().expect("a number"))
                .collect();
            assert_eq!(groups, left_over(&[notes]), "{notes:?}");
        };
        check("");
        check("+12\n+13\n-12\n");
        check("+12\n+13\n+14\n-13\n-14\n+15\n");
        check("+12\n+12\n-12\n");
        check("-7\n+2\n+22\n+222\n-22\n");
        check("+0\n+1\n-5\n\n7\n+\n");
    }

    #[test]
    fn keeper_never_takes_everybody_for_a_group() {
        assert!(left_over(&["+0\n+1\n-5\n\n7\n+\n"]).is_empty());
    }

    #[test]
    fn foreign_command_line_is_a_usage_error() {
        let check = |arguments: &[&str]| {
            let code = run(arguments.iter().map(OsString::from));
            assert_eq!(
                format!("{code:?}"),
                format!("{:?}", ExitCode::from(USAGE)),
                "{arguments:?}"
            );
        };
        check(&[]);
        check(&["--parent", "7"]);
        check(&["--", "true"]);
        check(&["--parent", "x", "--", "true"]);
        check(&["--what"]);
    }
}

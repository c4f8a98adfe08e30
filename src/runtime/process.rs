//! Starting one child: which program is meant, what environment it gets, and the pipes to it.
//!
//! The child runs in its own process group, under a clean environment, by way of the `guard` verb (see
//! [`super::guard`]). What follows its start is the business of [`super::children`].

use crate::config::Command;
use mio::unix::pipe::{Receiver, Sender};
use rustix::fs::{Access, access};
use rustix::process::Pid;
use std::ffi::{OsStr, OsString};
use std::io;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Stdio;

/// Variables that a child inherits, if we have them. Whatever else it needs is declared for it.
const INHERITED: &[&str] = &[
    "HOME",
    "LANG",
    "LOGNAME",
    "PATH",
    "SHELL",
    "TERM",
    "TMPDIR",
    "TZ",
    "USER",
    "XDG_CACHE_HOME",
    "XDG_CONFIG_HOME",
    "XDG_DATA_HOME",
    "XDG_RUNTIME_DIR",
];
/// Variables that a child inherits by the beginning of their names.
const INHERITED_PREFIX: &str = "LC_";
/// Where programs are looked for if there is no `PATH`, as execvp(3) has it.
const PATH_DEFAULT: &str = "/bin:/usr/bin";

/// How the `guard` verb is reached.
#[derive(Clone, Debug)]
pub(super) struct Launcher {
    /// The executable.
    pub(super) program: PathBuf,
    /// What comes before the guard's own arguments.
    pub(super) arguments: Vec<OsString>,
    /// The soft limit on open files that children start with.
    pub(super) files: Option<u64>,
}

impl Launcher {
    /// This very binary, even if its file was replaced or removed since.
    pub(super) fn own(files: Option<u64>) -> Launcher {
        Launcher {
            program: PathBuf::from("/proc/self/exe"),
            arguments: vec!["guard".into()],
            files,
        }
    }

    /// The command that the guard's own arguments are to be added to.
    pub(super) fn command(&self) -> std::process::Command {
        let mut command = std::process::Command::new(&self.program);
        command
            .arg0("switchbox")
            .args(&self.arguments)
            .process_group(0);
        command
    }
}

/// Our ends of a child's pipes. None of them blocks.
#[derive(Debug)]
pub(super) struct Pipes {
    /// What we write.
    pub(super) stdin: Sender,
    /// What it answers.
    pub(super) stdout: Receiver,
    /// What it complains about.
    pub(super) stderr: Receiver,
}

/// Starts `command` in a process group of its own, whose id is the child's.
///
/// # Errors
/// A fact that names the program: not found, not executable, no such working directory, or what the
/// kernel said.
pub(super) fn start(launcher: &Launcher, command: &Command) -> Result<(Pid, Pipes), String> {
    let environment = environment(command, std::env::vars_os());
    let path = environment
        .iter()
        .find(|(name, _)| name == "PATH")
        .map_or(OsStr::new(PATH_DEFAULT), |(_, value)| value);
    let program = find(&command.program, path, command.cwd.as_deref())?;
    let mut child = launcher.command();
    child
        .args(["--parent", &std::process::id().to_string()])
        .args(
            launcher
                .files
                .iter()
                .flat_map(|files| ["--files".into(), files.to_string()]),
        )
        .arg("--")
        .arg(program)
        .args(&command.args)
        .env_clear()
        .envs(environment.iter().map(|(name, value)| (name, value)))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    if let Some(folder) = &command.cwd {
        child.current_dir(folder);
    }
    let mut child = child
        .spawn()
        .map_err(|error| format!("{:?} was not started: {error}", command.program))?;
    let pid = i32::try_from(child.id())
        .ok()
        .and_then(Pid::from_raw)
        .expect("the kernel's ids of processes are positive");
    let pipes = Pipes {
        stdin: Sender::from(child.stdin.take().expect("asked for above")),
        stdout: Receiver::from(child.stdout.take().expect("asked for above")),
        stderr: Receiver::from(child.stderr.take().expect("asked for above")),
    };
    let quiet: io::Result<()> = pipes
        .stdin
        .set_nonblocking(true)
        .and_then(|()| pipes.stdout.set_nonblocking(true))
        .and_then(|()| pipes.stderr.set_nonblocking(true));
    quiet.expect("a pipe of ours takes its flags");
    Ok((pid, pipes))
}

/// What the child's environment is: a few variables of ours, and on top of them what is declared.
fn environment(
    command: &Command,
    ours: impl Iterator<Item = (OsString, OsString)>,
) -> Vec<(OsString, OsString)> {
    let inherited = |name: &OsStr| {
        name.to_str()
            .is_some_and(|name| INHERITED.contains(&name) || name.starts_with(INHERITED_PREFIX))
    };
    let declared = |name: &OsStr| {
        name.to_str()
            .is_some_and(|name| command.env.contains_key(name))
    };
    let declarations = command
        .env
        .iter()
        .map(|(name, value)| (name.into(), value.expose().into()));
    ours.filter(|(name, _)| inherited(name) && !declared(name))
        .chain(declarations)
        .collect()
}

/// The file that `program` means, seen from `folder`, when names without a slash are looked up in `path`.
///
/// Looked up before anything is started, so that the answer can say what is wrong.
fn find(program: &str, path: &OsStr, folder: Option<&Path>) -> Result<PathBuf, String> {
    if let Some(folder) = folder
        && !folder.is_dir()
    {
        return Err(format!(
            "working directory {folder:?} of {program:?} does not exist"
        ));
    }
    let here = folder.unwrap_or(Path::new("."));
    if program.contains('/') {
        let file = Path::new(program);
        return match here.join(file) {
            found if !found.exists() => Err(format!("program {program:?} does not exist")),
            found if !is_program(&found) => Err(format!("program {program:?} is not executable")),
            // As it was written: the child stands in `folder` when it is executed.
            _ => Ok(file.to_owned()),
        };
    }
    // An empty entry of PATH is the working directory.
    std::env::split_paths(path)
        .map(|entry| entry.join(program))
        .find(|file| is_program(&here.join(file)))
        .ok_or_else(|| format!("program {program:?} is not in PATH ({})", path.display()))
        .map(|file| match file.components().count() {
            1 => Path::new(".").join(file),
            _ => file,
        })
}

fn is_program(file: &Path) -> bool {
    file.is_file() && access(file, Access::EXEC_OK).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::secret::Secret;

    fn command(env: &[(&str, &str)]) -> Command {
        Command {
            program: "true".into(),
            args: Vec::new(),
            env: env
                .iter()
                .map(|(name, value)| (String::from(*name), Secret::new(String::from(*value))))
                .collect(),
            cwd: None,
        }
    }

    #[test]
    fn environment_is_clean_but_for_what_is_declared() {
        let check =
            |declared: &[(&str, &str)], ours: &[(&str, &str)], expected: &[(&str, &str)]| {
                let ours = ours
                    .iter()
                    .map(|(name, value)| (OsString::from(name), OsString::from(value)));
                let found = environment(&command(declared), ours);
                let found: Vec<_> = found
                    .iter()
                    .map(|(name, value)| (name.to_str().unwrap(), value.to_str().unwrap()))
                    .collect();
                assert_eq!(found, expected);
            };
        check(
            &[],
            &[("AWS_SECRET", "x"), ("HOME", "/h")],
            &[("HOME", "/h")],
        );
        check(
            &[],
            &[("LC_ALL", "C"), ("LD_PRELOAD", "x")],
            &[("LC_ALL", "C")],
        );
        check(
            &[("K", "v")],
            &[("TZ", "UTC")],
            &[("TZ", "UTC"), ("K", "v")],
        );
        check(&[("PATH", "/a")], &[("PATH", "/b")], &[("PATH", "/a")]);
    }

    #[test]
    fn program_is_found_as_the_child_will_see_it() {
        let check = |program, folder: Option<&str>, expected: Result<&str, &str>| {
            let found = find(program, OsStr::new("/nowhere:/bin"), folder.map(Path::new));
            assert_eq!(
                found,
                expected.map(PathBuf::from).map_err(String::from),
                "{program}"
            );
        };
        check("sh", None, Ok("/bin/sh"));
        check("/bin/sh", None, Ok("/bin/sh"));
        check("./sh", Some("/bin"), Ok("./sh"));
        check(
            "no-such-program",
            None,
            Err("program \"no-such-program\" is not in PATH (/nowhere:/bin)"),
        );
        check(
            "/no/such/program",
            None,
            Err("program \"/no/such/program\" does not exist"),
        );
        check(
            "/etc/passwd",
            None,
            Err("program \"/etc/passwd\" is not executable"),
        );
        check("/bin", None, Err("program \"/bin\" is not executable"));
        check(
            "sh",
            Some("/no/such/folder"),
            Err("working directory \"/no/such/folder\" of \"sh\" does not exist"),
        );
    }
}

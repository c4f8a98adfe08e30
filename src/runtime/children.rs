//! All children of the process: started, told to end, waited for, and never left behind.
//!
//! ```text
//!  Serving ─ stop ─▶ Closed ─ 2 s ─▶ Terminated ─ 5 s ─▶ Killed        at any point: exit ─▶ reaped
//!                    (end of file)   (SIGTERM, group)    (SIGKILL, group)
//! ```
//!
//! A child's process group is killed when the child itself is gone, so that its own children go with it.
//! Kept by the thread that starts them, which must be the main one: the kernel ties children to the
//! *thread* that started them.

use super::process::{self, Launcher, Pipes};
use crate::config::Command;
use crate::config::limits::{CHILD_EOF_GRACE, CHILD_TERM_GRACE};
use crate::id::Place;
use crate::time::Time;
use rustix::process::{Pid, Signal, WaitOptions, WaitStatus, kill_process_group};
use std::io::Write;
use std::os::unix::process::ExitStatusExt;
use std::process::{ChildStdin, ExitStatus, Stdio};

/// Whether processes that lost their own parent come to us.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Orphans {
    /// They do: whoever ends is waited for, known or not.
    Adopted,
    /// They go to init; only what was started here is waited for.
    #[cfg(test)]
    Ignored,
}

/// The children that run.
#[derive(Debug)]
pub(super) struct Children {
    launcher: Launcher,
    orphans: Orphans,
    keeper: Option<Keeper>,
    running: Vec<Child>,
    /// What was a child of this process before it was ours to start any: a script may have left it to us.
    inherited: Vec<Pid>,
}

/// One child that has not been waited for yet.
#[derive(Debug)]
struct Child {
    /// The child's own, and its group's.
    pid: Pid,
    place: Place,
    stage: Stage,
    /// When the next stage comes.
    deadline: Time,
}

/// How far a child's end has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    Serving,
    Closed,
    Terminated,
    Killed,
}

/// The process that kills what is left when we are gone.
#[derive(Debug)]
struct Keeper {
    pid: Pid,
    notes: ChildStdin,
}

impl Children {
    /// None yet. With [`Orphans::Adopted`] this process becomes the parent of its descendants' orphans.
    pub(super) fn new(launcher: Launcher, orphans: Orphans) -> Children {
        if orphans == Orphans::Adopted {
            // Refused only by kernels before Linux 3.4; orphans then go to init, as without us.
            let _ = rustix::process::set_child_subreaper(Some(rustix::process::getpid()));
        }
        Children {
            launcher,
            orphans,
            keeper: None,
            running: Vec::new(),
            inherited: children_of_this_process(),
        }
    }

    /// Starts a child for the connection at `place`.
    ///
    /// # Errors
    /// A fact that names the program, see [`process::start`].
    pub(super) fn start(&mut self, place: Place, command: &Command) -> Result<Pipes, String> {
        let (pid, pipes) = process::start(&self.launcher, command)?;
        self.running.push(Child {
            pid,
            place,
            stage: Stage::Serving,
            deadline: Time::NEVER,
        });
        self.keep(pid);
        Ok(pipes)
    }

    /// The child at `place` was closed: its stdin has ended, and it may take its time to follow.
    pub(super) fn stop(&mut self, now: Time, place: Place) {
        for child in &mut self.running {
            if child.place == place && child.stage == Stage::Serving {
                child.close(now);
            }
        }
    }

    /// Every child was closed.
    pub(super) fn stop_all(&mut self, now: Time) {
        for child in &mut self.running {
            if child.stage == Stage::Serving {
                child.close(now);
            }
        }
    }

    /// Kills every child and every group of one, now.
    pub(super) fn kill_all(&mut self) {
        for child in &mut self.running {
            child.stage = Stage::Killed;
            child.deadline = Time::NEVER;
            let _ = kill_process_group(child.pid, Signal::KILL);
        }
    }

    /// Kills what descends from our children but left their groups, and lost its own parent since: it has
    /// become a child of ours. Returns how many there were.
    pub(super) fn kill_strays(&self) -> usize {
        let keeper = self.keeper.as_ref().map(|keeper| keeper.pid);
        let strays: Vec<_> = children_of_this_process()
            .into_iter()
            .filter(|pid| Some(*pid) != keeper && !self.inherited.contains(pid))
            .filter(|pid| !self.running.iter().any(|child| child.pid == *pid))
            .collect();
        for pid in &strays {
            let _ = rustix::process::kill_process(*pid, Signal::KILL);
        }
        strays.len()
    }

    /// Takes the next step with every child whose grace is over.
    pub(super) fn advance(&mut self, now: Time) {
        for child in &mut self.running {
            if now < child.deadline {
                continue;
            }
            // The group may be gone already, the child waiting for us to look: nothing to do then.
            let signal = match child.stage {
                Stage::Closed => {
                    child.stage = Stage::Terminated;
                    child.deadline = now + CHILD_TERM_GRACE;
                    Signal::TERM
                }
                Stage::Terminated => {
                    child.stage = Stage::Killed;
                    child.deadline = Time::NEVER;
                    Signal::KILL
                }
                Stage::Serving | Stage::Killed => continue,
            };
            let _ = kill_process_group(child.pid, signal);
        }
    }

    /// When [`Children::advance`] has something to do next.
    pub(super) fn deadline(&self) -> Option<Time> {
        let deadlines = self.running.iter().map(|child| child.deadline);
        deadlines.min().filter(|deadline| *deadline < Time::NEVER)
    }

    /// Whether none runs.
    pub(super) fn is_empty(&self) -> bool {
        self.running.is_empty()
    }

    /// How many run.
    pub(super) fn len(&self) -> usize {
        self.running.len()
    }

    /// Waits for those that ended, without waiting: whose they were, and how they ended
    /// (`exit status: 1`, `signal: 9 (SIGKILL)`). To be called after SIGCHLD.
    pub(super) fn reap(&mut self) -> Vec<(Place, String)> {
        let mut ended = Vec::new();
        while let Some((pid, status)) = self.next_ended() {
            if self.keeper.as_ref().is_some_and(|keeper| keeper.pid == pid) {
                self.replace_keeper();
                continue;
            }
            let Some(at) = self.running.iter().position(|child| child.pid == pid) else {
                continue;
            };
            let child = self.running.swap_remove(at);
            // Its id is free from here on, but ids are handed out in turn: the next to get it is far away.
            let _ = kill_process_group(pid, Signal::KILL);
            self.note('-', pid);
            ended.push((
                child.place,
                ExitStatus::from_raw(status.as_raw()).to_string(),
            ));
        }
        ended
    }

    fn next_ended(&self) -> Option<(Pid, WaitStatus)> {
        match self.orphans {
            Orphans::Adopted => rustix::process::wait(WaitOptions::NOHANG).ok().flatten(),
            #[cfg(test)]
            Orphans::Ignored => {
                let keeper = self.keeper.as_ref().map(|keeper| keeper.pid);
                self.running
                    .iter()
                    .map(|child| child.pid)
                    .chain(keeper)
                    .find_map(|pid| {
                        rustix::process::waitpid(Some(pid), WaitOptions::NOHANG)
                            .ok()
                            .flatten()
                    })
            }
        }
    }

    // ── the keeper ───────────────────────────────────────────────────────────────────────────────

    /// Lets the keeper know the group of `pid`; the first child brings the keeper with it.
    fn keep(&mut self, pid: Pid) {
        match self.keeper {
            Some(_) => self.note('+', pid),
            None => self.replace_keeper(),
        }
    }

    fn note(&mut self, sign: char, pid: Pid) {
        let Some(keeper) = &mut self.keeper else {
            return;
        };
        // A keeper that does not read any more has ended: the next reaping finds it and starts another.
        let _ = keeper
            .notes
            .write_all(format!("{sign}{}\n", pid.as_raw_nonzero()).as_bytes());
    }

    /// Starts a keeper that knows all groups. Without one (no process may be started, say) children are
    /// still tied to us by the kernel; it is tried again with the next child.
    fn replace_keeper(&mut self) {
        self.keeper = None;
        if self.running.is_empty() {
            return;
        }
        let started = self
            .launcher
            .command()
            .arg("--keeper")
            .env_clear()
            .current_dir("/")
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn();
        let Ok(mut keeper) = started else { return };
        let notes = keeper.stdin.take().expect("asked for above");
        let pid = i32::try_from(keeper.id()).ok().and_then(Pid::from_raw);
        self.keeper = pid.map(|pid| Keeper { pid, notes });
        for at in 0..self.running.len() {
            self.note('+', self.running[at].pid);
        }
    }
}

impl Child {
    fn close(&mut self, now: Time) {
        self.stage = Stage::Closed;
        self.deadline = now + CHILD_EOF_GRACE;
    }
}

/// The children of all threads of this process; none where the kernel does not list them.
fn children_of_this_process() -> Vec<Pid> {
    let threads = std::fs::read_dir("/proc/self/task").into_iter().flatten();
    threads
        .flatten()
        .filter_map(|thread| std::fs::read_to_string(thread.path().join("children")).ok())
        .flat_map(|line| {
            line.split_ascii_whitespace()
                .filter_map(|pid| pid.parse().ok().and_then(Pid::from_raw))
                .collect::<Vec<_>>()
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::id::{ConnectionId, WorkerId};
    use std::collections::BTreeMap;
    use std::io::Read;
    use std::path::PathBuf;
    use std::time::Duration;

    /// A guard that only becomes the program: what it does beyond that is shown with the real binary.
    fn launcher() -> Launcher {
        let script = "[ \"$1\" = --keeper ] && exec cat; while [ \"$1\" != -- ]; do shift; done; shift; exec \"$@\"";
        Launcher {
            program: PathBuf::from("/bin/sh"),
            arguments: ["-c", script, "guard"].map(Into::into).into(),
            files: None,
        }
    }

    fn place(slot: u32) -> Place {
        Place {
            worker: WorkerId(0),
            connection: ConnectionId {
                slot,
                generation: 1,
            },
        }
    }

    fn shell(script: &str) -> Command {
        Command {
            program: "sh".into(),
            args: vec!["-c".into(), script.into()],
            env: BTreeMap::new(),
            cwd: None,
        }
    }

    fn started(script: &str) -> (Children, Pipes) {
        let mut children = Children::new(launcher(), Orphans::Ignored);
        let pipes = children.start(place(3), &shell(script)).unwrap();
        (children, pipes)
    }

    /// What the next child to end left behind.
    fn ended(children: &mut Children) -> (Place, String) {
        for _ in 0..500 {
            if let Some(ended) = children.reap().pop() {
                return ended;
            }
            pause();
        }
        panic!("no child ended within 5 s");
    }

    #[expect(
        clippy::disallowed_methods,
        reason = "a real process takes its real time"
    )]
    fn pause() {
        std::thread::sleep(Duration::from_millis(10));
    }

    fn all_of(pipe: &mut mio::unix::pipe::Receiver) -> String {
        pipe.set_nonblocking(false).unwrap();
        let mut text = String::new();
        pipe.read_to_string(&mut text).unwrap();
        text
    }

    fn lives(pid: i32) -> bool {
        std::fs::read_to_string(format!("/proc/{pid}/stat"))
            .is_ok_and(|stat| !stat.contains(") Z "))
    }

    #[test]
    fn exit_is_told_with_its_cause() {
        let check = |script: &str, expected: &str| {
            let (mut children, _pipes) = started(script);
            assert_eq!(ended(&mut children), (place(3), expected.to_owned()));
            assert!(children.is_empty());
        };
        check("exit 3", "exit status: 3");
        check("kill -9 $$", "signal: 9 (SIGKILL)");
    }

    #[test]
    fn child_reads_and_writes_its_pipes() {
        let (mut children, mut pipes) = started("read line; echo \"got $line\"; echo sigh >&2");
        pipes.stdin.write_all(b"bread\n").unwrap();
        assert_eq!(all_of(&mut pipes.stdout), "got bread\n");
        assert_eq!(all_of(&mut pipes.stderr), "sigh\n");
        assert_eq!(ended(&mut children).1, "exit status: 0");
    }

    #[test]
    fn child_that_follows_the_end_of_file_gets_no_signal() {
        let (mut children, pipes) = started("trap 'exit 9' TERM; cat; exit 5");
        drop(pipes.stdin);
        children.stop(Time::ZERO, place(3));
        assert_eq!(ended(&mut children).1, "exit status: 5");
    }

    #[test]
    fn child_that_ignores_the_end_of_file_is_terminated() {
        let (mut children, mut pipes) =
            started("trap 'exit 9' TERM; echo ready; while :; do sleep 0.01; done");
        let mut ready = [0; 6];
        pipes.stdout.set_nonblocking(false).unwrap();
        pipes.stdout.read_exact(&mut ready).unwrap();
        children.stop(Time::ZERO, place(3));
        assert_eq!(children.deadline(), Some(Time::ZERO + CHILD_EOF_GRACE));
        children.advance(Time::ZERO + CHILD_EOF_GRACE);
        assert_eq!(ended(&mut children).1, "exit status: 9");
    }

    #[test]
    fn child_that_ignores_everything_is_killed() {
        let (mut children, mut pipes) =
            started("trap '' TERM; echo ready; while :; do sleep 0.01; done");
        let mut ready = [0; 6];
        pipes.stdout.set_nonblocking(false).unwrap();
        pipes.stdout.read_exact(&mut ready).unwrap();
        children.stop(Time::ZERO, place(3));
        let terminated = Time::ZERO + CHILD_EOF_GRACE;
        children.advance(terminated);
        assert!(children.reap().is_empty());
        children.advance(terminated + CHILD_TERM_GRACE);
        assert_eq!(ended(&mut children).1, "signal: 9 (SIGKILL)");
    }

    #[test]
    fn grandchild_does_not_survive_the_child() {
        let (mut children, mut pipes) =
            started("sleep 1000 </dev/null >/dev/null 2>&1 & echo $!; exit 0");
        let grandchild: i32 = all_of(&mut pipes.stdout).trim().parse().unwrap();
        assert_eq!(ended(&mut children).1, "exit status: 0");
        for _ in 0..500 {
            if !lives(grandchild) {
                return;
            }
            pause();
        }
        panic!("process {grandchild} outlived its parent");
    }

    #[test]
    fn missing_program_is_told_by_name() {
        let mut children = Children::new(launcher(), Orphans::Ignored);
        let command = Command {
            program: "/no/such/program".into(),
            ..shell("")
        };
        assert_eq!(
            children.start(place(0), &command).unwrap_err(),
            "program \"/no/such/program\" does not exist"
        );
        assert!(children.is_empty());
    }
}

//! The hidden verb `guard`, with the real binary: whoever starts children through it leaves none behind.

use crate::harness::gateway::SWITCHBOX;
use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

fn guard(arguments: &[&str]) -> Command {
    let mut command = Command::new(SWITCHBOX);
    command
        .arg("guard")
        .args(arguments)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    command
}

/// A guard whose parent is this process.
fn own_guard(arguments: &[&str]) -> Command {
    let parent = std::process::id().to_string();
    guard(&[&["--parent", &parent], arguments].concat())
}

fn first_line(child: &mut Child) -> String {
    let stdout = child.stdout.as_mut().expect("piped");
    let mut line = String::new();
    BufReader::new(stdout).read_line(&mut line).unwrap();
    line.trim().to_owned()
}

fn lives(pid: &str) -> bool {
    std::fs::read_to_string(format!("/proc/{pid}/stat")).is_ok_and(|stat| !stat.contains(") Z "))
}

#[expect(
    clippy::disallowed_methods,
    reason = "a real process takes its real time"
)]
fn ends_soon(pid: &str) -> bool {
    (0..500).any(|_| {
        std::thread::sleep(Duration::from_millis(10));
        !lives(pid)
    })
}

#[test]
fn guard_becomes_the_program() {
    let output = own_guard(&["--", "/bin/sh", "-c", "echo $1; exit 7", "sh", "a b"])
        .output()
        .unwrap();
    assert_eq!(output.stdout, b"a b\n");
    assert_eq!(output.status.code(), Some(7));
}

#[test]
fn program_starts_with_the_limit_on_files_that_it_would_have_had() {
    let output = own_guard(&["--files", "77", "--", "/bin/sh", "-c", "ulimit -Sn"])
        .output()
        .unwrap();
    assert_eq!(output.stdout, b"77\n");
}

#[test]
fn program_that_cannot_be_executed_is_told_apart() {
    let check = |program: &str, code: i32| {
        let output = own_guard(&["--", program]).output().unwrap();
        assert_eq!(output.status.code(), Some(code), "{program}");
        let told = String::from_utf8(output.stderr).unwrap();
        assert!(
            told.starts_with(&format!("switchbox guard: {program}: ")),
            "{told}"
        );
    };
    check("/no/such/program", 127);
    check("/etc/passwd", 126);
}

#[test]
fn program_is_not_started_for_a_parent_that_is_gone() {
    let output = guard(&["--parent", "1", "--", "/bin/echo", "started"])
        .output()
        .unwrap();
    assert_eq!(output.stdout, b"");
    assert!(output.status.success());
}

#[test]
fn child_ends_with_its_parent() {
    // The shell plays switchbox, and is killed like it might be.
    let script = format!("'{SWITCHBOX}' guard --parent $$ -- /bin/sleep 1000 & echo $!; wait");
    let mut parent = Command::new("/bin/sh")
        .args(["-c", &script])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let child = first_line(&mut parent);
    assert!(lives(&child));
    parent.kill().unwrap();
    parent.wait().unwrap();
    assert!(ends_soon(&child), "process {child} outlived its parent");
}

#[test]
fn keeper_kills_the_groups_it_was_left_with() {
    let group = || {
        // A child and a grandchild that nothing ties to their parent.
        let mut leader = Command::new("/bin/sh")
            .args(["-c", "/bin/sleep 1000 & echo $!; wait"])
            .stdout(Stdio::piped())
            .process_group(0)
            .spawn()
            .unwrap();
        let grandchild = first_line(&mut leader);
        (leader, grandchild)
    };
    let (mut kept, kept_grandchild) = group();
    let (mut released, released_grandchild) = group();
    let mut keeper = guard(&["--keeper"]).stdin(Stdio::piped()).spawn().unwrap();
    let mut notes = keeper.stdin.take().unwrap();
    writeln!(notes, "+{}\n+{}", kept.id(), released.id()).unwrap();
    writeln!(notes, "-{}", released.id()).unwrap();

    drop(notes);
    assert!(keeper.wait().unwrap().success());
    assert_eq!(kept.wait().unwrap().signal(), Some(9));
    assert!(ends_soon(&kept_grandchild));
    assert!(lives(&released_grandchild) && released.try_wait().unwrap().is_none());

    let mut sweeper = guard(&["--keeper"]).stdin(Stdio::piped()).spawn().unwrap();
    writeln!(sweeper.stdin.take().unwrap(), "+{}", released.id()).unwrap();
    assert!(sweeper.wait().unwrap().success());
    assert_eq!(released.wait().unwrap().signal(), Some(9));
}

#[test]
fn keeper_outlasts_the_signals_that_end_its_parent() {
    let mut keeper = guard(&["--keeper"]).stdin(Stdio::piped()).spawn().unwrap();
    let mut notes = keeper.stdin.take().unwrap();
    // Once it has taken this much it has settled: the pipe holds 64 KiB.
    notes.write_all(&[b'\n'; 256 * 1024]).unwrap();
    for signal in ["TERM", "INT", "HUP"] {
        let sent = Command::new("/bin/kill")
            .args([&format!("-{signal}"), &keeper.id().to_string()])
            .status();
        assert!(sent.unwrap().success());
    }
    notes.write_all(&[b'\n'; 256 * 1024]).unwrap();
    assert!(keeper.try_wait().unwrap().is_none());
    drop(notes);
    assert!(keeper.wait().unwrap().success());
    let mut told = String::new();
    keeper
        .stderr
        .take()
        .unwrap()
        .read_to_string(&mut told)
        .unwrap();
    assert_eq!(told, "");
}

//! The command line as people and scripts meet it: the real binary, its streams and its exit codes.

use std::ffi::OsStr;
use std::io::Write;
use std::path::PathBuf;
use std::process::{Command, Output, Stdio};

/// Runs the binary with nothing of this environment but `PATH`.
fn switchbox(arguments: &[&str], variables: &[(&str, &OsStr)], input: &str) -> Output {
    let mut child = Command::new(env!("CARGO_BIN_EXE_switchbox"))
        .args(arguments)
        .env_clear()
        .envs(variables.iter().copied())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the binary was built for this test");
    // A child that does not read has closed its end by the time it is waited for.
    let _ = child
        .stdin
        .take()
        .expect("stdin is piped")
        .write_all(input.as_bytes());
    child
        .wait_with_output()
        .expect("the child can be waited for")
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).expect("what is printed is UTF-8")
}

/// A file of its own in the build's directory for such things.
fn file(name: &str, content: &str) -> String {
    let path = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(name);
    std::fs::write(&path, content).expect("the directory is writable");
    path.into_os_string()
        .into_string()
        .expect("its path is UTF-8")
}

#[test]
fn right_configuration_is_one_line_on_stdout() {
    let path = file(
        "right.json",
        r#"{"mcpServers": {"a": {"command": "x"}, "b": {"url": "http://b"}}}"#,
    );
    let output = switchbox(&["validate", "--config", &path], &[], "");
    assert_eq!(text(&output.stderr), "");
    assert_eq!(text(&output.stdout), "ok: 2 servers (1 stdio, 1 http)\n");
    assert_eq!(output.status.code(), Some(0));
}

#[test]
fn wrong_configuration_is_told_on_stderr_and_ends_with_78() {
    let path = file(
        "wrong.toml",
        "[servers.a]\ncomand = 'x'\n\n[servers.b]\nurl = 'b'\n",
    );
    for verb in ["validate", "serve", "stdio"] {
        let output = switchbox(&[verb, "--config", &path], &[], "");
        let told = text(&output.stderr);
        assert!(
            told.contains(&format!("{path}:2:1: unknown key \"comand\"")),
            "{told}"
        );
        assert!(told.contains(&format!("{path}:5:7: ")), "{told}");
        assert!(
            told.ends_with("2 problems in the configuration\n"),
            "{told}"
        );
        assert_eq!(
            (text(&output.stdout).as_str(), output.status.code()),
            ("", Some(78))
        );
    }
}

#[test]
fn environment_names_the_file_before_the_command_line_does() {
    let right = file("env-right.toml", "[servers.a]\ncommand = 'x'\n");
    let wrong = file("env-wrong.toml", "names = 5\n");
    let variables = [("SWITCHBOX_CONFIG", OsStr::new(&right))];
    let output = switchbox(&["validate", "--config", &wrong], &variables, "");
    assert_eq!(
        text(&output.stderr),
        "note: environment variable SWITCHBOX_CONFIG overrides the file of --config\n"
    );
    assert_eq!(output.status.code(), Some(0));
}

#[test]
fn files_are_looked_for_beside_the_configuration() {
    file("beside.token", "secret\n");
    let path = file(
        "beside.toml",
        "[servers.a]\nurl = 'http://a'\nheaders = {X-T = '${file:beside.token}'}\n",
    );
    let output = switchbox(&["validate", &path], &[], "");
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
}

#[cfg(unix)]
#[test]
fn variable_that_is_no_text_is_a_problem_of_its_own() {
    use std::os::unix::ffi::OsStrExt;
    let path = file("no-text.toml", "");
    let variables = [("SWITCHBOX_LOG_LEVEL", OsStr::from_bytes(b"\xff"))];
    let output = switchbox(&["validate", &path], &variables, "");
    assert!(text(&output.stderr).contains("SWITCHBOX_LOG_LEVEL is not UTF-8"));
    assert_eq!(output.status.code(), Some(78));
}

#[test]
fn wrong_command_line_ends_with_64() {
    for arguments in [
        ["serve", "--lisen"],
        ["validate", "--listen=1"],
        ["frobnicate", ""],
        ["demo-server", "x"],
        ["help", "srve"],
        ["stdio", "--workers=0"],
    ] {
        let output = switchbox(&arguments, &[], "");
        assert_eq!(output.status.code(), Some(64), "{arguments:?}");
        assert!(
            text(&output.stderr).contains("switchbox help"),
            "{arguments:?}"
        );
    }
    assert_eq!(switchbox(&["validate"], &[], "").status.code(), Some(64));
}

#[test]
fn help_and_version_go_to_stdout() {
    for arguments in [
        ["--help"],
        ["--version"],
        ["help"],
        ["version"],
        ["-h"],
        ["-V"],
    ] {
        let output = switchbox(&arguments, &[], "");
        assert_eq!(output.status.code(), Some(0));
        assert!(
            text(&output.stdout).starts_with("switchbox"),
            "{arguments:?}"
        );
        assert_eq!(text(&output.stderr), "");
    }
}

#[test]
fn demo_server_answers_until_stdin_ends() {
    let input = concat!(
        r#"{"jsonrpc":"2.0","id":1,"method":"initialize","params":{"protocolVersion":"2025-06-18","capabilities":{},"clientInfo":{"name":"t","version":"0"}}}"#,
        "\n",
        r#"{"jsonrpc":"2.0","method":"notifications/initialized"}"#,
        "\n",
        r#"{"jsonrpc":"2.0","id":2,"method":"tools/call","params":{"name":"network_interfaces","arguments":{}}}"#,
        "\n",
    );
    let output = switchbox(&["demo-server"], &[], input);
    let answers = text(&output.stdout);
    assert_eq!(answers.lines().count(), 2, "{answers}");
    assert!(answers.contains("127.0.0.1"), "{answers}");
    assert_eq!(output.status.code(), Some(0));
}

#[test]
fn address_that_is_taken_ends_with_69() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("it is bound").to_string();
    let output = switchbox(&["serve", "--listen", &address], &[], "");
    let told = text(&output.stderr);
    assert!(
        told.contains(&address) && told.contains("taken by another process"),
        "{told}"
    );
    assert_eq!(output.status.code(), Some(69));
}

//! What is said about wrong configurations: a table of mistakes, in each syntax.
//!
//! Every case is a whole file with one mistake, and says where it must be found and what must be
//! said about it.

use super::file::{Reading, parse};
use super::problem::Problems;
use super::surroundings::Given;
use super::syntax::Syntax;

use Syntax::{Json, Toml, Yaml};

pub(super) fn around() -> Given {
    Given::variables(&[
        ("HOME", "/var/lib/me"),
        ("PG_PASSWORD", "hunter2"),
        ("WORKERS", "3"),
    ])
}

pub(super) fn read(text: &str, syntax: Syntax) -> Reading {
    parse(text, syntax, &around())
}

pub(super) fn told(reading: &Reading) -> String {
    Problems {
        file: "f".into(),
        list: reading.problems.clone(),
    }
    .to_string()
}

/// One mistake: found at `place`, and every one of `parts` is said.
fn check(syntax: Syntax, text: &str, place: &str, parts: &[&str]) {
    let reading = read(text, syntax);
    let told = told(&reading);
    assert_eq!(reading.problems.len(), 1, "{text}\n{told}");
    assert!(
        told.starts_with(&format!("f:{place}: ")),
        "expected at {place}:\n{told}"
    );
    let line: usize = place.split(':').next().unwrap().parse().unwrap();
    assert!(
        told.contains(&format!(" {line} | ")),
        "the line is quoted:\n{told}"
    );
    let problem = &reading.problems[0];
    assert!(
        problem.expected.is_some() || problem.hint.is_some(),
        "what would be right is said:\n{told}"
    );
    for part in parts {
        assert!(told.contains(part), "expected {part:?} in:\n{told}");
    }
}

#[test]
fn mistakes_are_found_in_toml() {
    let check = |text, place, parts: &[&str]| check(Toml, text, place, parts);
    check("listen = 1.5.2", "1:13", &["invalid float"]);
    check("a = \n", "1:5", &[]);
    check("[servers.a\ncommand = 'x'", "1:11", &[]);
    check("names = 'bare'\nnames = 'bare'", "2:1", &["duplicate key"]);
    check(
        "lisen = '127.0.0.1:1'",
        "1:1",
        &[
            "unknown key \"lisen\"",
            "did you mean \"listen\"?",
            "^^^^^\n",
        ],
    );
    check(
        "names = 'prefix'",
        "1:9",
        &[
            "\"names\" is 'prefix'",
            "= expected \"prefixed\" or \"bare\"",
        ],
    );
    check("names = 'bar'", "1:9", &["did you mean \"bare\"?"]);
    check("names = 5", "1:9", &["expected a string"]);
    check("workers = 0", "1:11", &["a whole number from 1 to 64"]);
    check(
        "workers = '4'",
        "1:11",
        &["expected a number", "without quotes"],
    );
    check("workers = 1.5", "1:11", &["whole number"]);
    check(
        "listen = '0.0.0.0'",
        "1:10",
        &["did you mean \"0.0.0.0:3050\"?"],
    );
    check(
        "listen = ['127.0.0.1:1', ':80']",
        "1:26",
        &["\"0.0.0.0:80\" listens on every IPv4 address"],
    );
    check("listen = []", "1:10", &["at least one address"]);
    check("drain = '5 parsecs'", "1:9", &["length of time"]);
    check("drain = 1979-05-27", "1:9", &["a string or a number"]);
    check("version = '2.0'", "1:11", &["\"1.0\""]);
    check("hosts = ['https://a']", "1:10", &["without a scheme"]);
    check("origins = ['a.example']", "1:12", &["with a scheme"]);
    check("auth = 5", "1:8", &["expected a table"]);
    check(
        "[auth]\nkeys = ['dev-key-12345']",
        "2:9",
        &["switchbox keygen"],
    );
    check("[auth]\nkey = 'x'", "2:1", &["did you mean \"keys\"?"]);
    check(
        "[auth.jwt]\nx = 1",
        "1:7",
        &["\"jwt\" is not supported by this version"],
    );
    check(
        "[log]\nlevel = 'trace'",
        "2:9",
        &["\"debug\", \"info\", \"warn\" or \"error\""],
    );
    check(
        "[log]\naccess = 'sdterr'",
        "2:10",
        &["did you mean \"stderr\"?"],
    );
    check("[metrics]\nenabled = 'true'", "2:11", &["without quotes"]);
    check(
        "[tls]\ncert = 'x'",
        "1:2",
        &["not supported by this version"],
    );
    check("[servers.a]", "1:10", &["command or url is missing"]);
    check(
        "[servers.a]\ncomand = 'x'\nurl = 'http://a'",
        "2:1",
        &["did you mean \"command\"?"],
    );
    check(
        "[servers.a]\ncommand = 'x'\nurl = 'http://a'",
        "3:1",
        &["both \"command\" and \"url\""],
    );
    check(
        "[servers.a]\ncommand = 'npx -y x'",
        "2:11",
        &["no shell takes it apart"],
    );
    check("[servers.a]\ncommand = []", "2:11", &["expected a program"]);
    check(
        "[servers.a]\ncommand = 'x'\nargs = 'y'",
        "3:8",
        &["a list of strings"],
    );
    check(
        "[servers.a]\ncommand = 'x'\nargs = [1, true]",
        "3:12",
        &["expected a string", "in quotes"],
    );
    check(
        "[servers.a]\ncommand = 'x'\nheaders = {a = 'b'}",
        "3:1",
        &["no meaning for a server with a command"],
    );
    check(
        "[servers.a]\ncommand = 'x'\nenv = {'A=B' = 'c'}",
        "3:8",
        &["name of a variable"],
    );
    check(
        "[servers.a]\ncommand = 'x'\nenv = ['A=B']",
        "3:7",
        &["a table of variables"],
    );
    check(
        "[servers.a]\nurl = 'ftp://a'",
        "2:7",
        &["an http:// or https:// URL"],
    );
    check(
        "[servers.a]\nurl = 'http://u:p@a'",
        "2:7",
        &["without a user", " = ***"],
    );
    check(
        "[servers.a]\nurl = 'http://a'\nheaders = {Host = 'b'}",
        "3:12",
        &["set by the gateway itself"],
    );
    for text in [
        "[servers.a]\nurl = 'http://a'\nheaders = {mcp-method = 'b'}",
        "[servers.a]\nurl = 'http://a'\nheaders = {MCP-Name = 'b'}",
        "[servers.a]\nurl = 'http://a'\nheaders = {Mcp-Param-Region = 'b'}",
        "[servers.a]\nurl = 'http://a'\nheaders = {Accept-Encoding = 'b'}",
        "[servers.a]\nurl = 'http://a'\nheaders = {expect = 'b'}",
    ] {
        check(text, "3:12", &["set by the gateway itself"]);
    }
    check(
        "[servers.a]\nurl = 'http://a'\nheaders = {'a b' = 'b'}",
        "3:12",
        &["name of a header field"],
    );
    check(
        "[servers.a]\nurl = 'http://a'\nheaders = {A = 'b', a = 'c'}",
        "3:21",
        &["twice"],
    );
    check(
        "[servers.a]\nurl = 'http://a'\nheaders = {A = \"b\\nc\"}",
        "3:16",
        &["control characters"],
    );
    check(
        "[servers.a]\nurl = 'http://a'\ntransport = 'sse'\nera = 'modern'",
        "4:7",
        &["\"legacy\" or \"auto\""],
    );
    check(
        "[servers.a]\nurl = 'http://a'\ntransport = 'htpp'",
        "3:13",
        &["did you mean \"http\"?"],
    );
    check(
        "[servers.a]\nurl = 'http://a'\ntransport = 'stdio'",
        "1:10",
        &["command is missing"],
    );
    check(
        "[servers.a]\nurl = 'http://a'\nenabled = true\ndisabled = true",
        "4:1",
        &["both"],
    );
    check(
        "[servers.a]\nurl = 'http://a'\nretries = 3",
        "3:1",
        &["not supported by this version"],
    );
    check(
        "[servers.a]\nurl = 'http://a'\ntimeout = 30000",
        "3:11",
        &["\"30000ms\""],
    );
    check(
        "[servers.a]\nurl = 'http://a'\ntimeout = 0",
        "3:11",
        &["more than nothing"],
    );
    check(
        "[servers.a]\nurl = 'http://a'\ntimeout = 1\ntimeout_ms = 1",
        "4:1",
        &["both"],
    );
    check(
        "[servers.a]\nurl = 'http://a'\nconnections = 0",
        "3:15",
        &["from 1 to 4096"],
    );
    check(
        "[servers.a]\nurl = 'http://a'\nshare = 'per_sesion'",
        "3:9",
        &["did you mean \"per_session\"?"],
    );
    check(
        "[servers.a]\nurl = 'http://a'\nera = 'moden'",
        "3:7",
        &["did you mean \"modern\"?"],
    );
    check(
        "[servers.a]\nurl = 'http://a'\ntools = {alow = ['x']}",
        "3:10",
        &["did you mean \"allow\"?"],
    );
    check(
        "[servers.a]\nurl = 'http://a'\ntools = {allow = []}",
        "3:18",
        &["would allow everything"],
    );
    check(
        "[servers.a]\nurl = 'http://a'\nrename = {a = 'b c'}",
        "3:15",
        &["A-Z"],
    );
    check(
        "[servers.a]\nurl = 'http://a'\nrename = {a = 'x', b = 'x'}",
        "3:24",
        &["two names become"],
    );
    check(
        "[servers.a]\nurl = 'http://${NOPE}/'",
        "2:15",
        &["variable NOPE is not set", "${NOPE:-…}"],
    );
    check("[servers.'']\nurl = 'http://a'", "1:10", &["1 to 48 bytes"]);
    check(
        "[[servers]]\nurl = 'http://a'",
        "1:1",
        &["name of the server is missing"],
    );
    check(
        "[servers.a]\nurl = 'http://a'\n[mcpServers.a]\nurl = 'http://a'",
        "3:13",
        &["\"a\" for the second time, first on line 1"],
    );
    check(
        "[[servers]]\nname = 'a'\nurl = 'http://a'\n[[servers]]\nname = 'a'\nurl = 'http://b'",
        "5:8",
        &[],
    );
    check("servers = 5", "1:11", &["a table of servers by name"]);
}

#[test]
fn mistakes_are_found_in_json() {
    let check = |text, place, parts: &[&str]| check(Json, text, place, parts);
    check("", "1:1", &["the file ends"]);
    check("{", "1:2", &["a key in double quotes"]);
    check("[]", "1:1", &["expected a table"]);
    check("{} {}", "1:4", &["nothing after the value"]);
    check("{\n  \"names\" \"bare\"\n}", "2:11", &["expected ':'"]);
    check("{\"names\": bare}", "1:11", &["a bare word"]);
    check(
        "{\"names\": \"bare\n\"}",
        "1:11",
        &["string without an end"],
    );
    check("{\"names\": \"b\\q\"}", "1:11", &["unknown escape"]);
    check("{\"workers\": 01}", "1:13", &["not a number"]);
    check("{\"a\": /* ", "1:7", &["comment without an end"]);
    check(
        "{\"names\": \"bare\", \"names\": \"bare\"}",
        "1:19",
        &["second time"],
    );
    check(
        "{\n\t\"mcpServer\": {}\n}",
        "2:2",
        &["did you mean \"mcpServers\"?"],
    );
    check(
        "{\"numStartups\": 5}",
        "1:2",
        &["of a client's own settings only"],
    );
    check(
        "{\"mcpServers\": null}",
        "1:16",
        &["a table of servers by name"],
    );
    check(
        "{\"mcpServers\": {\"a\": {\"comand\": \"x\"}, \"b\": {\"command\": \"y\"}}}",
        "1:23",
        &[],
    );
    check(
        "{\"mcpServers\": {\"a\": []}}",
        "1:22",
        &["expected a table"],
    );
    check("{\"inputs\": []}", "1:2", &["not supported"]);
    check(
        "{\"mcpServers\": {\"a\": {\n  \"command\": \"x\",\n  \"env\": {\"T\": \"a${NOPE}\"}\n}}}",
        "3:18",
        &["variable NOPE is not set", "\"T\": ***"],
    );
    check(
        "{\"mcpServers\": {\"a\": {\"command\": \"x\", \"envFile\": \".env\"}}}",
        "1:39",
        &["not supported"],
    );
}

#[test]
fn mistakes_are_found_in_yaml() {
    let check = |text, place, parts: &[&str]| check(Yaml, text, place, parts);
    check("names: [", "1:8", &["unclosed bracket"]);
    check("names: bare\n\tworkers: 1", "2:1", &[]);
    check("names: bare\nnames: bare", "2:1", &["second time"]);
    check("nmaes: bare", "1:1", &["did you mean \"names\"?"]);
    check("names: baree", "1:8", &["did you mean \"bare\"?"]);
    check("workers: many", "1:10", &["expected a number"]);
    check("listen:", "1:7", &["nothing"]);
    check("a: 1\n---\nb: 2", "2:1", &["one document"]);
    check("[a]: 1", "1:1", &["a key is a list"]);
    check("? {a: 1}\n: 1", "1:3", &["a key is a table"]);
    check(
        "proxy:\n  host: 10.0.0\n  port: 8080\n",
        "2:9",
        &["an IP address"],
    );
    check(
        "proxy:\n  tls:\n    enabled: true\n",
        "2:3",
        &["not supported by this version"],
    );
    check(
        "servers:\n  - id: a\n    transport: stdio\n",
        "2:5",
        &["command is missing"],
    );
    check(
        "servers:\n  - id: a\n    command: x\n    timeout_ms: 5s\n",
        "4:17",
        &["expected a number"],
    );
    check(
        "servers:\n  - id: a\n    command: x\n    enabled: yes\n",
        "4:14",
        &["true or false"],
    );
    check(
        "servers:\n  - id: a\n    url: http://a\n    auth: {type: basic, token: t}\n",
        "4:18",
        &["\"bearer\""],
    );
    check(
        "servers:\n  - id: a\n    url: http://a\n    auth: {type: bearer}\n",
        "4:5",
        &["token is missing"],
    );
    check(
        "servers:\n  - id: a\n    url: http://a\n    auth: {token_env: NOPE}\n",
        "4:23",
        &["NOPE is not set"],
    );
    check("x: !custom 5", "1:12", &["tag"]);
}

#[test]
fn all_mistakes_are_told_at_once_in_order() {
    let reading = read(
        "names = 'bear'\nworkers = 0\n[servers.a]\ncomand = 'x'\ntimeout = 'x'\n[servers.b]\nurl = 'x'\n",
        Toml,
    );
    let lines: Vec<_> = told(&reading)
        .lines()
        .filter(|line| line.starts_with("f:"))
        .map(|line| line.split(": ").next().unwrap().to_string())
        .collect();
    assert_eq!(lines, ["f:1:9", "f:2:11", "f:4:1", "f:5:11", "f:7:7"]);
}

#[test]
fn message_is_what_a_person_reads() {
    let reading = read(
        "[servers.git]\ncomand = \"mcp-server-git\"\nurl = \"https://a\"\n",
        Toml,
    );
    let expected = "\
f:2:1: unknown key \"comand\"
 2 | comand = \"mcp-server-git\"
   | ^^^^^^
   = expected one of command, args, env, cwd, url, headers, auth, transport,
     enabled, disabled, tags, tools, prompts, resources, include_tools,
     exclude_tools, rename, timeout, timeout_ms, connections, share, era,
     required, name, id
   = did you mean \"command\"?";
    assert_eq!(told(&reading), expected);
}

#[test]
fn bombs_are_refused() {
    let deep_json = "[".repeat(100_000);
    let deep_yaml = "a: ".to_string() + &"[".repeat(1000);
    let deep_toml = format!("a = {}", "[".repeat(1000));
    let mut laughs = String::from("a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n");
    for n in 1..12 {
        let before = n - 1;
        laughs.push_str(&format!(
            "a{n}: &a{n} [{}]\n",
            format!("*a{before}, ").repeat(10)
        ));
    }
    for (syntax, text) in [
        (Json, &deep_json),
        (Yaml, &deep_yaml),
        (Toml, &deep_toml),
        (Yaml, &laughs),
    ] {
        assert!(!read(text, syntax).problems.is_empty());
    }
}

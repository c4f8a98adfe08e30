//! What right configurations mean, whatever they are written in and wherever their settings come from.

use super::draft::{Draft, Setting};
use super::env;
use super::file::parse;
use super::mutations::{around, read, told};
use super::problem::Place;
use super::resolve::{File, Resolved, resolve};
use super::surroundings::Given;
use super::syntax::Syntax;
use super::{Access, EraChoice, Level, Names, Scheme, Share, Transport};
use std::net::SocketAddr;
use std::time::Duration;

use Syntax::{Json, Toml, Yaml};

#[test]
fn shapes_that_people_have_are_one() {
    let toml = "[servers.a]\ncommand = ['x', '-y']\nargs = ['z']\nenv = {A = '1.10'}\n\
                [servers.b]\nurl = 'https://b.example/mcp'\nheaders = {X-Api-Key = 'k'}\ntimeout = '5s'";
    let shapes = [
        (
            Json,
            "{\"mcpServers\": {\"a\": {\"command\": \"x\", \"args\": [\"-y\", \"z\"], \"env\": {\"A\": \"1.10\"}}, // one\n\
                \"b\": {\"type\": \"streamable-http\", \"url\": \"https://b.example/mcp\", \"headers\": {\"x-api-key\": \"k\"}, \"timeout\": 5},}}",
        ),
        (
            Json,
            "{\"servers\": {\"a\": {\"type\": \"stdio\", \"command\": [\"x\", \"-y\", \"z\"], \"env\": {\"A\": \"1.10\"}, \"headers\": {}}, \
                \"b\": {\"serverUrl\": \"https://b.example/mcp\", \"headers\": {\"X-API-KEY\": \"k\"}, \"timeout_ms\": 5000}}}",
        ),
        (
            Yaml,
            "servers:\n  - id: a\n    name: First\n    transport: stdio\n    command: x\n    args: [-y, z]\n    env: {A: 1.10}\n  \
                - name: b\n    transport: http\n    url: https://b.example/mcp\n    headers: {X-Api-Key: k}\n    timeout_ms: 5000\n",
        ),
        (
            Toml,
            "[[servers]]\nname = 'a'\ncommand = 'x'\nargs = ['-y', 'z']\nenv = {A = '1.10'}\n\
                [[servers]]\nid = 'b'\ntransport = 'http'\nurl = 'https://b.example/mcp'\nheaders = {x-api-key = 'k'}\ntimeout = 5",
        ),
    ];
    let expected = read(toml, Toml);
    assert_eq!(expected.problems, []);
    for (syntax, text) in shapes {
        let reading = read(text, syntax);
        assert_eq!(told(&reading), "", "{text}");
        assert_eq!(reading.servers, expected.servers, "{text}");
    }
}

#[test]
fn order_of_servers_is_that_of_the_file() {
    let check = |syntax, text| {
        let names: Vec<_> = read(text, syntax)
            .servers
            .iter()
            .map(|s| s.name.clone())
            .collect();
        assert_eq!(names, ["z", "a", "m"]);
    };
    check(
        Toml,
        "[servers.z]\ncommand='x'\n[servers.a]\ncommand='x'\n[servers.m]\ncommand='x'",
    );
    check(
        Yaml,
        "servers: {z: {command: x}, a: {command: x}, m: {command: x}}",
    );
    check(
        Json,
        "{\"servers\": {\"z\": {\"command\":\"x\"}, \"a\": {\"command\":\"x\"}, \"m\": {\"command\":\"x\"}}}",
    );
}

#[test]
fn every_key_of_a_server_is_read() {
    let text = "[servers.a]\ncommand = 'x'\ncwd = '${HOME}/w'\nenabled = false\ntags = ['t']\n\
        tools = {allow = ['a*'], deny = ['ab']}\nprompts = {deny = ['p']}\nresources = {allow = ['file://*']}\n\
        rename = {a = 'b'}\ntimeout = '500ms'\nconnections = 2\nshare = 'per_session'\nera = 'modern'\nrequired = true\n\
        env = {P = 'x${PG_PASSWORD}'}\n\
        [servers.b]\nurl = 'https://B.example:8443'\nauth = {type = 'bearer', token_env = 'PG_PASSWORD'}";
    let reading = read(text, Toml);
    assert_eq!(told(&reading), "");
    let (a, b) = (&reading.servers[0], &reading.servers[1]);
    let Transport::Stdio(command) = &a.transport else {
        panic!("{a:?}")
    };
    assert_eq!(command.cwd.as_deref(), Some("/var/lib/me/w".as_ref()));
    assert_eq!(command.env["P"].expose(), "xhunter2");
    assert!(
        !a.enabled
            && a.required
            && a.share == Share::PerSession
            && a.connections == 2
            && a.era == EraChoice::Modern
    );
    assert!(a.tools.passes("aa") && !a.tools.passes("ab") && !a.tools.passes("b"));
    assert!(!a.prompts.passes("p") && a.resources.passes("file:///x") && a.rename["a"] == "b");
    assert_eq!(
        (a.timeout, b.timeout),
        (Duration::from_millis(500), Duration::from_secs(60))
    );
    let Transport::Http(http) = &b.transport else {
        panic!("{b:?}")
    };
    assert_eq!(
        (
            http.scheme,
            http.host.as_str(),
            http.port,
            http.path.as_str()
        ),
        (Scheme::Https, "b.example", 8443, "/")
    );
    assert_eq!(http.headers[0].0, "authorization");
    assert_eq!(http.headers[0].1.expose(), "Bearer hunter2");
}

#[test]
fn fingerprint_changes_with_anything() {
    let base = "[servers.a]\ncommand = 'x'\nargs = ['a', 'b']\nenv = {A = 'b'}\n";
    let fingerprint = |text: &str| read(text, Toml).servers[0].fingerprint();
    let same = base.replace("'x'\nargs = ['a', 'b']", "['x', 'a', 'b']");
    assert_eq!(fingerprint(base), fingerprint(&same));
    for (from, to) in [
        ("'a', 'b'", "'ab'"),
        ("'a', 'b'", "'a', 'b', ''"),
        ("A = 'b'", "A = 'c'"),
        ("A = 'b'", ""),
        ("{A = 'b'}", "{A = 'b'}\nrequired = true"),
        ("{A = 'b'}", "{A = 'b'}\ncwd = '/'"),
        ("{A = 'b'}", "{A = 'b'}\ntools = {deny = ['x']}"),
        ("{A = 'b'}", "{A = 'b'}\nprompts = {deny = ['x']}"),
    ] {
        assert_ne!(
            fingerprint(base),
            fingerprint(&base.replace(from, to)),
            "{from} to {to}"
        );
    }
}

fn resolved(
    text: &str,
    flags: &[(Setting, &str)],
    variables: &[(&str, &str)],
) -> Result<Resolved, String> {
    let mut draft = Draft::default();
    for (setting, text) in flags {
        draft
            .set(*setting, &[text.to_string()], Place::Flag("--flag"))
            .unwrap();
    }
    let file = File {
        path: "f".into(),
        syntax: Toml,
        text: text.into(),
    };
    resolve(
        Some(file),
        &draft,
        env::Reading::Always,
        &Given::variables(variables),
    )
    .map_err(|p| p.to_string())
}

#[test]
fn environment_beats_command_line_beats_file_beats_default() {
    let names =
        |text, flags: &[_], variables: &[_]| resolved(text, flags, variables).unwrap().config.names;
    assert_eq!(names("", &[], &[]), Names::Prefixed);
    assert_eq!(names("names = 'bare'", &[], &[]), Names::Bare);
    assert_eq!(
        names("names = 'bare'", &[(Setting::Names, "prefixed")], &[]),
        Names::Prefixed
    );
    assert_eq!(
        names(
            "names = 'bare'",
            &[(Setting::Names, "prefixed")],
            &[("SWITCHBOX_NAMES", "bare")]
        ),
        Names::Bare
    );
    let notes = resolved(
        "names = 'bare'",
        &[(Setting::Names, "prefixed")],
        &[("SWITCHBOX_NAMES", "bare")],
    )
    .unwrap()
    .notes;
    assert_eq!(
        notes[0].to_string(),
        "environment variable SWITCHBOX_NAMES overrides names of --flag"
    );
}

#[test]
fn host_and_port_move_the_address_below() {
    let listen = |text, variables: &[_]| {
        let resolved = resolved(text, &[], variables)?;
        Ok::<_, String>(
            resolved
                .config
                .listen
                .iter()
                .map(SocketAddr::to_string)
                .collect::<Vec<_>>()
                .join(" "),
        )
    };
    assert_eq!(listen("", &[]).unwrap(), "127.0.0.1:3050");
    assert_eq!(listen("port = 80", &[]).unwrap(), "127.0.0.1:80");
    assert_eq!(
        listen("listen = '[::1]:1'", &[("ONLY1MCP_PORT", "2")]).unwrap(),
        "[::1]:2"
    );
    assert_eq!(
        listen("[proxy]\nhost = '127.0.0.2'\nport = 8080", &[]).unwrap(),
        "127.0.0.2:8080"
    );
    assert!(
        listen("listen = [1, 2]", &[("SWITCHBOX_PORT", "3")])
            .unwrap_err()
            .contains("SWITCHBOX_PORT: port for 2 addresses")
    );
    assert!(
        listen("listen = '1'\nport = 2", &[])
            .unwrap_err()
            .contains("f:2:8: both \"listen\" and \"port\"")
    );
    assert!(
        listen("listen = ['1', '1']", &[])
            .unwrap_err()
            .contains("for the second time")
    );
}

#[test]
fn open_address_needs_a_key_or_consent() {
    let wide = "listen = '0.0.0.0:3050'\n";
    let refused = resolved(wide, &[], &[]).unwrap_err();
    assert!(
        refused.starts_with("f:1:10: 0.0.0.0:3050 is open to other machines"),
        "{refused}"
    );
    assert!(refused.contains("--allow-unauthenticated"));
    assert!(resolved(wide, &[], &[("SWITCHBOX_API_KEYS", "abc")]).is_ok());
    assert!(resolved(wide, &[], &[("SWITCHBOX_ALLOW_UNAUTHENTICATED", "1")]).is_ok());
    assert!(resolved(wide, &[], &[("SWITCHBOX_ALLOW_UNAUTHENTICATED", "0")]).is_err());
    assert!(resolved("listen = '0.0.0.0:3050'\napi_keys = ['abc']", &[], &[]).is_ok());
    assert!(resolved("listen = '0.0.0.0:3050'\napi_keys = []", &[], &[]).is_err());
    assert!(resolved("listen = '[::ffff:127.0.0.1]:3050'", &[], &[]).is_ok());
    assert!(
        resolved("", &[], &[("SWITCHBOX_HOST", "0.0.0.0")])
            .unwrap_err()
            .starts_with("environment: SWITCHBOX_HOST")
    );
    // A key that could not be read is a mistake of its own, not two.
    let keys = resolved("listen = '0.0.0.0:3050'\napi_keys = ['a b']", &[], &[]).unwrap_err();
    assert!(!keys.contains("open to other machines"), "{keys}");
}

#[test]
fn mistakes_are_in_the_order_of_the_file_whoever_finds_them() {
    let told = resolved("listen = '0.0.0.0:1'\nnames = 'x'", &[], &[]).unwrap_err();
    let (first, second) = (told.find("f:1:10: "), told.find("f:2:9: "));
    assert!(first.is_some() && first < second, "{told}");
}

#[test]
fn mistakes_of_all_sources_are_told_together() {
    let told = resolved(
        "names = 'x'",
        &[],
        &[("SWITCHBOX_WORKERS", "many"), ("ONLY1MCP_TLS_CERT", "c")],
    )
    .unwrap_err();
    assert!(
        told.contains("f:1:9: ")
            && told.contains("SWITCHBOX_WORKERS: ")
            && told.contains("ONLY1MCP_TLS_CERT: "),
        "{told}"
    );
}

#[test]
fn settings_of_only1mcp_files_are_read() {
    let text = "version: \"1.0\"\nproxy:\n  host: 127.0.0.1\n  port: 8080\nlogging:\n  level: warn\n  format: json\n\
                metrics:\n  enabled: true\n  port: 9090\n  path: /metrics\n";
    let file = File {
        path: "f".into(),
        syntax: Yaml,
        text: text.into(),
    };
    let config = resolve(
        Some(file),
        &Draft::default(),
        env::Reading::Always,
        &around(),
    )
    .unwrap()
    .config;
    assert_eq!(config.listen[0].port(), 8080);
    assert_eq!(config.metrics.listen.unwrap().to_string(), "127.0.0.1:9090");
    assert_eq!(
        (config.log.level, config.log.access),
        (Level::Warn, Access::Off)
    );
}

#[test]
fn aliases_and_merge_keys_of_yaml_are_followed() {
    let text = "x-common: &common {command: x, timeout: 5s}\nservers:\n  a: *common\n  b: {<<: *common, timeout: 6s}\n";
    let reading = read(text, Yaml);
    assert_eq!(told(&reading), "");
    assert_eq!(reading.servers[0].timeout, Duration::from_secs(5));
    assert_eq!(reading.servers[1].timeout, Duration::from_secs(6));
}

#[test]
fn shipped_files_are_right() {
    let surroundings = Given::variables(&[("HOME", "/var/lib/me"), ("SEARCH_TOKEN", "t")]);
    let check = |syntax, text, servers| {
        let reading = parse(text, syntax, &surroundings);
        assert_eq!(told(&reading), "");
        assert_eq!(reading.servers.len(), servers);
    };
    check(Toml, include_str!("../../config/reference.toml"), 2);
    check(Toml, include_str!("../../config/laptop.toml"), 4);
    check(Json, include_str!("../../config/minimal.json"), 1);
}

#[test]
fn reference_has_every_key() {
    let text = include_str!("../../config/reference.toml");
    let words: Vec<&str> = text
        .split(|c: char| !c.is_ascii_alphanumeric() && !matches!(c, '_' | '$'))
        .collect();
    for section in super::schema::SECTIONS {
        for field in section.read {
            assert!(
                words.contains(&field.name),
                "{} of {}",
                field.name,
                section.name
            );
        }
    }
}

/// What the reference says to be the default is the default: where it sets a key to it, nothing
/// changes.
#[test]
fn reference_states_the_defaults() {
    let text = include_str!("../../config/reference.toml");
    let with = |text: &str| resolved(text, &[], &[]).unwrap().config;
    let (reference, default) = (with(text), with(""));
    assert_eq!(reference.listen[0], default.listen[0]);
    assert_eq!(reference.names, default.names);
    assert_eq!(reference.wait_for_servers, default.wait_for_servers);
    assert_eq!(reference.drain, default.drain);
    assert_eq!(format!("{:?}", reference.log), format!("{:?}", default.log));
    assert_eq!(reference.metrics.enabled, default.metrics.enabled);
    let files = &reference.servers[0];
    let bare = &with("[servers.files]\ncommand = 'x'").servers[0];
    assert_eq!(files.timeout, bare.timeout);
    assert_eq!(files.connections, bare.connections);
    assert_eq!(
        (files.share, files.era, files.required, files.enabled),
        (bare.share, bare.era, bare.required, bare.enabled)
    );
}

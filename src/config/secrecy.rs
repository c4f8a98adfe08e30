//! What is never told about a configuration, right or wrong: its secrets.

use super::mutations::{read, told};
use super::syntax::Syntax;

use Syntax::{Json, Toml, Yaml};

#[test]
fn secrets_are_not_told() {
    let check = |syntax, text: &str| {
        let reading = read(text, syntax);
        assert!(!reading.problems.is_empty(), "{text}");
        let all = format!("{}\n{reading:?}", told(&reading));
        assert!(!all.contains("hunter2"), "{all}");
    };
    // A secret where the name of its place belongs.
    check(Toml, "[auth]\nkeys_env = 'hunter2'");
    check(Toml, "[auth]\nkeys_file = 'hunter2'");
    check(
        Toml,
        "[servers.a]\nurl = 'http://a'\nauth = {token_env = 'hunter2'}",
    );
    // A mistake beside a secret, in it, in its key, and one that ends the reading of the file.
    check(
        Json,
        "{\"mcpServers\": {\"a\": {\"comand\": \"x\", \"env\": {\"T\": \"hunter2\"}}}}",
    );
    check(
        Json,
        "{\"mcpServers\": {\"a\": {\"command\": \"x\", \"environment\": {\"T\": \"hunter2\"}}}}",
    );
    check(
        Json,
        "{\"mcpServers\": {\"a\": {\"url\": \"http://a\", \"heders\": {\"T\": \"hunter2\"}}}}",
    );
    check(
        Json,
        "{\"mcpServers\": {\"a\": {\"command\": \"x\", \"env\": {\"T\": \"hunter2\"}} \"b\"}}",
    );
    check(
        Json,
        "{\"mcpServers\": {\"a\": {\"command\": \"x\", \"env\": {\"T\": hunter2}}}}",
    );
    check(
        Json,
        "{\"mcpServers\": {\"a\": {\"command\": \"x\", \"env\": {\"T\": \"hunter2\\q\"}}}}",
    );
    check(
        Json,
        "{\"mcpServers\": {\"a\": {\"command\": [\"x\", \"--api-key\", \"hunter2\", true]}}}",
    );
    check(
        Json,
        "{\"mcpServers\": {\"a\": {\"url\": \"http://me:hunter2@a/\"}}}",
    );
    check(
        Json,
        "{\"mcpServers\": {\"a\": {\"url\": \"http://a:x/?token=hunter2\"}}}",
    );
    check(Toml, "[auth]\nkeys = ['hunter2 hunter2']");
    check(Toml, "[auth]\nkeys = 'hunter2\n");
    check(Toml, "[auth]\nkeys = [hunter2]\n");
    check(Toml, "apikeys = ['hunter2']\n");
    check(
        Toml,
        "[servers.a]\nurl = 'http://a'\nheaders = {Authorization = \"hunter2\\u0001\"}",
    );
    check(
        Toml,
        "[servers.a]\ncommand = 'a'\ncwd = '${PG_PASSWORD}/${NOPE}'",
    );
    check(
        Toml,
        "[servers.a]\ncommand = 'a'\ntimeout = '${PG_PASSWORD}'",
    );
    check(
        Yaml,
        "servers:\n  - id: a\n    command: x\n    env: {T: hunter2, U: [hunter2]}\n    x: 1",
    );
    check(
        Yaml,
        "servers:\n  - id: a\n    command: x\n    env:\n      T: \"hunter2\n",
    );
    check(Yaml, "api_keys:\n  - hunter2\n - b\n");
}

#[test]
fn secrets_are_not_shown_by_debug() {
    let text = "[auth]\nkeys = ['hunter2']\n[servers.a]\ncommand = 'a'\nenv = {T = 'hunter2'}\n\
                [servers.b]\nurl = 'http://b'\nheaders = {T = 'hunter2'}\nauth = {token = 'hunter2'}";
    let reading = read(text, Toml);
    assert_eq!(reading.problems, []);
    assert!(!format!("{reading:?}").contains("hunter2"));
}

/// Every prefix of a file and every file with one byte replaced is read without a panic, and told
/// without a secret.
#[test]
fn damaged_files_are_told_without_panic_or_secret() {
    let files = [
        (
            Toml,
            "names = 'bare'\n[auth]\nkeys = ['hunter2']\n[servers.é]\ncommand = ['x', \"y\"]\nenv = {T = 'hunter2'}\n",
        ),
        (
            Json,
            "{\"mcpServers\": {\"é\": {\"command\": \"x\", // c\n \"env\": {\"T\": \"hunter2\"}, \"args\": [1, null]}}}",
        ),
        (
            Yaml,
            "servers:\n  - id: é\n    url: http://a\n    headers:\n      T: hunter2\n      U: 'hunter2'\n",
        ),
    ];
    for (syntax, text) in files {
        let check = |damaged: &str| {
            let told = told(&read(damaged, syntax));
            assert!(!told.contains("unter2"), "{damaged}\n{told}");
        };
        for (at, c) in text.char_indices() {
            check(&text[..at]);
            for with in [
                "",
                "\"",
                "'",
                "\n",
                ":",
                "{",
                "]",
                "#",
                "\u{0}",
                "\u{1f600}",
                "&",
                "*",
                "=",
            ] {
                check(&format!(
                    "{}{with}{}",
                    &text[..at],
                    &text[at + c.len_utf8()..]
                ));
            }
        }
    }
}

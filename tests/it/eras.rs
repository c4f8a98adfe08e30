//! Which era a server speaks: found out once, kept, looked at again when it is contradicted, or told.

use crate::fixture::server::script::Speaks;
use crate::fixture::server::{Over, Server};
use crate::harness::cells::gateway_with;
use crate::harness::clock;
use crate::harness::gateway::{Gateway, Setup};
use crate::harness::modern::Modern;
use crate::harness::session::text;
use serde_json::{Value, json};

const OVER: [Over; 2] = [Over::Stdio, Over::Http];

/// Calls a tool of server `a` as a client of either era; what it says.
fn says(gateway: &Gateway, tool: &str) -> [String; 2] {
    let params = json!({"name": format!("a__{tool}"), "arguments": {"tag": "t"}});
    let modern = Modern::new(gateway.address)
        .round("tools/call", params.clone())
        .1;
    let legacy = gateway.session().ask("tools/call", params);
    [text(&modern), text(&legacy)]
}

fn era_of(gateway: &Gateway) -> [bool; 2] {
    says(gateway, "who").map(|who| {
        let who: Value = serde_json::from_str(&who).expect("JSON");
        who["modern"].as_bool().expect("either")
    })
}

#[test]
fn legacy_server_is_found_out_however_it_takes_the_probe() {
    for over in OVER {
        for probed in ["refuses", "wants", "exits", "silent", "welcomes", "busy"] {
            if over == Over::Http && probed == "exits" {
                continue;
            }
            let a = Server::start(
                over,
                json!({"name": "a", "era": "legacy", "probed": probed}),
            );
            let gateway = Setup::new(json!({"mcpServers": {"a": a.config()}}))
                .without_waiting()
                .start();
            // One that is not there for a moment is not tried again at once.
            clock::holds(&format!("{over:?} that {probed} is listed"), || {
                gateway.get("/status").text().contains("\"connected\"")
                    && gateway
                        .ask("tools/list", json!({}))
                        .to_string()
                        .contains("a__echo")
            });
            assert_eq!(era_of(&gateway), [false, false], "{over:?} {probed}");
        }
    }
}

#[test]
fn verdict_is_kept() {
    for over in OVER {
        for era in ["legacy", "modern", "both"] {
            let a = Server::start(over, json!({"name": "a", "era": era}));
            let gateway = gateway_with(&[&a], &json!({}));
            for _ in 0..5 {
                assert_eq!(era_of(&gateway), [era != "legacy"; 2], "{over:?} {era}");
            }
            let probes = a.journal.entries("probe").len() + a.requests("server/discover").len();
            // A child may be probed by a sibling first; an address has one verdict for all workers.
            assert!((1..=3).contains(&probes), "{over:?} {era}: {probes} probes");
            let introductions =
                a.requests("initialize").len() + a.journal.entries("stranger").len();
            assert!(
                era == "legacy" || introductions == 0,
                "{over:?} {era}: {introductions}"
            );
        }
    }
}

#[test]
fn era_that_is_configured_is_not_probed_for() {
    for over in OVER {
        for (setting, era, expected) in [
            ("legacy", "both", false),
            ("legacy", "legacy", false),
            ("modern", "both", true),
            ("modern", "modern", true),
        ] {
            let probed = if setting == "legacy" {
                "exits"
            } else {
                "refuses"
            };
            let a = Server::start(over, json!({"name": "a", "era": era, "probed": probed}));
            let gateway = gateway_with(&[&a], &json!({"era": setting}));
            assert_eq!(era_of(&gateway), [expected; 2], "{over:?} {setting}");
            assert_eq!(
                a.journal.entries("probe"),
                Vec::<Value>::new(),
                "{over:?} {setting}"
            );
            if setting == "legacy" {
                assert_eq!(
                    a.requests("server/discover"),
                    Vec::<Value>::new(),
                    "{over:?}"
                );
            } else {
                assert_eq!(a.requests("initialize"), Vec::<Value>::new(), "{over:?}");
            }
        }
    }
}

#[test]
fn server_of_another_era_than_configured_fails_and_says_why() {
    for over in OVER {
        for (setting, era) in [("legacy", "modern"), ("modern", "legacy")] {
            let a = Server::start(over, json!({"name": "a", "era": era}));
            let mut config = a.config();
            config["era"] = setting.into();
            let gateway = Setup::new(json!({"mcpServers": {"a": config}}))
                .without_waiting()
                .start();
            let line = gateway.log.wait_for("upstream failed");
            assert!(
                line.contains("server=a") && line.contains("cause="),
                "{line}"
            );
            let listed = gateway.ask("tools/list", json!({}));
            assert_eq!(listed["result"]["tools"], json!([]), "{over:?} {setting}");
        }
    }
}

#[test]
fn era_that_is_none_is_refused_with_the_words_that_are() {
    let config = json!({"mcpServers": {"a": {"url": "http://127.0.0.1:1/mcp", "era": "medieval"}}});
    let folder = std::path::Path::new(env!("CARGO_TARGET_TMPDIR"));
    let path = folder.join(format!("era-{}.json", std::process::id()));
    std::fs::write(&path, config.to_string()).expect("the folder is writable");
    let output = std::process::Command::new(crate::harness::gateway::SWITCHBOX)
        .args(["validate", "--config"])
        .arg(&path)
        .output()
        .expect("it runs");
    let said = String::from_utf8_lossy(&output.stderr).into_owned()
        + &String::from_utf8_lossy(&output.stdout);
    let _ = std::fs::remove_file(&path);
    assert!(!output.status.success());
    for word in ["auto", "legacy", "modern"] {
        assert!(said.contains(word), "{said}");
    }
}

#[test]
fn server_that_restarts_into_the_other_era_is_spoken_to_in_it() {
    for over in OVER {
        for (before, after) in [
            (Speaks::Legacy, Speaks::Modern),
            (Speaks::Modern, Speaks::Legacy),
        ] {
            let a = Server::start(over, json!({"name": "a", "era": before}));
            let gateway = gateway_with(&[&a], &json!({}));
            assert_eq!(era_of(&gateway), [before.modern(); 2]);
            // What it is told last it answers, or not any more.
            let params = json!({"name": "a__restart_as", "arguments": {"era": after}});
            let _ = Modern::new(gateway.address).round("tools/call", params);
            a.wait_for("restart", |_| true);
            clock::holds(&format!("{over:?} is spoken to as {after:?}"), || {
                let params = json!({"name": "a__who", "arguments": {}});
                let (_, answer, _) = Modern::new(gateway.address).round("tools/call", params);
                answer["result"]["content"][0]["text"]
                    .as_str()
                    .is_some_and(|who| who.contains(&format!(r#""modern":{}"#, after.modern())))
            });
            assert_eq!(era_of(&gateway), [after.modern(); 2], "{over:?} {after:?}");
        }
    }
}

#[test]
fn call_is_not_made_twice_when_the_era_has_changed() {
    for over in OVER {
        for (before, after) in [
            (Speaks::Legacy, Speaks::Modern),
            (Speaks::Modern, Speaks::Legacy),
        ] {
            let a = Server::start(over, json!({"name": "a", "era": before}));
            let gateway = gateway_with(&[&a], &json!({}));
            let client = Modern::new(gateway.address);
            for n in 0..5 {
                a.speak(if n % 2 == 0 { after } else { before });
                if over == Over::Stdio {
                    let params = json!({"name": "a__restart_as", "arguments": {"era": if n % 2 == 0 { after } else { before }}});
                    let _ = client.round("tools/call", params);
                }
                let tag = format!("once-{n}");
                let params = json!({"name": "a__echo", "arguments": {"tag": tag}});
                let (_, answer, _) = client.round("tools/call", params);
                assert!(
                    a.calls(&tag) <= 1,
                    "{over:?}: it came {} times",
                    a.calls(&tag)
                );
                assert!(
                    answer["error"].is_object() || a.calls(&tag) == 1,
                    "{answer}"
                );
            }
        }
    }
}

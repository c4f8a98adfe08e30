//! Any client with any server: what one era says, the other understands, over every pair of transports.

use crate::fixture::server::{Over, Server};
use crate::harness::cells::{config, in_every_cell, in_every_cell_of};
use crate::harness::client::{ERAS, Era, OWN, everything, over_http, replied, reply_with};
use crate::harness::gateway::Gateway;
use serde_json::{Value, json};

#[test]
fn tools_prompts_and_resources_are_there_in_every_cell() {
    in_every_cell(&json!({}), |cell| {
        let (echo, greet, name) = (
            cell.tool("echo"),
            cell.tool("greet"),
            cell.server.script.name.clone(),
        );
        for (list, member, own) in [
            ("tools/list", "tools", echo.clone()),
            ("prompts/list", "prompts", greet.clone()),
            ("resources/list", "resources", cell.uri("2")),
            (
                "resources/templates/list",
                "resourceTemplates",
                cell.uri("by-name/{name}"),
            ),
        ] {
            let heard = cell.client.ask(list, json!({}));
            let entries = heard.result()[member].as_array().expect("a list");
            assert!(
                entries.iter().any(|entry| entry.to_string().contains(&own)),
                "{own} in {list}"
            );
        }
        let arguments = json!({"tag": cell.tag, "n": 1, "x": [1, {"é": null}]});
        let heard = cell.client.call(&echo, arguments.clone());
        assert_eq!(heard.json(), arguments);
        assert_eq!(heard.result()["structuredContent"], arguments);
        assert_eq!(
            (&heard.result()["x-odd"], &heard.result()["_meta"]["a"]),
            (&json!(1), &json!(2.5))
        );
        let got = cell.client.ask(
            "prompts/get",
            json!({"name": greet, "arguments": {"who": cell.tag}}),
        );
        let says = got.result()["messages"][0]["content"]["text"]
            .as_str()
            .expect("text");
        assert_eq!(says, format!("{name} greets \"{}\"", cell.tag));
        for rest in ["2", "by-name/é b"] {
            let uri = cell.uri(rest);
            let read = cell.client.ask("resources/read", json!({ "uri": uri }));
            assert_eq!(read.result()["contents"][0]["uri"], uri);
            assert_eq!(
                read.result()["contents"][0]["text"],
                format!("{name} has {uri}")
            );
        }
    });
}

#[test]
fn completion_reaches_its_server_in_every_cell() {
    in_every_cell(&json!({}), |cell| {
        let name = cell.server.script.name.clone();
        let template = cell.uri("by-name/{name}");
        for (reference, behind) in [
            (
                json!({"type": "ref/prompt", "name": cell.tool("greet")}),
                json!({"type": "ref/prompt", "name": "greet"}),
            ),
            (
                json!({"type": "ref/resource", "uri": template}),
                json!({"type": "ref/resource", "uri": template}),
            ),
        ] {
            let params = json!({
                "ref": reference,
                "argument": {"name": "who", "value": "x"},
                "context": {"arguments": {"a": "b"}},
            });
            let heard = cell.client.ask("completion/complete", params);
            let values = &heard.result()["completion"]["values"];
            assert_eq!(values[0], format!("{name} \"x\""));
            assert_eq!(
                serde_json::from_str::<Value>(values[1].as_str().expect("text")).expect("JSON"),
                behind
            );
            assert_eq!(values[2], json!({"arguments": {"a": "b"}}).to_string());
        }
    });
}

#[test]
fn structured_content_has_the_form_of_the_clients_era() {
    in_every_cell(&json!({}), |cell| {
        let heard = cell
            .client
            .call(&cell.tool("add"), json!({"a": 40, "b": 2}));
        assert_eq!(heard.text(), "42");
        let structured = &heard.result()["structuredContent"];
        match (cell.client.era(), cell.behind) {
            (_, Era::Legacy) => assert_eq!(*structured, json!({"sum": 42})),
            (Era::Modern, Era::Modern) => assert_eq!(*structured, json!(42)),
            // A legacy client can carry objects only.
            (Era::Legacy, Era::Modern) => assert_eq!(*structured, json!({"result": 42})),
        }
        let tools = cell.client.ask("tools/list", json!({}));
        let prefix = cell.tool("");
        let tool = |name: &str| {
            let all = tools.result()["tools"].as_array().expect("a list");
            let own = all
                .iter()
                .find(|tool| tool["name"] == format!("{prefix}{name}"));
            own.expect("it is listed").clone()
        };
        let schema = tool("add")["outputSchema"].clone();
        match (cell.client.era(), cell.behind) {
            (_, Era::Legacy) => assert_eq!(schema["properties"]["sum"]["type"], "number"),
            (Era::Modern, Era::Modern) => assert_eq!(schema, json!({"type": "number"})),
            (Era::Legacy, Era::Modern) => {
                assert_eq!(schema["properties"]["result"], json!({"type": "number"}));
            }
        }
        if cell.behind == Era::Modern {
            let listed = cell.client.call(&cell.tool("listed"), json!({}));
            let structured = &listed.result()["structuredContent"];
            match cell.client.era() {
                Era::Modern => assert_eq!(*structured, json!(["a", "b"])),
                Era::Legacy => assert_eq!(*structured, json!({"result": ["a", "b"]})),
            }
        }
        assert_eq!(tool("echo")["x-odd"], 1);
    });
}

#[test]
fn every_question_reaches_the_client_in_every_cell() {
    in_every_cell(&everything(), |cell| {
        let tools = [
            "elicit",
            "elicit_url",
            "sample",
            "roots",
            "three_at_once",
            "two_rounds",
        ];
        for tool in tools {
            let tag = format!("{}-{tool}", cell.tag);
            let heard =
                cell.client
                    .call_while(&cell.tool(tool), json!({ "tag": tag }), &reply_with(&tag));
            assert_eq!(heard.json(), replied(tool, &tag), "{tool}");
            let asked = match tool {
                "three_at_once" => 3,
                "two_rounds" => 2,
                _ => 1,
            };
            assert_eq!(heard.asked.len(), asked, "{tool}: {heard:?}");
            if tool == "sample" {
                assert_eq!(heard.asked[0]["params"]["x-odd"], 1, "{heard:?}");
            }
            if tool == "elicit_url" {
                assert_eq!(
                    heard.asked[0]["params"]["url"],
                    "https://example.com/connect?a=1&b=é"
                );
            }
        }
    });
}

#[test]
fn prompts_and_resources_ask_for_input_in_every_cell() {
    in_every_cell(&everything(), |cell| {
        let params = json!({"name": cell.tool("ask_name"), "arguments": {"who": cell.tag}});
        let heard = cell
            .client
            .heard("prompts/get", params, &reply_with(&cell.tag));
        let says = heard.result()["messages"][0]["content"]["text"]
            .as_str()
            .expect("text");
        assert_eq!(
            serde_json::from_str::<Value>(says).expect("JSON"),
            replied("ask_name", &cell.tag)
        );
        let uri = cell.uri("secret");
        let heard = cell
            .client
            .heard("resources/read", json!({ "uri": uri }), &reply_with(&uri));
        let says = heard.result()["contents"][0]["text"]
            .as_str()
            .expect("text");
        assert_eq!(
            serde_json::from_str::<Value>(says).expect("JSON"),
            replied("secret", &uri)
        );
    });
}

#[test]
fn clients_no_is_an_answer_in_every_cell() {
    in_every_cell(&everything(), |cell| {
        for action in ["decline", "cancel"] {
            let no = json!({ "action": action });
            let heard =
                cell.client
                    .call_while(&cell.tool("elicit"), json!({"tag": cell.tag}), &|_| {
                        no.clone()
                    });
            assert_eq!(heard.json(), no);
        }
    });
}

#[test]
fn error_of_a_legacy_client_ends_the_call_in_every_cell() {
    in_every_cell(&everything(), |cell| {
        if cell.client.era() == Era::Modern {
            // It has no way to answer with an error.
            return;
        }
        for tool in ["elicit", "sample", "roots"] {
            let error = json!({"error": {"code": -1, "message": "User rejected"}});
            let heard = cell
                .client
                .call_while(&cell.tool(tool), json!({"tag": cell.tag}), &|_| {
                    error.clone()
                });
            // The server may have made something of it, or the call may have failed; it has not hung.
            let failed = heard.answer["result"]["isError"] == true || heard.code().is_i64();
            let refused = heard.answer.to_string();
            let told = refused.contains("refused") || refused.contains("cancel");
            assert!(failed || told, "{tool}: {heard:?}");
        }
    });
}

#[test]
fn client_that_declared_nothing_is_asked_nothing_in_any_cell() {
    in_every_cell(&json!({}), |cell| {
        for tool in ["elicit", "elicit_url", "sample", "roots", "three_at_once"] {
            let heard = cell.client.call(&cell.tool(tool), json!({"tag": cell.tag}));
            let failed = heard.answer["result"]["isError"] == true || heard.code().is_i64();
            assert!(failed, "{tool}: {heard:?}");
            if (cell.client.era(), cell.behind) == (Era::Modern, Era::Modern) {
                assert_eq!(*heard.code(), -32021, "{tool}: {heard:?}");
                assert!(
                    heard.answer["error"]["data"]["requiredCapabilities"].is_object(),
                    "{heard:?}"
                );
            }
        }
        let params = json!({"name": cell.tool("ask_name"), "arguments": {"who": "x"}});
        assert!(cell.client.ask("prompts/get", params).code().is_i64());
    });
}

#[test]
fn server_that_asks_what_was_not_declared_is_refused_in_every_cell() {
    in_every_cell_of(
        &json!({"rude": true}),
        &json!({"elicitation": {}}),
        |cell| {
            if (cell.client.era(), cell.behind) == (Era::Modern, Era::Modern) {
                // What it is asked is between the two.
                return;
            }
            for tool in ["sample", "roots"] {
                let heard = cell.client.call(&cell.tool(tool), json!({"tag": cell.tag}));
                match cell.client.era() {
                    Era::Modern => {
                        let required = &heard.answer["error"]["data"]["requiredCapabilities"];
                        let needed = if tool == "sample" { "sampling" } else { tool };
                        assert_eq!(*heard.code(), -32021, "{tool}: {heard:?}");
                        assert_eq!(*required, json!({ needed: {} }), "{tool}");
                    }
                    Era::Legacy => {
                        let text = heard.answer.to_string();
                        let is_told = heard.answer["result"]["isError"] == true
                            || heard.code().is_i64()
                            || text.contains("refused");
                        assert!(is_told, "{tool}: {heard:?}");
                    }
                }
            }
        },
    );
}

#[test]
fn logs_are_told_when_they_are_wanted_in_every_cell() {
    in_every_cell(&json!({}), |cell| {
        let logs = cell.tool("logs");
        let before = cell.client.call(&logs, json!({"tag": cell.tag}));
        if cell.client.era() == Era::Modern && !before.told.is_empty() {
            // The last cell of this client set a level, which it has kept.
            assert!(
                before
                    .told
                    .iter()
                    .all(|told| told["params"]["level"] != "debug"),
                "{before:?}"
            );
        }
        cell.client.set_level("error");
        let heard = cell.client.call(&logs, json!({"tag": cell.tag}));
        let levels: Vec<&Value> = heard
            .told_of("notifications/message")
            .into_iter()
            .map(|told| &told["level"])
            .collect();
        assert_eq!(
            levels,
            ["error", "critical", "alert", "emergency"],
            "{heard:?}"
        );
        for told in heard.told_of("notifications/message") {
            assert_eq!(
                (&told["data"]["tag"], &told["logger"]),
                (&json!(cell.tag), &json!("it"))
            );
        }
    });
}

#[test]
fn clients_of_a_modern_server_are_told_their_logs_right_after_one_another() {
    for over in [Over::Stdio, Over::Http] {
        let server = Server::start(over, json!({"name": "m", "era": "modern"}));
        let gateway = Gateway::of(config([&server]));
        for tag in 0..6 {
            let era = ERAS[tag % 2];
            let mut client = over_http(gateway.address, era, everything());
            client.set_level("error");
            let heard = client.call("m__logs", json!({ "tag": tag }));
            let told = heard.told_of("notifications/message");
            assert_eq!(told.len(), 4, "{over:?}, {era:?}: {heard:?}");
            assert!(told.iter().all(|told| told["data"]["tag"] == tag));
        }
    }
}

#[test]
fn modern_client_that_names_no_level_is_told_no_logs() {
    in_every_cell(&json!({}), |cell| {
        if cell.client.era() == Era::Modern {
            let heard = cell
                .client
                .call(&cell.tool("logs"), json!({"tag": cell.tag}));
            assert_eq!(heard.told, Vec::<Value>::new());
        }
    });
}

#[test]
fn progress_carries_the_clients_token_in_every_cell() {
    in_every_cell(&everything(), |cell| {
        for token in [json!("é \" token"), json!(0)] {
            let params = json!({
                "name": cell.tool("progress"),
                "arguments": {"steps": 4, "tag": cell.tag},
                "_meta": {"progressToken": token},
            });
            let heard = cell.client.ask("tools/call", params);
            let steps: Vec<&Value> = heard
                .told_of("notifications/progress")
                .into_iter()
                .map(|told| &told["progress"])
                .collect();
            assert_eq!(steps, [1, 2, 3, 4], "{heard:?}");
        }
        let silent = cell
            .client
            .call(&cell.tool("progress"), json!({"steps": 4}));
        assert_eq!(silent.told, Vec::<Value>::new());
    });
}

#[test]
fn progress_and_logs_come_around_a_question_in_every_cell() {
    in_every_cell(&everything(), |cell| {
        cell.client.set_level("debug");
        let params = json!({
            "name": cell.tool("report_and_ask"),
            "arguments": {"tag": cell.tag},
            "_meta": {"progressToken": 7},
        });
        let heard = cell
            .client
            .heard("tools/call", params, &reply_with(&cell.tag));
        assert_eq!(heard.json(), replied("report_and_ask", &cell.tag));
        // That it rises over all rounds is checked with everything that is heard.
        let steps = heard.told_of("notifications/progress");
        let last = steps.last().expect("progress")["progress"].as_u64();
        assert!(last >= Some(2), "{heard:?}");
    });
}

#[test]
fn cancelled_call_is_cancelled_at_its_server_in_every_cell() {
    for capabilities in [json!({}), everything()] {
        in_every_cell(&capabilities, |cell| {
            for loud in [false, true] {
                let tag = format!("{}-{loud}", cell.tag);
                let params = json!({
                    "name": cell.tool("hang"),
                    "arguments": {"tag": tag, "loud": loud},
                    "_meta": {"progressToken": tag},
                });
                let server = cell.server;
                cell.client.abandon("tools/call", params, &|| {
                    server.wait_for("hung", |own| own == &json!(tag));
                });
                server.wait_for("freed", |own| own == &json!(tag));
                // What was hung up on does not disturb what comes after.
                let heard = cell
                    .client
                    .call(&cell.tool("echo"), json!({"tag": cell.tag}));
                assert_eq!(heard.json(), json!({"tag": cell.tag}));
            }
        });
    }
}

#[test]
fn updates_of_resources_reach_who_wants_them_in_every_cell() {
    in_every_cell(&json!({}), |cell| {
        let (mine, other) = (cell.uri("1"), cell.uri("2"));
        cell.client.watch(json!({"resourceSubscriptions": [mine]}));
        for uri in [&other, &mine] {
            let heard = cell.client.call(&cell.tool("touch"), json!({ "uri": uri }));
            assert_eq!(heard.text(), "touched");
        }
        let news = cell.client.news_of("notifications/resources/updated");
        assert_eq!(news["uri"], json!(mine));
    });
}

#[test]
fn changes_of_lists_reach_who_wants_them_in_every_cell() {
    in_every_cell(&json!({}), |cell| {
        cell.client.watch(json!({
            "toolsListChanged": true, "promptsListChanged": true, "resourcesListChanged": true,
        }));
        for (what, method, list) in [
            ("tools", "notifications/tools/list_changed", "tools/list"),
            (
                "prompts",
                "notifications/prompts/list_changed",
                "prompts/list",
            ),
            (
                "resources",
                "notifications/resources/list_changed",
                "resources/list",
            ),
        ] {
            let before = cell.client.ask(list, json!({})).answer.to_string().len();
            let heard = cell
                .client
                .call(&cell.tool("grow"), json!({ "what": what }));
            assert_eq!(heard.text(), "grown");
            cell.client.news_of(method);
            crate::harness::clock::holds("the list has grown", || {
                cell.client.ask(list, json!({})).answer.to_string().len() > before
            });
        }
    });
}

#[test]
fn errors_speak_the_language_of_the_client_in_every_cell() {
    in_every_cell(&json!({}), |cell| {
        let failed = cell.client.call(&cell.tool("fail"), json!({}));
        assert_eq!(
            (failed.text().as_str(), &failed.result()["isError"]),
            ("as you wish", &json!(true))
        );
        let wrong = cell.client.call(&cell.tool("wrong"), json!({}));
        assert_eq!(wrong.answer["error"]["message"], "mine", "{wrong:?}");
        assert_eq!(wrong.answer["error"]["data"], json!({"x": [1]}));
        let unknown = cell.client.call(&cell.tool("nope"), json!({}));
        assert_eq!(*unknown.code(), -32602, "{unknown:?}");
        // The server knows the URI's form, not the resource.
        for uri in [cell.uri("by-nothing"), "none://of/ours".into()] {
            let heard = cell.client.ask("resources/read", json!({ "uri": uri }));
            let expected = match cell.client.era() {
                Era::Modern => -32602,
                Era::Legacy => -32002,
            };
            assert_eq!(*heard.code(), expected, "{heard:?}");
            assert_eq!(
                heard.answer["error"]["data"]["uri"],
                json!(uri),
                "{heard:?}"
            );
        }
        let prompt = cell
            .client
            .ask("prompts/get", json!({"name": cell.tool("nope")}));
        assert_eq!(*prompt.code(), -32602, "{prompt:?}");
        for (list, cursor) in [("tools/list", json!("forged")), ("prompts/list", json!(""))] {
            let heard = cell.client.ask(list, json!({ "cursor": cursor }));
            assert_eq!(*heard.code(), -32602, "{heard:?}");
        }
    });
}

#[test]
fn lists_in_pages_are_whole_in_every_cell() {
    in_every_cell_of(&json!({"page": 2}), &json!({}), |cell| {
        for (list, member, rest) in [
            ("tools/list", "tools", cell.tool("labour")),
            ("resources/list", "resources", cell.uri("3")),
        ] {
            let mut cursor = None;
            let mut found = 0;
            loop {
                let mut params = json!({});
                if let Some(cursor) = cursor {
                    params["cursor"] = cursor;
                }
                let page = cell.client.ask(list, params);
                let entries = page.result()[member].as_array().expect("a list");
                found += entries
                    .iter()
                    .filter(|entry| entry["name"] == rest || entry["uri"] == rest)
                    .count();
                match page.result().get("nextCursor") {
                    Some(next) => cursor = Some(next.clone()),
                    None => break,
                }
            }
            assert_eq!(found, 1, "{rest} in {list}");
        }
    });
}

#[test]
fn server_learns_who_asks_in_every_cell() {
    let capabilities =
        json!({"elicitation": {"form": {}}, "extensions": {"com.example/x": {"y": 1}}});
    in_every_cell(&capabilities, |cell| {
        let trace = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
        let params = json!({
            "name": cell.tool("who"),
            "arguments": {},
            "_meta": {"traceparent": trace, "com.example/own": {"a": [1]}},
        });
        let who = cell.client.ask("tools/call", params).json();
        assert_eq!(who["modern"], json!(cell.behind == Era::Modern));
        assert_eq!(who["meta"]["com.example/own"], json!({"a": [1]}), "{who}");
        assert_eq!(who["meta"]["traceparent"], trace);
        assert_eq!(
            who["capabilities"]["elicitation"],
            json!({"form": {}}),
            "{who}"
        );
        assert!(who["capabilities"].get("sampling").is_none(), "{who}");
        if cell.behind == Era::Modern {
            let version = &who["meta"][format!("{OWN}protocolVersion")];
            assert_eq!(version, crate::harness::modern::REVISION);
        }
    });
}

#[test]
fn question_without_end_ends_in_every_cell() {
    in_every_cell(&everything(), |cell| {
        // A legacy server is free to ask its client again and again; the bound is for the bridge.
        let own_bound = (cell.client.era(), cell.behind) != (Era::Legacy, Era::Modern);
        let rounds = std::cell::Cell::new(0);
        let yes = reply_with(&cell.tag);
        let reply = |asked: &Value| {
            rounds.set(rounds.get() + 1);
            match rounds.get() >= 6 && own_bound {
                true => json!({"action": "decline"}),
                false => yes(asked),
            }
        };
        let heard =
            cell.client
                .call_while(&cell.tool("ask_forever"), json!({"tag": cell.tag}), &reply);
        assert!(heard.answer["result"].is_object() || heard.code().is_i64());
        assert!(rounds.get() <= 200, "{} rounds", rounds.get());
    });
}

//! What a client makes of what it hears: here anything astray is found.
//!
//! Whatever is about a request or a session carries a tag; it must be this client's, and the one that is
//! due on the connection on which it came.

use crate::client::{Answer, Deed, Want, What};
use crate::reader::Heard;
use crate::server::owner;
use crate::world::{Action, World};
use serde_json::{Value, json};
use switchbox::mcp::Era;

impl World {
    pub(crate) fn client_reads(&mut self, c: usize, number: u32, bytes: &[u8]) {
        let stdio = self.clients[c].stdio;
        let Some(connection) = self.clients[c].connections.get_mut(&number) else {
            return;
        };
        let heard = match stdio {
            true => connection.reader.read_lines(bytes),
            false => connection.reader.read(bytes),
        };
        for heard in heard {
            self.client_hears(c, number, heard);
        }
    }

    fn client_hears(&mut self, c: usize, number: u32, heard: Heard) {
        let Some(connection) = self.clients[c].connections.get_mut(&number) else {
            return;
        };
        let want = connection.wants.front().copied();
        match heard {
            Heard::Head {
                status,
                session,
                closes,
                streams,
            } => {
                let want = want.unwrap_or_else(|| panic!("c{c} was sent an answer to nothing"));
                connection.last_response |= closes;
                let prompt = connection.prompt;
                if status == 408 && !prompt {
                    match want {
                        Want::Asked(ask) => self.clients[c].asked[ask].lost = true,
                        Want::Batch(batch) | Want::Posted(batch) => self.batch_lost(c, batch),
                        _ => {}
                    }
                    self.count("slow sender refused");
                }
                self.check_status(c, want, status, streams, prompt);
                if let (Want::Asked(ask), Some(session)) = (want, session) {
                    assert_eq!(self.clients[c].asked[ask].what, What::Initialize);
                    if self.clients[c].opening {
                        self.clients[c].session = Some(session);
                    }
                }
            }
            Heard::Line(Value::Array(answers)) => {
                self.count("batch answered by an array");
                answers
                    .iter()
                    .for_each(|answer| self.line(c, number, answer));
            }
            Heard::Line(message) => self.line(c, number, &message),
            Heard::Message(message, at) => {
                let want = want.expect("a message has a head before it");
                match want {
                    Want::Front => {
                        assert!(at.is_none(), "an event with an id that is of no use");
                        self.line(c, number, &message);
                    }
                    Want::Batch(batch) => self.batch_heard(c, number, batch, &message, at),
                    _ => self.message(c, number, want, &message, at),
                }
            }
            Heard::Endpoint(path) => {
                assert_eq!(want, Some(Want::Front), "c{c} was sent an endpoint");
                self.endpoint_heard(c, path);
            }
            Heard::Id(at) => {
                let want = want.expect("an event has a head before it");
                self.event_seen(c, number, want, at);
            }
            Heard::End => {
                let want = connection.wants.pop_front();
                self.response_over(c, number, want.expect("a response has a head"));
            }
        }
    }

    fn check_status(&mut self, c: usize, want: Want, status: u16, streams: bool, prompt: bool) {
        let lawful = match want {
            // Whoever sends too slowly is told so, whatever it wanted.
            Want::Asked(ask) if self.clients[c].asked[ask].lost => status == 408,
            _ if status == 408 => !prompt,
            Want::Asked(_) => {
                matches!(status, 200 | 503) || (status == 404 && !self.is_current(c, want))
            }
            Want::Batch(batch) => {
                let ask = self.clients[c].batches[batch][0];
                status == 200 || (status == 404 && !self.is_current(c, Want::Asked(ask)))
            }
            Want::Front => status == 200 && streams || self.draining,
            Want::Posted(batch) => {
                if status != 202 {
                    self.count("post refused");
                    self.batch_lost(c, batch);
                }
                matches!(status, 202 | 404 | 503)
            }
            Want::Taken if self.clients[c].sse.is_some() => matches!(status, 202 | 404 | 503),
            // What is said in a session that has ended is taken by nobody.
            Want::Taken => matches!(status, 202 | 404),
            Want::Standing(_) | Want::Rest(_) => {
                (status == 200 && streams) || (status == 404 && !self.is_current(c, want))
            }
            Want::End => matches!(status, 200 | 404),
            Want::Health => status == 200,
        };
        assert!(lawful, "c{c} got HTTP {status} for {want:?}");
    }

    /// Whether what is wanted is of the session that the client has now.
    fn is_current(&self, c: usize, want: Want) -> bool {
        match want {
            Want::Asked(ask) | Want::Rest(ask) => {
                owner(&self.clients[c].asked[ask].tag) == self.owner_of(c)
            }
            Want::Standing(life) => life == self.clients[c].life,
            _ => self.clients[c].session.is_some(),
        }
    }

    fn event_seen(&mut self, c: usize, number: u32, want: Want, at: String) {
        let client = &mut self.clients[c];
        let last = match want {
            Want::Asked(ask) | Want::Rest(ask) => &mut client.asked[ask].last,
            Want::Standing(_) => {
                let connection = client.connections.get_mut(&number);
                if client.standing == Some(number) {
                    client.standing_last = Some(at.clone());
                }
                &mut connection.expect("it was read from").last_event
            }
            _ => panic!("c{c} was sent an event for {want:?}"),
        };
        let place = |id: &str| {
            let (stream, number) = id.split_once('-').expect("ids have two parts");
            (
                stream.parse::<u32>().expect("a number"),
                number.parse::<u32>().expect("a number"),
            )
        };
        let new = place(&at);
        if let Some(last) = last {
            let old = place(last);
            let follows = (new.0 == old.0 && new.1 > old.1)
                || (matches!(want, Want::Standing(_)) && new.0 > old.0);
            assert!(follows, "c{c} was sent event {at} after {last}");
        }
        *last = Some(at);
    }

    fn line(&mut self, c: usize, number: u32, message: &Value) {
        if message.get("method").is_some() {
            let token = message
                .pointer("/params/progressToken")
                .and_then(Value::as_u64);
            let wants = &self.clients[c].connections[&number].wants;
            let about = wants.iter().find_map(|want| match want {
                Want::Asked(ask)
                    if token.is_some() && self.clients[c].asked[*ask].token == token =>
                {
                    Some(*want)
                }
                _ => None,
            });
            let otherwise = Want::Standing(self.clients[c].life);
            return self.message(c, number, about.unwrap_or(otherwise), message, None);
        }
        let id = message["id"].as_u64();
        let connection = self.clients[c]
            .connections
            .get(&number)
            .expect("it was read from");
        let place = connection.wants.iter().position(
            |want| matches!(want, Want::Asked(ask) if Some(self.clients[c].asked[*ask].id) == id),
        );
        let place =
            place.unwrap_or_else(|| panic!("c{c} was sent an answer to nothing: {message}"));
        let want = self.clients[c]
            .connections
            .get_mut(&number)
            .and_then(|own| own.wants.remove(place));
        let want = want.expect("it was found");
        self.message(c, number, want, message, None);
        self.response_over(c, number, want);
    }

    /// A JSON-RPC message arrived: this is where anything astray is found.
    pub(crate) fn message(
        &mut self,
        c: usize,
        number: u32,
        want: Want,
        message: &Value,
        at: Option<String>,
    ) {
        self.note(format_args!(
            "c{c} hears on {number} for {want:?}: {message}"
        ));
        check_legacy(c, message);
        if let Some(at) = at {
            self.event_seen(c, number, want, at);
        }
        if let Want::Asked(ask) | Want::Rest(ask) = want {
            let asked = &mut self.clients[c].asked[ask];
            assert!(
                asked.answer.is_none(),
                "c{c} hears more after the answer to {}",
                asked.tag
            );
            if asked.last.is_some() {
                asked.shown_on = Some(number);
            }
        }
        let Some(method) = message["method"].as_str() else {
            return self.answer_came(c, want, message);
        };
        let tag = message
            .pointer("/params/data/tag")
            .or(message.pointer("/params/metadata/tag"));
        if let Some(tag) = tag.and_then(Value::as_str) {
            let (whose, own) = (owner(tag), self.owner_at(c, want));
            assert_eq!(whose, own, "c{c} hears what is about {tag}: {message}");
            self.count("tagged message heard");
            if method == "notifications/message" {
                let tag = tag.to_string();
                self.met_over(&tag, "logging");
            }
        }
        match method {
            "notifications/progress" => {
                let (Want::Asked(ask) | Want::Rest(ask)) = want else {
                    panic!("c{c} hears of progress where it has no request: {message}");
                };
                let asked = &mut self.clients[c].asked[ask];
                let params = &message["params"];
                let progress = params["progress"].as_f64().unwrap_or_default();
                // What is shown again on another stream was heard before.
                let shown_on = want == Want::Rest(ask);
                let rises = shown_on || asked.progress.last().is_none_or(|last| progress > *last);
                // What a server says on two streams overtakes itself, but is still told once.
                let races = self.on_two_streams.contains(&asked.tag);
                let lawful = rises || races && !asked.progress.contains(&progress);
                assert!(lawful, "progress of {} does not rise", asked.tag);
                asked.progress.push(progress);
                assert_eq!(
                    params["progressToken"].as_u64(),
                    asked.token,
                    "token of {}",
                    asked.tag
                );
                assert_eq!(params["message"], *asked.tag, "progress of another request");
                let tag = asked.tag.clone();
                self.met_over(&tag, "progress");
                self.count("progress heard");
            }
            "notifications/resources/updated" => {
                let uri = message["params"]["uri"]
                    .as_str()
                    .expect("an update names a resource");
                let own = (self.owner_at(c, want), uri.to_string());
                let own = self.clients[c].subscribed.contains(&own);
                assert!(own, "c{c} hears of {uri}");
                self.count("update heard");
                if let Some(brain) = self.updated_at.get(uri) {
                    self.met(Era::Legacy, *brain, "subscription");
                }
            }
            method if method.ends_with("/list_changed") => self.count("change heard"),
            "notifications/message" => self.count("log heard"),
            "sampling/createMessage" | "elicitation/create" | "roots/list" => {
                let capability = method.split('/').next().unwrap_or(method);
                let declared = self.clients[c].capabilities.get(capability);
                assert!(
                    declared.is_some(),
                    "c{c} was asked for {method}, which it has not declared"
                );
                let revision = self.clients[c].revision;
                assert!(
                    method != "elicitation/create" || revision.has_elicitation(),
                    "c{c} was asked what its revision does not know"
                );
                let id = message["id"].clone();
                let tag = message
                    .pointer("/params/metadata/tag")
                    .and_then(Value::as_str);
                let tag = tag.unwrap_or_default().to_string();
                // What a replaced stream still brings, the one that replaced it brings again.
                let replaced = matches!(want, Want::Standing(_))
                    && self.clients[c].standing != Some(number)
                    && !self.clients[c].stdio
                    && self.clients[c].sse.is_none();
                if replaced {
                    return;
                }
                assert!(
                    self.clients[c].answered.insert(id.to_string()),
                    "c{c} was asked {id} twice"
                );
                self.count("ask heard");
                if self.owner_at(c, want) == self.owner_of(c)
                    && (self.calm || !self.chance.one_in(12))
                {
                    let life = self.clients[c].life;
                    let delay = self.chance.millis(200);
                    self.after(delay, Action::Client(c, Deed::Answer(id, tag, life)));
                }
            }
            other => panic!("c{c} hears {other}: {message}"),
        }
    }

    /// Whose things may be told to who wants this.
    fn owner_at(&self, c: usize, want: Want) -> String {
        match want {
            Want::Asked(ask) | Want::Rest(ask) => {
                owner(&self.clients[c].asked[ask].tag).to_string()
            }
            Want::Standing(life) => format!("c{}.{life}", self.clients[c].number),
            _ => self.owner_of(c),
        }
    }

    fn answer_came(&mut self, c: usize, want: Want, message: &Value) {
        let (Want::Asked(ask) | Want::Rest(ask)) = want else {
            // A message that was not taken is answered with why.
            let refused = message.get("error").is_some() && message["id"].is_null();
            assert!(
                refused && !self.is_current(c, want)
                    || matches!(want, Want::Taken | Want::Posted(_)),
                "c{c} got {message} for {want:?}"
            );
            return;
        };
        let asked = &mut self.clients[c].asked[ask];
        let code = message.pointer("/error/code").and_then(Value::as_i64);
        if !(message["id"].is_null() && code == Some(-32005)) {
            assert_eq!(
                message["id"].as_u64(),
                Some(asked.id),
                "c{c} got {message} for {}",
                asked.tag
            );
        }
        let echo = message
            .pointer("/result/echo")
            .or(message.pointer("/error/data/echo"));
        if let Some(echo) = echo {
            assert_eq!(
                *echo, *asked.tag,
                "misrouted: c{c} asked {} and got {message}",
                asked.tag
            );
        }
        let answer = match (code, echo) {
            (None, _) => Answer::Result,
            (Some(_), Some(_)) => Answer::ServerError,
            (Some(code), None) => Answer::Refused(code),
        };
        let about = message.pointer("/result/content/0/text");
        let unasked = about.and_then(Value::as_str).is_some_and(|text| {
            message["result"]["isError"] == true && text.starts_with("the client")
        });
        if matches!(asked.what, What::Call(_)) && answer == Answer::Result {
            assert!(
                echo.is_some() || unasked,
                "a call's result is its server's: {message}"
            );
        }
        let (what, method, tag) = (asked.what, asked.method, asked.tag.clone());
        asked.answer = Some(answer.clone());
        if unasked {
            return self.count("ended because its client could not be asked");
        }
        if answer == Answer::Result && echo.is_some() {
            self.met_over(&tag, method);
        }
        if let (Answer::Result, Some(kind)) = (&answer, method.strip_suffix("/list")) {
            self.met_in_list(Era::Legacy, method, &message["result"][kind]);
        }
        self.count(match (&answer, what) {
            (Answer::Result, What::Call(_)) => "call succeeded",
            (Answer::Result, _) => "other request succeeded",
            (Answer::ServerError, _) => "server's error passed on",
            (Answer::Refused(-32000), _) => "refused: failed or cancelled",
            (Answer::Refused(-32001), _) => "refused: timed out",
            (Answer::Refused(-32003), _) => "refused: unavailable",
            (Answer::Refused(-32006), _) => "refused: busy",
            (Answer::Refused(-32005), _) => "refused: session unknown",
            (Answer::Refused(_), _) => "refused: otherwise",
        });
        if want == Want::Rest(ask) {
            self.count("answer on a resumed stream");
        }
    }

    fn response_over(&mut self, c: usize, number: u32, want: Want) {
        match want {
            Want::Asked(ask) | Want::Rest(ask) => {
                let asked = &self.clients[c].asked[ask];
                let elsewhere = asked.shown_on.is_some_and(|shown_on| shown_on != number);
                assert!(
                    asked.answer.is_some() || elsewhere || asked.cancelled || asked.lost,
                    "{} ended without an answer",
                    asked.tag
                );
                if asked.what == What::Initialize && self.clients[c].opening {
                    self.clients[c].opening = false;
                    self.opened(c);
                }
            }
            Want::Standing(_) if self.clients[c].standing == Some(number) => {
                self.clients[c].standing = None;
            }
            Want::Front => self.front_lost(c),
            Want::Batch(batch) => self.check_batch(c, batch),
            _ => {}
        }
    }

    fn opened(&mut self, c: usize) {
        let welcome = self.clients[c]
            .asked
            .iter()
            .rfind(|asked| asked.what == What::Initialize);
        let welcome = welcome.is_some_and(|asked| asked.answer == Some(Answer::Result));
        if welcome && (self.clients[c].stdio || self.clients[c].sse.is_some()) {
            self.clients[c].session = Some("the only one".into());
        }
        if self.clients[c].session.is_none() {
            return;
        }
        let message = json!({"jsonrpc": "2.0", "method": "notifications/initialized"});
        self.post_message(c, &message, Want::Taken);
        if self.chance.one_in(2) {
            self.stand(c);
        }
    }
}

/// What only the modern era knows is not shown to a legacy client.
fn check_legacy(c: usize, message: &Value) {
    let text = message.to_string();
    for member in [
        "\"resultType\"",
        "\"ttlMs\"",
        "\"cacheScope\"",
        "\"inputRequests\"",
        "\"requestState\"",
        "\"io.modelcontextprotocol/serverInfo\"",
        "\"io.modelcontextprotocol/subscriptionId\"",
    ] {
        assert!(!text.contains(member), "c{c} is shown {member}: {message}");
    }
}

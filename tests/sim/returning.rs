//! How modern clients come back when a call of theirs is answered with questions: in time, late, never, with too
//! little, twice, and with what is not theirs.

use crate::caller::{End, Step};
use crate::world::{Action, Plant, World};
use serde_json::{Map, Value, json};
use std::time::Duration;

/// With what a client comes back.
pub(crate) struct Back {
    state: Option<Value>,
    responses: Option<Value>,
    /// The state is not good for it, and it must not be let in.
    unwelcome: bool,
}

/// In which manner.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Manner {
    InTime,
    /// When the state has expired.
    Late,
    Never,
    /// With an answer missing, and one that nobody asked for.
    Partly,
    /// With an answer that is none.
    Malformed,
    Twice,
    /// First with a state that was changed.
    Forged,
    /// First somebody else shows the state.
    Foreign,
    /// First the state is shown with another request.
    Other,
}

const STORMY: &[Manner] = &[
    Manner::InTime,
    Manner::InTime,
    Manner::InTime,
    Manner::InTime,
    Manner::Late,
    Manner::Never,
    Manner::Partly,
    Manner::Malformed,
    Manner::Twice,
    Manner::Forged,
    Manner::Foreign,
    Manner::Other,
];
/// What must not keep a client from its answer.
const CALM: &[Manner] = &[
    Manner::InTime,
    Manner::InTime,
    Manner::Partly,
    Manner::Malformed,
    Manner::Forged,
    Manner::Foreign,
    Manner::Other,
];
/// How often a client lets itself be asked for one thing.
const ROUNDS_BORNE: u32 = 8;

impl World {
    /// A client is asked something, or to ask again.
    pub(crate) fn asked_to_return(&mut self, c: usize, quest: usize, result: &Value) {
        let own = &mut self.callers[c].quests[quest];
        own.rounds += 1;
        own.sealed = result.get("requestState").is_some_and(is_sealed);
        own.stated = result.get("requestState").is_some() && !own.sealed;
        if let Some(state) = result["requestState"].as_str().filter(|_| own.sealed) {
            self.sealed.insert(state.into());
        }
        let own = &self.callers[c].quests[quest];
        let (tag, rounds) = (own.tag.clone(), own.rounds);
        let state = result.get("requestState").cloned();
        let requests = result.get("inputRequests").and_then(Value::as_object);
        let by = format!("m{}", self.callers[c].number);
        let answers = requests.map(|requests| {
            let answer = |(key, request): (&String, &Value)| {
                let about = match request["method"] == "roots/list" {
                    true => "",
                    false => &*tag,
                };
                let answer = json!({"by": by, "tag": about, "roots": [], "action": "accept"});
                (key.clone(), answer)
            };
            requests.iter().map(answer).collect::<Map<_, _>>()
        });
        let manners = if self.calm { CALM } else { STORMY };
        let manner = match (
            rounds > ROUNDS_BORNE,
            self.calm && rounds > ROUNDS_BORNE / 2,
        ) {
            (true, _) => Manner::Never,
            (_, true) => Manner::InTime,
            _ => *self.chance.pick(manners),
        };
        if manner != Manner::InTime {
            self.tampered.insert(tag.clone());
        }
        let proper = || Back {
            state: state.clone(),
            responses: answers.clone().map(Value::Object),
            unwelcome: false,
        };
        let sealed = state.as_ref().is_some_and(is_sealed);
        let soon = self.chance.millis(200);
        let later = soon + Duration::from_millis(600);
        match manner {
            Manner::InTime => self.come_back(c, quest, soon, proper()),
            Manner::Late => {
                self.count("came back late");
                let delay = Duration::from_secs(301) + soon;
                let late = Back {
                    unwelcome: sealed,
                    ..proper()
                };
                self.come_back(c, quest, delay, late);
            }
            Manner::Never => {
                self.count("never came back");
                self.callers[c].quests[quest].end = Some(End::Left);
            }
            Manner::Partly | Manner::Malformed => {
                let mut some = answers.clone().unwrap_or_default();
                let first = some.keys().next().cloned();
                match (first, manner) {
                    (Some(first), Manner::Malformed) => {
                        self.count("came back with what is no answer");
                        some.insert(first, json!(5));
                        self.come_back(c, quest, later, proper());
                    }
                    (first, _) => {
                        self.count("came back with too little");
                        first.map(|first| some.remove(&first));
                        some.insert("nobody asked".into(), json!({"by": by, "tag": tag}));
                    }
                }
                let back = Back {
                    responses: Some(Value::Object(some)),
                    ..proper()
                };
                self.come_back(c, quest, soon, back);
            }
            Manner::Twice => {
                self.count("came back twice");
                self.come_back(c, quest, soon, proper());
                let again = soon + self.chance.millis(50);
                self.come_back(c, quest, again, proper());
            }
            Manner::Forged => {
                if let Some(Value::String(mut forged)) = state.clone() {
                    self.count("state forged");
                    let last = forged.pop();
                    let at = self.chance.below(forged.len());
                    let at = (at..=forged.len()).find(|at| forged.is_char_boundary(*at));
                    forged.insert(at.unwrap_or(0), if last == Some('A') { 'B' } else { 'A' });
                    let back = Back {
                        state: Some(json!(forged)),
                        unwelcome: Some(json!(forged)) != state,
                        ..proper()
                    };
                    self.come_back(c, quest, soon, back);
                }
                self.come_back(c, quest, later, proper());
            }
            Manner::Foreign => {
                if let Some(state) = &state {
                    self.show_to_another(c, quest, state);
                }
                self.come_back(c, quest, later, proper());
            }
            Manner::Other => {
                let method = self.callers[c].quests[quest].method;
                if let Some(state) = state.as_ref().filter(|_| method != "resources/read") {
                    self.count("state shown with another request");
                    let mut params = self.callers[c].quests[quest].params.clone();
                    let other = format!("m{c}:{}", self.callers[c].quests.len());
                    params["arguments"] = json!({"tag": other});
                    self.show(c, method, params, state);
                }
                self.come_back(c, quest, later, proper());
            }
        }
    }

    fn come_back(&mut self, c: usize, quest: usize, delay: Duration, back: Back) {
        let step = Step::Return(quest, Box::new(back));
        self.after(delay, Action::Caller(c, step));
    }

    /// Somebody with another key has got hold of a state.
    fn show_to_another(&mut self, c: usize, quest: usize, state: &Value) {
        let key = self.callers[c].key;
        let mut others = self.callers.iter();
        let Some(other) = others.position(|other| !other.stdio && other.key != key) else {
            return;
        };
        if key.is_none() {
            return;
        }
        self.count("state shown by another");
        let own = self.callers[c].quests[quest].clone();
        let before = self.callers[other].key;
        if self.plant == Some(Plant::StateLent) {
            self.callers[other].key = key;
        }
        self.show(other, own.method, own.params, state);
        self.callers[other].key = before;
    }

    /// Shows a state with a request for which it was not given.
    fn show(&mut self, c: usize, method: &'static str, params: Value, state: &Value) {
        let quest = self.remember_quest(c, method, params, None);
        let tag = self.callers[c].quests[quest].tag.clone();
        self.tampered.insert(tag);
        let more = json!({"requestState": state});
        self.request_for(c, quest, more, true);
    }

    pub(crate) fn return_with(&mut self, c: usize, quest: usize, back: Back) {
        if self.callers[c].quests[quest].end.is_some() {
            return;
        }
        self.count("modern client came back");
        let mut more = json!({});
        match back.state {
            Some(state) => more["requestState"] = state,
            // What it comes back with belongs to a round before the state.
            None => self.callers[c].quests[quest].stated = false,
        }
        if let Some(responses) = back.responses {
            more["inputResponses"] = responses;
        }
        self.request_for(c, quest, more, back.unwelcome);
    }
}

impl World {
    /// A call reached a legacy server, which must not happen to one that is shown with a modern server's state.
    pub(crate) fn check_new(&self, tag: &str) {
        let mut quests = self.callers.iter().flat_map(|caller| &caller.quests);
        assert!(
            !quests.any(|quest| quest.tag == tag && quest.stated),
            "{tag} came back to a legacy server as a new call"
        );
    }

    /// A modern server is shown a state, which must not be one of the gateway's.
    pub(crate) fn check_unsealed(&self, tag: &str, params: &Value) {
        let state = params["requestState"].as_str();
        assert!(
            !state.is_some_and(|state| self.sealed.contains(state)),
            "{tag} is shown to a modern server with a state of the gateway's: {params}"
        );
    }
}

/// Whether a state was made by the gateway, and not by a server.
pub(crate) fn is_sealed(state: &Value) -> bool {
    state
        .as_str()
        .is_some_and(|state| !state.starts_with("sim:"))
}

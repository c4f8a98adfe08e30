//! Calls that a modern server answers with questions first: it keeps nothing open between the rounds, and knows
//! the call again by its state, which must come back as it was given.

use crate::calls::{Call, QUESTIONS, may_ask};
use crate::offers::tag_of;
use crate::server::owner;
use crate::world::World;
use serde_json::{Map, Value, json};

/// A call of several rounds.
#[derive(Default)]
pub(crate) struct Story {
    round: u32,
    /// How many rounds are to come.
    left: u32,
    /// What its client declared.
    capabilities: Value,
    state: Option<String>,
    /// What was asked last, by key.
    asked: Vec<(String, &'static str)>,
}

/// More rounds than anybody bears.
const FOR_EVER: u32 = 1000;

impl World {
    pub(crate) fn called_modern(
        &mut self,
        brain: usize,
        method: &str,
        id: &Value,
        params: &Value,
        web: Option<usize>,
    ) {
        let tag = tag_of(params);
        let declared = &params["_meta"]["io.modelcontextprotocol/clientCapabilities"];
        self.check_unsealed(&tag, params);
        if params.get("requestState").is_some() || params.get("inputResponses").is_some() {
            if !self.returned(brain, &tag, declared, params) {
                return self.refuse(brain, id, web, -32602, "requestState is not known");
            }
            self.check_modern_name(method, params);
            return self.begin_call(brain, method, id, params, web);
        }
        let rounds = match self.chance.below(12) {
            0..=4 => 0,
            5..=7 => 1,
            8 | 9 => 2,
            10 => 3,
            _ if self.calm => 1,
            _ => self.chance.below(2) as u32 * FOR_EVER,
        };
        let name = format!("sim://{}/", self.specs[self.brains[brain].server].name);
        let missing = params["uri"]
            .as_str()
            .is_some_and(|uri| !uri.starts_with(&name));
        let story = Story {
            left: if missing { 0 } else { rounds },
            capabilities: declared.clone(),
            ..Story::default()
        };
        self.brains[brain].stories.insert(tag, story);
        self.called(brain, method, id, params, web);
    }

    fn check_modern_name(&self, method: &str, params: &Value) {
        let own = match method {
            "tools/call" => "echo",
            "prompts/get" => "greet",
            _ => return,
        };
        assert_eq!(params["name"], own, "a thing is called by its own name");
    }

    /// A client is back with answers; whether its call is known.
    fn returned(&mut self, brain: usize, tag: &str, declared: &Value, params: &Value) -> bool {
        let tampered = self.tampered.contains(tag);
        let doubtful = self.specs[self.brains[brain].server].doubtful;
        let state = params["requestState"].as_str().map(String::from);
        let Some(story) = self.brains[brain].stories.get_mut(tag) else {
            // It was another process that asked.
            assert!(
                tampered || doubtful || self.brains[brain].place.is_some(),
                "{tag} came back to a server that does not know it"
            );
            return false;
        };
        if story.state != state {
            assert!(
                tampered || doubtful,
                "{tag} came back with {state:?} instead of {:?}",
                story.state
            );
            return false;
        }
        story.capabilities = declared.clone();
        let (round, asked) = (story.round, std::mem::take(&mut story.asked));
        let given = params["inputResponses"].as_object();
        let given = given.cloned().unwrap_or_default();
        let mut missing = Vec::new();
        for (key, method) in &asked {
            match given.get(key) {
                Some(answer) if tampered && !answer.is_object() => {
                    missing.push((key.clone(), *method));
                }
                Some(answer) => self.take_response(brain, tag, method, answer),
                None => missing.push((key.clone(), *method)),
            }
        }
        if !tampered {
            assert!(missing.is_empty(), "{tag} left {missing:?} without answer");
            let unasked = given.len() - asked.len();
            assert_eq!(unasked, 0, "{tag} answers what was not asked: {given:?}");
            self.count_delivery(&format!("{tag} in round {round}"), 1);
        }
        self.count("came back to a modern server");
        if let Some(story) = self.brains[brain].stories.get_mut(tag)
            && !missing.is_empty()
        {
            story.left += 1;
        }
        true
    }

    fn take_response(&mut self, brain: usize, tag: &str, method: &str, answer: &Value) {
        if self.tampered.contains(tag) {
            return;
        }
        if answer["action"] == "cancel" {
            return self.count("refused to a modern server");
        }
        let by = answer["by"].as_str();
        assert_eq!(by, Some(owner(tag)), "{method} of {tag} got {answer}");
        if method != "roots/list" {
            assert_eq!(answer["tag"], *tag, "{tag} got the answer to another");
        }
        self.count("ask answered");
        self.met(crate::cells::era_of(tag), brain, method);
    }

    /// The questions with which a modern server answers instead, if it does.
    pub(crate) fn next_round(&mut self, brain: usize, call: &Call) -> Option<Value> {
        let story = self.brains[brain].stories.get_mut(&call.tag)?;
        if story.left == 0 {
            self.brains[brain].stories.remove(&call.tag);
            return None;
        }
        story.left -= 1;
        story.round += 1;
        let (round, declared) = (story.round, story.capabilities.clone());
        let rude = !self.calm && self.chance.one_in(15);
        let can: Vec<&'static str> = QUESTIONS
            .into_iter()
            .filter(|method| rude || may_ask(&declared, method))
            .collect();
        let count = match can.is_empty() {
            true => 0,
            false => self.chance.below(4),
        };
        let (mut asked, mut requests) = (Vec::new(), Map::new());
        for number in 0..count {
            let method = *self.chance.pick(&can);
            // Keys are the server's own affair, and mean something only within a round.
            let key = format!("k\u{e9}y \"{number}\"");
            let request = match method {
                "roots/list" => json!({"method": method}),
                _ => {
                    let tag = self.question_tag(&call.tag);
                    let params = json!({"message": "?", "metadata": {"tag": tag}});
                    json!({"method": method, "params": params})
                }
            };
            asked.push((key.clone(), method));
            requests.insert(key, request);
        }
        let mut result = json!({"resultType": "input_required"});
        if count > 0 {
            result["inputRequests"] = Value::Object(requests);
        }
        let stateless = count > 0 && self.chance.one_in(4);
        let state = format!("sim:{}/\u{df}\\\"{round}", call.tag);
        let state = (!stateless).then_some(state);
        if let Some(state) = &state {
            result["requestState"] = json!(state);
        }
        self.count(match (count, stateless) {
            (0, _) => "modern server wants a call again",
            (_, true) => "modern server asks without a state",
            _ => "modern server asks",
        });
        if let Some(story) = self.brains[brain].stories.get_mut(&call.tag) {
            story.asked = asked;
            story.state = state;
        }
        Some(result)
    }
}

//! Calls as their servers see them: tools, prompts and resources, with what is said and asked on the way.

use crate::offers::tag_of;
use crate::server::{Ask, Doing, owner};
use crate::world::{Action, Plant, World};
use serde_json::{Value, json};
use switchbox::mcp::Era;

/// A call as its server sees it.
#[derive(Clone)]
pub(crate) struct Call {
    pub(crate) tag: String,
    pub(crate) method: String,
    era: Era,
    token: Option<Value>,
    /// Whether it wants to hear what is logged.
    logs: bool,
    /// The HTTP connection on which it is answered.
    pub(crate) web: Option<usize>,
    pub(crate) streams: bool,
    pub(crate) answered: bool,
    /// What was said on its stream, for who comes back for it.
    pub(crate) said: Vec<Value>,
    pub(crate) cancelled: bool,
    /// Its client was asked something.
    was_asked: bool,
    /// It is about a resource that is another server's, or nobody's.
    missing: bool,
    steps: u32,
}

/// What a server has to be asked for, and answers with the tag of who asked.
pub(crate) const METHODS: [&str; 4] = [
    "tools/call",
    "prompts/get",
    "resources/read",
    "completion/complete",
];

/// What clients are asked.
pub(crate) const QUESTIONS: [&str; 3] =
    ["sampling/createMessage", "elicitation/create", "roots/list"];

/// Whether a client that declared this may be asked that.
pub(crate) fn may_ask(declared: &Value, method: &str) -> bool {
    let capability = method.split('/').next().unwrap_or_default();
    declared.get(capability).is_some()
}

impl World {
    pub(crate) fn called(
        &mut self,
        brain: usize,
        method: &str,
        id: &Value,
        params: &Value,
        web: Option<usize>,
    ) {
        let tag = tag_of(params);
        if let Some(own) = params.pointer("/arguments/tag") {
            assert_eq!(*own, *tag, "a call got the arguments of another");
        }
        let own_name = match method {
            "tools/call" => "echo",
            "prompts/get" => "greet",
            _ => "",
        };
        assert!(
            own_name.is_empty() || params["name"] == own_name,
            "a thing is called by its own name: {params}"
        );
        let times = 1 + u32::from(self.plant == Some(Plant::CallTwice));
        // Who is asked something by a server that comes back in the other era has to start over.
        let era = self.brains[brain].era;
        let anew = self.tampered.contains(&tag) && self.specs[self.brains[brain].server].doubtful;
        if !anew {
            self.count_delivery(&format!("{tag} ({era:?})"), times);
        }
        if era == Era::Legacy {
            self.check_new(&tag);
        }
        self.asked_at.insert(tag.clone(), brain);
        self.check_alone(brain, &tag);
        self.begin_call(brain, method, id, params, web);
    }

    /// Notes that a request reached a server, which it may do once.
    pub(crate) fn count_delivery(&mut self, what: &str, times: u32) {
        let delivered = self.delivered.entry(what.to_string()).or_default();
        *delivered += times;
        let all = *delivered;
        assert!(all == 1, "call {what} reached a server {all} times");
        self.count("call delivered");
    }

    /// Takes up a call, and plans what happens until its answer.
    pub(crate) fn begin_call(
        &mut self,
        brain: usize,
        method: &str,
        id: &Value,
        params: &Value,
        web: Option<usize>,
    ) {
        let key = id.as_u64().expect("our ids are integers");
        let era = self.brains[brain].era;
        let faults = self.specs[self.brains[brain].server].faults;
        let token = params.pointer("/_meta/progressToken").cloned();
        if let Some(token) = &token {
            assert_eq!(*token, *id, "every hop has its own progress token");
        }
        let level = params.pointer("/_meta/io.modelcontextprotocol~1logLevel");
        let streams = web.is_some() && self.chance.one_in(2);
        let name = format!("sim://{}/", self.specs[self.brains[brain].server].name);
        let uri = params["uri"].as_str();
        let call = Call {
            missing: uri.is_some_and(|uri| !uri.starts_with(&name)),
            tag: tag_of(params),
            method: method.to_string(),
            era,
            token,
            logs: era == Era::Legacy || level.is_some(),
            web,
            streams,
            answered: false,
            said: Vec::new(),
            cancelled: false,
            was_asked: false,
            steps: 0,
        };
        let before = self.brains[brain].calls.insert(key, call);
        assert!(before.is_none(), "id {key} was used before");
        if let Some(web) = web {
            self.begin_reply(web, brain, key, streams);
        }
        if self.fault(faults * 3, "server exits") && self.brains[brain].place.is_some() {
            return self.crash_soon(brain);
        }
        let hangs = self.fault(faults * 2, "server hangs");
        let mut at = self.now + self.chance.micros(4000);
        for _ in 0..self.chance.below(4) {
            let doing = match self.chance.below(5) {
                0 | 1 => Doing::Progress(key),
                2 | 3 => Doing::Log(key),
                _ => Doing::Ask(key),
            };
            self.at(at, Action::Brain(brain, doing));
            let pause = if self.chance.one_in(4) { 900 } else { 60 };
            at = at + self.chance.millis(pause);
        }
        if !hangs {
            self.at(at, Action::Brain(brain, Doing::Answer(key)));
        }
        if self.chance.one_in(25) {
            let delay = self.chance.millis(500);
            self.after(delay, Action::Brain(brain, Doing::Change));
        }
    }

    /// A conversation that is one client's alone is used by that client alone; if it is held in the name of modern
    /// clients, by one call at a time, of the same principal, and no more once a call was given up.
    fn check_alone(&mut self, brain: usize, tag: &str) {
        let owner = owner(tag);
        let spec = &self.specs[self.brains[brain].server];
        let own = &mut self.brains[brain];
        // A modern server keeps nothing of its clients.
        if own.era == Era::Modern || (spec.http && !spec.is_older() && !spec.sessions) {
            return;
        }
        let capabilities = &own.capabilities;
        let asks = capabilities
            .get("sampling")
            .or(capabilities.get("elicitation"));
        let alone = spec.per_session
            || capabilities.get("roots").is_some()
            || (spec.is_one_stream() && asks.is_some());
        own.owners.insert(owner.to_string());
        if !alone {
            return;
        }
        let open = own.calls.values().find(|call| !call.answered);
        if let Some(open) = open.filter(|_| owner.starts_with('m')) {
            panic!("{tag} came where {} is under way, which is alone", open.tag);
        }
        let owners: Vec<String> = own.owners.iter().cloned().collect();
        let roots_of = own.roots_of.clone();
        for other in owners.iter().filter(|other| !other.ends_with('x')) {
            assert!(
                owner.ends_with('x') || self.is_same(other, owner),
                "{owners:?} share brain {brain}, which is for one"
            );
        }
        if let Some(roots_of) = roots_of {
            assert!(
                self.is_same(&roots_of, owner),
                "brain {brain} has another client's roots"
            );
        }
    }

    // ── on the way ───────────────────────────────────────────────────────────────────────────────

    fn open_call(&mut self, brain: usize, call: u64) -> Option<&mut Call> {
        let call = self.brains[brain].calls.get_mut(&call)?;
        (!call.answered && !call.cancelled).then_some(call)
    }

    pub(crate) fn make_progress(&mut self, brain: usize, key: u64) {
        let Some(call) = self.open_call(brain, key) else {
            return;
        };
        let Some(token) = call.token.clone() else {
            return;
        };
        call.steps += 1;
        let params = json!({"progressToken": token, "progress": call.steps, "message": call.tag});
        self.count("progress sent");
        let message =
            json!({"jsonrpc": "2.0", "method": "notifications/progress", "params": params});
        self.say_about(brain, key, message);
    }

    pub(crate) fn log(&mut self, brain: usize, key: u64) {
        let Some(call) = self.open_call(brain, key).filter(|call| call.logs) else {
            return;
        };
        let mut tag = call.tag.clone();
        if self.plant == Some(Plant::LogSwapped) {
            tag = "c9.0:1".into();
        }
        self.count("log sent");
        let params = json!({"level": "warning", "data": {"tag": tag}});
        let message =
            json!({"jsonrpc": "2.0", "method": "notifications/message", "params": params});
        self.say_about(brain, key, message);
    }

    /// Asks the client, as legacy servers do.
    pub(crate) fn ask_client(&mut self, brain: usize, key: u64) {
        let spec = &self.specs[self.brains[brain].server];
        // Who keeps no sessions does not know what was declared in them.
        let declared = match spec.http && !spec.is_older() && !spec.sessions {
            true => &Value::Null,
            false => &self.brains[brain].capabilities,
        };
        // Some ask whatever they like.
        let rude = !self.calm && self.chance.one_in(6);
        let can: Vec<&'static str> = QUESTIONS
            .into_iter()
            .filter(|method| rude || may_ask(declared, method))
            .collect();
        if can.is_empty() {
            return;
        }
        let method = *self.chance.pick(&can);
        let Some(call) = self
            .open_call(brain, key)
            .filter(|call| call.era == Era::Legacy)
        else {
            return;
        };
        call.was_asked = true;
        let tag = call.tag.clone();
        let (about, params) = match method {
            "roots/list" => (None, json!({})),
            _ => (
                Some(tag.clone()),
                json!({"message": "?", "metadata": {"tag": self.question_tag(&tag)}}),
            ),
        };
        let id = self.new_ask(brain, about, Some(key), method);
        let message = json!({"jsonrpc": "2.0", "id": id, "method": method, "params": params});
        self.say_about(brain, key, message);
    }

    /// What a question says whom it is for.
    pub(crate) fn question_tag(&self, tag: &str) -> String {
        match self.plant {
            Some(Plant::QuestionSwapped) => "m9:1".into(),
            _ => tag.into(),
        }
    }

    pub(crate) fn new_ask(
        &mut self,
        brain: usize,
        tag: Option<String>,
        call: Option<u64>,
        method: &'static str,
    ) -> u64 {
        // Every server counts from 0, too.
        let own = &mut self.brains[brain];
        let id = own.next_ask;
        own.next_ask += 1;
        own.asks.insert(id, Ask { tag, call, method });
        self.count("ask sent");
        id
    }

    // ── the answer ───────────────────────────────────────────────────────────────────────────────

    pub(crate) fn answer(&mut self, brain: usize, key: u64) {
        let waits = self.brains[brain]
            .asks
            .values()
            .any(|ask| ask.call == Some(key));
        if waits && (self.calm || self.chance.one_in(2)) {
            return;
        }
        if self.open_call(brain, key).is_none() {
            return;
        }
        let call = self.brains[brain].calls[&key].clone();
        let mut tag = call.tag.clone();
        let other = self.brains[brain].calls.values().next();
        match self.plant {
            Some(Plant::AnswerSwapped) => tag = other.map_or(tag, |call| call.tag.clone()),
            Some(Plant::VisitorSwapped) if call.was_asked => tag = "m9:1".into(),
            _ => {}
        }
        let mut result = match self.next_round(brain, &call) {
            Some(asked) => asked,
            None if call.missing => {
                let code = match call.era {
                    Era::Legacy => -32002,
                    Era::Modern => -32602,
                };
                let error = json!({"code": code, "message": "?", "data": {"echo": tag}});
                return self.finish(brain, key, json!({"error": error}));
            }
            None => match (self.chance.below(8), &*call.method) {
                (0, _) => {
                    let error = json!({"code": -32050, "message": "no", "data": {"echo": tag}});
                    return self.finish(brain, key, json!({"error": error}));
                }
                (1, "tools/call") => json!({"content": [], "isError": true, "echo": tag}),
                (_, "prompts/get") => json!({"messages": [], "echo": tag}),
                (_, "resources/read") => json!({"contents": [], "echo": tag}),
                _ => json!({"content": [], "echo": tag}),
            },
        };
        if call.era == Era::Modern {
            self.make_modern(&call.method, &mut result);
        } else if self.plant == Some(Plant::ModernShown) {
            result["resultType"] = json!("complete");
        }
        self.finish(brain, key, json!({"result": result}));
    }

    fn finish(&mut self, brain: usize, key: u64, mut answer: Value) {
        self.count("call answered");
        answer["jsonrpc"] = json!("2.0");
        answer["id"] = json!(key);
        if let Some(call) = self.brains[brain].calls.get_mut(&key) {
            call.answered = true;
        }
        match self.specs[self.brains[brain].server].is_one_stream() {
            true => self.say(brain, &answer),
            false => self.finish_call(brain, key, &answer),
        }
    }

    /// Says something about a call in flight.
    fn say_about(&mut self, brain: usize, key: u64, message: Value) {
        let call = &self.brains[brain].calls[&key];
        if self.specs[self.brains[brain].server].is_one_stream() {
            return self.say(brain, &message);
        }
        let (streams, era) = (call.streams, call.era);
        // Many legacy servers use their standing stream for what they say about a call.
        let standing = self.brains[brain].standing.is_some() && era == Era::Legacy;
        if standing && (!streams || self.chance.one_in(4)) {
            self.count("about a call on the standing stream");
            if streams {
                let tag = self.brains[brain].calls[&key].tag.clone();
                self.on_two_streams.insert(tag);
            }
            return self.say(brain, &message);
        }
        if !streams {
            return self.unsaid(brain, &message);
        }
        self.say_on_stream(brain, key, message);
    }

    /// Whoever is asked for a call over HTTP has hung up.
    pub(crate) fn hung_up(&mut self, web: usize) {
        let server = self.serves_which(web);
        for brain in 0..self.brains.len() {
            if self.brains[brain].server != server || self.brains[brain].era != Era::Modern {
                continue;
            }
            self.brains[brain]
                .listens
                .retain(|_, listen| listen.web != Some(web));
            let calls = self.brains[brain].calls.values_mut();
            let cut = calls.filter(|call| call.web == Some(web) && !call.answered);
            let mut tags = Vec::new();
            for call in cut {
                call.cancelled = true;
                tags.push(call.tag.clone());
            }
            for tag in tags {
                self.count("hung up on a modern server");
                self.cancelled_here(brain, &tag);
            }
        }
    }
}

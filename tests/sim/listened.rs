//! Those who listen to a modern server for changes.

use crate::world::World;
use serde_json::{Value, json};

/// Someone who listens for changes.
pub(crate) struct Listened {
    /// The HTTP connection on which it hears of them.
    pub(crate) web: Option<usize>,
    uris: Vec<String>,
    tools: bool,
}

impl World {
    pub(crate) fn listened(
        &mut self,
        brain: usize,
        id: &Value,
        params: &Value,
        web: Option<usize>,
    ) {
        let server = self.brains[brain].server;
        let faults = self.specs[server].faults;
        if self.fault(faults * 6, "listen refused") {
            return self.refuse(brain, id, web, -32601, "Method not found");
        }
        let wanted = &params["notifications"];
        let known = [
            "toolsListChanged",
            "promptsListChanged",
            "resourcesListChanged",
            "resourceSubscriptions",
        ];
        let wanted = wanted.as_object().expect("a listen says what for");
        for name in wanted.keys() {
            assert!(known.contains(&&**name), "{name} is not offered");
        }
        let key = id.as_u64().expect("our ids are integers");
        let name = format!("sim://{}/", self.specs[server].name);
        let uris = wanted
            .get("resourceSubscriptions")
            .and_then(Value::as_array);
        let uris = uris.into_iter().flatten().filter_map(Value::as_str);
        // Before a server has said what it has, what is asked of others by resource may come here.
        let uris = uris.filter(|uri| uri.starts_with(&name));
        let mut uris: Vec<String> = uris.map(String::from).collect();
        if !uris.is_empty() && self.fault(faults * 3, "listen granted in part") {
            uris.remove(0);
        }
        let listen = Listened {
            web,
            tools: wanted.contains_key("toolsListChanged"),
            uris,
        };
        self.count("listened to");
        let follows = !listen.uris.is_empty();
        if let Some(web) = web {
            self.begin_listen(web, brain);
        }
        self.brains[brain].listens.insert(key, listen);
        let mut acknowledged = json!({"notifications": wanted});
        acknowledged["notifications"]["resourceSubscriptions"] =
            json!(self.brains[brain].listens[&key].uris);
        let method = "notifications/subscriptions/acknowledged";
        self.tell_listener(brain, key, method, acknowledged);
        if follows {
            self.update_soon(brain);
        }
        if self.fault(faults, "listen ended by server") {
            self.stop_listening_later(brain, key);
        }
    }

    /// Says something to one who listens.
    fn tell_listener(&mut self, brain: usize, key: u64, method: &str, mut params: Value) {
        let Some(listen) = self.brains[brain].listens.get(&key) else {
            return;
        };
        let web = listen.web;
        params["_meta"] = json!({"io.modelcontextprotocol/subscriptionId": key});
        let message = json!({"jsonrpc": "2.0", "method": method, "params": params});
        match web {
            Some(web) => self.web_event(web, None, &message),
            None => self.say(brain, &message),
        }
    }

    pub(crate) fn update_listeners(&mut self, brain: usize) {
        let listens = self.brains[brain].listens.iter();
        let told: Vec<(u64, String)> = listens
            .filter_map(|(key, listen)| Some((*key, listen.uris.first()?.clone())))
            .collect();
        for (key, uri) in told {
            self.count("resource updated");
            self.updated_at.insert(uri.clone(), brain);
            let method = "notifications/resources/updated";
            self.tell_listener(brain, key, method, json!({"uri": uri}));
        }
    }

    pub(crate) fn tell_listeners_of_change(&mut self, brain: usize) {
        let listens = self.brains[brain].listens.iter();
        let told: Vec<u64> = listens
            .filter_map(|(key, listen)| listen.tools.then_some(*key))
            .collect();
        for key in told {
            self.tell_listener(brain, key, "notifications/tools/list_changed", json!({}));
        }
    }

    /// Ends a listen in good order.
    pub(crate) fn stop_listening(&mut self, brain: usize, key: u64) {
        let Some(listen) = self.brains[brain].listens.remove(&key) else {
            return;
        };
        self.count("listen ended in good order");
        let meta = json!({"io.modelcontextprotocol/subscriptionId": key});
        let result = json!({"resultType": "complete", "_meta": meta});
        let answer = json!({"jsonrpc": "2.0", "id": key, "result": result});
        match listen.web {
            Some(web) => {
                self.web_event(web, None, &answer);
                self.end_stream(web);
            }
            None => self.say(brain, &answer),
        }
    }
}

//! What servers of either era offer: their lists, in pages, and completions.

use crate::world::World;
use serde_json::{Value, json};

/// Everything that can be offered, as it is declared in both eras.
pub(crate) fn capabilities() -> Value {
    json!({"tools": {"listChanged": true}, "prompts": {"listChanged": true}, "logging": {},
        "completions": {}, "resources": {"subscribe": true, "listChanged": true}})
}

impl World {
    /// A page of a list; `None` if `method` asks for none.
    ///
    /// Every entry says where it was listed, so that who sees it can tell which server it has met.
    pub(crate) fn listed(&mut self, brain: usize, method: &str, params: &Value) -> Option<Value> {
        let own = &self.brains[brain];
        let name = &self.specs[own.server].name;
        let at = format!("at {brain}");
        let tool = |name: &str| {
            let tag = json!({"type": "string", "x-mcp-header": "Tag"});
            json!({"name": name, "description": at,
                "inputSchema": {"type": "object", "properties": {"tag": tag}}})
        };
        Some(match method {
            "tools/list" => match params["cursor"].as_str() {
                None => json!({"tools": [tool("echo")], "nextCursor": "2"}),
                Some(_) if own.generation % 2 == 1 => json!({"tools": [tool("more")]}),
                Some(_) => json!({"tools": []}),
            },
            "prompts/list" => json!({"prompts": [{"name": "greet", "description": at}]}),
            "resources/list" => {
                let resource = |n: usize| {
                    json!({"uri": format!("sim://{name}/{n}"), "name": format!("r{n}"),
                        "description": at})
                };
                json!({"resources": [resource(0), resource(1), resource(2)]})
            }
            "resources/templates/list" => json!({"resourceTemplates": []}),
            _ => return None,
        })
    }

    /// The answer to `completion/complete`.
    pub(crate) fn completion(&mut self, brain: usize, params: &Value) -> Value {
        assert_eq!(
            params["ref"]["name"], "greet",
            "a prompt is called by its own name"
        );
        let tag = tag_of(params);
        self.asked_at.insert(tag.clone(), brain);
        json!({"completion": {"values": ["you"]}, "echo": tag})
    }
}

/// The tag that every request of a client carries.
pub(crate) fn tag_of(params: &Value) -> String {
    let tag = params.pointer("/_meta/sim~1tag").and_then(Value::as_str);
    tag.unwrap_or_else(|| panic!("a request has lost its tag: {params}"))
        .to_string()
}

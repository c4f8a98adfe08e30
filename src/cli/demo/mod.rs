//! The tools of the demo server. All of them only read.

mod clock;
mod disk;
mod echo;
mod netlink;
mod network;
mod system;

use serde_json::{Map, Value, json};

/// Arguments of a call.
pub type Arguments = Map<String, Value>;

/// A tool: what is listed of it, and what it does.
pub struct Tool {
    /// What it is called by.
    pub name: &'static str,
    /// What people are shown.
    pub title: &'static str,
    /// What models are told.
    pub description: &'static str,
    /// The properties of its arguments, with the names of the required ones.
    input: fn() -> (Value, &'static [&'static str]),
    /// The schema of its result.
    output: fn() -> Value,
    /// The result, or a sentence on what is wrong.
    call: fn(&Arguments) -> Result<Value, String>,
}

/// Every tool, in the order of the list.
pub static TOOLS: &[Tool] = &[
    network::TOOL,
    system::TOOL,
    disk::TOOL,
    clock::TOOL,
    echo::TOOL,
];

impl Tool {
    /// The tool of this name.
    pub fn find(name: &str) -> Option<&'static Tool> {
        TOOLS.iter().find(|tool| tool.name == name)
    }

    /// Its entry in `tools/list`.
    pub fn listed(&self) -> Value {
        let (properties, required) = (self.input)();
        json!({
            "name": self.name,
            "title": self.title,
            "description": self.description,
            "inputSchema": object(properties, required),
            "outputSchema": (self.output)(),
            "annotations": {"title": self.title, "readOnlyHint": true, "openWorldHint": false},
        })
    }

    /// The result of `tools/call`: what the tool says, as text and as structure, or its complaint.
    pub fn called(&self, arguments: &Arguments) -> Value {
        let said = self.fits(arguments).and_then(|()| (self.call)(arguments));
        match said {
            Ok(structure) => json!({
                "content": [{"type": "text", "text": structure.to_string()}],
                "structuredContent": structure,
                "isError": false,
            }),
            Err(complaint) => json!({
                "content": [{"type": "text", "text": complaint}],
                "isError": true,
            }),
        }
    }

    /// Whether the arguments are those that the tool lists.
    fn fits(&self, arguments: &Arguments) -> Result<(), String> {
        let (properties, required) = (self.input)();
        if let Some(name) = required.iter().find(|name| !arguments.contains_key(**name)) {
            return Err(format!("argument {name:?} is missing"));
        }
        match arguments
            .keys()
            .find(|name| properties.get(name.as_str()).is_none())
        {
            Some(name) => Err(format!("unknown argument {name:?}")),
            None => Ok(()),
        }
    }
}

/// The schema of an object with these properties and no others.
fn object(properties: Value, required: &[&str]) -> Value {
    json!({
        "type": "object",
        "properties": properties,
        "required": required,
        "additionalProperties": false,
    })
}

/// An argument that must be text.
fn text<'a>(arguments: &'a Arguments, name: &str) -> Result<Option<&'a str>, String> {
    match arguments.get(name) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(text)) => Ok(Some(text)),
        Some(_) => Err(format!("argument {name:?} must be a string")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Whether a value fits a schema, as far as the demo's schemas go.
    fn fits(value: &Value, schema: &Value) -> bool {
        let kinds: Vec<&str> = match &schema["type"] {
            Value::String(kind) => vec![kind],
            Value::Array(kinds) => kinds.iter().filter_map(Value::as_str).collect(),
            _ => return false,
        };
        let kind_fits = kinds.iter().any(|kind| match *kind {
            "object" => value.is_object(),
            "array" => value.is_array(),
            "string" => value.is_string(),
            "integer" => value.is_i64() || value.is_u64(),
            "number" => value.is_number(),
            "null" => value.is_null(),
            _ => false,
        });
        let items_fit = value
            .as_array()
            .is_none_or(|items| items.iter().all(|item| fits(item, &schema["items"])));
        let members_fit = value.as_object().is_none_or(|members| {
            let required = schema["required"].as_array().unwrap();
            required
                .iter()
                .all(|name| members.contains_key(name.as_str().unwrap()))
                && members
                    .iter()
                    .all(|(name, member)| fits(member, &schema["properties"][name]))
        });
        kind_fits && items_fit && members_fit
    }

    #[test]
    fn every_result_fits_its_schema() {
        for tool in TOOLS {
            let mut arguments = Arguments::new();
            if tool.name == "echo" {
                arguments.insert("text".into(), "hello".into());
            }
            let called = tool.called(&arguments);
            assert_eq!(called["isError"], false, "{}: {called}", tool.name);
            let structure = &called["structuredContent"];
            assert!(
                fits(structure, &tool.listed()["outputSchema"]),
                "{}: {structure}",
                tool.name
            );
            let text = called["content"][0]["text"].as_str().unwrap();
            assert_eq!(serde_json::from_str::<Value>(text).unwrap(), *structure);
        }
    }

    #[test]
    fn wrong_arguments_are_results_that_say_so() {
        let check = |tool: &str, arguments: Value, part: &str| {
            let called = Tool::find(tool)
                .unwrap()
                .called(arguments.as_object().unwrap());
            assert_eq!(called["isError"], true);
            let text = called["content"][0]["text"].as_str().unwrap();
            assert!(text.contains(part), "{text}");
        };
        check("echo", json!({}), "\"text\" is missing");
        check("echo", json!({"text": 5}), "must be a string");
        check(
            "echo",
            json!({"text": "a", "b": 1}),
            "unknown argument \"b\"",
        );
        check("time", json!({"utc_offset": "CET"}), "utc_offset");
        check(
            "disk_usage",
            json!({"path": "/no/such/path"}),
            "/no/such/path",
        );
        check(
            "network_interfaces",
            json!({"name": "no-such-interface"}),
            "no-such-interface",
        );
    }
}

//! `echo`: says what it is told.

use super::{Tool, object, text};
use serde_json::json;

pub(super) const TOOL: Tool = Tool {
    name: "echo",
    title: "Echo",
    description: "Returns the text it is given. Use it to see whether calls arrive.",
    input: || {
        (
            json!({"text": {"type": "string", "description": "What to return"}}),
            &["text"],
        )
    },
    output: || object(json!({"text": {"type": "string"}}), &["text"]),
    call: |arguments| Ok(json!({"text": text(arguments, "text")?.unwrap_or("")})),
};

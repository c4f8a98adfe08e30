//! Every error answer that switchbox gives in its own name, with its code and its HTTP status.
//!
//! A refusal says whose doing it was and what would make it stop. What a server answers is not a refusal
//! and passes through untouched.

use crate::config::limits;
use crate::jsonrpc::envelope::EnvelopeError;
use crate::jsonrpc::write;
use crate::mcp::Era;
use crate::mcp::revision::Revision;
use std::time::Duration;

/// An error answer of ours.
#[derive(Clone, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum Refusal {
    // The client's doing.
    /// The body is no JSON.
    Parse(String),
    /// The body is no JSON-RPC message.
    Invalid(String),
    /// The body is an array of messages.
    Batch,
    /// The method is unknown, or not the client's to send.
    MethodUnknown(String),
    /// The parameters do not fit the method.
    Params(String),
    /// No server offers a tool of that name.
    ToolUnknown { name: String, note: String },
    /// No server offers a prompt of that name.
    PromptUnknown { name: String, note: String },
    /// No server owns that resource.
    ResourceUnknown { uri: String },
    /// The session id is not, or no longer, known.
    SessionUnknown,
    /// A modern request names a revision that is not spoken.
    RevisionUnknown(String),
    /// A mirrored header is missing, cannot be read, or says something else than the body.
    HeaderMismatch(String),
    /// A modern request's `_meta` lacks what it must have, or has it malformed.
    Meta(String),
    /// A server asked for what the request does not declare; the object that it would have to.
    CapabilityMissing(String),
    /// The state that came with an answer is not, or no longer, good for this request.
    StateUnknown(String),
    /// `Accept` excludes what would be answered.
    NotAcceptable,
    /// The body's media type is not JSON.
    MediaType,
    /// A credential is missing or wrong.
    Unauthorized,
    /// `Host` or `Origin` is not one of ours: a page elsewhere may be behind this (DNS rebinding).
    Forbidden(String),

    // Ours.
    /// A limit is reached for now.
    Busy(&'static str),
    /// We are going down.
    Draining,
    /// Handling it broke; that is a bug.
    Internal,
    /// The server answered before the client was back, and there was no room to keep that.
    Unkept,

    // A server's.
    /// The server cannot be asked now.
    Unavailable { server: String, reason: String },
    /// The server went away before it answered.
    Failed { server: String, cause: String },
    /// The server took too long.
    TimedOut { server: String, after: Duration },
    /// The client cancelled; nobody reads this, but the HTTP exchange must end.
    Cancelled,

    // Towards a server that asked something of a client.
    /// The client does not know the method, or has not declared that it can be asked this.
    ClientCannot(&'static str),
    /// The client could not be asked, or did not answer.
    ClientUnreached(&'static str),
}

impl Refusal {
    /// The JSON-RPC error code. -32700 to -32600 are JSON-RPC's own; -32002 is the legacy era's for
    /// resources, -32020 to -32022 are the modern one's; the others lie in the range without assumed meaning
    /// (-32000 to -32019).
    pub const fn code(&self, era: Era) -> i32 {
        match self {
            Refusal::Parse(_) => -32700,
            Refusal::Invalid(_)
            | Refusal::Batch
            | Refusal::NotAcceptable
            | Refusal::MediaType
            | Refusal::Forbidden(_) => -32600,
            Refusal::MethodUnknown(_) | Refusal::ClientCannot(_) => -32601,
            Refusal::Params(_)
            | Refusal::ToolUnknown { .. }
            | Refusal::PromptUnknown { .. }
            | Refusal::Meta(_)
            | Refusal::StateUnknown(_) => -32602,
            Refusal::ResourceUnknown { .. } => match era {
                Era::Legacy => -32002,
                Era::Modern => -32602,
            },
            Refusal::HeaderMismatch(_) => -32020,
            Refusal::CapabilityMissing(_) => -32021,
            Refusal::RevisionUnknown(_) => -32022,
            Refusal::Internal | Refusal::Unkept | Refusal::ClientUnreached(_) => -32603,
            Refusal::Failed { .. } | Refusal::Cancelled => -32000,
            Refusal::TimedOut { .. } => -32001,
            Refusal::Unavailable { .. } => -32003,
            Refusal::Unauthorized => -32004,
            Refusal::SessionUnknown => -32005,
            Refusal::Busy(_) | Refusal::Draining => -32006,
        }
    }

    /// The HTTP status of the answer that carries it.
    pub const fn status(&self, era: Era) -> u16 {
        match self {
            Refusal::Parse(_)
            | Refusal::Invalid(_)
            | Refusal::Batch
            | Refusal::HeaderMismatch(_)
            | Refusal::Meta(_)
            | Refusal::CapabilityMissing(_)
            | Refusal::RevisionUnknown(_) => 400,
            Refusal::MethodUnknown(_) if matches!(era, Era::Modern) => 404,
            Refusal::Unauthorized => 401,
            Refusal::Forbidden(_) => 403,
            Refusal::SessionUnknown => 404,
            Refusal::NotAcceptable => 406,
            Refusal::MediaType => 415,
            Refusal::Busy(_) | Refusal::Draining => 503,
            Refusal::Internal => 500,
            // The exchange as such went well: the error is its answer (2025-11-25 basic/transports).
            _ => 200,
        }
    }

    /// Whether it says that something is not known, which may be otherwise in a moment.
    pub const fn may_pass(&self) -> bool {
        matches!(
            self,
            Refusal::ToolUnknown { .. }
                | Refusal::PromptUnknown { .. }
                | Refusal::ResourceUnknown { .. }
                | Refusal::Unavailable { .. }
        )
    }

    /// Seconds after which trying again makes sense, where it does.
    pub const fn retry_after(&self) -> Option<u32> {
        match self {
            Refusal::Busy(_) => Some(1),
            Refusal::Draining => Some(5),
            _ => None,
        }
    }

    /// One sentence for who asked.
    pub fn message(&self) -> String {
        match self {
            Refusal::Parse(fact) => format!("Parse error: {fact}"),
            Refusal::Invalid(fact) => format!("Invalid request: {fact}"),
            Refusal::Batch => {
                "Invalid request: batches are not accepted; send one message at a time".into()
            }
            Refusal::MethodUnknown(method) => format!("Method not found: {method}"),
            Refusal::Params(fact) => format!("Invalid params: {fact}"),
            Refusal::ToolUnknown { name, note } => format!("Unknown tool: {name}{note}"),
            Refusal::PromptUnknown { name, note } => format!("Unknown prompt: {name}{note}"),
            Refusal::ResourceUnknown { uri } => format!("Resource not found: {}", shown(uri)),
            Refusal::SessionUnknown => {
                "Session not found: send initialize to begin a new one".into()
            }
            Refusal::RevisionUnknown(name) => format!(
                "Unsupported protocol version {:?}; supported: {}, and 2024-11-05 to {} after initialize",
                shown(name),
                Revision::MODERN.name(),
                Revision::LATEST.name()
            ),
            Refusal::HeaderMismatch(fact) => format!("Header mismatch: {fact}"),
            Refusal::Meta(fact) => format!("Invalid params: {fact}"),
            Refusal::CapabilityMissing(_) => {
                "The server needs to ask the client something that the request does not declare"
                    .into()
            }
            Refusal::StateUnknown(fact) => {
                format!("Invalid params: {fact}; send the request without it to begin again")
            }
            Refusal::NotAcceptable => {
                "Not acceptable: Accept must allow application/json and text/event-stream".into()
            }
            Refusal::MediaType => "Unsupported media type: send application/json".into(),
            Refusal::Unauthorized => {
                "Unauthorized: send a key as Authorization: Bearer KEY or as X-API-Key: KEY".into()
            }
            Refusal::Forbidden(fact) => format!("Forbidden: {fact}"),
            Refusal::Busy(fact) => format!("switchbox is busy: {fact}; try again"),
            Refusal::Draining => "switchbox is shutting down".into(),
            Refusal::Internal => "switchbox failed while handling this; the log has more".into(),
            Refusal::Unkept => {
                "The server answered before the client was back, and its answer was too much to keep".into()
            }
            Refusal::Unavailable { server, reason } => {
                format!("Server \"{server}\" is unavailable: {reason}")
            }
            Refusal::Failed { server, cause } => {
                format!("Server \"{server}\" went away before it answered: {cause}")
            }
            Refusal::TimedOut { server, after } => format!(
                "Server \"{server}\" gave no answer within {} s",
                after.as_millis() as f64 / 1000.0
            ),
            Refusal::Cancelled => "Cancelled by the client".into(),
            Refusal::ClientCannot(why) | Refusal::ClientUnreached(why) => (*why).into(),
        }
    }

    /// The error object.
    pub fn to_json(&self, era: Era) -> Vec<u8> {
        let mut data = Vec::new();
        match self {
            Refusal::ResourceUnknown { uri } => {
                data.extend_from_slice(br#"{"uri":"#);
                write::string(&mut data, uri);
                data.push(b'}');
            }
            Refusal::RevisionUnknown(requested) => {
                data.extend_from_slice(br#"{"supported":[""#);
                data.extend_from_slice(Revision::MODERN.name().as_bytes());
                data.extend_from_slice(br#""],"requested":"#);
                write::string(&mut data, requested);
                data.push(b'}');
            }
            Refusal::CapabilityMissing(required) => {
                data.extend_from_slice(br#"{"requiredCapabilities":"#);
                data.extend_from_slice(required.as_bytes());
                data.push(b'}');
            }
            Refusal::Unavailable { server, .. }
            | Refusal::Failed { server, .. }
            | Refusal::TimedOut { server, .. } => {
                data.extend_from_slice(br#"{"server":"#);
                write::string(&mut data, server);
                data.push(b'}');
            }
            _ => {}
        }
        let mut out = Vec::with_capacity(96);
        write::error_object(&mut out, self.code(era), &self.message(), &data);
        out
    }
}

impl From<&EnvelopeError> for Refusal {
    fn from(error: &EnvelopeError) -> Refusal {
        match error {
            EnvelopeError::Parse(error) => Refusal::Parse(error.to_string()),
            EnvelopeError::Invalid { fact, .. } => Refusal::Invalid((*fact).into()),
            EnvelopeError::Batch => Refusal::Batch,
        }
    }
}

/// A name for an error message: cut to what a name may be, so that a peer does not choose its length.
pub fn shown(name: &str) -> String {
    if name.len() <= 2 * limits::NAME_BYTES_MAX {
        return name.into();
    }
    let mut end = 2 * limits::NAME_BYTES_MAX;
    while !name.is_char_boundary(end) {
        end -= 1;
    }
    format!("{}…", &name[..end])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn error_object_is_json_and_names_the_server() {
        let refusal = Refusal::Failed {
            server: "a\"b".into(),
            cause: "exit status: 1\nboom".into(),
        };
        let value: serde_json::Value =
            serde_json::from_slice(&refusal.to_json(Era::Legacy)).unwrap();
        assert_eq!(value["code"], -32000);
        assert_eq!(value["data"]["server"], "a\"b");
        assert!(
            value["message"]
                .as_str()
                .unwrap()
                .contains("exit status: 1\nboom")
        );
    }

    #[test]
    fn uri_is_cut_in_the_message_but_whole_in_the_data() {
        let uri = format!("file:///{}", "x".repeat(400));
        let refusal = Refusal::ResourceUnknown { uri: uri.clone() };
        let value: serde_json::Value =
            serde_json::from_slice(&refusal.to_json(Era::Legacy)).unwrap();
        assert_eq!(value["data"]["uri"], uri);
        assert!(value["message"].as_str().unwrap().len() < 200);
    }

    #[test]
    fn revision_is_cut_in_the_message_but_whole_in_the_data() {
        let name = format!("2027-{}", "0".repeat(400));
        let refusal = Refusal::RevisionUnknown(name.clone());
        let value: serde_json::Value =
            serde_json::from_slice(&refusal.to_json(Era::Modern)).unwrap();
        assert_eq!(value["data"]["requested"], name);
        assert!(value["message"].as_str().unwrap().len() < 300);
    }

    #[test]
    fn long_names_are_cut_on_a_character() {
        assert_eq!(shown("tool"), "tool");
        assert!(shown(&"é".repeat(200)).len() <= 2 * limits::NAME_BYTES_MAX + '…'.len_utf8());
    }
}

//! What a client must have declared to be asked something.
//!
//! A server asks no client what it did not declare: here it is decided what that is, in the words in which
//! both eras declare it, and in which -32021 names what is missing.

use crate::jsonrpc::parse::{self, Span};
use crate::mcp::method::Method;

/// A capability, as far as one question needs it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Need {
    /// To fill in a form. A client that declared elicitation and named no mode declared this one.
    Form,
    /// To open a URL.
    Url,
    /// To ask a model.
    Sampling,
    /// To ask a model that may use tools.
    SamplingTools,
    /// To name its roots.
    Roots,
}

impl Need {
    /// All of them.
    pub const ALL: [Need; 5] = [
        Need::Form,
        Need::Url,
        Need::Sampling,
        Need::SamplingTools,
        Need::Roots,
    ];

    /// What the question `method` with these params, of a message that was checked before, needs; `None` if no
    /// client of either era could answer it.
    pub fn of(method: Method, text: &[u8], params: Option<Span>) -> Option<Need> {
        let member = |name| params.and_then(|params| parse::member(text, params, name));
        match method {
            Method::Elicit => match member("mode") {
                None => Some(Need::Form),
                Some(mode) => match &*parse::string(text, mode)? {
                    "form" => Some(Need::Form),
                    "url" => Some(Need::Url),
                    _ => None,
                },
            },
            Method::CreateMessage if member("tools").or(member("toolChoice")).is_some() => {
                Some(Need::SamplingTools)
            }
            Method::CreateMessage => Some(Need::Sampling),
            Method::RootsList => Some(Need::Roots),
            _ => None,
        }
    }

    /// As the capabilities object that declares it, and nothing else: `requiredCapabilities` of -32021.
    pub const fn to_json(self) -> &'static str {
        match self {
            Need::Form => r#"{"elicitation":{"form":{}}}"#,
            Need::Url => r#"{"elicitation":{"url":{}}}"#,
            Need::Sampling => r#"{"sampling":{}}"#,
            Need::SamplingTools => r#"{"sampling":{"tools":{}}}"#,
            Need::Roots => r#"{"roots":{}}"#,
        }
    }

    /// Whether a client that declared this object, of either era, can be asked.
    pub fn is_met_by(self, declared: &[u8]) -> bool {
        let whole = Span {
            start: 0,
            end: declared.len(),
        };
        let (name, mode) = match self {
            Need::Form => ("elicitation", Some("form")),
            Need::Url => ("elicitation", Some("url")),
            Need::Sampling => ("sampling", None),
            Need::SamplingTools => ("sampling", Some("tools")),
            Need::Roots => ("roots", None),
        };
        let Some(capability) = parse::member(declared, whole, name) else {
            return false;
        };
        let has = |name| parse::member(declared, capability, name).is_some();
        match mode {
            None => true,
            Some(mode) => has(mode) || (self == Need::Form && !has("url")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn question_needs_what_it_asks_for() {
        let check = |method, params: &str, expected| {
            let span = parse::check(params.as_bytes()).unwrap();
            let need = Need::of(method, params.as_bytes(), Some(span));
            assert_eq!(need, expected, "{params}");
        };
        check(Method::Elicit, "{}", Some(Need::Form));
        check(Method::Elicit, r#"{"mode":"form"}"#, Some(Need::Form));
        check(Method::Elicit, r#"{"mode":"url"}"#, Some(Need::Url));
        check(Method::Elicit, r#"{"mode":"telepathy"}"#, None);
        check(Method::Elicit, r#"{"mode":1}"#, None);
        check(Method::CreateMessage, "{}", Some(Need::Sampling));
        check(
            Method::CreateMessage,
            r#"{"tools":[]}"#,
            Some(Need::SamplingTools),
        );
        check(
            Method::CreateMessage,
            r#"{"toolChoice":{}}"#,
            Some(Need::SamplingTools),
        );
        check(Method::RootsList, "{}", Some(Need::Roots));
        check(Method::ToolsCall, "{}", None);
        assert_eq!(Need::of(Method::RootsList, b"", None), Some(Need::Roots));
    }

    #[test]
    fn client_can_be_asked_what_it_declared() {
        let check = |declared: &str, expected: &[Need]| {
            let met: Vec<Need> = Need::ALL
                .into_iter()
                .filter(|need| need.is_met_by(declared.as_bytes()))
                .collect();
            assert_eq!(met, expected, "{declared}");
        };
        check("{}", &[]);
        check(r#"{"elicitation":{}}"#, &[Need::Form]);
        check(r#"{"elicitation":{"form":{}}}"#, &[Need::Form]);
        check(r#"{"elicitation":{"url":{}}}"#, &[Need::Url]);
        check(
            r#"{"elicitation":{"url":{},"form":{}}}"#,
            &[Need::Form, Need::Url],
        );
        check(r#"{"sampling":{"context":{}}}"#, &[Need::Sampling]);
        check(
            r#"{"sampling":{"tools":{}}}"#,
            &[Need::Sampling, Need::SamplingTools],
        );
        check(r#"{"roots":{"listChanged":true}}"#, &[Need::Roots]);
    }

    #[test]
    fn what_is_missing_is_named_as_it_would_be_declared() {
        for need in Need::ALL {
            assert!(need.is_met_by(need.to_json().as_bytes()), "{need:?}");
        }
    }
}

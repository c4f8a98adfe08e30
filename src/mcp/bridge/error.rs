//! Errors of servers on their way to a client, from either era to either.
//!
//! | code | legacy server, modern client | modern server, legacy client | modern server, modern client |
//! |---|---|---|---|
//! | -32002 resource not found | -32602 with `data.uri` | as it came | -32602 with `data.uri` |
//! | -32602 with `data.uri`, of `resources/read` | as it came | -32002 | as it came |
//! | -32042 open these URLs first | `input_required` | -32603 | as it came |
//! | -32020, -32021, -32022 | -32603 | between us and the server | between us and the server |
//! | others from -32020 to -32099 | -32603 | -32603 | as it came |
//! | all others | as it came | as it came | as it came |
//!
//! Codes from -32020 to -32099 belong to the specification (2026-07-28, basic, "Error codes"): one that a server
//! made up, or that means something on the other hop only, would be misread. Message and data stay with it.
//! Between two legacy peers everything is as it came.

use super::{Cell, input};
use crate::jsonrpc::edit::{Edits, Fate};
use crate::jsonrpc::parse::{self, Span};
use crate::mcp::Era;
use crate::mcp::method::Method;

/// Whose affair an error is, and what becomes of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Translated {
    /// The client gets it as it came.
    Same,
    /// The client gets this error object instead.
    Error(Vec<u8>),
    /// A legacy server (-32042) wants the user to open URLs and the call made again: the params of one
    /// `elicitation/create` in URL mode for each, at least one. The client is asked by
    /// [`input::input_required`]; no state is needed, since the next call is a call like the first.
    UrlsRequired(Vec<Span>),
    /// Our headers did not match our body (-32020): the server's tools are to be listed again, then the request
    /// may be made once more.
    HeaderMismatch,
    /// The server wants the client to have declared more (-32021): this object, if it names one. A modern client
    /// may be told so in our name; a legacy one declared what it could.
    MissingCapability {
        /// `requiredCapabilities`.
        required: Option<Span>,
    },
    /// The server does not speak the revision that it was asked in (-32022), but those in this list, if it names
    /// any: what is known of its era is out of date.
    Version {
        /// `supported`.
        supported: Option<Span>,
    },
}

/// What becomes of the error object at `error` of a message that was checked before, which answers `method`.
///
/// `uri` is the resource's as the client wrote it, with its quotes, where the request named one: what `data.uri`
/// then says, whatever the server knows it by.
pub fn translated(
    cell: Cell,
    method: Method,
    text: &[u8],
    error: Span,
    uri: Option<&[u8]>,
) -> Translated {
    if cell == Cell::new(Era::Legacy, Era::Legacy) {
        return Translated::Same;
    }
    let data = parse::member(text, error, "data");
    let in_data = |name| data.and_then(|data| parse::member(text, data, name));
    let rewritten = |code| Translated::Error(rewritten(error.of(text), code, None));
    let of_resource = |code| Translated::Error(self::rewritten(error.of(text), code, uri));
    match (code(text, error), cell.server, cell.client) {
        (Some(-32002), _, Era::Modern) => of_resource("-32602"),
        (Some(-32602), Era::Modern, Era::Legacy)
            if method == Method::ResourcesRead && in_data("uri").is_some() =>
        {
            of_resource("-32002")
        }
        (Some(-32042), Era::Legacy, Era::Modern) if input::may_ask(method) => {
            let urls = urls(text, in_data("elicitations"));
            if urls.is_empty() {
                rewritten("-32603")
            } else {
                Translated::UrlsRequired(urls)
            }
        }
        (Some(-32020), Era::Modern, _) => Translated::HeaderMismatch,
        (Some(-32021), Era::Modern, _) => Translated::MissingCapability {
            required: in_data("requiredCapabilities").filter(|at| text[at.start] == b'{'),
        },
        (Some(-32022), Era::Modern, _) => Translated::Version {
            supported: in_data("supported").filter(|at| text[at.start] == b'['),
        },
        (Some(-32099..=-32020), server, client) if server != client => rewritten("-32603"),
        _ => Translated::Same,
    }
}

/// The HTTP status that goes with this error object of a modern exchange (2026-07-28
/// transports/streamable-http, "Error Responses").
pub fn http_status(error: &[u8]) -> u16 {
    let whole = Span {
        start: 0,
        end: error.len(),
    };
    match code(error, whole) {
        Some(-32601) => 404,
        Some(-32022..=-32020) => 400,
        _ => 200,
    }
}

/// Whether a server that is spoken to in `era` says over HTTP that it is of the other one: what it was found to be
/// before holds no longer.
pub fn contradicts(era: Era, status: u16, text: &[u8], error: Span) -> bool {
    match (era, code(text, error)) {
        (Era::Legacy, code) => code == Some(-32022),
        // How servers with sessions refuse who has none; a modern server has other codes for what it refuses.
        (Era::Modern, Some(-32600 | -32000)) => status == 400,
        (Era::Modern, _) => false,
    }
}

/// The code of the error object at `error`, if it is an integer.
pub fn code(text: &[u8], error: Span) -> Option<i64> {
    let code = parse::member(text, error, "code")?;
    std::str::from_utf8(code.of(text)).ok()?.parse().ok()
}

/// The elements of a list of elicitations that can be asked by URL.
fn urls(text: &[u8], list: Option<Span>) -> Vec<Span> {
    let is_string = |object, name| {
        parse::member(text, object, name).is_some_and(|value| text[value.start] == b'"')
    };
    parse::elements(text, list.unwrap_or_default())
        .filter(|&element| is_string(element, "url") && is_string(element, "message"))
        .collect()
}

/// The error object `text` under another code and, if given, about this URI.
fn rewritten(text: &[u8], code: &'static str, uri: Option<&[u8]>) -> Vec<u8> {
    let about = uri.map(|uri| [br#""uri":"#, uri].concat());
    let about = about.as_deref().unwrap_or_default();
    let mut edits = Edits::new(text);
    let whole = edits.whole();
    let mut has_data = about.is_empty();
    let stay = edits.members(whole, |edits, key, value| {
        if key.is("code") {
            return Fate::Become(code.as_bytes().into());
        }
        if key.is("data") && !about.is_empty() {
            if text[value.start] != b'{' {
                return Fate::Drop;
            }
            has_data = true;
            let stay = edits.members(value, |_, key, _| {
                if key.is("uri") {
                    Fate::Drop
                } else {
                    Fate::Keep
                }
            });
            edits.put_first(value, &[about], stay);
        }
        Fate::Keep
    });
    if !has_data {
        edits.put_first(whole, &[br#""data":{"#, about, b"}"], stay);
    }
    edits.finished().into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    const LEGACY: Cell = Cell::new(Era::Legacy, Era::Legacy);
    const MODERN: Cell = Cell::new(Era::Modern, Era::Modern);
    /// A legacy client's server is modern.
    const TO_LEGACY: Cell = Cell::new(Era::Legacy, Era::Modern);
    /// A modern client's server is legacy.
    const TO_MODERN: Cell = Cell::new(Era::Modern, Era::Legacy);

    /// In the words of the table: the error that the client gets, or what else becomes of it.
    fn told(cell: Cell, method: Method, error: &str, uri: Option<&str>) -> String {
        let message = format!("[{error}]");
        let span = Span {
            start: 1,
            end: message.len() - 1,
        };
        let text = message.as_bytes();
        let say = |span: Span| String::from_utf8_lossy(span.of(text)).into_owned();
        match translated(cell, method, text, span, uri.map(str::as_bytes)) {
            Translated::Same => "same".into(),
            Translated::Error(error) => {
                parse::check(&error).unwrap();
                String::from_utf8(error).unwrap()
            }
            Translated::UrlsRequired(urls) => {
                format!(
                    "urls {}",
                    urls.into_iter().map(say).collect::<Vec<_>>().join(" ")
                )
            }
            Translated::HeaderMismatch => "headers".into(),
            Translated::MissingCapability { required } => {
                format!("capability {:?}", required.map(say))
            }
            Translated::Version { supported } => format!("version {:?}", supported.map(say)),
        }
    }

    #[test]
    fn legacy_peers_hear_each_other_as_they_speak() {
        for code in [-32002, -32020, -32042, -32602, -32050, 1] {
            let error = format!(r#"{{"code":{code},"message":"m","data":{{"uri":"a:b"}}}}"#);
            assert_eq!(told(LEGACY, Method::ResourcesRead, &error, None), "same");
        }
    }

    #[test]
    fn missing_resource_is_told_in_the_clients_era() {
        let check = |cell, error: &str, expected: &str| {
            let told = told(cell, Method::ResourcesRead, error, Some(r#""my:a""#));
            assert_eq!(told, expected, "{error}");
        };
        check(
            TO_MODERN,
            r#"{"code":-32002,"message":"no","data":{"n":1.0,"uri":"a"}}"#,
            r#"{"code":-32602,"message":"no","data":{"uri":"my:a","n":1.0}}"#,
        );
        check(
            TO_MODERN,
            r#"{"code": -32002 ,"message":"no"}"#,
            r#"{"data":{"uri":"my:a"},"code": -32602 ,"message":"no"}"#,
        );
        check(
            MODERN,
            r#"{"code":-32002,"message":"no","data":"a"}"#,
            r#"{"data":{"uri":"my:a"},"code":-32602,"message":"no"}"#,
        );
        check(
            TO_LEGACY,
            r#"{"code":-32602,"message":"no","data":{"uri":"a"}}"#,
            r#"{"code":-32002,"message":"no","data":{"uri":"my:a"}}"#,
        );
        check(
            TO_LEGACY,
            r#"{"code":-32602,"message":"bad cursor"}"#,
            "same",
        );
        check(TO_LEGACY, r#"{"code":-32002,"message":"no"}"#, "same");
        assert_eq!(
            told(
                TO_MODERN,
                Method::ToolsCall,
                r#"{"code":-32002,"message":"no"}"#,
                None
            ),
            r#"{"code":-32602,"message":"no"}"#
        );
        let error = r#"{"code":-32602,"message":"no","data":{"uri":"a"}}"#;
        assert_eq!(told(TO_LEGACY, Method::ToolsCall, error, None), "same");
    }

    #[test]
    fn urls_to_open_become_questions() {
        let error = r#"{"code":-32042,"message":"m","data":{"elicitations":[{"mode":"url","url":"https://a","message":"?","elicitationId":"1"},7,{"url":"x"}]}}"#;
        let bare = error.replace("-32042", "-32603");
        let expected = r#"urls {"mode":"url","url":"https://a","message":"?","elicitationId":"1"}"#;
        assert_eq!(told(TO_MODERN, Method::ToolsCall, error, None), expected);
        assert_eq!(told(TO_MODERN, Method::Complete, error, None), bare);
        assert_eq!(told(TO_LEGACY, Method::ToolsCall, error, None), bare);
        let error = r#"{"code":-32042,"message":"m","data":{"elicitations":[]}}"#;
        let bare = error.replace("-32042", "-32603");
        assert_eq!(told(TO_MODERN, Method::ToolsCall, error, None), bare);
    }

    #[test]
    fn what_concerns_the_other_hop_is_not_relayed() {
        let check = |error: &str, expected: &str| {
            for cell in [MODERN, TO_LEGACY] {
                assert_eq!(
                    told(cell, Method::ToolsCall, error, None),
                    expected,
                    "{error}"
                );
            }
            let bare = told(TO_MODERN, Method::ToolsCall, error, None);
            assert!(bare.contains("-32603"), "{bare}");
        };
        check(r#"{"code":-32020,"message":"m"}"#, "headers");
        check(
            r#"{"code":-32021,"message":"m","data":{"requiredCapabilities":{"roots":{}}}}"#,
            r#"capability Some("{\"roots\":{}}")"#,
        );
        check(
            r#"{"code":-32021,"message":"m","data":7}"#,
            "capability None",
        );
        check(
            r#"{"code":-32022,"message":"m","data":{"supported":["x"]}}"#,
            r#"version Some("[\"x\"]")"#,
        );
        check(r#"{"code":-32022,"message":"m"}"#, "version None");
    }

    #[test]
    fn codes_of_nobody_pass_and_those_of_the_specification_do_not_cross() {
        let check = |code: &str, crossing: &str| {
            let error = format!(r#"{{"message":"m","data":[1.0],"code":{code}}}"#);
            for cell in [TO_MODERN, TO_LEGACY] {
                assert_eq!(
                    told(cell, Method::ToolsCall, &error, None),
                    crossing.replace('@', "\"message\":\"m\",\"data\":[1.0],\"code\"")
                );
            }
            assert_eq!(told(MODERN, Method::ToolsCall, &error, None), "same");
        };
        for code in [
            "-32000", "-32001", "-32019", "-32100", "-32601", "-32603", "-32700", "7", "1.5",
        ] {
            check(code, "same");
        }
        for code in ["-32023", "-32050", "-32099"] {
            check(code, "{@:-32603}");
        }
    }
}

//! Tasks in messages: which task a message is about, and that task under another id.
//!
//! A call becomes a task by what a legacy request says (`task`, 2025-11-25 basic/utilities/tasks), or as its
//! server sees fit where a modern one declares the extension (`io.modelcontextprotocol/tasks`, SEP-2663). Either
//! way the task has an id of its server's, and a client must know it by another. A legacy message names its
//! task in `taskId`, `task.taskId` or `_meta`, a modern one in `taskId` alone.

use crate::jsonrpc::edit::{Edits, Fate};
use crate::jsonrpc::parse::{self, Span};
use crate::jsonrpc::write;
use crate::mcp::meta;
use memchr::memmem;
use std::borrow::Cow;

/// In which role a message may name a task.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Naming {
    /// The message is about the task: `taskId`, `task.taskId`, an error's `data.taskId`, and `_meta`.
    Subject,
    /// The message came up in the task: `_meta` alone.
    Related,
}

/// A message, or params alone, with its task under the id that `name` gives for the one that stands there; if it
/// gives none, what only relates the message to the task is gone. `None` if nothing changes.
///
/// `text` was checked before.
pub fn renamed(
    text: &[u8],
    naming: Naming,
    mut name: impl FnMut(&str) -> Option<String>,
) -> Option<Vec<u8>> {
    // Few messages have anything to do with a task.
    memmem::find(text, b"taskId")?;
    let mut edits = Edits::new(text);
    let whole = edits.whole();
    let is_message = parse::member(text, whole, "jsonrpc").is_some();
    if !is_message {
        inside(&mut edits, whole, naming, &mut name);
        return edits.finish();
    }
    edits.members(whole, |edits, key, value| {
        if key.is("params") || key.is("result") {
            inside(edits, value, naming, &mut name);
        } else if key.is("error") && naming == Naming::Subject {
            edits.members(value, |edits, key, value| {
                if key.is("data") {
                    id_within(edits, value, &mut name);
                }
                Fate::Keep
            });
        }
        Fate::Keep
    });
    edits.finish()
}

type Name<'n> = &'n mut dyn FnMut(&str) -> Option<String>;

/// Renames the task of the params or the result at `span`.
fn inside(edits: &mut Edits<'_>, span: Span, naming: Naming, name: Name<'_>) {
    let text = edits.text();
    edits.members(span, |edits, key, value| {
        if key.is("_meta") {
            let mut dropped = false;
            let stay = edits.members(value, |edits, key, value| {
                if !key.is(meta::RELATED_TASK) || id_within(edits, value, name) {
                    return Fate::Keep;
                }
                dropped = true;
                Fate::Drop
            });
            return match dropped && stay == 0 {
                true => Fate::Drop,
                false => Fate::Keep,
            };
        }
        if naming == Naming::Subject && key.is("task") {
            id_within(edits, value, name);
        } else if naming == Naming::Subject && key.is("taskId") {
            let new = parse::string(text, value).and_then(|id| name(&id));
            return new.map_or(Fate::Keep, |new| Fate::Become(write::quoted(&new).into()));
        }
        Fate::Keep
    });
}

/// Renames `taskId` of the object at `span`; whether there is a name for it.
fn id_within(edits: &mut Edits<'_>, span: Span, name: Name<'_>) -> bool {
    let text = edits.text();
    let mut named = false;
    edits.members(span, |_, key, value| {
        if !key.is("taskId") {
            return Fate::Keep;
        }
        match parse::string(text, value).and_then(|id| name(&id)) {
            Some(new) => {
                named = true;
                Fate::Become(write::quoted(&new).into())
            }
            None => Fate::Keep,
        }
    });
    named
}

/// The id of the task in which a request or notification with these params came up, or whose result this is.
pub fn related(text: &[u8], object: Option<Span>) -> Option<Cow<'_, str>> {
    let object = object.filter(|_| memmem::find(text, b"taskId").is_some())?;
    let meta = parse::member(text, object, "_meta")?;
    let related = parse::member(text, meta, meta::RELATED_TASK)?;
    parse::string(text, parse::member(text, related, "taskId")?)
}

/// The id of the task that the params or the result at `object` is about.
pub fn subject(text: &[u8], object: Option<Span>) -> Option<Cow<'_, str>> {
    parse::string(text, parse::member(text, object?, "taskId")?)
}

/// The id of the task that a legacy call became, if the result at `result` says that it became one.
pub fn created(text: &[u8], result: Span) -> Option<Cow<'_, str>> {
    subject(text, parse::member(text, result, "task"))
}

/// A client's response to what a legacy server asked in a task, saying so under the server's own id.
pub fn answered_in(message: &[u8], id: &str) -> Vec<u8> {
    let related = [
        b"\"",
        meta::RELATED_TASK.as_bytes(),
        br#"":{"taskId":"#,
        &*write::quoted(id),
        b"}",
    ]
    .concat();
    let mut edits = Edits::new(message);
    let whole = edits.whole();
    edits.members(whole, |edits, key, result| {
        if !key.is("result") || message[result.start] != b'{' {
            return Fate::Keep;
        }
        let mut has_meta = false;
        let stay = edits.members(result, |edits, key, value| {
            if !key.is("_meta") {
                return Fate::Keep;
            }
            if message[value.start] != b'{' {
                return Fate::Drop;
            }
            has_meta = true;
            let stay = edits.members(value, |_, key, _| match key.is(meta::RELATED_TASK) {
                true => Fate::Drop,
                false => Fate::Keep,
            });
            edits.put_first(value, &[&related], stay);
            Fate::Keep
        });
        if !has_meta {
            edits.put_first(result, &[br#""_meta":{"#, &related, b"}"], stay);
        }
        Fate::Keep
    });
    edits.finished().into_owned()
}

/// Whether a request asks for the call to become a task.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wish {
    /// It does.
    Task,
    /// It does not.
    Answer,
}

/// The params of a legacy request that wishes this, whatever they wished before; `None` if nothing changes.
///
/// A wish for a task that is not theirs to grant is what servers ignore (2025-11-25 basic/utilities/tasks, "Task
/// Support and Handling"), and so it is not passed on to those that do not know it.
pub fn wishing(params: &[u8], wish: Wish) -> Option<Vec<u8>> {
    let mut edits = Edits::new(params);
    let whole = edits.whole();
    let stay = edits.members(whole, |_, key, _| match key.is("task") {
        true => Fate::Drop,
        false => Fate::Keep,
    });
    if wish == Wish::Task {
        edits.put_first(whole, &[br#""task":{}"#], stay);
    }
    edits.finish()
}

/// The params of a request about a legacy server's task.
pub fn about(id: &str) -> Vec<u8> {
    [br#"{"taskId":"#, &*write::quoted(id), b"}"].concat()
}

/// Whether a legacy server's tool can only be called as a task. `entry` is the tool's object alone, checked before.
pub fn is_required(entry: &[u8]) -> bool {
    let whole = Edits::new(entry).whole();
    memmem::find(entry, b"taskSupport").is_some()
        && parse::member(entry, whole, "execution")
            .and_then(|execution| parse::member(entry, execution, "taskSupport"))
            .and_then(|support| parse::string(entry, support))
            .is_some_and(|support| support == "required")
}

#[cfg(test)]
mod tests {
    use super::*;

    const RELATED: &str = r#""io.modelcontextprotocol/related-task":{"taskId":"@"}"#;

    fn check_renamed(naming: Naming, text: &str, expected: &str) {
        let named = |name: Option<&str>, expected: &str| {
            let text = text.replace("RELATED", &RELATED.replace('@', "t"));
            let new = renamed(text.as_bytes(), naming, |id| {
                assert_eq!(id, "t");
                name.map(String::from)
            });
            let new = new.map_or(text.clone(), |new| String::from_utf8(new).unwrap());
            parse::check(new.as_bytes()).unwrap();
            assert_eq!(new, expected.replace("RELATED", &RELATED.replace('@', "n")));
        };
        named(Some("n"), expected);
    }

    #[test]
    fn task_gets_its_other_name_wherever_it_is_named() {
        let check = |text, expected| check_renamed(Naming::Subject, text, expected);
        check(
            r#"{"jsonrpc":"2.0","id":1,"result":{"task":{"taskId":"t","ttl":1.0},"_meta":{RELATED,"x":1}}}"#,
            r#"{"jsonrpc":"2.0","id":1,"result":{"task":{"taskId":"n","ttl":1.0},"_meta":{RELATED,"x":1}}}"#,
        );
        check(
            r#"{"jsonrpc":"2.0","id":1,"result":{"resultType":"task", "taskId": "t" }}"#,
            r#"{"jsonrpc":"2.0","id":1,"result":{"resultType":"task", "taskId": "n" }}"#,
        );
        check(
            r#"{"jsonrpc":"2.0","method":"notifications/tasks","params":{"taskId":"t","result":{"taskId":"own"}}}"#,
            r#"{"jsonrpc":"2.0","method":"notifications/tasks","params":{"taskId":"n","result":{"taskId":"own"}}}"#,
        );
        check(
            r#"{"jsonrpc":"2.0","id":1,"error":{"code":-32602,"message":"t","data":{"taskId":"t"}}}"#,
            r#"{"jsonrpc":"2.0","id":1,"error":{"code":-32602,"message":"t","data":{"taskId":"n"}}}"#,
        );
        check(
            r#"{"taskId":"t","_meta":{}}"#,
            r#"{"taskId":"n","_meta":{}}"#,
        );
        check(r#"{"taskId":7,"task":{}}"#, r#"{"taskId":7,"task":{}}"#);
    }

    #[test]
    fn what_came_up_in_a_task_keeps_its_own_members() {
        let check = |text, expected| check_renamed(Naming::Related, text, expected);
        check(
            r#"{"jsonrpc":"2.0","id":1,"result":{"taskId":"x","task":{"taskId":"y"},"_meta":{RELATED}}}"#,
            r#"{"jsonrpc":"2.0","id":1,"result":{"taskId":"x","task":{"taskId":"y"},"_meta":{RELATED}}}"#,
        );
        check(
            r#"{"jsonrpc":"2.0","id":1,"error":{"code":1,"data":{"taskId":"x"}}}"#,
            r#"{"jsonrpc":"2.0","id":1,"error":{"code":1,"data":{"taskId":"x"}}}"#,
        );
    }

    #[test]
    fn task_that_has_no_other_name_is_not_mentioned() {
        let check = |text: &str, expected: &str| {
            let text = text.replace("RELATED", RELATED);
            let new = renamed(text.as_bytes(), Naming::Related, |_| None);
            assert_eq!(String::from_utf8(new.unwrap()).unwrap(), expected);
        };
        check(
            r#"{"jsonrpc":"2.0","id":1,"method":"m","params":{"a":1,"_meta":{RELATED}}}"#,
            r#"{"jsonrpc":"2.0","id":1,"method":"m","params":{"a":1}}"#,
        );
        check(
            r#"{"jsonrpc":"2.0","id":1,"result":{"_meta":{"x":1.0,RELATED}}}"#,
            r#"{"jsonrpc":"2.0","id":1,"result":{"_meta":{"x":1.0}}}"#,
        );
    }

    #[test]
    fn task_of_a_message_is_found() {
        let text = format!(r#"{{"taskId":"s","_meta":{{{RELATED}}},"task":{{"taskId":"c"}}}}"#);
        let whole = parse::check(text.as_bytes()).unwrap();
        let text = text.as_bytes();
        assert_eq!(related(text, Some(whole)).as_deref(), Some("@"));
        assert_eq!(subject(text, Some(whole)).as_deref(), Some("s"));
        assert_eq!(created(text, whole).as_deref(), Some("c"));
        let bare = Span { start: 0, end: 2 };
        assert_eq!(related(b"{}", Some(bare)), None);
        assert_eq!(subject(b"[]", Some(bare)), None);
        assert_eq!(related(text, None), None);
    }

    #[test]
    fn answer_says_in_which_task_it_was_asked() {
        let check = |text: &str, expected: &str| {
            let new = answered_in(text.replace("RELATED", RELATED).as_bytes(), "t");
            parse::check(&new).unwrap();
            let expected = expected.replace("RELATED", &RELATED.replace('@', "t"));
            assert_eq!(String::from_utf8(new).unwrap(), expected);
        };
        check(
            r#"{"id":1,"result":{}}"#,
            r#"{"id":1,"result":{"_meta":{RELATED}}}"#,
        );
        check(
            r#"{"id":1,"result":{"action":"accept"}}"#,
            r#"{"id":1,"result":{"_meta":{RELATED},"action":"accept"}}"#,
        );
        check(
            r#"{"id":1,"result":{"_meta":{RELATED,"x":1},"a":1}}"#,
            r#"{"id":1,"result":{"_meta":{RELATED,"x":1},"a":1}}"#,
        );
        check(
            r#"{"id":1,"error":{"code":1}}"#,
            r#"{"id":1,"error":{"code":1}}"#,
        );
    }

    #[test]
    fn wish_for_a_task_is_made_and_taken_back() {
        let check = |params: &str, wish, expected: Option<&str>| {
            let new = wishing(params.as_bytes(), wish).map(|new| String::from_utf8(new).unwrap());
            assert_eq!(new.as_deref(), expected, "{params}");
        };
        check(r#"{"name":"t"}"#, Wish::Answer, None);
        check(
            r#"{"task":{"ttl":1},"name":"t"}"#,
            Wish::Answer,
            Some(r#"{"name":"t"}"#),
        );
        check(
            r#"{"name":"t"}"#,
            Wish::Task,
            Some(r#"{"task":{},"name":"t"}"#),
        );
        check(
            r#"{"name":"t","task":7}"#,
            Wish::Task,
            Some(r#"{"task":{},"name":"t"}"#),
        );
    }

    #[test]
    fn tool_that_is_only_called_as_a_task_says_so() {
        let check = |entry: &str, expected| {
            assert_eq!(is_required(entry.as_bytes()), expected, "{entry}");
        };
        check(
            r#"{"name":"t","execution":{"taskSupport":"required"}}"#,
            true,
        );
        check(
            r#"{"name":"t","execution":{"taskSupport":"optional"}}"#,
            false,
        );
        check(r#"{"name":"t","taskSupport":"required"}"#, false);
        check(r#"{"name":"t"}"#, false);
    }
}

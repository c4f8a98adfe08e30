//! Which stretches of a configuration file must not be repeated in a message.
//!
//! Decided before the file is understood, so that a slip in a key does not show what stands behind
//! it: `heders` hides as much as `headers` does. Too much is hidden rather than too little.

use super::node::{Node, Span, Value};
use super::problem::nearest;
use super::schema::{ROOT, SERVER};
use super::syntax::Syntax;

/// Parts of names whose values are secrets wherever they stand.
const TELLING: &[&str] = &[
    "key",
    "token",
    "secret",
    "passw",
    "credential",
    "authorization",
    "bearer",
    "cookie",
];

/// Keys whose values may be shown even in a line that could not be parsed.
///
/// None of them could pass for the name of a variable or a header that holds a secret.
const HARMLESS: &[&str] = &[
    "listen",
    "names",
    "workers",
    "drain",
    "wait_for_servers",
    "level",
    "format",
    "access",
    "enabled",
    "disabled",
    "transport",
    "type",
    "share",
    "era",
    "connections",
    "required",
    "timeout",
    "timeout_ms",
    "command",
    "tags",
    "allow",
    "deny",
    "version",
    "host",
    "port",
];

/// Characters of an anchor or tag that are looked at.
const WORD_CHARS_MAX: usize = 256;

/// The scalars of the tree that may be secrets, in the order of the file and without overlap.
pub(super) fn hidden(root: &Node, text: &str) -> Vec<Span> {
    let mut spans = Vec::new();
    walk(root, Table::Root, Shown::Yes, &mut spans);
    for span in &mut spans {
        span.start = before_properties(span.start, text);
        span.end = past_comment(span.end, text);
    }
    spans.sort();
    spans.dedup_by(|next, last| {
        let overlap = next.start < last.end;
        if overlap {
            last.end = last.end.max(next.end);
        }
        overlap
    });
    spans
}

#[derive(Clone, Copy, PartialEq)]
enum Shown {
    Yes,
    No,
}

/// The end of a comment that follows on the same line: in YAML, what follows a `#` in an unquoted
/// password is one.
fn past_comment(end: usize, text: &str) -> usize {
    let rest = text.get(end..).unwrap_or("");
    // What is empty stands before its colon.
    let after = rest.trim_start_matches([' ', '\t', ':']);
    match after.starts_with(['#', '/']) {
        true => end + rest.find('\n').unwrap_or(rest.len()),
        false => end,
    }
}

/// The beginning of an anchor or tag right before a value: in YAML, an unquoted password that begins
/// with `&` or `!` is one.
fn before_properties(mut start: usize, text: &str) -> usize {
    while let Some(before) = text.get(..start) {
        let trimmed = before.trim_end_matches([' ', '\t']);
        // A word longer than this is no word; and a file may be one long line.
        let word: usize = trimmed
            .chars()
            .rev()
            .take(WORD_CHARS_MAX)
            .take_while(|c| !c.is_whitespace())
            .map(char::len_utf8)
            .sum();
        if !trimmed[trimmed.len() - word..].starts_with(['&', '!']) {
            break;
        }
        start = trimmed.len() - word;
    }
    start
}

/// Which table a value is, as far as that says what it may hold.
#[derive(Clone, Copy, PartialEq)]
enum Table {
    Root,
    Servers,
    Server,
    Other,
}

impl Table {
    /// The table behind a key of this one; `None` if there is no such key.
    fn behind(self, key: &str) -> Option<Table> {
        match (self, key) {
            (Table::Root, "servers" | "mcpServers") => Some(Table::Servers),
            (Table::Root, _) => ROOT.knows(key).then_some(Table::Other),
            (Table::Servers, _) => Some(Table::Server),
            (Table::Server, _) => SERVER.knows(key).then_some(Table::Other),
            (Table::Other, _) => Some(Table::Other),
        }
    }

    fn meant(self, key: &str) -> Option<&'static str> {
        match self {
            Table::Root => nearest(key, ROOT.spellings()),
            Table::Server => nearest(key, SERVER.spellings()),
            Table::Servers | Table::Other => None,
        }
    }
}

fn walk(node: &Node, table: Table, shown: Shown, spans: &mut Vec<Span>) {
    match &node.value {
        Value::Map(entries) => {
            for entry in entries {
                let behind = table.behind(&entry.key);
                let is_table = matches!(entry.node.value, Value::Map(_) | Value::List(_));
                // A scalar is shown if it is clear what its misspelt key was meant to be.
                let is_obscure =
                    behind.is_none() && (is_table || table.meant(&entry.key).is_none());
                let below = if holds_secrets(&entry.key) || is_obscure {
                    Shown::No
                } else {
                    shown
                };
                walk(&entry.node, behind.unwrap_or(Table::Other), below, spans);
            }
        }
        Value::List(items) if table == Table::Servers => {
            for item in items {
                walk(item, Table::Server, shown, spans);
            }
        }
        Value::List(items) => {
            let mut next = shown;
            for item in items {
                // `["--api-key", "abc"]` and `["--api-key=abc"]`.
                let flag = match &item.value {
                    Value::Text(text) if text.starts_with('-') && tells(text) => Some(text),
                    _ => None,
                };
                let joined = flag.is_some_and(|text| text.contains('='));
                let this = if joined { Shown::No } else { next };
                walk(item, table, this, spans);
                next = if flag.is_some() && !joined {
                    Shown::No
                } else {
                    shown
                };
            }
        }
        Value::Text(text) if is_telling_url(text) => spans.push(node.span),
        _ if shown == Shown::Yes => {}
        _ => spans.push(node.span),
    }
}

fn holds_secrets(key: &str) -> bool {
    tells(key) || nearest(key, ["env", "headers", "environment"]).is_some()
}

fn tells(name: &str) -> bool {
    let name = name.to_lowercase();
    TELLING.iter().any(|part| name.contains(part))
}

/// Whether a URL carries what is often a secret: a user or a query.
fn is_telling_url(text: &str) -> bool {
    text.contains("://") && text.contains(['@', '?'])
}

/// The stretches of one line to hide when the file could not be parsed.
///
/// Everything that looks like a value is hidden unless it directly follows a harmless key of the
/// same line.
pub(super) fn by_looks(line: &str, syntax: Syntax) -> Vec<Span> {
    let separator = match syntax {
        Syntax::Toml => '=',
        Syntax::Yaml | Syntax::Json => ':',
    };
    let is_header = syntax == Syntax::Toml && line.starts_with('[') && !line.contains([',', '=']);
    let mut spans = Vec::new();
    // How many values of the last key may be shown: none, one, or those of a list.
    let mut harmless = None;
    let mut open: Vec<char> = Vec::new();
    let mut words = Words { line, at: 0 };
    loop {
        let before = words.at;
        let Some((text, span)) = words.next() else {
            return spans;
        };
        for c in line[before..span.start].chars() {
            match c {
                '[' | '{' => open.push(c),
                ']' | '}' => {
                    open.pop();
                    harmless = None;
                }
                _ => {}
            }
        }
        let in_list = !is_header && open.last() == Some(&'[');
        let is_value = line[..span.start].trim_end().ends_with(separator);
        if line[span.end..].trim_start().starts_with(separator) && !in_list && !is_value {
            let key = text.trim_matches(['"', '\'']);
            harmless = HARMLESS.contains(&key).then_some(open.len());
        } else if text != "-" && !is_header {
            let is_closed = !text.starts_with(['"', '\'']) || text.ends_with(&text[..1]);
            if harmless.is_none() || !is_closed {
                spans.push(span);
            }
            if harmless == Some(open.len()) {
                harmless = None;
            }
        }
    }
}

/// Runs of a line that are quoted, or bare and without structure.
struct Words<'l> {
    line: &'l str,
    at: usize,
}

impl<'l> Words<'l> {
    fn next(&mut self) -> Option<(&'l str, Span)> {
        const STRUCTURE: &[char] = &['{', '}', '[', ']', ',', '=', ':', ' ', '\t', '#'];
        let rest = &self.line[self.at..];
        let start = self.at + rest.find(|c| !STRUCTURE.contains(&c))?;
        let word = &self.line[start..];
        let length = match word.chars().next() {
            Some(quote @ ('"' | '\'')) => {
                let mut escaped = false;
                word.char_indices()
                    .skip(1)
                    .find(|(_, c)| {
                        let ends = *c == quote && !escaped;
                        escaped = *c == '\\' && !escaped;
                        ends
                    })
                    .map_or(word.len(), |(at, _)| at + 1)
            }
            _ => word.find(STRUCTURE).unwrap_or(word.len()),
        };
        self.at = start + length;
        Some((
            &word[..length],
            Span {
                start,
                end: start + length,
            },
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unparsed_line_shows_structure_and_harmless_values_only() {
        let check = |syntax, line: &str, expected: &str| {
            let mut shown = String::new();
            let mut at = 0;
            for span in by_looks(line, syntax) {
                shown.push_str(&line[at..span.start]);
                shown.push_str("***");
                at = span.end;
            }
            shown.push_str(&line[at..]);
            assert_eq!(shown, expected);
        };
        check(Syntax::Toml, "timeout = 5s", "timeout = 5s");
        check(Syntax::Toml, "TOKEN = \"abc", "TOKEN = ***");
        check(Syntax::Yaml, "    TOKEN: abc def", "    TOKEN: *** ***");
        check(
            Syntax::Yaml,
            "  \"env\": {\"T\": \"a\\\"b\", \"U\" \"c\"},",
            "  \"env\": {\"T\": ***, *** ***},",
        );
        check(Syntax::Toml, "abc\"\"\"", "***");
        check(Syntax::Toml, "[servers.git", "[servers.git");
        check(Syntax::Toml, "[\"one\", \"two\"", "[***, ***");
        check(
            Syntax::Toml,
            "keys = [\"a\", 'b', c]",
            "keys = [***, ***, ***]",
        );
        check(Syntax::Yaml, "- --token=abc", "- ***=***");
    }
}

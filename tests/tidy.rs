//! What a machine can say about the source, so that no reviewer has to: the layers, the size of files,
//! the words that belong to one file only, and what must not be left behind.
//!
//! Everything is data: a new rule is a row. The text of the source is enough; nothing is compiled.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

/// Every module directly under `src/`, with its layer. A module imports from layers below its own, and
/// within its own layer only where [`SIBLINGS`] says so.
const LAYERS: &[(&str, u8)] = &[
    ("time", 0),
    ("id", 0),
    ("secret", 0),
    ("base64", 0),
    ("config", 0),
    ("http", 1),
    ("jsonrpc", 1),
    ("mcp", 2),
    ("refusal", 2),
    ("event", 2),
    ("downstream", 3),
    ("auth", 3),
    ("session", 3),
    ("router", 3),
    ("guard", 3),
    ("cache", 3),
    ("upstream", 3),
    ("worker", 4),
    ("runtime", 5),
    ("telemetry", 5),
    ("ops", 5),
    ("cli", 5),
    ("main", 5),
];

/// Layers whose modules may import each other. Stages (3) never do: what one needs of another is the
/// worker's business.
const SIBLINGS: &[u8] = &[0, 2, 5];

/// The layers that are pure: no socket, file, thread, process, clock or chance.
const PURE: std::ops::RangeInclusive<u8> = 0..=4;

/// What pure layers do not mention, each with what stands in for it.
const IMPURE: &[(&str, &str)] = &[
    ("std::fs", "text is read by the shell and handed in"),
    ("std::env", "variables are read by the shell and handed in"),
    ("std::thread", "threads are the shell's"),
    ("std::process", "children are the shell's"),
    ("TcpStream", "sockets are the shell's; a worker sees bytes"),
    (
        "TcpListener",
        "sockets are the shell's; a worker sees bytes",
    ),
    ("UnixStream", "sockets are the shell's; a worker sees bytes"),
    ("Instant", "the clock is an argument, see `time`"),
    ("SystemTime", "the clock is an argument, see `time`"),
    ("RandomState", "seeds are arguments"),
    ("mio::", "readiness is the shell's"),
    ("socket2::", "sockets are the shell's"),
    ("rustix::", "system calls are the shell's"),
    ("signal_hook::", "signals are the shell's"),
    (
        "crossbeam_channel::",
        "a worker returns effects; the shell carries them",
    ),
];

/// Text that belongs to few files: where it may stand in code (string literals included, comments and
/// tests not), and why nowhere else.
const PLACES: &[(&str, &[&str], &str)] = &[
    ("\"2024-", &["mcp/"], "only `mcp` knows protocol versions"),
    ("\"2025-", &["mcp/"], "only `mcp` knows protocol versions"),
    ("\"2026-", &["mcp/"], "only `mcp` knows protocol versions"),
    (
        "switchbox_",
        &["telemetry/metrics.rs"],
        "only `telemetry/metrics.rs` names metrics",
    ),
    (
        "-32",
        &["refusal.rs", "jsonrpc/", "mcp/"],
        "error codes are made in `refusal.rs`",
    ),
    (
        "HashMap::default",
        &[],
        "a map with a random seed; see clippy.toml",
    ),
    (
        "HashSet::default",
        &[],
        "a set with a random seed; see clippy.toml",
    ),
];

/// Text that may not be left in any Rust file.
const LEFT_BEHIND: &[(&str, &str)] = &[
    (concat!("to", "do!("), "finish it, or take it out"),
    (concat!("unimple", "mented!("), "finish it, or take it out"),
    (
        concat!("FIX", "ME"),
        "mend it, or say in a sentence why it stays",
    ),
    (concat!("XX", "X"), "say in a sentence what is meant"),
    (
        concat!("allow(dead", "_code)"),
        "what nobody calls is taken out",
    ),
    (concat!("#[ign", "ore]"), "an ignored test says why"),
    (concat!("dbg", "!("), "a leftover of looking for something"),
];

/// Lines of one file, a trailing `mod tests` not counted. Past this it is usually two nouns.
const FILE_LINES_MAX: usize = 600;

#[test]
fn modules_import_downward_only() {
    let mut faults = String::new();
    for file in sources("src") {
        let Some(here) = file.module() else { continue };
        let layer = layer(&here);
        for (line, there) in imports(&file.code(Strings::Blanked)) {
            // `crate::Something`: an item of the crate root itself, of which there is none below the shell.
            let Some(&(_, below)) = LAYERS.iter().find(|(name, _)| *name == there) else {
                writeln!(
                    faults,
                    "{}:{line}: {there} is no module of the table",
                    file.name
                )
                .unwrap();
                continue;
            };
            let lawful =
                there == here || below < layer || (below == layer && SIBLINGS.contains(&layer));
            if !lawful {
                writeln!(
                    faults,
                    "{}:{line}: {here} (layer {layer}) imports {there} (layer {below})",
                    file.name
                )
                .unwrap();
            }
        }
    }
    assert!(faults.is_empty(), "imports against the layers:\n{faults}");
}

#[test]
fn modules_are_reached_by_crate_paths() {
    // `super::super::x` from `src/a/b.rs` would reach another module without the table seeing it.
    let mut faults = String::new();
    for file in sources("src").iter().filter(|file| file.module().is_some()) {
        let depth = file.name.trim_end_matches("/mod.rs").matches('/').count() + 1;
        for (number, line) in file.without_tests().lines().enumerate() {
            let longest = (1..6)
                .rev()
                .find(|n| line.contains(&"super::".repeat(*n)))
                .unwrap_or(0);
            if longest >= depth {
                writeln!(faults, "{}:{}: {}", file.name, number + 1, line.trim()).unwrap();
            }
        }
    }
    assert!(
        faults.is_empty(),
        "other modules are named by `crate::`, not by `super::`:\n{faults}"
    );
}

#[test]
fn every_module_has_a_layer() {
    let unknown: Vec<_> = sources("src")
        .iter()
        .filter_map(File::module)
        .filter(|name| !LAYERS.iter().any(|(n, _)| n == name))
        .collect();
    assert!(
        unknown.is_empty(),
        "modules without a row in LAYERS: {unknown:?}"
    );
}

#[test]
fn pure_layers_touch_nothing() {
    let mut faults = String::new();
    for file in sources("src") {
        if !file
            .module()
            .is_some_and(|name| PURE.contains(&layer(&name)))
        {
            continue;
        }
        for (number, line) in file.code(Strings::Blanked).lines().enumerate() {
            for (word, instead) in IMPURE.iter().filter(|(word, _)| has_word(line, word)) {
                writeln!(faults, "{}:{}: {word} ({instead})", file.name, number + 1).unwrap();
            }
        }
    }
    assert!(
        faults.is_empty(),
        "the world inside a pure layer:\n{faults}"
    );
}

#[test]
fn words_stay_in_their_places() {
    let mut faults = String::new();
    for file in sources("src") {
        for (number, line) in file.code(Strings::Kept).lines().enumerate() {
            for (word, places, why) in PLACES {
                if line.contains(word) && !places.iter().any(|place| file.name.starts_with(place)) {
                    writeln!(
                        faults,
                        "{}:{}: {} ({why})",
                        file.name,
                        number + 1,
                        line.trim()
                    )
                    .unwrap();
                }
            }
        }
    }
    assert!(faults.is_empty(), "words out of place:\n{faults}");
}

#[test]
fn nothing_is_left_behind() {
    let mut faults = String::new();
    for file in rust_files() {
        for (number, line) in file.text.lines().enumerate() {
            for (word, why) in LEFT_BEHIND.iter().filter(|(word, _)| line.contains(word)) {
                writeln!(faults, "{}:{}: {word} ({why})", file.name, number + 1).unwrap();
            }
        }
    }
    assert!(faults.is_empty(), "left behind:\n{faults}");
}

#[test]
fn files_hold_one_noun() {
    let faults: Vec<_> = rust_files()
        .iter()
        .map(|file| {
            let counted = if file.is_tests() {
                &file.text
            } else {
                file.without_tests()
            };
            (counted.lines().count(), file.name.clone())
        })
        .filter(|(lines, _)| *lines > FILE_LINES_MAX)
        .collect();
    assert!(
        faults.is_empty(),
        "files past {FILE_LINES_MAX} lines, tests not counted: {faults:?}"
    );
}

#[test]
fn files_say_what_they_are() {
    let faults: Vec<_> = rust_files()
        .into_iter()
        .filter(|file| !file.text.starts_with("//! "))
        .map(|file| file.name)
        .collect();
    assert!(
        faults.is_empty(),
        "files that do not open with `//!`: {faults:?}"
    );
}

#[test]
fn tests_are_named_as_claims() {
    let mut faults = String::new();
    for file in rust_files() {
        for (number, line) in file.text.lines().enumerate() {
            if line.trim_start().starts_with(concat!("fn te", "st_")) {
                writeln!(faults, "{}:{}: {}", file.name, number + 1, line.trim()).unwrap();
            }
        }
    }
    assert!(
        faults.is_empty(),
        "a test's name is a claim, without `test_`:\n{faults}"
    );
}

#[test]
fn links_of_documents_lead_somewhere() {
    let mut faults = String::new();
    for path in files(&root(), &["md"]) {
        let text = fs::read_to_string(&path).expect("a file that was just listed");
        for link in text
            .split("](")
            .skip(1)
            .filter_map(|rest| rest.split_once(')'))
            .map(|(link, _)| link)
        {
            let target = link.split('#').next().unwrap_or_default();
            let elsewhere =
                link.contains("://") || link.starts_with("mailto:") || target.is_empty();
            if !elsewhere
                && !path
                    .parent()
                    .expect("a file has a folder")
                    .join(target)
                    .exists()
            {
                writeln!(faults, "{}: {link}", path.display()).unwrap();
            }
        }
    }
    assert!(faults.is_empty(), "links to nothing:\n{faults}");
}

#[test]
fn reader_tells_code_from_comments_and_strings() {
    let source = "a // crate::x\n\"crate::y \\\" //\" b /* crate::z\n */ 'c' '\"' r#\"q\" crate::w\"# &'life d\n";
    let kept = strip(source, Strings::Kept);
    let blanked = strip(source, Strings::Blanked);
    assert_eq!(
        kept,
        "a \n\"crate::y \\\" //\" b \n 'c' '\"' r#\"q\" crate::w\"# &'life d\n"
    );
    assert_eq!(blanked, "a \n\"\" b \n 'c' '\"' r#\"\"# &'life d\n");
}

#[test]
fn reader_finds_every_form_of_import() {
    let check = |code: &str, expected: &[&str]| {
        let found: Vec<_> = imports(code).into_iter().map(|(_, name)| name).collect();
        assert_eq!(found, expected, "{code}");
    };
    check("use crate::time::Time;", &["time"]);
    check(
        "use crate::{id::Id, http::{head, body}, mcp};",
        &["id", "http", "mcp"],
    );
    check(
        "use crate::{\n    id::{A, B},\n    event,\n};",
        &["id", "event"],
    );
    check("fn f(x: crate::secret::Secret) {}", &["secret"]);
    check("pub(in crate::router) fn f() {}", &["router"]);
    check("use std::fmt; use mycrate::x;", &[]);
}

// ── reading ──────────────────────────────────────────────────────────────────────────────────────

/// One Rust file: its name below the folder it was looked for in, and its text.
struct File {
    name: String,
    text: String,
}

impl File {
    /// The module directly under `src/` that this file belongs to; none for the crate root.
    fn module(&self) -> Option<String> {
        let first = self
            .name
            .split('/')
            .next()
            .expect("a split has a first part");
        let name = first.trim_end_matches(".rs");
        (name != "lib").then(|| name.to_owned())
    }

    /// Whether it is the tests of a module, in a file of their own.
    fn is_tests(&self) -> bool {
        self.name.ends_with("/tests.rs") || self.name.contains("/tests/")
    }

    /// What is not tests: the text before a trailing `mod tests`, or nothing.
    fn without_tests(&self) -> &str {
        match self.text.find("\n#[cfg(test)]\nmod tests {") {
            _ if self.is_tests() => "",
            Some(end) => &self.text[..end + 1],
            None => &self.text,
        }
    }

    /// What is not tests, without comments.
    fn code(&self, strings: Strings) -> String {
        strip(self.without_tests(), strings)
    }
}

/// What becomes of string literals when comments are taken out.
#[derive(Clone, Copy, PartialEq)]
enum Strings {
    Kept,
    Blanked,
}

/// `source` without comments; lines stay where they are.
fn strip(source: &str, strings: Strings) -> String {
    let mut out = String::with_capacity(source.len());
    let mut rest = source;
    while !rest.is_empty() {
        let (piece, length) = first_piece(rest);
        let (text, after) = rest.split_at(length);
        match piece {
            Piece::Code => out.push_str(text),
            Piece::Comment => out.extend(text.matches('\n')),
            Piece::Literal { .. } if strings == Strings::Kept => out.push_str(text),
            Piece::Literal { open, close } => {
                out.push_str(&text[..open]);
                out.extend(text.matches('\n'));
                out.push_str(&text[length - close..]);
            }
        }
        rest = after;
    }
    out
}

/// What a stretch of source is.
enum Piece {
    Code,
    Comment,
    /// A string, with the lengths of what opens and closes it.
    Literal {
        open: usize,
        close: usize,
    },
}

/// The piece at the start of `rest`, which is not empty, and its length in bytes.
fn first_piece(rest: &str) -> (Piece, usize) {
    let end_of = |end: &str, from: usize| rest[from..].find(end).map(|at| from + at + end.len());
    let first = rest.chars().next().expect("not empty");
    if rest.starts_with("//") {
        return (Piece::Comment, rest.find('\n').unwrap_or(rest.len()));
    }
    if rest.starts_with("/*") {
        return (Piece::Comment, end_of("*/", 2).unwrap_or(rest.len()));
    }
    if let Some((open, closing)) = raw_string(rest)
        && let Some(end) = end_of(&closing, open)
    {
        let close = closing.len();
        return (Piece::Literal { open, close }, end);
    }
    if first == '"' {
        return (Piece::Literal { open: 1, close: 1 }, closing_quote(rest));
    }
    if rest.starts_with("'\\") {
        // The character after the backslash may itself be a quote.
        return (Piece::Code, end_of("'", 3).unwrap_or(rest.len()));
    }
    if first == '\'' && rest.chars().nth(2) == Some('\'') {
        return (Piece::Code, rest.chars().take(3).map(char::len_utf8).sum());
    }
    (Piece::Code, first.len_utf8())
}

/// The length of `r##"` at the start of `rest`, and what closes it.
fn raw_string(rest: &str) -> Option<(usize, String)> {
    let after = rest.strip_prefix('r')?;
    let hashes = after.bytes().take_while(|b| *b == b'#').count();
    after[hashes..]
        .starts_with('"')
        .then(|| (hashes + 2, format!("\"{}", "#".repeat(hashes))))
}

/// Just past the quote that closes the string literal at the start of `rest`.
fn closing_quote(rest: &str) -> usize {
    let mut escaped = false;
    for (at, c) in rest.char_indices().skip(1) {
        match c {
            '"' if !escaped => return at + 1,
            '\\' => escaped = !escaped,
            _ => escaped = false,
        }
    }
    rest.len()
}

/// The modules that `code` names by `crate::…`, with their lines, in order.
fn imports(code: &str) -> Vec<(usize, String)> {
    let mut found = Vec::new();
    for (at, path) in code.match_indices("crate::") {
        if code[..at].ends_with(is_word) {
            continue;
        }
        let line = code[..at].matches('\n').count() + 1;
        let rest = &code[at + path.len()..];
        match rest.strip_prefix('{') {
            None => found.push((line, word(rest))),
            Some(group) => found.extend(group_heads(group).into_iter().map(|head| (line, head))),
        }
    }
    found
}

/// The first word of each member of a `{…}` group whose brace is already open.
fn group_heads(group: &str) -> Vec<String> {
    let (mut heads, mut depth, mut fresh) = (Vec::new(), 1, true);
    for (at, c) in group.char_indices() {
        match c {
            '{' => depth += 1,
            '}' => depth -= 1,
            ',' if depth == 1 => fresh = true,
            c if fresh && is_word(c) => {
                heads.push(word(&group[at..]));
                fresh = false;
            }
            _ => {}
        }
        if depth == 0 {
            break;
        }
    }
    heads
}

fn word(text: &str) -> String {
    text.chars().take_while(|c| is_word(*c)).collect()
}

fn is_word(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

/// Whether `line` contains `needle` other than as the end or the start of a longer word.
fn has_word(line: &str, needle: &str) -> bool {
    line.match_indices(needle).any(|(at, _)| {
        let after = line[at + needle.len()..].chars().next();
        !line[..at].ends_with(is_word) && (needle.ends_with(':') || !after.is_some_and(is_word))
    })
}

fn layer(module: &str) -> u8 {
    LAYERS
        .iter()
        .find(|(name, _)| *name == module)
        .map_or(u8::MAX, |(_, layer)| *layer)
}

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

/// The Rust files of one folder of the package, named relative to it.
fn sources(folder: &str) -> Vec<File> {
    let base = root().join(folder);
    files(&base, &["rs"])
        .into_iter()
        .map(|path| File {
            name: path
                .strip_prefix(&base)
                .expect("found below it")
                .to_string_lossy()
                .into_owned(),
            text: fs::read_to_string(&path).expect("a file that was just listed"),
        })
        .collect()
}

/// Every Rust file of the package, named relative to its root.
fn rust_files() -> Vec<File> {
    sources("")
}

/// The files below `folder` with one of these extensions, in order; build output and hidden folders not.
fn files(folder: &Path, extensions: &[&str]) -> Vec<PathBuf> {
    let mut entries: BTreeMap<PathBuf, bool> = BTreeMap::new();
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        entries.insert(entry.path(), entry.path().is_dir());
    }
    let mut found = Vec::new();
    for (path, is_folder) in entries {
        let name = path
            .file_name()
            .unwrap_or_default()
            .to_string_lossy()
            .into_owned();
        if is_folder
            && name != "target"
            && name != "node_modules"
            && (!name.starts_with('.') || name == ".github")
        {
            found.extend(files(&path, extensions));
        } else if !is_folder
            && extensions
                .iter()
                .any(|e| path.extension().is_some_and(|found| found == *e))
        {
            found.push(path);
        }
    }
    found
}

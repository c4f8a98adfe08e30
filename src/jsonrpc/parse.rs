//! A strict JSON reader that finds places instead of building values (RFC 8259).
//!
//! It promises that what it accepted is one JSON value in UTF-8, at most [`JSON_DEPTH_MAX`] deep, with
//! nothing around it but white space. It keeps no values: numbers, key order and unknown members survive
//! because nobody rewrites them. It does not know JSON-RPC.

mod cursor;
mod key;

pub use cursor::Cursor;
pub use key::{Among, Key};

use crate::config::limits::JSON_DEPTH_MAX;
use key::unescape;
use std::borrow::Cow;
use std::fmt;

/// A place in a text: from the first byte to just past the last.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Span {
    /// Index of the first byte.
    pub start: usize,
    /// Index just past the last byte.
    pub end: usize,
}

impl Span {
    /// The bytes at this place of `text`.
    pub fn of(self, text: &[u8]) -> &[u8] {
        &text[self.start..self.end]
    }
}

/// Why a text is not the JSON that was expected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ParseError {
    /// Byte at which it became clear.
    pub at: usize,
    /// What was found wrong, as a fact.
    pub fact: &'static str,
}

impl fmt::Display for ParseError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} at byte {}", self.fact, self.at)
    }
}

impl std::error::Error for ParseError {}

/// Checks that `text` is one JSON value and gives its place.
///
/// # Errors
/// The first place that is not UTF-8, not JSON, or nested deeper than [`JSON_DEPTH_MAX`].
pub fn check(text: &[u8]) -> Result<Span, ParseError> {
    check_members(text, &[], |_, _| {})
}

/// Like [`check`], and shows `visit` the members of the value on the way, if it is an object. They count only
/// once all of it is accepted.
///
/// `known` is an object that stood two deep in a text that was accepted before, or nothing: where it stands two
/// deep again, it is passed over at the cost of a comparison. An object says itself where it ends.
///
/// # Errors
/// As [`check`].
pub fn check_members<'a>(
    text: &'a [u8],
    known: &[u8],
    mut visit: impl FnMut(Key<'a>, Span),
) -> Result<Span, ParseError> {
    // Most of it is ASCII, which is seen faster than that it is UTF-8.
    if !text.is_ascii()
        && let Err(error) = std::str::from_utf8(text)
    {
        return Err(ParseError {
            at: error.valid_up_to(),
            fact: "not UTF-8",
        });
    }
    let mut scanner = Scanner { text, at: 0, known };
    scanner.blank();
    let start = scanner.at;
    let span = if scanner.peek() == Some(b'{') {
        scanner.object(0, &mut |key, value| visit(Key::at(text, key), value))?;
        let end = scanner.at;
        Span { start, end }
    } else {
        scanner.value(0)?
    };
    scanner.blank();
    if scanner.at < text.len() {
        return scanner.wrong("something follows the value");
    }
    Ok(span)
}

/// The members of the object at `span` of a text that [`check`] has accepted; none if it is no object.
pub fn members(text: &[u8], span: Span) -> Members<'_> {
    members_knowing(text, span, &[])
}

/// Like [`members`]; a member's value that is `known`, an object that was accepted before, is passed over at the
/// cost of a comparison.
pub fn members_knowing<'a>(text: &'a [u8], span: Span, known: &'a [u8]) -> Members<'a> {
    let mut cursor = Cursor::knowing(text, span, known);
    let open = cursor.enter_object();
    Members { cursor, open }
}

/// The elements of the array at `span` of a text that [`check`] has accepted; none if it is no array.
pub fn elements(text: &[u8], span: Span) -> Elements<'_> {
    let mut cursor = Cursor::new(text, span);
    let open = cursor.enter_array();
    Elements { cursor, open }
}

/// The value of the member `name` of the object at `span`; the last, if a server repeats it.
pub fn member(text: &[u8], span: Span, name: &str) -> Option<Span> {
    members(text, span)
        .filter(|(key, _)| key.is(name))
        .last()
        .map(|(_, value)| value)
}

/// The string at `span`, its escapes resolved; `None` if it is no string, or half a surrogate pair.
pub fn string(text: &[u8], span: Span) -> Option<Cow<'_, str>> {
    let inner = span.of(text).strip_prefix(b"\"")?.strip_suffix(b"\"")?;
    unescape(inner)
}

/// The non-negative integer at `span`, written without fraction or exponent.
pub fn integer(text: &[u8], span: Span) -> Option<u64> {
    std::str::from_utf8(span.of(text)).ok()?.parse().ok()
}

/// Members of an object, in their order.
pub struct Members<'a> {
    cursor: Cursor<'a>,
    open: bool,
}

impl<'a> Iterator for Members<'a> {
    type Item = (Key<'a>, Span);

    fn next(&mut self) -> Option<Self::Item> {
        let key = self.open.then(|| self.cursor.member()).flatten();
        self.open = key.is_some();
        Some((key?, self.cursor.pass()?))
    }
}

/// Elements of an array, in their order.
pub struct Elements<'a> {
    cursor: Cursor<'a>,
    open: bool,
}

impl Iterator for Elements<'_> {
    type Item = Span;

    fn next(&mut self) -> Option<Span> {
        self.open = self.open && self.cursor.element();
        if self.open { self.cursor.pass() } else { None }
    }
}

struct Scanner<'a> {
    text: &'a [u8],
    at: usize,
    known: &'a [u8],
}

/// How deep a known object stands: in a message, as a member of `params`.
const KNOWN_DEPTH: usize = 2;

impl Scanner<'_> {
    fn peek(&self) -> Option<u8> {
        self.text.get(self.at).copied()
    }

    fn take(&mut self, byte: u8) -> bool {
        let taken = self.peek() == Some(byte);
        self.at += usize::from(taken);
        taken
    }

    fn blank(&mut self) {
        while matches!(self.peek(), Some(b' ' | b'\t' | b'\n' | b'\r')) {
            self.at += 1;
        }
    }

    fn wrong<T>(&self, fact: &'static str) -> Result<T, ParseError> {
        let fact = if self.at >= self.text.len() {
            "the text ends early"
        } else {
            fact
        };
        Err(ParseError { at: self.at, fact })
    }

    /// Checks the value that begins here, `depth` containers deep.
    fn value(&mut self, depth: usize) -> Result<Span, ParseError> {
        let start = self.at;
        match self.peek() {
            Some(b'"') => return self.string(),
            Some(b'{') if depth == KNOWN_DEPTH && self.pass_known().is_some() => {}
            Some(b'{') => self.object(depth, &mut |_, _| {})?,
            Some(b'[') => self.array(depth)?,
            Some(b't') => self.word(b"true")?,
            Some(b'f') => self.word(b"false")?,
            Some(b'n') => self.word(b"null")?,
            Some(b'-' | b'0'..=b'9') => self.number()?,
            _ => return self.wrong("no value"),
        }
        Ok(Span {
            start,
            end: self.at,
        })
    }

    /// Passes over the known object, if it begins here.
    fn pass_known(&mut self) -> Option<Span> {
        let start = self.at;
        let stands_here = !self.known.is_empty() && self.text[start..].starts_with(self.known);
        self.at += if stands_here { self.known.len() } else { 0 };
        let end = self.at;
        stands_here.then_some(Span { start, end })
    }

    /// Checks an object, and shows `visit` where its members' names and values stand.
    fn object(
        &mut self,
        depth: usize,
        visit: &mut impl FnMut(Span, Span),
    ) -> Result<(), ParseError> {
        self.descend(depth)?;
        self.blank();
        if self.take(b'}') {
            return Ok(());
        }
        loop {
            self.blank();
            if self.peek() != Some(b'"') {
                return self.wrong("no member name");
            }
            let name = self.string()?;
            self.blank();
            if !self.take(b':') {
                return self.wrong("no colon");
            }
            self.blank();
            let value = self.value(depth + 1)?;
            visit(name, value);
            self.blank();
            if self.take(b'}') {
                return Ok(());
            }
            if !self.take(b',') {
                return self.wrong("neither comma nor closing brace");
            }
        }
    }

    fn array(&mut self, depth: usize) -> Result<(), ParseError> {
        self.descend(depth)?;
        self.blank();
        if self.take(b']') {
            return Ok(());
        }
        loop {
            self.blank();
            self.value(depth + 1)?;
            self.blank();
            if self.take(b']') {
                return Ok(());
            }
            if !self.take(b',') {
                return self.wrong("neither comma nor closing bracket");
            }
        }
    }

    fn descend(&mut self, depth: usize) -> Result<(), ParseError> {
        if depth >= JSON_DEPTH_MAX {
            return Err(ParseError {
                at: self.at,
                fact: "nested deeper than 128 levels",
            });
        }
        self.at += 1;
        Ok(())
    }

    fn word(&mut self, word: &[u8]) -> Result<(), ParseError> {
        if !self.text[self.at..].starts_with(word) {
            return self.wrong("no value");
        }
        self.at += word.len();
        Ok(())
    }

    /// Checks the string that begins here.
    #[inline]
    fn string(&mut self) -> Result<Span, ParseError> {
        // Names are short and plain, as are most values: for those it ends here.
        let (start, inside) = (self.at, self.at + 1);
        for at in [inside, inside + 8] {
            let Some(special) = self.special_at(at) else {
                break;
            };
            if special != 0 {
                let at = at + special.trailing_zeros() as usize / 8;
                if self.text[at] != b'"' {
                    break;
                }
                self.at = at + 1;
                let end = self.at;
                return Ok(Span { start, end });
            }
        }
        self.long_string()
    }

    fn long_string(&mut self) -> Result<Span, ParseError> {
        let start = self.at;
        self.at += 1;
        loop {
            self.pass_plain();
            match self.peek() {
                Some(b'"') => {
                    self.at += 1;
                    return Ok(Span {
                        start,
                        end: self.at,
                    });
                }
                Some(b'\\') => {
                    self.at += 1;
                    match self.peek() {
                        Some(b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't') => {
                            self.at += 1
                        }
                        Some(b'u') => {
                            self.at += 1;
                            for _ in 0..4 {
                                if !self.peek().is_some_and(|b| b.is_ascii_hexdigit()) {
                                    return self.wrong("no four hexadecimal digits");
                                }
                                self.at += 1;
                            }
                        }
                        _ => return self.wrong("no such escape"),
                    }
                }
                Some(0x20..) => self.at += 1,
                _ => return self.wrong("a control character in a string"),
            }
        }
    }

    /// Passes over characters of a string that mean themselves, many at a time: a message is mostly these.
    fn pass_plain(&mut self) {
        // Written so that the compiler can look at a whole vector at once.
        let special = |byte: &u8| u8::from(*byte < 0x20 || *byte == b'"' || *byte == b'\\');
        while let Some(block) = self.text.get(self.at..self.at + 32) {
            if block.iter().fold(0, |any, byte| any | special(byte)) != 0 {
                break;
            }
            self.at += 32;
        }
        while let Some(special) = self.special_at(self.at) {
            if special != 0 {
                self.at += special.trailing_zeros() as usize / 8;
                return;
            }
            self.at += 8;
        }
    }

    /// Which of the eight bytes at `at` do not mean themselves in a string: the lowest bit that is set is of the
    /// first of them. Nothing where there are no eight.
    #[inline]
    fn special_at(&self, at: usize) -> Option<u64> {
        const ONES: u64 = u64::from_le_bytes([1; 8]);
        const HIGHS: u64 = u64::from_le_bytes([0x80; 8]);
        // Sets the high bit of every byte that is zero; a borrow may set more, but only above a true one.
        let zeros = |word: u64| word.wrapping_sub(ONES) & !word & HIGHS;
        let bytes = self.text.get(at..at + 8)?;
        let word = u64::from_le_bytes(bytes.try_into().ok()?);
        let control = word.wrapping_sub(ONES * 0x20) & !word & HIGHS;
        let quote = zeros(word ^ (ONES * u64::from(b'"')));
        let escape = zeros(word ^ (ONES * u64::from(b'\\')));
        Some(control | quote | escape)
    }

    fn number(&mut self) -> Result<(), ParseError> {
        self.take(b'-');
        if !self.take(b'0') {
            self.digits()?;
        }
        if self.take(b'.') {
            self.digits()?;
        }
        if matches!(self.peek(), Some(b'e' | b'E')) {
            self.at += 1;
            if matches!(self.peek(), Some(b'+' | b'-')) {
                self.at += 1;
            }
            self.digits()?;
        }
        Ok(())
    }

    fn digits(&mut self) -> Result<(), ParseError> {
        if !self.peek().is_some_and(|b| b.is_ascii_digit()) {
            return self.wrong("no digit");
        }
        while self.peek().is_some_and(|b| b.is_ascii_digit()) {
            self.at += 1;
        }
        Ok(())
    }

    /// Passes over a value that was checked before: only brackets and strings need to be seen.
    fn skip(&mut self) -> Option<Span> {
        let start = self.at;
        let mut depth = 0usize;
        loop {
            match self.peek()? {
                b'"' => {
                    self.string().ok()?;
                }
                b'{' | b'[' => {
                    depth += 1;
                    self.at += 1;
                }
                b'}' | b']' => {
                    depth = depth.checked_sub(1)?;
                    self.at += 1;
                }
                _ => {
                    self.at += 1;
                    if depth == 0 {
                        while !matches!(
                            self.peek(),
                            None | Some(b',' | b'}' | b']' | b' ' | b'\t' | b'\n' | b'\r')
                        ) {
                            self.at += 1;
                        }
                    }
                }
            }
            if depth == 0 {
                return Some(Span {
                    start,
                    end: self.at,
                });
            }
        }
    }
}

const _: () = assert!(JSON_DEPTH_MAX == 128, "the facts above name it");

#[cfg(test)]
mod tests;

//! A strict JSON reader that finds places instead of building values (RFC 8259).
//!
//! It promises that what it accepted is one JSON value in UTF-8, at most [`JSON_DEPTH_MAX`] deep, with
//! nothing around it but white space. It keeps no values: numbers, key order and unknown members survive
//! because nobody rewrites them. It does not know JSON-RPC.

use crate::config::limits::JSON_DEPTH_MAX;
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

/// A member's name as it stands in the text, without its quotes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Key<'a> {
    raw: &'a [u8],
    at: usize,
}

impl<'a> Key<'a> {
    /// Index of the first byte of its member: the quote before the name.
    pub fn start(self) -> usize {
        self.at
    }

    /// The name with its escapes resolved; `None` if they name half a surrogate pair.
    pub fn text(self) -> Option<Cow<'a, str>> {
        unescape(self.raw)
    }

    /// Whether this is exactly that name, however it is escaped.
    pub fn is(self, name: &str) -> bool {
        self.raw == name.as_bytes()
            || (self.raw.contains(&b'\\') && self.text().is_some_and(|text| text == name))
    }

    /// Whether a lenient reader could take this for `name` although it is not: other case, or the two
    /// letters outside ASCII that fold into it (U+017F to s, U+212A to k), as Go's decoder does.
    pub fn resembles(self, name: &str) -> bool {
        if self.raw.is_ascii() && !self.raw.contains(&b'\\') {
            return self.raw.len() == name.len()
                && self.raw != name.as_bytes()
                && self.raw.eq_ignore_ascii_case(name.as_bytes());
        }
        let Some(text) = self.text() else {
            return false;
        };
        let folded = text.chars().map(|c| match c {
            '\u{17f}' => 's',
            '\u{212a}' => 'k',
            c => c.to_ascii_lowercase(),
        });
        text != name && folded.eq(name.chars().map(|c| c.to_ascii_lowercase()))
    }

    /// Which of `names` this is, or could be taken for.
    pub fn among(self, names: &[&str]) -> Among {
        // Nearly all keys are written plainly: one look at their bytes then serves every comparison.
        let plain = self.raw.is_ascii() && memchr::memchr(b'\\', self.raw).is_none();
        let is = |name: &&str| match plain {
            true => self.raw == name.as_bytes(),
            false => self.is(name),
        };
        let resembles = |name: &&str| match plain {
            true => self.raw.eq_ignore_ascii_case(name.as_bytes()),
            false => self.resembles(name),
        };
        if let Some(place) = names.iter().position(is) {
            return Among::Is(place);
        }
        match names.iter().position(resembles) {
            Some(place) => Among::Resembles(place),
            None => Among::Unknown,
        }
    }
}

/// What a [`Key`] is to a list of names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Among {
    /// The name at this place of the list, exactly.
    Is(usize),
    /// Not that name, but a lenient reader could take it for it; see [`Key::resembles`].
    Resembles(usize),
    /// None of them.
    Unknown,
}

/// Checks that `text` is one JSON value and gives its place.
///
/// # Errors
/// The first place that is not UTF-8, not JSON, or nested deeper than [`JSON_DEPTH_MAX`].
pub fn check(text: &[u8]) -> Result<Span, ParseError> {
    if let Err(error) = std::str::from_utf8(text) {
        return Err(ParseError {
            at: error.valid_up_to(),
            fact: "not UTF-8",
        });
    }
    let mut scanner = Scanner { text, at: 0 };
    scanner.blank();
    let span = scanner.value(0)?;
    scanner.blank();
    if scanner.at < text.len() {
        return scanner.wrong("something follows the value");
    }
    Ok(span)
}

/// The members of the object at `span` of a text that [`check`] has accepted; none if it is no object.
pub fn members(text: &[u8], span: Span) -> Members<'_> {
    let mut scanner = Scanner {
        text: &text[..span.end],
        at: span.start,
    };
    let open = scanner.take(b'{');
    Members { scanner, open }
}

/// The elements of the array at `span` of a text that [`check`] has accepted; none if it is no array.
pub fn elements(text: &[u8], span: Span) -> Elements<'_> {
    let mut scanner = Scanner {
        text: &text[..span.end],
        at: span.start,
    };
    let open = scanner.take(b'[');
    Elements { scanner, open }
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
    scanner: Scanner<'a>,
    open: bool,
}

impl<'a> Iterator for Members<'a> {
    type Item = (Key<'a>, Span);

    fn next(&mut self) -> Option<Self::Item> {
        if !self.open {
            return None;
        }
        self.scanner.blank();
        if self.scanner.take(b'}') {
            self.open = false;
            return None;
        }
        self.scanner.take(b',');
        self.scanner.blank();
        let key = self.scanner.string().ok()?;
        self.scanner.blank();
        self.scanner.take(b':');
        self.scanner.blank();
        let value = self.scanner.skip()?;
        let raw = &self.scanner.text[key.start + 1..key.end - 1];
        let at = key.start;
        Some((Key { raw, at }, value))
    }
}

/// Elements of an array, in their order.
pub struct Elements<'a> {
    scanner: Scanner<'a>,
    open: bool,
}

impl Iterator for Elements<'_> {
    type Item = Span;

    fn next(&mut self) -> Option<Span> {
        if !self.open {
            return None;
        }
        self.scanner.blank();
        if self.scanner.take(b']') {
            self.open = false;
            return None;
        }
        self.scanner.take(b',');
        self.scanner.blank();
        self.scanner.skip()
    }
}

struct Scanner<'a> {
    text: &'a [u8],
    at: usize,
}

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
            Some(b'{') => self.object(depth)?,
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

    fn object(&mut self, depth: usize) -> Result<(), ParseError> {
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
            self.string()?;
            self.blank();
            if !self.take(b':') {
                return self.wrong("no colon");
            }
            self.blank();
            self.value(depth + 1)?;
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

    fn string(&mut self) -> Result<Span, ParseError> {
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

    /// Passes over characters of a string that mean themselves, eight at a time: a message is mostly these.
    fn pass_plain(&mut self) {
        const ONES: u64 = u64::from_le_bytes([1; 8]);
        const HIGHS: u64 = u64::from_le_bytes([0x80; 8]);
        // Sets the high bit of every byte that is zero; a borrow may set more, but only above a true one.
        let zeros = |word: u64| word.wrapping_sub(ONES) & !word & HIGHS;
        while let Some(Ok(bytes)) = self.text.get(self.at..self.at + 8).map(<[u8; 8]>::try_from) {
            let word = u64::from_le_bytes(bytes);
            let control = word.wrapping_sub(ONES * 0x20) & !word & HIGHS;
            let quote = zeros(word ^ (ONES * u64::from(b'"')));
            let escape = zeros(word ^ (ONES * u64::from(b'\\')));
            let special = control | quote | escape;
            if special != 0 {
                self.at += special.trailing_zeros() as usize / 8;
                return;
            }
            self.at += 8;
        }
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

/// Resolves the escapes of a string's inside that was checked before.
fn unescape(raw: &[u8]) -> Option<Cow<'_, str>> {
    let raw = std::str::from_utf8(raw).ok()?;
    if !raw.contains('\\') {
        return Some(Cow::Borrowed(raw));
    }
    let mut text = String::with_capacity(raw.len());
    let mut rest = raw;
    while let Some(at) = rest.find('\\') {
        text.push_str(&rest[..at]);
        let escape = *rest.as_bytes().get(at + 1)?;
        rest = &rest[at + 2..];
        text.push(match escape {
            b'b' => '\u{8}',
            b'f' => '\u{c}',
            b'n' => '\n',
            b'r' => '\r',
            b't' => '\t',
            b'u' => {
                let mut unit = u32::from_str_radix(rest.get(..4)?, 16).ok()?;
                rest = &rest[4..];
                if (0xd800..0xdc00).contains(&unit) {
                    let low = u32::from_str_radix(rest.strip_prefix("\\u")?.get(..4)?, 16).ok()?;
                    if !(0xdc00..0xe000).contains(&low) {
                        return None;
                    }
                    rest = &rest[6..];
                    unit = 0x10000 + ((unit - 0xd800) << 10) + (low - 0xdc00);
                }
                char::from_u32(unit)?
            }
            other => char::from(other),
        });
    }
    text.push_str(rest);
    Some(Cow::Owned(text))
}

#[cfg(test)]
mod tests;

//! Names of members: what each is, or could be taken for, however it is written.

use super::Span;
use std::borrow::Cow;

/// A member's name as it stands in the text, without its quotes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Key<'a> {
    raw: &'a [u8],
    at: usize,
}

impl<'a> Key<'a> {
    /// The name at `span`, quotes included.
    pub(super) fn at(text: &'a [u8], span: Span) -> Key<'a> {
        Key {
            raw: &text[span.start + 1..span.end - 1],
            at: span.start,
        }
    }

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

/// Resolves the escapes of a string's inside that was checked before.
pub(super) fn unescape(raw: &[u8]) -> Option<Cow<'_, str>> {
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

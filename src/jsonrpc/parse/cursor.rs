//! A way through a value step by step, on which every byte is passed once, however deep it stands.

use super::{Key, Scanner, Span};

/// A place in a text that [`check`](super::check) has accepted, where a value begins or, in a container that was
/// gone into, the next step does.
///
/// Whoever goes into a container goes on until it says that there is nothing more.
pub struct Cursor<'a> {
    scanner: Scanner<'a>,
}

impl<'a> Cursor<'a> {
    /// Where the value at `span` begins.
    pub fn new(text: &'a [u8], span: Span) -> Cursor<'a> {
        Cursor::knowing(text, span, &[])
    }

    /// The same; a value that is `known` is passed at the cost of a comparison, see
    /// [`members_knowing`](super::members_knowing).
    pub fn knowing(text: &'a [u8], span: Span, known: &'a [u8]) -> Cursor<'a> {
        let scanner = Scanner {
            text: &text[..span.end],
            at: span.start,
            known,
        };
        Cursor { scanner }
    }

    /// Index of the next byte: of a value, its first.
    pub fn place(&self) -> usize {
        self.scanner.at
    }

    /// Whether a container begins here.
    pub fn is_at_container(&self) -> bool {
        matches!(self.scanner.peek(), Some(b'{' | b'['))
    }

    /// Goes into the object that begins here; `false` if none does.
    pub fn enter_object(&mut self) -> bool {
        self.scanner.take(b'{')
    }

    /// Goes into the array that begins here; `false` if none does.
    pub fn enter_array(&mut self) -> bool {
        self.scanner.take(b'[')
    }

    /// The name of the object's next member, at whose value this is then; `None` behind the object's end.
    pub fn member(&mut self) -> Option<Key<'a>> {
        self.scanner.blank();
        if self.scanner.take(b'}') {
            return None;
        }
        self.scanner.take(b',');
        self.scanner.blank();
        let name = self.scanner.string().ok()?;
        self.scanner.blank();
        self.scanner.take(b':');
        self.scanner.blank();
        Some(Key::at(self.scanner.text, name))
    }

    /// Whether this is at the array's next element then, or behind the array's end.
    pub fn element(&mut self) -> bool {
        self.scanner.blank();
        if self.scanner.take(b']') {
            return false;
        }
        self.scanner.take(b',');
        self.scanner.blank();
        self.scanner.peek().is_some()
    }

    /// Passes over the value that begins here, and gives its place.
    pub fn pass(&mut self) -> Option<Span> {
        match self.scanner.pass_known() {
            Some(value) => Some(value),
            None => self.scanner.skip(),
        }
    }
}

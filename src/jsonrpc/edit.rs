//! Changes of one JSON text, noted place by place and made in one go.
//!
//! Members are dropped, given another value, or put in front of an object's others; every byte that no
//! change names stays where it is, so that numbers, escapes, order and unknown members survive.

use super::parse::{Cursor, Key, Span};
use super::write;
use std::borrow::Cow;

/// What becomes of a member.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fate<'a> {
    /// It stays, with whatever changes were noted inside its value.
    Keep,
    /// It goes, and with it the changes that were noted inside its value.
    Drop,
    /// It gets this value instead.
    Become(Cow<'a, [u8]>),
}

/// Room for the changes that crossing between eras mostly takes.
const CHANGES_USUAL: usize = 8;

/// See [`Edits::mark`].
#[derive(Clone, Copy, Debug)]
pub struct Mark(usize);

/// Changes of a text that [`check`](super::parse::check) has accepted, or of a value cut out of one.
#[derive(Debug)]
pub struct Edits<'a> {
    text: &'a [u8],
    known: &'a [u8],
    changes: Vec<(Span, Cow<'a, [u8]>)>,
}

impl<'a> Edits<'a> {
    /// No changes yet.
    pub fn new(text: &'a [u8]) -> Edits<'a> {
        Edits::knowing(text, &[])
    }

    /// No changes yet; `known` is an object in the text, or nothing, see [`members_knowing`](super::parse::members_knowing).
    pub fn knowing(text: &'a [u8], known: &'a [u8]) -> Edits<'a> {
        Edits {
            text,
            known,
            changes: Vec::with_capacity(CHANGES_USUAL),
        }
    }

    /// The text as it was.
    pub fn text(&self) -> &'a [u8] {
        self.text
    }

    /// The place of the whole text.
    pub fn whole(&self) -> Span {
        Span {
            start: 0,
            end: self.text.len(),
        }
    }

    /// Asks `judge` about every member of the object at `span`, in order, and returns how many stay.
    ///
    /// `judge` may note changes inside the value that it is asked about, and nowhere else. No object has
    /// no members.
    pub fn members(
        &mut self,
        span: Span,
        mut judge: impl FnMut(&mut Edits<'a>, Key<'a>, Span) -> Fate<'a>,
    ) -> usize {
        let mut cursor = Cursor::knowing(self.text, span, self.known);
        self.members_at(&mut cursor, |edits, key, cursor| match cursor.pass() {
            Some(value) => judge(edits, key, value),
            None => Fate::Keep,
        })
    }

    /// Like [`Edits::members`] for the object that begins at the cursor, which is behind it then: for who looks
    /// into values of any depth. `judge` passes over the value that it is asked about.
    pub fn members_at(
        &mut self,
        cursor: &mut Cursor<'a>,
        mut judge: impl FnMut(&mut Edits<'a>, Key<'a>, &mut Cursor<'a>) -> Fate<'a>,
    ) -> usize {
        if !cursor.enter_object() {
            return 0;
        }
        let mut stay = 0;
        let mut end = cursor.place();
        // Members dropped before the first that stays go with the comma after them, others with the one before.
        let mut hole = None;
        while let Some(key) = cursor.member() {
            let (mark, start) = (self.mark(), cursor.place());
            let fate = judge(self, key, cursor);
            let value = Span {
                start,
                end: cursor.place(),
            };
            match fate {
                Fate::Drop => {
                    self.forget(mark);
                    if stay > 0 {
                        self.cut(end, value.end);
                    } else {
                        hole = hole.or(Some(key.start()));
                    }
                    end = value.end;
                    continue;
                }
                Fate::Become(new) => {
                    self.forget(mark);
                    self.replace(value, new);
                }
                Fate::Keep => {}
            }
            if let Some(start) = hole.take() {
                self.cut(start, key.start());
            }
            stay += 1;
            end = value.end;
        }
        if let Some(start) = hole {
            self.cut(start, end);
        }
        stay
    }

    /// Puts `members`, written without braces and in pieces, in front of the `stay` members that the
    /// object at `span` keeps. What is no object has no place for them.
    pub fn put_first(&mut self, span: Span, members: &[&'a [u8]], stay: usize) {
        if self.text.get(span.start) != Some(&b'{') {
            return;
        }
        let front = Span {
            start: span.start + 1,
            end: span.start + 1,
        };
        for piece in members.iter().filter(|piece| !piece.is_empty()) {
            self.replace(front, *piece);
        }
        if stay > 0 && members.iter().any(|piece| !piece.is_empty()) {
            self.replace(front, &b","[..]);
        }
    }

    /// Puts `new` in the place of what stands at `span`.
    pub fn replace(&mut self, span: Span, new: impl Into<Cow<'a, [u8]>>) {
        self.changes.push((span, new.into()));
    }

    /// A point in the noting of changes, to go back to.
    pub fn mark(&self) -> Mark {
        Mark(self.changes.len())
    }

    /// Forgets the changes that were noted since.
    pub fn forget(&mut self, since: Mark) {
        self.changes.truncate(since.0);
    }

    fn cut(&mut self, start: usize, end: usize) {
        self.replace(Span { start, end }, &[][..]);
    }

    /// Where an untouched `span` of the text as it was stands in the text as it becomes.
    pub fn moved(&self, span: Span) -> Span {
        let (mut grown, mut shrunk) = (0, 0);
        for (place, new) in self.changes.iter().filter(|(p, _)| p.end <= span.start) {
            grown += new.len();
            shrunk += place.end - place.start;
        }
        Span {
            start: span.start + grown - shrunk,
            end: span.end + grown - shrunk,
        }
    }

    /// The text as it becomes; `None` if nothing changes.
    pub fn finish(mut self) -> Option<Vec<u8>> {
        if self.changes.is_empty() {
            return None;
        }
        // Stable: what was put in front of an object stays in its order, before what was cut behind it.
        self.changes
            .sort_by_key(|(place, _)| (place.start, place.end));
        let grown: usize = self.changes.iter().map(|(_, new)| new.len()).sum();
        let mut out = Vec::with_capacity(self.text.len() + grown);
        write::spliced(&mut out, self.text, &self.changes);
        Some(out)
    }

    /// The text as it becomes, or as it was.
    pub fn finished(self) -> Cow<'a, [u8]> {
        let text = self.text;
        self.finish().map_or(Cow::Borrowed(text), Cow::Owned)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::jsonrpc::parse;

    /// `json` with members named `x…` dropped, those named `n` become 0, and `first` put in front.
    fn edited(json: &str, first: &str) -> String {
        let mut edits = Edits::new(json.as_bytes());
        let whole = edits.whole();
        let stay = edits.members(whole, |_, key, _| match key.text().as_deref() {
            Some(name) if name.starts_with('x') => Fate::Drop,
            Some("n") => Fate::Become(b"0".into()),
            _ => Fate::Keep,
        });
        edits.put_first(whole, &[first.as_bytes()], stay);
        let text = edits.finished().into_owned();
        parse::check(&text).unwrap();
        String::from_utf8(text).unwrap()
    }

    #[test]
    fn commas_go_with_the_members_that_go() {
        let check = |json, expected| assert_eq!(edited(json, ""), expected, "{json}");
        check(r#"{}"#, r#"{}"#);
        check(r#"{"x":1}"#, r#"{}"#);
        check(r#"{"x":1,"x":2}"#, r#"{}"#);
        check(r#"{ "x" : 1 , "a" : 1.0 }"#, r#"{ "a" : 1.0 }"#);
        check(
            r#"{"x1":1,"x2":2,"a":1,"x3":3,"b":2,"x4":4}"#,
            r#"{"a":1,"b":2}"#,
        );
        check(r#"{"a":1,"x1":1,"x2":[{},"}"]}"#, r#"{"a":1}"#);
        check(r#"{"\u0078":1,"n":{"x":1}}"#, r#"{"n":0}"#);
    }

    #[test]
    fn what_is_put_first_stands_before_what_stays() {
        let check = |json, expected| assert_eq!(edited(json, r#""f":1"#), expected, "{json}");
        check(r#"{}"#, r#"{"f":1}"#);
        check(r#"{ }"#, r#"{"f":1 }"#);
        check(r#"{"x":1}"#, r#"{"f":1}"#);
        check(r#"{"x":1,"a":2}"#, r#"{"f":1,"a":2}"#);
        check(r#"{"a":2,"x":1}"#, r#"{"f":1,"a":2}"#);
        check("[]", "[]");
        check("7", "7");
    }

    #[test]
    fn changes_inside_a_member_that_goes_are_forgotten() {
        let json = br#"{"a":{"b":1},"c":{"b":1}}"#;
        let mut edits = Edits::new(json);
        let whole = edits.whole();
        edits.members(whole, |edits, key, value| {
            let stay = edits.members(value, |_, _, _| Fate::Become(b"22".into()));
            edits.put_first(value, &[b"\"f\":0"], stay);
            if key.is("a") { Fate::Drop } else { Fate::Keep }
        });
        assert_eq!(edits.finish().unwrap(), br#"{"c":{"f":0,"b":22}}"#);
    }

    #[test]
    fn untouched_place_is_found_again() {
        let json = br#"{"x":1,"a":{"t":"here"},"x":2}"#;
        let mut edits = Edits::new(json);
        let whole = edits.whole();
        let mut place = None;
        let stay = edits.members(whole, |edits, key, value| {
            if key.is("x") {
                return Fate::Drop;
            }
            place = parse::member(edits.text(), value, "t");
            edits.put_first(value, &[b"\"first\":0"], 1);
            Fate::Keep
        });
        edits.put_first(whole, &[b"\"f\":0"], stay);
        let place = edits.moved(place.unwrap());
        assert_eq!(place.of(&edits.finish().unwrap()), b"\"here\"");
    }
}

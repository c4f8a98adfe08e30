//! A head that says what the one before it said.
//!
//! A program writes the same head with each request of a connection, but for the length of the body. To read it
//! again would cost more than anything else that is done with a small request, so it is compared instead: equal
//! bytes have been judged already. Whatever differs elsewhere, or by a digit more, is read.

use super::{Accept, Framing, Method, Mirrored, RequestHead, Version};
use crate::config::limits::{CONTENT_LENGTH_MAX, HEAD_KEPT_BYTES_MAX};
use crate::http::head::{content_length, offset};
use crate::http::{Host, Target};

/// Where something stands in a head; nothing that is empty stands anywhere.
#[derive(Clone, Copy, Debug, Default)]
struct Place {
    start: u16,
    end: u16,
}

const _: () = assert!(HEAD_KEPT_BYTES_MAX <= u16::MAX as usize);

impl Place {
    fn of(head: &[u8], part: &[u8]) -> Place {
        if part.is_empty() {
            return Place::default();
        }
        let start = offset(head, part);
        Place {
            start: start as u16,
            end: (start + part.len()) as u16,
        }
    }

    fn range(self) -> std::ops::Range<usize> {
        usize::from(self.start)..usize::from(self.end)
    }
}

/// A head that was accepted: its bytes, and where in them stands what was found.
#[derive(Clone, Debug)]
pub struct Familiar {
    bytes: Box<[u8]>,
    /// The digits that say how long the body is, if that is how it is framed.
    length: Place,
    framing: Framing,
    method: Method,
    version: Version,
    keep_alive: bool,
    expect_continue: bool,
    accept: Accept,
    has_mcp_params: bool,
    path: Place,
    query: Option<Place>,
    authority: Option<Place>,
    host: Option<(Place, Place, Option<u16>)>,
    texts: [Option<Place>; 7],
    mirrored: [Mirrored<Place>; 2],
}

impl Familiar {
    /// Keeps what was read, if it is plain and no longer than [`HEAD_KEPT_BYTES_MAX`].
    pub fn of(head: &RequestHead<'_>) -> Option<Familiar> {
        let bytes = head.bytes;
        // The path that an absolute target leaves out stands nowhere.
        let has_path = bytes.as_ptr_range().contains(&head.target.path.as_ptr());
        if bytes.len() > HEAD_KEPT_BYTES_MAX || !bytes.is_ascii() || !has_path {
            return None;
        }
        let length = match head.framing {
            Framing::Length(_) => Place::of(bytes, head.fields().first("content-length")?),
            Framing::None | Framing::Chunked => Place::default(),
        };
        let place = |text: &str| Place::of(bytes, text.as_bytes());
        let texts = [
            head.content_type,
            head.origin,
            head.authorization,
            head.api_key,
            head.session_id,
            head.protocol_version,
            head.last_event_id,
        ];
        let mirrored = [head.mcp_method, head.mcp_name];
        Some(Familiar {
            bytes: bytes.into(),
            length,
            framing: head.framing,
            method: head.method,
            version: head.version,
            keep_alive: head.keep_alive,
            expect_continue: head.expect_continue,
            accept: head.accept,
            has_mcp_params: head.has_mcp_params,
            path: place(head.target.path),
            query: head.target.query.map(place),
            authority: head.target.authority.map(place),
            host: head
                .host
                .map(|host| (place(host.text), place(host.name), host.port)),
            texts: texts.map(|text| text.map(place)),
            mirrored: mirrored.map(|field| field.map(|value| Place::of(bytes, value))),
        })
    }

    /// The head at the start of `input`, and how many bytes it took, if it says the same and is all there.
    ///
    /// What it gives is what [`RequestHead::parse`] would give.
    pub fn read<'a>(&self, input: &'a [u8]) -> Option<(RequestHead<'a>, usize)> {
        let bytes = input.get(..self.bytes.len())?;
        let digits = self.length.range();
        if bytes[digits.end..] != self.bytes[digits.end..]
            || bytes[..digits.start] != self.bytes[..digits.start]
        {
            return None;
        }
        let framing = match self.framing {
            Framing::Length(_) => {
                let length = content_length(&bytes[digits]).ok();
                Framing::Length(length.filter(|length| *length <= CONTENT_LENGTH_MAX)?)
            }
            framing => framing,
        };
        let text = std::str::from_utf8(bytes).ok()?;
        let of = |place: Place| &text[place.range()];
        let [
            content_type,
            origin,
            authorization,
            api_key,
            session_id,
            protocol_version,
            last_event_id,
        ] = self.texts.map(|place| place.map(of));
        let [mcp_method, mcp_name] = self
            .mirrored
            .map(|field| field.map(|place| &bytes[place.range()]));
        let head = RequestHead {
            method: self.method,
            target: Target {
                path: of(self.path),
                query: self.query.map(of),
                authority: self.authority.map(of),
            },
            version: self.version,
            host: self.host.map(|(text, name, port)| Host {
                text: of(text),
                name: of(name),
                port,
            }),
            framing,
            keep_alive: self.keep_alive,
            expect_continue: self.expect_continue,
            accept: self.accept,
            content_type,
            origin,
            authorization,
            api_key,
            session_id,
            protocol_version,
            mcp_method,
            mcp_name,
            last_event_id,
            has_mcp_params: self.has_mcp_params,
            bytes,
        };
        Some((head, bytes.len()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEAD: &str = "POST http://h:1/mcp?a=b HTTP/1.1\r\nHost: h:1\r\nContent-Length: 120\r\n\
        Accept: application/json, text/event-stream\r\nContent-Type: application/json\r\nOrigin:\r\n\
        Authorization: Bearer k\r\nX-API-Key: k\r\nMcp-Session-Id: s\r\nMCP-Protocol-Version: 2026-07-28\r\n\
        Mcp-Method: tools/call\r\nMcp-Name: t\r\nMcp-Param-A: x\r\nLast-Event-ID: 7\r\n\r\n";

    fn familiar(head: &str) -> Option<Familiar> {
        let (head, _) = RequestHead::parse(head.as_bytes()).unwrap().unwrap();
        Familiar::of(&head)
    }

    #[test]
    fn same_head_of_another_length_is_what_reading_it_gives() {
        let known = familiar(HEAD).unwrap();
        for digits in ["120", "999", "100"] {
            let head = HEAD.replace("120", digits) + "body";
            let read = RequestHead::parse(head.as_bytes()).unwrap();
            let (found, used) = known.read(head.as_bytes()).unwrap();
            assert_eq!(Some((found, used)), read);
        }
        for head in [
            "GET / HTTP/1.0\r\n\r\n",
            "DELETE /mcp HTTP/1.1\r\nHost: [::1]\r\nConnection: close\r\n\r\n",
            "PUT /a HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\nExpect: 100-continue\r\n\r\n",
        ] {
            let read = RequestHead::parse(head.as_bytes()).unwrap();
            assert_eq!(familiar(head).unwrap().read(head.as_bytes()), read);
        }
    }

    #[test]
    fn head_that_says_anything_else_is_not_taken_for_it() {
        let known = familiar(HEAD).unwrap();
        for (from, to) in [
            ("120", "020"),
            ("120", "12x"),
            ("120", "1200"),
            ("120", "12"),
            ("120\r\n", "120\n\n"),
            ("Bearer k", "Bearer l"),
            ("POST", "post"),
            ("Mcp-Name: t", "Mcp-Name: u"),
            (": 7\r\n\r\n", ": 7\r\nA: b\r\n\r\n"),
            ("\r\n\r\n", "\r\n"),
        ] {
            let head = HEAD.replacen(from, to, 1);
            assert_eq!(known.read(head.as_bytes()), None, "{head}");
        }
        for length in 0..HEAD.len() {
            assert_eq!(known.read(&HEAD.as_bytes()[..length]), None);
        }
        let longest = format!("{}", CONTENT_LENGTH_MAX);
        let known = familiar(&HEAD.replace("120", &longest)).unwrap();
        let beyond = HEAD.replace("120", &"9".repeat(longest.len()));
        assert_eq!(known.read(beyond.as_bytes()), None);
    }

    #[test]
    fn head_that_is_long_or_not_plain_is_not_kept() {
        let padded =
            |bytes: usize| HEAD.replace("Last", &format!("A: {}\r\nLast", "x".repeat(bytes)));
        let room = HEAD_KEPT_BYTES_MAX - padded(0).len();
        assert!(familiar(&padded(room)).is_some());
        assert!(familiar(&padded(room + 1)).is_none());
        assert!(familiar(&HEAD.replace("Param-A: x", "Param-A: \u{e9}")).is_none());
        assert!(familiar(&HEAD.replace("h:1/mcp", "h:1")).is_none());
    }
}

//! One HTTP answer out of the bytes of a connection, and the JSON-RPC message in it.

use serde::Deserialize;
use serde_json::value::RawValue;

/// A whole answer.
pub(crate) struct Answer {
    /// The status code.
    pub(crate) status: u16,
    /// `Mcp-Session-Id`, if there was one.
    pub(crate) session: Option<String>,
    /// What the body says: of an event stream, the data of its last event.
    pub(crate) message: Vec<u8>,
    /// Bytes it took on the connection.
    pub(crate) length: usize,
}

/// A JSON-RPC answer, its result as it is on the wire.
#[derive(Deserialize)]
pub(crate) struct Envelope<'a> {
    /// The id, which is a number of ours.
    pub(crate) id: u64,
    /// The result; nothing in an error.
    #[serde(borrow)]
    pub(crate) result: Option<&'a RawValue>,
}

impl Answer {
    /// The answer at the start of `bytes`; `None` while it is not complete.
    ///
    /// # Errors
    /// What is wrong with it, when it is not HTTP.
    pub(crate) fn read(bytes: &[u8]) -> Result<Option<Answer>, String> {
        let Some(head) = Head::read(bytes)? else {
            return Ok(None);
        };
        let rest = &bytes[head.length..];
        let (body, taken) = match head.framing {
            Framing::Length(length) if rest.len() >= length => (rest[..length].to_vec(), length),
            Framing::Length(_) => return Ok(None),
            Framing::Chunked => match chunks(rest)? {
                Some(whole) => whole,
                None => return Ok(None),
            },
        };
        let message = if head.events { last_data(&body) } else { body };
        Ok(Some(Answer {
            status: head.status,
            session: head.session,
            message,
            length: head.length + taken,
        }))
    }

    /// The result, as bytes, of an answer to the request with this id.
    ///
    /// # Errors
    /// What came instead.
    pub(crate) fn result(&self, id: u64) -> Result<&[u8], String> {
        let shown =
            || String::from_utf8_lossy(&self.message[..self.message.len().min(400)]).into_owned();
        if self.status != 200 {
            return Err(format!("status {}: {}", self.status, shown()));
        }
        let envelope: Envelope<'_> = serde_json::from_slice(&self.message)
            .map_err(|error| format!("{error}: {}", shown()))?;
        match envelope.result {
            Some(result) if envelope.id == id => Ok(result.get().as_bytes()),
            _ => Err(format!("no result for id {id}: {}", shown())),
        }
    }
}

/// What the head of an answer says.
pub(crate) struct Head {
    /// The status code.
    pub(crate) status: u16,
    /// Bytes up to the body.
    pub(crate) length: usize,
    session: Option<String>,
    events: bool,
    framing: Framing,
}

enum Framing {
    Length(usize),
    Chunked,
}

impl Head {
    /// The head at the start of `bytes`; `None` while it is not complete.
    pub(crate) fn read(bytes: &[u8]) -> Result<Option<Head>, String> {
        let mut fields = [httparse::EMPTY_HEADER; 32];
        let mut parsed = httparse::Response::new(&mut fields);
        let length = match parsed
            .parse(bytes)
            .map_err(|error| format!("an answer that is not HTTP: {error}"))?
        {
            httparse::Status::Complete(length) => length,
            httparse::Status::Partial => return Ok(None),
        };
        let field = |name: &str| {
            let found = parsed
                .headers
                .iter()
                .find(|field| field.name.eq_ignore_ascii_case(name));
            found.map(|field| String::from_utf8_lossy(field.value).into_owned())
        };
        let chunked =
            field("transfer-encoding").is_some_and(|value| value.eq_ignore_ascii_case("chunked"));
        let framing = if chunked {
            Framing::Chunked
        } else {
            Framing::Length(
                field("content-length")
                    .and_then(|value| value.parse().ok())
                    .unwrap_or(0),
            )
        };
        Ok(Some(Head {
            status: parsed.code.unwrap_or(0),
            length,
            session: field("mcp-session-id"),
            events: field("content-type")
                .is_some_and(|value| value.starts_with("text/event-stream")),
            framing,
        }))
    }
}

/// The content of a chunked body and the bytes it took; `None` while its last chunk is missing.
fn chunks(bytes: &[u8]) -> Result<Option<(Vec<u8>, usize)>, String> {
    let (mut content, mut at) = (Vec::new(), 0);
    loop {
        match httparse::parse_chunk_size(&bytes[at..]) {
            Ok(httparse::Status::Complete((start, size))) => {
                let (start, size) = (
                    at + start,
                    usize::try_from(size).map_err(|error| error.to_string())?,
                );
                if bytes.len() < start + size + 2 {
                    return Ok(None);
                }
                content.extend_from_slice(&bytes[start..start + size]);
                at = start + size + 2;
                if size == 0 {
                    return Ok(Some((content, at)));
                }
            }
            Ok(httparse::Status::Partial) => return Ok(None),
            Err(_) => return Err("a chunk without a size".to_owned()),
        }
    }
}

/// The data of the last event of a stream that has any.
fn last_data(body: &[u8]) -> Vec<u8> {
    let lines = body.split(|byte| *byte == b'\n');
    let data = lines
        .filter_map(|line| line.strip_prefix(b"data:"))
        .rfind(|data| data.trim_ascii().len() > 1);
    data.map(|data| data.trim_ascii().to_vec())
        .unwrap_or_default()
}

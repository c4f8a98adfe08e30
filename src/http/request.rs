//! The head of a request: read once, strictly, into a value that can be trusted.
//!
//! What HTTP/1.1 lets a server refuse is refused (RFC 9112 §3, §5, §6; RFC 9110 §7): two ways of framing
//! one body, two hosts, spellings that another reader could take differently. What this program asks of
//! the fields is gathered in the same pass; the rest stays reachable as [`Fields`].

mod familiar;

pub use familiar::Familiar;

use memchr::{memchr, memchr2};

use super::head::{
    Fields, HeadEnd, HeadError, Texts, content_length, field_slots, line_ends_before, offset,
};
use super::target::{Host, Target};
use super::{is_token_byte, media_type};
use crate::config::limits::{CONTENT_LENGTH_MAX, HEAD_BYTES_MAX, TARGET_BYTES_MAX};

/// The methods that exist here. Others are not implemented: 501.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Method {
    /// `GET`
    Get,
    /// `HEAD`
    Head,
    /// `POST`
    Post,
    /// `PUT`
    Put,
    /// `PATCH`
    Patch,
    /// `DELETE`
    Delete,
    /// `OPTIONS`
    Options,
}

impl Method {
    /// The method of that name; names are case-sensitive (RFC 9110 §9.1).
    pub fn parse(name: &str) -> Option<Self> {
        Some(match name {
            "GET" => Method::Get,
            "HEAD" => Method::Head,
            "POST" => Method::Post,
            "PUT" => Method::Put,
            "PATCH" => Method::Patch,
            "DELETE" => Method::Delete,
            "OPTIONS" => Method::Options,
            _ => return None,
        })
    }

    /// Its name.
    pub const fn as_str(self) -> &'static str {
        match self {
            Method::Get => "GET",
            Method::Head => "HEAD",
            Method::Post => "POST",
            Method::Put => "PUT",
            Method::Patch => "PATCH",
            Method::Delete => "DELETE",
            Method::Options => "OPTIONS",
        }
    }
}

/// The versions that exist here.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Version {
    /// HTTP/1.0: closes after the answer unless asked not to, knows no chunks and no `100 Continue`.
    Http10,
    /// HTTP/1.1
    Http11,
}

/// How the body of a request is told from what follows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Framing {
    /// There is no body.
    None,
    /// So many bytes.
    Length(u64),
    /// Chunks, up to the empty one.
    Chunked,
}

/// What a client says it takes, as far as it matters here. RFC 9110 §12.5.1.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Accept {
    /// Whether there was an `Accept` at all; without one anything goes.
    pub stated: bool,
    /// Whether `application/json` is among it, by name or by wildcard.
    pub json: bool,
    /// Whether `text/event-stream` is among it, by name or by wildcard.
    pub event_stream: bool,
}

impl Accept {
    fn add(&mut self, value: &str) {
        self.stated = true;
        for range in list(value) {
            let (name, refused) = match memchr(b';', range.as_bytes()) {
                None => (range, false),
                Some(end) => (range[..end].trim_ascii(), weighs_nothing(&range[end..])),
            };
            if refused {
                continue;
            }
            let is = |other: &str| name.eq_ignore_ascii_case(other);
            self.json |= is("application/json") || is("application/*") || name == "*/*";
            self.event_stream |= is("text/event-stream") || is("text/*") || name == "*/*";
        }
    }
}

/// Members of a list, without the white space around them. RFC 9110 §5.6.1.
fn list(value: &str) -> impl Iterator<Item = &str> {
    let mut rest = Some(value);
    std::iter::from_fn(move || {
        let list = rest?;
        let (member, after) = match memchr(b',', list.as_bytes()) {
            Some(comma) => (&list[..comma], Some(&list[comma + 1..])),
            None => (list, None),
        };
        rest = after;
        Some(member.trim_ascii())
    })
}

/// Whether parameters of a media range say `q=0`, which means: anything but this. RFC 9110 §12.4.2.
fn weighs_nothing(parameters: &str) -> bool {
    let mut weights = parameters.split(';').filter_map(|parameter| {
        let (name, weight) = parameter.split_once('=')?;
        name.trim_ascii()
            .eq_ignore_ascii_case("q")
            .then(|| weight.trim_ascii())
    });
    weights
        .any(|weight| weight.starts_with('0') && weight.bytes().all(|b| matches!(b, b'0' | b'.')))
}

/// A field that says again what the body says, as far as a head alone can tell.
///
/// What is wrong with it does not make the head malformed, since the protocol in the body has an answer
/// of its own to that.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Mirrored<V> {
    /// It does not stand there.
    #[default]
    Absent,
    /// Its value, which may be any bytes that a field can have.
    Once(V),
    /// It stands there more than once.
    Repeated,
}

impl<V> Mirrored<V> {
    /// The same of what becomes of the value.
    pub fn map<T>(self, of: impl FnOnce(V) -> T) -> Mirrored<T> {
        match self {
            Mirrored::Absent => Mirrored::Absent,
            Mirrored::Once(value) => Mirrored::Once(of(value)),
            Mirrored::Repeated => Mirrored::Repeated,
        }
    }

    /// Takes in one more field of the name.
    pub fn add(&mut self, value: V) {
        *self = match self {
            Mirrored::Absent => Mirrored::Once(value),
            _ => Mirrored::Repeated,
        };
    }
}

/// The head of a request that was accepted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RequestHead<'a> {
    /// The method.
    pub method: Method,
    /// Path and query.
    pub target: Target<'a>,
    /// The version the client speaks.
    pub version: Version,
    /// The host the request is for: `None` only on HTTP/1.0.
    pub host: Option<Host<'a>>,
    /// How the body is framed.
    pub framing: Framing,
    /// Whether the connection may go on after the answer, as far as the client is concerned.
    pub keep_alive: bool,
    /// Whether the client waits for `100 Continue` before it sends the body.
    pub expect_continue: bool,
    /// `Accept`, all lines of it.
    pub accept: Accept,
    /// `Content-Type`, parameters included.
    pub content_type: Option<&'a str>,
    /// `Origin`
    pub origin: Option<&'a str>,
    /// `Authorization`
    pub authorization: Option<&'a str>,
    /// `X-API-Key`
    pub api_key: Option<&'a str>,
    /// `Mcp-Session-Id`
    pub session_id: Option<&'a str>,
    /// `MCP-Protocol-Version`
    pub protocol_version: Option<&'a str>,
    /// `Mcp-Method`
    pub mcp_method: Mirrored<&'a [u8]>,
    /// `Mcp-Name`
    pub mcp_name: Mirrored<&'a [u8]>,
    /// `Last-Event-ID`
    pub last_event_id: Option<&'a str>,
    /// Whether there are fields whose names begin with `Mcp-Param-`.
    has_mcp_params: bool,
    bytes: &'a [u8],
}

impl<'a> RequestHead<'a> {
    /// Reads the head at the start of `input`, and says how many bytes it took.
    ///
    /// `Ok(None)` when more bytes are needed. The verdict does not depend on how much of what follows
    /// the head has arrived. For bytes that come in pieces, [`parse_in_pieces`](Self::parse_in_pieces)
    /// does not search what it searched before.
    pub fn parse(input: &'a [u8]) -> Result<Option<(Self, usize)>, HeadError> {
        // The way of nearly all requests: well-formed and whole. Anything else goes the way on which
        // the order of verdicts is fixed.
        match read(after_empty_line(input)) {
            Ok(Some((head, used))) if used < HEAD_BYTES_MAX - 2 => {
                let skipped = input.len() - after_empty_line(input).len();
                Ok(Some((head, skipped + used)))
            }
            _ => Self::parse_in_pieces(input, &mut HeadEnd::default()),
        }
    }

    /// Like [`parse`](Self::parse), for an `input` that has grown since `end` was last used on it.
    pub fn parse_in_pieces(
        input: &'a [u8],
        end: &mut HeadEnd,
    ) -> Result<Option<(Self, usize)>, HeadError> {
        check_request_line(after_empty_line(input))?;
        let Some(used) = end.find(input)? else {
            return Ok(None);
        };
        match read(after_empty_line(&input[..used]))? {
            Some((head, _)) => Ok(Some((head, used))),
            None => Err(HeadError::RequestLine),
        }
    }

    /// All fields, as they came.
    pub fn fields(&self) -> Fields<'a> {
        Fields::of(self.bytes)
    }

    /// What follows `Mcp-Param-` in the names of such fields, and their values, in the order they came.
    pub fn mcp_params(&self) -> impl Iterator<Item = (&'a str, &'a [u8])> + use<'a> {
        let fields = self.has_mcp_params.then(|| self.fields());
        let fields = fields.into_iter().flatten();
        fields.filter_map(|(name, value)| mcp_param(name).map(|rest| (rest, value)))
    }
}

/// What follows `Mcp-Param-` in the name of a field, if it begins like that.
fn mcp_param(name: &str) -> Option<&str> {
    const PREFIX: &str = "mcp-param-";
    let (start, rest) = name.split_at_checked(PREFIX.len())?;
    start.eq_ignore_ascii_case(PREFIX).then_some(rest)
}

/// What follows the one empty line that may stand before a request. RFC 9112 §2.2.
fn after_empty_line(input: &[u8]) -> &[u8] {
    input.strip_prefix(b"\r\n").unwrap_or(input)
}

/// Longest method that is waited for. The longest registered one has 17 letters.
const METHOD_BYTES_MAX: usize = 24;

/// Refuses early what can no longer become a request line, so that garbage is not waited for.
fn check_request_line(input: &[u8]) -> Result<(), HeadError> {
    let start = &input[..input.len().min(METHOD_BYTES_MAX + 1)];
    let method = memchr2(b' ', b'\n', start).unwrap_or(start.len());
    if method > METHOD_BYTES_MAX {
        return Err(HeadError::RequestLine);
    }
    // With the longest method, two spaces and the version.
    let longest = METHOD_BYTES_MAX + TARGET_BYTES_MAX + " HTTP/1.1\r\n".len() + 1;
    if input.len() > longest && memchr(b'\n', &input[..=longest]).is_none() {
        return Err(HeadError::TargetTooLong);
    }
    Ok(())
}

/// The fields that mean something here. Order of declaration is order of length.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Known {
    Host,
    Accept,
    Expect,
    Origin,
    Upgrade,
    McpName,
    ApiKey,
    Connection,
    McpMethod,
    ContentType,
    Authorization,
    LastEventId,
    ContentLength,
    SessionId,
    TransferEncoding,
    ProtocolVersion,
    WebSocketVersion,
}

impl Known {
    const NAMES: [(&'static str, Known); 17] = [
        ("host", Known::Host),
        ("accept", Known::Accept),
        ("expect", Known::Expect),
        ("origin", Known::Origin),
        ("upgrade", Known::Upgrade),
        ("mcp-name", Known::McpName),
        ("x-api-key", Known::ApiKey),
        ("connection", Known::Connection),
        ("mcp-method", Known::McpMethod),
        ("content-type", Known::ContentType),
        ("authorization", Known::Authorization),
        ("last-event-id", Known::LastEventId),
        ("content-length", Known::ContentLength),
        ("mcp-session-id", Known::SessionId),
        ("transfer-encoding", Known::TransferEncoding),
        ("mcp-protocol-version", Known::ProtocolVersion),
        ("sec-websocket-version", Known::WebSocketVersion),
    ];

    fn of(name: &str) -> Option<(&'static str, Known)> {
        let candidates = match name.len() {
            4 => 0..1,
            6 => 1..4,
            7 => 4..5,
            8 => 5..6,
            9 => 6..7,
            10 => 7..9,
            12 => 9..10,
            13 => 10..12,
            14 => 12..14,
            17 => 14..15,
            20 => 15..16,
            21 => 16..17,
            _ => return None,
        };
        // Most candidates differ in their first letter: no call for those.
        let first = name.as_bytes()[0] | 0x20;
        Self::NAMES[candidates]
            .iter()
            .find(|(known, _)| known.as_bytes()[0] == first && known.eq_ignore_ascii_case(name))
            .copied()
    }

    /// The known field that a server which takes `_` for `-` would see in this name.
    fn twin_of(name: &str) -> Option<&'static str> {
        memchr(b'_', name.as_bytes())?;
        let same = |a: u8, b: u8| a.eq_ignore_ascii_case(&b) || (a == b'-' && b == b'_');
        let (known, _) = Self::NAMES.iter().find(|(known, _)| {
            known.len() == name.len() && known.bytes().zip(name.bytes()).all(|(a, b)| same(a, b))
        })?;
        Some(known)
    }
}

/// Reads a head with httparse, and judges what httparse leaves open.
fn read(input: &[u8]) -> Result<Option<(RequestHead<'_>, usize)>, HeadError> {
    let mut slots = field_slots();
    let mut raw = httparse::Request::new(&mut []);
    let used = match raw.parse_with_uninit_headers(input, &mut slots) {
        Ok(httparse::Status::Complete(used)) => used,
        Ok(httparse::Status::Partial) => return Ok(None),
        Err(error) => return Err(cause(error, input)),
    };
    if matches!(input.first(), Some(b'\r' | b'\n')) {
        return Err(HeadError::RequestLine);
    }
    if !input[..used].ends_with(b"\r\n\r\n") {
        return Err(HeadError::BareLineEnd);
    }
    let method = raw
        .method
        .and_then(Method::parse)
        .ok_or(HeadError::Method)?;
    let target = Target::parse(method, raw.path.ok_or(HeadError::RequestLine)?)?;
    let version = match raw.version {
        Some(0) => Version::Http10,
        _ => Version::Http11,
    };
    let mut head = RequestHead {
        method,
        target,
        version,
        host: None,
        framing: Framing::None,
        keep_alive: false,
        expect_continue: false,
        accept: Accept::default(),
        content_type: None,
        origin: None,
        authorization: None,
        api_key: None,
        session_id: None,
        protocol_version: None,
        mcp_method: Mirrored::Absent,
        mcp_name: Mirrored::Absent,
        last_event_id: None,
        has_mcp_params: false,
        bytes: &input[..used],
    };
    let mut host = None;
    let mut length = None;
    let mut coding = None;
    let mut connection = ConnectionOptions::default();
    let mut upgrade = None;
    let mut websocket_version = None;
    let texts = Texts::of(&input[..used]);
    for field in raw.headers.iter() {
        if !line_ends_before(input, field.name) {
            return Err(HeadError::BareLineEnd);
        }
        let Some((name, known)) = Known::of(field.name) else {
            head.has_mcp_params |= mcp_param(field.name).is_some();
            match Known::twin_of(field.name) {
                Some(name) => return Err(HeadError::Underscore(name)),
                None => continue,
            }
        };
        let value = field.value;
        match known {
            Known::Host => texts.once(&mut host, name, value)?,
            Known::Accept => head.accept.add(texts.text(name, value)?),
            Known::Expect => expect(&mut head, value)?,
            Known::Origin => texts.once(&mut head.origin, name, value)?,
            Known::Upgrade => upgrade = Some(texts.text(name, value)?),
            Known::McpName => head.mcp_name.add(value),
            Known::ApiKey => texts.once(&mut head.api_key, name, value)?,
            Known::Connection => connection.add(texts.text(name, value)?),
            Known::McpMethod => head.mcp_method.add(value),
            Known::ContentType => texts.once(&mut head.content_type, name, value)?,
            Known::Authorization => texts.once(&mut head.authorization, name, value)?,
            Known::LastEventId => texts.once(&mut head.last_event_id, name, value)?,
            Known::ContentLength => {
                texts.once(&mut length, name, value)?;
                if !stands_plain(input, value) {
                    return Err(HeadError::ContentLength);
                }
            }
            Known::SessionId => texts.once(&mut head.session_id, name, value)?,
            Known::TransferEncoding => texts.once(&mut coding, name, value)?,
            Known::ProtocolVersion => texts.once(&mut head.protocol_version, name, value)?,
            Known::WebSocketVersion => websocket_version = Some(texts.text(name, value)?),
        }
    }
    head.framing = framing(version, length, coding)?;
    head.host = host.map(Host::parse).transpose()?;
    if head.host.is_none() && version == Version::Http11 {
        return Err(HeadError::HostMissing);
    }
    if let (Some(authority), Some(host)) = (target.authority, host)
        && !authority.eq_ignore_ascii_case(host)
    {
        return Err(HeadError::HostDisagrees);
    }
    head.keep_alive = connection.keep_alive(version);
    let websocket =
        connection.upgrade && upgrade.is_some_and(|to| to.eq_ignore_ascii_case("websocket"));
    if websocket && websocket_version.is_some_and(|version| version != "13") {
        return Err(HeadError::WebSocketVersion);
    }
    Ok(Some((head, used)))
}

/// What httparse means by an error, in terms of the whole line it happened in.
fn cause(error: httparse::Error, input: &[u8]) -> HeadError {
    match error {
        httparse::Error::HeaderName | httparse::Error::HeaderValue => HeadError::FieldLine,
        httparse::Error::TooManyHeaders => HeadError::TooManyFields,
        httparse::Error::NewLine => HeadError::BareLineEnd,
        httparse::Error::Version => {
            let line = input
                .split(|&byte| byte == b'\r')
                .next()
                .unwrap_or_default();
            match line.rsplit(|&byte| byte == b' ').next() {
                Some([b'H', b'T', b'T', b'P', b'/', major, b'.', minor])
                    if major.is_ascii_digit() && minor.is_ascii_digit() && *major != b'1' =>
                {
                    HeadError::Version
                }
                Some(b"HTTP/1.0" | b"HTTP/1.1") => HeadError::RequestLine,
                Some([b'H', b'T', b'T', b'P', b'/', b'1', b'.', minor])
                    if minor.is_ascii_digit() =>
                {
                    HeadError::Version
                }
                _ => HeadError::RequestLine,
            }
        }
        _ => HeadError::RequestLine,
    }
}

/// Whether a value stands after the colon with one space at most, and at the very end of its line.
///
/// More white space is lawful, and has been read differently by different servers; of a
/// `Content-Length` nobody sends it.
fn stands_plain(input: &[u8], value: &[u8]) -> bool {
    if value.is_empty() {
        return false;
    }
    let start = offset(input, value);
    let (before, after) = (&input[..start], &input[start + value.len()..]);
    (before.ends_with(b":") || before.ends_with(b": ")) && after.starts_with(b"\r\n")
}

fn expect(head: &mut RequestHead<'_>, value: &[u8]) -> Result<(), HeadError> {
    if head.version == Version::Http10 {
        return Ok(());
    }
    if !value.eq_ignore_ascii_case(b"100-continue") {
        return Err(HeadError::Expectation);
    }
    head.expect_continue = true;
    Ok(())
}

/// How the body is framed. RFC 9112 §6.3, with everything refused that could be told two ways.
fn framing(
    version: Version,
    length: Option<&str>,
    coding: Option<&str>,
) -> Result<Framing, HeadError> {
    match (length, coding) {
        (None, None) => Ok(Framing::None),
        (Some(_), Some(_)) => Err(HeadError::LengthAndEncoding),
        (Some(length), None) => match content_length(length.as_bytes())? {
            length if length > CONTENT_LENGTH_MAX => Err(HeadError::ContentLengthAbsurd),
            length => Ok(Framing::Length(length)),
        },
        (None, Some(_)) if version == Version::Http10 => Err(HeadError::TransferEncoding),
        (None, Some(coding)) if coding.eq_ignore_ascii_case("chunked") => Ok(Framing::Chunked),
        (None, Some(coding)) => {
            let mut names = coding.split(',').map(str::trim_ascii);
            let chunked = |name: &str| media_type(name).eq_ignore_ascii_case("chunked");
            let named = |name: &str| !name.is_empty() && name.bytes().all(is_token_byte);
            match names.clone().any(chunked) || !names.all(named) {
                true => Err(HeadError::TransferEncoding),
                false => Err(HeadError::TransferCoding),
            }
        }
    }
}

/// What `Connection` says, all lines of it.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct ConnectionOptions {
    close: bool,
    keep_alive: bool,
    upgrade: bool,
}

impl ConnectionOptions {
    pub(super) fn add(&mut self, value: &str) {
        for option in list(value) {
            self.close |= option.eq_ignore_ascii_case("close");
            self.keep_alive |= option.eq_ignore_ascii_case("keep-alive");
            self.upgrade |= option.eq_ignore_ascii_case("upgrade");
        }
    }

    /// Whether the connection goes on after this message. RFC 9112 §9.3.
    pub(super) fn keep_alive(self, version: Version) -> bool {
        !self.close && (version == Version::Http11 || self.keep_alive)
    }
}

#[cfg(test)]
mod tests;

//! `requestState` of switchbox's own: which parked exchange a retry belongs to.
//!
//! The client keeps the token and sends it back with its answers. It may keep it, change it, or give it to
//! another: what comes back is taken only if it was made here, for this principal and this very request, and
//! not too long ago. It names a place and holds no secret, so it is signed and not encrypted.
//! MCP 2026-07-28, basic/patterns/mrtr, "requestState".

use crate::base64::{self, Form};
use crate::id::WorkerId;
use crate::jsonrpc::canonical;
use crate::jsonrpc::parse::Span;
use crate::secret::equal_in_constant_time;
use crate::time::Time;
use ring::hmac;
use sha2::{Digest, Sha256};
use std::fmt;

/// What a retry may say otherwise than the request it repeats.
const LEFT_OUT: [&str; 3] = ["_meta", "inputResponses", "requestState"];

/// The place that a token names, and until when.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Payload {
    /// The worker that holds the parked exchange.
    pub worker: WorkerId,
    /// Its place there.
    pub slot: u32,
    /// Which tenant of that place.
    pub generation: u32,
    /// Which round of questions it waits for: an answer to an earlier one comes too late.
    pub round: u32,
    /// When the token is good no more.
    pub expires: Time,
}

/// Why a token is not taken: -32602, and the client starts over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StateError {
    /// It has not the form of those made here.
    Malformed,
    /// It was not made by this process, or was changed.
    Forged,
    /// Its time has passed.
    Expired,
    /// It was made for another principal, server, method or parameters.
    Foreign,
}

impl fmt::Display for StateError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            StateError::Malformed => "requestState has not the form of those made here",
            StateError::Forged => "requestState was not made by this process",
            StateError::Expired => "requestState has expired",
            StateError::Foreign => "requestState was made for another request",
        })
    }
}

impl std::error::Error for StateError {}

/// What a token is bound to: who asks, and for what.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Binding([u8; DIGEST_BYTES]);

const DIGEST_BYTES: usize = 32;

impl Binding {
    /// That of a request of `principal` to `server`, however its parameters are spelt. What a retry adds or may
    /// change (`_meta`, `inputResponses`, `requestState`) does not count.
    ///
    /// `text` was checked before; it holds the server's own name of what is asked for, which another server may
    /// use as well. Costs a copy of the parameters.
    pub fn of(
        principal: Option<&str>,
        server: &str,
        method: &str,
        text: &[u8],
        params: Option<Span>,
    ) -> Binding {
        let mut canonical = Vec::new();
        if let Some(params) = params {
            canonical::write(&mut canonical, text, params, &LEFT_OUT);
        }
        let mut digest = Sha256::new();
        // Lengths stand before the parts, so that no part can pose as the end of the one before it.
        let mut part = |bytes: &[u8]| {
            digest.update((bytes.len() as u64).to_be_bytes());
            digest.update(bytes);
        };
        part(&[u8::from(principal.is_some())]);
        part(principal.unwrap_or_default().as_bytes());
        part(server.as_bytes());
        part(method.as_bytes());
        part(&canonical);
        Binding(digest.finalize().into())
    }
}

/// Makes tokens and takes them back. One key for all workers, drawn when the process starts: what an earlier
/// process parked is gone, and so its tokens are [`StateError::Forged`].
#[derive(Clone, Debug)]
pub struct Sealer {
    key: hmac::Key,
}

/// First byte of a token, so that another layout can be told from this one.
const LAYOUT: u8 = 1;
const PAYLOAD_BYTES: usize = 22;
const SIGNED_BYTES: usize = PAYLOAD_BYTES + DIGEST_BYTES;
const TAG_BYTES: usize = 32;
const TOKEN_BYTES: usize = SIGNED_BYTES + TAG_BYTES;

impl Sealer {
    /// With a key that nobody else knows.
    pub fn new(key: &[u8; 32]) -> Sealer {
        Sealer {
            key: hmac::Key::new(hmac::HMAC_SHA256, key),
        }
    }

    /// The token for `payload`, good for requests with this binding.
    pub fn seal(&self, payload: &Payload, binding: &Binding) -> String {
        let mut token = Vec::with_capacity(TOKEN_BYTES);
        token.push(LAYOUT);
        token.push(payload.worker.0);
        token.extend_from_slice(&payload.slot.to_be_bytes());
        token.extend_from_slice(&payload.generation.to_be_bytes());
        token.extend_from_slice(&payload.round.to_be_bytes());
        token.extend_from_slice(&payload.expires.as_micros().to_be_bytes());
        token.extend_from_slice(&binding.0);
        let tag = hmac::sign(&self.key, &token);
        token.extend_from_slice(tag.as_ref());
        base64::encode(&token, Form::Url)
    }

    /// The payload of a token that comes with a request of this binding.
    ///
    /// # Errors
    /// See [`StateError`]. That it is [`StateError::Foreign`] is only said of one made here.
    pub fn open(&self, token: &str, now: Time, binding: &Binding) -> Result<Payload, StateError> {
        let signed = self.verified(token)?;
        let (payload, digest) = signed.split_at(PAYLOAD_BYTES);
        if !equal_in_constant_time(digest, &binding.0) {
            return Err(StateError::Foreign);
        }
        let number = |at: usize, bytes: usize| {
            payload[at..at + bytes]
                .iter()
                .fold(0, |number, byte| number << 8 | u64::from(*byte))
        };
        let payload = Payload {
            worker: WorkerId(payload[1]),
            slot: number(2, 4) as u32,
            generation: number(6, 4) as u32,
            round: number(10, 4) as u32,
            expires: Time::from_micros(number(14, 8)),
        };
        if now >= payload.expires {
            return Err(StateError::Expired);
        }
        Ok(payload)
    }

    /// Whether a token was made here, for whatever request and however long ago.
    pub fn has_made(&self, token: &str) -> bool {
        self.verified(token).is_ok()
    }

    /// What was signed of a token that was made here.
    fn verified(&self, token: &str) -> Result<Vec<u8>, StateError> {
        if token.len() != TOKEN_BYTES.div_ceil(3) * 4 - TOKEN_PADDING {
            return Err(StateError::Malformed);
        }
        let mut bytes = base64::decode(token.as_bytes(), Form::Url).ok_or(StateError::Malformed)?;
        let (signed, tag) = bytes
            .split_at_checked(SIGNED_BYTES)
            .filter(|_| bytes[0] == LAYOUT)
            .ok_or(StateError::Malformed)?;
        hmac::verify(&self.key, signed, tag).map_err(|_| StateError::Forged)?;
        bytes.truncate(SIGNED_BYTES);
        Ok(bytes)
    }
}

/// What padding would add to a token.
const TOKEN_PADDING: usize = (3 - TOKEN_BYTES % 3) % 3;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::jsonrpc::parse;

    const PAYLOAD: Payload = Payload {
        worker: WorkerId(3),
        slot: 0x0102_0304,
        generation: u32::MAX,
        round: 2,
        expires: Time::from_micros(0x0102_0304_0506_0708),
    };
    const NOW: Time = Time::from_micros(5);

    fn sealer() -> Sealer {
        Sealer::new(&[7; 32])
    }

    fn binding(principal: Option<&str>, method: &str, params: &str) -> Binding {
        let span = (!params.is_empty()).then(|| parse::check(params.as_bytes()).unwrap());
        Binding::of(principal, "s", method, params.as_bytes(), span)
    }

    fn own() -> Binding {
        binding(Some("me"), "tools/call", r#"{"name":"t"}"#)
    }

    #[test]
    fn payload_survives_a_round_trip() {
        let token = sealer().seal(&PAYLOAD, &own());
        assert_eq!(sealer().open(&token, NOW, &own()), Ok(PAYLOAD));
        let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_');
        assert!(token.chars().all(plain), "{token}");
    }

    #[test]
    fn changed_token_is_never_taken() {
        let token = sealer().seal(&PAYLOAD, &own());
        for at in 0..token.len() {
            for bit in 0..7 {
                let mut bytes = token.clone().into_bytes();
                bytes[at] ^= 1 << bit;
                let Ok(changed) = String::from_utf8(bytes) else {
                    continue;
                };
                let verdict = sealer().open(&changed, NOW, &own());
                assert!(
                    matches!(verdict, Err(StateError::Forged | StateError::Malformed)),
                    "{changed}: {verdict:?}"
                );
            }
        }
    }

    #[test]
    fn token_is_refused_for_what_is_wrong_with_it() {
        let sealer = sealer();
        let token = sealer.seal(&PAYLOAD, &own());
        let check = |token: &str, now, binding: &Binding, expected| {
            assert_eq!(sealer.open(token, now, binding), Err(expected), "{token}");
        };
        for text in [
            "",
            "x",
            "=",
            &token[..token.len() - 1],
            &format!("{token}A"),
            "é",
        ] {
            check(text, NOW, &own(), StateError::Malformed);
        }
        let zeros = base64::encode(&[0; TOKEN_BYTES], Form::Url);
        check(&zeros, NOW, &own(), StateError::Malformed);
        let mut unsigned = [0; TOKEN_BYTES];
        unsigned[0] = LAYOUT;
        let unsigned = base64::encode(&unsigned, Form::Url);
        check(&unsigned, NOW, &own(), StateError::Forged);
        let other = Sealer::new(&[8; 32]).seal(&PAYLOAD, &own());
        check(&other, NOW, &own(), StateError::Forged);
        check(&token, PAYLOAD.expires, &own(), StateError::Expired);
        check(&token, Time::NEVER, &own(), StateError::Expired);
        let theirs = binding(Some("you"), "tools/call", r#"{"name":"t"}"#);
        check(&token, NOW, &theirs, StateError::Foreign);
        check(&token, Time::NEVER, &theirs, StateError::Foreign);
        let just = Time::from_micros(PAYLOAD.expires.as_micros() - 1);
        assert_eq!(sealer.open(&token, just, &own()), Ok(PAYLOAD));
    }

    #[test]
    fn retry_is_bound_as_the_request_was() {
        let check = |params: &str, bound: bool| {
            let first =
                r#"{"name":"t","arguments":{"a":1,"b":[true]},"_meta":{"progressToken":1}}"#;
            let first = binding(None, "tools/call", first);
            assert_eq!(
                binding(None, "tools/call", params) == first,
                bound,
                "{params}"
            );
        };
        check(
            r#"{ "requestState":"x", "arguments":{"b":[true],"a":1.0}, "inputResponses":{"k":{}}, "name":"\u0074" }"#,
            true,
        );
        check(r#"{"name":"u","arguments":{"a":1,"b":[true]}}"#, false);
        check(r#"{"name":"t","arguments":{"a":2,"b":[true]}}"#, false);
        check(
            r#"{"name":"t","arguments":{"a":1,"b":[true],"_meta":{}}}"#,
            false,
        );
        check(
            r#"{"name":"t","arguments":{"a":1,"b":[true]},"task":{}}"#,
            false,
        );
        check(r#"{"name":"t"}"#, false);
        check("", false);
    }

    #[test]
    fn bindings_of_different_requests_differ() {
        let bindings = [
            binding(None, "tools/call", ""),
            binding(None, "tools/call", "{}"),
            binding(Some(""), "tools/call", "{}"),
            binding(Some("me"), "tools/call", "{}"),
            binding(Some("met"), "ools/call", "{}"),
            binding(Some("me"), "prompts/get", "{}"),
            binding(None, "tools/call{}", ""),
            Binding::of(Some("me"), "other", "tools/call", b"", None),
            Binding::of(Some("me"), "s", "tools/call", b"", None),
        ];
        for (at, one) in bindings.iter().enumerate() {
            for other in &bindings[at + 1..] {
                assert_ne!(one, other);
            }
        }
    }

    #[test]
    fn key_is_not_shown() {
        assert!(!format!("{:?}", sealer()).contains('7'));
    }
}

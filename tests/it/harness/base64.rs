//! Base64, as header values carry what is not plain ASCII.

const LETTERS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

/// A value as a header may carry it: itself if it is plain, else wrapped.
pub(crate) fn header_value(value: &str) -> String {
    let is_plain = value.bytes().all(|b| (0x20..0x7f).contains(&b))
        && value.trim() == value
        && !value.starts_with("=?base64?");
    match is_plain {
        true => value.into(),
        false => format!("=?base64?{}?=", encode(value.as_bytes())),
    }
}

/// What a header value stands for; [`None`] if it is wrapped and broken.
pub(crate) fn plain_value(value: &str) -> Option<String> {
    match value
        .strip_prefix("=?base64?")
        .and_then(|rest| rest.strip_suffix("?="))
    {
        Some(inner) => String::from_utf8(decode(inner)?).ok(),
        None => Some(value.into()),
    }
}

pub(crate) fn encode(bytes: &[u8]) -> String {
    let mut text = String::new();
    for group in bytes.chunks(3) {
        let word = (0..3).fold(0, |word, n| {
            word << 8 | u32::from(group.get(n).copied().unwrap_or(0))
        });
        for n in 0..4 {
            let letter = LETTERS[(word >> (18 - 6 * n) & 63) as usize];
            text.push(if n <= group.len() { letter.into() } else { '=' });
        }
    }
    text
}

fn decode(text: &str) -> Option<Vec<u8>> {
    let mut bytes = Vec::new();
    if !text.len().is_multiple_of(4) {
        return None;
    }
    for group in text.as_bytes().chunks(4) {
        let padding = group.iter().rev().take_while(|b| **b == b'=').count();
        let mut word = 0;
        for letter in &group[..4 - padding] {
            word = word << 6 | LETTERS.iter().position(|own| own == letter)? as u32;
        }
        word <<= 6 * padding;
        bytes.extend(&word.to_be_bytes()[1..4 - padding.min(2)]);
    }
    Some(bytes)
}

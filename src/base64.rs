//! Base64 in its two forms (RFC 4648 §4 and §5), strict: to every byte string one text, and back.
//!
//! What another reader could take for the same bytes is refused: white space, padding too much or too
//! little, bits after the last byte that are not zero.

/// A form of Base64.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// With `+`, `/` and padding, as mail and MCP's headers have it.
    Standard,
    /// With `-` and `_` and without padding, as URLs and tokens have it.
    Url,
}

impl Form {
    /// The letters for 62 and 63.
    const fn last_letters(self) -> [u8; 2] {
        match self {
            Form::Standard => *b"+/",
            Form::Url => *b"-_",
        }
    }

    fn letter(self, value: u8) -> u8 {
        match value {
            0..26 => b'A' + value,
            26..52 => b'a' + value - 26,
            52..62 => b'0' + value - 52,
            _ => self.last_letters()[usize::from(value - 62)],
        }
    }

    fn value(self, letter: u8) -> Option<u8> {
        Some(match letter {
            b'A'..=b'Z' => letter - b'A',
            b'a'..=b'z' => letter - b'a' + 26,
            b'0'..=b'9' => letter - b'0' + 52,
            _ if letter == self.last_letters()[0] => 62,
            _ if letter == self.last_letters()[1] => 63,
            _ => return None,
        })
    }
}

/// The text for `bytes`.
pub fn encode(bytes: &[u8], form: Form) -> String {
    let mut text = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for group in bytes.chunks(3) {
        let byte = |at: usize| u32::from(group.get(at).copied().unwrap_or(0));
        let bits = byte(0) << 16 | byte(1) << 8 | byte(2);
        for at in 0..=group.len() {
            let value = (bits >> (18 - 6 * at)) as u8 & 63;
            text.push(char::from(form.letter(value)));
        }
        if form == Form::Standard {
            text.push_str(&"=="[..3 - group.len()]);
        }
    }
    text
}

/// The bytes that `text` stands for; `None` if [`encode`] would write them otherwise.
pub fn decode(text: &[u8], form: Form) -> Option<Vec<u8>> {
    let letters = match form {
        Form::Url => text,
        Form::Standard if !text.len().is_multiple_of(4) => return None,
        Form::Standard => match text {
            [letters @ .., b'=', b'='] | [letters @ .., b'='] => letters,
            letters => letters,
        },
    };
    let mut bytes = Vec::with_capacity(letters.len() / 4 * 3 + 2);
    for group in letters.chunks(4) {
        let mut bits = 0;
        for &letter in group {
            bits = bits << 6 | u32::from(form.value(letter)?);
        }
        // Left are the bits after the last whole byte of the group: none, two or four.
        let rest = group.len() * 6 % 8;
        if group.len() == 1 || bits & ((1 << rest) - 1) != 0 {
            return None;
        }
        let whole = (bits >> rest).to_be_bytes();
        bytes.extend_from_slice(&whole[4 - group.len() * 6 / 8..]);
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// RFC 4648 §10.
    const VECTORS: [(&str, &str); 7] = [
        ("", ""),
        ("f", "Zg=="),
        ("fo", "Zm8="),
        ("foo", "Zm9v"),
        ("foob", "Zm9vYg=="),
        ("fooba", "Zm9vYmE="),
        ("foobar", "Zm9vYmFy"),
    ];

    #[test]
    fn vectors_of_the_rfc_hold() {
        for (bytes, text) in VECTORS {
            assert_eq!(encode(bytes.as_bytes(), Form::Standard), text);
            assert_eq!(
                decode(text.as_bytes(), Form::Standard).as_deref(),
                Some(bytes.as_bytes())
            );
            let bare = text.trim_end_matches('=');
            assert_eq!(encode(bytes.as_bytes(), Form::Url), bare);
            assert_eq!(
                decode(bare.as_bytes(), Form::Url).as_deref(),
                Some(bytes.as_bytes())
            );
        }
    }

    #[test]
    fn every_byte_survives_in_every_place() {
        for form in [Form::Standard, Form::Url] {
            for byte in 0..=255 {
                for length in 1..=4 {
                    let bytes = vec![byte; length];
                    let text = encode(&bytes, form);
                    assert_eq!(decode(text.as_bytes(), form), Some(bytes), "{text}");
                }
            }
        }
        assert_eq!(encode(&[0xfb, 0xff], Form::Standard), "+/8=");
        assert_eq!(encode(&[0xfb, 0xff], Form::Url), "-_8");
    }

    #[test]
    fn only_one_text_stands_for_some_bytes() {
        let check = |text: &str, form| assert_eq!(decode(text.as_bytes(), form), None, "{text}");
        for text in [
            "Zg",
            "Zg=",
            "Zg===",
            "Zm9v=",
            "Zm9v====",
            "Z",
            "Zh==",
            "Zm9=",
            "=",
            "==",
            "====",
            "Zg==Zg==",
            "Zm 9",
            "Zm9v\n",
            "-_8=",
            "SGVs!!!bG8=",
            "Zm8=Zm8=",
        ] {
            check(text, Form::Standard);
        }
        for text in ["Zg==", "Z", "Zh", "Zm9", "+/8", "Zm9vZ"] {
            check(text, Form::Url);
        }
    }
}

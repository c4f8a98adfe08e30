//! A child's stdout taken apart into lines (MCP transports, "stdio").
//!
//! A line that arrives whole is handed out where it lies; only what is split between two reads is kept.

use crate::config::limits::LINE_BYTES_MAX;
use memchr::memchr;

/// The reader of one child's stdout.
#[derive(Debug, Default)]
pub struct Lines {
    kept: Vec<u8>,
    spent: bool,
}

/// A line is longer than [`LINE_BYTES_MAX`]: where the next message begins is anybody's guess.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LineTooLong;

impl Lines {
    /// The next line of `input`, without its end and never empty; `None` when more bytes are needed.
    ///
    /// # Errors
    /// [`LineTooLong`]; never call again after it.
    pub fn next<'s, 'i: 's>(
        &'s mut self,
        input: &mut &'i [u8],
    ) -> Result<Option<&'s [u8]>, LineTooLong> {
        if std::mem::take(&mut self.spent) {
            // Nothing is kept between messages: a long one must not cost memory for ever.
            self.kept = Vec::new();
        }
        loop {
            let Some(end) = memchr(b'\n', input) else {
                if self.kept.len() + input.len() > LINE_BYTES_MAX {
                    return Err(LineTooLong);
                }
                self.kept.extend_from_slice(input);
                *input = &[];
                return Ok(None);
            };
            let (line, rest) = (&input[..end], &input[end + 1..]);
            *input = rest;
            if self.kept.is_empty() {
                let line = line.trim_ascii();
                if line.is_empty() {
                    continue;
                }
                return if line.len() > LINE_BYTES_MAX {
                    Err(LineTooLong)
                } else {
                    Ok(Some(line))
                };
            }
            if self.kept.len() + line.len() > LINE_BYTES_MAX {
                return Err(LineTooLong);
            }
            self.kept.extend_from_slice(line);
            if self.kept.trim_ascii().is_empty() {
                self.kept.clear();
                continue;
            }
            self.spent = true;
            return Ok(Some(self.kept.trim_ascii()));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all(pieces: &[&[u8]]) -> Result<Vec<Vec<u8>>, LineTooLong> {
        let (mut lines, mut found) = (Lines::default(), Vec::new());
        for mut piece in pieces.iter().copied() {
            while let Some(line) = lines.next(&mut piece)? {
                found.push(line.to_vec());
            }
        }
        Ok(found)
    }

    #[test]
    fn lines_split_anywhere_are_the_same_lines() {
        let text = b"{\"a\":1}\n\n  {}\r\nx\n";
        let expected: Vec<Vec<u8>> = vec![b"{\"a\":1}".to_vec(), b"{}".to_vec(), b"x".to_vec()];
        for one in 0..text.len() {
            for two in one..text.len() {
                assert_eq!(
                    all(&[&text[..one], &text[one..two], &text[two..]]),
                    Ok(expected.clone())
                );
            }
        }
    }

    #[test]
    fn line_is_bounded_at_the_limit() {
        let most = vec![b'x'; LINE_BYTES_MAX];
        assert_eq!(all(&[&most, b"\n"]).unwrap()[0].len(), LINE_BYTES_MAX);
        assert_eq!(all(&[&most, b"x\n"]), Err(LineTooLong));
        assert_eq!(all(&[&most, b"x"]), Err(LineTooLong));
    }
}

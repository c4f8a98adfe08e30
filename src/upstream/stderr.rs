//! The last of what a child wrote to stderr, to be quoted when it fails.

use crate::config::limits::{STDERR_BYTES_MAX, STDERR_LINE_BYTES_MAX, STDERR_LINES_QUOTED};
use crate::config::redact::Redactor;
use std::collections::VecDeque;

/// A ring of lines, bounded in bytes.
#[derive(Debug, Default)]
pub struct Stderr {
    lines: VecDeque<String>,
    bytes: usize,
    partial: Vec<u8>,
    /// Whether the line that has begun is longer than what is kept of it.
    is_cut: bool,
}

impl Stderr {
    /// Takes in bytes; gives the lines that they completed, without what begins a secret of `redactor` where one is
    /// cut. Whole secrets are still in them.
    pub fn push(&mut self, bytes: &[u8], redactor: &Redactor) -> Vec<String> {
        let mut complete = Vec::new();
        for piece in bytes.split_inclusive(|byte| *byte == b'\n') {
            let (text, ends) = match piece.strip_suffix(b"\n") {
                Some(text) => (text, true),
                None => (piece, false),
            };
            let room = STDERR_LINE_BYTES_MAX.saturating_sub(self.partial.len());
            self.partial
                .extend_from_slice(&text[..text.len().min(room)]);
            self.is_cut |= text.len() > room;
            if ends {
                complete.extend(self.finish(redactor));
            }
        }
        complete
    }

    /// Ends the line that has begun.
    fn finish(&mut self, redactor: &Redactor) -> Option<String> {
        let bytes = std::mem::take(&mut self.partial);
        let mut line = String::from_utf8_lossy(&bytes);
        if std::mem::take(&mut self.is_cut) {
            line = redactor.clean_cut(&line).into();
        }
        let line = line.trim_end().to_string();
        if line.is_empty() {
            return None;
        }
        self.bytes += line.len();
        self.lines.push_back(line.clone());
        while self.bytes > STDERR_BYTES_MAX {
            let oldest = self
                .lines
                .pop_front()
                .expect("bytes are counted line by line");
            self.bytes -= oldest.len();
        }
        Some(line)
    }

    /// The last lines, for an error; empty if there were none.
    pub fn quote(&mut self, redactor: &Redactor) -> String {
        self.finish(redactor);
        let skipped = self.lines.len().saturating_sub(STDERR_LINES_QUOTED);
        let last: Vec<&str> = self
            .lines
            .iter()
            .skip(skipped)
            .map(String::as_str)
            .collect();
        last.join("\n")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::telemetry::tests::config_with_secrets;

    fn nothing_secret() -> Redactor {
        Redactor::default()
    }

    #[test]
    fn last_lines_are_quoted_with_the_unfinished_one() {
        let mut stderr = Stderr::default();
        for number in 0..30 {
            stderr.push(format!("line {number}\n").as_bytes(), &nothing_secret());
        }
        assert_eq!(
            stderr.push(b"half a li", &nothing_secret()),
            Vec::<String>::new()
        );
        let quoted = stderr.quote(&nothing_secret());
        assert!(
            quoted.starts_with("line 11\n") && quoted.ends_with("line 29\nhalf a li"),
            "{quoted}"
        );
    }

    #[test]
    fn endless_line_and_endless_lines_are_bounded() {
        let mut stderr = Stderr::default();
        stderr.push(&vec![b'x'; 1 << 20], &nothing_secret());
        let lines = stderr.push(b"y\n", &nothing_secret());
        assert_eq!(lines[0].len(), STDERR_LINE_BYTES_MAX);
        for _ in 0..1000 {
            stderr.push(&[vec![b'z'; 500], vec![b'\n']].concat(), &nothing_secret());
        }
        assert!(stderr.bytes <= STDERR_BYTES_MAX);
    }

    #[test]
    fn line_cut_within_a_secret_holds_none_of_it() {
        let redactor = Redactor::new(&config_with_secrets());
        let check = |shown: &str, secret: &[u8], expected: &str| {
            let mut stderr = Stderr::default();
            let filler = vec![b'x'; STDERR_LINE_BYTES_MAX - shown.len()];
            stderr.push(&filler, &redactor);
            let lines = stderr.push(&[secret, b" refused\n"].concat(), &redactor);
            let line = lines[0].trim_start_matches('x');
            assert_eq!(redactor.clean(line), expected, "cut after {shown:?}");
            let next = stderr.push(b"key ci\n", &redactor);
            assert_eq!(next, ["key ci"], "a line that is not cut is whole");
        };
        check("key ci.01234", b"key ci.0123456789abcdef", "key");
        check(
            "key ci.0123456789abcdef",
            b"key ci.0123456789abcdef",
            "key ***",
        );
        check("key ", b"key ci.0123456789abcdef", "key");
    }

    #[test]
    fn lines_split_anywhere_are_the_same_lines() {
        for at in 0..7 {
            let mut stderr = Stderr::default();
            let (left, right) = b"ab\n\ncd\n".split_at(at);
            let lines = [left, right].map(|part| stderr.push(part, &nothing_secret()));
            let lines = lines.concat();
            assert_eq!(lines, ["ab", "cd"]);
        }
    }
}

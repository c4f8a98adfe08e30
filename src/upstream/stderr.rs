//! The last of what a child wrote to stderr, to be quoted when it fails.

use crate::config::limits::{STDERR_BYTES_MAX, STDERR_LINE_BYTES_MAX, STDERR_LINES_QUOTED};
use std::collections::VecDeque;

/// A ring of lines, bounded in bytes.
#[derive(Debug, Default)]
pub struct Stderr {
    lines: VecDeque<String>,
    bytes: usize,
    partial: Vec<u8>,
}

impl Stderr {
    /// Takes in bytes; gives the lines that they completed.
    pub fn push(&mut self, bytes: &[u8]) -> Vec<String> {
        let mut complete = Vec::new();
        for piece in bytes.split_inclusive(|byte| *byte == b'\n') {
            let (text, ends) = match piece.strip_suffix(b"\n") {
                Some(text) => (text, true),
                None => (piece, false),
            };
            let room = STDERR_LINE_BYTES_MAX.saturating_sub(self.partial.len());
            self.partial
                .extend_from_slice(&text[..text.len().min(room)]);
            if ends {
                complete.extend(self.finish());
            }
        }
        complete
    }

    /// Ends the line that has begun.
    fn finish(&mut self) -> Option<String> {
        let line = String::from_utf8_lossy(&std::mem::take(&mut self.partial))
            .trim_end()
            .to_string();
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
    pub fn quote(&mut self) -> String {
        self.finish();
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

    #[test]
    fn last_lines_are_quoted_with_the_unfinished_one() {
        let mut stderr = Stderr::default();
        for number in 0..30 {
            stderr.push(format!("line {number}\n").as_bytes());
        }
        assert_eq!(stderr.push(b"half a li"), Vec::<String>::new());
        let quoted = stderr.quote();
        assert!(
            quoted.starts_with("line 11\n") && quoted.ends_with("line 29\nhalf a li"),
            "{quoted}"
        );
    }

    #[test]
    fn endless_line_and_endless_lines_are_bounded() {
        let mut stderr = Stderr::default();
        stderr.push(&vec![b'x'; 1 << 20]);
        assert_eq!(stderr.push(b"y\n")[0].len(), STDERR_LINE_BYTES_MAX);
        for _ in 0..1000 {
            stderr.push(&[vec![b'z'; 500], vec![b'\n']].concat());
        }
        assert!(stderr.bytes <= STDERR_BYTES_MAX);
    }

    #[test]
    fn lines_split_anywhere_are_the_same_lines() {
        for at in 0..7 {
            let mut stderr = Stderr::default();
            let (left, right) = b"ab\n\ncd\n".split_at(at);
            let lines = [stderr.push(left), stderr.push(right)].concat();
            assert_eq!(lines, ["ab", "cd"]);
        }
    }
}

//! The text of a configuration file, and how a part of it is quoted.
//!
//! A quoted line must help and must not tell: whatever could be a secret is shown as `***`. What
//! could be one is decided by `config::mask` before the first quotation is made.

use super::mask;
use super::node::{Node, Span};
use super::syntax::Syntax;
use std::cell::Cell;

/// Characters of a line that are quoted around the place in question.
const QUOTE_CHARS_MAX: usize = 100;
/// Bytes of a line that are looked at before and after the place; enough for that many characters.
const QUOTE_BYTES_AROUND: usize = 8 * QUOTE_CHARS_MAX;

/// A text with its line starts and the stretches that must not be shown.
pub struct Source<'t> {
    text: &'t str,
    syntax: Syntax,
    line_starts: Vec<usize>,
    /// Sorted, and without overlap. `None` before the text could be read: then lines are masked by
    /// their looks.
    hidden: Option<Vec<Span>>,
    /// A place, and the characters of its line before it.
    counted: Cell<(usize, usize)>,
}

/// A line of the file with one stretch of it marked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Excerpt {
    /// Counted from 1.
    pub line: usize,
    /// In characters, counted from 1.
    pub column: usize,
    /// The line, or the part of it around the place.
    pub quote: String,
    /// Characters of `quote` before the mark.
    pub caret: usize,
    /// Characters of the mark, at least one.
    pub width: usize,
}

impl<'t> Source<'t> {
    /// A text of which nothing is known yet.
    pub fn new(text: &'t str, syntax: Syntax) -> Source<'t> {
        let mut line_starts = vec![0];
        line_starts.extend(memchr::memchr_iter(b'\n', text.as_bytes()).map(|at| at + 1));
        Source {
            text,
            syntax,
            line_starts,
            hidden: None,
            counted: Cell::new((0, 0)),
        }
    }

    /// The same text, once it is known what in it may be shown.
    pub fn with_tree(mut self, root: &Node) -> Source<'t> {
        self.hidden = Some(mask::hidden(root, self.text));
        self
    }

    /// What stands at `span`.
    pub fn slice(&self, span: Span) -> &'t str {
        self.text.get(span.start..span.end).unwrap_or("")
    }

    /// The line of a byte, counted from 1.
    pub fn line(&self, offset: usize) -> usize {
        self.line_starts.partition_point(|start| *start <= offset)
    }

    /// Whether the value at `span` may not be repeated in a message.
    pub fn hides(&self, span: Span) -> bool {
        match &self.hidden {
            Some(hidden) => overlapping(hidden, span).next().is_some(),
            None => true,
        }
    }

    /// The line of `span` with `span` marked.
    pub fn excerpt(&self, span: Span) -> Excerpt {
        let start = floor(self.text, span.start);
        let line = self.line(start);
        let line_start = self.line_starts[line - 1];
        let next_line = self.line_starts.get(line).copied();
        let whole = &self.text[line_start..next_line.unwrap_or(self.text.len())];
        let whole = whole.strip_suffix('\n').unwrap_or(whole);
        let whole = whole.strip_suffix('\r').unwrap_or(whole);
        let line_end = line_start + whole.len();
        // Of a file that is one long line only the surroundings are looked at, however often.
        let from = floor(self.text, start.saturating_sub(QUOTE_BYTES_AROUND)).max(line_start);
        let to = floor(self.text, start + QUOTE_BYTES_AROUND).min(line_end);
        let end = floor(self.text, span.end).clamp(start, line_end.max(start));

        let hidden: Vec<Span> = match &self.hidden {
            Some(hidden) => {
                let around = Span {
                    start: from,
                    end: to.max(from),
                };
                overlapping(hidden, around).collect()
            }
            None => mask::by_looks(whole, self.syntax)
                .into_iter()
                .map(|s| Span {
                    start: s.start + line_start,
                    end: s.end + line_start,
                })
                .collect(),
        };

        let mut quote: Vec<char> = Vec::new();
        let (mut caret, mut caret_end) = (None, None);
        let mut next_hidden = hidden.into_iter().peekable();
        for (index, c) in self.text[from..to.max(from)].char_indices() {
            let at = from + index;
            while next_hidden.next_if(|s| s.end <= at).is_some() {}
            let masked = next_hidden
                .peek()
                .is_some_and(|s| s.start.max(from) < at && at < s.end);
            if at >= start {
                caret.get_or_insert(quote.len() - if masked { 3 } else { 0 });
            }
            if at >= end && !masked {
                caret_end.get_or_insert(quote.len());
            }
            match next_hidden.peek() {
                Some(s) if s.start <= at => {
                    // One `***` for the stretch, however long it is: not even its length is told.
                    if at == s.start.max(from) {
                        quote.extend("***".chars());
                    }
                }
                _ if c == '\t' => quote.push(' '),
                _ if c.is_control() => quote.push('\u{fffd}'),
                _ => quote.push(c),
            }
        }
        let caret = caret.unwrap_or(quote.len());
        let width = caret_end
            .unwrap_or(quote.len())
            .saturating_sub(caret)
            .max(1);
        let column = self.column(
            line_start,
            start.clamp(line_start, line_end.max(line_start)),
        );
        clipped(line, column, &quote, caret, width)
    }
}

impl Source<'_> {
    /// The column of `offset`, in characters. Counts on from the last place asked for where it can:
    /// a file may be one line with thousands of problems.
    fn column(&self, line_start: usize, offset: usize) -> usize {
        let (counted_to, count) = match self.counted.get() {
            (to, count) if (line_start..=offset).contains(&to) => (to, count),
            _ => (line_start, 0),
        };
        let count = count + self.text[counted_to..offset].chars().count();
        self.counted.set((offset, count));
        count + 1
    }
}

/// Keeps the quotation of a very long line short.
fn clipped(line: usize, column: usize, quote: &[char], caret: usize, width: usize) -> Excerpt {
    let from = if quote.len() <= QUOTE_CHARS_MAX {
        0
    } else {
        caret.saturating_sub(QUOTE_CHARS_MAX / 2)
    };
    let to = quote.len().min(from + QUOTE_CHARS_MAX);
    let mut shown: String = quote[from.min(to)..to].iter().collect();
    let mut caret = caret - from;
    if from > 0 {
        shown.insert(0, '…');
        caret += 1;
    }
    if to < quote.len() {
        shown.push('…');
    }
    Excerpt {
        line,
        column,
        quote: shown,
        caret,
        width: width
            .min((QUOTE_CHARS_MAX + 2).saturating_sub(caret))
            .max(1),
    }
}

fn overlapping(sorted: &[Span], with: Span) -> impl Iterator<Item = Span> + '_ {
    let first = sorted.partition_point(|s| s.end <= with.start);
    sorted[first..]
        .iter()
        .copied()
        .take_while(move |s| s.start < with.end)
}

/// The character boundary at or before `offset`.
fn floor(text: &str, offset: usize) -> usize {
    let mut at = offset.min(text.len());
    while !text.is_char_boundary(at) {
        at -= 1;
    }
    at
}

#[cfg(test)]
mod tests {
    use super::*;

    fn marked(text: &str, start: usize, end: usize) -> (usize, usize, String) {
        let mut source = Source::new(text, Syntax::Toml);
        source.hidden = Some(Vec::new());
        let at = source.excerpt(Span { start, end });
        let mark = " ".repeat(at.caret) + &"^".repeat(at.width);
        (at.line, at.column, format!("{}\n{mark}", at.quote))
    }

    #[test]
    fn mark_stands_under_the_place() {
        let check = |text, start, end, expected: (usize, usize, &str)| {
            let (line, column, quote) = marked(text, start, end);
            assert_eq!((line, column, quote.as_str()), expected);
        };
        check("a = 1\nbc = 2\n", 6, 8, (2, 1, "bc = 2\n^^"));
        check("a = 1\r\nbc = 2\r\n", 12, 13, (2, 6, "bc = 2\n     ^"));
        check("é = ü\n", 5, 7, (1, 5, "é = ü\n    ^"));
        // The end of the text, an empty line and a place past everything are places, too.
        check("a", 1, 1, (1, 2, "a\n ^"));
        check("a\n\nb", 2, 2, (2, 1, "\n^"));
        check("a", 70, 90, (1, 2, "a\n ^"));
        check("", 0, 0, (1, 1, "\n^"));
    }

    #[test]
    fn long_line_is_clipped_around_the_place() {
        let text = format!("{}here{}", "x".repeat(5000), "y".repeat(5000));
        let (line, column, quote) = marked(&text, 5000, 5004);
        assert_eq!((line, column), (1, 5001));
        assert!(quote.chars().count() < 220, "{quote}");
        let mark = quote.lines().nth(1).unwrap().find('^').unwrap();
        assert!(
            quote
                .chars()
                .skip(mark)
                .collect::<String>()
                .starts_with("here")
        );
    }

    #[test]
    fn hidden_stretch_shows_neither_content_nor_length() {
        let text = "token = \"abcdefgh\" # no";
        let mut source = Source::new(text, Syntax::Toml);
        source.hidden = Some(vec![Span { start: 8, end: 18 }]);
        let at = source.excerpt(Span { start: 8, end: 18 });
        assert_eq!(at.quote, "token = *** # no");
        assert_eq!((at.caret, at.width, at.column), (8, 3, 9));
    }
}

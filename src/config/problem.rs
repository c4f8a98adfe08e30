//! What is wrong with a configuration: where, what was expected, and what was probably meant.
//!
//! A problem is complete when it is made: it carries the line it speaks of, with everything that
//! might be a secret already masked, so that it can be printed, logged or compared as it is.

use super::source::Excerpt;
use std::fmt;

/// Columns that a message keeps to, the quoted line and file names apart.
const COLUMNS: usize = 80;

/// One thing that keeps a configuration from being used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// Where it is.
    pub place: Place,
    /// What it is.
    pub fault: Fault,
    /// What would have been right, if that can be said.
    pub expected: Option<String>,
    /// What to do about it, if there is a good guess.
    pub hint: Option<String>,
}

/// Where a setting was made, or was made wrongly.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    /// In the configuration file.
    Text(Excerpt),
    /// On the command line, by this flag.
    Flag(&'static str),
    /// In the environment, by this variable.
    Variable(String),
    /// Nowhere: it is the default, or concerns the whole.
    Nowhere,
}

/// What is wrong, without what would be right.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fault {
    /// The text does not follow its syntax; in the words of the parser.
    Syntax(String),
    /// A key of no meaning here.
    UnknownKey(String),
    /// A key, value or variable of a feature that later versions have.
    NotYet(String),
    /// A key for the second time in one table.
    Repeated {
        /// The key or name.
        key: String,
        /// The line of the first.
        line: usize,
    },
    /// Two keys that exclude each other.
    Both(String, String),
    /// A key without which its table makes no sense.
    Missing(String),
    /// A value of the wrong kind or range; `found` is empty where it could be a secret.
    Unfit {
        /// The key or variable.
        key: String,
        /// The value as it is written, or its kind.
        found: String,
    },
    /// A placeholder that cannot be filled.
    Placeholder(String),
    /// Another fact.
    Fact(String),
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Fault::Syntax(message) | Fault::Placeholder(message) | Fault::Fact(message) => {
                f.write_str(message)
            }
            Fault::UnknownKey(key) => write!(f, "unknown key {key:?}"),
            Fault::NotYet(what) => write!(f, "{what:?} is not supported by this version"),
            Fault::Repeated { key, line } => {
                write!(f, "{key:?} for the second time, first on line {line}")
            }
            Fault::Both(one, other) => write!(f, "both {one:?} and {other:?}"),
            Fault::Missing(key) => write!(f, "{key} is missing"),
            Fault::Unfit { key, found } if found.is_empty() => {
                write!(f, "{key:?} has an unfit value")
            }
            Fault::Unfit { key, found } => write!(f, "{key:?} is {found}"),
        }
    }
}

impl Problem {
    /// A problem of which only place and fact are known yet.
    pub fn new(place: Place, fault: Fault) -> Problem {
        Problem {
            place,
            fault,
            expected: None,
            hint: None,
        }
    }

    /// The same, saying what would have been right.
    pub fn expecting(mut self, expected: impl Into<String>) -> Problem {
        self.expected = Some(expected.into());
        self
    }

    /// The same, saying what to do.
    pub fn hinting(mut self, hint: impl Into<String>) -> Problem {
        self.hint = Some(hint.into());
        self
    }
}

/// All that is wrong with one configuration, in the order of the file. Never empty.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problems {
    /// What the file is called in messages.
    pub file: String,
    /// The problems: those of the file first, then those of the command line and the environment.
    pub list: Vec<Problem>,
}

/// A paragraph for each problem: `file:line:column: fact`, the line, a caret, what was expected.
impl fmt::Display for Problems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let shown = self.list.len().min(super::limits::CONFIG_PROBLEMS_SHOWN);
        for (index, problem) in self.list[..shown].iter().enumerate() {
            if index > 0 {
                writeln!(f)?;
            }
            problem.write(f, &self.file)?;
        }
        match self.list.len() - shown {
            0 => Ok(()),
            more => write!(f, "\n… and {more} more"),
        }
    }
}

impl Problem {
    fn write(&self, f: &mut fmt::Formatter<'_>, file: &str) -> fmt::Result {
        let mut margin = String::from("  ");
        match &self.place {
            Place::Text(at) => {
                let number = at.line.to_string();
                margin = " ".repeat(number.len() + 2);
                writeln!(f, "{file}:{}:{}: {}", at.line, at.column, self.fault)?;
                writeln!(f, " {number} | {}", at.quote)?;
                write!(
                    f,
                    "{margin}| {}{}",
                    " ".repeat(at.caret),
                    "^".repeat(at.width)
                )?;
            }
            Place::Flag(flag) => write!(f, "{flag}: {}", self.fault)?,
            Place::Variable(name) => write!(f, "environment: {name}: {}", self.fault)?,
            Place::Nowhere => write!(f, "{}", self.fault)?,
        }
        if let Some(expected) = &self.expected {
            write!(f, "\n{}", wrapped(&format!("expected {expected}"), &margin))?;
        }
        if let Some(hint) = &self.hint {
            write!(f, "\n{}", wrapped(hint, &margin))?;
        }
        Ok(())
    }
}

/// A remark under a place, broken between words so that it fits 80 columns.
fn wrapped(text: &str, margin: &str) -> String {
    let mut lines = format!("{margin}=");
    let mut column = margin.len() + 1;
    for word in text.split(' ') {
        let width = word.chars().count() + 1;
        if column + width > COLUMNS && column > margin.len() + 1 {
            lines.push('\n');
            lines.push_str(margin);
            lines.push(' ');
            column = margin.len() + 1;
        }
        lines.push(' ');
        lines.push_str(word);
        column += width;
    }
    lines
}

/// The place in a few words, as a note names it.
impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Place::Text(at) => write!(f, "line {} of the file", at.line),
            Place::Flag(flag) => f.write_str(flag),
            Place::Variable(name) => write!(f, "environment variable {name}"),
            Place::Nowhere => f.write_str("the default"),
        }
    }
}

/// The candidate that `word` was probably meant to be.
///
/// Two typing errors in a word of six letters or more, one in a shorter one; case and the choice
/// between `-` and `_` do not count. The first candidate wins a tie, so the answer is the same each time.
pub fn nearest<'c>(word: &str, candidates: impl IntoIterator<Item = &'c str>) -> Option<&'c str> {
    let word = plain(word);
    candidates
        .into_iter()
        .map(|candidate| (distance(&word, &plain(candidate)), candidate))
        .filter(|(distance, candidate)| {
            *distance
                <= if candidate.len().min(word.len()) >= 6 {
                    2
                } else {
                    1
                }
        })
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, candidate)| candidate)
}

fn plain(word: &str) -> Vec<char> {
    word.chars()
        .filter(|c| !matches!(c, '-' | '_'))
        .flat_map(char::to_lowercase)
        .take(64)
        .collect()
}

/// Insertions, deletions, replacements and swaps of neighbours that turn one word into the other.
fn distance(from: &[char], to: &[char]) -> usize {
    let mut before: Vec<usize> = Vec::new();
    let mut last: Vec<usize> = (0..=to.len()).collect();
    for i in 1..=from.len() {
        let mut row = vec![i];
        for j in 1..=to.len() {
            let replaced = last[j - 1] + usize::from(from[i - 1] != to[j - 1]);
            let mut best = replaced.min(last[j] + 1).min(row[j - 1] + 1);
            if i > 1 && j > 1 && from[i - 1] == to[j - 2] && from[i - 2] == to[j - 1] {
                best = best.min(before[j - 2] + 1);
            }
            row.push(best);
        }
        before = std::mem::replace(&mut last, row);
    }
    last[to.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nearest_word_is_one_or_two_slips_away() {
        let known = ["command", "args", "env", "timeout", "wait_for_servers"];
        let check = |word: &str, expected: Option<&str>| {
            assert_eq!(nearest(word, known), expected, "{word}");
        };
        check("comand", Some("command"));
        check("cmomand", Some("command"));
        check("Command", Some("command"));
        check("arg", Some("args"));
        check("agrs", Some("args"));
        check("waitForServers", Some("wait_for_servers"));
        check("colour", None);
        check("", None);
    }
}

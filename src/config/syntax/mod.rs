//! The syntaxes a configuration file may have, each read into the same tree.

mod json;
mod toml;
mod yaml;

use super::limits::{CONFIG_BYTES_MAX, CONFIG_DEPTH_MAX};
use super::node::{Node, Span};
use std::path::Path;

/// How a configuration file is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Syntax {
    /// TOML 1.1.
    Toml,
    /// YAML 1.2, core schema, with anchors and merge keys.
    Yaml,
    /// JSON with comments and trailing commas; plain JSON is a part of that.
    Json,
}

/// A place at which a text does not follow its syntax.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct SyntaxFault {
    pub(super) span: Span,
    pub(super) message: String,
    pub(super) expected: Option<String>,
}

impl Syntax {
    /// The syntax that the extension of a file name speaks of.
    pub fn of(path: &Path) -> Option<Syntax> {
        let extension = path.extension()?.to_str()?.to_ascii_lowercase();
        match extension.as_str() {
            "toml" => Some(Syntax::Toml),
            "yaml" | "yml" => Some(Syntax::Yaml),
            "json" | "jsonc" => Some(Syntax::Json),
            _ => None,
        }
    }

    /// What is most often forgotten in it.
    pub(super) fn reminder(self) -> &'static str {
        match self {
            Syntax::Toml => {
                "text stands in quotes, and a table's name in brackets on a line of its own"
            }
            Syntax::Yaml => {
                "indent with spaces; text that begins with or holds special characters stands in quotes"
            }
            Syntax::Json => "keys and text stand in double quotes, with commas between values",
        }
    }

    /// Reads a text. A byte order mark at its beginning is passed over.
    pub(super) fn read(self, text: &str) -> Result<Node, Vec<SyntaxFault>> {
        if text.len() > CONFIG_BYTES_MAX {
            return Err(vec![SyntaxFault::at(
                0,
                format!("file exceeds {CONFIG_BYTES_MAX} bytes"),
            )]);
        }
        match self {
            Syntax::Toml => toml::read(text),
            Syntax::Yaml => yaml::read(text).map_err(|fault| vec![fault]),
            Syntax::Json => json::read(text).map_err(|fault| vec![fault]),
        }
    }
}

impl SyntaxFault {
    fn at(offset: usize, message: impl Into<String>) -> SyntaxFault {
        SyntaxFault {
            span: Span {
                start: offset,
                end: offset + 1,
            },
            message: message.into(),
            expected: None,
        }
    }

    fn expecting(mut self, expected: impl Into<String>) -> SyntaxFault {
        self.expected = Some(expected.into());
        self
    }

    fn too_deep(offset: usize) -> SyntaxFault {
        SyntaxFault::at(
            offset,
            format!("values are nested more than {CONFIG_DEPTH_MAX} deep"),
        )
    }

    fn repeated(key: &str, span: Span) -> SyntaxFault {
        SyntaxFault {
            span,
            message: format!("key {key:?} for the second time in one table"),
            expected: None,
        }
    }
}

//! What stands inside a JSON Schema, as far as one must know it to find the schemas inside.
//!
//! The keywords of drafts 4 to 2020-12. What nobody here knows is looked into: a schema may be there.

use crate::jsonrpc::parse::Key;

/// Keywords whose value is data, whatever it looks like.
const DATA: [&str; 4] = ["const", "enum", "default", "examples"];

/// Keywords whose value holds a schema under each name.
const NAMES: [&str; 6] = [
    "properties",
    "patternProperties",
    "$defs",
    "definitions",
    "dependentSchemas",
    "dependencies",
];

/// What the value of a keyword is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Inside {
    /// A schema, or a list of them, or nothing of interest.
    Schema,
    /// Names that the schema's author chose, of a schema each.
    Names,
    /// Data, which is no schema.
    Data,
}

/// What the value of `keyword` is.
pub(super) fn inside(keyword: Key<'_>) -> Inside {
    let is_among = |names: &[&str]| names.iter().any(|name| keyword.is(name));
    if is_among(&NAMES) {
        Inside::Names
    } else if is_among(&DATA) {
        Inside::Data
    } else {
        Inside::Schema
    }
}

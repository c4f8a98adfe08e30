//! A configuration file as a tree of values that know where they stand.
//!
//! Every syntax is read into this one shape, so that what comes after it neither knows nor cares
//! whether it was TOML, YAML or JSON. Scalars other than text keep their spelling: what a number
//! means is for the key to say, and `1.10` in an `env` table must stay `1.10`.

/// A stretch of the file, in bytes from its beginning.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Span {
    /// First byte.
    pub start: usize,
    /// One past the last byte.
    pub end: usize,
}

/// A value and where it stands.
#[derive(Clone, Debug)]
pub struct Node {
    /// What it is.
    pub value: Value,
    /// Where.
    pub span: Span,
}

/// What a file can hold.
#[derive(Clone, Debug)]
pub enum Value {
    /// Nothing, said explicitly.
    Null,
    /// True or false.
    Boolean(bool),
    /// A number as it is written.
    Number(String),
    /// A date or time as it is written; no key wants one.
    Date(String),
    /// Text, without its quotes and escapes.
    Text(String),
    /// Values in order.
    List(Vec<Node>),
    /// Named values in the order of the file, no name twice.
    Map(Vec<Entry>),
}

/// One named value of a map.
#[derive(Clone, Debug)]
pub struct Entry {
    /// The name.
    pub key: String,
    /// Where the name stands.
    pub key_span: Span,
    /// The value.
    pub node: Node,
}

impl Value {
    /// The kind of value, in the words of an error message.
    pub fn kind(&self) -> &'static str {
        match self {
            Value::Null => "nothing",
            Value::Boolean(_) => "a boolean",
            Value::Number(_) => "a number",
            Value::Date(_) => "a date",
            Value::Text(_) => "a string",
            Value::List(_) => "a list",
            Value::Map(_) => "a table",
        }
    }
}

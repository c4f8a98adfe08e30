//! Who is asking.

pub mod keys;

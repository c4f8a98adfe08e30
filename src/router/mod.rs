//! Which server answers to a name, and what all of them offer together.

pub mod status;
pub mod table;

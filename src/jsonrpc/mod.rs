//! JSON-RPC 2.0: messages taken apart without taking their content apart, and written.
//!
//! A message is read as an envelope whose members are places in the bytes that came. What is inside
//! them is checked to be JSON, once, and otherwise left alone, so that it can be forwarded as it was.

pub mod batch;
pub mod canonical;
pub mod decimal;
pub mod edit;
pub mod envelope;
pub mod parse;
pub mod write;

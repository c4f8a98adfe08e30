//! One worker: the whole line from a client's bytes to a server's and back, without touching either.

pub mod effect;
pub mod parcel;

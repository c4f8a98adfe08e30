//! Every outward promise, on the real binary: real sockets on loopback, real children, real signals.
//!
//! Nothing here needs a network, Node or Python: the servers behind the gateway are this very test binary,
//! started again as a child ([`fixture`]), or a thread of it that speaks HTTP ([`remote`]).

mod harness {
    //! What the claims are made with.
    pub(crate) mod base64;
    pub(crate) mod cells;
    pub(crate) mod client;
    pub(crate) mod clock;
    pub(crate) mod events;
    pub(crate) mod front;
    pub(crate) mod gateway;
    pub(crate) mod http;
    pub(crate) mod modern;
    pub(crate) mod pipe;
    pub(crate) mod place;
    pub(crate) mod session;
    pub(crate) mod sse;
}
mod fixture {
    //! A server that does what its caller asks of it, over stdio or HTTP.
    pub(crate) mod child;
    pub(crate) mod mind;
    pub(crate) mod remote;
    pub(crate) mod server;
    pub(crate) mod sse_remote;
    pub(crate) mod tools;
}

mod admission;
mod asking;
mod batch;
mod catalog;
mod cells;
mod children;
mod command;
mod direct;
mod discovery;
mod ending;
mod endpoint;
mod envelope;
mod eras;
mod guard;
mod limits;
mod listening;
mod mirrored;
mod mixture;
mod ops;
mod parked;
mod pipes;
mod remote;
mod sse_front;
mod sse_server;
mod stdio;
mod tasks;
mod told;

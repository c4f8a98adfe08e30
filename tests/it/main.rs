//! Every outward promise, on the real binary: real sockets on loopback, real children, real signals.
//!
//! Nothing here needs a network, Node or Python: the servers behind the gateway are this very test binary,
//! started again as a child ([`fixture`]), or a thread of it that speaks HTTP ([`remote`]).

mod harness {
    //! What the claims are made with.
    pub(crate) mod clock;
    pub(crate) mod events;
    pub(crate) mod front;
    pub(crate) mod gateway;
    pub(crate) mod http;
    pub(crate) mod session;
    pub(crate) mod sse;
}
mod fixture {
    //! A server that does what its caller asks of it, over stdio or HTTP.
    pub(crate) mod child;
    pub(crate) mod mind;
    pub(crate) mod remote;
    pub(crate) mod sse_remote;
    pub(crate) mod tools;
}

mod admission;
mod asking;
mod batch;
mod catalog;
mod children;
mod command;
mod ending;
mod endpoint;
mod guard;
mod limits;
mod ops;
mod remote;
mod sse_front;
mod sse_server;
mod stdio;
mod told;

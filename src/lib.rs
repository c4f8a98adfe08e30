//! switchbox: every MCP server you have behind one endpoint.
//!
//! A synchronous, thread-per-core gateway for the Model Context Protocol, of one small binary. This page is its
//! architecture, and is kept true.
//!
//! # The line
//!
//! ```text
//!  bytes ─▶ downstream ─▶ auth ─▶ session ─▶ router ─▶ upstream ─▶ bytes      forward, by value
//!              ▲                     │                     │
//!              └──── refusal/reply ──┴── Answered{exchange} ◀┘                back, by id
//! ```
//!
//! A request comes in on one side and an answer goes out on the other. Forward by value, back by
//! [`id::ExchangeId`]; there are no callbacks. [`worker`] is the only module that knows the whole line; each of
//! its files knows one stretch of it.
//!
//! # Layers
//!
//! | layer | modules | may import |
//! |---|---|---|
//! | 0 words | [`time`] [`id`] [`secret`] [`base64`] [`config`] | std, serde |
//! | 1 grammars | [`http`] [`jsonrpc`] | 0 |
//! | 2 protocol | [`mcp`] [`refusal`] [`event`] | 0, 1 |
//! | 3 stages | [`downstream`] [`auth`] [`session`] [`router`] [`upstream`] | 0 to 2, never each other |
//! | 4 worker | [`worker`] | 0 to 3 |
//! | 5 shell | [`runtime`] [`telemetry`] [`ops`] [`cli`] | all |
//!
//! `tests/tidy.rs` reads the imports and holds this table.
//!
//! # What is absent
//!
//! - Layers 0 to 4 do not read the clock, draw randomness, touch a socket, start a thread or hold an unbounded
//!   queue. `now` and seeds are arguments; no output depends on the order of a randomly seeded map.
//! - Only [`mcp`] compares protocol revisions.
//! - Only [`refusal`] makes error answers in our own name, only `telemetry/metrics.rs` names metrics, only
//!   [`config::limits`] holds numbers that an operator might ask about, only [`event`] says what can be logged.
//! - What a tool says and is told passes through as bytes. The envelope is read, the content is not; members that
//!   nobody here knows survive.
//! - A worker never waits for another worker. A full inbox is a refusal.
//! - No `unsafe`, no async runtime.
//!
//! # Threads and who owns what
//!
//! ```text
//!  controller (main thread): signals, children, the directory of what servers offer, drain     log thread
//!      │ tables · pipes · drain                                                                 ▲ bounded
//!      ▼                                                                                        │
//!  acceptor: accept, limits ── socket ──▶ least loaded worker          helper: name look-ups
//!      ▼
//!  worker 0 │ worker 1 │ …   readiness loop, slabs of connections, exchanges and requests, its own table
//!      └──── one inbox each, woken only when asleep ────┘
//! ```
//!
//! - A socket, pipe or TLS state belongs to one worker for life.
//! - A *conversation* ([`upstream::conversation`]) is a child, or a session with an HTTP server. It belongs to one
//!   worker. A child is reached by parcel through its owner. An HTTP server is reached from every worker over
//!   connections of its own, so that a call takes no hop; what they need to know of the conversation is a *slice*
//!   that the owner keeps up to date.
//! - A conversation speaks one *era* ([`mcp::Era`]): its server is asked which when it opens (`worker/probe.rs`). What
//!   one exchange becomes where client and server are of different eras is [`mcp::bridge`]'s affair alone, on bytes;
//!   what follows from that, who waits and for how long, is the worker's: `letter.rs` sends a request as its server
//!   must have it, `crossing.rs` takes the answer. A modern server's questions to a legacy client are an *inquiry*
//!   within its call. A legacy server's questions to a modern client have the call *parked*: the client is given a
//!   sealed state and comes back in another exchange, the call's *visitor*.
//! - A modern client has no session. A call of its that may be asked something has a *guest*, a session that no client
//!   knows of, and with it a child or a session at an HTTP server to itself: a *lane* (`worker/lodging.rs`). A stream on
//!   which it listens for changes has a session too (`worker/listener.rs`).
//! - An HTTP+SSE client is a stream on one worker, to which the others pass what it posts; an HTTP+SSE server is
//!   a stream of the worker that owns the conversation, reached like a child.
//! - Clients share a conversation as long as what they declared to servers is the same. A session that servers may
//!   ask something (sampling, elicitation, roots) has a child of its own, because a child does not say for whom it
//!   asks. What cannot be attributed to one client is delivered to none.
//! - The routing table ([`router::table`]) is immutable. The controller's pure half, [`router::directory`], builds
//!   the next one from what workers report and hands it to each; pages of lists stand in it as bytes.
//! - Sessions live in a sharded map ([`session::store`]); a connection remembers its own.
//! - There is no timer for each thing. Every deadline is a field; the earliest is known, and when it has come all
//!   are looked at (`worker/sweep.rs`).
//!
//! [`worker::Worker`] is pure: [`worker::Worker::handle`] takes an [`worker::effect::Input`],
//! [`worker::Worker::poll`] gives an [`worker::effect::Effect`], [`worker::Worker::deadline`] says when to come
//! back. `tests/sim` runs real workers in a world made from one seed.
//!
//! # Where to begin reading
//!
//! [`worker::effect`] for what a worker is told and asks for, then `worker/intake.rs`, `message.rs`, `carry.rs`,
//! `forward.rs`, `answer.rs`: the line, in order. `partner.rs` for the life of a conversation, [`mcp::bridge`] for how
//! eras meet.

pub mod auth;
pub mod base64;
pub mod cli;
pub mod config;
pub mod downstream;
pub mod event;
pub mod http;
pub mod id;
pub mod jsonrpc;
pub mod mcp;
pub mod ops;
pub mod refusal;
pub mod router;
pub mod runtime;
pub mod secret;
pub mod session;
pub mod telemetry;
pub mod time;
pub mod upstream;
pub mod worker;

//! switchbox: every MCP server you have behind one endpoint.

pub mod auth;
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

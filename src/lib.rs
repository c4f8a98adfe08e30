//! switchbox: every MCP server you have behind one endpoint.

pub mod config;
pub mod id;
pub mod secret;
pub mod time;

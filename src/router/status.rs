//! How each server is doing, as far as the controller has been told.

use crate::config::Server;
use crate::time::Wall;
use std::sync::Arc;

/// One server's condition, for `/status` and `/health`.
#[derive(Clone, Debug)]
pub struct ServerStatus {
    /// Which server.
    pub server: Arc<Server>,
    /// What its first conversation is waiting for, or that it waits for nothing.
    pub state: ServerState,
    /// When it last answered `initialize`.
    pub last_connected: Option<Wall>,
    /// Why it last failed, with the last lines of its stderr.
    pub last_error: Option<String>,
    /// How often it was started or connected to again after a failure.
    pub restarts: u64,
    /// Conversations open with it now, siblings and per-session ones included.
    pub conversations: usize,
    /// Its own name and version, as it said in `initialize`.
    pub implementation: Option<(String, String)>,
    /// Tools shown.
    pub tools: usize,
    /// Prompts shown.
    pub prompts: usize,
    /// Resources shown.
    pub resources: usize,
    /// Resource templates shown.
    pub templates: usize,
    /// Names it offers that another server, earlier in the configuration, offers as well (`--names bare`).
    pub hidden: Vec<String>,
}

impl ServerStatus {
    /// A server of which nothing is known yet: switched off, or about to be started.
    pub fn new(server: Arc<Server>) -> ServerStatus {
        let state = if server.enabled {
            ServerState::Starting
        } else {
            ServerState::Disabled
        };
        ServerStatus {
            server,
            state,
            last_connected: None,
            last_error: None,
            restarts: 0,
            conversations: 0,
            implementation: None,
            tools: 0,
            prompts: 0,
            resources: 0,
            templates: 0,
            hidden: Vec::new(),
        }
    }
}

/// What a server's first conversation is waiting for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ServerState {
    /// It is switched off in the configuration.
    Disabled,
    /// A connection, or the answer to `initialize`.
    Starting,
    /// Nothing: it answers.
    Ready,
    /// The next try, after a failure.
    Failed,
}

impl ServerState {
    /// The word in `/status`: `disabled`, `connecting`, `connected` or `error`.
    pub const fn word(self) -> &'static str {
        match self {
            ServerState::Disabled => "disabled",
            ServerState::Starting => "connecting",
            ServerState::Ready => "connected",
            ServerState::Failed => "error",
        }
    }
}

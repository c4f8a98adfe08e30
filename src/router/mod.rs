//! Which server answers to a name, and what all of them offer together.
//!
//! A [`table::Table`] is immutable: the controller's pure half, [`directory::Directory`], builds the next one
//! from what workers report, and every worker swaps its own between two events.

pub mod asked;
pub mod catalog;
pub mod directory;
pub mod names;
pub mod status;
pub mod table;
pub mod template;

#[cfg(test)]
pub(crate) mod testing {
    use crate::config::{
        Access, Command, Config, EraChoice, Filter, Level, Log, LogFormat, Metrics, Names, Server,
        Share, Transport,
    };
    use std::sync::Arc;
    use std::time::Duration;

    /// A stdio server of that name, otherwise by default.
    pub(crate) fn server(name: &str) -> Arc<Server> {
        let command = Command {
            program: "true".into(),
            args: vec![],
            env: Default::default(),
            cwd: None,
        };
        Arc::new(Server {
            name: name.into(),
            enabled: true,
            tags: vec![],
            transport: Transport::Stdio(command),
            tools: Filter::default(),
            prompts: Filter::default(),
            resources: Filter::default(),
            rename: Default::default(),
            timeout: Duration::from_secs(60),
            connections: 64,
            share: Share::Shared,
            era: EraChoice::Auto,
            required: false,
        })
    }

    /// A configuration with these servers, otherwise by default.
    pub(crate) fn config(servers: Vec<Arc<Server>>) -> Config {
        Config {
            listen: vec![([127, 0, 0, 1], 3050).into()],
            names: Names::Prefixed,
            wait_for_servers: None,
            workers: None,
            keys: vec![],
            hosts: vec![],
            origins: vec![],
            http_sse: true,
            drain: Duration::from_secs(30),
            log: Log {
                level: Level::Info,
                format: LogFormat::Text,
                access: Access::Off,
            },
            metrics: Metrics {
                enabled: true,
                listen: None,
            },
            servers,
            origin: None,
        }
    }
}

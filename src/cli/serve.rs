//! `switchbox serve`: from the command line to a configuration, and into the runtime.

use super::flags::{self, Flags};
use super::surroundings::{self, Real};
use super::{Exit, Stop, Verb};
use crate::config::draft::Made;
use crate::config::limits::CONFIG_BYTES_MAX;
use crate::config::problem::Place;
use crate::config::resolve::{File, Note, Resolved, resolve};
use crate::config::surroundings::Surroundings;
use crate::config::syntax::Syntax;
use crate::config::{Config, env};
use crate::runtime::{Face, ServeOptions};
use std::ffi::OsString;
use std::fmt::Write;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// All that is decided before anything is started.
#[derive(Clone, Debug)]
pub struct Prepared {
    /// What to serve.
    pub config: Config,
    /// What the operator should know; to be logged once.
    pub notes: Vec<Note>,
    /// Whether this is the demo, because nobody named a configuration.
    pub occasion: Occasion,
}

/// Why this configuration is served.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Occasion {
    /// Somebody wrote it.
    Configured,
    /// Nobody did: the built-in demo server is shown.
    Demo,
}

impl Prepared {
    /// What the runtime is given, to show to whom `face` says.
    pub fn into_parts(self, face: Face) -> (Config, ServeOptions) {
        let is_demo = self.occasion == Occasion::Demo && face == Face::Http;
        let options = ServeOptions {
            face,
            announce: Box::new(move |addresses| {
                if let (true, Some(address)) = (is_demo, addresses.first()) {
                    eprint!("{}", announcement(*address));
                }
            }),
            remarks: self.notes.iter().map(Note::to_string).collect(),
        };
        (self.config, options)
    }
}

/// Runs the verb. Returns when serving has ended.
pub fn run(arguments: &[OsString], around: &Real) -> Result<ExitCode, Stop> {
    let (config, options) = prepare(Verb::Serve, arguments, around)?.into_parts(Face::Http);
    Ok(crate::runtime::serve(config, options))
}

/// Reads command line, file and environment into a configuration.
pub fn prepare(verb: Verb, arguments: &[OsString], around: &Real) -> Result<Prepared, Stop> {
    let mut flags = flags::read(verb, arguments)?;
    if verb == Verb::Stdio {
        // It listens nowhere, whatever the file says for when it is served.
        flags.draft.allow_unauthenticated = Some(Made {
            value: true,
            place: Place::Flag("stdio"),
        });
    }
    let Resolved { mut config, notes } = read(&flags, around)?;
    let occasion = match config.origin {
        Some(_) => Occasion::Configured,
        None => {
            config.servers.push(super::demo_server::entry().into());
            Occasion::Demo
        }
    };
    Ok(Prepared {
        config,
        notes,
        occasion,
    })
}

/// The configuration that the flags, the file they or the environment name, and the environment make.
pub(super) fn read(flags: &Flags, around: &Real) -> Result<Resolved, Stop> {
    let names = match env::compat(around).unwrap_or(flags.compat) {
        true => env::Reading::Compat,
        false => env::Reading::Always,
    };
    // The environment wins here, too.
    let named = env::config_file(around);
    let mut notes = Vec::new();
    if let (Some((variable, _)), Some(_)) = (&named, &flags.config) {
        notes.push(Note::Overridden {
            setting: "the file",
            by: (*variable).into(),
            over: Place::Flag("--config"),
        });
    }
    let path = named
        .map(|(_, path)| PathBuf::from(path))
        .or(flags.config.clone());
    let file = path.as_deref().map(file).transpose()?;
    let beside: &dyn Surroundings = match &path {
        Some(path) => &Real::beside(path),
        None => around,
    };
    let mut resolved = resolve(file, &flags.draft, names, beside).map_err(|problems| {
        let count = problems.list.len();
        let s = if count == 1 { "" } else { "s" };
        Stop {
            exit: Exit::Configuration,
            message: format!("{problems}\n\n{count} problem{s} in the configuration"),
        }
    })?;
    notes.append(&mut resolved.notes);
    Ok(Resolved { notes, ..resolved })
}

/// Reads the text of a configuration file.
fn file(path: &Path) -> Result<File, Stop> {
    let stop = |message: String| Stop {
        exit: Exit::Configuration,
        message,
    };
    let Some(syntax) = Syntax::of(path) else {
        return Err(stop(format!(
            "{}: a configuration file ends in .toml, .yaml, .yml, .json or .jsonc",
            path.display()
        )));
    };
    let text = surroundings::text(path, CONFIG_BYTES_MAX)
        .map_err(|fault| stop(format!("{}: file {fault}", path.display())))?;
    Ok(File {
        path: path.into(),
        syntax,
        text,
    })
}

/// Three lines for somebody who has just started switchbox without a configuration.
pub fn announcement(address: SocketAddr) -> String {
    let url = format!("http://{address}/mcp");
    let mut lines = String::new();
    let _ = writeln!(lines, "The demo server is at {url}");
    let _ = writeln!(
        lines,
        "Add it to a client:   {{\"mcpServers\": {{\"switchbox\": {{\"type\": \"http\", \"url\": \"{url}\"}}}}}}"
    );
    let _ = writeln!(
        lines,
        "Serve your own list:  switchbox --config FILE (any client's mcpServers file will do)"
    );
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn announcement_has_three_lines() {
        let text = announcement("127.0.0.1:3050".parse().unwrap());
        assert_eq!(text.lines().count(), 3);
        assert!(text.contains("http://127.0.0.1:3050/mcp"));
    }

    #[test]
    fn without_a_configuration_the_demo_is_served() {
        let prepared =
            prepare(Verb::Serve, &["--port".into(), "4000".into()], &Real::new()).unwrap();
        assert_eq!(prepared.occasion, Occasion::Demo);
        assert_eq!(prepared.config.servers[0].name, "demo");
        assert_eq!(prepared.config.listen[0].port(), 4000);
    }

    #[test]
    fn notes_become_remarks() {
        let prepared = prepare(Verb::Stdio, &[], &Real::new()).unwrap();
        let note = Note::NotYet { what: "X".into() };
        let prepared = Prepared {
            notes: vec![note],
            ..prepared
        };
        let (config, options) = prepared.into_parts(Face::Stdio);
        assert_eq!(
            options.remarks,
            ["environment variable X is not supported by this version"]
        );
        assert_eq!(config.servers.len(), 1);
    }

    #[test]
    fn missing_file_is_a_mistake_of_configuration() {
        let check = |path: &str, part: &str| {
            let stop =
                prepare(Verb::Serve, &["--config".into(), path.into()], &Real::new()).unwrap_err();
            assert_eq!(stop.exit, Exit::Configuration);
            assert!(stop.message.contains(part), "{}", stop.message);
        };
        check(
            "no/such/file.toml",
            "no/such/file.toml: file does not exist",
        );
        check("no/such/file.ini", "ends in .toml");
    }
}

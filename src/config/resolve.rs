//! From what the file, the command line and the environment say to one [`Config`].
//!
//! Environment over command line over file over default. That a variable overrides something is
//! noted, since it is the one source that nobody sees.

use super::draft::{Draft, Made, Setting};
use super::env::{self, Environment};
use super::file::{self, Reading};
use super::limits::DRAIN_TIMEOUT;
use super::problem::{Fault, Place, Problem, Problems};
use super::surroundings::Surroundings;
use super::syntax::Syntax;
use super::{Access, Config, Level, Log, LogFormat, Metrics, Names};
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;

/// Where clients connect if nothing else is said.
pub const DEFAULT_LISTEN: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 3050);

/// Something the operator should know although nothing is wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Note {
    /// A variable of the environment wins over another source.
    Overridden {
        /// The path of the setting.
        setting: &'static str,
        /// The variable that wins.
        by: String,
        /// What it wins over.
        over: Place,
    },
    /// A variable is set beside another of the same meaning that wins.
    Shadowed {
        /// The one without effect.
        variable: String,
        /// The one that wins.
        by: String,
    },
    /// A variable that begins like ours and is none.
    UnknownVariable {
        /// It.
        variable: String,
        /// The one that was probably meant.
        near: Option<&'static str>,
    },
    /// A variable that Kubernetes set for a service called like us.
    ServiceLink {
        /// It.
        variable: String,
    },
    /// A variable of a feature that this version does not have.
    NotYet {
        /// It.
        what: String,
    },
    /// A key of a client's own file, of no meaning to a gateway.
    PassedOver {
        /// It.
        key: String,
        /// Where it stands.
        place: Place,
    },
}

impl fmt::Display for Note {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Note::Overridden { setting, by, over } => {
                write!(f, "environment variable {by} overrides {setting} of {over}")
            }
            Note::Shadowed { variable, by } => {
                write!(
                    f,
                    "environment variable {variable} has no effect beside {by}"
                )
            }
            Note::UnknownVariable {
                variable,
                near: Some(near),
            } => {
                write!(
                    f,
                    "environment variable {variable} has no meaning; did you mean {near}?"
                )
            }
            Note::UnknownVariable {
                variable,
                near: None,
            } => {
                write!(f, "environment variable {variable} has no meaning")
            }
            Note::ServiceLink { variable } => write!(
                f,
                "environment variable {variable} is a Kubernetes service link and was passed over"
            ),
            Note::NotYet { what } => {
                write!(
                    f,
                    "environment variable {what} is not supported by this version"
                )
            }
            Note::PassedOver { key, place } => {
                write!(f, "key {key:?} on {place} has no meaning here")
            }
        }
    }
}

/// A configuration file's text and its name.
#[derive(Clone, Debug)]
pub struct File {
    /// Where it was read from.
    pub path: PathBuf,
    /// How it is written.
    pub syntax: Syntax,
    /// What stands in it.
    pub text: String,
}

/// A usable configuration.
#[derive(Clone, Debug)]
pub struct Resolved {
    /// It.
    pub config: Config,
    /// What the operator should know.
    pub notes: Vec<Note>,
}

/// Lays the sources over each other, or says all that is wrong with them.
///
/// `flags` is what the command line says; `names` whether the environment's compatibility names
/// are read.
pub fn resolve(
    file: Option<File>,
    flags: &Draft,
    names: env::Reading,
    around: &dyn Surroundings,
) -> Result<Resolved, Problems> {
    let Reading {
        draft: from_file,
        servers,
        mut problems,
        mut notes,
    } = match &file {
        Some(file) => file::parse(&file.text, file.syntax, around),
        None => Reading::default(),
    };
    let Environment {
        draft: from_env,
        problems: more,
        notes: further,
    } = env::read(around, names);
    let keys_are_doubtful = [&problems, &more]
        .iter()
        .any(|list| list.iter().any(concerns_keys));
    problems.extend(more);
    notes.extend(further);
    let layers = [&from_file, flags, &from_env];
    notes.extend(overridden(layers));

    let listen = addresses(layers, &mut problems);
    let metrics_listen = metrics_address(layers, &listen, &mut problems);
    let keys = top(layers, |draft| draft.keys.clone());
    let allow = top(layers, |draft| draft.allow_unauthenticated.clone());
    let open = keys.as_ref().is_none_or(|keys| keys.value.is_empty()) && !keys_are_doubtful;
    if open && !allow.is_some_and(|allow| allow.value) {
        problems.extend(exposed(&listen));
    }
    if !problems.is_empty() {
        problems.sort_by_key(|problem| match &problem.place {
            Place::Text(at) => (at.line, at.column),
            Place::Flag(_) | Place::Variable(_) | Place::Nowhere => (usize::MAX, 0),
        });
        let name = file.map_or("configuration".into(), |file| {
            file.path.display().to_string()
        });
        return Err(Problems {
            file: name,
            list: problems,
        });
    }

    let config = Config {
        listen: listen.value,
        names: value(layers, |draft| draft.names.clone(), Names::Prefixed),
        wait_for_servers: top(layers, |draft| draft.wait_for_servers.clone())
            .map(|wait| wait.value)
            .filter(|wait| !wait.is_zero()),
        workers: top(layers, |draft| draft.workers.clone()).map(|workers| workers.value),
        keys: keys.map(|keys| keys.value).unwrap_or_default(),
        hosts: value(layers, |draft| draft.hosts.clone(), Vec::new()),
        origins: value(layers, |draft| draft.origins.clone(), Vec::new()),
        http_sse: value(layers, |draft| draft.http_sse.clone(), true),
        drain: value(layers, |draft| draft.drain.clone(), DRAIN_TIMEOUT),
        log: Log {
            level: value(layers, |draft| draft.log_level.clone(), Level::Info),
            format: value(layers, |draft| draft.log_format.clone(), LogFormat::Text),
            access: value(layers, |draft| draft.log_access.clone(), Access::Off),
        },
        metrics: Metrics {
            enabled: value(layers, |draft| draft.metrics_enabled.clone(), true),
            listen: metrics_listen,
        },
        servers,
        origin: file.map(|file| file.path),
    };
    Ok(Resolved { config, notes })
}

/// The layers, lowest first: file, command line, environment.
type Layers<'d> = [&'d Draft; 3];

fn top<T>(layers: Layers<'_>, pick: fn(&Draft) -> Option<Made<T>>) -> Option<Made<T>> {
    layers.into_iter().rev().find_map(pick)
}

fn value<T>(layers: Layers<'_>, pick: fn(&Draft) -> Option<Made<T>>, default: T) -> T {
    top(layers, pick).map_or(default, |made| made.value)
}

fn overridden([file, flags, env]: Layers<'_>) -> Vec<Note> {
    let mut notes = Vec::new();
    for (setting, path) in Setting::ALL {
        let Some(Place::Variable(by)) = env.place(*setting) else {
            continue;
        };
        if let Some(over) = flags.place(*setting).or(file.place(*setting)) {
            notes.push(Note::Overridden {
                setting: path,
                by: by.clone(),
                over: over.clone(),
            });
        }
    }
    notes
}

fn concerns_keys(problem: &Problem) -> bool {
    match &problem.fault {
        Fault::Unfit { key, .. } | Fault::Repeated { key, .. } => key.contains("keys"),
        Fault::Placeholder(_) | Fault::Syntax(_) => true,
        Fault::NotYet(_) | Fault::UnknownKey(_) | Fault::Both(..) | Fault::Missing(_) => false,
        Fault::Fact(_) => matches!(&problem.place, Place::Variable(name) if name.contains("KEY")),
    }
}

/// The addresses to listen on. `host` and `port` of a layer change the address that the layers
/// below it make, so `SWITCHBOX_PORT=8080` moves a gateway whatever its file says.
fn addresses(layers: Layers<'_>, problems: &mut Vec<Problem>) -> Made<Vec<SocketAddr>> {
    let mut made = Made {
        value: vec![DEFAULT_LISTEN],
        place: Place::Nowhere,
    };
    for layer in layers {
        if let Some(listen) = &layer.listen {
            made = listen.clone();
        }
        let host = layer.host.as_ref().map(|host| (&host.place, "host"));
        let port = layer.port.as_ref().map(|port| (&port.place, "port"));
        let Some((place, name)) = host.or(port) else {
            continue;
        };
        if layer.listen.is_some() {
            let fault = Fault::Both("listen".into(), name.into());
            let problem = Problem::new(place.clone(), fault);
            problems.push(problem.expecting("one of the two"));
            continue;
        }
        let [address] = made.value.as_mut_slice() else {
            let fault = Fault::Fact(format!("{name} for {} addresses", made.value.len()));
            let problem = Problem::new(place.clone(), fault);
            problems.push(problem.expecting("listen, to replace them all"));
            continue;
        };
        if let Some(host) = &layer.host {
            address.set_ip(host.value);
        }
        if let Some(port) = &layer.port {
            address.set_port(port.value);
        }
        made.place = place.clone();
    }
    for (index, address) in made.value.iter().enumerate() {
        if address.port() != 0 && made.value[..index].contains(address) {
            let fault = Fault::Fact(format!("{address} for the second time"));
            problems.push(Problem::new(made.place.clone(), fault));
        }
    }
    made
}

fn metrics_address(
    layers: Layers<'_>,
    main: &Made<Vec<SocketAddr>>,
    problems: &mut Vec<Problem>,
) -> Option<SocketAddr> {
    let mut made: Option<Made<SocketAddr>> = None;
    for layer in layers {
        if let (Some(_), Some(port)) = (&layer.metrics_listen, &layer.metrics_port) {
            let fault = Fault::Both("metrics.listen".into(), "metrics.port".into());
            let problem = Problem::new(port.place.clone(), fault);
            problems.push(problem.expecting("one of the two"));
        }
        let port = layer.metrics_port.as_ref().map(|port| Made {
            value: SocketAddr::new(main.value[0].ip(), port.value),
            place: port.place.clone(),
        });
        made = layer.metrics_listen.clone().or(port).or(made);
    }
    let made = made?;
    if made.value.port() != 0 && main.value.contains(&made.value) {
        let fault = Fault::Fact(format!("{} is taken by \"listen\"", made.value));
        let problem = Problem::new(made.place, fault);
        problems
            .push(problem.expecting("an address of its own; /metrics is on the main one anyway"));
    }
    Some(made.value)
}

/// The problem of an address that others than this machine reach, and that asks for no credential.
fn exposed(listen: &Made<Vec<SocketAddr>>) -> Option<Problem> {
    let wide = listen
        .value
        .iter()
        .find(|address| !is_loopback(address.ip()))?;
    let fault = Fault::Fact(format!(
        "{wide} is open to other machines and no API key is configured"
    ));
    Some(
        Problem::new(listen.place.clone(), fault)
            .expecting("a loopback address, or at least one key in auth.keys")
            .hinting("`switchbox keygen` makes a key; --allow-unauthenticated serves without one"),
    )
}

fn is_loopback(ip: IpAddr) -> bool {
    ip.to_canonical().is_loopback()
}

//! What a configuration may read beside its own text: variables of the environment and small files.
//!
//! Reading is handed in, so that everything in `config` stays a function of its arguments.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

/// The environment and the files around a configuration.
pub trait Surroundings {
    /// The variable of this name, if it is set.
    fn variable(&self, name: &str) -> Option<OsString>;
    /// The names of all variables, sorted; those that are not Unicode are left out.
    fn variables(&self) -> Vec<String>;
    /// The text of a file; a relative path begins at the configuration file's directory.
    fn file(&self, path: &Path) -> Result<String, FileFault>;
}

/// Why a file could not be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FileFault {
    /// The system said no.
    Unreadable(io::ErrorKind),
    /// It is longer than this many bytes.
    TooLong(usize),
    /// It is not UTF-8.
    NotText,
}

impl fmt::Display for FileFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            FileFault::Unreadable(io::ErrorKind::NotFound) => f.write_str("does not exist"),
            FileFault::Unreadable(kind) => write!(f, "cannot be read: {kind}"),
            FileFault::TooLong(most) => write!(f, "exceeds {most} bytes"),
            FileFault::NotText => f.write_str("is not UTF-8"),
        }
    }
}

/// Surroundings made of two maps: for tests, and wherever nothing of the real ones may show through.
#[derive(Clone, Debug, Default)]
pub struct Given {
    /// Variables by name.
    pub variables: BTreeMap<String, String>,
    /// Files by path.
    pub files: BTreeMap<PathBuf, String>,
}

impl Given {
    /// Surroundings with these variables and no file.
    pub fn variables(pairs: &[(&str, &str)]) -> Given {
        Given {
            variables: pairs
                .iter()
                .map(|(name, value)| (name.to_string(), value.to_string()))
                .collect(),
            files: BTreeMap::new(),
        }
    }
}

impl Surroundings for Given {
    fn variable(&self, name: &str) -> Option<OsString> {
        self.variables.get(name).map(OsString::from)
    }

    fn variables(&self) -> Vec<String> {
        self.variables.keys().cloned().collect()
    }

    fn file(&self, path: &Path) -> Result<String, FileFault> {
        self.files
            .get(path)
            .cloned()
            .ok_or(FileFault::Unreadable(io::ErrorKind::NotFound))
    }
}

//! The real environment and file system, as a configuration may see them.

use crate::config::limits::SECRET_FILE_BYTES_MAX;
use crate::config::surroundings::{FileFault, Surroundings};
use std::ffi::OsString;
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

/// The process's environment, and files as seen from one directory.
#[derive(Clone, Debug, Default)]
pub struct Real {
    directory: PathBuf,
}

impl Real {
    /// Relative paths begin at the working directory.
    pub fn new() -> Real {
        Real::default()
    }

    /// Relative paths begin where the file `path` is.
    pub fn beside(path: &Path) -> Real {
        Real {
            directory: path.parent().map(PathBuf::from).unwrap_or_default(),
        }
    }
}

impl Surroundings for Real {
    fn variable(&self, name: &str) -> Option<OsString> {
        std::env::var_os(name)
    }

    fn variables(&self) -> Vec<String> {
        let mut names: Vec<String> = std::env::vars_os()
            .filter_map(|(name, _)| name.into_string().ok())
            .collect();
        names.sort();
        names
    }

    fn file(&self, path: &Path) -> Result<String, FileFault> {
        text(&self.directory.join(path), SECRET_FILE_BYTES_MAX)
    }
}

/// The text of a file of at most `most` bytes.
pub fn text(path: &Path, most: usize) -> Result<String, FileFault> {
    let mut bytes = Vec::new();
    File::open(path)
        .and_then(|file| file.take(most as u64 + 1).read_to_end(&mut bytes))
        .map_err(|error| FileFault::Unreadable(error.kind()))?;
    if bytes.len() > most {
        return Err(FileFault::TooLong(most));
    }
    String::from_utf8(bytes).map_err(|_| FileFault::NotText)
}

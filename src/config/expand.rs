//! Placeholders in text: `${VAR}`, `${VAR:-default}`, `${file:PATH}`, `${SECRET:name}`.
//!
//! Only `${` is special, and `$${` stands for it; every other `$` is itself, since passwords and
//! patterns are full of them. What a placeholder brings in is not looked at again.

use super::surroundings::Surroundings;
use std::path::{Path, PathBuf};

/// Where secrets are mounted when the service manager has not handed any over.
const SECRETS_DIRECTORY: &str = "/run/secrets";

/// A placeholder that could not be filled.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unfilled {
    /// The placeholder as it is written, to find it by.
    pub placeholder: String,
    /// Why not.
    pub reason: String,
    /// What would be right.
    pub hint: Option<String>,
}

/// Whether the text has a placeholder at all.
pub fn has_placeholder(text: &str) -> bool {
    text.contains("${")
}

/// The text with every placeholder filled, or all that could not be.
pub fn expand(text: &str, around: &dyn Surroundings) -> Result<String, Vec<Unfilled>> {
    let mut filled = String::with_capacity(text.len());
    let mut unfilled = Vec::new();
    let mut rest = text;
    while let Some(at) = rest.find("${") {
        if rest[..at].ends_with('$') {
            filled.push_str(&rest[..at - 1]);
            filled.push_str("${");
            rest = &rest[at + 2..];
            continue;
        }
        filled.push_str(&rest[..at]);
        let Some(end) = rest[at..].find('}') else {
            unfilled.push(Unfilled {
                placeholder: "${".into(),
                reason: "placeholder without an end".into(),
                hint: Some("\"$${\" stands for \"${\" itself".into()),
            });
            rest = "";
            break;
        };
        let placeholder = &rest[at..=at + end];
        match fill(&placeholder[2..end], around) {
            Ok(value) => filled.push_str(&value),
            Err((reason, hint)) => unfilled.push(Unfilled {
                placeholder: placeholder.into(),
                reason,
                hint,
            }),
        }
        rest = &rest[at + end + 1..];
    }
    filled.push_str(rest);
    if unfilled.is_empty() {
        Ok(filled)
    } else {
        Err(unfilled)
    }
}

type Reason = (String, Option<String>);

fn fill(inner: &str, around: &dyn Surroundings) -> Result<String, Reason> {
    if let Some(path) = inner.strip_prefix("file:") {
        return file(path, around);
    }
    if let Some(name) = inner.strip_prefix("SECRET:") {
        return secret(name, around);
    }
    let inner = inner.strip_prefix("env:").unwrap_or(inner);
    let (name, default) = match inner.split_once(":-") {
        Some((name, default)) => (name, Some(default)),
        None => (inner, None),
    };
    if !is_variable_name(name) {
        return Err((
            "placeholder of unknown form".into(),
            Some("known are ${VAR}, ${VAR:-default}, ${file:PATH} and ${SECRET:name}; \"$${\" stands for \"${\" itself".into()),
        ));
    }
    match (variable(name, around)?, default) {
        (Some(value), None) => Ok(value),
        (Some(value), Some(_)) if !value.is_empty() => Ok(value),
        (_, Some(default)) => Ok(default.into()),
        (None, None) => Err((
            format!("variable {name} is not set"),
            Some(format!("set it, or give a default: ${{{name}:-…}}")),
        )),
    }
}

/// The value of a variable, if it is set.
pub fn variable(name: &str, around: &dyn Surroundings) -> Result<Option<String>, Reason> {
    around
        .variable(name)
        .map(|value| value.into_string())
        .transpose()
        .map_err(|_| (format!("variable {name} is not UTF-8"), None))
}

/// The text of a file without the line break at its end.
pub fn file(path: &str, around: &dyn Surroundings) -> Result<String, Reason> {
    match around.file(Path::new(path)) {
        Ok(text) => Ok(without_line_break(text)),
        Err(fault) => Err((format!("file {path:?} {fault}"), None)),
    }
}

fn secret(name: &str, around: &dyn Surroundings) -> Result<String, Reason> {
    if name.is_empty() || name.starts_with('.') || name.contains(['/', '\0']) {
        return Err(("name of a secret is not a file name".into(), None));
    }
    let mut directories = Vec::new();
    if let Some(directory) = variable("CREDENTIALS_DIRECTORY", around)? {
        directories.push(PathBuf::from(directory));
    }
    directories.push(PathBuf::from(SECRETS_DIRECTORY));
    for directory in &directories {
        match around.file(&directory.join(name)) {
            Ok(text) => return Ok(without_line_break(text)),
            Err(super::surroundings::FileFault::Unreadable(std::io::ErrorKind::NotFound)) => {}
            Err(fault) => return Err((format!("secret {name:?} {fault}"), None)),
        }
    }
    Err((
        format!("secret {name:?} does not exist"),
        Some(format!(
            "it is looked for in the directory of systemd credentials ($CREDENTIALS_DIRECTORY), then in {SECRETS_DIRECTORY}"
        )),
    ))
}

fn without_line_break(mut text: String) -> String {
    if text.ends_with('\n') {
        text.pop();
        if text.ends_with('\r') {
            text.pop();
        }
    }
    text
}

fn is_variable_name(name: &str) -> bool {
    name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
        && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
}

#[cfg(test)]
mod tests {
    use super::super::surroundings::Given;
    use super::*;

    fn around() -> Given {
        let mut around = Given::variables(&[
            ("HOST", "example.org"),
            ("EMPTY", ""),
            ("DOLLARS", "${HOST}"),
            ("CREDENTIALS_DIRECTORY", "/creds"),
        ]);
        for (path, text) in [
            ("/creds/one", "from systemd\n"),
            ("/run/secrets/one", "shadowed"),
            ("/run/secrets/two", "mounted\r\n"),
            ("token.txt", "line\nline\n"),
        ] {
            around.files.insert(path.into(), text.into());
        }
        around
    }

    #[test]
    fn placeholders_are_filled() {
        let check = |text: &str, expected: &str| {
            assert_eq!(expand(text, &around()).as_deref(), Ok(expected), "{text}");
        };
        check("plain", "plain");
        check("https://${HOST}/x", "https://example.org/x");
        check("${env:HOST}", "example.org");
        check("${NONE:-9}${EMPTY:-8}${EMPTY}", "98");
        check("${NONE:-}", "");
        check("${NONE:-a:-b}", "a:-b");
        check("${file:token.txt}", "line\nline");
        check("${SECRET:one} ${SECRET:two}", "from systemd mounted");
        check("$HOME $$ pa$$word $", "$HOME $$ pa$$word $");
        check("$${HOST} and ${HOST}", "${HOST} and example.org");
        // What comes in is not expanded again.
        check("${DOLLARS}", "${HOST}");
    }

    #[test]
    fn all_unfilled_placeholders_are_told() {
        let check = |text: &str, expected: &[(&str, &str)]| {
            let unfilled = expand(text, &around()).unwrap_err();
            let told: Vec<_> = unfilled
                .iter()
                .map(|u| (u.placeholder.as_str(), u.reason.as_str()))
                .collect();
            assert_eq!(told, expected, "{text}");
        };
        check(
            "${NO} ${NOT}",
            &[
                ("${NO}", "variable NO is not set"),
                ("${NOT}", "variable NOT is not set"),
            ],
        );
        check("${HOST", &[("${", "placeholder without an end")]);
        check("${}", &[("${}", "placeholder of unknown form")]);
        check(
            "${input:token}",
            &[("${input:token}", "placeholder of unknown form")],
        );
        check(
            "${file:no}",
            &[("${file:no}", "file \"no\" does not exist")],
        );
        check(
            "${SECRET:three}",
            &[("${SECRET:three}", "secret \"three\" does not exist")],
        );
        check(
            "${SECRET:../x}",
            &[("${SECRET:../x}", "name of a secret is not a file name")],
        );
    }
}

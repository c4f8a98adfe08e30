//! What the documents show is true: their examples are read by the same code that reads an operator's file.

use std::fs;
use std::path::{Path, PathBuf};
use switchbox::config::file;
use switchbox::config::surroundings::Given;
use switchbox::config::syntax::Syntax;

/// Languages of code blocks that are configuration files.
const SYNTAXES: &[(&str, Syntax)] = &[
    ("json", Syntax::Json),
    ("jsonc", Syntax::Json),
    ("toml", Syntax::Toml),
    ("yaml", Syntax::Yaml),
];

/// The code blocks of a Markdown text, each with its language.
fn blocks(text: &str) -> Vec<(&str, &str)> {
    let fenced = text.split("\n```").skip(1).step_by(2);
    fenced.filter_map(|block| block.split_once('\n')).collect()
}

fn read(document: &str) -> String {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join(document);
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

#[test]
fn configuration_examples_of_the_readme_are_lawful() {
    let readme = read("README.md");
    let around = Given::variables(&[("SEARCH_TOKEN", "a-token-for-the-example")]);
    let mut seen = 0;
    for (language, text) in blocks(&readme) {
        let Some((_, syntax)) = SYNTAXES.iter().find(|(name, _)| *name == language) else {
            continue;
        };
        let reading = file::parse(text, *syntax, &around);
        assert!(
            reading.problems.is_empty(),
            "{:#?} in\n{text}",
            reading.problems
        );
        assert!(!reading.servers.is_empty(), "no server in\n{text}");
        seen += 1;
    }
    assert!(seen >= 2, "the examples are no longer found");
}

#[test]
fn scripts_that_the_readme_names_can_be_run() {
    use std::os::unix::fs::PermissionsExt;
    for script in ["tests/conformance/run", "tests/interop/run", ".ci/run"] {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(script);
        let mode = fs::metadata(&path).map(|found| found.permissions().mode());
        assert!(mode.is_ok_and(|mode| mode & 0o111 != 0), "{script}");
    }
}

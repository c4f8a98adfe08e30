//! Configuration files: read to an end, the same each time, with every problem at a place that exists
//! and nothing told that could be a secret. JSON has a second opinion.

use std::collections::BTreeSet;
use switchbox::config::file::parse;
use switchbox::config::problem::{Fault, Place, Problems};
use switchbox::config::surroundings::Given;
use switchbox::config::syntax::Syntax;

/// The first byte chooses the syntax, the rest is the file.
pub(crate) fn check(input: &[u8]) {
    let Some((choice, text)) = input.split_first() else {
        return;
    };
    let Ok(text) = std::str::from_utf8(text) else {
        return;
    };
    let syntax = match choice % 3 {
        0 => Syntax::Toml,
        1 => Syntax::Yaml,
        _ => Syntax::Json,
    };
    let around = Given::variables(&[("VALUE", "from-the-environment-4711")]);
    let reading = parse(text, syntax, &around);
    let told = Problems {
        file: "f".into(),
        list: reading.problems.clone(),
    }
    .to_string();
    assert!(
        !told.contains("from-the-environment-4711"),
        "a filled placeholder is never told: {told}"
    );

    let lines: Vec<&str> = text.split('\n').collect();
    for problem in &reading.problems {
        let Place::Text(at) = &problem.place else {
            panic!("a problem of a file without its place: {problem:?}");
        };
        let line = lines.get(at.line - 1).expect("the line exists");
        assert!(
            (1..=line.chars().count() + 1).contains(&at.column),
            "{problem:?}"
        );
        assert!(!at.quote.chars().any(char::is_control), "{problem:?}");
        assert!(
            at.caret <= at.quote.chars().count() && at.width >= 1,
            "{problem:?}"
        );
        assert!(
            problem.expected.is_some() || problem.hint.is_some(),
            "{problem:?}"
        );
    }

    let names: BTreeSet<_> = reading.servers.iter().map(|server| &server.name).collect();
    if reading.problems.is_empty() {
        assert_eq!(names.len(), reading.servers.len(), "no name stands twice");
    }

    let again = parse(text, syntax, &around);
    assert_eq!(again.problems, reading.problems);
    assert_eq!(again.servers, reading.servers);

    if syntax == Syntax::Json {
        second_opinion(text, &reading.problems);
    }
}

/// What `serde_json` takes for JSON is JSON here, too, but for repeated keys and depth.
fn second_opinion(text: &str, problems: &[switchbox::config::problem::Problem]) {
    let syntax_fault = problems.iter().find_map(|problem| match &problem.fault {
        Fault::Syntax(message) => Some(message),
        _ => None,
    });
    if let (Ok(_), Some(message)) = (
        serde_json::from_str::<serde::de::IgnoredAny>(text),
        syntax_fault,
    ) {
        assert!(
            message.contains("second time")
                || message.contains("nested")
                || message.contains("escape"),
            "{message} in {text:?}"
        );
    }
}

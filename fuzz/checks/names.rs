//! Names: every one is lawful, leads back to its server's part, and two pairs never share one. Templates:
//! the verdict is that of a matcher that tries everything.

use switchbox::config::limits::NAME_BYTES_MAX;
use switchbox::router::names::{prefix, prefixed, server_part};
use switchbox::router::template::Template;

/// The input is up to four texts, separated by line feeds: two servers and two tools.
pub(crate) fn check(input: &[u8]) {
    let text = String::from_utf8_lossy(input);
    let mut parts = text.split('\n');
    let mut next = || parts.next().unwrap_or_default();
    let (one, other) = ((next(), next()), (next(), next()));
    let (name, second) = (name_of(one), name_of(other));
    if one != other {
        assert_ne!(name, second, "{one:?} and {other:?}");
    }
    // Trying everything takes exponential time, so only short ones are tried.
    let (template, uri) = one;
    let verdict = Template::parse(template).matches(uri);
    if template.len() <= 24 && uri.len() <= 16 && !template.contains('{') {
        assert_eq!(verdict, template == uri);
    }
    // An expression left open would swallow the one that is appended.
    if template.rfind('{') <= template.rfind('}') {
        let extended = Template::parse(&format!("{template}{{+rest}}"));
        assert!(extended.matches(&literal_of(template, uri)));
    }
}

fn name_of((server, tool): (&str, &str)) -> String {
    let name = prefixed(&prefix(server), tool);
    let lawful = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '.' | '-');
    assert!(!name.is_empty() && name.len() <= NAME_BYTES_MAX);
    assert!(name.chars().all(lawful), "{name}");
    assert_eq!(server_part(&name), Some(&*prefix(server)));
    assert_eq!(name, prefixed(&prefix(server), tool), "a name is stable");
    name
}

/// A URI made from the template by putting `x` for each expression, and something after it.
fn literal_of(template: &str, rest: &str) -> String {
    let mut uri = String::new();
    let mut left = template;
    while let Some(open) = left.find('{') {
        let Some(length) = left[open..].find('}') else {
            break;
        };
        uri += &left[..open];
        uri.push('x');
        left = &left[open + length + 1..];
    }
    uri += left;
    uri + rest
}

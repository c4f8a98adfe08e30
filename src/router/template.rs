//! Which server's URI template a URI was made from (RFC 6570).
//!
//! Only ownership is asked, not the variables' values: an expression stands for any run of characters,
//! one without operator for a run without `/`.

/// A template, ready to be compared with URIs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Template {
    parts: Vec<Part>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Part {
    Literal(String),
    Segment,
    Anything,
}

impl Template {
    /// Reads a template. An expression that does not end is taken literally.
    pub fn parse(text: &str) -> Template {
        let mut parts = Vec::new();
        let mut rest = text;
        while let Some(open) = rest.find('{') {
            let Some(length) = rest[open..].find('}') else {
                break;
            };
            if open > 0 {
                parts.push(Part::Literal(rest[..open].into()));
            }
            let simple =
                rest[open + 1..].starts_with(|c: char| c.is_ascii_alphanumeric() || c == '_');
            let explodes = rest[open..open + length].ends_with('*');
            parts.push(if simple && !explodes {
                Part::Segment
            } else {
                Part::Anything
            });
            rest = &rest[open + length + 1..];
        }
        if !rest.is_empty() {
            parts.push(Part::Literal(rest.into()));
        }
        Template { parts }
    }

    /// Characters that the URI must have literally: the more, the closer the fit.
    pub fn weight(&self) -> usize {
        self.parts
            .iter()
            .map(|part| {
                if let Part::Literal(text) = part {
                    text.len()
                } else {
                    0
                }
            })
            .sum()
    }

    /// Whether `uri` can be made from this. Takes at most parts × length of `uri` steps.
    pub fn matches(&self, uri: &str) -> bool {
        // The set of places in `uri` up to which the parts so far can reach: no backtracking.
        let uri = uri.as_bytes();
        let mut reached = vec![false; uri.len() + 1];
        reached[0] = true;
        for part in &self.parts {
            let mut next = vec![false; uri.len() + 1];
            match part {
                Part::Literal(text) => {
                    let text = text.as_bytes();
                    for at in 0..=uri.len() {
                        if reached[at] && uri[at..].starts_with(text) {
                            next[at + text.len()] = true;
                        }
                    }
                }
                Part::Segment | Part::Anything => {
                    let mut within = false;
                    for at in 0..=uri.len() {
                        if at > 0 && uri[at - 1] == b'/' && *part == Part::Segment {
                            within = false;
                        }
                        within |= reached[at];
                        next[at] = within;
                    }
                }
            }
            reached = next;
        }
        reached[uri.len()]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn uris_are_traced_to_their_template() {
        let check = |template: &str, uri: &str, expected: bool| {
            assert_eq!(
                Template::parse(template).matches(uri),
                expected,
                "{template} for {uri}"
            );
        };
        check("test://template/{id}/data", "test://template/7/data", true);
        check(
            "test://template/{id}/data",
            "test://template/7/8/data",
            false,
        );
        check("test://template/{id}/data", "test://template/7/date", false);
        check("file:///{+path}", "file:///a/b/c", true);
        check("repo://{owner}/{name}{?ref}", "repo://a/b?ref=main", true);
        check("x://{a}{b}", "x://12", true);
        check("x://{path*}", "x://1/2", true);
        check("x://plain", "x://plain", true);
        check("x://{open", "x://{open", true);
        check("{+all}", "", true);
    }

    #[test]
    fn hostile_template_takes_linear_steps() {
        let template = Template::parse(&"{+a}x".repeat(200));
        assert!(!template.matches(&"x".repeat(150)));
        assert!(template.matches(&"x".repeat(400)));
    }
}

//! One server's lists of tools, prompts, resources and templates, each entry as the bytes it came in.

use super::caching::Caching;
use super::handshake::Introduced;
use super::method::Method;
use crate::config::limits::LIST_ENTRIES_MAX;
use crate::jsonrpc::parse::{self, Span};
use crate::jsonrpc::write;

/// The four kinds of things that are listed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    /// Tools, known by name.
    Tools,
    /// Prompts, known by name.
    Prompts,
    /// Resources, known by URI.
    Resources,
    /// Resource templates, known by URI template.
    Templates,
}

impl Kind {
    /// All four, in the order in which they are asked for.
    pub const ALL: [Kind; 4] = [Kind::Tools, Kind::Prompts, Kind::Resources, Kind::Templates];

    /// The method that lists them.
    pub const fn method(self) -> Method {
        match self {
            Kind::Tools => Method::ToolsList,
            Kind::Prompts => Method::PromptsList,
            Kind::Resources => Method::ResourcesList,
            Kind::Templates => Method::ResourcesTemplatesList,
        }
    }

    /// The kind that `method` lists.
    pub fn listed_by(method: Method) -> Option<Kind> {
        Kind::ALL.into_iter().find(|kind| kind.method() == method)
    }

    /// The member of the result that holds the list.
    pub const fn member(self) -> &'static str {
        match self {
            Kind::Tools => "tools",
            Kind::Prompts => "prompts",
            Kind::Resources => "resources",
            Kind::Templates => "resourceTemplates",
        }
    }

    /// The member of an entry by which it is known.
    pub const fn key(self) -> &'static str {
        match self {
            Kind::Tools | Kind::Prompts => "name",
            Kind::Resources => "uri",
            Kind::Templates => "uriTemplate",
        }
    }

    /// The notification that announces a change.
    pub const fn changed(self) -> Method {
        match self {
            Kind::Tools => Method::ToolsChanged,
            Kind::Prompts => Method::PromptsChanged,
            Kind::Resources | Kind::Templates => Method::ResourcesChanged,
        }
    }
}

/// One entry of a list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Its name, URI or URI template.
    pub key: String,
    /// The whole entry as it came.
    pub text: Box<[u8]>,
    /// Where in `text` the key stands, with its quotes.
    pub place: Span,
}

/// Everything that one server said of itself to clients with certain capabilities.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listing {
    /// Its answer to `initialize`.
    pub introduced: Introduced,
    /// Its lists, in the order of [`Kind::ALL`].
    pub entries: [Vec<Entry>; 4],
    /// How long each may be kept, and for whom, where its server says so.
    pub caching: [Option<Caching>; 4],
}

impl Listing {
    /// A listing without entries.
    pub fn new(introduced: Introduced) -> Listing {
        Listing {
            introduced,
            entries: Default::default(),
            caching: Default::default(),
        }
    }

    /// The entries of one kind.
    pub fn of(&self, kind: Kind) -> &[Entry] {
        &self.entries[kind as usize]
    }
}

/// One page of a list, taken over from a server's result.
#[derive(Debug, PartialEq, Eq)]
pub struct Page {
    /// The `nextCursor`, as it is written.
    pub next: Option<Box<[u8]>>,
    /// Entries that could not be taken: without a key, or past [`LIST_ENTRIES_MAX`].
    pub left_out: usize,
}

/// Appends the entries of the list result at `span` of a message that was checked before.
///
/// # Errors
/// The fact, if the result has no such list.
pub fn take_page(
    kind: Kind,
    text: &[u8],
    span: Span,
    entries: &mut Vec<Entry>,
) -> Result<Page, &'static str> {
    let list = parse::member(text, span, kind.member())
        .filter(|list| text[list.start] == b'[')
        .ok_or("its list result has no list")?;
    let mut page = Page {
        next: None,
        left_out: 0,
    };
    for element in parse::elements(text, list) {
        let key = parse::member(text, element, kind.key());
        match key.and_then(|place| Some((parse::string(text, place)?, place))) {
            Some((key, place)) if entries.len() < LIST_ENTRIES_MAX => entries.push(Entry {
                key: key.into_owned(),
                text: write::one_line(element.of(text)).into(),
                place: Span {
                    start: place.start - element.start,
                    end: place.end - element.start,
                },
            }),
            _ => page.left_out += 1,
        }
    }
    page.next = parse::member(text, span, "nextCursor")
        .filter(|cursor| text[cursor.start] == b'"')
        .map(|cursor| cursor.of(text).into());
    Ok(page)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn page_keeps_entries_as_they_came() {
        let text = br#"{"tools":[{"x-own":1.0,"name":"a\u0062"},{"title":"no name"},
            {"name":"c","inputSchema":{"$defs":{}}}],"nextCursor":"","ttl":1}"#;
        let mut entries = Vec::new();
        let page = take_page(Kind::Tools, text, parse::check(text).unwrap(), &mut entries).unwrap();
        assert_eq!(
            page,
            Page {
                next: Some((*b"\"\"").into()),
                left_out: 1
            }
        );
        assert_eq!(
            entries.iter().map(|e| &*e.key).collect::<Vec<_>>(),
            ["ab", "c"]
        );
        assert_eq!(&*entries[0].text, br#"{"x-own":1.0,"name":"a\u0062"}"#);
        assert_eq!(entries[0].place.of(&entries[0].text), br#""a\u0062""#);
    }

    #[test]
    fn result_without_a_list_is_named() {
        let check = |text: &[u8]| {
            let span = parse::check(text).unwrap();
            assert!(take_page(Kind::Prompts, text, span, &mut Vec::new()).is_err());
        };
        check(b"{}");
        check(b"[]");
        check(br#"{"prompts":{}}"#);
        check(br#"{"tools":[]}"#);
    }

    #[test]
    fn kinds_and_methods_lead_to_each_other() {
        for kind in Kind::ALL {
            assert_eq!(Kind::listed_by(kind.method()), Some(kind));
        }
        assert_eq!(Kind::listed_by(Method::ToolsCall), None);
    }
}

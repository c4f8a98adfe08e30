//! The catalog: what is merged, paged and found.

use super::*;
use crate::mcp::handshake::{Introduced, welcome};
use crate::mcp::listing::take_page;
use crate::mcp::revision::Revision;
use crate::router::testing::server;

fn listing(tools: &[&str], resources: &[&str], templates: &[&str]) -> Option<Arc<Listing>> {
    let hello = welcome(Revision::LATEST, ServerCapabilities::EVERYTHING, "read me");
    let span = crate::jsonrpc::parse::check(&hello).unwrap();
    let mut listing = Listing::new(Introduced::parse(&hello, span).unwrap());
    let mut fill = |kind: Kind, keys: &[&str]| {
        let entries: Vec<String> = keys
            .iter()
            .map(|key| format!(r#"{{"x":1.0,"{}":"{key}"}}"#, kind.key()))
            .collect();
        let text = format!(r#"{{"{}":[{}]}}"#, kind.member(), entries.join(","));
        let span = crate::jsonrpc::parse::check(text.as_bytes()).unwrap();
        take_page(
            kind,
            text.as_bytes(),
            span,
            &mut listing.entries[kind as usize],
        )
        .unwrap();
    };
    fill(Kind::Tools, tools);
    fill(Kind::Resources, resources);
    fill(Kind::Templates, templates);
    Some(Arc::new(listing))
}

fn text(page: &[u8]) -> &str {
    std::str::from_utf8(page).unwrap()
}

#[test]
fn tools_of_all_servers_are_listed_in_order_under_their_names() {
    let servers = [server("b"), server("a"), server("late")];
    let catalog = Catalog::merge(
        Names::Prefixed,
        &servers,
        &[
            listing(&["y", "x"], &[], &[]),
            listing(&["x"], &[], &[]),
            None,
        ],
    );
    assert_eq!(
        text(catalog.page(Era::Legacy, Kind::Tools, None).unwrap()),
        r#"{"tools":[{"x":1.0,"name":"b__y"},{"x":1.0,"name":"b__x"},{"x":1.0,"name":"a__x"}]}"#
    );
    let route = catalog.tool("a__x").unwrap();
    assert_eq!((route.server, &*route.original), (1, "x"));
    assert_eq!(
        (catalog.unlisted, catalog.instructions.as_str()),
        (vec![2], "# b\n\nread me\n\n# a\n\nread me")
    );
}

#[test]
fn output_schema_is_wrapped_for_a_legacy_client_of_a_modern_server_only() {
    let tools = br##"{"tools":[{"name":"t","outputSchema":{"$ref":"#/$defs/o"}}]}"##;
    let span = parse::check(tools).unwrap();
    let check = |server_revision, expected: &str| {
        let mut offered = (*listing(&[], &[], &[]).unwrap()).clone();
        offered.introduced.revision = server_revision;
        let entries = &mut offered.entries[Kind::Tools as usize];
        take_page(Kind::Tools, tools, span, entries).unwrap();
        let offered = Some(Arc::new(offered));
        let catalog = Catalog::merge(Names::Bare, &[server("a")], &[offered]);
        let page = text(catalog.page(Era::Legacy, Kind::Tools, None).unwrap());
        assert!(page.contains(expected), "{server_revision:?}: {page}");
    };
    check(
        Revision::LATEST,
        r##""outputSchema":{"$ref":"#/$defs/o"}}"##,
    );
    check(
        Revision::MODERN,
        r##"{"result":{"$ref":"#/properties/result/$defs/o"}}"##,
    );
}

#[test]
fn tool_of_a_modern_server_keeps_what_only_a_legacy_one_means_something_by() {
    let tools = br#"{"tools":[{"name":"t","execution":{"by":"us"},"inputSchema":{"properties":{"a":{"type":"number","x-mcp-header":"A"}}}}]}"#;
    let span = parse::check(tools).unwrap();
    let check = |server_revision, expected: &str| {
        let mut offered = (*listing(&[], &[], &[]).unwrap()).clone();
        offered.introduced.revision = server_revision;
        let entries = &mut offered.entries[Kind::Tools as usize];
        take_page(Kind::Tools, tools, span, entries).unwrap();
        let offered = Some(Arc::new(offered));
        let catalog = Catalog::merge(Names::Bare, &[server("a")], &[offered]);
        let page = text(catalog.page(Era::Modern, Kind::Tools, None).unwrap());
        assert!(page.starts_with(expected), "{server_revision:?}: {page}");
    };
    let schema = r#""inputSchema":{"properties":{"a":{"type":"number"}}}}]"#;
    check(
        Revision::MODERN,
        &format!(r#"{{"tools":[{{"name":"t","execution":{{"by":"us"}},{schema}"#),
    );
    check(
        Revision::LATEST,
        &format!(r#"{{"tools":[{{"name":"t",{schema}"#),
    );
}

#[test]
fn first_server_wins_a_bare_name_and_the_loser_is_reported() {
    let servers = [server("b"), server("a")];
    let catalog = Catalog::merge(
        Names::Bare,
        &servers,
        &[listing(&["x"], &[], &[]), listing(&["x", "y"], &[], &[])],
    );
    assert_eq!(catalog.tool("x").unwrap().server, 0);
    assert_eq!(catalog.tool("y").unwrap().server, 1);
    assert_eq!(
        catalog.collisions,
        [Collision {
            kind: Kind::Tools,
            name: "x".into(),
            winner: 0,
            loser: 1
        }]
    );
    assert_eq!(catalog.counts, [[1, 0, 0, 0], [1, 0, 0, 0]]);
}

#[test]
fn hidden_and_renamed_tools_are_not_found_under_their_own_name() {
    let mut limited = (*server("a")).clone();
    limited
        .tools
        .deny
        .push(crate::config::Glob("secret*".into()));
    limited.rename.insert("x".into(), "shiny".into());
    let catalog = Catalog::merge(
        Names::Prefixed,
        &[Arc::new(limited)],
        &[listing(&["x", "secret_1"], &[], &[])],
    );
    assert_eq!(
        text(catalog.page(Era::Legacy, Kind::Tools, None).unwrap()),
        r#"{"tools":[{"x":1.0,"name":"a__shiny"}]}"#
    );
    assert_eq!(&*catalog.tool("a__shiny").unwrap().original, "x");
    assert!(catalog.tool("a__secret_1").is_none() && catalog.tool("a__x").is_none());
}

#[test]
fn resources_are_owned_by_list_then_template_then_the_only_one_who_has_any() {
    let servers = [server("a"), server("b")];
    let both = [
        listing(&[], &["x://1"], &["x://{id}", "y://{+all}"]),
        listing(&[], &["x://2"], &["x://deep{id}"]),
    ];
    let catalog = Catalog::merge(Names::Prefixed, &servers, &both);
    let check = |uri, owner| assert_eq!(catalog.owner(uri), owner, "{uri}");
    check("x://1", Some(0));
    check("x://2", Some(1));
    check("x://3", Some(0));
    check("x://deep3", Some(1));
    check("z://1", None);
    assert_eq!(catalog.template_owner("x://deep{id}"), Some(1));
    let alone = Catalog::merge(Names::Prefixed, &servers[..1], &both[..1]);
    assert_eq!(alone.owner("z://1"), Some(0));
}

#[test]
fn long_list_comes_in_pages_whose_cursors_hold_for_this_state_only() {
    let names: Vec<String> = (0..2 * PAGE_ENTRIES_MAX + 1)
        .map(|n| format!("t{n}"))
        .collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let servers = [server("a")];
    let catalog = Catalog::merge(Names::Bare, &servers, &[listing(&names, &[], &[])]);
    let (mut cursor, mut seen) = (None, 0);
    loop {
        let page: serde_json::Value = serde_json::from_slice(
            catalog
                .page(Era::Legacy, Kind::Tools, cursor.as_deref())
                .unwrap(),
        )
        .unwrap();
        seen += page["tools"].as_array().unwrap().len();
        cursor = page["nextCursor"].as_str().map(String::from);
        if cursor.is_none() {
            break;
        }
    }
    assert_eq!(seen, names.len());
    let other = Catalog::merge(Names::Bare, &servers, &[listing(&names[1..], &[], &[])]);
    let foreign = format!("1-{:016x}", other.digest(Kind::Tools));
    for wrong in ["", "1", "0-", &foreign, "1-zz", "-1"] {
        assert!(
            catalog
                .page(Era::Legacy, Kind::Tools, Some(wrong))
                .is_none(),
            "{wrong}"
        );
    }
    assert!(
        other
            .page(Era::Legacy, Kind::Tools, Some(&foreign))
            .is_some()
    );
}

#[test]
fn empty_list_is_a_list() {
    let catalog = Catalog::merge(Names::Bare, &[], &[]);
    assert_eq!(
        text(catalog.page(Era::Legacy, Kind::Prompts, None).unwrap()),
        r#"{"prompts":[]}"#
    );
}

//! YAML, from the events of the parser that `serde-saphyr` is built on.
//!
//! Its own deserializer forgets where things stood as soon as a type is not `Spanned` all the way
//! down; the events carry everything. Aliases are copied, which is bounded by a count of nodes.

use super::SyntaxFault;
use crate::config::limits::{CONFIG_DEPTH_MAX, CONFIG_NODES_MAX};
use crate::config::node::{Entry, Node, Span, Value};
use serde_saphyr::granit_parser::{self as granit, Event, Marker, Parser, ScalarStyle, Tag};
use std::collections::BTreeMap;

pub(super) fn read(text: &str) -> Result<Node, SyntaxFault> {
    let mut tree = Tree {
        text,
        ..Tree::default()
    };
    let mut documents = 0;
    for event in Parser::new_from_str(text) {
        let (event, span) = event.map_err(|error| scan_fault(text, &error))?;
        let span = place(text, &span);
        match event {
            Event::DocumentStart(..) => {
                documents += 1;
                if documents > 1 {
                    return Err(SyntaxFault::at(span.start, "a second document begins here")
                        .expecting("one document in a file"));
                }
            }
            Event::Scalar(value, style, anchor, tag) => {
                let value =
                    scalar(&value, style, tag.as_deref()).map_err(|message| SyntaxFault {
                        span,
                        message,
                        expected: None,
                    })?;
                tree.add(Node { value, span }, anchor)?;
            }
            Event::SequenceStart(_, anchor, _) => {
                tree.open(Open::List(Vec::new()), anchor, span)?
            }
            Event::MappingStart(_, anchor, _) => {
                tree.open(Open::Map(Vec::new(), None), anchor, span)?;
            }
            Event::SequenceEnd | Event::MappingEnd => tree.close(span)?,
            Event::Alias(anchor) => tree.alias(anchor, span)?,
            _ => {}
        }
    }
    let end = Span { start: 0, end: 0 };
    Ok(tree.root.unwrap_or(Node {
        value: Value::Map(Vec::new()),
        span: end,
    }))
}

fn scan_fault(text: &str, error: &granit::ScanError) -> SyntaxFault {
    let mut at = offset(text, error.marker());
    let message = error.info();
    // The parser points at what it was reading when it met the tab.
    if message.contains("found a tab")
        && let Some(tab) = text.get(at..).and_then(|rest| rest.find('\t'))
    {
        at += tab;
    }
    SyntaxFault::at(at, message)
}

fn place(text: &str, span: &granit::Span) -> Span {
    Span {
        start: offset(text, &span.start),
        end: offset(text, &span.end),
    }
}

/// The byte a marker points at: it counts characters where the parser did not keep bytes.
fn offset(text: &str, marker: &Marker) -> usize {
    marker.byte_offset().unwrap_or_else(|| {
        text.char_indices()
            .nth(marker.index())
            .map_or(text.len(), |(at, _)| at)
    })
}

/// A container that is not closed yet.
enum Open {
    List(Vec<Node>),
    Map(Vec<Entry>, Option<(String, Span)>),
}

#[derive(Default)]
struct Tree<'t> {
    text: &'t str,
    open: Vec<(Open, usize, Span)>,
    anchors: BTreeMap<usize, (Node, usize)>,
    nodes: usize,
    root: Option<Node>,
}

impl Tree<'_> {
    fn open(&mut self, container: Open, anchor: usize, span: Span) -> Result<(), SyntaxFault> {
        if self.open.len() >= CONFIG_DEPTH_MAX {
            return Err(SyntaxFault::too_deep(span.start));
        }
        self.open.push((container, anchor, span));
        Ok(())
    }

    fn close(&mut self, end: Span) -> Result<(), SyntaxFault> {
        let Some((container, anchor, start)) = self.open.pop() else {
            return Ok(());
        };
        let value = match container {
            Open::List(items) => Value::List(items),
            Open::Map(entries, _) => Value::Map(merged(entries)?),
        };
        let span = Span {
            start: start.start,
            end: end.end.max(start.start),
        };
        self.add(Node { value, span }, anchor)
    }

    fn alias(&mut self, anchor: usize, span: Span) -> Result<(), SyntaxFault> {
        let Some((node, weight)) = self.anchors.get(&anchor).cloned() else {
            return Err(SyntaxFault {
                span,
                message: "alias of itself".into(),
                expected: None,
            });
        };
        self.nodes += weight;
        if self.open.len() + depth(&node) > CONFIG_DEPTH_MAX {
            return Err(SyntaxFault::too_deep(span.start));
        }
        self.add(node, 0)
    }

    fn add(&mut self, node: Node, anchor: usize) -> Result<(), SyntaxFault> {
        self.nodes += 1;
        if self.nodes > CONFIG_NODES_MAX {
            return Err(SyntaxFault {
                span: node.span,
                message: format!("more than {CONFIG_NODES_MAX} values, those of aliases included"),
                expected: None,
            });
        }
        if anchor != 0 {
            self.anchors.insert(anchor, (node.clone(), weight(&node)));
        }
        match self.open.last_mut() {
            None => self.root = Some(node),
            Some((Open::List(items), ..)) => items.push(node),
            Some((Open::Map(entries, pending), ..)) => match pending.take() {
                Some((key, key_span)) => entries.push(Entry {
                    key,
                    key_span,
                    node,
                }),
                None => {
                    let key = match node.value {
                        Value::Text(text) | Value::Number(text) | Value::Date(text) => text,
                        Value::Boolean(_) | Value::Null => self
                            .text
                            .get(node.span.start..node.span.end)
                            .unwrap_or("")
                            .into(),
                        Value::List(_) | Value::Map(_) => {
                            return Err(SyntaxFault {
                                span: node.span,
                                message: format!("a key is {}", node.value.kind()),
                                expected: Some("a string".into()),
                            });
                        }
                    };
                    if key != "<<" && entries.iter().any(|entry| entry.key == key) {
                        return Err(SyntaxFault::repeated(&key, node.span));
                    }
                    *pending = Some((key, node.span));
                }
            },
        }
        Ok(())
    }
}

/// The entries with those of `<<` added, wherever they do not name a key that is there already.
fn merged(entries: Vec<Entry>) -> Result<Vec<Entry>, SyntaxFault> {
    if entries.iter().all(|entry| entry.key != "<<") {
        return Ok(entries);
    }
    let (merges, mut entries): (Vec<_>, Vec<_>) =
        entries.into_iter().partition(|entry| entry.key == "<<");
    for merge in merges {
        let sources = match merge.node.value {
            Value::List(items) => items,
            _ => vec![merge.node],
        };
        for source in sources {
            let Value::Map(others) = source.value else {
                return Err(SyntaxFault {
                    span: merge.key_span,
                    message: format!("\"<<\" is {}", source.value.kind()),
                    expected: Some("a table, or a list of tables".into()),
                });
            };
            for other in others {
                if entries.iter().all(|entry| entry.key != other.key) {
                    entries.push(other);
                }
            }
        }
    }
    Ok(entries)
}

fn weight(node: &Node) -> usize {
    1 + match &node.value {
        Value::List(items) => items.iter().map(weight).sum(),
        Value::Map(entries) => entries.iter().map(|entry| weight(&entry.node)).sum(),
        _ => 0,
    }
}

fn depth(node: &Node) -> usize {
    match &node.value {
        Value::List(items) => 1 + items.iter().map(depth).max().unwrap_or(0),
        Value::Map(entries) => 1 + entries.iter().map(|e| depth(&e.node)).max().unwrap_or(0),
        _ => 0,
    }
}

/// What a scalar is, by the core schema (YAML 1.2.2 §10.3.2).
fn scalar(text: &str, style: ScalarStyle, tag: Option<&Tag>) -> Result<Value, String> {
    if let Some(tag) = tag {
        return match tag.core_suffix() {
            Some("str") => Ok(Value::Text(text.into())),
            Some("int" | "float") => Ok(Value::Number(text.into())),
            Some("null") => Ok(Value::Null),
            Some("bool") => Ok(plain(text)),
            _ if tag.suffix().is_empty() => Ok(Value::Text(text.into())),
            _ => Err("a tag of no meaning here".into()),
        };
    }
    Ok(match style {
        ScalarStyle::Plain => plain(text),
        _ => Value::Text(text.into()),
    })
}

fn plain(text: &str) -> Value {
    match text {
        "" | "~" | "null" | "Null" | "NULL" => Value::Null,
        "true" | "True" | "TRUE" => Value::Boolean(true),
        "false" | "False" | "FALSE" => Value::Boolean(false),
        _ if is_number(text) => Value::Number(text.into()),
        _ => Value::Text(text.into()),
    }
}

fn is_number(text: &str) -> bool {
    let digits = text.strip_prefix(['+', '-']).unwrap_or(text);
    digits.starts_with(|c: char| c.is_ascii_digit() || c == '.')
        && digits.contains(|c: char| c.is_ascii_digit())
        && digits.parse::<f64>().is_ok()
}

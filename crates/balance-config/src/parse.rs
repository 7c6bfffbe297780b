//! YAML events to a tree: anchors, aliases, merge keys and duplicate keys, all within bounds. It knows
//! nothing of Balance's keys.

use std::collections::HashMap;
use std::rc::Rc;
use std::sync::Arc;

use granit_parser::{Event, Parser, ScalarStyle, Tag};

use crate::diagnostics::{Diagnostic, Diagnostics, Place, Severity};
use crate::environment::Environment;
use crate::tree::{Entry, Node, NodeKind, Span};

/// A file may have this many bytes.
pub(crate) const FILE_BYTES_MAX: usize = 4 * 1024 * 1024;
/// Lists and maps inside one another, aliases included: what the loader visits recursively.
const DEPTH_MAX: usize = 64;
/// Nodes of all documents, each alias counting as all that it stands for: what the loader visits.
const NODES_MAX: usize = 1_000_000;

/// Parses one file. `None` when there is nothing to go on with; the reason is among the diagnostics.
/// An empty file is an empty map. `nodes` counts over all files of a configuration.
pub(crate) fn parse(
    file: &Arc<str>,
    bytes: &[u8],
    environment: &mut Environment<'_>,
    nodes: &mut usize,
    diagnostics: &mut Diagnostics,
) -> Option<Node> {
    if bytes.len() > FILE_BYTES_MAX {
        let message = format!("the file is larger than {} MiB", FILE_BYTES_MAX >> 20);
        diagnostics.error(&Place::whole(file), message);
        return None;
    }
    let text = match str::from_utf8(bytes) {
        Ok(text) => text,
        Err(error) => {
            let place = place_of_offset(file, bytes, error.valid_up_to());
            diagnostics.error(&place, "the file is not UTF-8 here");
            return None;
        }
    };
    let mut builder = Builder {
        file,
        environment,
        diagnostics,
        open: Vec::new(),
        anchors: HashMap::new(),
        nodes,
        documents: 0,
        root: None,
    };
    builder.read(text)?;
    Some(builder.root.take().unwrap_or_else(|| builder.empty()))
}

/// The stack machine that the events drive. `open` is the path from the root to where we are.
struct Builder<'a, 's> {
    file: &'a Arc<str>,
    environment: &'a mut Environment<'s>,
    diagnostics: &'a mut Diagnostics,
    open: Vec<Open>,
    anchors: HashMap<usize, Measured>,
    nodes: &'a mut usize,
    documents: usize,
    root: Option<Node>,
}

/// A list or map that has begun.
struct Open {
    collection: Collection,
    span: Span,
    anchor: usize,
    /// Of the deepest child so far, 0 without one.
    height: usize,
    /// With itself and all children.
    size: usize,
}

enum Collection {
    List(Vec<Node>),
    Map {
        entries: Vec<Entry>,
        merges: Vec<Node>,
        key: Option<Key>,
    },
}

/// A key that waits for its value.
enum Key {
    Name(Rc<str>, Place),
    /// A list or map as a key: reported, its value is thrown away.
    Refused,
}

/// A finished node with what it costs to visit it.
#[derive(Clone)]
struct Measured {
    node: Node,
    height: usize,
    size: usize,
}

impl Builder<'_, '_> {
    fn read(&mut self, text: &str) -> Option<()> {
        let mut options = granit_parser::Options::default();
        options.set_emit_comments(false);
        for next in Parser::new_from_str_with_options(text, options) {
            match next {
                Ok((event, span)) => self.on_event(event, convert(&span))?,
                Err(error) => {
                    let at = point(error.marker());
                    let message = format!("not valid YAML: {}", error.info());
                    self.diagnostics.error(&at.place(self.file), message);
                    return None;
                }
            }
        }
        Some(())
    }

    fn on_event(&mut self, event: Event<'_>, span: Span) -> Option<()> {
        match event {
            Event::DocumentStart(..) => self.on_document(span),
            Event::Scalar(text, style, anchor, tag) => {
                let tagged_text = self.check_tag(tag.as_deref(), span);
                let plain = style == ScalarStyle::Plain && !tagged_text;
                self.on_scalar(&text, plain, anchor, span)
            }
            Event::SequenceStart(_, anchor, tag) => {
                self.check_tag(tag.as_deref(), span);
                self.open(Collection::List(Vec::new()), anchor, span)
            }
            Event::MappingStart(_, anchor, tag) => {
                self.check_tag(tag.as_deref(), span);
                let map = Collection::Map {
                    entries: Vec::new(),
                    merges: Vec::new(),
                    key: None,
                };
                self.open(map, anchor, span)
            }
            Event::SequenceEnd | Event::MappingEnd => self.close(span),
            Event::Alias(id) => self.on_alias(id, span),
            _ => Some(()),
        }
    }

    fn on_document(&mut self, span: Span) -> Option<()> {
        self.documents += 1;
        if self.documents == 1 {
            return Some(());
        }
        self.diagnostics.error_help(
            &span.place(self.file),
            "a second YAML document begins here",
            "a configuration is one document: remove the `---`, or make two files",
        );
        None
    }

    /// Whether a tag makes a scalar text (`!!str 8080`). Other tags that we do not know are errors: they
    /// would mean something to somebody.
    fn check_tag(&mut self, tag: Option<&Tag>, span: Span) -> bool {
        let Some(tag) = tag else { return false };
        if tag.is_custom() && tag.suffix() != "" {
            let message = format!("the tag `{}` means nothing here", tag.original());
            self.diagnostics.error(&span.place(self.file), message);
        }
        tag.is_yaml_core_schema_tag("str")
    }

    fn on_scalar(&mut self, text: &str, plain: bool, anchor: usize, span: Span) -> Option<()> {
        let place = span.place(self.file);
        let text: Rc<str> = if self.expects_key() {
            Rc::from(text)
        } else {
            self.environment.expand(text, &place, self.diagnostics)
        };
        let node = self.node(NodeKind::Scalar { text, plain }, span);
        self.charge(1, span)?;
        self.finish(
            Measured {
                node,
                height: 0,
                size: 1,
            },
            anchor,
            span,
        )
    }

    fn on_alias(&mut self, id: usize, span: Span) -> Option<()> {
        // The parser resolved the name; only an alias inside its own anchor is not finished yet.
        let Some(measured) = self.anchors.get(&id).cloned() else {
            let message = "an alias inside the value that it names would never end";
            self.diagnostics.error(&span.place(self.file), message);
            return None;
        };
        // All that it stands for is counted again each time, or nine lines would be a billion nodes.
        self.charge(measured.size, span)?;
        self.finish(measured, 0, span)
    }

    fn open(&mut self, collection: Collection, anchor: usize, span: Span) -> Option<()> {
        if self.open.len() >= DEPTH_MAX {
            return self.refuse_depth(span);
        }
        self.charge(1, span)?;
        self.open.push(Open {
            collection,
            span,
            anchor,
            height: 0,
            size: 1,
        });
        Some(())
    }

    fn close(&mut self, end: Span) -> Option<()> {
        let open = self
            .open
            .pop()
            .expect("the parser balances starts and ends");
        let kind = match open.collection {
            Collection::List(items) => NodeKind::List(items.into()),
            Collection::Map {
                entries, merges, ..
            } => NodeKind::Map(self.merge(entries, &merges).into()),
        };
        let span = Span {
            end_line: end.end_line,
            end_column: end.end_column,
            ..open.span
        };
        let node = self.node(kind, span);
        let measured = Measured {
            node,
            height: open.height + 1,
            size: open.size,
        };
        self.finish(measured, open.anchor, span)
    }

    /// Hands a finished node to what contains it.
    fn finish(&mut self, measured: Measured, anchor: usize, span: Span) -> Option<()> {
        if self.open.len() + measured.height > DEPTH_MAX {
            return self.refuse_depth(span);
        }
        if anchor != 0 {
            self.anchors.insert(anchor, measured.clone());
        }
        let Measured { node, height, size } = measured;
        let Some(parent) = self.open.last_mut() else {
            self.root = Some(node);
            return Some(());
        };
        parent.height = parent.height.max(height);
        parent.size = parent.size.saturating_add(size);
        match &mut parent.collection {
            Collection::List(items) => items.push(node),
            Collection::Map {
                entries,
                merges,
                key,
            } => match key.take() {
                None => *key = Some(as_key(node, self.diagnostics)),
                Some(Key::Refused) => {}
                Some(Key::Name(name, _)) if &*name == MERGE_KEY => merges.push(node),
                Some(Key::Name(key, key_place)) => {
                    entries.push(Entry {
                        key,
                        key_place,
                        value: node,
                    });
                }
            },
        }
        Some(())
    }

    fn charge(&mut self, nodes: usize, span: Span) -> Option<()> {
        *self.nodes = self.nodes.saturating_add(nodes);
        if *self.nodes <= NODES_MAX {
            return Some(());
        }
        let message = format!("the file has more than {NODES_MAX} values, aliases written out");
        self.diagnostics.error(&span.place(self.file), message);
        None
    }

    /// A map's own keys, then those of `<<` that it does not have itself; the first of several wins.
    fn merge(&mut self, own: Vec<Entry>, merges: &[Node]) -> Vec<Entry> {
        let mut places: HashMap<Rc<str>, Place> = HashMap::with_capacity(own.len());
        let mut merged = Vec::with_capacity(own.len());
        for entry in own {
            if let Some(first) = places.get(&entry.key) {
                let message = format!("`{}` is set twice", entry.key);
                self.diagnostics.push(
                    Diagnostic::new(Severity::Error, &entry.key_place, message)
                        .with_related(first, "it is set here first")
                        .with_help("remove one of the two"),
                );
                continue;
            }
            places.insert(Rc::clone(&entry.key), entry.key_place.clone());
            merged.push(entry);
        }
        let mut sources: Vec<&Node> = Vec::new();
        for node in merges {
            match &node.kind {
                NodeKind::List(items) => sources.extend(items.iter()),
                NodeKind::Map(_) | NodeKind::Scalar { .. } => sources.push(node),
            }
        }
        for source in sources {
            let NodeKind::Map(entries) = &source.kind else {
                let message = "`<<` takes a map or a list of maps";
                self.diagnostics.error(&source.place(), message);
                continue;
            };
            for entry in entries.iter() {
                if !places.contains_key(&entry.key) {
                    places.insert(Rc::clone(&entry.key), entry.key_place.clone());
                    merged.push(entry.clone());
                }
            }
        }
        merged
    }

    fn refuse_depth(&mut self, span: Span) -> Option<()> {
        let message = format!("more than {DEPTH_MAX} lists and maps inside one another");
        self.diagnostics.error(&span.place(self.file), message);
        None
    }

    /// Whether the next scalar is the key of a map, where `${…}` means nothing.
    fn expects_key(&self) -> bool {
        matches!(
            self.open.last(),
            Some(Open {
                collection: Collection::Map { key: None, .. },
                ..
            })
        )
    }

    fn node(&self, kind: NodeKind, span: Span) -> Node {
        Node {
            kind,
            span,
            file: Arc::clone(self.file),
        }
    }

    fn empty(&self) -> Node {
        let span = Span {
            line: 0,
            column: 0,
            end_line: 0,
            end_column: 0,
        };
        self.node(NodeKind::Map(Rc::from([])), span)
    }
}

fn as_key(node: Node, diagnostics: &mut Diagnostics) -> Key {
    let place = node.place();
    match node.kind {
        NodeKind::Scalar { text, .. } => Key::Name(text, place),
        NodeKind::List(_) | NodeKind::Map(_) => {
            diagnostics.error(&place, "a key must be a single value");
            Key::Refused
        }
    }
}

/// Parser columns count from 0, ours from 1.
fn convert(span: &granit_parser::Span) -> Span {
    let (start, end) = (point(&span.start), point(&span.end));
    Span {
        end_line: end.line,
        end_column: end.column,
        ..start
    }
}

fn point(marker: &granit_parser::Marker) -> Span {
    let narrow = |number: usize| u32::try_from(number).unwrap_or(u32::MAX);
    let (line, column) = (
        narrow(marker.line()),
        narrow(marker.col()).saturating_add(1),
    );
    Span {
        line,
        column,
        end_line: line,
        end_column: column,
    }
}

fn place_of_offset(file: &Arc<str>, bytes: &[u8], offset: usize) -> Place {
    let before = &bytes[..offset];
    let line = before.iter().filter(|byte| **byte == b'\n').count() + 1;
    let line_start = before
        .iter()
        .rposition(|byte| *byte == b'\n')
        .map_or(0, |at| at + 1);
    let column = String::from_utf8_lossy(&before[line_start..])
        .chars()
        .count()
        + 1;
    let narrow = |number: usize| u32::try_from(number).unwrap_or(u32::MAX);
    let (line, column) = (narrow(line), narrow(column));
    Span {
        line,
        column,
        end_line: line,
        end_column: column,
    }
    .place(file)
}

const MERGE_KEY: &str = "<<";

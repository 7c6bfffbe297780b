//! Keys of other versions of the original format: accepted, with a warning that names the key to use.
//!
//! A key that has another name in the same section is renamed where the section is checked. One that
//! belongs into another section is moved there in the tree before anything is checked, so that its value
//! is held against the same rules, and its clashes are found, as if it had been written there.

use std::rc::Rc;

use crate::check::shown;
use crate::diagnostics::{Diagnostic, Diagnostics, Place, Severity};
use crate::sections::root::ROOT;
use crate::sections::transform::TRANSFORM;
use crate::table::{Kind, Table};
use crate::tree::{Entry, Node, NodeKind};

/// A key that is known under another name.
#[derive(Debug)]
pub struct Alias {
    /// The name of the table that it is found in.
    pub table: &'static str,
    pub name: &'static str,
    pub target: Target,
}

/// What an alias stands for.
#[derive(Debug)]
pub enum Target {
    /// A key of the same section.
    Key(&'static str),
    /// The same value under a key of another section, from the top of the file.
    Path(&'static [&'static str]),
    /// A section with nothing but `enabled`, which is one key now.
    Switch(&'static [&'static str]),
    /// `http.transform`: maps and lists of names in place of lists of edits.
    Transform,
    /// It configured something that does not exist here.
    Nothing,
}

impl Alias {
    /// The key to use, as one would say it.
    pub fn instead(&self) -> String {
        match self.target {
            Target::Key(name) => name.to_owned(),
            Target::Path(path) | Target::Switch(path) => path.join("."),
            Target::Transform => "transform".to_owned(),
            Target::Nothing => String::new(),
        }
    }
}

/// The other names of keys of a table.
pub fn aliases_of(table: &Table) -> impl Iterator<Item = &'static Alias> {
    let name = table.name;
    ALIASES.iter().filter(move |alias| alias.table == name)
}

const fn key(table: &'static str, name: &'static str, target: &'static str) -> Alias {
    let target = Target::Key(target);
    Alias {
        table,
        name,
        target,
    }
}

const fn path(table: &'static str, name: &'static str, target: &'static [&'static str]) -> Alias {
    let target = Target::Path(target);
    Alias {
        table,
        name,
        target,
    }
}

const fn nothing(table: &'static str, name: &'static str) -> Alias {
    let target = Target::Nothing;
    Alias {
        table,
        name,
        target,
    }
}

static ALIASES: &[Alias] = &[
    path(
        "the file",
        "circuit_breaker",
        &["resilience", "circuit_breaker"],
    ),
    path("the file", "retry", &["resilience", "retry"]),
    path("the file", "rate_limit", &["security", "rate_limit"]),
    key("health_check", "http_path", "path"),
    key("health_check", "http_method", "method"),
    key("health_check", "http_expected_status", "expected_status"),
    key("circuit_breaker", "failure_threshold", "max_failures"),
    key("retry", "backoff_base", "initial_delay"),
    key("retry", "backoff_max", "max_delay"),
    key("rate_limit", "burst", "burst_size"),
    path(
        "security",
        "blocklist",
        &["security", "ip_blocklist", "blocked_cidrs"],
    ),
    path(
        "security",
        "max_connections_per_ip",
        &[
            "security",
            "connection_protection",
            "max_connections_per_ip",
        ],
    ),
    path(
        "security",
        "max_request_size",
        &["security", "connection_protection", "max_request_size"],
    ),
    path(
        "security",
        "max_header_size",
        &["security", "connection_protection", "max_header_size"],
    ),
    Alias {
        table: "http",
        name: "http2",
        target: Target::Switch(&["http", "enable_http2"]),
    },
    Alias {
        table: "http",
        name: "websocket",
        target: Target::Switch(&["http", "enable_websocket"]),
    },
    Alias {
        table: "http",
        name: "transform",
        target: Target::Transform,
    },
    nothing("performance", "buffer_pool_size"),
    nothing("performance", "worker_pool_size"),
    nothing("performance", "goroutine_pool"),
    nothing("performance", "buffer_pool"),
    nothing("performance", "connection_pool"),
];

/// The maps of `http.transform`: their names, the lists that they become part of, and the edit.
pub(crate) const HEADER_MAPS: [(&str, &str, &str); 4] = [
    ("add_request_headers", "request_headers", "add"),
    ("remove_request_headers", "request_headers", "remove"),
    ("add_response_headers", "response_headers", "add"),
    ("remove_response_headers", "response_headers", "remove"),
];

/// The tree of a file with every key moved that belongs into another section.
pub(crate) fn rewrite(mut root: Node, diagnostics: &mut Diagnostics) -> Node {
    for alias in ALIASES {
        if matches!(alias.target, Target::Key(_) | Target::Nothing) {
            continue;
        }
        // Only sections that stand once, at the top, have keys that move.
        let section: &[&str] = match alias.table {
            "the file" => &[],
            name => &[name],
        };
        if let Some(entry) = take(&mut root, section, alias.name) {
            move_entry(&mut root, alias, entry, diagnostics);
        }
    }
    root
}

fn move_entry(root: &mut Node, alias: &Alias, entry: Entry, diagnostics: &mut Diagnostics) {
    let written = match alias.table {
        "the file" => alias.name.to_owned(),
        section => format!("{section}.{}", alias.name),
    };
    warn(&written, &alias.instead(), &entry.key_place, diagnostics);
    match alias.target {
        Target::Path(target) => put(root, target, entry, diagnostics),
        Target::Switch(target) => {
            if let Some(switch) = switch_of(entry, diagnostics) {
                put(root, target, switch, diagnostics);
            }
        }
        Target::Transform => move_transform(root, &entry, diagnostics),
        Target::Key(_) | Target::Nothing => {}
    }
}

/// The one sentence about every alias.
pub(crate) fn warn(name: &str, instead: &str, place: &Place, diagnostics: &mut Diagnostics) {
    let message = format!("`{name}` is an old name of `{instead}`");
    diagnostics.push(
        Diagnostic::new(Severity::Warning, place, message)
            .with_help(format!("use `{instead}`; it means the same")),
    );
}

/// `http2: { enabled: true }` or `http2: true` as an entry with the value alone.
fn switch_of(entry: Entry, diagnostics: &mut Diagnostics) -> Option<Entry> {
    let NodeKind::Map(inner) = &entry.value.kind else {
        return Some(entry);
    };
    for other in inner.iter().filter(|inner| &*inner.key != "enabled") {
        let message = format!("`{}` has no effect here", shown(&other.key));
        diagnostics.warning(&other.key_place, message);
    }
    let value = entry.value.child("enabled")?.clone();
    Some(Entry { value, ..entry })
}

fn move_transform(root: &mut Node, entry: &Entry, diagnostics: &mut Diagnostics) {
    let NodeKind::Map(inner) = &entry.value.kind else {
        let message = format!(
            "`transform` takes keys and values, not {}",
            entry.value.kind_name()
        );
        diagnostics.error(&entry.value.place(), message);
        return;
    };
    for one in inner.iter().filter(|one| !one.value.is_null()) {
        let known = HEADER_MAPS.iter().find(|(name, ..)| *name == &*one.key);
        if let Some((_, list, action)) = known {
            let edits = edits_of(one, action, diagnostics);
            append(root, &["transform", list], one, edits);
        } else if let Some(key) = TRANSFORM.key(&one.key) {
            put(root, &["transform", key.name], one.clone(), diagnostics);
        } else {
            let message = format!("unknown key `{}` in `transform`", shown(&one.key));
            diagnostics.warning(&one.key_place, message);
        }
    }
}

/// The edits that a map of names to values, or a list of names, stands for.
fn edits_of(entry: &Entry, action: &str, diagnostics: &mut Diagnostics) -> Vec<Node> {
    let edit = |name: &Node, value: Option<&Node>| {
        let field = |key: &str, value: Node| Entry {
            key: Rc::from(key),
            key_place: name.place(),
            value,
        };
        let mut fields = vec![
            field("action", scalar(action, name)),
            field("name", name.clone()),
        ];
        fields.extend(value.map(|value| field("value", value.clone())));
        Node {
            kind: NodeKind::Map(fields.into()),
            ..name.clone()
        }
    };
    match &entry.value.kind {
        NodeKind::Map(fields) if action == "add" => fields
            .iter()
            .map(|field| edit(&key_node(field), Some(&field.value)))
            .collect(),
        NodeKind::List(names) if action == "remove" => {
            names.iter().map(|name| edit(name, None)).collect()
        }
        NodeKind::Scalar { .. } if action == "remove" => vec![edit(&entry.value, None)],
        _ => {
            let takes = match action {
                "add" => "a map of field names to values",
                _ => "a list of field names",
            };
            let message = format!(
                "`{}` takes {takes}, not {}",
                entry.key,
                entry.value.kind_name()
            );
            diagnostics.error(&entry.value.place(), message);
            Vec::new()
        }
    }
}

/// The name of an entry as a value at the same place.
fn key_node(entry: &Entry) -> Node {
    Node {
        kind: NodeKind::Scalar {
            text: Rc::clone(&entry.key),
            plain: false,
        },
        span: (&entry.key_place).into(),
        file: entry.key_place.file.clone(),
    }
}

fn scalar(text: &str, at: &Node) -> Node {
    Node {
        kind: NodeKind::Scalar {
            text: Rc::from(text),
            plain: false,
        },
        ..at.clone()
    }
}

/// Removes a key of the map at `section`, when it is there and says something.
fn take(root: &mut Node, section: &[&str], name: &str) -> Option<Entry> {
    let mut map = &*root;
    for key in section {
        map = map.child(key)?;
    }
    map.child(name).filter(|value| !value.is_null())?;
    let mut taken = None;
    edit_map(root, section, None, &mut |entries| {
        let at = entries.iter().position(|entry| &*entry.key == name);
        taken = at.map(|at| entries.remove(at));
    });
    taken
}

/// Sets a key of another section to the value of `entry`; what is there already clashes.
fn put(root: &mut Node, target: &[&str], entry: Entry, diagnostics: &mut Diagnostics) {
    let (name, section) = target.split_last().expect("a target has a name");
    let place = entry.key_place.clone();
    edit_map(root, section, Some(&place), &mut |entries| {
        let known = entries.iter().position(|one| &*one.key == *name);
        match known.map(|at| (at, &entries[at])) {
            Some((_, known)) if !known.value.is_null() => {
                let message = format!("`{}` sets `{}` a second time", entry.key, target.join("."));
                diagnostics.push(
                    Diagnostic::new(Severity::Error, &entry.key_place, message)
                        .with_related(&known.key_place, "it is set here first")
                        .with_help("remove one of the two"),
                );
            }
            Some((at, _)) => entries[at].value = entry.value.clone(),
            None => entries.push(Entry {
                key: Rc::from(*name),
                ..entry.clone()
            }),
        }
    });
}

/// Adds items to a list of another section.
fn append(root: &mut Node, target: &[&str], entry: &Entry, items: Vec<Node>) {
    let (name, section) = target.split_last().expect("a target has a name");
    edit_map(root, section, Some(&entry.key_place), &mut |entries| {
        let known = entries.iter_mut().find(|one| &*one.key == *name);
        match known.map(|known| &mut known.value.kind) {
            Some(NodeKind::List(list)) => *list = list.iter().chain(&items).cloned().collect(),
            Some(_) => {} // Reported when it is checked.
            None => entries.push(Entry {
                key: Rc::from(*name),
                value: Node {
                    kind: NodeKind::List(items.clone().into()),
                    ..entry.value.clone()
                },
                ..entry.clone()
            }),
        }
    });
}

/// Hands the entries of the map at `section` to `edit`. Sections that are missing are made, by `place`,
/// when it is given, and are in force.
fn edit_map(
    node: &mut Node,
    section: &[&str],
    place: Option<&Place>,
    edit: &mut dyn FnMut(&mut Vec<Entry>),
) {
    edit_map_of(node, &ROOT, section, place, edit);
}

fn edit_map_of(
    node: &mut Node,
    table: &'static Table,
    section: &[&str],
    place: Option<&Place>,
    edit: &mut dyn FnMut(&mut Vec<Entry>),
) {
    let NodeKind::Map(entries) = &node.kind else {
        return; // Reported when it is checked.
    };
    let mut entries = entries.to_vec();
    match section {
        [] => edit(&mut entries),
        [first, rest @ ..] => {
            let Some(Kind::Block(inner)) = table.key(first).map(|key| &key.kind) else {
                return;
            };
            let known = entries.iter().position(|entry| &*entry.key == *first);
            let at = match (known, place) {
                (Some(at), _) => at,
                (None, None) => return,
                (None, Some(place)) => {
                    entries.push(made(first, inner, place));
                    entries.len() - 1
                }
            };
            if let Some(place) = place.filter(|_| entries[at].value.is_null()) {
                entries[at] = made(first, inner, place);
            }
            edit_map_of(&mut entries[at].value, inner, rest, place, edit);
        }
    }
    node.kind = NodeKind::Map(entries.into());
}

/// A section that an alias brings with it.
fn made(name: &str, table: &'static Table, place: &Place) -> Entry {
    let node = |kind| Node {
        kind,
        span: place.into(),
        file: place.file.clone(),
    };
    let entry = |name: &str, value| Entry {
        key: Rc::from(name),
        key_place: place.clone(),
        value,
    };
    let on = NodeKind::Scalar {
        text: Rc::from("true"),
        plain: true,
    };
    let switch = table.is_switchable().then(|| entry("enabled", node(on)));
    let entries: Vec<Entry> = switch.into_iter().collect();
    entry(name, node(NodeKind::Map(entries.into())))
}

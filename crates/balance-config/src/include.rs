//! The file and those that it includes, as one tree. Every file is parsed by itself, with places of its
//! own; then lists are joined and maps are merged, in the order main file, includes sorted by name.
//!
//! A key that two files set is an error with both places: an order of files must never decide silently.
//! Two files may well add to one section (`http`, `timeouts`), to one list, or to the names of one map
//! (`pools`); two definitions of one name are a mistake.

use std::collections::{HashMap, HashSet};
use std::rc::Rc;
use std::sync::Arc;

use crate::alias;
use crate::check::shown;
use crate::diagnostics::{Diagnostic, Diagnostics, Place, Severity};
use crate::environment::Environment;
use crate::parse::{self, FILE_BYTES_MAX};
use crate::sources::Sources;
use crate::table::{Kind, Table};
use crate::tree::{Entry, Node, NodeKind};

/// Files inside one another.
const DEPTH_MAX: usize = 8;
/// All files of a configuration.
const FILES_MAX: usize = 1_000;
/// All bytes of a configuration.
const BYTES_MAX: usize = 16 << 20;

/// What was read.
pub(crate) struct Read {
    pub(crate) tree: Node,
    /// A file could not be read or parsed, and is missing in the tree: names in it must not be called unknown.
    pub(crate) is_partial: bool,
}

/// Reads the file at `path` and all that it includes. `None` when that file itself cannot be used.
pub(crate) fn read(
    sources: &dyn Sources,
    path: &str,
    table: &'static Table,
    diagnostics: &mut Diagnostics,
) -> Option<Read> {
    let file: Arc<str> = Arc::from(path);
    let bytes = match sources.read(path, FILE_BYTES_MAX) {
        Ok(bytes) => bytes,
        Err(error) => {
            let message = format!("cannot read the file: {error}");
            let help = "name another one with `-c FILE`";
            diagnostics.error_help(&Place::whole(&file), message, help);
            return None;
        }
    };
    let mut reader = Reader {
        sources,
        environment: Environment::new(sources),
        diagnostics,
        nodes: 0,
        bytes: 0,
        open: Vec::new(),
        seen: HashMap::from([(normalized(path), Place::whole(&file))]),
        trees: Vec::new(),
        is_partial: false,
    };
    reader.add(&file, &bytes);
    let Reader {
        mut trees,
        is_partial,
        ..
    } = reader;
    let tree = match trees.len() {
        0 => return None,
        1 => trees.remove(0),
        _ => merge_roots(&trees, table, diagnostics),
    };
    Some(Read { tree, is_partial })
}

struct Reader<'a> {
    sources: &'a dyn Sources,
    environment: Environment<'a>,
    diagnostics: &'a mut Diagnostics,
    nodes: usize,
    bytes: usize,
    /// From the main file to the one that is being read.
    open: Vec<String>,
    /// Every file and where it was included.
    seen: HashMap<String, Place>,
    trees: Vec<Node>,
    is_partial: bool,
}

impl Reader<'_> {
    /// Parses a file, keeps its tree and goes on with what it includes.
    fn add(&mut self, file: &Arc<str>, bytes: &[u8]) {
        let parsed = parse::parse(
            file,
            bytes,
            &mut self.environment,
            &mut self.nodes,
            self.diagnostics,
        );
        let Some(tree) = parsed else {
            self.is_partial = true;
            return;
        };
        let tree = alias::rewrite(tree, self.diagnostics);
        let patterns = patterns(&tree);
        self.trees.push(tree);
        self.open.push(normalized(file));
        for pattern in patterns {
            self.include(file, &pattern);
        }
        self.open.pop();
    }

    fn include(&mut self, file: &Arc<str>, pattern: &Pattern) {
        for path in self.paths(file, pattern) {
            if self.admits(&path, pattern) {
                self.include_one(&path, pattern);
            }
        }
    }

    fn include_one(&mut self, path: &str, pattern: &Pattern) {
        match self.sources.read(path, FILE_BYTES_MAX) {
            Ok(bytes) => {
                self.bytes += bytes.len();
                if self.bytes > BYTES_MAX {
                    let message = format!("the files have more than {} MiB", BYTES_MAX >> 20);
                    self.refuse(pattern, message);
                } else {
                    self.add(&Arc::from(path), &bytes);
                }
            }
            Err(error) => self.refuse(pattern, format!("cannot read `{}`: {error}", shown(path))),
        }
    }

    /// The files that a pattern stands for, sorted.
    fn paths(&mut self, file: &str, pattern: &Pattern) -> Vec<String> {
        let text = &*pattern.text;
        let (folder, name) = text.rsplit_once('/').unwrap_or(("", text));
        if name.is_empty() || folder.contains('*') {
            self.refuse(pattern, format!("`{}` names no files", shown(text)));
            return Vec::new();
        }
        let path = beside(file, text);
        if !name.contains('*') {
            return vec![path];
        }
        match self.sources.list(&path) {
            Ok(mut paths) => {
                if paths.is_empty() {
                    let message = format!("no file matches `{}`", shown(text));
                    self.diagnostics.note(&pattern.place, message);
                }
                paths.sort_unstable();
                paths
            }
            Err(error) => {
                self.refuse(pattern, format!("cannot list `{}`: {error}", shown(&path)));
                Vec::new()
            }
        }
    }

    /// Whether a file may be read now: neither inside itself, nor twice, nor beyond the bounds.
    fn admits(&mut self, path: &str, pattern: &Pattern) -> bool {
        let key = normalized(path);
        if self.open.contains(&key) {
            let message = format!("`{}` would include itself", shown(path));
            self.refuse(pattern, message);
            return false;
        }
        if let Some(first) = self.seen.get(&key).cloned() {
            let message = format!("`{}` is included twice", shown(path));
            self.diagnostics.push(
                Diagnostic::new(Severity::Error, &pattern.place, message)
                    .with_related(&first, "it is included here first"),
            );
            return false;
        }
        if self.open.len() >= DEPTH_MAX || self.seen.len() >= FILES_MAX {
            let message = format!("more than {FILES_MAX} files, or {DEPTH_MAX} inside one another");
            self.refuse(pattern, message);
            return false;
        }
        self.seen.insert(key, pattern.place.clone());
        true
    }

    fn refuse(&mut self, pattern: &Pattern, message: String) {
        self.is_partial = true;
        self.diagnostics.error(&pattern.place, message);
    }
}

/// An item of `include`.
struct Pattern {
    text: Rc<str>,
    place: Place,
}

/// What a file includes. Other shapes are reported when the tree is held against the tables.
fn patterns(tree: &Node) -> Vec<Pattern> {
    let of = |node: &Node| match &node.kind {
        NodeKind::Scalar { text, .. } if !node.is_null() => Some(Pattern {
            text: Rc::clone(text),
            place: node.place(),
        }),
        _ => None,
    };
    match tree.child(INCLUDE) {
        Some(Node {
            kind: NodeKind::List(items),
            ..
        }) => items.iter().filter_map(of).collect(),
        Some(node) => of(node).into_iter().collect(),
        None => Vec::new(),
    }
}

/// One map of the roots of all files. A file that is no map stays alone, for the message that says so.
fn merge_roots(trees: &[Node], table: &'static Table, diagnostics: &mut Diagnostics) -> Node {
    let mut maps: Vec<&[Entry]> = Vec::with_capacity(trees.len());
    for tree in trees {
        match &tree.kind {
            NodeKind::Map(entries) => maps.push(entries),
            _ => diagnostics.error(
                &tree.place(),
                format!("the file is {}, and not keys and values", tree.kind_name()),
            ),
        }
    }
    let is_meant_once = |entry: &&Entry| &*entry.key == INCLUDE;
    let first_include = maps.iter().flat_map(|map| map.iter()).find(is_meant_once);
    let mut entries = merge(&maps, Names::OfTable(table), diagnostics);
    // Each file has its own; one of them is kept so that its form is checked.
    entries.retain(|entry| &*entry.key != INCLUDE);
    entries.extend(first_include.cloned());
    Node {
        kind: NodeKind::Map(entries.into()),
        ..trees[0].clone()
    }
}

/// What the keys of maps that are merged are.
#[derive(Clone, Copy)]
enum Names {
    OfTable(&'static Table),
    /// Names that the file gives; each stands for one definition.
    Free,
}

fn merge(maps: &[&[Entry]], names: Names, diagnostics: &mut Diagnostics) -> Vec<Entry> {
    let mut order: Vec<&Rc<str>> = Vec::new();
    let mut by_key: HashMap<&Rc<str>, Vec<&Entry>> = HashMap::new();
    for entry in maps.iter().flat_map(|map| map.iter()) {
        let same = by_key.entry(&entry.key).or_default();
        if same.is_empty() {
            order.push(&entry.key);
        }
        same.push(entry);
    }
    let mut merged = Vec::with_capacity(order.len());
    for key in order {
        let mut same = by_key.remove(key).expect("every key of the order is there");
        // `null` is the default, as if the key were not there.
        if same.len() > 1 && same.iter().any(|entry| !entry.value.is_null()) {
            same.retain(|entry| !entry.value.is_null());
        }
        let kind = match names {
            Names::OfTable(table) => match table.key(key) {
                Some(key) => Some(&key.kind),
                None => {
                    // Unknown keys are reported one by one; those that begin with `x-` are the user's own.
                    merged.extend(same.into_iter().cloned());
                    continue;
                }
            },
            Names::Free => None,
        };
        let is_include = &**key == INCLUDE && matches!(names, Names::OfTable(_));
        merged.push(if same.len() == 1 || is_include {
            same[0].clone()
        } else {
            join(&same, kind, diagnostics)
        });
    }
    merged
}

/// The same key in several files: joined where that has one meaning, else an error.
fn join(same: &[&Entry], kind: Option<&'static Kind>, diagnostics: &mut Diagnostics) -> Entry {
    let first = same[0];
    let lists: Vec<&[Node]> = same.iter().filter_map(|entry| list_of(entry)).collect();
    let maps: Vec<&[Entry]> = same.iter().filter_map(|entry| map_of(entry)).collect();
    let joined = match kind {
        Some(Kind::List(_) | Kind::OneOrMany(_)) if lists.len() == same.len() => {
            NodeKind::List(lists.concat().into())
        }
        Some(Kind::Block(table)) if maps.len() == same.len() => {
            NodeKind::Map(merge(&maps, Names::OfTable(table), diagnostics).into())
        }
        Some(Kind::Map(_)) if maps.len() == same.len() => {
            NodeKind::Map(merge(&maps, Names::Free, diagnostics).into())
        }
        _ => {
            let mut reported = HashSet::new();
            for again in &same[1..] {
                if reported.insert(&again.key_place) {
                    refuse_twice(first, again, diagnostics);
                }
            }
            return first.clone();
        }
    };
    Entry {
        value: Node {
            kind: joined,
            ..first.value.clone()
        },
        ..first.clone()
    }
}

fn refuse_twice(first: &Entry, again: &Entry, diagnostics: &mut Diagnostics) {
    diagnostics.push(
        Diagnostic::new(
            Severity::Error,
            &again.key_place,
            format!("`{}` is set in two files", shown(&again.key)),
        )
        .with_related(&first.key_place, "it is set here first")
        .with_help("remove one of the two"),
    );
}

fn list_of<'e>(entry: &&'e Entry) -> Option<&'e [Node]> {
    match &entry.value.kind {
        NodeKind::List(items) => Some(items),
        _ => None,
    }
}

fn map_of<'e>(entry: &&'e Entry) -> Option<&'e [Entry]> {
    match &entry.value.kind {
        NodeKind::Map(entries) => Some(entries),
        _ => None,
    }
}

/// A path that is written in `file`: relative to its folder.
fn beside(file: &str, path: &str) -> String {
    match file.rsplit_once('/') {
        Some((folder, _)) if !path.starts_with('/') => format!("{folder}/{path}"),
        _ => path.to_owned(),
    }
}

/// The same for all spellings of a path, as far as can be told without asking the file system: a cycle
/// through links ends at [`DEPTH_MAX`].
fn normalized(path: &str) -> String {
    let mut parts: Vec<&str> = Vec::new();
    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." if parts.last().is_some_and(|last| *last != "..") => {
                parts.pop();
            }
            _ => parts.push(part),
        }
    }
    let root = if path.starts_with('/') { "/" } else { "" };
    format!("{root}{}", parts.join("/"))
}

/// The key that names other files.
pub(crate) const INCLUDE: &str = "include";

#[cfg(test)]
mod tests {
    use super::{beside, normalized};

    #[test]
    fn paths_are_relative_to_the_file_that_names_them() {
        assert_eq!(beside("/etc/b.yaml", "c.d/*.yaml"), "/etc/c.d/*.yaml");
        assert_eq!(beside("b.yaml", "c.yaml"), "c.yaml");
        assert_eq!(beside("/etc/b.yaml", "/c.yaml"), "/c.yaml");
        assert_eq!(normalized("./a/../b//c.yaml"), "b/c.yaml");
        assert_eq!(normalized("../a"), "../a");
        assert_eq!(normalized("/a/./b"), "/a/b");
    }
}

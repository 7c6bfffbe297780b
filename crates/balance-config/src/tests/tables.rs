//! The tables themselves: what the reference and the schema will be written from must be true.

use std::collections::{BTreeSet, HashSet};
use std::sync::Arc;

use crate::check::Checker;
use crate::diagnostics::Diagnostics;
use crate::environment::Environment;
use crate::parse::parse;
use crate::{Diagnostic, Key, Kind, MemorySources, Table, reference, root_table, scalar};

#[test]
fn every_row_holds_together() {
    let mut seen = HashSet::new();
    check_table(root_table(), &mut seen);
    assert!(seen.len() > 25, "{}", seen.len());
}

fn check_table(table: &'static Table, seen: &mut HashSet<*const Table>) {
    if !seen.insert(table) {
        return;
    }
    assert!(table.doc.ends_with('.'), "{}", table.name);
    let mut names = HashSet::new();
    for key in table.keys {
        assert!(names.insert(key.name), "{}.{} twice", table.name, key.name);
        assert!(!key.doc.is_empty(), "{}.{}", table.name, key.name);
        assert!(
            key.required || key.doc.ends_with('.'),
            "{}.{}",
            table.name,
            key.name
        );
        check_default(table, key);
        check_kind(&key.kind, seen);
    }
    if let Some(main) = table.main {
        assert!(names.contains(main), "{}: {main}", table.name);
    }
}

/// Every row of a single value shows one, and it is fine.
#[test]
fn every_example_is_valid() {
    let mut shown = 0;
    for table in reference::tables() {
        for key in table.keys {
            let Some(example) = reference::example(key) else {
                let is_section = reference::is_section(&key.kind);
                assert!(is_section, "{}.{} has no example", table.name, key.name);
                continue;
            };
            shown += 1;
            let errors = errors_of_value(key, &example);
            assert!(
                errors.is_empty(),
                "{}.{}: {example}\n{errors:#?}",
                table.name,
                key.name
            );
        }
    }
    assert!(shown > 150, "{shown}");
}

fn errors_of_value(key: &'static Key, yaml: &str) -> Vec<Diagnostic> {
    let mut diagnostics = Diagnostics::default();
    let sources = MemorySources::default();
    let mut environment = Environment::new(&sources);
    let file = Arc::from("example");
    let bytes = yaml.as_bytes();
    let node = parse(&file, bytes, &mut environment, &mut 0, &mut diagnostics);
    if let Some(node) = node {
        let mut checker = Checker {
            diagnostics: &mut diagnostics,
            is_strict: true,
            is_later: true,
        };
        checker.key_value(&node, key, &node.place());
    }
    diagnostics.into_sorted()
}

#[test]
fn names_of_tables_are_unique() {
    let tables = reference::tables();
    let names: HashSet<&str> = tables.iter().map(|table| table.name).collect();
    assert_eq!(names.len(), tables.len());
    // Every placeholder of the prose was replaced.
    assert!(!reference().contains("{{"));
}

/// Neither more nor less than what the tables say.
#[test]
fn the_page_names_what_is_not_supported_yet() {
    let page = reference();
    let (_, rest) = page.split_once("## Known and not supported yet").unwrap();
    let (list, sections) = rest.split_once("\n### ").unwrap();
    let said: BTreeSet<&str> = list
        .split('`')
        .skip(1)
        .step_by(2)
        .map(|name| name.rsplit(['.', ' ']).next().unwrap())
        .collect();
    let mut known = BTreeSet::new();
    for key in reference::tables().iter().flat_map(|table| table.keys) {
        if key.later.is_some() {
            known.insert(key.name);
        }
        if let Kind::Choice(_, later) = key.kind {
            known.extend(later);
        }
    }
    assert_eq!(said, known);
    // Sections of what is supported stand where they belong.
    for section in sections.split("\n### ") {
        let name = section
            .trim_start_matches("Section ")
            .lines()
            .next()
            .unwrap();
        assert!(known.contains(name), "{name} is not one of these");
    }
}

fn check_kind(kind: &'static Kind, seen: &mut HashSet<*const Table>) {
    match kind {
        Kind::Block(table) => check_table(table, seen),
        Kind::List(inner) | Kind::OneOrMany(inner) | Kind::Map(inner) => check_kind(inner, seen),
        _ => {}
    }
}

/// A default that begins like a value is one; in words ("one per core") it has a space.
fn check_default(table: &Table, key: &Key) {
    let default = key.default;
    if default.is_empty() || default.contains(' ') {
        return;
    }
    let fits = match &key.kind {
        Kind::Bool => scalar::parse_bool(default).is_some(),
        Kind::Integer { min, max } => {
            scalar::parse_integer(default).is_some_and(|number| (*min..=*max).contains(&number))
        }
        Kind::Size { min, max } => {
            scalar::parse_size(default).is_ok_and(|bytes| (*min..=*max).contains(&bytes))
        }
        Kind::Duration { .. } => scalar::parse_duration(default).is_ok(),
        Kind::Share => scalar::parse_share(default).is_some(),
        Kind::Choice(now, _) => now.contains(&default),
        _ => true,
    };
    assert!(fits, "{}.{}: {default}", table.name, key.name);
}

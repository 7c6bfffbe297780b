//! The tables themselves: what the reference and the schema will be written from must be true.

use std::collections::HashSet;

use crate::scalar;
use crate::{Key, Kind, Table, root_table};

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

//! The page that lists every key, docs/configuration.md: the prose of `reference.md` with tables written
//! from the rows that the loader checks against.

use std::collections::HashSet;
use std::fmt::Write;

use crate::alias::{self, Target};
use crate::sections::root::ROOT;
use crate::table::{Key, Kind, Table};

/// The page, in Markdown.
pub fn reference() -> String {
    let tables = tables();
    let mut page = String::with_capacity(64 * 1024);
    let mut placed: HashSet<&str> = HashSet::new();
    for line in PROSE.lines() {
        let command = line
            .strip_prefix("{{")
            .and_then(|rest| rest.strip_suffix("}}"));
        match command.map(|command| command.split_once(' ').unwrap_or((command, ""))) {
            Some(("table", name)) => {
                let table = tables.iter().find(|table| table.name == name);
                let table = table.expect("the prose names tables that exist; a test reads it");
                placed.insert(table.name);
                write_table(&mut page, table);
            }
            Some(("rest", _)) => {
                for table in tables.iter().filter(|table| !placed.contains(table.name)) {
                    let _ = write!(page, "### Section {}\n\n{}\n\n", table.name, table.doc);
                    write_table(&mut page, table);
                    page.push('\n');
                }
                page.pop();
            }
            Some(("aliases", _)) => write_aliases(&mut page, &tables),
            _ => {
                page.push_str(line);
                page.push('\n');
            }
        }
    }
    page
}

/// All tables, each once, in the order in which they are reached.
pub(crate) fn tables() -> Vec<&'static Table> {
    let mut found: Vec<&'static Table> = vec![&ROOT];
    let mut at = 0;
    while let Some(table) = found.get(at).copied() {
        at += 1;
        for inner in table.keys.iter().filter_map(|key| inner_table(&key.kind)) {
            if !found.iter().any(|known| std::ptr::eq(*known, inner)) {
                found.push(inner);
            }
        }
    }
    found
}

/// Whether a value is shown as a section of its own.
#[cfg(test)]
pub(crate) fn is_section(kind: &'static Kind) -> bool {
    inner_table(kind).is_some()
}

fn inner_table(kind: &'static Kind) -> Option<&'static Table> {
    match kind {
        Kind::Block(table) => Some(table),
        Kind::List(inner) | Kind::OneOrMany(inner) | Kind::Map(inner) => inner_table(inner),
        _ => None,
    }
}

fn write_table(page: &mut String, table: &Table) {
    page.push_str(
        "| key | type and limits | default | example | meaning |\n|---|---|---|---|---|\n",
    );
    for key in table.keys {
        let default = if key.required {
            "required"
        } else {
            key.default
        };
        let meaning = match key.later {
            Some(_) => format!("*Not supported yet.* {}", key.doc),
            None => key.doc.to_owned(),
        };
        let example = match example(key) {
            Some(example) => format!("`{}`", example.replace('|', "\\|")),
            None => String::new(),
        };
        let (name, kind) = (key.name, kind_name(&key.kind));
        let _ = writeln!(
            page,
            "| `{name}` | {kind} | {default} | {example} | {meaning} |"
        );
    }
    if let Some(main) = table.main {
        let _ = writeln!(page, "\nA single value in its place sets `{main}`.");
    }
}

fn write_aliases(page: &mut String, tables: &[&'static Table]) {
    page.push_str("| section | old name | use |\n|---|---|---|\n");
    for table in tables {
        for alias in alias::aliases_of(table) {
            let instead = match alias.target {
                Target::Nothing => "nothing: it has no effect here".to_owned(),
                _ => format!("`{}`", alias.instead()),
            };
            let _ = writeln!(page, "| {} | `{}` | {instead} |", table.name, alias.name);
        }
    }
}

/// A value as one would write it: that of the row, else its default, else one of its type. `None` for a
/// section, which is shown by itself.
pub(crate) fn example(key: &Key) -> Option<String> {
    if !key.example.is_empty() {
        return Some(key.example.to_owned());
    }
    let is_value = !key.default.is_empty() && !key.default.contains(' ');
    let is_section = matches!(key.kind, Kind::Block(_));
    if is_value && !is_section {
        return Some(quoted(key.default));
    }
    let text = match key.kind {
        Kind::Bool | Kind::BoolOrText => "true".to_owned(),
        Kind::Integer { min, .. } => min.max(1).to_string(),
        Kind::Number { min, .. } => min.max(1.0).to_string(),
        Kind::Share => "30%".to_owned(),
        Kind::Size { .. } => "1MiB".to_owned(),
        Kind::Duration { .. } => "30s".to_owned(),
        Kind::Choice(now, later) => (*now.first().or(later.first())?).to_owned(),
        Kind::ListenAddress | Kind::OneOrMany(Kind::ListenAddress) => "\":8080\"".to_owned(),
        Kind::BackendAddress => "\"10.0.1.10:8080\"".to_owned(),
        Kind::Network | Kind::List(Kind::Network) | Kind::OneOrMany(Kind::Network) => {
            "[10.0.0.0/8, \"::1\"]".to_owned()
        }
        Kind::UrlPath => "/v1/".to_owned(),
        _ => return None,
    };
    Some(text)
}

/// Quoted where YAML would read something else.
fn quoted(value: &str) -> String {
    let is_plain = value
        .starts_with(|letter: char| letter.is_ascii_alphanumeric() || letter == '/')
        && !value.contains(": ");
    if is_plain || value.starts_with('[') {
        value.to_owned()
    } else {
        format!("\"{value}\"")
    }
}

fn kind_name(kind: &Kind) -> String {
    match kind {
        Kind::Bool => "boolean".to_owned(),
        Kind::Text => "text".to_owned(),
        Kind::Regex => "regular expression".to_owned(),
        Kind::Integer { min, max } => format!("integer, {}", range(*min as f64, *max as f64)),
        Kind::Number { min, max } => format!("number, {}", range(*min, *max)),
        Kind::Share => "share, 0 to 1 or 0% to 100%".to_owned(),
        Kind::Size { min, max } => format!("size, {}", size_range(*min, *max)),
        Kind::Duration { min_ms: 0 } => "duration".to_owned(),
        Kind::Duration { .. } => "duration, more than 0".to_owned(),
        Kind::Choice(now, later) => choice(now, later),
        Kind::ListenAddress => "address to listen on".to_owned(),
        Kind::BackendAddress => "address of a backend".to_owned(),
        Kind::Network => "IP address or CIDR block".to_owned(),
        Kind::HashKey => "`source-ip` or `header:NAME`".to_owned(),
        Kind::Host => "host pattern".to_owned(),
        Kind::UrlPath => "path".to_owned(),
        Kind::Token => "token".to_owned(),
        Kind::FieldValue => "field value".to_owned(),
        Kind::BoolOrText => "boolean or text".to_owned(),
        Kind::List(inner) => format!("list of {}", kind_name(inner)),
        Kind::OneOrMany(inner) => format!("{}, or a list", kind_name(inner)),
        Kind::Map(inner) => format!("map of names to {}", kind_name(inner)),
        Kind::Block(table) => format!("section {}", table.name),
    }
}

fn choice(now: &[&str], later: &[&str]) -> String {
    let quoted = |words: &[&str]| {
        let words: Vec<String> = words.iter().map(|word| format!("`{word}`")).collect();
        words.join(", ")
    };
    match (now, later) {
        (now, []) => quoted(now),
        ([], later) => format!("later: {}", quoted(later)),
        (now, later) => format!("{} (later: {})", quoted(now), quoted(later)),
    }
}

fn range(min: f64, max: f64) -> String {
    if max >= f64::from(u32::MAX) / 10.0 {
        format!("{min} or more")
    } else {
        format!("{min} to {max}")
    }
}

fn size_range(min: u64, max: u64) -> String {
    let shown = |bytes: u64| match bytes {
        bytes if bytes >= 1 << 30 && bytes.is_multiple_of(1 << 30) => {
            format!("{} GiB", bytes >> 30)
        }
        bytes if bytes >= 1 << 20 && bytes.is_multiple_of(1 << 20) => {
            format!("{} MiB", bytes >> 20)
        }
        bytes if bytes >= 1 << 10 && bytes.is_multiple_of(1 << 10) => {
            format!("{} KiB", bytes >> 10)
        }
        bytes => format!("{bytes} B"),
    };
    match (min, max) {
        (0, u64::MAX) => "any".to_owned(),
        (0, max) => format!("at most {}", shown(max)),
        (min, max) => format!("{} to {}", shown(min), shown(max)),
    }
}

const PROSE: &str = include_str!("reference.md");

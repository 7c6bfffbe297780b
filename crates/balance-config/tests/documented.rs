//! The documents keep up with the loader: docs/configuration.md has a row for every key, with its type,
//! default and sentence as the tables have them, every YAML block of the documents loads, and every link
//! leads somewhere.
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a document that cannot be read has no meaning for a test"
)]

use std::collections::HashSet;
use std::fs;
use std::path::{Path, PathBuf};

use balance_config::{Key, Kind, MemorySources, Severity, Table, load, root_table};

#[test]
fn every_key_has_its_row_in_the_reference() {
    let reference = read(&repository().join("docs/configuration.md"));
    let mut missing = String::new();
    let mut seen = HashSet::new();
    check_table(root_table(), &reference, &mut seen, &mut missing);
    assert!(
        missing.is_empty(),
        "docs/configuration.md lacks this, as the tables have it:\n{missing}"
    );
    assert!(seen.len() > 20, "{} tables", seen.len());
}

#[test]
fn the_rows_of_the_reference_are_keys() {
    let reference = read(&repository().join("docs/configuration.md"));
    let mut rows = Vec::new();
    let mut seen = HashSet::new();
    collect_rows(root_table(), &mut seen, &mut rows);
    let shown = reference
        .lines()
        .filter(|line| line.starts_with("| `") && line.matches(" | ").count() == 3);
    for line in shown {
        assert!(rows.iter().any(|row| row == line), "no such key: {line}");
    }
}

#[test]
fn every_yaml_block_of_the_documents_loads() {
    let mut blocks = 0;
    for document in documents() {
        for (line, text) in yaml_blocks(&read(&document)) {
            blocks += 1;
            let name = format!("{}:{line}", document.display());
            let loaded = load(&MemorySources::file(&name, text), &name);
            let wrong: Vec<String> = loaded
                .diagnostics
                .iter()
                .filter(|one| one.severity == Severity::Error || one.message.contains("unknown"))
                .map(ToString::to_string)
                .collect();
            assert!(loaded.config.is_some() && wrong.is_empty(), "{wrong:#?}");
        }
    }
    assert!(blocks >= 8, "only {blocks} blocks were found");
}

#[test]
fn every_link_of_the_documents_leads_to_a_file() {
    for document in documents() {
        let folder = document.parent().unwrap();
        let text = read(&document);
        for rest in text.split("](").skip(1) {
            let target = rest.split(')').next().unwrap_or_default();
            let path = target.split('#').next().unwrap_or_default();
            let is_elsewhere = target.contains("://");
            assert!(
                is_elsewhere || path.is_empty() || folder.join(path).exists(),
                "{}: {target}",
                document.display()
            );
        }
    }
}

/// Collects the rows that `reference` does not have, under the heading that they belong to.
fn check_table(
    table: &'static Table,
    reference: &str,
    seen: &mut HashSet<&'static str>,
    missing: &mut String,
) {
    if !seen.insert(table.name) {
        return;
    }
    let lacking: Vec<String> = table
        .keys
        .iter()
        .map(row)
        .filter(|row| !reference.lines().any(|line| line == row))
        .collect();
    if !lacking.is_empty() {
        let main = table.main.unwrap_or("none");
        missing.push_str(&format!(
            "\n## {} (main key: {main})\n{}\n\n",
            table.name, table.doc
        ));
        missing.push_str("| key | type | default | meaning |\n|---|---|---|---|\n");
        missing.push_str(&lacking.join("\n"));
        missing.push('\n');
    }
    for inner in tables_in_force(table) {
        check_table(inner, reference, seen, missing);
    }
}

fn collect_rows(table: &'static Table, seen: &mut HashSet<&'static str>, rows: &mut Vec<String>) {
    if seen.insert(table.name) {
        rows.extend(table.keys.iter().map(row));
        for inner in tables_in_force(table) {
            collect_rows(inner, seen, rows);
        }
    }
}

/// The sections below a section. What cannot be switched on yet has its row above and no section.
fn tables_in_force(table: &'static Table) -> impl Iterator<Item = &'static Table> {
    let keys = table.keys.iter().filter(|key| key.later.is_none());
    keys.filter_map(|key| inner_table(&key.kind))
}

fn inner_table(kind: &'static Kind) -> Option<&'static Table> {
    match kind {
        Kind::Block(table) => Some(table),
        Kind::List(inner) | Kind::OneOrMany(inner) | Kind::Map(inner) => inner_table(inner),
        _ => None,
    }
}

/// A key as the reference shows it.
fn row(key: &Key) -> String {
    let default = match (key.required, key.default) {
        (true, _) => "required".to_owned(),
        (false, default) => default.to_owned(),
    };
    let meaning = match key.later {
        Some(_) => format!("*Not supported yet.* {}", key.doc),
        None => key.doc.to_owned(),
    };
    let (name, kind) = (key.name, kind_name(&key.kind));
    format!("| `{name}` | {kind} | {default} | {meaning} |")
}

fn kind_name(kind: &Kind) -> String {
    match kind {
        Kind::Bool => "boolean".to_owned(),
        Kind::Text => "text".to_owned(),
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
        Kind::HeaderMatch => "exact value".to_owned(),
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
        bytes if bytes >= 1 << 30 && bytes % (1 << 30) == 0 => format!("{} GiB", bytes >> 30),
        bytes if bytes >= 1 << 20 && bytes % (1 << 20) == 0 => format!("{} MiB", bytes >> 20),
        bytes if bytes >= 1 << 10 && bytes % (1 << 10) == 0 => format!("{} KiB", bytes >> 10),
        bytes => format!("{bytes} B"),
    };
    match (min, max) {
        (0, u64::MAX) => "any".to_owned(),
        (0, max) => format!("at most {}", shown(max)),
        (min, max) => format!("{} to {}", shown(min), shown(max)),
    }
}

/// The text between ```` ```yaml ```` and ```` ``` ````, with the line it begins on.
fn yaml_blocks(text: &str) -> Vec<(usize, String)> {
    let mut blocks = Vec::new();
    let mut open: Option<(usize, String)> = None;
    for (index, line) in text.lines().enumerate() {
        match &mut open {
            Some(_) if line.trim() == "```" => blocks.extend(open.take()),
            Some((_, block)) => {
                block.push_str(line);
                block.push('\n');
            }
            None if line.trim() == "```yaml" => open = Some((index + 2, String::new())),
            None => {}
        }
    }
    assert!(open.is_none(), "a block is not closed");
    blocks
}

fn documents() -> Vec<PathBuf> {
    let root = repository();
    let mut documents: Vec<PathBuf> = markdown_files(&root).collect();
    documents.extend(markdown_files(&root.join("docs")));
    assert!(documents.len() >= 8, "{documents:?}");
    documents
}

fn markdown_files(folder: &Path) -> impl Iterator<Item = PathBuf> {
    let entries = fs::read_dir(folder).unwrap();
    entries
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|ending| ending == "md"))
}

fn read(path: &Path) -> String {
    fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

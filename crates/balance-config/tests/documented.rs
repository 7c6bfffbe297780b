//! The documents keep up with the loader: docs/configuration.md is what is written from the tables, every
//! YAML block of the documents loads, and every link leads somewhere.
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a document that cannot be read has no meaning for a test"
)]

use std::fs;
use std::path::{Path, PathBuf};

use balance_config::{MemorySources, Severity, load, reference};

#[test]
fn the_reference_is_the_generated_one() {
    let path = repository().join("docs/configuration.md");
    let (shown, generated) = (read(&path), reference());
    let differs = shown
        .lines()
        .zip(generated.lines())
        .position(|(shown, generated)| shown != generated);
    let at = differs.unwrap_or(shown.lines().count().min(generated.lines().count()));
    assert!(
        shown == generated,
        "docs/configuration.md is not what `balance schema --reference` writes; the first difference is in line {}:\n{}\n{}",
        at + 1,
        shown.lines().nth(at).unwrap_or_default(),
        generated.lines().nth(at).unwrap_or_default(),
    );
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

//! The configuration loader: every file is either usable or has an error with its place, and the same
//! file always gives the same.

use balance_config::{Diagnostic, MemorySources, Place, Severity, load};

/// The input is the main file; after a line `#FILE` comes the one that it may include.
pub fn check(input: &[u8]) {
    let (main, included) = split(input);
    let sources = MemorySources::file(MAIN, main)
        .with_file(INCLUDED, included)
        .with_env("A", "1")
        .with_env("B", "127.0.0.1:80");
    let loaded = load(&sources, MAIN);
    let has_error = loaded
        .diagnostics
        .iter()
        .any(|diagnostic| diagnostic.severity == Severity::Error);
    assert_eq!(loaded.config.is_none(), has_error);
    for diagnostic in &loaded.diagnostics {
        check_diagnostic(diagnostic, main, included);
    }
    assert!(
        loaded.diagnostics.is_sorted_by(|a, b| a.place <= b.place),
        "in the order of their places"
    );

    let again = load(&sources, MAIN);
    assert_eq!(again.diagnostics, loaded.diagnostics);
    assert_eq!(
        format!("{:?}", again.config),
        format!("{:?}", loaded.config)
    );
}

/// The configurations that the repository has, whole and cut into sections, and some that include the
/// other file.
pub fn seeds() -> Vec<Vec<u8>> {
    let mut seeds: Vec<Vec<u8>> = INCLUDING
        .iter()
        .map(|text| text.as_bytes().to_vec())
        .collect();
    for folder in ["config", "crates/balance-config/src/tests"] {
        for text in configurations(folder) {
            let mut section = String::new();
            for line in text.lines() {
                let is_top = !line.starts_with([' ', '#', '-']) && !line.is_empty();
                if is_top && !section.is_empty() {
                    seeds.push(std::mem::take(&mut section).into_bytes());
                }
                section.push_str(line);
                section.push('\n');
            }
            seeds.push(section.into_bytes());
            seeds.push(text.into_bytes());
        }
    }
    seeds
}

fn configurations(folder: &str) -> Vec<String> {
    let folder = format!("{}/../{folder}", env!("CARGO_MANIFEST_DIR"));
    let mut paths: Vec<_> = std::fs::read_dir(folder)
        .expect("a folder of the repository")
        .filter_map(|entry| Some(entry.ok()?.path()))
        .filter(|path| {
            path.extension()
                .is_some_and(|extension| extension == "yaml")
        })
        .collect();
    paths.sort();
    let read = |path| std::fs::read_to_string(path).expect("a file of the repository");
    paths.into_iter().map(read).collect()
}

fn split(input: &[u8]) -> (&[u8], &[u8]) {
    match input.windows(MARK.len()).position(|window| window == MARK) {
        Some(at) => (&input[..at], &input[at + MARK.len()..]),
        None => (input, b""),
    }
}

fn check_diagnostic(diagnostic: &Diagnostic, main: &[u8], included: &[u8]) {
    assert!(!diagnostic.message.is_empty());
    let related = diagnostic.related.iter().map(|(place, _)| place);
    for place in related.chain([&diagnostic.place]) {
        match &*place.file {
            MAIN => check_place(place, main),
            INCLUDED => check_place(place, included),
            _ => {}
        }
    }
}

/// A place is inside its file, so that it can be shown.
fn check_place(place: &Place, file: &[u8]) {
    let start = (place.line, place.column);
    let end = (place.end_line, place.end_column);
    assert!(start <= end, "{place:?}");
    // Every line break that YAML 1.1 or 1.2 knows.
    let breaks = file
        .iter()
        .filter(|byte| matches!(byte, b'\n' | b'\r' | 0x85 | 0xa8 | 0xa9));
    assert!(place.end_line as usize <= breaks.count() + 2, "{place:?}");
    assert!(place.end_column as usize <= file.len() + 2, "{place:?}");
}

const MAIN: &str = "main.yaml";
const INCLUDED: &str = "included.yaml";
const MARK: &[u8] = b"\n#FILE\n";
const INCLUDING: &[&str] = &[
    "include: included.yaml\npools:\n  a: { backends: [\"127.0.0.1:1\"] }\n#FILE\nroutes:\n  - { match: { prefix: /a }, pool: a }\n",
    "include: \"*.yaml\"\nlisten: \":1\"\n#FILE\nlisten: \":2\"\nbackends: [a:1]\n",
    "include: [included.yaml, main.yaml]\n#FILE\ninclude: main.yaml\n",
    "x: &a { address: \"${B}\" }\nbackends: [*a, { <<: *a, weight: ${A} }]\n#FILE\n- 1\n",
];

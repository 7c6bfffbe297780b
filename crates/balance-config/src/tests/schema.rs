//! The schema and the checks agree: what the tables refuse, the schema refuses, and what is fine or wrong
//! only in what several keys say together, it accepts. A real validator decides (`validate.py`, with the
//! package jsonschema).

use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::rc::Rc;
use std::sync::Arc;

use serde_json::{Map, Value, json};

use super::mistakes;
use crate::diagnostics::Diagnostics;
use crate::environment::Environment;
use crate::parse::parse;
use crate::tree::{Node, NodeKind};
use crate::{MemorySources, Severity, Sources, alias, check_tree, scalar, schema};

/// Sources in which every variable is set, to its own reference: a text as an editor sees it.
struct Unexpanded;

impl Sources for Unexpanded {
    fn read(&self, _: &str, _: usize) -> io::Result<Vec<u8>> {
        Err(io::ErrorKind::NotFound.into())
    }

    fn env(&self, name: &str) -> Option<String> {
        Some(format!("${{{name}}}"))
    }

    fn list(&self, _: &str) -> io::Result<Vec<String>> {
        Ok(Vec::new())
    }
}

/// Reads a text and says whether the tables refuse it. `None` when it is not YAML, or no tree at all.
fn judge(yaml: &str) -> Option<(Value, bool)> {
    // Before old names are moved and variables are expanded.
    let seen = to_json(&tree(yaml, &Unexpanded)?);
    let mut diagnostics = Diagnostics::default();
    let tree = alias::rewrite(tree(yaml, &MemorySources::default())?, &mut diagnostics);
    check_tree(&tree, &mut diagnostics);
    let unknown = |text: &str| text.contains("unknown key");
    let is_refused = diagnostics
        .into_sorted()
        .iter()
        .any(|one| one.severity == Severity::Error || unknown(&one.message));
    Some((seen, is_refused))
}

fn tree(yaml: &str, sources: &dyn Sources) -> Option<Node> {
    let mut diagnostics = Diagnostics::default();
    let file: Arc<str> = Arc::from("b.yaml");
    let mut environment = Environment::new(sources);
    let tree = parse(
        &file,
        yaml.as_bytes(),
        &mut environment,
        &mut 0,
        &mut diagnostics,
    )?;
    (!diagnostics.has_errors()).then_some(tree)
}

/// As the core schema of YAML 1.2 types it (§10.3.2).
fn to_json(node: &Node) -> Value {
    match &node.kind {
        NodeKind::List(items) => items.iter().map(to_json).collect(),
        NodeKind::Map(entries) => {
            let pairs = entries.iter();
            let pairs = pairs.map(|entry| ((*entry.key).to_owned(), to_json(&entry.value)));
            Value::Object(pairs.collect::<Map<String, Value>>())
        }
        NodeKind::Scalar { .. } if node.is_null() => Value::Null,
        NodeKind::Scalar { text, plain } => {
            if *plain { typed(text) } else { None }.unwrap_or_else(|| json!(**text))
        }
    }
}

fn typed(text: &Rc<str>) -> Option<Value> {
    match &**text {
        "true" | "True" | "TRUE" => Some(json!(true)),
        "false" | "False" | "FALSE" => Some(json!(false)),
        text => match scalar::parse_integer(text) {
            Some(number) => Some(json!(number)),
            None => scalar::parse_number(text).map(|number| json!(number)),
        },
    }
}

#[test]
fn the_schema_accepts_and_refuses_what_the_tables_do() {
    let mut samples: Vec<(String, String)> = good_files();
    let of_tests = mistakes::samples().into_iter();
    samples.extend(of_tests.map(|yaml| ("a sample of the tests".to_owned(), yaml)));
    samples.extend(OLD_NAMES.map(|yaml| ("old names".to_owned(), yaml.to_owned())));
    let judged: Vec<(String, Value, bool)> = samples
        .into_iter()
        .filter_map(|(name, yaml)| {
            let (value, is_refused) = judge(&yaml)?;
            Some((format!("{name}:\n{yaml}"), value, is_refused))
        })
        .collect();
    let refused = judged.iter().filter(|(_, _, is_refused)| *is_refused);
    let counts = (refused.count(), judged.len());
    assert!(counts.0 > 60 && counts.1 > 130, "{counts:?}");
    let Some(verdicts) = validate(&judged) else {
        return;
    };
    let differences: Vec<String> = judged
        .iter()
        .zip(verdicts)
        .filter(|((_, _, is_refused), verdict)| *is_refused == verdict.is_empty())
        .map(|((name, ..), verdict)| format!("{name}\nthe schema says: {verdict:?}\n"))
        .collect();
    assert!(differences.is_empty(), "{}", differences.join("\n"));
}

const OLD_NAMES: [&str; 4] = [
    "security: { max_connections_per_ip: 7, max_request_size: 1MB, max_header_size: 8KiB }",
    "security: { max_header_size: 8XB }",
    "http: { http2: { enabled: false }, websocket: true, transform: { add_request_headers: { A: b }, remove_request_headers: C } }",
    "performance: { goroutine_pool: { size: 5 } }\nretry: { enabled: false, backoff_base: 1s }",
];

/// What the validator has against each document: nothing, or a sentence. `None` when it is not there.
fn validate(judged: &[(String, Value, bool)]) -> Option<Vec<String>> {
    let documents: Vec<&Value> = judged.iter().map(|(_, value, _)| value).collect();
    let input = json!({ "schema": schema(), "documents": documents });
    let folder = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut validator = Command::new("python3")
        .arg(folder.join("tests/validate.py"))
        .env("PYTHONPATH", peers().join("python"))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .ok()?;
    let mut stdin = validator.stdin.take().unwrap();
    let writer = std::thread::spawn(move || stdin.write_all(input.to_string().as_bytes()));
    let output = validator.wait_with_output().unwrap();
    let _ = writer.join();
    match output.status.code() {
        Some(0) => Some(serde_json::from_slice(&output.stdout).unwrap()),
        Some(3) if std::env::var_os("CI").is_none() => None,
        code => panic!("validate.py ended with {code:?}; .ci/install.sh installs jsonschema"),
    }
}

/// Where `.ci/install.sh` puts what tests need.
fn peers() -> PathBuf {
    let target = std::env::var_os("CARGO_TARGET_DIR").map(PathBuf::from);
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    root.join(target.unwrap_or_else(|| PathBuf::from("target")))
        .join("test-peers")
}

/// Every example and every YAML block of the documents.
fn good_files() -> Vec<(String, String)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let mut files = Vec::new();
    for folder in ["config", "docs", "."] {
        for entry in std::fs::read_dir(root.join(folder)).unwrap() {
            let path = entry.unwrap().path();
            let name = path.display().to_string();
            match path.extension().and_then(|ending| ending.to_str()) {
                Some("yaml") if folder == "config" => {
                    files.push((name, std::fs::read_to_string(&path).unwrap()));
                }
                Some("md") => {
                    let text = std::fs::read_to_string(&path).unwrap();
                    let blocks = text.split("```yaml\n").skip(1);
                    let blocks = blocks.filter_map(|rest| rest.split("```").next());
                    files.extend(blocks.map(|block| (name.clone(), block.to_owned())));
                }
                _ => {}
            }
        }
    }
    for name in ["original.yaml", "full.yaml"] {
        let path = Path::new(env!("CARGO_MANIFEST_DIR"))
            .join("src/tests")
            .join(name);
        files.push((name.to_owned(), std::fs::read_to_string(path).unwrap()));
    }
    assert!(files.len() > 12, "{}", files.len());
    for (name, yaml) in &files {
        assert!(
            judge(yaml).is_some_and(|(_, is_refused)| !is_refused),
            "{name}:\n{yaml}"
        );
    }
    files
}

//! docs/causes.md has a row for every cause, with its status.

use std::fs;
use std::path::Path;

use balance_core::Cause;

#[test]
fn every_cause_is_explained_with_its_status() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/causes.md");
    let text = fs::read_to_string(path).unwrap();
    let rows: Vec<&str> = text
        .lines()
        .filter(|line| line.starts_with("| `"))
        .collect();
    for cause in Cause::ALL {
        let status = match cause.status() {
            0 => "–".to_owned(),
            status => status.to_string(),
        };
        let begin = format!("| `{}` | {status} | ", cause.name());
        let found = rows.iter().filter(|row| row.starts_with(&begin)).count();
        assert_eq!(found, 1, "{begin}");
    }
    assert_eq!(rows.len(), Cause::COUNT, "a row without a cause");
}

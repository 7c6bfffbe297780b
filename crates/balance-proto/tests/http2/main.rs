//! The HTTP/2 engine, frame by frame: tests/data/http2.txt, at every split of what the peer sends.

mod memory;
mod player;
mod script;

use script::Row;

fn rows() -> Vec<Row> {
    script::parse(include_str!("../data/http2.txt")).expect("the table is well-formed")
}

#[test]
fn every_row_ends_as_it_says_at_every_split() {
    let mut failures = Vec::new();
    for row in rows() {
        for piece_len in [usize::MAX, 1, 2, 3, 7, 9, 10, 64] {
            let seen = player::play(&row, piece_len);
            if seen.as_ref() != Ok(&row.expected) {
                failures.push(format!(
                    "{} {} (line {}, pieces of {piece_len})\n  expected {:#?}\n  seen {seen:#?}",
                    row.rule, row.name, row.line, row.expected
                ));
                break;
            }
        }
    }
    assert!(failures.is_empty(), "\n{}\n", failures.join("\n"));
}

#[test]
fn the_table_is_as_large_as_it_says_and_names_its_rules() {
    let rows = rows();
    assert!(rows.len() >= 150, "{} rows", rows.len());
    let mut names: Vec<_> = rows.iter().map(|row| (&row.rule, &row.name)).collect();
    names.sort();
    names.dedup();
    assert_eq!(names.len(), rows.len(), "names are unique within a rule");
    for row in &rows {
        assert!(
            row.rule.starts_with('§') || row.rule.starts_with("7541§"),
            "{}",
            row.rule
        );
    }
}

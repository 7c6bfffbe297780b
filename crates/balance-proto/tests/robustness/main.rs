//! The tables of tests/data against the codec: every row at every split of its input.
//!
//! The same tables run over sockets in the end-to-end tests; here they cost milliseconds and try
//! every split.

mod client_hello;
mod downgrade;
mod proxy_header;
mod request;
mod response;
mod rows;

/// Every way that a row is cut into reads: at once, at each position, byte by byte. Rows with long
/// repetitions are cut at samples, or the test would be quadratic in 70 KB.
fn splits(input: &[u8]) -> Vec<Vec<&[u8]>> {
    let step = match input.len() {
        0..=400 => 1,
        length => length / 60 + 1,
    };
    let mut all: Vec<Vec<&[u8]>> = (0..=input.len())
        .step_by(step)
        .map(|at| vec![&input[..at], &input[at..]])
        .collect();
    all.push(input.chunks(step).collect());
    all.push(input.chunks(7 * step).collect());
    all
}

/// Runs all rows, and shows all that fail rather than the first.
fn run_table(
    text: &str,
    rows_min: usize,
    run: impl Fn(&rows::Row, &[&[u8]]) -> Result<(), String>,
) {
    let rows = rows::parse(text).expect("the table is well-formed");
    assert!(rows.len() >= rows_min, "{} rows", rows.len());
    let mut failures = Vec::new();
    let of_codec = rows
        .iter()
        .filter(|row| row.option("only") != Some("sockets"));
    for row in of_codec {
        for pieces in splits(&row.input) {
            if let Err(failure) = run(row, &pieces) {
                let lengths: Vec<_> = pieces.iter().take(3).map(|piece| piece.len()).collect();
                failures.push(format!(
                    "{} {} (line {}, reads of {lengths:?}…): {failure}",
                    row.rule, row.name, row.line
                ));
                break;
            }
        }
    }
    assert!(failures.is_empty(), "\n{}\n", failures.join("\n"));
}

#[test]
fn requests() {
    run_table(include_str!("../data/requests.txt"), 1_000, request::check);
}

#[test]
fn responses() {
    run_table(include_str!("../data/responses.txt"), 340, response::check);
}

#[test]
fn proxy_headers() {
    let table = include_str!("../data/proxy_headers.txt");
    run_table(table, 110, proxy_header::check);
}

#[test]
fn client_hellos() {
    let table = include_str!("../data/client_hellos.txt");
    run_table(table, 100, client_hello::check);
}

#[test]
fn downgrades() {
    let rows = rows::parse(include_str!("../data/downgrade.txt")).expect("well-formed");
    assert!(rows.len() >= 80, "{} rows", rows.len());
    let failures: Vec<_> = rows
        .iter()
        .filter_map(|row| {
            let failure = downgrade::check(row).err()?;
            Some(format!(
                "{} {} (line {}): {failure}",
                row.rule, row.name, row.line
            ))
        })
        .collect();
    assert!(failures.is_empty(), "\n{}\n", failures.join("\n"));
}

#[test]
fn every_rule_has_a_row() {
    let requests = rows::parse(include_str!("../data/requests.txt")).unwrap();
    let responses = rows::parse(include_str!("../data/responses.txt")).unwrap();
    for number in 1..=28 {
        let rule = format!("SM-{number:02}");
        assert!(
            requests
                .iter()
                .chain(&responses)
                .any(|row| row.rule == rule),
            "{rule} has no row"
        );
    }
    for table in [&requests, &responses] {
        let mut names: Vec<_> = table.iter().map(|row| (&row.rule, &row.name)).collect();
        names.sort();
        names.dedup();
        assert_eq!(names.len(), table.len(), "names are unique within a rule");
    }
}

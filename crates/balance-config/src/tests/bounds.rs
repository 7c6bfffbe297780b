//! Hostile files: bounded work, no panic, and diagnostics that hold together.

use proptest::prelude::{Strategy, any, prop, prop_assert, prop_assert_eq, proptest};

use super::config::BASE;
use crate::{DIAGNOSTICS_MAX, MemorySources, Severity, load};

fn errors(bytes: impl Into<Vec<u8>>) -> Vec<String> {
    load(&MemorySources::file("b.yaml", bytes), "b.yaml")
        .diagnostics
        .iter()
        .filter(|diagnostic| diagnostic.severity == Severity::Error)
        .map(|diagnostic| diagnostic.to_string().replace("b.yaml:", ""))
        .collect()
}

#[test]
fn an_alias_bomb_is_refused() {
    let mut yaml = "x-0: &a0 [1, 1, 1, 1, 1, 1, 1, 1, 1, 1]\n".to_owned();
    for level in 1..=9 {
        let below = format!("*a{}", level - 1);
        let items = [below.as_str(); 10].join(", ");
        yaml.push_str(&format!("x-{level}: &a{level} [{items}]\n"));
    }
    assert_eq!(
        errors(yaml),
        ["6:46: error: the file has more than 1000000 values, aliases written out"]
    );
}

#[test]
fn a_merge_bomb_is_refused() {
    let keys: String = (0..1000).map(|key| format!("  k{key}: v\n")).collect();
    let merges: String = (0..2000)
        .map(|number| format!("x-m{number}: {{ <<: *big }}\n"))
        .collect();
    let yaml = format!("{BASE}x-big: &big\n{keys}{merges}");
    let errors = errors(yaml);
    assert_eq!(errors.len(), 1);
    assert!(errors[0].ends_with("aliases written out"), "{errors:?}");
}

#[test]
fn depth_is_bounded_also_through_aliases() {
    let nested = |depth: usize| format!("{}{}", "[".repeat(depth), "]".repeat(depth));
    assert!(errors(format!("{BASE}x-a: {}\n", nested(62))).is_empty());
    let refused = "error: more than 64 lists and maps inside one another";
    assert!(errors(format!("{BASE}x-a: {}\n", nested(64)))[0].ends_with(refused));
    let aliased = format!(
        "{BASE}x-a: &a {}\nx-b: {}*a{}\n",
        nested(40),
        "[".repeat(40),
        "]".repeat(40)
    );
    assert!(errors(aliased)[0].ends_with(refused));
}

#[test]
fn an_alias_to_itself_is_refused() {
    assert_eq!(
        errors("x-a: &a [*a]\n"),
        ["1:10: error: an alias inside the value that it names would never end"]
    );
}

#[test]
fn a_file_that_is_too_large_or_no_text_is_refused() {
    assert_eq!(
        errors(vec![b'#'; (4 << 20) + 1]),
        ["b.yaml: error: the file is larger than 4 MiB".replace("b.yaml:", "")]
    );
    assert_eq!(
        errors(b"a: b\nc: \xff\n".to_vec()),
        ["2:4: error: the file is not UTF-8 here"]
    );
    let missing = load(&MemorySources::default(), "no.yaml");
    assert!(
        missing.diagnostics[0]
            .to_string()
            .starts_with("no.yaml: error: cannot read the file: ")
    );
}

#[test]
fn a_flood_of_mistakes_is_cut() {
    let yaml: String = (0..50_000)
        .map(|key| format!("unknown_key_{key}: 1\n"))
        .collect();
    let loaded = load(
        &MemorySources::file("b.yaml", format!("{BASE}version: 2\n{yaml}")),
        "b.yaml",
    );
    assert_eq!(loaded.diagnostics.len(), DIAGNOSTICS_MAX + 1);
    assert_eq!(
        loaded.diagnostics[DIAGNOSTICS_MAX].message,
        "and 49900 more"
    );
}

#[test]
fn the_expansion_of_variables_is_bounded() {
    let yaml = format!("{BASE}via_name: {}\n", "${BIG}".repeat(100));
    let sources = MemorySources::file("b.yaml", yaml).with_env("BIG", &"x".repeat(100_000));
    let loaded = load(&sources, "b.yaml");
    assert!(
        loaded
            .diagnostics
            .iter()
            .any(|diagnostic| diagnostic.message.contains("4 MiB"))
    );
}

/// What every result must be, whatever the file.
fn check_invariants(bytes: &[u8]) -> Result<(), proptest::test_runner::TestCaseError> {
    let loaded = load(
        &MemorySources::file("b.yaml", bytes).with_env("A", "1"),
        "b.yaml",
    );
    let has_error = loaded
        .diagnostics
        .iter()
        .any(|diagnostic| diagnostic.severity == Severity::Error);
    prop_assert_eq!(loaded.config.is_none(), has_error);
    prop_assert!(loaded.diagnostics.len() <= DIAGNOSTICS_MAX + 1);
    prop_assert!(
        loaded
            .diagnostics
            .windows(2)
            .all(|pair| pair[0].place <= pair[1].place)
    );
    for diagnostic in &loaded.diagnostics {
        let text = diagnostic.to_string();
        prop_assert!(
            !text
                .chars()
                .any(|letter| letter.is_control() && letter != '\n'),
            "{:?}",
            text
        );
    }
    if let Some(config) = loaded.config {
        prop_assert!(config.pools.iter().all(|pool| !pool.members.is_empty()));
        let pools = config.pools.len();
        let fits = |listener: &crate::Listener| {
            !listener.listen.is_empty() && listener.pool.is_none_or(|pool| pool.index() < pools)
        };
        prop_assert!(config.listeners.iter().all(fits));
    }
    Ok(())
}

const FILES: [&str; 4] = [
    include_str!("original.yaml"),
    include_str!("full.yaml"),
    include_str!("../../../../config/example.yaml"),
    include_str!("../../../../config/http.yaml"),
];

/// Pieces that mean something to YAML or to us.
const PIECES: [&str; 28] = [
    "\n",
    "\n  ",
    "\n    - ",
    ": ",
    "- ",
    "{ ",
    " }",
    "[",
    "]",
    ", ",
    "&a ",
    "*a",
    "<<: ",
    "? ",
    "---\n",
    "~",
    "\"",
    "'",
    "|\n",
    "${A}",
    "${B:-1}",
    "listen: \":80\"",
    "backends: [\"a:1\"]",
    "routes: ",
    "pools: ",
    "version: 2\n",
    "!!str ",
    "# x\n",
];

proptest! {
    #[test]
    fn arbitrary_bytes(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        check_invariants(&bytes)?;
    }

    #[test]
    fn arbitrary_pieces(pieces in prop::collection::vec(prop::sample::select(&PIECES[..]), 0..40)) {
        check_invariants(pieces.concat().as_bytes())?;
    }

    #[test]
    fn mutated_files(
        file in prop::sample::select(&FILES[..]),
        edits in prop::collection::vec((any::<prop::sample::Index>(), 0usize..20, edit()), 1..6),
    ) {
        let mut bytes = file.as_bytes().to_vec();
        for (at, length, insert) in edits {
            let at = at.index(bytes.len() + 1);
            let end = (at + length).min(bytes.len());
            bytes.splice(at..end, insert);
        }
        check_invariants(&bytes)?;
    }
}

fn edit() -> impl Strategy<Value = Vec<u8>> {
    proptest::prop_oneof![
        prop::sample::select(&PIECES[..]).prop_map(|piece| piece.as_bytes().to_vec()),
        prop::collection::vec(any::<u8>(), 0..4),
    ]
}

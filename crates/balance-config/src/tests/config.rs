//! Good files: what they become.

use crate::{Config, MemorySources, load};

/// Loads a file that must have no error.
pub(super) fn config(yaml: &str) -> Config {
    let loaded = load(&MemorySources::file("balance.yaml", yaml), "balance.yaml");
    let lines: Vec<String> = loaded.diagnostics.iter().map(ToString::to_string).collect();
    loaded
        .config
        .unwrap_or_else(|| panic!("{}", lines.join("\n")))
}

#[test]
fn the_examples_load() {
    for (name, text) in [
        (
            "example.yaml",
            include_str!("../../../../config/example.yaml"),
        ),
        ("http.yaml", include_str!("../../../../config/http.yaml")),
        (
            "minimal.yaml",
            include_str!("../../../../config/minimal.yaml"),
        ),
    ] {
        let loaded = load(&MemorySources::file(name, text), name);
        let lines: Vec<String> = loaded.diagnostics.iter().map(ToString::to_string).collect();
        assert_eq!(lines, [""; 0], "{name}");
        assert!(loaded.config.is_some(), "{name}");
    }
}

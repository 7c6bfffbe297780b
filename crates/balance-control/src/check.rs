//! `balance check`: everything that can be said about a file without running it.

use std::time::SystemTime;

use balance_config::{Diagnostic, Sources, load};

use crate::certificates;
use crate::compile;
use crate::handle::has_errors;

/// What there is to say about a configuration.
#[derive(Clone, Debug)]
pub struct Checked {
    /// Whether Balance would run with it, as far as can be told beforehand.
    pub is_valid: bool,
    /// In the order of their places.
    pub diagnostics: Vec<Diagnostic>,
}

/// Loads and compiles the file at `path` without binding or resolving anything and without changing a file,
/// so that it can be asked while another process runs with it.
pub fn check(sources: &dyn Sources, path: &str) -> Checked {
    let loaded = load(sources, path);
    let mut diagnostics = loaded.diagnostics;
    let now = SystemTime::now();
    diagnostics.extend(certificates::check(sources, &loaded.tls_files, now));
    diagnostics.extend(match &loaded.config {
        Some(config) => compile::check(config),
        None => compile::check_patterns(&loaded.patterns),
    });
    diagnostics.sort_by(|a, b| a.place.cmp(&b.place));
    let is_valid = loaded.config.is_some() && !has_errors(&diagnostics);
    Checked {
        is_valid,
        diagnostics,
    }
}

#[cfg(test)]
mod tests {
    use balance_config::MemorySources;

    use super::check;

    /// Expressions are compiled by control, which sees no configuration when there is any other mistake.
    #[test]
    fn wrong_expressions_are_shown_beside_other_mistakes() {
        let yaml = "version: 2
listeners: [ { name: web, listen: ':80', mode: http } ]
pools: { p: { backends: ['127.0.0.1:1'] } }
routes:
  - { name: a, match: &m { path_regex: '/a(b' }, pool: q }
  - { name: b, match: *m, pool: p }
  - { name: c, match: { headers: { X-A: { regex: '[' } } }, pool: p }
";
        let checked = check(&MemorySources::file("t.yaml", yaml), "t.yaml");
        let seen: Vec<String> = (checked.diagnostics.iter())
            .map(|one| format!("{}:{}", one.place.line, one.message))
            .collect();
        assert_eq!(
            seen,
            [
                "5:regular expression: unclosed group, at character 3",
                "5:there is no pool `q`",
                "7:regular expression: unclosed character class, at character 1",
            ]
        );
    }
}

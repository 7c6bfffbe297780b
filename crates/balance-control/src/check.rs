//! `balance check`: everything that can be said about a file without running it.

use std::time::SystemTime;

use balance_config::{Diagnostic, Loaded, Sources, load};

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
    let mut loaded = load(sources, path);
    let mut diagnostics = std::mem::take(&mut loaded.diagnostics);
    diagnostics.extend(parts(sources, &loaded));
    diagnostics.extend(loaded.config.iter().flat_map(compile::check));
    diagnostics.sort_by(|a, b| a.place.cmp(&b.place));
    let is_valid = loaded.config.is_some() && !has_errors(&diagnostics);
    Checked {
        is_valid,
        diagnostics,
    }
}

/// What is wrong with single parts that the loader leaves to others, whatever else is wrong with the whole.
pub(crate) fn parts(sources: &dyn Sources, loaded: &Loaded) -> Vec<Diagnostic> {
    let material = &loaded.tls_material;
    let mut diagnostics = certificates::check(sources, material, SystemTime::now());
    diagnostics.extend(compile::check_names(material));
    if loaded.config.is_none() {
        diagnostics.extend(compile::check_patterns(&loaded.patterns));
    }
    diagnostics
}

#[cfg(test)]
mod tests {
    use balance_config::MemorySources;

    use super::check;

    fn seen(yaml: &str) -> Vec<String> {
        let checked = check(&MemorySources::file("t.yaml", yaml), "t.yaml");
        let shown = checked.diagnostics.iter();
        shown
            .map(|one| format!("{}:{}", one.place.line, one.message))
            .collect()
    }

    /// Control judges files, suites and names of servers, and sees no configuration when there is any other mistake.
    #[test]
    fn what_tls_names_is_judged_beside_other_mistakes() {
        let yaml = "version: 2
listeners:
  - name: web
    listen: ':443'
    mode: http
    pool: p
    tls: { cert_file: none.pem, key_file: none.key, cipher_suites: [TLS_NULL], unknown: 1 }
pools:
  p:
    backends: ['127.0.0.1:1', '127.0.0.1:2']
    tls: { ca_file: none.pem, server_name: 'a b', cipher_suites: [TLS_NULL_TOO] }
";
        let expected = [
            "7:`none.pem` cannot be read: entity not found",
            "7:`none.key` cannot be read: entity not found",
            "7:there is no cipher suite `TLS_NULL`",
            "7:unknown key `unknown` in `tls`",
            "11:`none.pem` cannot be read: entity not found",
            "11:no certificate can be for `a b`",
            "11:there is no cipher suite `TLS_NULL_TOO`",
        ];
        assert_eq!(seen(yaml), expected);
        // And once, when there is none.
        let others = expected
            .into_iter()
            .filter(|line| !line.contains("unknown key"));
        assert_eq!(
            seen(&yaml.replace(", unknown: 1", "")),
            others.collect::<Vec<_>>()
        );
    }

    /// Expressions are compiled by control, too.
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
        assert_eq!(
            seen(yaml),
            [
                "5:regular expression: unclosed group, at character 3",
                "5:there is no pool `q`",
                "7:regular expression: unclosed character class, at character 1",
            ]
        );
    }
}

//! Where in the file an unknown key belongs that is known in another section: `retries` at the top is nearer to
//! `resilience.retry` than to anything at the top.

use crate::suggest::nearness;
use crate::table::{Kind, Table};

/// The path of a known key that is nearer to `name` than `edits`: in the sections of `table`, where the name was found,
/// or else in those of `root`. None when there are two that are as near: who is told one of many places would look at
/// the wrong one.
pub(crate) fn known_elsewhere(
    name: &str,
    edits: Option<usize>,
    table: &'static Table,
    root: &'static Table,
) -> Option<String> {
    let below = |table: &'static Table| {
        let mut search = Search {
            name,
            edits: edits.unwrap_or(usize::MAX),
            found: None,
            is_only: true,
        };
        for key in table.keys {
            search.section(key.name, &key.kind);
        }
        search.found.filter(|_| search.is_only)
    };
    below(table).or_else(|| below(root))
}

struct Search<'n> {
    name: &'n str,
    /// What must be undercut.
    edits: usize,
    found: Option<String>,
    /// Whether no other is as near.
    is_only: bool,
}

impl Search<'_> {
    /// The keys of a section, or of each of its items. What lies deeper are the keys of special cases; those of a map's
    /// values have the name of one of them in their path.
    fn section(&mut self, section: &str, kind: &'static Kind) {
        match kind {
            Kind::Block(table) => {
                // What is not supported yet is no help.
                for key in table.keys.iter().filter(|key| key.later.is_none()) {
                    self.compare(section, key.name);
                }
            }
            Kind::List(inner) | Kind::OneOrMany(inner) => self.section(section, inner),
            _ => {}
        }
    }

    fn compare(&mut self, section: &str, key: &str) {
        match nearness(self.name, key) {
            Some(edits) if edits < self.edits => {
                self.edits = edits;
                self.found = Some(format!("{section}.{key}"));
                self.is_only = true;
            }
            Some(edits) if edits == self.edits => self.is_only = false,
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::known_elsewhere;
    use crate::sections::root::ROOT;
    use crate::table::{Kind, Table};

    fn section(name: &str) -> &'static Table {
        match ROOT.key(name).map(|key| &key.kind) {
            Some(Kind::Block(table) | Kind::Map(Kind::Block(table))) => table,
            Some(Kind::List(Kind::Block(table))) => table,
            _ => panic!("no section {name}"),
        }
    }

    #[test]
    fn the_nearest_key_is_told_with_its_path_where_there_is_one() {
        for (name, edits, table, expected) in [
            ("retries", Some(2), &ROOT, Some("resilience.retry")),
            ("retries", Some(1), &ROOT, None),
            ("first_byte", None, &ROOT, Some("timeouts.first_byte")),
            // Below the section itself before all others.
            ("retry", None, section("pools"), Some("resilience.retry")),
            // In too many places.
            ("enabled", None, &ROOT, None),
            ("nonsense", None, &ROOT, None),
        ] {
            let path = known_elsewhere(name, edits, table, &ROOT);
            assert_eq!(path.as_deref(), expected, "{name} in {}", table.name);
        }
    }
}

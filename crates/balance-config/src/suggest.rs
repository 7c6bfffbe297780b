//! "Did you mean": the known name nearest to an unknown one.

/// The nearest of `known` when it is near enough to be a slip ([`nearness`]). Of several that are as near, the first by
/// the alphabet: `known` may come from a map, and the same file must always be told the same.
pub(crate) fn nearest<'a>(name: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    known
        .into_iter()
        .filter_map(|candidate| Some((nearness(name, candidate)?, candidate)))
        .min()
        .map(|(_, candidate)| candidate)
}

/// The edits from one name to the other when that may be a slip: at most two of them, and fewer than half of the
/// letters. Singular and plural are one edit apart.
pub(crate) fn nearness(name: &str, known: &str) -> Option<usize> {
    let [name, known] = [name, known].map(|word| {
        let letters = word.chars().take(NAME_CHARS_MAX + 1);
        letters.collect::<Vec<char>>()
    });
    if name.len() > NAME_CHARS_MAX {
        return None;
    }
    let edits = match distance(&name, &known) {
        Some(0) => 0,
        _ if is_other_number(&name, &known) || is_other_number(&known, &name) => 1,
        edits => edits?,
    };
    (edits * 2 < known.len().max(name.len()) || edits == 0).then_some(edits)
}

/// Whether `many` is the plural that changes more than a letter: `retries` of `retry`.
fn is_other_number(many: &[char], one: &[char]) -> bool {
    match (many, one) {
        ([many @ .., 'i', 'e', 's'], [one @ .., 'y']) => many == one,
        _ => false,
    }
}

pub(crate) fn did_you_mean(name: &str) -> String {
    format!("did you mean `{name}`?")
}

/// What a word of nginx, HAProxy or Envoy is here, if that is one of `known`: they call the same things otherwise, and
/// no number of edits leads from one to the other.
pub(crate) fn translated<'a>(
    word: &str,
    known: impl IntoIterator<Item = &'a str>,
) -> Option<&'static str> {
    let word = word.to_ascii_lowercase().replace('_', "-");
    let (_, name, here) = OTHER_WORDS.iter().find(|(other, ..)| *other == word)?;
    known.into_iter().any(|one| one == *name).then_some(*here)
}

/// Insertions, deletions, substitutions and swaps of neighbours between two words (optimal string
/// alignment), `None` above [`EDITS_MAX`].
fn distance(a: &[char], b: &[char]) -> Option<usize> {
    if a.len().abs_diff(b.len()) > EDITS_MAX {
        return None;
    }
    let lower = |letter: char| letter.to_ascii_lowercase();
    let mut before_last: Vec<usize> = Vec::new();
    let mut last: Vec<usize> = (0..=b.len()).collect();
    for (i, &left) in a.iter().enumerate() {
        let mut row = vec![i + 1];
        for (j, &right) in b.iter().enumerate() {
            let same = usize::from(lower(left) != lower(right));
            let mut cost = (last[j] + same).min(last[j + 1] + 1).min(row[j] + 1);
            if i > 0 && j > 0 && left == b[j - 1] && a[i - 1] == right {
                cost = cost.min(before_last[j - 1] + 1);
            }
            row.push(cost);
        }
        before_last = std::mem::replace(&mut last, row);
    }
    let distance = last[b.len()];
    (distance <= EDITS_MAX).then_some(distance)
}

/// Their word in lower case with `-`, the name of ours, and how to write what it does there.
const OTHER_WORDS: &[(&str, &str, &str)] = &[
    ("roundrobin", "round-robin", "`round-robin`"),
    ("rr", "round-robin", "`round-robin`"),
    (
        "static-rr",
        "weighted-round-robin",
        "`weighted-round-robin`",
    ),
    ("leastconn", "least-connections", "`least-connections`"),
    ("least-conn", "least-connections", "`least-connections`"),
    ("least-request", "least-connections", "`least-connections`"),
    ("p2c", "power-of-two-choices", "`power-of-two-choices`"),
    ("source", "consistent-hash", BY_ADDRESS),
    ("ip-hash", "consistent-hash", BY_ADDRESS),
    ("hash", "consistent-hash", BY_HEADER),
    ("hdr", "consistent-hash", BY_HEADER),
    ("uri", "consistent-hash", BY_HEADER),
    ("warning", "warn", "`warn`"),
    ("notice", "info", "`info`"),
    ("emerg", "error", "`error`"),
    ("crit", "error", "`error`"),
];

const BY_ADDRESS: &str = "`consistent-hash` with `hash_key: source-ip`";
const BY_HEADER: &str =
    "nearest to `consistent-hash`, whose `hash_key` is `source-ip` or `header:NAME`,";

const EDITS_MAX: usize = 2;
/// No known name is longer; it bounds the work on a hostile file.
const NAME_CHARS_MAX: usize = 64;

#[cfg(test)]
mod tests {
    use super::{nearest, translated};

    #[test]
    fn slips_are_recognized_and_other_words_are_not() {
        let known = ["listen", "backends", "timeouts", "mode", "tls"];
        assert_eq!(nearest("lisen", known), Some("listen"));
        assert_eq!(nearest("lsiten", known), Some("listen"));
        assert_eq!(nearest("Listen", known), Some("listen"));
        assert_eq!(nearest("backend", known), Some("backends"));
        assert_eq!(nearest("tsl", known), Some("tls"));
        assert_eq!(nearest("port", known), None);
        assert_eq!(nearest("x", known), None);
        assert_eq!(nearest("", known), None);
        assert_eq!(nearest("retries", ["metrics", "retry"]), Some("retry"));
        assert_eq!(nearest("query", ["queries", "rue"]), Some("queries"));
    }

    #[test]
    fn words_of_others_are_told_where_they_mean_something() {
        let known = ["round-robin", "least-connections", "consistent-hash"];
        for (word, expected) in [
            ("least_conn", Some("`least-connections`")),
            ("leastconn", Some("`least-connections`")),
            ("LEAST_REQUEST", Some("`least-connections`")),
            ("roundrobin", Some("`round-robin`")),
            (
                "ip_hash",
                Some("`consistent-hash` with `hash_key: source-ip`"),
            ),
            ("static-rr", None),
            ("random", None),
        ] {
            assert_eq!(translated(word, known), expected, "{word}");
        }
    }

    #[test]
    fn of_equals_the_order_of_the_known_does_not_decide() {
        assert_eq!(nearest("app-2", ["app-1", "app-3"]), Some("app-1"));
        assert_eq!(nearest("app-2", ["app-3", "app-1"]), Some("app-1"));
    }
}

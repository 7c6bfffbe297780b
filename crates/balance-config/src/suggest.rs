//! "Did you mean": the known name nearest to an unknown one.

/// The nearest of `known` when it is near enough to be a slip: at most two edits, and fewer than half of
/// the letters. Of several that are as near, the first by the alphabet: `known` may come from a map, and
/// the same file must always be told the same.
pub(crate) fn nearest<'a>(name: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let name: Vec<char> = name.chars().take(NAME_CHARS_MAX + 1).collect();
    if name.len() > NAME_CHARS_MAX {
        return None;
    }
    known
        .into_iter()
        .filter_map(|candidate| {
            let letters: Vec<char> = candidate.chars().collect();
            let distance = distance(&name, &letters)?;
            (distance * 2 < letters.len().max(name.len()) || distance == 0)
                .then_some((distance, candidate))
        })
        .min()
        .map(|(_, candidate)| candidate)
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

const EDITS_MAX: usize = 2;
/// No known name is longer; it bounds the work on a hostile file.
const NAME_CHARS_MAX: usize = 64;

#[cfg(test)]
mod tests {
    use super::nearest;

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
    }

    #[test]
    fn of_equals_the_order_of_the_known_does_not_decide() {
        assert_eq!(nearest("app-2", ["app-1", "app-3"]), Some("app-1"));
        assert_eq!(nearest("app-2", ["app-3", "app-1"]), Some("app-1"));
    }
}

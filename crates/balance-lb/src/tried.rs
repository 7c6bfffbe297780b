//! Which backends an exchange has already tried.

/// A set of positions in a pool view. Allocates only for positions from 128 on.
#[derive(Clone, Debug, Default)]
pub struct TriedSet {
    low: u128,
    /// Positions 128, 129, …: 64 to a word.
    high: Vec<u64>,
}

impl TriedSet {
    pub const fn new() -> Self {
        Self {
            low: 0,
            high: Vec::new(),
        }
    }

    /// Returns whether it was not in the set before.
    #[inline]
    pub fn insert(&mut self, index: usize) -> bool {
        if self.contains(index) {
            return false;
        }
        match index.checked_sub(LOW_BITS) {
            None => self.low |= 1 << index,
            Some(rest) => {
                let word = rest / 64;
                if self.high.len() <= word {
                    self.high.resize(word + 1, 0);
                }
                self.high[word] |= 1 << (rest % 64);
            }
        }
        true
    }

    #[inline]
    pub fn contains(&self, index: usize) -> bool {
        match index.checked_sub(LOW_BITS) {
            None => self.low >> index & 1 == 1,
            Some(rest) => self
                .high
                .get(rest / 64)
                .is_some_and(|word| word >> (rest % 64) & 1 == 1),
        }
    }

    pub fn is_empty(&self) -> bool {
        self.low == 0 && self.high.iter().all(|word| *word == 0)
    }

    pub fn clear(&mut self) {
        self.low = 0;
        self.high.clear();
    }
}

const LOW_BITS: usize = 128;

#[cfg(test)]
mod tests {
    use super::TriedSet;

    #[test]
    fn positions_are_kept_apart_on_both_sides_of_the_border() {
        for index in [0, 1, 63, 64, 127, 128, 129, 191, 192, 4_000] {
            let mut tried = TriedSet::new();
            assert!(tried.is_empty());
            assert!(tried.insert(index));
            assert!(!tried.insert(index));
            assert!(!tried.is_empty());
            let members: Vec<usize> = (0..5_000).filter(|i| tried.contains(*i)).collect();
            assert_eq!(members, [index]);
            tried.clear();
            assert!(tried.is_empty() && !tried.contains(index));
        }
    }
}

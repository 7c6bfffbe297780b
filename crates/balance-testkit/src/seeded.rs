//! Numbers from a seed, for tests that draw their inputs: the same seed gives the same inputs everywhere.

/// A sequence of numbers that depends on its seed alone.
#[derive(Clone, Debug)]
pub struct SeededNumbers {
    state: u64,
}

impl SeededNumbers {
    pub fn new(seed: u64) -> Self {
        Self { state: seed }
    }

    /// Any number.
    pub fn next_u64(&mut self) -> u64 {
        // SplitMix64: it has no bad seed.
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.state;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// A number below `limit`, which is not 0.
    pub fn below(&mut self, limit: usize) -> usize {
        usize::try_from(self.next_u64() % limit as u64).unwrap_or(0)
    }

    /// One of these.
    ///
    /// # Panics
    /// When there is none.
    pub fn one_of<'t, T>(&mut self, choices: &'t [T]) -> &'t T {
        &choices[self.below(choices.len())]
    }
}

//! Seeded mutations, for the runs without libFuzzer: the same seed gives the same inputs everywhere.

use balance_testkit::SeededNumbers;

use crate::TOKENS;

/// Makes inputs out of others.
#[derive(Clone, Debug)]
pub struct Mutator {
    numbers: SeededNumbers,
}

impl Mutator {
    /// The inputs that follow depend on `seed` alone.
    pub fn new(seed: u64) -> Self {
        Self {
            numbers: SeededNumbers::new(seed),
        }
    }

    /// A number below `limit`, which is not 0.
    pub fn below(&mut self, limit: usize) -> usize {
        self.numbers.below(limit)
    }

    /// One of `corpus` with a few changes, some of them taken from another one. At most
    /// [`INPUT_BYTES_MAX`] long.
    pub fn mutate(&mut self, corpus: &[Vec<u8>]) -> Vec<u8> {
        let mut input = self.one_of(corpus).clone();
        for _ in 0..=self.below(4) {
            self.change(&mut input, corpus);
        }
        input.truncate(INPUT_BYTES_MAX);
        input
    }

    fn change(&mut self, input: &mut Vec<u8>, corpus: &[Vec<u8>]) {
        let at = self.below(input.len() + 1);
        let end = at + self.below((input.len() - at).min(RANGE_BYTES_MAX) + 1);
        match self.below(8) {
            0 => {
                let token = *self.one_of(TOKENS);
                insert(input, at, token);
            }
            1 => {
                let token = *self.one_of(TOKENS);
                input.splice(at..end, token.iter().copied());
            }
            2 => {
                input.drain(at..end);
            }
            3 => {
                let range = input[at..end].to_vec();
                insert(input, at, &range);
            }
            4 => {
                let other = self.one_of(corpus);
                let from = self.below(other.len() + 1);
                let to = from + self.below((other.len() - from).min(RANGE_BYTES_MAX) + 1);
                insert(input, at, &other[from..to]);
            }
            5 => {
                let byte = self.byte();
                insert(input, at, &[byte]);
            }
            6 => {
                if let Some(byte) = input.get_mut(at) {
                    *byte = self.byte();
                }
            }
            _ => {
                if let Some(byte) = input.get_mut(at) {
                    *byte ^= 1 << self.below(8);
                }
            }
        }
    }

    fn byte(&mut self) -> u8 {
        u8::try_from(self.below(256)).unwrap_or(0)
    }

    fn one_of<'t, T>(&mut self, choices: &'t [T]) -> &'t T {
        self.numbers.one_of(choices)
    }
}

fn insert(input: &mut Vec<u8>, at: usize, bytes: &[u8]) {
    input.splice(at..at, bytes.iter().copied());
}

/// As libFuzzer's own default: longer inputs rarely find more, and take longer.
const INPUT_BYTES_MAX: usize = 4096;
const RANGE_BYTES_MAX: usize = 64;

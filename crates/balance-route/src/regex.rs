//! Regular expressions on whole texts, without a worst case and without memory of their own.
//!
//! Each becomes a deterministic automaton when the configuration is loaded: one step an octet, whatever the pattern
//! and whatever the client sends, no backtracking, no cache, no allocation. What that costs is paid at load: a pattern
//! whose automaton would be larger than [`AUTOMATON_BYTES_MAX`] is refused. A lazily built automaton would accept more
//! patterns, but each worker would need a cache for each of them, which grows while requests are served.

mod automaton;

use std::collections::HashSet;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::ops::Range;
use std::sync::Arc;

use regex_automata::dfa::{Automaton as _, StartKind, dense};
use regex_automata::nfa::thompson::{self, WhichCaptures};
use regex_automata::util::start;
use regex_automata::{Anchored, MatchKind};
use regex_syntax::hir::Hir;
use regex_syntax::hir::literal::Extractor;

use automaton::{Automaton, State};

/// A regular expression that a text must match from its first octet to its last.
///
/// The syntax is that of Rust's `regex` crate, without look-around and back references. It is about octets: `.` is any
/// octet but a line feed, `\w`, `\d`, `\s`, `\b` and `(?i)` know ASCII only. Two are equal when their patterns are.
#[derive(Clone)]
pub struct Regex(Arc<Compiled>);

struct Compiled {
    pattern: String,
    /// Every text that matches begins with it.
    prefix: Box<[u8]>,
    /// Of what follows the prefix, which is compared at once.
    automaton: Automaton,
}

/// Why a text is no regular expression for us.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RegexError {
    /// `place`: the octets of the pattern that are wrong; empty at its end.
    #[error("{reason}")]
    Syntax { reason: String, place: Range<usize> },
    #[error("a regular expression has at most {PATTERN_BYTES_MAX} octets, this one has {0}")]
    TooLong(usize),
    /// Mostly a counted repetition of something that what follows it matches too.
    #[error(
        "its automaton would be larger than {} KiB: write `*` for a counted repetition, or name fewer alternatives",
        AUTOMATON_BYTES_MAX / 1024
    )]
    TooLarge,
    #[error("word boundaries of Unicode are not supported, those of ASCII are: remove `(?u)`")]
    UnicodeWordBoundary,
}

impl Regex {
    /// # Errors
    /// What is wrong with the pattern and where, or that it is too large.
    pub fn compile(pattern: &str) -> Result<Self, RegexError> {
        if pattern.len() > PATTERN_BYTES_MAX {
            return Err(RegexError::TooLong(pattern.len()));
        }
        let hir = parse(pattern)?;
        if hir.properties().look_set().contains_word_unicode() {
            return Err(RegexError::UnicodeWordBoundary);
        }
        let prefix: Box<[u8]> = Extractor::new()
            .extract(&hir)
            .longest_common_prefix()
            .unwrap_or_default()
            .into();
        let automaton = determinize(&hir, &prefix).ok_or(RegexError::TooLarge)?;
        Ok(Self(Arc::new(Compiled {
            pattern: pattern.to_owned(),
            prefix,
            automaton,
        })))
    }

    /// As it was written.
    pub fn pattern(&self) -> &str {
        &self.0.pattern
    }

    /// Whether it takes the whole text. Allocates nothing; time grows with the text and with nothing else.
    pub fn is_match(&self, text: &[u8]) -> bool {
        text.strip_prefix(self.prefix())
            .is_some_and(|rest| self.is_match_after_prefix(rest))
    }

    /// The same of a text that is known to begin with [`Regex::prefix`]: `rest` is what follows.
    pub(crate) fn is_match_after_prefix(&self, rest: &[u8]) -> bool {
        let automaton = &self.0.automaton;
        let mut state = automaton.start();
        for octet in rest {
            state = automaton.next(state, *octet);
            if state == State::DEAD {
                return false;
            }
        }
        automaton.is_match(state)
    }

    /// What every text that matches begins with, as far as the pattern spells it out.
    pub fn prefix(&self) -> &[u8] {
        &self.0.prefix
    }

    /// Whether it takes every text that begins with these octets and has no line feed after them, as no part of a
    /// request has.
    pub fn takes_all_below(&self, begin: &[u8]) -> bool {
        let Some(rest) = begin.strip_prefix(self.prefix()) else {
            return false;
        };
        let automaton = &self.0.automaton;
        let first = rest.iter().fold(automaton.start(), |state, octet| {
            automaton.next(state, *octet)
        });
        let mut known = HashSet::from([first]);
        let mut open = vec![first];
        while let Some(state) = open.pop() {
            if !automaton.is_match(state) {
                return false;
            }
            let octets = (0..=u8::MAX).filter(|octet| *octet != b'\n');
            let next = octets.map(|octet| automaton.next(state, octet));
            open.extend(next.filter(|state| known.insert(*state)));
        }
        true
    }

    /// Whether a text that matches can begin with this octet. May say yes where an anchor in the middle forbids it.
    pub(crate) fn can_begin_with(&self, octet: u8) -> bool {
        if let Some(first) = self.prefix().first() {
            return *first == octet;
        }
        let automaton = &self.0.automaton;
        let state = automaton.next(automaton.start(), octet);
        // The automaton notices one octet late that a match has ended, so a state that is not dead says nothing yet.
        let goes_on = |next: u8| automaton.next(state, next) != State::DEAD;
        automaton.is_match(state) || (0..=u8::MAX).any(goes_on)
    }
}

impl fmt::Debug for Regex {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Regex({:?})", self.pattern())
    }
}

impl fmt::Display for Regex {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.pattern())
    }
}

impl PartialEq for Regex {
    fn eq(&self, other: &Self) -> bool {
        self.pattern() == other.pattern()
    }
}

impl Eq for Regex {}

impl Hash for Regex {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.pattern().hash(state);
    }
}

fn parse(pattern: &str) -> Result<Hir, RegexError> {
    let parsed = regex_syntax::ParserBuilder::new()
        .unicode(false)
        .utf8(false)
        .nest_limit(NESTING_MAX)
        .build()
        .parse(pattern);
    parsed.map_err(|error| {
        let (reason, span) = match &error {
            regex_syntax::Error::Parse(error) => (error.kind().to_string(), error.span()),
            regex_syntax::Error::Translate(error) => (error.kind().to_string(), error.span()),
            // The enumeration is open; the text of what may come later says the place itself.
            _ => {
                return RegexError::Syntax {
                    reason: error.to_string(),
                    place: 0..pattern.len(),
                };
            }
        };
        RegexError::Syntax {
            reason,
            place: span.start.offset..span.end.offset,
        }
    })
}

/// The automaton of what follows the prefix. `None` if it would be too large; nothing else can go wrong once the pattern
/// is parsed.
fn determinize(hir: &Hir, prefix: &[u8]) -> Option<Automaton> {
    let nfa = thompson::Compiler::new()
        .configure(
            thompson::Config::new()
                .utf8(false)
                .nfa_size_limit(Some(AUTOMATON_BYTES_MAX))
                .which_captures(WhichCaptures::None),
        )
        .build_from_hir(hir)
        .ok()?;
    let dense = dense::Builder::new()
        .configure(
            dense::Config::new()
                // Every way to match is followed to the end of the text, whichever alternative comes first.
                .match_kind(MatchKind::All)
                .start_kind(StartKind::Anchored)
                .accelerate(false)
                .dfa_size_limit(Some(AUTOMATON_BYTES_MAX))
                .determinize_size_limit(Some(AUTOMATON_BYTES_MAX)),
        )
        .build_from_nfa(&nfa)
        .ok()?;
    let start = dense
        .start_state(&start::Config::new().anchored(Anchored::Yes))
        .ok()?;
    let after_prefix = (prefix.iter()).fold(start, |state, octet| dense.next_state(state, *octet));
    Automaton::extract(&dense, after_prefix)
}

/// What people write on one line; what is longer was generated and better becomes several routes.
const PATTERN_BYTES_MAX: usize = 4096;
/// Hundreds of times what a path of some segments needs, and a limit for the time that loading one takes.
const AUTOMATON_BYTES_MAX: usize = 1 << 20;
/// Groups in groups; the parser calls itself for each.
const NESTING_MAX: u32 = 100;

#[cfg(test)]
mod tests;

//! The routes of one host pattern, found by path.
//!
//! All patterns lie in one sorted array. Everything in it that is a prefix of a path is found from one place: the
//! greatest pattern that is not above the path. If that is no prefix of the path, its longest shorter pattern is asked,
//! and so on along `parent`; from the first that is a prefix on, all further parents are prefixes too. (Let q be a
//! pattern and a prefix of the path, and p the greatest pattern ≤ path. Then q ≤ p ≤ path, and whatever lies between q and
//! an extension of q begins with q. So q is a prefix of p, and prefixes of p are its parents.)
//!
//! An exact pattern is the one that equals the path, so it needs no table of its own. A regular expression stands at the
//! text with which all that it matches begins, and is asked only for paths that begin so: `/v1/users/[0-9]+` costs the
//! paths below `/v2` nothing.

use crate::pattern::{PathMatch, is_segment_end, without_trailing_slash};

#[derive(Debug)]
pub(crate) struct PathIndex {
    /// Ascending by text, all different. The first is the empty text, a prefix of everything.
    nodes: Box<[Node]>,
    /// The smallest rank in it.
    rank_min: u32,
}

impl PathIndex {
    /// From pairs of rank and pattern, ascending by rank.
    pub(crate) fn compile<'a>(patterns: impl Iterator<Item = (u32, &'a PathMatch)>) -> Self {
        let mut entries: Vec<(&[u8], Entry)> = patterns
            .map(|(rank, pattern)| {
                let (text, kind) = split(pattern);
                (text, Entry { rank, kind })
            })
            .collect();
        let rank_min = entries.first().map_or(u32::MAX, |(_, entry)| entry.rank);
        entries.sort_by_key(|(text, entry)| (*text, entry.rank));
        let mut nodes = vec![Node::new(&[])];
        for (text, entry) in entries {
            if nodes.last().is_none_or(|node| *node.text != *text) {
                nodes.push(Node::new(text));
            }
            nodes
                .last_mut()
                .expect("the empty text was pushed first")
                .entries
                .push(entry);
        }
        link(&mut nodes);
        Self {
            nodes: nodes.into_boxed_slice(),
            rank_min,
        }
    }

    pub(crate) fn rank_min(&self) -> u32 {
        self.rank_min
    }

    /// The smallest rank below `best` whose path takes `path` and for which `is_match` holds; else `best`. Whether a
    /// regular expression matches is left to `is_match`.
    pub(crate) fn least(&self, path: &[u8], mut best: u32, is_match: impl Fn(u32) -> bool) -> u32 {
        // The empty text is not above any path, so there is always one before.
        let mut at = self.nodes.partition_point(|node| *node.text <= *path) - 1;
        loop {
            let node = &self.nodes[at];
            if node.chain_rank_min >= best {
                return best;
            }
            if path.starts_with(&node.text) {
                let candidates = node.entries.iter().take_while(|entry| entry.rank < best);
                let found = candidates
                    .filter(|entry| entry.kind.is_match(path, node.text.len()))
                    .find(|entry| is_match(entry.rank));
                best = found.map_or(best, |entry| entry.rank);
            }
            if at == 0 {
                return best;
            }
            at = node.parent as usize;
        }
    }
}

#[derive(Debug)]
struct Node {
    text: Box<[u8]>,
    /// The longest other text that is a prefix of this one. The root's is itself.
    parent: u32,
    /// The smallest rank here and among the parents: above it there is nothing to win.
    chain_rank_min: u32,
    /// Ascending by rank.
    entries: Vec<Entry>,
}

impl Node {
    fn new(text: &[u8]) -> Self {
        Self {
            text: text.into(),
            parent: 0,
            chain_rank_min: u32::MAX,
            entries: Vec::new(),
        }
    }
}

#[derive(Clone, Copy, Debug)]
struct Entry {
    rank: u32,
    kind: Kind,
}

/// What may follow the text.
#[derive(Clone, Copy, Debug)]
enum Kind {
    Anything,
    SegmentEnd,
    Nothing,
}

impl Kind {
    /// `path` begins with a text of length `len`.
    fn is_match(self, path: &[u8], len: usize) -> bool {
        match self {
            Self::Anything => true,
            Self::SegmentEnd => is_segment_end(path, len),
            Self::Nothing => path.len() == len,
        }
    }
}

fn split(pattern: &PathMatch) -> (&[u8], Kind) {
    match pattern {
        PathMatch::Any => (&[], Kind::Anything),
        PathMatch::BytePrefix(prefix) => (prefix.as_bytes(), Kind::Anything),
        PathMatch::SegmentPrefix(prefix) => {
            (without_trailing_slash(prefix).as_bytes(), Kind::SegmentEnd)
        }
        PathMatch::Exact(path) => (path.as_bytes(), Kind::Nothing),
        PathMatch::Regex(regex) => (regex.prefix(), Kind::Anything),
    }
}

/// Sets parents and chains. In sorted order a text's prefixes come before it, and those that are still open
/// form a stack.
fn link(nodes: &mut [Node]) {
    let mut open: Vec<usize> = Vec::new();
    for at in 0..nodes.len() {
        while let Some(top) = open.last()
            && !nodes[at].text.starts_with(&nodes[*top].text)
        {
            open.pop();
        }
        let own = nodes[at]
            .entries
            .first()
            .map_or(u32::MAX, |entry| entry.rank);
        let (parent, above) = match open.last() {
            Some(top) => (*top, nodes[*top].chain_rank_min),
            None => (0, u32::MAX),
        };
        nodes[at].parent = u32::try_from(parent).expect("a table has fewer than 2^32 routes");
        nodes[at].chain_rank_min = own.min(above);
        nodes[at].entries.shrink_to_fit();
        open.push(at);
    }
}

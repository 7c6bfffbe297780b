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
//!
//! With many routes the time is that of fetching memory that no cache holds. So what one lookup reads lies close
//! together: all texts in one piece, all entries in another, and a route itself is looked at only when it asks for more
//! than host and path.

use std::ops::Range;

use crate::pattern::{PathMatch, is_segment_end, without_trailing_slash};
use crate::route::Route;

#[derive(Debug)]
pub(crate) struct PathIndex {
    /// Ascending by text, all different. The first is the empty text, a prefix of everything.
    nodes: Box<[Node]>,
    /// The texts of the nodes, one behind the other.
    texts: Box<[u8]>,
    /// The entries of the nodes, one behind the other; those of a node ascending by rank.
    entries: Box<[Entry]>,
    /// The smallest rank in it.
    rank_min: u32,
}

impl PathIndex {
    /// From pairs of rank and route, ascending by rank.
    pub(crate) fn compile<'a>(routes: impl Iterator<Item = (u32, &'a Route)>) -> Self {
        let mut found: Vec<(&[u8], Entry)> = routes
            .map(|(rank, route)| {
                let (text, kind) = split(&route.spec.path);
                let asks_more = route.asks_more();
                let entry = Entry {
                    rank,
                    kind,
                    asks_more,
                };
                (text, entry)
            })
            .collect();
        let rank_min = found.first().map_or(u32::MAX, |(_, entry)| entry.rank);
        found.sort_by_key(|(text, entry)| (*text, entry.rank));
        let entries: Box<[Entry]> = found.iter().map(|(_, entry)| *entry).collect();

        let mut texts = Vec::new();
        let mut nodes = vec![Node::new(0..0)];
        for (at, (text, _)) in (0_u32..).zip(&found) {
            let mut node = nodes.last_mut().expect("the empty text was pushed first");
            if texts[range(&node.text)] != **text {
                let begin = position(texts.len());
                texts.extend_from_slice(text);
                nodes.push(Node::new(begin..position(texts.len())));
                node = nodes.last_mut().expect("it was pushed now");
                node.entries.start = at;
            }
            node.entries.end = at + 1;
        }
        link(&mut nodes, &texts, &entries);
        Self {
            nodes: nodes.into_boxed_slice(),
            texts: texts.into_boxed_slice(),
            entries,
            rank_min,
        }
    }

    pub(crate) fn rank_min(&self) -> u32 {
        self.rank_min
    }

    /// The smallest rank below `best` whose path takes `path` and for which `is_match` holds; else `best`. `is_match` is
    /// asked of routes that ask for more, a regular expression among it.
    pub(crate) fn least(&self, path: &[u8], mut best: u32, is_match: impl Fn(u32) -> bool) -> u32 {
        // The empty text is not above any path, so there is always one before.
        let mut at = self.nodes.partition_point(|node| self.text(node) <= path) - 1;
        loop {
            let node = &self.nodes[at];
            if node.chain_rank_min >= best {
                return best;
            }
            let text = self.text(node);
            if path.starts_with(text) {
                let entries = &self.entries[range(&node.entries)];
                let candidates = entries.iter().take_while(|entry| entry.rank < best);
                let found = candidates
                    .filter(|entry| entry.kind.is_match(path, text.len()))
                    .find(|entry| !entry.asks_more || is_match(entry.rank));
                best = found.map_or(best, |entry| entry.rank);
            }
            if at == 0 {
                return best;
            }
            at = node.parent as usize;
        }
    }

    fn text(&self, node: &Node) -> &[u8] {
        &self.texts[range(&node.text)]
    }
}

#[derive(Debug)]
struct Node {
    text: Range<u32>,
    /// The longest other text that is a prefix of this one. The root's is itself.
    parent: u32,
    /// The smallest rank here and among the parents: above it there is nothing to win.
    chain_rank_min: u32,
    entries: Range<u32>,
}

impl Node {
    fn new(text: Range<u32>) -> Self {
        Self {
            text,
            parent: 0,
            chain_rank_min: u32::MAX,
            entries: 0..0,
        }
    }
}

#[derive(Clone, Copy, Debug)]
struct Entry {
    rank: u32,
    kind: Kind,
    asks_more: bool,
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
fn link(nodes: &mut [Node], texts: &[u8], entries: &[Entry]) {
    let mut open: Vec<usize> = Vec::new();
    for at in 0..nodes.len() {
        let text = &texts[range(&nodes[at].text)];
        while let Some(top) = open.last()
            && !text.starts_with(&texts[range(&nodes[*top].text)])
        {
            open.pop();
        }
        let own = entries[range(&nodes[at].entries)]
            .first()
            .map_or(u32::MAX, |entry| entry.rank);
        let (parent, above) = match open.last() {
            Some(top) => (*top, nodes[*top].chain_rank_min),
            None => (0, u32::MAX),
        };
        nodes[at].parent = position(parent);
        nodes[at].chain_rank_min = own.min(above);
        open.push(at);
    }
}

fn range(range: &Range<u32>) -> Range<usize> {
    range.start as usize..range.end as usize
}

fn position(at: usize) -> u32 {
    u32::try_from(at).expect("a configuration has fewer than 2^32 octets")
}

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

use balance_core::RouteId;

use crate::pattern::{PathMatch, is_segment_end, without_trailing_slash};
use crate::route::Route;

/// A route and its place in the order of precedence. The id lies beside the rank so that a decision need not fetch it
/// from a table of all routes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Ranked {
    pub(crate) rank: u32,
    pub(crate) id: RouteId,
}

/// What leads to the rest is one cache line.
#[derive(Debug)]
#[repr(align(64))]
pub(crate) struct PathIndex {
    /// Ascending by text, all different. The first is the empty text, a prefix of everything; behind the last stands
    /// one that only says where texts and entries end.
    nodes: Box<[Node]>,
    /// The name of the host, and behind it the texts of the nodes, one behind the other.
    texts: Box<[u8]>,
    /// The entries of the nodes, one behind the other; those of a node ascending by rank.
    entries: Box<[Entry]>,
    /// The smallest rank in it.
    rank_min: u32,
    name_len: u32,
}

impl PathIndex {
    /// From pairs of rank and route, ascending by rank, and the name by which the index itself is found.
    pub(crate) fn compile<'a>(name: &[u8], routes: impl Iterator<Item = (u32, &'a Route)>) -> Self {
        let mut found: Vec<(&[u8], Entry)> = routes
            .map(|(rank, route)| {
                let (text, kind) = split(&route.spec.path);
                let asks_more = route.asks_more();
                let id = route.spec.id;
                let entry = Entry {
                    route: Ranked { rank, id },
                    kind,
                    asks_more,
                };
                (text, entry)
            })
            .collect();
        let rank_min = found
            .first()
            .map_or(u32::MAX, |(_, entry)| entry.route.rank);
        found.sort_by_key(|(text, entry)| (*text, entry.route.rank));

        let mut texts = name.to_vec();
        let mut nodes = vec![Node::new(texts.len(), 0)];
        let mut last: &[u8] = &[];
        for (at, (text, _)) in found.iter().enumerate() {
            if *text != last {
                nodes.push(Node::new(texts.len(), at));
                texts.extend_from_slice(text);
                last = text;
            }
        }
        nodes.push(Node::new(texts.len(), found.len()));
        let mut index = Self {
            nodes: nodes.into_boxed_slice(),
            texts: texts.into_boxed_slice(),
            entries: found.iter().map(|(_, entry)| *entry).collect(),
            rank_min,
            name_len: position(name.len()),
        };
        index.link();
        index
    }

    pub(crate) fn name(&self) -> &[u8] {
        &self.texts[..self.name_len as usize]
    }

    pub(crate) fn rank_min(&self) -> u32 {
        self.rank_min
    }

    /// The route of the smallest rank, before `best`, whose path takes `path` and for whose rank `is_match` holds; else
    /// `best`. `is_match` is asked of routes that ask for more, a regular expression among it.
    pub(crate) fn least(
        &self,
        path: &[u8],
        mut best: Option<Ranked>,
        is_match: impl Fn(u32) -> bool,
    ) -> Option<Ranked> {
        let mut at = self.greatest_not_above(path);
        loop {
            let node = &self.nodes[at];
            let rank_end = best.map_or(u32::MAX, |best| best.rank);
            if node.chain_rank_min >= rank_end {
                return best;
            }
            let text = self.text(at);
            if path.starts_with(text) {
                let candidates = self
                    .entries(at)
                    .iter()
                    .take_while(|entry| entry.route.rank < rank_end);
                let found = candidates
                    .filter(|entry| entry.kind.is_match(path, text.len()))
                    .find(|entry| !entry.asks_more || is_match(entry.route.rank));
                best = found.map(|entry| entry.route).or(best);
            }
            if at == 0 {
                return best;
            }
            at = node.parent as usize;
        }
    }

    /// The position of the greatest text that is not above this one. The empty text is above none.
    fn greatest_not_above(&self, path: &[u8]) -> usize {
        let (mut found, mut above) = (0, self.nodes.len() - 1);
        while above - found > 1 {
            let middle = usize::midpoint(found, above);
            if self.text(middle) <= path {
                found = middle;
            } else {
                above = middle;
            }
        }
        found
    }

    fn text(&self, at: usize) -> &[u8] {
        &self.texts[self.nodes[at].text as usize..self.nodes[at + 1].text as usize]
    }

    fn entries(&self, at: usize) -> &[Entry] {
        &self.entries[self.nodes[at].entries as usize..self.nodes[at + 1].entries as usize]
    }

    /// Sets parents and chains. In sorted order a text's prefixes come before it, and those that are still open
    /// form a stack.
    fn link(&mut self) {
        let mut open: Vec<usize> = Vec::new();
        for at in 0..self.nodes.len() - 1 {
            while let Some(top) = open.last()
                && !self.text(at).starts_with(self.text(*top))
            {
                open.pop();
            }
            let own = self
                .entries(at)
                .first()
                .map_or(u32::MAX, |entry| entry.route.rank);
            let (parent, above) = match open.last() {
                Some(top) => (*top, self.nodes[*top].chain_rank_min),
                None => (0, u32::MAX),
            };
            self.nodes[at].parent = position(parent);
            self.nodes[at].chain_rank_min = own.min(above);
            open.push(at);
        }
    }
}

#[derive(Debug)]
struct Node {
    /// Where its text begins.
    text: u32,
    /// Where its entries begin.
    entries: u32,
    /// The longest other text that is a prefix of this one. The root's is itself.
    parent: u32,
    /// The smallest rank here and among the parents: above it there is nothing to win.
    chain_rank_min: u32,
}

impl Node {
    fn new(text: usize, entries: usize) -> Self {
        Self {
            text: position(text),
            entries: position(entries),
            parent: 0,
            chain_rank_min: u32::MAX,
        }
    }
}

#[derive(Clone, Copy, Debug)]
struct Entry {
    route: Ranked,
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

fn position(at: usize) -> u32 {
    u32::try_from(at).expect("a configuration has fewer than 2^32 octets")
}

//! The static table (RFC 7541 Appendix A), with the kind of each name.

use super::name::NameKind;
use crate::field::FieldClass;

/// One entry of the static table.
#[derive(Clone, Copy, Debug)]
pub(super) struct StaticEntry {
    pub(super) name: &'static str,
    pub(super) value: &'static str,
    pub(super) kind: NameKind,
}

/// The entry at `index`, which counts from 1 (RFC 7541 §2.3.3).
pub(super) fn entry_at(index: usize) -> Option<&'static StaticEntry> {
    ENTRIES.get(index.checked_sub(1)?)
}

/// How many entries there are; the dynamic table begins behind them.
pub(super) const LENGTH: usize = ENTRIES.len();

/// The first index whose name this is, in any case. `class` is that of the name.
pub(super) fn index_of_name(name: &[u8], class: FieldClass) -> Option<u8> {
    if class == FieldClass::Other {
        let candidates = OTHERS.iter().filter(|(other, _)| other.len() == name.len());
        return candidates
            .filter(|(other, _)| name.eq_ignore_ascii_case(other.as_bytes()))
            .map(|(_, index)| *index)
            .next();
    }
    match BY_CLASS.get(class as usize) {
        Some(0) | None => None,
        Some(index) => Some(*index),
    }
}

/// For each class, the index of its name; 0 where the table has none. No class but `Other` and
/// `XForwardedOther` stands for several names, and the table has none of the latter.
static BY_CLASS: [u8; 64] = by_class();

#[expect(
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    reason = "evaluated by the compiler, which would say so"
)]
const fn by_class() -> [u8; 64] {
    let mut table = [0; 64];
    let mut index = ENTRIES.len();
    while index > 0 {
        if let NameKind::Regular(class) = ENTRIES[index - 1].kind
            && !matches!(class, FieldClass::Other)
        {
            table[class as usize] = index as u8;
        }
        index -= 1;
    }
    table
}

const OTHERS_COUNT: usize = others_count();

#[expect(
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    reason = "evaluated by the compiler, which would say so"
)]
const fn others_count() -> usize {
    let mut count = 0;
    let mut index = 0;
    while index < ENTRIES.len() {
        if matches!(ENTRIES[index].kind, NameKind::Regular(FieldClass::Other)) {
            count += 1;
        }
        index += 1;
    }
    count
}

/// The names without a class of their own, each once, with their indexes.
static OTHERS: [(&str, u8); OTHERS_COUNT] = others();

#[expect(
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    reason = "evaluated by the compiler, which would say so"
)]
const fn others() -> [(&'static str, u8); OTHERS_COUNT] {
    let mut table = [("", 0); OTHERS_COUNT];
    let mut count = 0;
    let mut index = 0;
    while index < ENTRIES.len() {
        if matches!(ENTRIES[index].kind, NameKind::Regular(FieldClass::Other)) {
            table[count] = (ENTRIES[index].name, index as u8 + 1);
            count += 1;
        }
        index += 1;
    }
    table
}

const fn entry(name: &'static str, value: &'static str) -> StaticEntry {
    StaticEntry {
        name,
        value,
        kind: NameKind::of(name.as_bytes()),
    }
}

const ENTRIES: [StaticEntry; 61] = [
    entry(":authority", ""),
    entry(":method", "GET"),
    entry(":method", "POST"),
    entry(":path", "/"),
    entry(":path", "/index.html"),
    entry(":scheme", "http"),
    entry(":scheme", "https"),
    entry(":status", "200"),
    entry(":status", "204"),
    entry(":status", "206"),
    entry(":status", "304"),
    entry(":status", "400"),
    entry(":status", "404"),
    entry(":status", "500"),
    entry("accept-charset", ""),
    entry("accept-encoding", "gzip, deflate"),
    entry("accept-language", ""),
    entry("accept-ranges", ""),
    entry("accept", ""),
    entry("access-control-allow-origin", ""),
    entry("age", ""),
    entry("allow", ""),
    entry("authorization", ""),
    entry("cache-control", ""),
    entry("content-disposition", ""),
    entry("content-encoding", ""),
    entry("content-language", ""),
    entry("content-length", ""),
    entry("content-location", ""),
    entry("content-range", ""),
    entry("content-type", ""),
    entry("cookie", ""),
    entry("date", ""),
    entry("etag", ""),
    entry("expect", ""),
    entry("expires", ""),
    entry("from", ""),
    entry("host", ""),
    entry("if-match", ""),
    entry("if-modified-since", ""),
    entry("if-none-match", ""),
    entry("if-range", ""),
    entry("if-unmodified-since", ""),
    entry("last-modified", ""),
    entry("link", ""),
    entry("location", ""),
    entry("max-forwards", ""),
    entry("proxy-authenticate", ""),
    entry("proxy-authorization", ""),
    entry("range", ""),
    entry("referer", ""),
    entry("refresh", ""),
    entry("retry-after", ""),
    entry("server", ""),
    entry("set-cookie", ""),
    entry("strict-transport-security", ""),
    entry("transfer-encoding", ""),
    entry("user-agent", ""),
    entry("vary", ""),
    entry("via", ""),
    entry("www-authenticate", ""),
];

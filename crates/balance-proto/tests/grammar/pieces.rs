//! Pieces of messages, right ones and the wrong ones that smuggling is made of.

use proptest::prelude::*;
use proptest::sample::select;

/// One of the right ones, seldom one of the wrong ones.
pub(crate) fn mostly(
    right: &'static [&'static str],
    wrong: &'static [&'static str],
) -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        40 => select(right).prop_map(to_bytes),
        1 => select(wrong).prop_map(to_bytes),
    ]
}

/// The pieces one after the other.
pub(crate) fn joined(
    pieces: Vec<impl Strategy<Value = Vec<u8>> + 'static>,
) -> impl Strategy<Value = Vec<u8>> {
    pieces.prop_map(|pieces| pieces.concat())
}

pub(crate) fn line_end() -> BoxedStrategy<Vec<u8>> {
    prop_oneof![
        90 => Just(b"\r\n".to_vec()),
        1 => select(&["\n", "\r", "\r\r\n", "\n\r", "", "\r\n\r\n", "\r\n ", "\0\r\n"][..]).prop_map(to_bytes),
    ]
    .boxed()
}

/// A field line with its end.
pub(crate) fn field_line() -> BoxedStrategy<Vec<u8>> {
    let plain = joined(vec![
        mostly(PLAIN_NAMES, WRONG_NAMES).boxed(),
        mostly(&[":"], WRONG_COLONS).boxed(),
        white_space(),
        mostly(PLAIN_VALUES, WRONG_VALUES).boxed(),
        white_space(),
        line_end(),
    ]);
    let telling = prop_oneof![
        4 => known_field("Content-Length", LENGTHS),
        4 => known_field("transfer-encoding", CODINGS),
        4 => known_field("Connection", CONNECTIONS),
        2 => known_field("Expect", EXPECTATIONS),
        2 => known_field("Upgrade", UPGRADES),
        1 => known_field("HOST", HOSTS),
    ];
    prop_oneof![9 => plain, 1 => telling].boxed()
}

/// A Host field that is right more often than not.
pub(crate) fn host_line() -> BoxedStrategy<Vec<u8>> {
    prop_oneof![
        12 => Just(b"Host: a\r\n".to_vec()),
        1 => known_field("Host", HOSTS),
        1 => Just(Vec::new()),
    ]
    .boxed()
}

/// A message that begins with `start`, has up to so many field lines and `one` somewhere between them.
pub(crate) fn head(
    start: impl Strategy<Value = Vec<u8>>,
    one: BoxedStrategy<Vec<u8>>,
    fields_max: usize,
) -> impl Strategy<Value = Vec<u8>> {
    let fields = prop::collection::vec(field_line(), 0..=fields_max);
    let end = prop_oneof![20 => line_end(), 1 => Just(Vec::new())];
    let parts = (start, one, fields, any::<prop::sample::Index>(), end);
    parts.prop_map(|(start, one, mut fields, at, end)| {
        fields.insert(at.index(fields.len() + 1), one);
        [start, fields.concat(), end, b"tail".to_vec()].concat()
    })
}

/// Changes, adds or removes up to two bytes.
pub(crate) fn damaged(message: impl Strategy<Value = Vec<u8>>) -> impl Strategy<Value = Vec<u8>> {
    let change = (any::<prop::sample::Index>(), select(TELLING_BYTES), 0_u8..3);
    let count = prop_oneof![3 => Just(0_usize), 2 => Just(1), 1 => Just(2)];
    let changes = count.prop_flat_map(move |count| prop::collection::vec(change.clone(), count));
    (message, changes).prop_map(|(mut message, changes)| {
        for (at, byte, kind) in changes {
            let at = at.index(message.len().max(1));
            match (kind, at < message.len()) {
                (0, true) => message[at] = byte,
                (1, true) => drop(message.remove(at)),
                _ => message.insert(at, byte),
            }
        }
        message
    })
}

/// Calls `check` with every message that differs from `message` in one byte: replaced by each of 256, or with one
/// of the telling ones put before it, or left out.
pub(crate) fn at_every_byte(message: &[u8], mut check: impl FnMut(&[u8])) {
    let mut other = message.to_vec();
    for at in 0..message.len() {
        for byte in 0..=u8::MAX {
            other[at] = byte;
            check(&other);
        }
        other[at] = message[at];
        let (before, after) = message.split_at(at);
        check(&[before, &after[1..]].concat());
        for byte in TELLING_BYTES {
            check(&[before, &[*byte], after].concat());
        }
    }
}

fn known_field(name: &'static str, values: &'static [&'static str]) -> BoxedStrategy<Vec<u8>> {
    joined(vec![
        Just(name.as_bytes().to_vec()).boxed(),
        mostly(&[":"], WRONG_COLONS).boxed(),
        white_space(),
        select(values).prop_map(to_bytes).boxed(),
        white_space(),
        line_end(),
    ])
    .boxed()
}

fn white_space() -> BoxedStrategy<Vec<u8>> {
    mostly(&[" ", "", " ", "  ", "\t"], &["\x0b", "\r\n ", "\u{a0}"]).boxed()
}

fn to_bytes(text: &str) -> Vec<u8> {
    text.as_bytes().to_vec()
}

pub(crate) const TELLING_BYTES: &[u8] =
    b"\0\t\n\x0b\r !\"#%,-./0:;=?@AZ[\\]_`az{|}~\x7f\x80\xa0\xff";

const PLAIN_NAMES: &[&str] = &[
    "Accept",
    "X-A",
    "x",
    "Cookie",
    "X_Under",
    "TE",
    "Keep-Alive",
    "A!#$%&'*+-.^`|~9",
];
const WRONG_NAMES: &[&str] = &[
    "",
    " X",
    "X ",
    "X Y",
    "X(",
    "X\0",
    "\u{e4}",
    "Content_Length",
    "Transfer_Encoding",
    "content-length\0",
    "X\r",
    "\"X\"",
];
const WRONG_COLONS: &[&str] = &["", " :", "\t:", ";", "::", "\r\n:"];
const PLAIN_VALUES: &[&str] = &[
    "",
    "v",
    "a, b",
    "w x\ty",
    "\u{fc}",
    "a:b",
    "\"q\"",
    "0123456789abcdef0123456789abcdef",
];
const WRONG_VALUES: &[&str] = &[
    "\0", "a\x01", "a\rb", "a\nb", "a\x7f", "\x1f", "a\x0bb", "v\r\n w",
];
const LENGTHS: &[&str] = &[
    "0",
    "3",
    "3",
    "003",
    "3, 3",
    "3, 4",
    "+3",
    "-3",
    "0x3",
    "3 3",
    "",
    "9223372036854775807",
    "9223372036854775808",
    "18446744073709551617",
    "00000000000000000003",
    "3;",
    "\u{663}",
];
const CODINGS: &[&str] = &[
    "chunked",
    "chunked",
    "CHUNKED",
    "gzip, chunked",
    "chunked, chunked",
    "chunked, gzip",
    "identity",
    "chunked;a=b",
    "",
    ",chunked",
    "chunked,",
    "\"chunked\"",
    "xchunked",
    "chunked chunked",
];
const CONNECTIONS: &[&str] = &[
    "close",
    "keep-alive",
    "Upgrade",
    "x-hop, close",
    ",,",
    "a b",
    "@",
    "",
];
const EXPECTATIONS: &[&str] = &["100-continue", "100-Continue", "the-moon", ""];
const UPGRADES: &[&str] = &["websocket", "h2c", "a/1, b", ""];
const HOSTS: &[&str] = &[
    "a",
    "A.b:80",
    "[::1]",
    "[::1]:8080",
    "a.",
    "",
    "a b",
    "u@a",
    "a/b",
    "a,b",
    "a:",
    "a:0",
    "a:65536",
    "[::1",
    "::1",
    "a%00",
    "a..b",
    "\u{e4}",
    "[fe80::1%251]",
    "a:80:80",
    "a?b",
    "a#b",
    ":80",
];

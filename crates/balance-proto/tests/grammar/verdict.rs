//! How a parser's reading is held against the grammar's, for every kind of message.

use std::fmt::{Debug, Display};

use balance_proto::HeadView;
use balance_proto::http1::Progress;
use proptest::test_runner::Config;

use crate::reference::{self, Head};

/// Both readings of the head that `message` begins with. `compare` gets those that both accept; `is_plain` says
/// whether no rule of ours goes beyond the grammar for what was refused.
pub(crate) fn judge_head<R, E: Display>(
    message: &[u8],
    progress: Result<Progress, E>,
    allowed: Option<R>,
    compare: impl FnOnce(usize, &R) -> Result<(), String>,
    is_plain: impl FnOnce(&R) -> bool,
) -> Result<(), String> {
    match (progress, allowed) {
        (Ok(Progress::Complete { .. }), None) => Err("accepted against the grammar".to_owned()),
        (Ok(Progress::Complete { consumed }), Some(read)) => compare(consumed, &read),
        (Ok(Progress::Partial), Some(_)) => Err("a whole head passes for a part".to_owned()),
        (Err(error), Some(read)) if is_plain(&read) => Err(error.to_string()),
        _ => Ok(()),
    }
    .map_err(|problem| format!("{problem}: {}", message.escape_ascii()))
}

/// The first thing that is not the same, beside what was made of the message.
pub(crate) fn all_same(is_same: &[(&str, bool)], made: &dyn Debug) -> Result<(), String> {
    match is_same.iter().find(|(_, is_same)| !is_same) {
        Some((what, _)) => Err(format!("another {what}: {made:?}")),
        None => Ok(()),
    }
}

pub(crate) fn fields<V: HeadView>(parsed: &V) -> Vec<(&[u8], &[u8])> {
    (0..parsed.field_count())
        .map(|index| (parsed.field(index).name, parsed.field(index).value))
        .collect()
}

/// SM-06, SM-07, SM-03: at most one framing field with one value below 2^63, without tabs around it. SM-24: none in
/// disguise.
pub(crate) fn framing_passes(head: &Head<'_>, message: &[u8]) -> bool {
    let values = |name| reference::values(head, name);
    let is_one = match (
        &values("content-length")[..],
        &values("transfer-encoding")[..],
    ) {
        ([], []) => true,
        _ if message.contains(&b'\t') => false,
        ([length], []) => length.len() < 19 && length.iter().all(u8::is_ascii_digit),
        ([], [coding]) => coding.eq_ignore_ascii_case(b"chunked"),
        _ => false,
    };
    let is_disguised = |name: &[u8]| {
        name.eq_ignore_ascii_case(b"content_length")
            || name.eq_ignore_ascii_case(b"transfer_encoding")
    };
    is_one && !head.fields.iter().any(|(name, _)| is_disguised(name))
}

/// How often each property is tried.
pub(crate) fn config() -> Config {
    Config {
        cases: 4_000,
        failure_persistence: None,
        ..Config::default()
    }
}

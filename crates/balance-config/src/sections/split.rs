//! `split` of a route: several pools by weight.

use super::backend::count;
use crate::diagnostics::{Diagnostic, Diagnostics, Place, Severity, Spanned};
use crate::table::{Key, Kind, Table};
use crate::value::Block;

pub(crate) static SHARE: Table = Table {
    name: "split",
    doc: "A pool and its weight. In any run of as many requests of the route as the weights add up to, over all workers, each pool gets exactly as many as its weight says.",
    main: None,
    keys: &[
        Key::required("pool", Kind::Text, "the name of a pool").example("api"),
        Key::required(
            "weight",
            Kind::Integer {
                min: 0,
                max: 1_000_000,
            },
            "its share of the sum of all weights; 0: no requests",
        ),
    ],
};

/// A split as written; names are not resolved.
#[derive(Debug)]
pub(crate) struct SplitDraft {
    pub(crate) shares: Vec<ShareDraft>,
}

#[derive(Debug)]
pub(crate) struct ShareDraft {
    pub(crate) pool: Spanned<String>,
    pub(crate) weight: u32,
}

/// Reads the `split` of a route; `None` without one.
pub(crate) fn read(route: &Block, diagnostics: &mut Diagnostics) -> Option<SplitDraft> {
    if !route.has("split") {
        return None;
    }
    let shares: Vec<ShareDraft> = route
        .list("split")
        .iter()
        .filter_map(|item| {
            let block = item.block()?;
            Some(ShareDraft {
                pool: block.spanned_text("pool")?,
                weight: count(block, "weight")?,
            })
        })
        .collect();
    if route.is_empty_list("split") {
        let message = "`split` names no pool";
        diagnostics.error_help(route.key_place("split"), message, "add at least one");
    } else if !shares.is_empty() && shares.iter().all(|share| share.weight == 0) {
        let message = "`split`: all weights are 0, so no pool gets requests";
        diagnostics.error_help(route.key_place("split"), message, "give one a weight");
    }
    refuse_doubles(&shares, diagnostics);
    Some(SplitDraft { shares })
}

fn refuse_doubles(shares: &[ShareDraft], diagnostics: &mut Diagnostics) {
    for (index, share) in shares.iter().enumerate() {
        let is_same = |other: &&ShareDraft| other.pool.value == share.pool.value;
        let first: Option<&Place> = shares[..index]
            .iter()
            .find(is_same)
            .map(|one| &one.pool.place);
        if let Some(first) = first {
            let name = crate::check::shown(&share.pool.value);
            let message = format!("`split` names pool `{name}` twice");
            diagnostics.push(
                Diagnostic::new(Severity::Error, &share.pool.place, message)
                    .with_related(first, "it is named here first")
                    .with_help("add the weights up"),
            );
        }
    }
}

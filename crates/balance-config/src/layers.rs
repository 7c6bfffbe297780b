//! Inheritance: the same section at several levels, where the nearest that says something wins, key by key.

use crate::value::Block;

/// The blocks of one section that are there, the outermost first.
pub(crate) struct Layers<'b>(Vec<&'b Block>);

impl<'b> Layers<'b> {
    /// Those under `key` of the owners that are there.
    pub(crate) fn under(owners: &[Option<&'b Block>], key: &str) -> Self {
        let present = owners.iter().flatten();
        Self(present.filter_map(|owner| owner.block(key)).collect())
    }

    /// The blocks under `key` of these.
    pub(crate) fn inner(&self, key: &str) -> Self {
        Self(self.0.iter().filter_map(|block| block.block(key)).collect())
    }

    /// What the nearest block says that says anything.
    pub(crate) fn nearest<T>(&self, read: impl Fn(&'b Block) -> Option<T>) -> Option<T> {
        self.0.iter().rev().find_map(|block| read(block))
    }

    /// Whether the nearest block is in force: one that is there and does not say `enabled: false`.
    pub(crate) fn is_enabled(&self) -> bool {
        self.0.last().is_some_and(|block| block.is_enabled())
    }
}

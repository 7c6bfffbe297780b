//! Positions in one compiled snapshot. They are dense, so tables are plain vectors.

macro_rules! dense_id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(pub u32);

        impl $name {
            /// The id of the item at `index` of its table.
            ///
            /// A table never has more than `u32::MAX` items: the loader bounds the file's size.
            pub fn from_index(index: usize) -> Self {
                Self(u32::try_from(index).expect("a table has fewer than 2^32 items"))
            }

            /// The position in its table.
            pub fn index(self) -> usize {
                self.0 as usize
            }
        }
    };
}

dense_id!(
    /// A pool of the snapshot.
    PoolId
);
dense_id!(
    /// A backend of the snapshot: one entry of the table over all pools.
    BackendId
);
dense_id!(
    /// A route of the snapshot, in file order.
    RouteId
);
dense_id!(
    /// A split of the snapshot: the action of one route.
    SplitId
);
dense_id!(
    /// A mirror of the snapshot: that of one route.
    MirrorId
);
dense_id!(
    /// A listener of the snapshot.
    ListenerId
);
dense_id!(
    /// A data-path thread.
    WorkerId
);

/// A backend's share of its pool. 0 means "no new traffic".
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Weight(pub u32);

impl Weight {
    /// The weight of a backend that says nothing.
    pub const ONE: Self = Self(1);
    /// Above this, a smooth sequence or a ring would need more slots than are worth having.
    pub const MAX: Self = Self(1_000_000);
}

impl Default for Weight {
    fn default() -> Self {
        Self::ONE
    }
}

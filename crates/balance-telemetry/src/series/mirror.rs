//! What became of the copies that a route makes of its requests.

use std::marker::PhantomData;
use std::rc::Rc;
use std::sync::Arc;

use crate::cell::Counter;

/// What became of one request's copy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum MirrorOutcome {
    /// It was sent and answered, whatever the status.
    Sent,
    /// It was due, and no answer came: no backend, no connection, garbage, or too late.
    Failed,
    /// Not drawn.
    SkippedSample,
    /// As many copies were under way as may be.
    SkippedLimit,
    /// The body was larger than may be copied, or never came whole.
    SkippedBody,
    /// The request asks for a tunnel, and a copy of that means nothing.
    SkippedUpgrade,
}

/// Copies of the requests of one route.
#[derive(Debug)]
pub struct MirrorSeries {
    cells: Arc<MirrorCells>,
    one_thread: PhantomData<Rc<()>>,
}

/// The label values of a mirror series.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct MirrorLabels {
    pub(crate) route: Box<str>,
    /// Where the copies go.
    pub(crate) pool: Box<str>,
}

/// By outcome.
#[derive(Debug, Default)]
pub(crate) struct MirrorCells(pub(crate) [Counter; MirrorOutcome::COUNT]);

impl MirrorOutcome {
    pub const ALL: [Self; 6] = [
        Self::Sent,
        Self::Failed,
        Self::SkippedSample,
        Self::SkippedLimit,
        Self::SkippedBody,
        Self::SkippedUpgrade,
    ];

    pub(crate) const COUNT: usize = Self::ALL.len();

    /// The label.
    pub fn name(self) -> &'static str {
        match self {
            Self::Sent => "sent",
            Self::Failed => "failed",
            Self::SkippedSample => "skipped_sample",
            Self::SkippedLimit => "skipped_limit",
            Self::SkippedBody => "skipped_body",
            Self::SkippedUpgrade => "skipped_upgrade",
        }
    }
}

impl MirrorSeries {
    /// Counts one request of the route.
    #[inline]
    pub fn record(&self, outcome: MirrorOutcome) {
        self.cells.0[outcome as usize].increment();
    }

    pub(crate) fn new(cells: Arc<MirrorCells>) -> Self {
        Self {
            cells,
            one_thread: PhantomData,
        }
    }
}

//! Bugs that the simulation must find. Each is switched on for a thread, and in tests alone: elsewhere a machine has
//! none, and asking costs nothing.

/// What a machine does wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Bug {
    /// A retry is granted whether or not the request may be sent again.
    RepeatsEverything,
    /// Retries know no budget.
    SpendsWithoutBudget,
    /// A trial that says nothing keeps its place.
    LeaksPlaces,
    /// An ejection never ends.
    EjectsForEver,
    /// A breaker that is half open lets everybody pass.
    AdmitsEveryTrial,
}

#[cfg(test)]
impl Bug {
    pub(crate) const ALL: [Self; 5] = [
        Self::RepeatsEverything,
        Self::SpendsWithoutBudget,
        Self::LeaksPlaces,
        Self::EjectsForEver,
        Self::AdmitsEveryTrial,
    ];
}

#[cfg(not(test))]
#[inline(always)]
pub(crate) const fn has(_: Bug) -> bool {
    false
}

#[cfg(test)]
pub(crate) use switched::{has, with};

#[cfg(test)]
mod switched {
    use std::cell::Cell;

    use super::Bug;

    thread_local! {
        static PLANTED: Cell<Option<Bug>> = const { Cell::new(None) };
    }

    pub(crate) fn has(bug: Bug) -> bool {
        PLANTED.get() == Some(bug)
    }

    /// Runs with this bug planted.
    pub(crate) fn with<T>(bug: Option<Bug>, run: impl FnOnce() -> T) -> T {
        PLANTED.set(bug);
        let result = run();
        PLANTED.set(None);
        result
    }
}

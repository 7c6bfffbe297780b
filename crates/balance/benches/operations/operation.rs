//! An operation that can be done so many times.

/// Does it so many times. A loop inside of it, so that what is measured is not a call through a pointer.
pub(crate) type Repeat = Box<dyn FnMut(u64)>;

/// One row of the results.
pub(crate) struct Operation {
    /// `group/what/size`.
    pub(crate) name: String,
    /// Makes all that it needs. Done only for what is measured.
    pub(crate) make: Box<dyn FnOnce() -> Repeat>,
}

impl Operation {
    pub(crate) fn new(name: impl Into<String>, make: impl FnOnce() -> Repeat + 'static) -> Self {
        Self {
            name: name.into(),
            make: Box::new(make),
        }
    }
}

/// An operation as a loop of it.
pub(crate) fn repeat(mut once: impl FnMut() + 'static) -> Repeat {
    Box::new(move |times| {
        for _ in 0..times {
            once();
        }
    })
}

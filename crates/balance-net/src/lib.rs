//! Listeners, socket options and splice: the only crate that may use unsafe code.

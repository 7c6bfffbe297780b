//! The data path: from an accepted connection to a settled exchange.

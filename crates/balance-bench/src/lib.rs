//! The built-in backend and load generators.

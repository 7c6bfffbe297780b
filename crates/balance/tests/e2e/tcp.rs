//! Layer 4: half-closes, bulk, deadlines, limits and dead backends.

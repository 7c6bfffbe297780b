//! Balancing algorithms and the shared state of backends, free of I/O.

//! Out of descriptors, and back.

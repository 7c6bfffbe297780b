//! The text formats, byte for byte.

//! Behind real clients.

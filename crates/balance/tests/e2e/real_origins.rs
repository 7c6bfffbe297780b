//! In front of real origins.

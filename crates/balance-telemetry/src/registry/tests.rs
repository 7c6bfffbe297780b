//! Workers merged, and what is gone kept.

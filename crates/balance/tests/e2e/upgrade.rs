//! Upgrades, and what must not pass as one.

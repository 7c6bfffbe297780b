//! Matchers compiled to a route table that decides without allocating.

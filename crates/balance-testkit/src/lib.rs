//! Origins, raw clients and a strict recording backend for tests.

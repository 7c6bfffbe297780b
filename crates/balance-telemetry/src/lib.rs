//! Per-worker metrics, their exposition, and the access log.

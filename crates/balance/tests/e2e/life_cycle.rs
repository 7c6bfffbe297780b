//! Draining, reloading and reopening logs while there is traffic.

//! Compiles a configuration, publishes it, reloads, and owns the listeners.

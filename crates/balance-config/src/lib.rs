//! The YAML loader: sources to a tree with spans to Config, all errors at once.

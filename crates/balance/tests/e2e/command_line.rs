//! Every command with its exit codes, the original's flags, and the shipped examples.

//! End to end: the real binary, real sockets, port 0, one test binary.

mod cli;

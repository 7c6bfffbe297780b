//! An exchange in memory: a third "version" that runs all phases without an HTTP/1 byte.

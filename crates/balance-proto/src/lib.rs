//! HTTP/1 codec, body framing and header hygiene, free of I/O.

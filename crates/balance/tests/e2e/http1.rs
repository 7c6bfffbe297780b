//! HTTP/1 on both sides, over sockets.

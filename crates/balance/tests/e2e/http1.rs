//! HTTP/1 on both sides, over sockets.

mod answers;
mod bodies;
mod broken;
mod client_end;
mod connections;
mod early;
mod fields;

//! HTTP/2 to backends: by hand frame by frame, and by programs that people run.

mod bad;
mod ended;
mod exchanges;
mod libraries;
mod programs;

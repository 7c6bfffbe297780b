//! HTTP/2 with clients: by hand frame by frame, by clients that people use, and by clients that mean harm.

mod clients;
mod downgrade;
mod exchanges;
mod floods;
mod limits;
mod pressure;
pub(crate) mod raw;

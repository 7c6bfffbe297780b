//! The life of the process while there is traffic: draining, reloading, reopening logs, and what the admin
//! API says meanwhile.

mod access_log;
mod admin;
mod drain;
mod long_session;
mod reload;

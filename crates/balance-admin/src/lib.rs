//! The admin API: health, readiness, metrics, what runs, and reload, over HTTP on TCP and on a unix socket.
//!
//! It shows and asks; what it shows comes from a [`ControlHandle`](balance_control::ControlHandle), and what
//! it asks for is done by control. It knows neither the configuration's format nor the data path.
//!
//! | module     | what                                                             |
//! |------------|------------------------------------------------------------------|
//! | `server`   | listeners that come and go with reloads                          |
//! | `listener` | connections of one address, each bounded in number, time and size |
//! | `api`      | a request and its answer                                         |
//! | `json`     | what is shown, as JSON                                           |
//! | `client`   | how the command line talks to a running process                  |

mod api;
mod client;
mod json;
mod listener;
mod server;

pub use client::{Answer, CallError, call};
pub use hyper::Method;
pub use server::Server;

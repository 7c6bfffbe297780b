//! Matchers compiled to a route table that decides without allocating.
//!
//! A [`RouteTable`] holds the routes of one listener in their order of precedence. [`RouteTable::decide`] returns
//! the **first** route in that order that matches, not the most specific one: priority, then the listener's list,
//! then the file. [`RouteTable::explain`] lists the same routes and why each did not match, with the same matching code.
//!
//! What a request looks like comes in through [`Facts`], so that no HTTP version is known here. What a route then does
//! (pool, transform, redirect) is not known here either: the answer is a [`RouteId`](balance_core::RouteId).
//!
//! ```
//! use balance_core::RouteId;
//! use balance_route::{Facts, HostPattern, PathMatch, RouteSpec, RouteTable};
//!
//! struct Request { host: &'static [u8], path: &'static [u8] }
//! impl Facts for Request {
//!     fn method(&self) -> &[u8] { b"GET" }
//!     fn host(&self) -> &[u8] { self.host }
//!     fn path(&self) -> &[u8] { self.path }
//!     fn query(&self) -> &[u8] { b"" }
//!     fn header_values(&self, _: &[u8]) -> impl Iterator<Item = &[u8]> { std::iter::empty() }
//! }
//!
//! let api = RouteSpec {
//!     hosts: vec![HostPattern::parse("*.example.com").expect("a literal")],
//!     path: PathMatch::SegmentPrefix("/v1".to_owned()),
//!     ..RouteSpec::any(RouteId(0))
//! };
//! let table = RouteTable::compile(vec![api]).expect("a valid route");
//! let decide = |host, path| table.decide(&Request { host, path });
//! assert_eq!(decide(b"API.example.com", b"/v1/users"), Some(RouteId(0)));
//! assert_eq!(decide(b"API.example.com", b"/v10"), None);
//! assert_eq!(decide(b"example.com", b"/v1"), None);
//! ```

mod condition;
mod facts;
mod host_index;
mod host_map;
mod params;
mod path_index;
mod pattern;
mod regex;
mod route;
mod table;
mod trace;

pub use condition::{Got, NamedMatch, Unmet, ValueMatch};
pub use facts::Facts;
pub use pattern::{HostPattern, HostPatternError, PathMatch};
pub use regex::{Regex, RegexError};
pub use route::{Mismatch, RouteError, RouteErrorKind, RouteSpec};
pub use table::RouteTable;
pub use trace::{Step, Trace};

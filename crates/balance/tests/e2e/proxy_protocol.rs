//! The PROXY protocol: who may say who a client is, and whom backends are told to be one.

mod accepted;
mod sent;
mod with_programs;

use std::net::IpAddr;

use balance_testkit::{Origin, Script};

/// An origin that answers everything.
fn origin() -> Origin {
    Origin::answering(Script::ok("here"))
}

/// The X-Forwarded-For of everything that an origin got, in order.
fn clients(origin: &Origin) -> Vec<String> {
    let requests = origin.requests();
    let client = |request: &balance_testkit::Recorded| {
        request
            .header("x-forwarded-for")
            .unwrap_or("nobody")
            .to_owned()
    };
    requests.iter().map(client).collect()
}

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

/// A header of version 1 for a client.
fn line(source: &str) -> String {
    format!("PROXY TCP4 {source} 198.51.100.2 56324 443\r\n")
}

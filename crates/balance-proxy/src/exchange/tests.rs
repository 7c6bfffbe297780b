//! All phases of an exchange, played in memory.

mod attempts;
mod deadlines;
mod failures;
mod mirror;
mod paths;
mod requests;
mod retry;
mod routing;
mod setup;
mod split;
mod transfers;

use balance_core::Cause;
use balance_proto::ResponseBody;

use super::memory::{Client, Connect, Connection, MemoryResponse, Reply, Step};
use Step::Do;
use setup::{Seen, Setup, play};

/// A connection whose backend answers 200 with this body at once.
fn answers(body: &'static str) -> Connection {
    Connection::new([head(200, body)])
}

/// A complete response.
fn head(status: u16, body: &'static str) -> Step<Reply> {
    partial_head(status, body.len() as u64, body)
}

/// A response of which more is to come than `rest`.
fn partial_head(status: u16, body_bytes: u64, rest: &'static str) -> Step<Reply> {
    Do(Reply::Head(
        response(status),
        ResponseBody::Exact(body_bytes),
        rest,
    ))
}

fn response(status: u16) -> MemoryResponse {
    MemoryResponse {
        status,
        fields: Vec::new(),
    }
}

/// How an exchange is summed up: what becomes of the connection, cause, status that was counted.
fn sum(next: &str, cause: Cause, status: u16) -> String {
    format!("{next}, {}, {status}", cause.name())
}

/// On the default setup, whose backend has this one connection.
fn play_one(client: Client, connection: Connection) -> Seen {
    play(
        Setup::default(),
        client,
        vec![("a", Connect::Opens(connection))],
    )
}

fn interim(status: u16) -> Step<Reply> {
    Do(Reply::Interim(response(status)))
}

/// How a GET and a POST that reach a backend begin.
const REQUEST: [&str; 2] = ["a opened", "a got GET example.com/"];
const UPLOAD: [&str; 2] = ["a opened", "a got POST example.com/"];

fn after(before: [&'static str; 2], lines: &[&'static str]) -> Vec<&'static str> {
    before.iter().chain(lines).copied().collect()
}

//! An exchange in memory: a third "version" that runs all phases without an HTTP/1 byte.
//!
//! It shows that [`run`](super::run) depends on no version (architecture §5), and lets tests play what is
//! hard to bring about with sockets. Clients and backends follow a [`Script`]; what each of them got is
//! written to one [`Journal`], in the order it happened. Heads are plain structures without a
//! [`HeadView::run`](balance_proto::HeadView::run), so every edit takes the slow way.

mod backend;
mod client;
mod head;
mod journal;
mod script;
mod sink;

pub(super) use backend::{Connect, Connection, MemoryTransport, Reply};
pub(super) use client::{Client, Sends};
pub(super) use head::{MemoryRequest, MemoryResponse};
pub(super) use journal::Journal;
pub(super) use script::{Script, Step};
pub(super) use sink::Takes;

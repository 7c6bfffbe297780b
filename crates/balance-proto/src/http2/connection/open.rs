//! New streams, and how many more there may be.

use super::{Connection, Drain};
use crate::http2::flow::{ReceiveWindow, SendWindow};
use crate::http2::frame::StreamId;
use crate::http2::stream::{Receive, Stream, Wait};
use balance_core::Method;

impl Connection {
    /// A stream of ours, whose request is written next.
    pub(super) fn open_own(&mut self, id: StreamId, method: Method, ends: bool) {
        self.next_own_id = id.next();
        self.streams.push(Stream {
            may_send: !ends,
            ..self.new_stream(id, method)
        });
    }

    /// How many streams may be opened now: what the peer's limit, its GOAWAY and the ids that are left allow.
    pub fn streams_available(&self) -> usize {
        if self.peer_last_id.is_some()
            || self.next_own_id.is_none()
            || self.drain != Drain::No
            || self.is_closed()
        {
            return 0;
        }
        (self.peer.streams_max as usize).saturating_sub(self.streams.len())
    }

    pub(super) fn new_stream(&self, id: StreamId, method: Method) -> Stream {
        Stream {
            id,
            receive: Receive::Head,
            may_send: true,
            discards: false,
            method,
            send_window: SendWindow::new(self.peer.window),
            receive_window: ReceiveWindow::new(self.settings.stream_window()),
            held: 0,
            content_left: None,
            wait: Wait::None,
        }
    }
}

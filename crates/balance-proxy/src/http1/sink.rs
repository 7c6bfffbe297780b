//! Writing a message to a connection: head and body in as few writes as the socket allows.
//!
//! A head is encoded into `kept` and goes out together with the first piece of its body. Small pieces are
//! copied behind what is kept (one write of one buffer), larger ones are written from where they are with
//! one `writev`. What the socket does not take is kept; until it is gone no further piece is accepted.

use std::io::{self, IoSlice};
use std::task::{Context, Poll, ready};

use balance_proto::http1::{LAST_CHUNK, encode_chunk_head};

use crate::buffers::{KEPT_BYTES, Scratch, recycle};
use crate::exchange::sides::{Form, Replay};
use crate::maybe_tls::MaybeTls;

/// The writing half of one message.
pub(crate) struct Sink {
    kept: Vec<u8>,
    /// How much of `kept` is written.
    written: usize,
    /// Where the last head begins in `kept`, and where it ends, while nothing of it is written.
    head_start: usize,
    head_bytes: usize,
    form: Form,
    is_blocked: bool,
    sent_bytes: u64,
    room: usize,
}

impl Sink {
    pub(crate) fn new() -> Self {
        Self {
            kept: Vec::new(),
            written: 0,
            head_start: 0,
            head_bytes: 0,
            form: Form::Payload,
            is_blocked: false,
            sent_bytes: 0,
            room: Scratch::BYTES,
        }
    }

    /// Starts over with a new message.
    pub(crate) fn clear(&mut self) {
        recycle(&mut self.kept, KEPT_BYTES);
        self.written = 0;
        self.head_start = 0;
        self.head_bytes = 0;
        self.form = Form::Payload;
        self.is_blocked = false;
        self.sent_bytes = 0;
        self.room = Scratch::BYTES;
    }

    /// Appends a head, and says how its body will be framed.
    pub(crate) fn add_head(&mut self, form: Form, encode: impl FnOnce(&mut Vec<u8>)) {
        self.head_start = self.kept.len();
        encode(&mut self.kept);
        self.head_bytes = self.kept.len();
        self.form = form;
    }

    /// Forgets the head that was added last; nothing was pushed or flushed since.
    pub(crate) fn take_back_head(&mut self) {
        self.kept.truncate(self.head_start);
        self.form = Form::Payload;
    }

    pub(crate) fn form(&self) -> Form {
        self.form
    }

    pub(crate) fn room(&self) -> usize {
        self.room
    }

    /// Bytes that wait to be written.
    pub(crate) fn kept_bytes(&self) -> usize {
        self.kept.len()
    }

    pub(crate) fn is_blocked(&self) -> bool {
        self.is_blocked
    }

    pub(crate) fn sent_bytes(&self) -> u64 {
        self.sent_bytes
    }

    /// Takes a piece of the body.
    pub(crate) fn push(
        &mut self,
        stream: &mut MaybeTls,
        cx: &mut Context<'_>,
        bytes: &[u8],
        form: Form,
        last: bool,
    ) -> io::Result<()> {
        let (mut head, mut head_len, mut tail) = ([0; 18], 0, &b""[..]);
        if self.form == Form::Chunks && form == Form::Payload {
            (head, head_len, tail) = chunk_around(bytes, last);
        }
        let before = &head[..head_len];
        if bytes.len() <= COPY_BYTES_MAX {
            for part in [before, bytes, tail] {
                self.kept.extend_from_slice(part);
            }
            return match self.poll_flush(stream, cx) {
                Poll::Ready(result) => result,
                Poll::Pending => Ok(()),
            };
        }
        let parts = [&self.kept[self.written..], before, bytes, tail];
        let taken = match stream.poll_write_vectored(cx, &parts.map(IoSlice::new)) {
            Poll::Ready(Ok(taken)) => taken,
            Poll::Pending => 0,
            Poll::Ready(Err(error)) => {
                // Kept all the same: if nothing was sent, it can be sent again elsewhere.
                self.keep_rest(0, [before, bytes, tail]);
                return Err(error);
            }
        };
        self.sent_bytes += taken as u64;
        self.keep_rest(taken, [before, bytes, tail]);
        Ok(())
    }

    /// Writes what is kept.
    pub(crate) fn poll_flush(
        &mut self,
        stream: &mut MaybeTls,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<()>> {
        if !self.is_blocked && self.written < self.kept.len() {
            let taken = stream.try_write(&self.kept[self.written..])?;
            self.on_written(taken);
        }
        while self.written < self.kept.len() {
            self.is_blocked = true;
            let taken = ready!(stream.poll_write(cx, &self.kept[self.written..]))?;
            if taken == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.on_written(taken);
        }
        self.is_blocked = false;
        self.kept.clear();
        self.written = 0;
        Poll::Ready(Ok(()))
    }

    fn on_written(&mut self, taken: usize) {
        self.written += taken;
        self.sent_bytes += taken as u64;
    }

    /// The body as it was pushed so far, if not a byte of the message was sent.
    pub(crate) fn unsent_body(&self) -> Option<Vec<u8>> {
        if self.sent_bytes != 0 {
            return None;
        }
        self.kept.get(self.head_bytes..).map(<[u8]>::to_vec)
    }

    /// Appends the beginning of a body, all of it if it is the `last` of it, in the form that the head announced.
    pub(crate) fn add_body(&mut self, replay: Replay, last: bool) {
        match (self.form, replay.form) {
            (Form::Chunks, Form::Payload) => {
                let (head, head_len, tail) = chunk_around(&replay.bytes, last);
                for part in [&head[..head_len], &replay.bytes, tail] {
                    self.kept.extend_from_slice(part);
                }
            }
            (Form::Payload, Form::Chunks) => self.kept.extend(replay.into_payload()),
            _ => self.kept.extend(replay.bytes),
        }
    }

    /// After `taken` bytes of `kept` and `parts` were written: keeps the others.
    fn keep_rest(&mut self, taken: usize, parts: [&[u8]; 3]) {
        let kept_left = self.kept.len() - self.written;
        let mut skip = taken.saturating_sub(kept_left);
        if taken >= kept_left {
            // A message of which nothing is sent keeps its head where `unsent_body` finds it.
            if taken > 0 || kept_left == 0 {
                self.kept.clear();
                self.written = 0;
            }
        } else {
            self.written += taken;
        }
        for part in parts {
            let skipped = skip.min(part.len());
            skip -= skipped;
            self.kept.extend_from_slice(&part[skipped..]);
        }
        self.is_blocked = self.written < self.kept.len();
        // A peer that takes little at a time is given little at a time, so that little is kept for it.
        self.room = if self.is_blocked {
            taken.clamp(ROOM_MIN, Scratch::BYTES)
        } else {
            (self.room * 2).min(Scratch::BYTES)
        };
    }
}

/// RFC 9112 §7.1: what stands before and behind a piece of payload.
fn chunk_around(bytes: &[u8], last: bool) -> ([u8; 18], usize, &'static [u8]) {
    let (head, head_len) = match bytes.len() {
        0 => ([0; 18], 0), // an empty chunk would end the body
        len => encode_chunk_head(len as u64),
    };
    let tail: &[u8] = match (bytes.is_empty(), last) {
        (true, true) => LAST_CHUNK,
        (true, false) => b"",
        (false, false) => b"\r\n",
        (false, true) => b"\r\n0\r\n\r\n",
    };
    (head, head_len, tail)
}

/// Up to here one copy is cheaper than a longer `writev`.
const COPY_BYTES_MAX: usize = 2048;
const ROOM_MIN: usize = 16 * 1024;

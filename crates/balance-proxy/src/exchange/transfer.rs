//! One attempt's transfer: the request goes up while its response is awaited, then the response comes
//! down. Both directions run in one poll and may overlap: a backend may answer before it has read the
//! request (robustness BE-08), and may stream both ways.
//!
//! ```text
//!  upload:    Sending ──last piece flushed──► Done
//!                └──── backend stops reading ► Stopped      (its answer may still come)
//!  download:  Awaiting ──head──► Streaming ──last piece──► Flushing ──► (end)
//!                └──── 101 ────────────────────────────► Switching ──► (end)
//! ```
//!
//! While it waits, exactly one deadline runs, chosen by what it waits for ([`Wait`]); progress renews it.

use std::io;
use std::ops::Range;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use balance_core::{Cause, Timeouts};
use balance_lb::AttemptFailure;
use balance_proto::{BodyLength, HeadView, ResponseBody, ResponseView};
use balance_tls::TlsFault;

use super::Exchange;
use super::sides::{
    BackendError, BodySink, BodySource, ClientEvent, Downstream, Form, Piece, ResponseStep,
    Transport, Upstream,
};
use crate::mirror;
use crate::planted;
use crate::wheel::Timer;
use crate::worker::Worker;

/// How a transfer ended well.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Transferred {
    Complete,
    /// The backend switched protocols; the 101 is on its way.
    Switched,
}

/// How a transfer failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct TransferError {
    pub(crate) cause: Cause,
    /// The backend closed the connection before any byte of a response: on a reused one it may just have
    /// been idle for too long, else the backend is ending.
    pub(crate) is_unanswered: bool,
    /// Why the backend ended TLS in place of an answer.
    pub(crate) tls: Option<TlsFault>,
    /// There is a response, and another attempt takes its place. `cause` says nothing then.
    pub(crate) put_aside: Option<PutAside>,
}

/// A response that the client does not get to see: its status is one that is repeated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct PutAside {
    pub(crate) status: u16,
    /// Request and response are complete: the connection may serve another exchange.
    pub(crate) is_whole: bool,
    /// Until the next attempt.
    pub(crate) after_ms: u64,
}

/// One attempt's transfer.
pub(crate) struct Transfer<'a, D, T: Transport> {
    pub(crate) worker: &'a Rc<Worker>,
    pub(crate) timer: &'a Timer,
    transport: &'a T,
    pub(crate) timeouts: &'a Timeouts,
    pub(crate) exchange: &'a mut Exchange,
    pub(crate) down: &'a mut D,
    pub(crate) up: &'a mut T::Upstream,
    upload: Upload,
    download: Download,
    waits_for: Option<Wait>,
    client_is_half_closed: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Upload {
    Sending,
    /// Everything was pushed; it may not be flushed yet.
    Flushing,
    Done,
    Stopped,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Download {
    Awaiting,
    Streaming,
    Flushing,
    Switching,
}

/// What a transfer waits for, and so which deadline runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Wait {
    ClientBody,
    ClientRead,
    BackendRead,
    BackendHead,
    BackendBody,
}

impl<'a, D: Downstream, T: Transport> Transfer<'a, D, T> {
    pub(crate) fn new(
        context: &super::Context<'a, T>,
        timeouts: &'a Timeouts,
        exchange: &'a mut Exchange,
        down: &'a mut D,
        up: &'a mut T::Upstream,
    ) -> Self {
        let upload = if exchange.upload_is_pushed() {
            Upload::Flushing
        } else {
            Upload::Sending
        };
        Self {
            worker: context.worker,
            timer: context.timer,
            transport: context.transport,
            timeouts,
            exchange,
            down,
            up,
            upload,
            download: Download::Awaiting,
            waits_for: None,
            client_is_half_closed: false,
        }
    }

    pub(crate) fn poll(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Result<Transferred, TransferError>> {
        let before = self.progress();
        let waits_for = match self.poll_both(cx) {
            Ok(None) => return Poll::Ready(Ok(self.ended())),
            Ok(Some(waits_for)) => waits_for,
            Err(error) => return Poll::Ready(Err(error)),
        };
        let held_bytes = self.down.held_bytes() + self.up.held_bytes();
        let held_bytes = held_bytes + self.exchange.kept_body().len();
        self.exchange.hold(self.worker, held_bytes);
        if self.waits_for != Some(waits_for) || self.progress() != before {
            self.waits_for = Some(waits_for);
            self.arm(waits_for);
        }
        ready!(self.timer.poll_expired(cx));
        Poll::Ready(Err(fail(self.timeout_cause(waits_for))))
    }

    fn ended(&self) -> Transferred {
        match self.download {
            Download::Switching => Transferred::Switched,
            _ => Transferred::Complete,
        }
    }

    /// Drives both directions as far as they go; what it waits for then, or `None` at the end.
    fn poll_both(&mut self, cx: &mut Context<'_>) -> Result<Option<Wait>, TransferError> {
        let upload_waits_for = self.poll_upload(cx)?;
        let download_waits_for = match self.poll_download(cx)? {
            Poll::Ready(()) => return Ok(None),
            Poll::Pending => self.download_wait(),
        };
        if let Poll::Ready(event) = self.poll_client(cx) {
            if self.exchange.ends_with(event) {
                return Err(fail(Cause::ClientClosed));
            }
            self.client_is_half_closed = true;
        }
        let upload_waits_for = match upload_waits_for {
            // A client that waits for a 100 is not slow: the backend is (RFC 9110 §10.1.1).
            Some(Wait::ClientBody) if self.awaits_continue() => Some(Wait::BackendHead),
            other => other,
        };
        Ok(Some(match (upload_waits_for, download_waits_for) {
            // A client that does not read its response is waited for whatever else is going on.
            (_, Wait::ClientRead) => Wait::ClientRead,
            (Some(upload), _) => upload,
            (None, download) => download,
        }))
    }

    /// Watches the client while nothing is read from it anyway.
    fn poll_client(&mut self, cx: &mut Context<'_>) -> Poll<ClientEvent> {
        let is_reading = self.upload == Upload::Sending;
        if is_reading && self.down.is_lost() {
            // Its request is not read while the backend does not take it.
            return Poll::Ready(ClientEvent::Gone);
        }
        if is_reading || self.client_is_half_closed {
            return Poll::Pending;
        }
        self.down.poll_client(cx)
    }

    fn poll_upload(&mut self, cx: &mut Context<'_>) -> Result<Option<Wait>, TransferError> {
        loop {
            match self.upload {
                Upload::Done | Upload::Stopped => return Ok(None),
                Upload::Flushing => match self.up.poll_flush(cx) {
                    Poll::Pending => return Ok(Some(Wait::BackendRead)),
                    Poll::Ready(Ok(())) => {
                        self.upload = Upload::Done;
                        self.down.on_body_sent();
                    }
                    Poll::Ready(Err(_)) => self.stop_upload(),
                },
                Upload::Sending => match self.poll_upload_piece(cx)? {
                    Poll::Ready(()) => {}
                    Poll::Pending => {
                        // What stands ready (the head) must not wait for the body: the client may be
                        // waiting for our 100 (RFC 9110 §10.1.1).
                        return match self.up.poll_flush(cx) {
                            Poll::Pending => Ok(Some(Wait::BackendRead)),
                            Poll::Ready(Ok(())) => Ok(Some(Wait::ClientBody)),
                            Poll::Ready(Err(_)) => {
                                self.stop_upload();
                                Ok(None)
                            }
                        };
                    }
                },
            }
        }
    }

    /// Moves one piece of the request body. Pending: nothing to move, or the backend does not take more.
    fn poll_upload_piece(&mut self, cx: &mut Context<'_>) -> Result<Poll<()>, TransferError> {
        if self.exchange.upload_began {
            match self.up.poll_flush(cx) {
                Poll::Pending => return Ok(Poll::Pending),
                Poll::Ready(Ok(())) => {}
                Poll::Ready(Err(_)) => {
                    self.stop_upload();
                    return Ok(Poll::Ready(()));
                }
            }
        }
        let room = self.room(self.up.room());
        if let Some((range, last)) = self.exchange.next_kept(room) {
            self.add_request_trailers(last);
            let bytes = &self.exchange.kept_body()[range];
            let pushed = self.up.push(cx, bytes, Form::Payload, last);
            self.on_pushed(pushed, last);
            return Ok(Poll::Ready(()));
        }
        let form = if self.exchange.reads_payload() {
            Form::Payload
        } else {
            self.up.form()
        };
        let mut scratch = self.worker.scratch.borrow();
        let room = room.min(scratch.len());
        let piece = match self.down.poll_piece(cx, &mut scratch[..room], form) {
            Poll::Pending => return Ok(Poll::Pending),
            Poll::Ready(Ok(piece)) => piece,
            Poll::Ready(Err(error)) => return Err(fail(error.cause())),
        };
        planted::panic_for("upload", self.down.request());
        self.exchange.upload_began = true;
        self.exchange.upload_is_complete = piece.last;
        self.add_request_trailers(piece.last);
        let bytes = &scratch[piece.range];
        self.exchange.on_upload_piece(self.worker, bytes);
        if self.exchange.collecting.is_some() {
            let copied = (bytes, piece.form, piece.last);
            mirror::on_piece(
                self.worker,
                self.transport,
                self.exchange,
                self.down,
                copied,
            );
        }
        let pushed = self.up.push(cx, bytes, piece.form, piece.last);
        drop(scratch);
        self.on_pushed(pushed, piece.last);
        Ok(Poll::Ready(()))
    }

    /// What the client sent behind its `last` piece goes in front of that.
    fn add_request_trailers(&mut self, last: bool) {
        if let Some(trailers) = self.down.trailers().filter(|_| last) {
            self.up.add_trailers(trailers);
        }
    }

    fn on_pushed(&mut self, pushed: io::Result<()>, last: bool) {
        match pushed {
            Err(_) => self.stop_upload(),
            Ok(()) if last => self.upload = Upload::Flushing,
            Ok(()) => {}
        }
    }

    /// How much may be read for a sink with this much room.
    fn room(&self, sink_room: usize) -> usize {
        sink_room.min(self.worker.budget.piece_bytes_max())
    }

    /// The backend takes no more of the request. It may have answered all the same (BE-08), so the
    /// response is still read; if there is none, that says why.
    fn stop_upload(&mut self) {
        self.upload = Upload::Stopped;
    }

    fn poll_download(&mut self, cx: &mut Context<'_>) -> Result<Poll<()>, TransferError> {
        loop {
            let step = match self.download {
                Download::Awaiting => self.poll_head(cx)?,
                Download::Streaming => self.poll_download_piece(cx)?,
                Download::Flushing | Download::Switching => {
                    return match self.down.poll_flush(cx) {
                        Poll::Pending => Ok(Poll::Pending),
                        Poll::Ready(Ok(())) => Ok(Poll::Ready(())),
                        Poll::Ready(Err(_)) => Err(fail(Cause::ClientClosed)),
                    };
                }
            };
            if step.is_pending() {
                return Ok(Poll::Pending);
            }
        }
    }

    fn awaits_continue(&self) -> bool {
        let is_asked = self.down.expects_continue() && !self.exchange.upload_began;
        is_asked && self.exchange.interim_responses == 0
    }

    fn poll_head(&mut self, cx: &mut Context<'_>) -> Result<Poll<()>, TransferError> {
        // An interim response that could not be written at once: the client may be waiting for it.
        if self.down.is_blocked()
            && let Poll::Ready(Err(_)) = self.down.poll_flush(cx)
        {
            return Err(fail(Cause::ClientClosed));
        }
        let mut scratch = self.worker.scratch.borrow();
        // With the head comes content, which a client without a window makes us keep: no more than a piece of it. What
        // is kept of the head already has to fit beside it.
        let room = self.room(self.down.room()).max(self.up.held_bytes());
        let room = room.min(scratch.len());
        let step = match self.up.poll_response(cx, &mut scratch[..room]) {
            Poll::Pending => return Ok(Poll::Pending),
            Poll::Ready(Ok(step)) => step,
            Poll::Ready(Err(error)) => {
                return Err(TransferError {
                    cause: error.cause(),
                    is_unanswered: error == BackendError::Closed,
                    tls: match error {
                        BackendError::Tls(fault) => Some(fault),
                        _ => None,
                    },
                    put_aside: None,
                });
            }
        };
        match step {
            ResponseStep::Interim => self.on_interim(cx)?,
            ResponseStep::Switching => {
                if !self.switches_as_offered() {
                    return Err(fail(Cause::HttpUpgradeFailed));
                }
                self.exchange
                    .on_response_head(self.worker, self.up.response());
                self.exchange.response_began = true;
                self.exchange.on_committed();
                self.down
                    .start_switch(self.up.response(), &self.exchange.response_edits);
                self.push_down(cx, &[], Piece::END)?;
                self.download = Download::Switching;
            }
            ResponseStep::Final { rest } => self.on_head(cx, &mut scratch, rest)?,
        }
        Ok(Poll::Ready(()))
    }

    /// RFC 9110 §7.8: a backend must not switch to a protocol that the client did not offer. Whoever
    /// reads the bytes behind such a 101 by what it offered is at the mercy of who sent them.
    fn switches_as_offered(&self) -> bool {
        let chosen = self.up.response().get(b"upgrade");
        let (Some(offered), Some(chosen)) = (self.down.offered_upgrade(), chosen) else {
            return false;
        };
        let mut chosen = chosen.split(|byte| *byte == b',').map(<[u8]>::trim_ascii);
        chosen.all(|chosen| {
            let mut offered = offered.split(|byte| *byte == b',').map(<[u8]>::trim_ascii);
            offered.any(|offered| offered.eq_ignore_ascii_case(chosen))
        })
    }

    fn on_interim(&mut self, cx: &mut Context<'_>) -> Result<(), TransferError> {
        self.exchange.interim_responses += 1;
        if self.exchange.interim_responses > self.exchange.interim_responses_max {
            return Err(fail(Cause::HttpProtocolError));
        }
        self.exchange.clean_response(self.up.response());
        self.down
            .add_interim(self.up.response(), &self.exchange.response_edits);
        match self.down.poll_flush(cx) {
            Poll::Ready(Err(_)) => Err(fail(Cause::ClientClosed)),
            Poll::Ready(Ok(())) | Poll::Pending => Ok(()),
        }
    }

    fn on_head(
        &mut self,
        cx: &mut Context<'_>,
        scratch: &mut [u8],
        rest: Range<usize>,
    ) -> Result<(), TransferError> {
        planted::panic_for("response-head", self.down.request());
        if may_be_repeated(self.up.response().status())
            && let Some(put_aside) = self.put_aside(scratch, rest.clone())
        {
            return Err(TransferError {
                put_aside: Some(put_aside),
                ..fail(Cause::DestinationUnavailable)
            });
        }
        self.exchange
            .on_response_head(self.worker, self.up.response());
        let body = self.up.response_body();
        // RFC 9112 §9.3: a connection whose request was not read to its end cannot carry another one. That
        // the rest is still coming cannot be waited for: the client may be waiting for this answer.
        let closes = !self.exchange.upload_is_complete
            || self.exchange.must_close(self.worker)
            || !self.down.can_be_kept();
        self.exchange.closes = closes;
        self.down.start_response(
            self.up.response(),
            &self.exchange.response_edits,
            body,
            closes,
        );
        let has_no_body = matches!(body, ResponseBody::None | ResponseBody::Exact(0));
        let piece = if has_no_body {
            Piece::END
        } else {
            match self.up.first_piece(scratch, rest, self.down.form()) {
                Ok(piece) => piece,
                Err(error) => {
                    // Nothing of the head was written: the client can still be told what is wrong (BE-06).
                    self.down.take_back_response();
                    return Err(fail(error.cause()));
                }
            }
        };
        self.exchange.response_began = true;
        self.exchange.on_committed();
        self.download = if piece.last {
            Download::Flushing
        } else {
            Download::Streaming
        };
        self.push_down(cx, scratch, piece)
    }

    /// Whether another attempt takes the place of this response.
    fn put_aside(&mut self, scratch: &mut [u8], rest: Range<usize>) -> Option<PutAside> {
        let status = self.up.response().status();
        let failure = AttemptFailure::Status(status);
        let after_ms = self
            .exchange
            .grant_retry(self.worker, self.down, failure, false)?;
        self.exchange.on_put_aside(self.worker);
        let body = self.up.response_body();
        let has_no_body = matches!(body, ResponseBody::None | ResponseBody::Exact(0));
        // A body that is not there yet is not waited for: closing costs less.
        let is_read = has_no_body
            || matches!(self.up.first_piece(scratch, rest, Form::Payload), Ok(piece) if piece.last);
        Some(PutAside {
            status,
            is_whole: is_read && self.upload == Upload::Done,
            after_ms,
        })
    }

    fn poll_download_piece(&mut self, cx: &mut Context<'_>) -> Result<Poll<()>, TransferError> {
        match self.down.poll_flush(cx) {
            Poll::Pending => return Ok(Poll::Pending),
            Poll::Ready(Err(_)) => return Err(fail(Cause::ClientClosed)),
            Poll::Ready(Ok(())) => {}
        }
        let mut scratch = self.worker.scratch.borrow();
        let room = self.room(self.down.room()).min(scratch.len());
        let piece = match self
            .up
            .poll_piece(cx, &mut scratch[..room], self.down.form())
        {
            Poll::Pending => return Ok(Poll::Pending),
            Poll::Ready(Ok(piece)) => piece,
            Poll::Ready(Err(error)) => return Err(fail(error.cause())),
        };
        planted::panic_for("response-body", self.down.request());
        if piece.last {
            self.download = Download::Flushing;
        }
        self.push_down(cx, &scratch, piece)?;
        Ok(Poll::Ready(()))
    }

    fn push_down(
        &mut self,
        cx: &mut Context<'_>,
        scratch: &[u8],
        piece: Piece,
    ) -> Result<(), TransferError> {
        if let Some(trailers) = self.up.trailers().filter(|_| piece.last) {
            self.down.add_trailers(trailers);
        }
        self.down
            .push(cx, &scratch[piece.range], piece.form, piece.last)
            .map_err(|_| fail(Cause::ClientClosed))
    }

    fn download_wait(&self) -> Wait {
        match self.download {
            Download::Awaiting => Wait::BackendHead,
            Download::Flushing | Download::Switching => Wait::ClientRead,
            Download::Streaming if self.down.is_blocked() => Wait::ClientRead,
            Download::Streaming => Wait::BackendBody,
        }
    }

    /// Grows while something is moved. Of a response head only its end counts, not each byte: `first_byte`
    /// is the deadline of the whole head, or a backend that drips could hold the exchange for ever.
    fn progress(&self) -> u64 {
        if self.download == Download::Awaiting {
            let interim = u64::from(self.exchange.interim_responses);
            let sent = self.up.sent_bytes().wrapping_add(self.down.sent_bytes());
            return sent
                .wrapping_add(self.down.received_bytes())
                .wrapping_add(interim);
        }
        let up = self.up.sent_bytes().wrapping_add(self.up.received_bytes());
        let down = self
            .down
            .sent_bytes()
            .wrapping_add(self.down.received_bytes());
        up.wrapping_add(down)
    }

    fn arm(&mut self, waits_for: Wait) {
        let timeout = match waits_for {
            Wait::ClientBody | Wait::BackendBody => self.timeouts.read,
            Wait::ClientRead | Wait::BackendRead => self.timeouts.write_progress,
            Wait::BackendHead => self.timeouts.first_byte,
        };
        let now_ms = self.exchange.recent_ms(self.worker);
        match waits_for {
            Wait::BackendRead | Wait::BackendHead => {
                self.exchange.arm_try(self.timer, now_ms, timeout);
            }
            _ => self.exchange.arm(self.timer, now_ms, timeout),
        }
    }

    fn timeout_cause(&self, waits_for: Wait) -> Cause {
        if self.worker.is_cut() {
            return Cause::Draining;
        }
        if self.exchange.is_overdue(self.worker) {
            return Cause::HttpResponseTimeout;
        }
        match waits_for {
            Wait::ClientBody | Wait::ClientRead => Cause::ClientTimeout,
            Wait::BackendRead => Cause::ConnectionWriteTimeout,
            Wait::BackendHead => Cause::HttpResponseTimeout,
            Wait::BackendBody => Cause::ConnectionReadTimeout,
        }
    }
}

/// Whether a request has no body to send.
pub(crate) fn is_empty(body: BodyLength) -> bool {
    matches!(body, BodyLength::Exact(0))
}

fn fail(cause: Cause) -> TransferError {
    TransferError {
        cause,
        is_unanswered: false,
        tls: None,
        put_aside: None,
    }
}

/// Statuses that a policy can name; all others pay for one look.
fn may_be_repeated(status: u16) -> bool {
    status == 429 || status >= 500
}

//! Frames about the connection or about a stream as a whole: SETTINGS, PING, GOAWAY, WINDOW_UPDATE, RST_STREAM, PRIORITY.

use super::{Connection, Drain, Event, Role};
use crate::http2::error::{ErrorCode, Violation};
use crate::http2::frame::{
    FrameHeader, FrameKind, GoAway, Priority, Setting, StreamId, encode_goaway, encode_ping,
    encode_reset, encode_settings_ack, flags, parse_ping, parse_reset, parse_window_update,
    settings,
};
use crate::http2::stream::{Closed, Wait};
use std::time::Instant;

impl Connection {
    /// Asks for a sign of life, told as [`Event::Pong`]. The payload is the caller's, except [`Connection::DRAIN_PING`].
    pub fn ping(&self, out: &mut Vec<u8>, payload: [u8; 8]) {
        encode_ping(out, payload, false);
    }

    /// The payload of the PING of a drain.
    pub const DRAIN_PING: [u8; 8] = *b"draining";

    /// Begins to end the connection in two steps (RFC 9113 §6.8): first no id is excluded, because requests may be on
    /// their way. A PING follows; what comes after its answer was sent by a client that knew.
    pub fn drain(&mut self, out: &mut Vec<u8>) {
        if self.drain == Drain::No {
            self.drain = Drain::Announced;
            encode_goaway(out, StreamId::MAX, ErrorCode::NO_ERROR);
            encode_ping(out, Self::DRAIN_PING, false);
        }
    }

    /// The second step, which the answer to the PING takes by itself: for a peer that does not answer in time.
    pub fn finish_drain(&mut self, out: &mut Vec<u8>) {
        if !matches!(self.drain, Drain::Final(_)) {
            self.drain = Drain::Final(self.last_peer_id);
            encode_goaway(out, self.last_peer_id, ErrorCode::NO_ERROR);
        }
    }

    /// A whole frame, other than DATA.
    pub(super) fn on_frame(
        &mut self,
        now: Instant,
        header: FrameHeader,
        payload: &[u8],
        out: &mut Vec<u8>,
    ) -> Result<Option<Event<'static>>, Violation> {
        match header.kind {
            FrameKind::Headers => self.on_headers(now, header, payload, out),
            FrameKind::Continuation => self.on_continuation(now, header, payload, out),
            FrameKind::Settings if header.has(flags::ACK) => Ok(None),
            FrameKind::Settings => self.on_settings(now, payload, out),
            FrameKind::Ping => self.on_ping(now, header, payload, out),
            FrameKind::GoAway => Ok(self.on_goaway(payload)),
            FrameKind::WindowUpdate => self.on_window_update(now, header, payload, out),
            FrameKind::Reset => self.on_reset(now, header, payload, out),
            FrameKind::Priority => self.on_priority(now, header, payload, out),
            // Neither is read as a whole.
            FrameKind::Data | FrameKind::PushPromise | FrameKind::Unknown(_) => Ok(None),
        }
    }

    /// RFC 9113 §6.5.3: all of them in order, then one acknowledgement.
    fn on_settings(
        &mut self,
        now: Instant,
        payload: &[u8],
        out: &mut Vec<u8>,
    ) -> Result<Option<Event<'static>>, Violation> {
        self.budget.on_idle_frame(now, &self.settings.budget)?;
        for setting in settings(payload) {
            setting.check()?;
            match setting.id {
                Setting::MAX_CONCURRENT_STREAMS => self.peer.streams_max = setting.value,
                Setting::INITIAL_WINDOW_SIZE => self.change_initial_window(setting.value)?,
                // RFC 9113 §6.5.2: a server sends nothing but 0.
                Setting::ENABLE_PUSH if self.role == Role::Client && setting.value != 0 => {
                    return Err(Violation::SettingInvalid);
                }
                _ => {}
            }
        }
        encode_settings_ack(out);
        Ok(Some(Event::Settings))
    }

    /// RFC 9113 §6.9.2: it changes the windows of all streams, which may become negative.
    fn change_initial_window(&mut self, window: u32) -> Result<(), Violation> {
        let by = i64::from(window).saturating_sub(i64::from(self.peer.window));
        self.peer.window = window;
        for stream in self.streams.iter_mut() {
            stream.send_window.change(by)?;
            if stream.wait == Wait::ForStream && stream.send_window.available() > 0 {
                stream.wait = Wait::InTurn;
                self.ready.push_back(stream.id);
            }
        }
        Ok(())
    }

    /// RFC 9113 §6.7.
    fn on_ping(
        &mut self,
        now: Instant,
        header: FrameHeader,
        payload: &[u8],
        out: &mut Vec<u8>,
    ) -> Result<Option<Event<'static>>, Violation> {
        let payload = parse_ping(payload);
        self.budget.on_earned_frame(now, &self.settings.budget)?;
        if !header.has(flags::ACK) {
            encode_ping(out, payload, true);
            return Ok(None);
        }
        if payload == Self::DRAIN_PING {
            if self.drain == Drain::Announced {
                self.finish_drain(out);
            }
            return Ok(None);
        }
        Ok(Some(Event::Pong { payload }))
    }

    /// RFC 9113 §6.8. A later one may only lower the last stream.
    fn on_goaway(&mut self, payload: &[u8]) -> Option<Event<'static>> {
        let GoAway { last, code } = GoAway::parse(payload)?;
        let last = self.peer_last_id.map_or(last, |known| known.min(last));
        // A server that gives us up processes none of our streams above; a client has no say about its own.
        if self.role == Role::Client {
            self.peer_last_id = Some(last);
        }
        Some(Event::GoAway { last, code })
    }

    /// RFC 9113 §6.9.
    fn on_window_update(
        &mut self,
        now: Instant,
        header: FrameHeader,
        payload: &[u8],
        out: &mut Vec<u8>,
    ) -> Result<Option<Event<'static>>, Violation> {
        self.budget.on_earned_frame(now, &self.settings.budget)?;
        let increment = parse_window_update(payload);
        if header.stream == StreamId::CONNECTION {
            return match increment {
                0 => Err(Violation::WindowIncrementZero),
                _ => self.send_window.change(i64::from(increment)).map(|()| None),
            };
        }
        let Some(stream) = self.streams.get_mut(header.stream) else {
            return match self.is_idle(header.stream) {
                true => Err(Violation::StreamIdle),
                // It may have been on its way (RFC 9113 §5.1).
                false => Ok(None),
            };
        };
        let changed = match increment {
            0 => Err(Violation::WindowIncrementZero),
            _ => stream.send_window.change(i64::from(increment)),
        };
        if let Err(violation) = changed {
            return self.fail_stream(now, header.stream, violation, out);
        }
        if stream.wait == Wait::ForStream && stream.send_window.available() > 0 {
            stream.wait = Wait::InTurn;
            self.ready.push_back(header.stream);
        }
        Ok(None)
    }

    /// RFC 9113 §6.4.
    fn on_reset(
        &mut self,
        now: Instant,
        header: FrameHeader,
        payload: &[u8],
        out: &mut Vec<u8>,
    ) -> Result<Option<Event<'static>>, Violation> {
        let stream = header.stream;
        if self.is_idle(stream) {
            return Err(Violation::StreamIdle);
        }
        if self.forget(stream, Closed::ByPeer, out).is_none() {
            self.budget.on_idle_frame(now, &self.settings.budget)?;
            return Ok(None);
        }
        // A server may refuse as many streams as it likes; a client that does so makes us work for nothing.
        if self.role == Role::Server {
            self.budget.on_reset(now, &self.settings.budget)?;
        }
        let code = parse_reset(payload);
        Ok(Some(Event::Reset { stream, code }))
    }

    /// RFC 9113 §6.3: possible in every state, and without meaning here.
    fn on_priority(
        &mut self,
        now: Instant,
        header: FrameHeader,
        payload: &[u8],
        out: &mut Vec<u8>,
    ) -> Result<Option<Event<'static>>, Violation> {
        self.budget.on_earned_frame(now, &self.settings.budget)?;
        let priority = payload.first_chunk().map(Priority::parse);
        let depends_on_itself = priority.is_some_and(|own| own.depends_on == header.stream);
        if depends_on_itself && self.streams.get(header.stream).is_some() {
            return self.fail_stream(now, header.stream, Violation::DependsOnItself, out);
        }
        Ok(None)
    }

    /// RFC 9113 §5.1: never opened, by either side.
    pub(super) fn is_idle(&self, stream: StreamId) -> bool {
        match (self.role, stream.is_of_client()) {
            (Role::Server, true) => stream > self.last_peer_id,
            (Role::Client, true) => self.next_own_id.is_some_and(|next| stream >= next),
            // Nobody pushes.
            (_, false) => true,
        }
    }

    /// DATA or a field block on a stream that is not in the table.
    pub(super) fn on_late_frame(
        &mut self,
        now: Instant,
        stream: StreamId,
    ) -> Result<(), Violation> {
        if self.is_idle(stream) {
            return Err(Violation::StreamIdle);
        }
        let is_ignored = match self.drain {
            Drain::Final(last) if self.role == Role::Server => stream > last,
            _ => false,
        };
        // Of a server that we connected to it may be long ago that we reset the stream: a client that goes away takes many
        // at once, and what was on its way for them must not cost the others their connection.
        let is_ours = match (self.closed.find(stream), self.role) {
            (Closed::ByUs, _) | (Closed::Unknown, Role::Client) => true,
            (Closed::ByPeer, _) | (Closed::Unknown, Role::Server) => false,
        };
        if is_ignored || is_ours {
            self.budget.on_idle_frame(now, &self.settings.budget)?;
            return Ok(());
        }
        Err(Violation::StreamClosed)
    }

    /// A violation that costs the stream (RFC 9113 §5.4.2). It is counted: a peer can make us reset streams as well as
    /// reset them itself, at the same price for us.
    pub(super) fn fail_stream(
        &mut self,
        now: Instant,
        stream: StreamId,
        violation: Violation,
        out: &mut Vec<u8>,
    ) -> Result<Option<Event<'static>>, Violation> {
        self.budget.on_reset(now, &self.settings.budget)?;
        if self.forget(stream, Closed::ByUs, out).is_none() {
            // Its head was never told, or it is closed already.
            self.closed.push(stream, Closed::ByUs);
        }
        encode_reset(out, stream, violation.code());
        Ok(Some(Event::Failed { stream, violation }))
    }
}

//! HTTP/1 connections to backends: taken from the idle ones, opened, and given back.

use std::rc::Rc;

use balance_core::Timeouts;
use balance_proto::http1::HeadSettings;
use balance_proto::proxy_protocol::ConnectionEnds;

use super::upstream::{Http1Upstream, UpstreamParts};
use crate::clock::millis;
use crate::maybe_tls::MaybeTls;
use crate::upstream::{Announced, ConnectError, IdleConnection, Member, connect};
use crate::worker::Worker;

/// How exchanges of one worker reach backends over HTTP/1.
pub(crate) struct Http1Transport<'w> {
    pub(crate) worker: &'w Worker,
    /// What response heads are held to.
    pub(crate) settings: HeadSettings,
    /// Whom backends are told to be the client, if they want to know.
    pub(crate) ends: Option<ConnectionEnds>,
}

impl Http1Transport<'_> {
    /// One that serves its first attempt, or another one.
    pub(crate) fn upstream(
        &self,
        stream: MaybeTls,
        announced: Option<Rc<Announced>>,
        is_reused: bool,
    ) -> Http1Upstream {
        let mut parts = self
            .worker
            .upstream_parts
            .take(|| Box::new(UpstreamParts::new()));
        parts.announced = announced;
        Http1Upstream::new(stream, parts, self.settings, is_reused)
    }

    /// What a connection to this backend begins with.
    pub(crate) fn announced(&self, member: &Member) -> Option<Announced> {
        let version = member.send_proxy()?;
        Some(Announced::new(version, self.ends))
    }

    /// Gives back what an attempt owned; a connection that is still in it is closed.
    pub(super) fn give_back(&self, mut parts: Box<UpstreamParts>) {
        parts.clear();
        self.worker.upstream_parts.give_back(parts);
    }

    /// A connection that waits to be used again.
    pub(crate) fn reuse(&self, member: &Member, now_ms: u64) -> Option<Http1Upstream> {
        let announced = self.announced(member);
        let idle = member.idle().take(now_ms, announced.as_ref())?;
        Some(self.upstream(idle.stream, idle.announced, true))
    }

    /// A new one.
    pub(crate) async fn open(
        &self,
        member: &Member,
        timeouts: &Timeouts,
    ) -> Result<Http1Upstream, ConnectError> {
        let announced = self.announced(member).map(Rc::new);
        let opening = connect(self.worker, member, timeouts.connect, announced.as_deref());
        let stream = opening.await?;
        Ok(self.upstream(stream, announced, false))
    }

    /// The exchange is over; `clean` when request and response were complete.
    pub(crate) fn settle(
        &self,
        member: &Member,
        upstream: Http1Upstream,
        clean: bool,
        now_ms: u64,
    ) {
        let may_be_kept = clean && upstream.can_be_kept() && !self.worker.is_draining();
        // The backend closes N seconds after the last response; a request sent in that moment is lost
        // (robustness BE-02), so one second is left.
        let announced_ms = upstream
            .announced_timeout()
            .map_or(u64::MAX, |limit| millis(limit).saturating_sub(1000));
        let idle_ms = announced_ms.min(member.idle().timeout_ms());
        let (stream, mut parts) = upstream.into_parts();
        match stream {
            // A reload may have changed in between how the backend is to be reached.
            Some(stream)
                if may_be_kept
                    && idle_ms > 0
                    && stream.is_drained()
                    && stream.identity() == member.tls_identity() =>
            {
                member.idle().keep(IdleConnection {
                    stream,
                    announced: parts.announced.take(),
                    since_ms: now_ms,
                    expires_ms: now_ms.saturating_add(idle_ms),
                });
                self.worker.touch(now_ms);
            }
            Some(mut stream) if clean => stream.end(),
            Some(_) | None => {}
        }
        self.give_back(parts);
    }
}

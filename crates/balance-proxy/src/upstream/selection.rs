//! Which backend next: the part of an exchange or session that L7 and L4 share.

use std::net::IpAddr;

use balance_core::{Cause, HashKey, PoolId};
use balance_lb::{Lease, NoBackend, Outcome, Pick, PickRequest, TriedSet, hash_ip, hash_key};

use super::connect::ConnectError;
use super::member::Member;
use super::outcome::{announce_trial, report};
use crate::snapshot::PoolRules;
use crate::worker::{Worker, WorkerSnapshot};

/// What has been tried so far.
#[derive(Default)]
pub(crate) struct Selection {
    hash: u64,
    tried: TriedSet,
    attempts: u32,
    last_connect_error: Option<ConnectError>,
    /// A retry was granted: when all have been tried, they may be tried again.
    may_return: bool,
}

/// What a hash algorithm hashes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum HashSource<'v> {
    Header {
        name: &'v str,
        value: &'v [u8],
    },
    Client {
        ip: IpAddr,
        /// The header that is configured and that the request does not have.
        instead_of: Option<&'v str>,
    },
}

impl<'v> HashSource<'v> {
    /// `None` where the pool's algorithm hashes nothing. `header` finds a field by its name.
    pub(crate) fn find(
        rules: &'v PoolRules,
        ip: IpAddr,
        header: impl FnOnce(&str) -> Option<&'v [u8]>,
    ) -> Option<Self> {
        if !rules.balancer.algorithm().needs_hash() {
            return None;
        }
        let name = match &rules.hash_key {
            HashKey::SourceIp => None,
            HashKey::Header(name) => Some(name.as_str()),
        };
        let found = name.and_then(|name| Some((name, header(name)?)));
        Some(match found {
            Some((name, value)) => Self::Header { name, value },
            None => Self::Client {
                ip,
                instead_of: name,
            },
        })
    }

    pub(crate) fn hash(self) -> u64 {
        match self {
            Self::Header { value, .. } => hash_key(value),
            Self::Client { ip, .. } => hash_ip(ip),
        }
    }
}

/// What a full pool does with who wants a place. There is no queue yet: who would wait is refused.
enum Queue {
    None,
}

impl Selection {
    pub(crate) fn clear(&mut self) {
        self.hash = 0;
        self.tried.clear();
        self.attempts = 0;
        self.last_connect_error = None;
        self.may_return = false;
    }

    /// Another backend is preferred from now on, and where there is none, one that was tried will do.
    pub(crate) fn may_return(&mut self) {
        self.may_return = true;
    }

    pub(crate) fn attempts(&self) -> u32 {
        self.attempts
    }

    /// Sets what a hash algorithm hashes, if the pool has one.
    pub(crate) fn set_hash<'v>(
        &mut self,
        snapshot: &'v WorkerSnapshot,
        pool: PoolId,
        client: IpAddr,
        header: impl FnOnce(&str) -> Option<&'v [u8]>,
    ) {
        let rules = &snapshot.rules.pools[pool.index()];
        if let Some(source) = HashSource::find(rules, client, header) {
            self.hash = source.hash();
        }
    }

    /// Picks a backend that was not tried yet, or any after [`Selection::may_return`], and takes a place at it.
    pub(crate) async fn pick(
        &mut self,
        worker: &Worker,
        snapshot: &WorkerSnapshot,
        pool: PoolId,
        now_ms: u64,
    ) -> Result<Lease<Member>, Cause> {
        let members = &snapshot.pools[pool.index()].members;
        loop {
            let picked = {
                let mut random = worker.rng.borrow_mut();
                let mut request = PickRequest {
                    now_ms,
                    hash: self.hash,
                    random: &mut random,
                    tried: &self.tried,
                };
                snapshot.rules.pools[pool.index()]
                    .balancer
                    .pick(members, &mut request)
            };
            match picked {
                Pick::Picked(index) => {
                    self.on_pick(index, &members[index]);
                    return Ok(Lease::adopt(members[index].clone()));
                }
                Pick::OnTrial(index, trial) => {
                    self.on_pick(index, &members[index]);
                    if trial.is_first {
                        announce_trial(&members[index]);
                    }
                    return Ok(Lease::adopt_trial(members[index].clone(), trial));
                }
                Pick::Full | Pick::Broken | Pick::Unavailable
                    if self.may_return && !self.tried.is_empty() =>
                {
                    self.may_return = false;
                    self.tried.clear();
                }
                Pick::Full => wait_for_place(Queue::None).await?,
                Pick::Broken => return Err(self.cause_of_none(NoBackend::Broken)),
                Pick::Unavailable => return Err(self.cause_of_none(NoBackend::Unavailable)),
            }
        }
    }

    fn on_pick(&mut self, index: usize, member: &Member) {
        self.tried.insert(index);
        self.attempts += 1;
        if self.attempts > 1 {
            member.series().retried();
        }
    }

    /// Of an exchange that has tried some what happened there is what is told.
    fn cause_of_none(&self, end: NoBackend) -> Cause {
        self.last_connect_error
            .map_or(cause_of(end), ConnectError::cause)
    }

    /// A backend could not be reached: it rests for a while, and another one may be tried.
    ///
    /// # Errors
    /// It was not the backend's fault, and the next one would fare no better.
    pub(crate) fn on_connect_failure(
        &mut self,
        worker: &Worker,
        lease: &Lease<Member>,
        error: ConnectError,
    ) -> Result<(), Cause> {
        let member = lease.backend();
        member.series().connect_failed();
        self.last_connect_error = Some(error);
        if error.is_ours() {
            return Err(error.cause());
        }
        let now_ms = worker.clock.now_ms();
        report(lease, Outcome::Failure, now_ms);
        let jitter = worker.rng.borrow_mut().next_u64();
        if let Some(rest) = member.on_connect_failure(now_ms, jitter) {
            tracing::warn!(
                backend = member.name(),
                reason = %error,
                rest_ms = rest.rest_ms,
                failures = rest.failures,
                "backend rests after a failed connect"
            );
        }
        Ok(())
    }
}

/// Where one waits when every backend is at its limit; returns when a place may have become free.
async fn wait_for_place(queue: Queue) -> Result<(), Cause> {
    match queue {
        Queue::None => Err(cause_of(NoBackend::Full)),
    }
}

/// How an exchange ends for which no backend can be had.
pub(crate) fn cause_of(end: NoBackend) -> Cause {
    match end {
        NoBackend::Full => Cause::ConnectionLimitReached,
        NoBackend::Broken => Cause::CircuitOpen,
        NoBackend::Unavailable => Cause::DestinationUnavailable,
    }
}

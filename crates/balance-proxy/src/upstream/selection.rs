//! Which backend next: the part of an exchange or session that L7 and L4 share.

use std::net::IpAddr;

use balance_core::{Cause, HashKey, PoolId};
use balance_lb::{
    Balancer, Lease, NoBackend, Outcome, Pick, PickRequest, PoolPlace, TriedSet, hash_ip, hash_key,
};

use super::connect::ConnectError;
use super::limits::PoolLimits;
use super::member::Member;
use super::outcome::{announce_trial, report};
use crate::worker::{Worker, WorkerPool, WorkerSnapshot};

/// What has been tried so far.
#[derive(Default)]
pub(crate) struct Selection {
    hash: u64,
    tried: TriedSet,
    attempts: u32,
    last_connect_error: Option<ConnectError>,
    /// A retry was granted: when all have been tried, they may be tried again.
    may_return: bool,
    /// Among those that the pool may use, where it has a limit.
    place: Option<PoolPlace>,
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
        balancer: &Balancer,
        key: &'v HashKey,
        ip: IpAddr,
        header: impl FnOnce(&str) -> Option<&'v [u8]>,
    ) -> Option<Self> {
        if !balancer.algorithm().needs_hash() {
            return None;
        }
        let name = match key {
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

/// Why nothing was picked.
pub(crate) enum NoPick {
    /// The pool is full, and has a queue to wait in.
    Full,
    Ended(Cause),
}

impl Selection {
    pub(crate) fn clear(&mut self) {
        self.hash = 0;
        self.tried.clear();
        self.attempts = 0;
        self.last_connect_error = None;
        self.may_return = false;
        self.place = None;
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
        let balancer = &snapshot.pools[pool.index()].balancer;
        let key = &snapshot.rules.pools[pool.index()].hash_key;
        if let Some(source) = HashSource::find(balancer, key, client, header) {
            self.hash = source.hash();
        }
    }

    /// Picks a backend that was not tried yet, or any after [`Selection::may_return`], and takes a place at it. Does not
    /// overtake those who wait for one.
    pub(crate) fn pick(
        &mut self,
        worker: &Worker,
        snapshot: &WorkerSnapshot,
        pool: PoolId,
        now_ms: u64,
    ) -> Result<Lease<Member>, NoPick> {
        let limits = &snapshot.rules.pools[pool.index()].limits;
        // Who has had an attempt does not wait again: its place may be what those in front wait for.
        let may_wait = limits.queue_max != 0 && self.attempts == 0;
        if may_wait && limits.queue.is_waited_in(limits.lane) {
            return Err(NoPick::Full);
        }
        self.pick_in_turn(worker, snapshot, pool, now_ms)
    }

    /// As [`Self::pick`], for whoever has waited.
    pub(crate) fn pick_in_turn(
        &mut self,
        worker: &Worker,
        snapshot: &WorkerSnapshot,
        pool: PoolId,
        now_ms: u64,
    ) -> Result<Lease<Member>, NoPick> {
        let rules = &snapshot.rules.pools[pool.index()];
        let pool = &snapshot.pools[pool.index()];
        let members = &pool.members;
        if rules.limits.max_connections != 0 && self.place.is_none() {
            self.place = Some(self.take_place_of(&rules.limits)?);
        }
        let mut picked = self.ask(worker, pool, now_ms);
        let is_none = matches!(picked, Pick::Full | Pick::Broken | Pick::Unavailable);
        if is_none && self.may_return && !self.tried.is_empty() {
            self.may_return = false;
            self.tried.clear();
            picked = self.ask(worker, pool, now_ms);
        }
        match picked {
            Pick::Picked(index) => {
                self.on_pick(index, &members[index]);
                Ok(Lease::adopt(members[index].clone()))
            }
            Pick::OnTrial(index, trial) => {
                self.on_pick(index, &members[index]);
                if trial.is_first {
                    announce_trial(&members[index]);
                }
                Ok(Lease::adopt_trial(members[index].clone(), trial))
            }
            Pick::Full => Err(self.full(&rules.limits)),
            Pick::Broken => Err(NoPick::Ended(self.cause_of_none(NoBackend::Broken))),
            Pick::Unavailable => Err(NoPick::Ended(self.cause_of_none(NoBackend::Unavailable))),
        }
    }

    fn ask(&self, worker: &Worker, pool: &WorkerPool, now_ms: u64) -> Pick {
        let mut random = worker.rng.borrow_mut();
        let mut request = PickRequest {
            now_ms,
            hash: self.hash,
            random: &mut random,
            tried: &self.tried,
        };
        pool.balancer.pick(&pool.members, &mut request)
    }

    /// The place at the pool, of all attempts together; given back when it is dropped.
    pub(crate) fn take_place(&mut self) -> Option<PoolPlace> {
        self.place.take()
    }

    fn take_place_of(&self, limits: &PoolLimits) -> Result<PoolPlace, NoPick> {
        let taken = limits
            .queue
            .take_place(&limits.places, limits.max_connections);
        taken.map_err(|_| self.full(limits))
    }

    fn full(&self, limits: &PoolLimits) -> NoPick {
        if limits.queue_max != 0 && self.attempts == 0 {
            NoPick::Full
        } else {
            NoPick::Ended(self.cause_of_none(NoBackend::Full))
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

/// How an exchange ends for which no backend can be had.
pub(crate) fn cause_of(end: NoBackend) -> Cause {
    match end {
        NoBackend::Full => Cause::ConnectionLimitReached,
        NoBackend::Broken => Cause::CircuitOpen,
        NoBackend::Unavailable => Cause::DestinationUnavailable,
    }
}

//! One thread of the load: one epoll instance and its own connections.
//!
//! One read and one write per request, edge-triggered, no runtime: on a machine that load and proxy share, whatever
//! the load costs is missing from what it measures.

use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::num::NonZeroU64;
use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

use rustix::buffer::spare_capacity;
use rustix::event::{Timespec, epoll};
use rustix::io::Errno;

use super::lane::{Arrived, Common, Completed, Lane, Turn, UnderWay};
use super::load::{Plan, Shared};
use super::own_time::OwnTime;
use super::schedule::Schedule;
use super::timeline::{FinishedTimeline, Timeline};
use crate::amount::Amount;
use crate::failures::{Failures, Kind};
use crate::source::Sources;
use crate::threads::{Counts, share};
use crate::tls::{Handshakes, Records};

const EVENTS_PER_TURN: usize = 1024;
const SCRATCH_BYTES: usize = 64 * 1024;
/// Before a failed connection is tried again: a target that refuses must not be asked in a busy loop.
const RETRY_PAUSE: Duration = Duration::from_millis(20);
/// How often overdue requests and the wish to stop are looked for.
const CHECK_INTERVAL: Duration = Duration::from_millis(50);
/// A request that has been under way for so long at the end of the run counts as lost.
const STALLED_AFTER: Duration = Duration::from_secs(1);
/// More connections than this to one address and port leave too few ports of one source.
const CONNECTIONS_PER_SOURCE: usize = 10_000;

/// What a thread has measured.
pub(super) struct Tally {
    pub(super) timeline: FinishedTimeline,
    pub(super) statuses: BTreeMap<u16, u64>,
    pub(super) failures: Failures,
    pub(super) handshakes: Handshakes,
    pub(super) bytes: u64,
    pub(super) elapsed: Duration,
    /// Requests that were meant to begin, and those that did. In closed loop none is meant.
    pub(super) intended: u64,
    pub(super) begun: u64,
    pub(super) own_time: OwnTime,
}

pub(super) struct Driver<'a> {
    plan: &'a Plan,
    shared: &'a Shared<'a>,
    counts: &'a Counts,
    thread: usize,
    epoll: OwnedFd,
    lanes: Vec<Lane>,
    sources: Sources,
    /// Lanes that wait for a start, in open loop.
    ready: VecDeque<usize>,
    /// Lanes that wait until they may try again, in closed loop. The pause is the same for all, so this is in the order of time.
    resting: VecDeque<(Instant, usize)>,
    schedule: Option<Schedule>,
    /// Requests that may still be begun.
    left: u64,
    under_way: usize,
    next_check: Instant,
    start: Instant,
    /// None before the start, and where the number of requests is the end.
    end: Option<Instant>,
    timeline: Timeline,
    statuses: BTreeMap<u16, u64>,
    failures: Failures,
    handshakes: Handshakes,
    completed: u64,
    bytes: u64,
    scratch: Vec<u8>,
    records: Records,
    arrived: Arrived,
}

impl<'a> Driver<'a> {
    /// # Errors
    /// The system has no epoll instance left.
    pub(super) fn new(
        plan: &'a Plan,
        shared: &'a Shared<'a>,
        counts: &'a Counts,
        thread: usize,
    ) -> io::Result<Self> {
        let now = Instant::now();
        let count = share(plan.connections as u64, thread, plan.threads);
        let lane = |number| Lane::new(number, &plan.request, plan.tls.as_ref(), now);
        Ok(Self {
            plan,
            shared,
            counts,
            thread,
            epoll: epoll::create(epoll::CreateFlags::CLOEXEC)?,
            lanes: (0..count).map(lane).collect(),
            sources: Sources::from(thread as u32 * 101),
            ready: VecDeque::new(),
            resting: VecDeque::new(),
            schedule: None,
            left: match plan.amount {
                Amount::Requests(all) => share(all, thread, plan.threads),
                Amount::Time(_) => u64::MAX,
            },
            under_way: 0,
            next_check: now,
            start: now,
            end: None,
            timeline: Timeline::new(now, plan.slice_length()),
            statuses: BTreeMap::new(),
            failures: Failures::default(),
            handshakes: Handshakes::default(),
            completed: 0,
            bytes: 0,
            scratch: vec![0; SCRATCH_BYTES],
            records: Records::default(),
            arrived: Arrived::default(),
        })
    }

    /// Runs to the end of the plan, or until it is stopped.
    ///
    /// # Errors
    /// epoll failed.
    pub(super) fn run(mut self) -> io::Result<Tally> {
        // Sleeping is exact then, and not 50 µs late (prctl(2), PR_SET_TIMERSLACK). Refused, it only costs precision.
        let _ = rustix::thread::set_current_timer_slack(NonZeroU64::new(1));
        let opened = self.open_all();
        // Also after a failure: the other threads wait here.
        self.shared.opened.wait();
        opened?;
        let before = OwnTime::now();
        self.begin_all();
        while !self.is_over(Instant::now()) {
            self.turn()?;
        }
        Ok(self.settle(OwnTime::now() - before))
    }

    /// Connections are opened before the clock starts, unless opening them is what is measured.
    fn open_all(&mut self) -> io::Result<()> {
        if self.plan.new_connections {
            return Ok(());
        }
        let now = Instant::now();
        for index in 0..self.lanes.len() {
            self.open(index, now);
        }
        while self.lanes.iter().any(Lane::is_opening) && !self.shared.is_stopping() {
            self.turn()?;
        }
        Ok(())
    }

    fn begin_all(&mut self) {
        let now = Instant::now();
        self.start = now;
        self.end = match self.plan.amount {
            Amount::Time(duration) => Some(now + duration),
            Amount::Requests(_) => None,
        };
        self.timeline = Timeline::new(now, self.plan.slice_length());
        match self.plan.rate {
            Some(rate) => {
                let threads = self.plan.threads;
                self.schedule = Some(Schedule::new(now, rate, self.thread, threads));
                // In turn, so that the first requests are spread over all connections.
                let lanes = 0..self.lanes.len();
                (0..self.plan.streams).for_each(|_| self.ready.extend(lanes.clone()));
            }
            None => {
                for index in 0..self.lanes.len() {
                    (0..self.plan.streams).for_each(|_| self.begin(index, now, now));
                    self.flush(index);
                }
            }
        }
    }

    fn is_over(&self, now: Instant) -> bool {
        let is_done = match self.end {
            Some(end) => now >= end,
            None => self.left == 0 && self.under_way == 0,
        };
        is_done || self.shared.is_stopping()
    }

    /// Waits for events or the next time something is due, and does what there is to do.
    fn turn(&mut self) -> io::Result<()> {
        let timeout = self.time_to_next(Instant::now());
        let mut events = Vec::with_capacity(EVENTS_PER_TURN);
        match epoll::wait(&self.epoll, spare_capacity(&mut events), Some(&timeout)) {
            Ok(_) | Err(Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
        for event in &events {
            // A turn has one event per connection at most, so none can be for an earlier one in the same lane.
            let (token, flags) = (event.data.u64(), event.flags);
            self.on_event(token as usize, flags);
        }
        self.on_time(Instant::now());
        self.counts.publish(self.completed, self.failures.total());
        Ok(())
    }

    fn time_to_next(&self, now: Instant) -> Timespec {
        let due = self.schedule.as_ref().filter(|_| !self.ready.is_empty());
        let rested = self.resting.front().map(|(until, _)| *until);
        let next = [due.map(Schedule::next), rested, self.end]
            .into_iter()
            .flatten()
            .fold(now + CHECK_INTERVAL, Instant::min);
        let wait = next.saturating_duration_since(now);
        Timespec {
            tv_sec: wait.as_secs() as i64,
            tv_nsec: i64::from(wait.subsec_nanos()),
        }
    }

    fn on_event(&mut self, index: usize, flags: epoll::EventFlags) {
        let mut turn = Turn {
            request: &self.plan.request,
            scratch: &mut self.scratch,
            records: &mut self.records,
        };
        let mut arrived = std::mem::take(&mut self.arrived);
        let result = self.lanes[index].on_event(flags, &mut turn, &mut arrived);
        if let Err(error) = result {
            self.on_failure(index, |failures, lost| failures.count_error_n(&error, lost));
        }
        self.bytes += std::mem::take(&mut arrived.bytes);
        if let Some(agreement) = arrived.handshake.take() {
            self.handshakes.count(agreement);
        }
        for response in arrived.responses.drain(..) {
            self.on_response(index, response);
        }
        for kind in arrived.failures.drain(..) {
            self.failures.count(kind);
            self.on_lost(index);
        }
        self.arrived = arrived;
        self.flush(index);
    }

    fn on_response(&mut self, index: usize, response: Completed) {
        let now = Instant::now();
        let latency = now.saturating_duration_since(response.intended);
        self.timeline.record(now, latency);
        self.completed += 1;
        *self.statuses.entry(response.status).or_default() += 1;
        if response.status >= 400 {
            self.failures.count(Kind::Status);
            self.timeline.record_failure(now);
        }
        if self.plan.new_connections {
            self.lanes[index].close();
        }
        self.under_way -= 1;
        if self.schedule.is_some() {
            self.ready.push_back(index);
        } else if !self.is_over(now) {
            self.begin(index, now, now);
        }
    }

    /// `count` is told how many errors it is: one for each request under way, and one for a connection without any.
    fn on_failure(&mut self, index: usize, count: impl FnOnce(&mut Failures, u64)) {
        let lost = self.lanes[index].under_way().count();
        self.lanes[index].close();
        count(&mut self.failures, lost.max(1) as u64);
        for _ in 0..lost {
            self.on_lost(index);
        }
    }

    /// A request is over without a response.
    fn on_lost(&mut self, index: usize) {
        let now = Instant::now();
        self.under_way -= 1;
        self.timeline.record_failure(now);
        if self.schedule.is_some() {
            self.ready.push_back(index);
        } else {
            self.resting.push_back((now + RETRY_PAUSE, index));
        }
    }

    /// It is sent with the next flush.
    fn begin(&mut self, index: usize, intended: Instant, now: Instant) {
        let Some(left) = self.left.checked_sub(1) else {
            return;
        };
        self.left = left;
        self.under_way += 1;
        let lane = &mut self.lanes[index];
        let began = now;
        lane.begin(UnderWay { intended, began });
        if lane.is_closed() {
            self.open(index, now);
        }
    }

    fn flush(&mut self, index: usize) {
        let mut turn = Turn {
            request: &self.plan.request,
            scratch: &mut self.scratch,
            records: &mut self.records,
        };
        if let Err(error) = self.lanes[index].flush(&mut turn) {
            self.on_failure(index, |failures, lost| failures.count_error_n(&error, lost));
        } else if self.lanes[index].wants_to_open() {
            self.open(index, Instant::now());
        }
    }

    fn open(&mut self, index: usize, now: Instant) {
        let spreads = self.plan.new_connections || self.plan.connections > CONNECTIONS_PER_SOURCE;
        let source = spreads.then(|| self.sources.next(self.plan.target.ip()));
        let common = Common {
            epoll: &self.epoll,
            target: self.plan.target,
        };
        if let Err(error) = self.lanes[index].open(&common, source.flatten(), now) {
            self.on_failure(index, |failures, lost| failures.count_error_n(&error, lost));
        }
    }

    fn on_time(&mut self, now: Instant) {
        while let Some((until, index)) = self.resting.front().copied()
            && until <= now
        {
            self.resting.pop_front();
            self.begin(index, now, now);
            self.flush(index);
        }
        while self.left > 0
            && let Some(schedule) = &mut self.schedule
            && let Some(index) = self.ready.front().copied()
            && let Some(intended) = schedule.take(now)
        {
            self.ready.pop_front();
            self.begin(index, intended, now);
            self.flush(index);
        }
        if now >= self.next_check {
            self.next_check = now + CHECK_INTERVAL;
            for index in 0..self.lanes.len() {
                if self.lanes[index].is_overdue(now, self.plan.timeout) {
                    self.on_failure(index, |failures, lost| {
                        failures.count_n(Kind::TimedOut, lost);
                    });
                }
            }
        }
    }

    /// What has been under way for long at the end is counted as lost, as is what should have begun long before:
    /// a stall at the end of a run is one.
    fn settle(mut self, own_time: OwnTime) -> Tally {
        let now = Instant::now();
        let is_stalled = |since: Instant| now.saturating_duration_since(since) >= STALLED_AFTER;
        let waiting = self.lanes.iter().flat_map(Lane::under_way);
        let stalled = waiting.filter(|request| is_stalled(request.intended));
        let mut stalled = stalled.count() as u64;
        let (mut intended, mut begun) = (0, 0);
        if let Some(schedule) = &self.schedule {
            begun = schedule.begun();
            let wanted = begun.saturating_add(self.left);
            intended = schedule.intended(now).min(wanted);
            let long_ago = now.checked_sub(STALLED_AFTER).unwrap_or(now);
            let overdue = schedule.intended(long_ago).min(wanted);
            stalled += overdue.saturating_sub(begun);
        }
        self.failures.count_n(Kind::TimedOut, stalled);
        self.counts.publish(self.completed, self.failures.total());
        Tally {
            timeline: self.timeline.finish(),
            statuses: self.statuses,
            failures: self.failures,
            handshakes: self.handshakes,
            bytes: self.bytes,
            elapsed: now.saturating_duration_since(self.start),
            intended,
            begun,
            own_time,
        }
    }
}

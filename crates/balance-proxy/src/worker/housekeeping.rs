//! What a worker does now and then: hands over its log lines and closes upstream connections that have
//! been idle for too long. It runs only while there is something to look after.

use std::cell::Cell;
use std::rc::Rc;

use super::Worker;
use crate::planted;
use crate::wheel::{Timer, Wheel};

pub(super) struct Housekeeping {
    timer: Timer,
    is_armed: Cell<bool>,
}

impl Housekeeping {
    pub(super) fn new(wheel: &Wheel) -> Self {
        Self {
            timer: wheel.timer(),
            is_armed: Cell::new(false),
        }
    }

    pub(super) fn arm(&self, now_ms: u64) {
        if !self.is_armed.replace(true) {
            self.timer.set(now_ms, PERIOD_MS);
        }
    }
}

/// The task of it.
pub(super) async fn run(worker: Rc<Worker>) {
    let mut expired_ms = 0;
    loop {
        worker.housekeeping.timer.expired().await;
        if worker.is_cut() {
            // Every deadline has passed for good now: another round would not wait, and the worker would
            // stand still in it. The lines that are left are handed over by the worker's end.
            return;
        }
        planted::panic_at("housekeeping", || true);
        worker.housekeeping.is_armed.set(false);
        worker.housekeeping.timer.clear();
        let now_ms = worker.clock.now_ms();
        if let Some(log) = worker.log.borrow().as_ref() {
            log.flush();
        }
        let snapshot = Rc::clone(&worker.snapshot.borrow());
        let is_due = now_ms >= expired_ms + EXPIRE_PERIOD_MS;
        if is_due {
            expired_ms = now_ms;
            snapshot
                .members()
                .for_each(|member| member.idle().expire(now_ms));
        }
        if snapshot.members().any(|member| member.idle().len() > 0) {
            worker.housekeeping.arm(now_ms);
        }
    }
}

/// Looking at every idle connection is cheap (no system call), but not free.
const EXPIRE_PERIOD_MS: u64 = 1_000;

/// How long a log line waits at most before it is handed over.
const PERIOD_MS: u64 = 100;

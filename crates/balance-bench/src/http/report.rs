//! What an HTTP measurement has shown, for people and for programs.

use std::process::ExitCode;
use std::time::Duration;

use serde_json::json;

use super::load::{Outcome, Plan, per};
use super::url::Url;
use crate::failures::Kind;
use crate::summary::{Lines, latency_json};

pub(super) struct Report {
    pub(super) url: Url,
    pub(super) plan: Plan,
    pub(super) outcome: Outcome,
    /// Of the processes that were named.
    pub(super) target_cpu: Option<Duration>,
}

/// What kept the measurement from showing what was asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Limit {
    /// Fewer requests were begun than were meant to, because the load's threads were full.
    ScheduleByLoad,
    /// The same, because all connections waited for the target.
    ScheduleByTarget,
    Descriptors,
    Ports,
    /// Closed loop: the target may be able to do more.
    Load,
}

/// An open loop that began fewer of its requests than this did not keep its schedule.
const SCHEDULE_KEPT: f64 = 0.99;
/// A thread that ran, or waited for its core, for this share of the time was full.
const BUSY: f64 = 0.95;

impl Limit {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::ScheduleByLoad | Self::Load => "load_generator",
            Self::ScheduleByTarget => "target",
            Self::Descriptors => "descriptors",
            Self::Ports => "ports",
        }
    }

    pub(super) fn explanation(self) -> &'static str {
        match self {
            Self::ScheduleByLoad => {
                "the load's threads were full and the rate was not reached: latencies include that wait"
            }
            Self::ScheduleByTarget => {
                "all connections waited for the target and the rate was not reached: lower --rate, or give more --connections"
            }
            Self::Descriptors => "descriptors ran out: raise `ulimit -n`",
            Self::Ports => {
                "local ports ran out: the target closes fewer connections than are opened"
            }
            Self::Load => "the load's threads were full: the target may be able to do more",
        }
    }

    /// Whether the result is less than what was asked for, and not merely a lower bound.
    fn is_failure(self) -> bool {
        self != Self::Load
    }
}

impl Report {
    /// 0: measured. 1: nothing came back that is no error. 3: something other than the target's speed stopped it, or
    /// the rate was not reached.
    pub(super) fn exit_code(&self) -> ExitCode {
        if self.outcome.succeeded() == 0 {
            ExitCode::from(1)
        } else if self.limits().iter().any(|limit| limit.is_failure()) {
            ExitCode::from(3)
        } else {
            ExitCode::SUCCESS
        }
    }

    /// The share of the intended requests that were begun. None in closed loop.
    pub(super) fn schedule_kept(&self) -> Option<f64> {
        let intended = self.outcome.intended;
        (intended > 0).then(|| self.outcome.begun as f64 / intended as f64)
    }

    pub(super) fn limits(&self) -> Vec<Limit> {
        let mut limits = Vec::new();
        let is_full = self.outcome.busy >= BUSY;
        match self.schedule_kept() {
            Some(kept) if kept < SCHEDULE_KEPT && is_full => limits.push(Limit::ScheduleByLoad),
            Some(kept) if kept < SCHEDULE_KEPT => limits.push(Limit::ScheduleByTarget),
            None if is_full => limits.push(Limit::Load),
            _ => {}
        }
        for (kind, limit) in [
            (Kind::DescriptorsExhausted, Limit::Descriptors),
            (Kind::PortsExhausted, Limit::Ports),
        ] {
            if self.outcome.failures.of_kind(kind) > 0 {
                limits.push(limit);
            }
        }
        limits
    }

    pub(super) fn target_cpu_us_per_request(&self) -> Option<f64> {
        let requests = self.outcome.requests() as f64;
        self.target_cpu
            .map(|cpu| per(cpu.as_secs_f64() * 1e6, requests))
    }

    /// Where each request has one; else they are made before the clock starts.
    fn handshakes_per_second(&self) -> Option<f64> {
        let count = self.outcome.handshakes.total();
        let is_measured = count > 0 && self.plan.new_connections;
        is_measured.then(|| per(count as f64, self.outcome.elapsed.as_secs_f64()))
    }

    /// Closed or open loop, in words.
    pub(super) fn load_text(&self) -> String {
        let plan = &self.plan;
        let (connections, threads) = (plan.connections, plan.threads);
        let kind = match plan.rate {
            Some(rate) => format!("open loop, {rate} requests/s"),
            None => "closed loop".to_owned(),
        };
        let new = if plan.new_connections {
            ", each for one request"
        } else {
            ""
        };
        let streams = match &plan.request.http2 {
            Some(_) => format!(" of HTTP/2 with {} streams", plan.streams),
            None => String::new(),
        };
        format!("{kind}, {connections} connections{streams}{new}, threads: {threads}")
    }

    pub(super) fn to_text(&self) -> String {
        let outcome = &self.outcome;
        let mut lines = Lines::default();
        lines.push(
            "target",
            format_args!("{} ({})", self.url, self.plan.target),
        );
        lines.push("load", self.load_text());
        for agreed in outcome.handshakes.lines() {
            lines.push("tls", agreed);
        }
        if let Some(rate) = self.handshakes_per_second() {
            lines.push("handshakes", format_args!("{rate:.0}/s"));
        }
        lines.push(
            "duration",
            format_args!("{:.2} s", outcome.elapsed.as_secs_f64()),
        );
        let (count, rate) = (outcome.requests(), outcome.requests_per_second());
        lines.push("requests", format_args!("{count}, {rate:.0}/s"));
        lines.push(
            "received",
            format_args!("{:.2} MB/s", outcome.bytes_per_second() / 1e6),
        );
        lines.push_latency(outcome.timeline.latency());
        for (status, count) in &outcome.statuses {
            lines.push("status", format_args!("{status}: {count}"));
        }
        if let Some(kept) = self.schedule_kept() {
            let (begun, intended) = (outcome.begun, outcome.intended);
            let share = kept * 100.0;
            lines.push(
                "schedule",
                format_args!("{begun} of {intended} requests begun, {share:.2} %"),
            );
        }
        if let Some(cpu) = self.target_cpu_us_per_request() {
            lines.push("target CPU", format_args!("{cpu:.2} us per request"));
        }
        let (own, busy) = (outcome.own_cpu_us_per_request(), outcome.busy * 100.0);
        lines.push(
            "load CPU",
            format_args!("{own:.2} us per request, busiest thread {busy:.0} % busy"),
        );
        for limit in self.limits() {
            lines.push("LIMITED", limit.explanation());
        }
        for failure in outcome.failures.lines() {
            lines.push_line(&failure);
        }
        lines.into_text()
    }

    pub(super) fn to_json(&self) -> serde_json::Value {
        let (plan, outcome) = (&self.plan, &self.outcome);
        let statuses: serde_json::Map<_, _> = outcome
            .statuses
            .iter()
            .map(|(status, count)| (status.to_string(), (*count).into()))
            .collect();
        json!({
            "url": self.url.to_string(),
            "connections": plan.connections,
            "streams": plan.streams,
            "protocol": if plan.request.http2.is_some() { "h2" } else { "http/1.1" },
            "threads": plan.threads,
            "rate": plan.rate,
            "new_connections": plan.new_connections,
            "duration_s": outcome.elapsed.as_secs_f64(),
            "requests": outcome.requests(),
            "requests_per_second": outcome.requests_per_second(),
            "latency_us": latency_json(outcome.timeline.latency()),
            "bytes": outcome.bytes,
            "bytes_per_second": outcome.bytes_per_second(),
            "cpu_us_per_request": self.target_cpu_us_per_request(),
            "load_cpu_us_per_request": outcome.own_cpu_us_per_request(),
            "load_busy": outcome.busy,
            "tls": outcome.handshakes.to_json(),
            "handshakes_per_second": self.handshakes_per_second(),
            "statuses": statuses,
            "errors": outcome.failures.to_json(),
            "schedule_kept": self.schedule_kept(),
            "limited_by": self.limits().into_iter().map(Limit::name).collect::<Vec<_>>(),
            "timeline": outcome.timeline.to_json(outcome.elapsed),
        })
    }
}

//! Mirroring: a copy of a route's requests to a second pool, whose answers nobody sees.
//!
//! ```text
//!   request ── drawn? a place? a body that fits? ── no ──► counted as skipped
//!                │ yes
//!                ├── no body ────────────────────────────► sent, by a task of its own
//!                └── body: pieces are copied as they pass ─► sent when the last one has passed
//! ```
//!
//! The exchange pays for the copying and for nothing else: it never waits for a copy, and what becomes of one changes
//! nothing for it. A copy is the request as the primary pool gets it (hygiene and the route's transforms included),
//! with one field more, [`MIRROR_FIELD`].
//!
//! What copies may use is bounded by the route's `in_flight_max` over the whole process, each with at most one head and
//! `body_bytes_max`. A place is taken before the first byte of a body is copied, so that slow uploads count too.

use std::net::IpAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use balance_core::{Method, MirrorId, PoolId, RouteId};
use balance_lb::{Place, Places};
use balance_proto::{BodyLength, FieldName, FieldValue, HeadEdits, RequestView};
use balance_telemetry::{MirrorOutcome, MirrorSeries};

use crate::exchange::Exchange;
use crate::exchange::sides::{Downstream, Form, Transport};
use crate::exchange::transfer::is_empty;
use crate::worker::{Worker, WorkerSnapshot};

mod delivery;

pub(crate) use delivery::send;

/// Where a route's copies go, and how many of them.
pub struct MirrorRules {
    /// The one that mirrors.
    pub route: RouteId,
    pub pool: PoolId,
    pub sample: Sample,
    /// A request with a larger body is not copied. Chunk framing counts, as it is passed on.
    pub body_bytes_max: usize,
    /// For sending a copy and reading its answer.
    pub timeout: Duration,
    /// Copies under way at once in the whole process, those whose body is still coming included.
    pub in_flight_max: u32,
    /// Those under way; outlives reloads.
    pub in_flight: Arc<Places>,
}

/// A share of requests, drawn at random: a fixed pattern could always hit the same one of a client's requests.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sample {
    /// Random numbers below it are drawn; `u64::MAX` = all.
    below: u64,
}

impl Sample {
    /// `share` is between 0 and 1.
    pub fn of_share(share: f64) -> Self {
        Self {
            // 1 × 2^64 becomes the largest number: `as` saturates.
            below: (share * 2.0_f64.powi(64)) as u64,
        }
    }

    fn draws(self, random: u64) -> bool {
        random < self.below || self.below == u64::MAX
    }
}

/// A copy's place, and what becomes of it: counted once, when this is dropped, whatever ends it.
struct Ticket {
    _place: Place,
    series: Rc<MirrorSeries>,
    outcome: MirrorOutcome,
}

impl Drop for Ticket {
    fn drop(&mut self) {
        self.series.record(self.outcome);
    }
}

/// A copy whose body is still coming. Dropped before [`Collecting::finish`], it is counted as skipped.
pub(crate) struct Collecting {
    ticket: Ticket,
    mirror: MirrorId,
    bytes: Vec<u8>,
    form: Form,
    bytes_max: usize,
}

/// A whole request, to be sent.
pub(crate) struct MirroredRequest<V> {
    ticket: Ticket,
    mirror: MirrorId,
    snapshot: Rc<WorkerSnapshot>,
    client: IpAddr,
    interim_responses_max: u32,
    request: V,
    edits: HeadEdits,
    length: BodyLength,
    body: Vec<u8>,
    form: Form,
}

/// Decides whether a request that is about to be forwarded is copied. Without a body the copy is sent at once.
pub(crate) fn begin<D: Downstream, T: Transport>(
    worker: &Rc<Worker>,
    transport: &T,
    exchange: &mut Exchange,
    down: &D,
    mirror: MirrorId,
) {
    let snapshot = exchange.snapshot_handle();
    let rules = &snapshot.rules.mirrors[mirror.index()];
    let series = snapshot.mirror_series(mirror);
    let place = match place(worker, rules, down) {
        Ok(place) => place,
        Err(outcome) => return series.record(outcome),
    };
    let collecting = Collecting {
        ticket: Ticket {
            _place: place,
            series: Rc::clone(series),
            outcome: MirrorOutcome::SkippedBody,
        },
        mirror,
        bytes: Vec::new(),
        form: Form::Payload,
        bytes_max: rules.body_bytes_max,
    };
    if is_empty(down.request_body()) {
        transport.spawn_mirrored(worker, collecting.finish(exchange, down));
    } else {
        exchange.collecting = Some(Box::new(collecting));
    }
}

/// A place for a copy of this request.
fn place<D: Downstream>(
    worker: &Worker,
    rules: &MirrorRules,
    down: &D,
) -> Result<Place, MirrorOutcome> {
    let is_connect = down.request().method_kind() == Method::Connect;
    if is_connect || down.offered_upgrade().is_some() {
        return Err(MirrorOutcome::SkippedUpgrade);
    }
    if !rules.sample.draws(worker.rng.borrow_mut().next_u64()) {
        return Err(MirrorOutcome::SkippedSample);
    }
    if let BodyLength::Exact(bytes) = down.request_body()
        && bytes > rules.body_bytes_max as u64
    {
        return Err(MirrorOutcome::SkippedBody);
    }
    let place = rules.in_flight.take(rules.in_flight_max);
    place.map_err(|_| MirrorOutcome::SkippedLimit)
}

/// A piece of a request's body has passed: copies it, and sends the copy when it was the last one.
pub(crate) fn on_piece<D: Downstream, T: Transport>(
    worker: &Rc<Worker>,
    transport: &T,
    exchange: &mut Exchange,
    down: &D,
    (bytes, form, last): (&[u8], Form, bool),
) {
    let Some(mut collecting) = exchange.collecting.take() else {
        return;
    };
    if bytes.len() > collecting.bytes_max - collecting.bytes.len() {
        return; // counted by its drop
    }
    collecting.bytes.extend_from_slice(bytes);
    collecting.form = form;
    if last {
        transport.spawn_mirrored(worker, collecting.finish(exchange, down));
    } else {
        exchange.collecting = Some(collecting);
    }
}

impl Collecting {
    fn finish<D: Downstream>(self, exchange: &Exchange, down: &D) -> MirroredRequest<D::Request> {
        let request = down.request();
        let mut edits = exchange.request_edits.clone();
        // RFC 9110 §10.1.1: who does not wait for a 100 does not ask for one.
        edits.remove(request, EXPECT);
        edits.set(request, MIRROR_FIELD, MIRROR_VALUE);
        MirroredRequest {
            ticket: self.ticket,
            mirror: self.mirror,
            snapshot: exchange.snapshot_handle(),
            client: exchange.client,
            interim_responses_max: exchange.interim_responses_max,
            request: request.clone(),
            edits,
            length: down.request_body(),
            body: self.bytes,
            form: self.form,
        }
    }
}

/// What tells a backend that a request is a copy. Not taken from the requests of clients: whoever trusts it must be
/// reached by mirrors alone.
const MIRROR_FIELD: FieldName<'static> = FieldName::from_static("X-Balance-Mirror");
const MIRROR_VALUE: FieldValue<'static> = FieldValue::from_static("1");
const EXPECT: FieldName<'static> = FieldName::from_static("Expect");

#[cfg(test)]
mod tests {
    use super::Sample;

    #[test]
    fn a_sample_draws_its_share_of_the_numbers() {
        for (share, drawn, not_drawn) in [
            (0.0, &[][..], &[0, u64::MAX][..]),
            (0.5, &[0, u64::MAX / 2], &[u64::MAX / 2 + 1, u64::MAX]),
            (1.0, &[0, u64::MAX], &[]),
        ] {
            let sample = Sample::of_share(share);
            assert!(drawn.iter().all(|random| sample.draws(*random)), "{share}");
            assert!(
                !not_drawn.iter().any(|random| sample.draws(*random)),
                "{share}"
            );
        }
    }
}

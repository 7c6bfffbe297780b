//! The life of an HTTP exchange, top to bottom, the same for every HTTP version and transport.
//!
//! head parsed and framing decided (by the version's own reader) → client address → admission → route →
//! request filters → hygiene → pick and lease a backend → take or open a connection → send head and
//! stream body → read response head → response filters → stream response → settle.
//!
//! What a version must offer stands in [`sides`]; how the bytes move, in [`transfer`]. Every exchange ends
//! in exactly one [`Cause`], in [`Exchange::settle`].

use std::future::{Future, poll_fn};
use std::pin::pin;
use std::rc::Rc;
use std::task::{Poll, ready};

use balance_core::{Cause, Fault, PoolId, Timeouts};
use balance_lb::{Lease, Outcome};
use balance_proto::RequestView;

use crate::filter::{self, Needs};
use crate::mirror;
use crate::own_response::OwnResponse;
use crate::planted;
use crate::upstream::{ConnectError, Member, NoPick, report, report_time};
use crate::wheel::Timer;
use crate::worker::Worker;

pub(crate) mod decision;
mod facts;
pub(crate) mod retry;
pub(crate) mod sides;
mod state;
pub(crate) mod transfer;
mod waiting;

#[cfg(test)]
mod memory;
#[cfg(test)]
mod tests;

pub(crate) use state::{Arrival, Exchange};

use decision::Plan;
use sides::{Downstream, Replay, Transport, Upstream};
use transfer::{Transfer, TransferError, Transferred};
use waiting::wait_for_place;

/// What becomes of the client's connection after an exchange.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Next {
    /// It serves the next request.
    Keep,
    /// The response was complete; no further request can be served.
    Close,
    /// As `Close`, but a part of the request is still coming: it must be read and thrown away, or the
    /// client's kernel drops our response when it sees the reset (robustness SM-23).
    Linger,
    /// The response is incomplete: the client must see that it failed (robustness BE-03).
    Abort,
}

/// How [`run`] ended.
pub(crate) enum Ended<U> {
    Exchange(Next),
    /// The backend switched protocols. The exchange is settled by whoever carries the tunnel.
    Tunnel(Tunnel<U>),
}

/// An upgraded connection's far side, with its place at the backend.
pub(crate) struct Tunnel<U> {
    pub(crate) upstream: U,
    pub(crate) lease: Lease<Member>,
}

/// What an exchange stands on.
pub(crate) struct Context<'a, T> {
    pub(crate) worker: &'a Rc<Worker>,
    /// The exchange's own deadline.
    pub(crate) timer: &'a Timer,
    pub(crate) transport: &'a T,
}

/// Serves one exchange whose request head has been read.
pub(crate) async fn run<D: Downstream, T: Transport>(
    context: &Context<'_, T>,
    exchange: &mut Exchange,
    down: &mut D,
) -> Ended<T::Upstream> {
    exchange.find_client(down.request());
    let admitted = admit(context.worker, exchange, down);
    exchange.hold(context.worker, down.held_bytes());
    let plan = match admitted {
        Ok(()) => route(exchange, down),
        Err(response) => Plan::Own(response),
    };
    let destination = match plan {
        Plan::Own(response) => return respond(context, exchange, down, &response).await,
        Plan::Forward(destination) => destination,
    };
    let needs = exchange.needs();
    if let Err(response) = edit_request(context, exchange, down, needs).await {
        return respond(context, exchange, down, &response).await;
    }
    let pool = destination.draw(&exchange.snapshot().rules);
    exchange.on_pool(pool, down.request());
    if !transfer::is_empty(down.request_body()) {
        exchange.keep_body(down);
    }
    if let Some(mirror) = needs.mirror {
        mirror::begin(context.worker, context.transport, exchange, down, mirror);
    }
    match forward(context, exchange, down, pool).await {
        Ok((Transferred::Complete, upstream, lease)) => {
            let clean = exchange.upload_is_complete;
            context
                .transport
                .settle(lease.backend(), upstream, clean, exchange.known_ms());
            drop(lease);
            exchange.settle(context.worker, down, Cause::Completed);
            Ended::Exchange(next_after_response(exchange, down))
        }
        Ok((Transferred::Switched, upstream, lease)) => Ended::Tunnel(Tunnel { upstream, lease }),
        Err(cause) => fail(context, exchange, down, cause).await,
    }
}

/// What needs no route: whether there is memory for another exchange, the host of the connection, and the limits.
fn admit<D: Downstream>(worker: &Worker, exchange: &Exchange, down: &D) -> Result<(), OwnResponse> {
    if worker.budget.is_short() {
        return Err(OwnResponse::of_cause(Cause::Overloaded));
    }
    let listener = exchange.listener();
    decision::admit_host(listener.certificates(), down.server_name(), down.request())?;
    decision::admit(listener, down.request_body())
}

fn route<D: Downstream>(exchange: &mut Exchange, down: &D) -> Plan {
    let request = down.request();
    planted::panic_for("route", request);
    let route = decision::route(exchange.listener(), down.server_name(), request);
    exchange.on_route(route);
    let rules = &exchange.snapshot().rules;
    decision::plan(rules, exchange.listener(), exchange.route(), request)
}

/// Request filters and hygiene. After it the head's edits are complete, for every attempt.
async fn edit_request<D: Downstream, T: Transport>(
    context: &Context<'_, T>,
    exchange: &mut Exchange,
    down: &D,
    needs: Needs,
) -> Result<(), OwnResponse> {
    exchange
        .clean_request(context.worker, down.request())
        .map_err(OwnResponse::refused)?;
    if !needs.request {
        return Ok(());
    }
    exchange.bound();
    let snapshot = exchange.snapshot_handle();
    let filters = exchange.filters_in(&snapshot);
    let filter_context = exchange.filter_context();
    let now_ms = exchange.known_ms();
    let after_ms = exchange.after_ms(now_ms, exchange.timeouts_in(&snapshot).first_byte);
    let mut running = pin!(filter::run_request(
        filters,
        down.request(),
        &mut exchange.request_edits,
        &filter_context,
    ));
    let mut is_armed = false;
    poll_fn(|cx| {
        if let Poll::Ready(result) = running.as_mut().poll(cx) {
            return Poll::Ready(result);
        }
        // Whom a filter asks is waited for as a backend is. Filters seldom wait: only then there is a deadline.
        if !std::mem::replace(&mut is_armed, true) {
            context.timer.set_unless_never(now_ms, after_ms);
        }
        ready!(context.timer.poll_expired(cx));
        Poll::Ready(Err(OwnResponse::of_cause(if context.worker.is_cut() {
            Cause::Draining
        } else {
            Cause::HttpResponseTimeout
        })))
    })
    .await
}

/// Attempts until one succeeds, or none is left.
async fn forward<D: Downstream, T: Transport>(
    context: &Context<'_, T>,
    exchange: &mut Exchange,
    down: &mut D,
    pool: PoolId,
) -> Result<(Transferred, T::Upstream, Lease<Member>), Cause> {
    let snapshot = exchange.snapshot_handle();
    let mut left_behind = None;
    loop {
        let now_ms = exchange.known_ms();
        let picked = exchange
            .selection
            .pick(context.worker, &snapshot, pool, now_ms);
        let lease = match picked {
            Ok(lease) => lease,
            // Boxed: as connecting below.
            Err(NoPick::Full) => Box::pin(wait_for_place(context, exchange, down, pool)).await?,
            Err(NoPick::Ended(cause)) => {
                // When nobody else is left to ask, what happened at the first one is what is told.
                let (cause, is_unsent) = left_behind.take().unwrap_or((cause, false));
                Box::pin(retry::again(context, exchange, down, cause, is_unsent)).await?;
                continue;
            }
        };
        let now_ms = exchange.known_ms();
        exchange.on_attempt(lease.backend());
        // A request that two connections lost already gets a fresh one: it is sent three times at most.
        let mut may_reuse = left_behind.is_none();
        loop {
            exchange.on_try(context.worker);
            let reused = if may_reuse {
                context.transport.reuse(lease.backend(), now_ms)
            } else {
                None
            };
            let mut upstream = match reused {
                Some(upstream) => upstream,
                None => match open(context, exchange, down, &lease).await? {
                    Ok(upstream) => upstream,
                    Err(error) => {
                        // Another backend: nothing was sent. Of a configured retry that was the last, this is the end.
                        if exchange.is_used_up() {
                            return Err(error.cause());
                        }
                        break;
                    }
                },
            };
            let result = attempt(context, exchange, down, &mut upstream).await;
            let was_reused = upstream.is_reused();
            if let Some(outcome) = exchange.outcome(&result, was_reused) {
                report(&lease, outcome, exchange.known_ms());
                if outcome == Outcome::Success {
                    report_time(&lease, exchange.answered_in_us());
                }
            }
            let error = match result {
                Ok(transferred) => return Ok((transferred, upstream, lease)),
                Err(error) => error,
            };
            let is_unsent = exchange.take_back(upstream.reclaim_body());
            let is_clean = error.put_aside.is_some_and(|put_aside| put_aside.is_whole);
            context
                .transport
                .settle(lease.backend(), upstream, is_clean, exchange.known_ms());
            if let Some(put_aside) = error.put_aside {
                drop(lease);
                let after_ms = put_aside.after_ms;
                Box::pin(retry::pause(context, exchange, down, after_ms)).await?;
                left_behind = None;
                break;
            }
            if let Some(fault) = error.tls {
                // As if the handshake had failed, which it has for the backend. What was sent is not sent again.
                let failure = ConnectError::Tls(fault);
                let selection = &mut exchange.selection;
                selection.on_connect_failure(context.worker, &lease, failure)?;
                return Err(error.cause);
            }
            if error.is_unanswered && exchange.may_repeat(down, is_unsent) {
                if was_reused {
                    // BE-02: once, on a fresh connection to the same backend.
                    may_reuse = false;
                    lease.backend().series().retried();
                    continue;
                }
                // A backend that closes even a fresh connection is ending, and others are not: a process that
                // is killed may accept until the moment before. RFC 9110 §9.2.2 advises against a second
                // automatic retry; it goes to another server, and it is the last, so that a request which
                // kills backends does not kill all of them.
                if left_behind.is_none() && !exchange.is_used_up() {
                    left_behind = Some((error.cause, is_unsent));
                    break;
                }
            }
            drop(lease);
            Box::pin(retry::again(
                context,
                exchange,
                down,
                error.cause,
                is_unsent,
            ))
            .await?;
            left_behind = None;
            break;
        }
    }
}

/// Opens a connection. The inner error: the backend cannot be reached, and another may be tried.
async fn open<D: Downstream, T: Transport>(
    context: &Context<'_, T>,
    exchange: &mut Exchange,
    down: &mut D,
    lease: &Lease<Member>,
) -> Result<Result<T::Upstream, ConnectError>, Cause> {
    let worker = context.worker;
    let member = lease.backend();
    let snapshot = exchange.snapshot_handle();
    let timeouts = exchange.timeouts_in(&snapshot);
    let now_ms = worker.clock.now_ms();
    exchange.arm_try(context.timer, now_ms, timeouts.connect);
    let result = {
        // Boxed: connecting is rare beside reuse, and its state would make every idle connection larger.
        let mut opening = pin!(Box::pin(context.transport.open(member, timeouts)));
        let mut client_is_watched = true;
        poll_fn(|cx| {
            if let Poll::Ready(result) = opening.as_mut().poll(cx) {
                return Poll::Ready(Ok(result));
            }
            if client_is_watched && let Poll::Ready(event) = down.poll_client(cx) {
                if exchange.ends_with(event) {
                    return Poll::Ready(Err(Cause::ClientClosed));
                }
                client_is_watched = false;
            }
            ready!(context.timer.poll_expired(cx));
            if worker.is_cut() {
                return Poll::Ready(Err(Cause::Draining));
            }
            // The backend is not to blame for what the exchange had used up before.
            Poll::Ready(if exchange.is_overdue(worker) {
                Err(Cause::HttpResponseTimeout)
            } else {
                Ok(Err(ConnectError::TimedOut))
            })
        })
        .await?
    };
    exchange.on_connect_end(worker);
    match result {
        Ok(upstream) => {
            exchange.on_handshake(upstream.handshake_us());
            member.on_success();
            Ok(Ok(upstream))
        }
        Err(error) => {
            exchange
                .selection
                .on_connect_failure(worker, lease, error)?;
            Ok(Err(error))
        }
    }
}

/// Sends the request over one connection and brings the response back.
async fn attempt<D: Downstream, T: Transport>(
    context: &Context<'_, T>,
    exchange: &mut Exchange,
    down: &mut D,
    upstream: &mut T::Upstream,
) -> Result<Transferred, TransferError> {
    // Requests that are written one right after the other cost less than each between the work for two others: the
    // kernel's code and ours do not push each other out of the caches.
    if upstream.writes_at_once() {
        poll_fn(|_| down.poll_gathered()).await;
    }
    let body = down.request_body();
    if down.request().authority().is_empty() {
        exchange.name_backend(); // robustness SM-20: HTTP/1.0 without Host
    }
    upstream.start_request(
        down.request(),
        &exchange.request_edits,
        body,
        down.offered_upgrade(),
    );
    if transfer::is_empty(body) {
        exchange.upload_is_complete = true;
    }
    exchange.rewind_body();
    if let Some(replay) = exchange.replay.take()
        && !transfer::is_empty(body)
    {
        upstream.replay_body(replay, exchange.upload_is_complete);
    }
    let snapshot = exchange.snapshot_handle();
    let timeouts: &Timeouts = exchange.timeouts_in(&snapshot);
    let mut transfer = Transfer::new(context, timeouts, exchange, down, upstream);
    poll_fn(|cx| transfer.poll(cx)).await
}

/// Answers with a response of our own, before any backend was asked.
async fn respond<D: Downstream, T>(
    context: &Context<'_, T>,
    exchange: &mut Exchange,
    down: &mut D,
    response: &OwnResponse,
) -> Ended<T::Upstream>
where
    T: Transport,
{
    let body_is_done = exchange.upload_is_complete || down.discard_body();
    exchange.upload_is_complete = body_is_done;
    // Robustness rule 0: what follows a request that could be read two ways may be a part of it.
    let is_doubtful = response.cause == Cause::HttpRequestError;
    exchange.closes =
        !body_is_done || is_doubtful || exchange.must_close(context.worker) || !down.can_be_kept();
    exchange.on_own_response(context.worker, response.status);
    down.start_own(response, exchange.closes);
    let flushed = flush(context, exchange, down).await;
    let cause = flushed.err().unwrap_or(response.cause);
    exchange.settle(context.worker, down, cause);
    Ended::Exchange(match flushed {
        Ok(()) => next_after_response(exchange, down),
        Err(_) => Next::Abort,
    })
}

/// Ends an exchange whose attempts failed.
async fn fail<D: Downstream, T: Transport>(
    context: &Context<'_, T>,
    exchange: &mut Exchange,
    down: &mut D,
    cause: Cause,
) -> Ended<T::Upstream> {
    if exchange.response_began || cause.status() == 0 {
        exchange.settle(context.worker, down, cause);
        return Ended::Exchange(Next::Abort);
    }
    respond(context, exchange, down, &OwnResponse::of_cause(cause)).await
}

/// Writes out what the client's side holds, within the write deadline.
async fn flush<D: Downstream, T>(
    context: &Context<'_, T>,
    exchange: &mut Exchange,
    down: &mut D,
) -> Result<(), Cause> {
    let mut armed_at_bytes = None;
    poll_fn(|cx| {
        match down.poll_flush(cx) {
            Poll::Ready(Ok(())) => return Poll::Ready(Ok(())),
            Poll::Ready(Err(_)) => return Poll::Ready(Err(Cause::ClientClosed)),
            Poll::Pending => {}
        }
        if armed_at_bytes != Some(down.sent_bytes()) {
            armed_at_bytes = Some(down.sent_bytes());
            exchange.on_pause();
            exchange.arm_write(context.worker, context.timer);
        }
        ready!(context.timer.poll_expired(cx));
        Poll::Ready(Err(Cause::ClientTimeout))
    })
    .await
}

fn next_after_response<D: Downstream>(exchange: &Exchange, down: &D) -> Next {
    if !exchange.upload_is_complete {
        Next::Linger
    } else if exchange.closes || !down.can_be_kept() {
        Next::Close
    } else {
        Next::Keep
    }
}

impl Exchange {
    /// What the end of an attempt says about its backend. `None`: nothing, as when the client went away, or when an
    /// idle connection had been closed meanwhile.
    fn outcome(
        &self,
        result: &Result<Transferred, TransferError>,
        was_reused: bool,
    ) -> Option<Outcome> {
        match result {
            Ok(_) if is_failure_status(self.status()) => Some(Outcome::Failure),
            Ok(_) => Some(Outcome::Success),
            Err(error) if error.is_unanswered && was_reused => None,
            Err(error) if error.tls.is_some() => None, // it counts as a failed connect
            Err(TransferError {
                put_aside: Some(put_aside),
                ..
            }) if !is_failure_status(put_aside.status) => Some(Outcome::Success),
            Err(error) => (error.cause.fault() == Fault::Upstream).then_some(Outcome::Failure),
        }
    }

    /// Takes back a body of which nothing was sent, to send it elsewhere; whether that is so.
    fn take_back(&mut self, unsent: Option<Replay>) -> bool {
        let is_unsent = unsent.is_some();
        // What is kept for retries is sent in its place.
        self.replay = unsent.filter(|_| !self.reads_payload());
        is_unsent
    }

    /// Whether a request may be sent again after its connection was closed without an answer: its method
    /// is idempotent and no part of its body is lost, or nothing of it was sent (robustness BE-02).
    fn may_repeat<D: Downstream>(&self, down: &D, is_unsent: bool) -> bool {
        let is_idempotent = down.request().method_kind().is_idempotent();
        self.replay.is_some() || (is_unsent || is_idempotent) && self.has_whole_body()
    }
}

/// Whether the backend says itself that it failed. 501 and 505 are about what the client asked for.
fn is_failure_status(status: u16) -> bool {
    matches!(status, 500 | 502..=504 | 506..=599)
}

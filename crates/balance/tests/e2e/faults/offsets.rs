//! Death at every byte: of the backend, after it has read N bytes of a request or has sent N bytes of a
//! response, and of the client. Runs concurrently; `BALANCE_FAULTS_FILLER_BYTES` makes the exchanges longer (ci/long).

use balance_testkit::{Fault, FaultAction, Place, StrictError};

use super::Road;
use super::client::Version;
use super::lane::{CASE, LAST, Lane, Promise, Shape, encode};
use super::table::{Phase, Request, Row, Setting, row_of, rows};
use crate::robustness::{Outcome, run_all};

/// A backend's death.
struct Death<'r> {
    row: &'r Row,
    place: Place,
    action: FaultAction,
}

#[test]
fn a_backend_may_die_at_every_byte() {
    let road = Road::new(filler_bytes(), Version::Http1);
    let rows = rows();
    let mut deaths = Vec::new();
    for request in [
        Request::Get,
        Request::Post,
        Request::Chunked,
        Request::Uploading,
    ] {
        for response in ["length", "chunked", "close"] {
            for is_reused in [false, true] {
                let setting = Setting {
                    request,
                    response: response.to_owned(),
                    pool: "one".to_owned(),
                    is_reused,
                };
                let shape = road.lane().shape(&setting);
                for action in [FaultAction::Close, FaultAction::Reset] {
                    for (place, phase) in places(&setting, shape) {
                        let row = row_of(&rows, &setting, phase, &action);
                        let action = action.clone();
                        deaths.push(Death { row, place, action });
                    }
                }
            }
        }
    }
    assert!(deaths.len() > 4000, "{}", deaths.len());
    run_all(
        &deaths,
        || road.lane(),
        |lane, death| {
            let title = format!("{} at {:?}", death.row.title(), death.place);
            lane.shape(&death.row.setting);
            let fault = Fault {
                place: death.place,
                action: death.action.clone(),
            };
            lane.run_with(death.row, &title, vec![fault])
        },
    );
    road.check();
}

/// Every offset at which this exchange can break, with the phase that it is.
fn places(setting: &Setting, shape: Shape) -> Vec<(Place, Phase)> {
    let request_phase = |at: u64| match at {
        at if at < shape.request_head => Phase::RequestHead,
        at if at < shape.request => Phase::RequestBody,
        _ => Phase::BeforeHead,
    };
    let response_phase = |at: u64| match at {
        0 => Phase::BeforeHead,
        at if at < shape.response_head => Phase::InHead,
        at if at == shape.response_head => Phase::AfterHead,
        at if at < shape.response => Phase::InBody,
        _ => Phase::AtEnd,
    };
    if setting.request == Request::Uploading {
        // What a response looks like does not matter, and there is none while the upload is not complete.
        let is_meant = setting.response == "length";
        let offsets = shape.request_head..shape.request;
        let place = |at| (Place::Up(at), Phase::RequestBody);
        return offsets.filter(|_| is_meant).map(place).collect();
    }
    // The request does not depend on the response.
    let requests = (0..=shape.request).filter(|_| setting.response == "length");
    let requests = requests.map(|at| (Place::Up(at), request_phase(at)));
    let responses = (0..=shape.response).map(|at| (Place::Down(at), response_phase(at)));
    requests.chain(responses).collect()
}

/// A client's death, and where the exchange is then.
#[derive(Clone, Copy, Debug)]
struct Leaving {
    request: Request,
    is_reset: bool,
    sent: usize,
}

#[test]
fn a_client_may_die_at_every_byte_of_its_request() {
    let road = Road::new(filler_bytes(), Version::Http1);
    let lengths = |request| {
        let lane = road.lane();
        encode(request, &lane.target("one", 1, CASE, "length")).len()
    };
    let mut cases = Vec::new();
    for request in [Request::Get, Request::Post, Request::Chunked] {
        for is_reset in [false, true] {
            cases.extend((0..=lengths(request)).map(|sent| Leaving {
                request,
                is_reset,
                sent,
            }));
        }
    }
    run_all(&cases, || road.lane(), |lane, case| leave(lane, *case));
    road.check();
}

fn leave(lane: &Lane, leaving: Leaving) -> Outcome {
    let case = lane.next_case();
    let target = lane.target("one", case, CASE, "length");
    let bytes = encode(leaving.request, &target);
    let head = bytes.windows(4).position(|four| four == b"\r\n\r\n");
    let head_is_complete = leaving.sent >= head.unwrap() + 4;
    let is_complete = leaving.sent == bytes.len();
    lane.proxy.begin([]);
    let mut client = lane.connect();
    client.send(&bytes[..leaving.sent]).unwrap();
    if head_is_complete && !is_complete {
        // Else the backend may never hear of it, as a client that is gone needs nothing.
        lane.origin.wait_for_head_of(&target);
    }
    let failed = |seen: &dyn std::fmt::Debug| Err(format!("{leaving:?} of {target}: {seen:?}"));
    if leaving.is_reset {
        client.reset().unwrap();
    } else {
        client.half_close().unwrap();
        let answer = client.read_response();
        let is_right = match &answer {
            // A client that has only stopped sending gets its answer (BE-04).
            Ok(answer) => is_complete && answer.status == 200,
            Err(StrictError::Closed) => !is_complete,
            Err(_) => false,
        };
        if !is_right {
            return failed(&answer);
        }
    }
    lane.follow(&mut lane.client(), "one", case, LAST)?;
    if head_is_complete && !(is_complete && leaving.is_reset) {
        let cause = if is_complete {
            "completed"
        } else {
            "client_closed"
        };
        lane.promises.borrow_mut().push(Promise {
            title: format!("{leaving:?}"),
            path: target,
            causes: vec![cause.to_owned()],
        });
    }
    Ok(())
}

#[test]
fn a_client_may_die_at_every_byte_of_its_response() {
    let road = Road::new(filler_bytes(), Version::Http1);
    let mut cases = Vec::new();
    for response in ["length", "chunked", "close"] {
        for request in [Request::Get, Request::Post] {
            let setting = Setting {
                request,
                response: response.to_owned(),
                pool: "one".to_owned(),
                is_reused: false,
            };
            let length = road.lane().shape(&setting).response;
            cases.extend((0..length).map(|at| (setting.clone(), at)));
        }
    }
    run_all(
        &cases,
        || road.lane(),
        |lane, (setting, at)| {
            let case = lane.next_case();
            let target = lane.target("one", case, CASE, &setting.response);
            // The rest of the response never comes: only the client can end it.
            lane.proxy.begin([Fault {
                place: Place::Down(*at),
                action: FaultAction::Blackhole,
            }]);
            let mut client = lane.connect();
            client.send(encode(setting.request, &target)).unwrap();
            lane.proxy.wait_for_faults(1);
            client.reset().unwrap();
            // Ends when Balance has closed the backend's connection, and else never.
            lane.proxy.wait_until_closed();
            lane.promises.borrow_mut().push(Promise {
                title: format!("{setting:?} left at {at}"),
                path: target,
                causes: vec!["client_closed".to_owned()],
            });
            lane.follow(&mut lane.client(), "one", case, LAST)
        },
    );
    road.check();
}

fn filler_bytes() -> usize {
    std::env::var("BALANCE_FAULTS_FILLER_BYTES").map_or(0, |count| count.parse().unwrap())
}

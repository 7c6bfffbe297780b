//! What became of a row, told from outside: by what its client was answered and what the backend saw.
//!
//! It knows nothing of the proxy in between, so that planted faults can be judged by it too.

use balance_testkit::sm_data::{Row, Verdict, without_added_fields};
use balance_testkit::{Origin, RawClient, Recorded, Response, StrictError};

use super::{CANARY, CANARY_ANSWER, ROW_ANSWER, SMUGGLED_TARGET};

/// The four things that can become of a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Seen {
    /// Refused with this status, or by closing alone. No end of a request reached the backend, and nothing that
    /// followed on the connection was served.
    Reject(Option<u16>),
    /// Forwarded as the table says and answered, and what followed was served as the request it was.
    Normal,
    /// Something else: the backend got what it should not have, or somebody got an answer to something else.
    Unsafe(String),
    /// Neither answered nor closed.
    Hang(String),
}

/// The verdict, and what the row itself was answered.
#[derive(Debug)]
pub(super) struct Judgement {
    pub(super) seen: Seen,
    pub(super) answer: Option<Response>,
}

/// What the client saw, in order.
#[derive(Debug, Default)]
struct Client {
    row: Option<Response>,
    canary: Option<Response>,
    is_closed: bool,
    /// What came behind.
    rest: Vec<u8>,
}

/// Sends a row and the canary behind it, and judges what becomes of them. `parts` are the writes.
pub(super) fn judge(
    client: &mut RawClient,
    origin: &Origin,
    row: &Row,
    parts: [&[u8]; 2],
) -> Judgement {
    let before = origin.requests().len();
    // What is refused early closes early: the answer tells, not the rest of the writes.
    let _ = client.send_parts(&parts);
    let mut answers = Client::default();
    let seen = match observe(client, row, &mut answers) {
        Err(StrictError::TimedOut) => Seen::Hang("the client waits".to_owned()),
        result => {
            let at_backend = origin.requests().split_off(before);
            let checked = check_requests(&at_backend)
                .and_then(|()| {
                    result.map_err(|error| format!("the client cannot read it: {error}"))
                })
                .and_then(|()| check_answers(row, origin, &answers, &at_backend));
            match checked {
                Err(why) => Seen::Unsafe(why),
                Ok(()) => classify(row, &answers),
            }
        }
    };
    Judgement {
        seen,
        answer: answers.row,
    }
}

fn classify(row: &Row, answers: &Client) -> Seen {
    match (&answers.row, &answers.canary) {
        (Some(response), None) if response.status >= 400 => Seen::Reject(Some(response.status)),
        (None, _) => Seen::Reject(None),
        (Some(response), _) if response.status >= 400 => {
            Seen::Unsafe("served after a refusal".to_owned())
        }
        _ if row.verdict != Verdict::Ok => Seen::Unsafe("answered as if it were good".to_owned()),
        _ => Seen::Normal,
    }
}

/// Whether the canary follows the row: not where the row has to be broken off instead, and not in a first line
/// without an end, which would continue with it.
pub(super) fn tail(row: &Row) -> &'static str {
    let is_unfinished = matches!(row.verdict, Verdict::Partial | Verdict::Incomplete);
    if is_unfinished || !row.input.contains(&b'\n') {
        ""
    } else {
        CANARY
    }
}

/// Reads all that the client gets.
fn observe(client: &mut RawClient, row: &Row, seen: &mut Client) -> Result<(), StrictError> {
    if matches!(row.verdict, Verdict::Partial | Verdict::Incomplete) {
        client.half_close().map_err(StrictError::from)?;
    }
    let is_head = asks_head(row);
    match client.read_final_response(is_head) {
        Ok(response) => seen.row = Some(response),
        Err(StrictError::Closed | StrictError::Reset) => seen.is_closed = true,
        Err(error) => return Err(error),
    }
    if seen.row.as_ref().is_some_and(Response::keeps_alive) && !tail(row).is_empty() {
        match client.read_final_response(false) {
            Ok(response) => seen.canary = Some(response),
            Err(StrictError::Closed | StrictError::Reset) => seen.is_closed = true,
            Err(error) => return Err(error),
        }
    }
    if !seen.is_closed {
        if seen.canary.is_some() {
            client.half_close().map_err(StrictError::from)?;
        }
        seen.rest = match client.read_to_end() {
            Err(StrictError::Reset) => Vec::new(),
            rest => rest?,
        };
    }
    Ok(())
}

/// What no backend may see at all.
fn check_requests(at_backend: &[Recorded]) -> Result<(), String> {
    if let Some(violation) = at_backend.iter().find_map(|each| each.violation.as_ref()) {
        return Err(format!("a strict backend refuses it: {violation}"));
    }
    match at_backend
        .iter()
        .find(|each| each.target == SMUGGLED_TARGET)
    {
        Some(smuggled) => Err(format!("smuggled: {smuggled:?}")),
        None => Ok(()),
    }
}

/// What the backend may have seen: the row as the table says, then the canary if it was answered.
fn check_answers(
    row: &Row,
    origin: &Origin,
    seen: &Client,
    at_backend: &[Recorded],
) -> Result<(), String> {
    if !seen.rest.is_empty() {
        let rest = seen.rest.escape_ascii();
        return Err(format!("answers that nobody asked for: {rest}"));
    }
    let is_canary = |each: &&Recorded| each.target == "/canary";
    let (canaries, others): (Vec<_>, Vec<_>) = at_backend.iter().partition(is_canary);
    let answered = |response: &Option<Response>, text: &str| {
        response
            .as_ref()
            .is_some_and(|response| response.text() == text)
    };
    if seen.canary.is_some() && !answered(&seen.canary, CANARY_ANSWER) {
        return Err(format!("the canary got another answer: {:?}", seen.canary));
    }
    if canaries.len() != usize::from(seen.canary.is_some()) {
        return Err(format!("canaries at the backend: {canaries:?}"));
    }
    let is_forwarded = seen
        .row
        .as_ref()
        .is_some_and(|response| response.status < 400);
    if !is_forwarded {
        return match others.iter().find(|request| request.is_complete) {
            Some(request) => Err(format!("refused, but the backend saw {request:?}")),
            None => Ok(()),
        };
    }
    if row.verdict != Verdict::Ok {
        return Ok(()); // the answer alone condemns it
    }
    if !asks_head(row) && !answered(&seen.row, ROW_ANSWER) {
        return Err(format!("the row got another answer: {:?}", seen.row));
    }
    let [request] = others.as_slice() else {
        return Err(format!("requests at the backend: {others:?}"));
    };
    compare(row, origin, request)
}

fn asks_head(row: &Row) -> bool {
    let input = row.input.strip_prefix(b"\r\n").unwrap_or(&row.input);
    input.starts_with(b"HEAD ")
}

fn compare(row: &Row, origin: &Origin, request: &Recorded) -> Result<(), String> {
    let authority = origin.addr().to_string();
    let expected = replace(&row.forwarded, b"backend.test", authority.as_bytes());
    let expected = without_added_fields(&expected);
    let forwarded = without_added_fields(&request.raw);
    // Whoever answers at once may get the beginning only, and whoever still reads has more to come.
    let is_right = match row.option("backend") {
        Some(_) => expected.starts_with(&forwarded),
        None => expected == forwarded && request.is_complete,
    };
    if is_right {
        return Ok(());
    }
    let [forwarded, expected] = [forwarded, expected].map(|bytes| bytes.escape_ascii().to_string());
    Err(format!("forwarded {forwarded}, not {expected}"))
}

fn replace(bytes: &[u8], from: &[u8], to: &[u8]) -> Vec<u8> {
    match bytes.windows(from.len()).position(|window| window == from) {
        Some(at) => [&bytes[..at], to, &bytes[at + from.len()..]].concat(),
        None => bytes.to_vec(),
    }
}

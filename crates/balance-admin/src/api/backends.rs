//! What an operator does with a backend: `POST /pools/{pool}/backends/{backend}/drain`, `…/enable` and `…/weight`.

use std::error::Error;

use balance_control::{AdminState, ControlHandle, Weight, WeightError};
use http_body_util::Full;
use hyper::body::{Body, Bytes};
use hyper::{Response, StatusCode};
use serde_json::Value;

use super::{read, show};
use crate::json;

/// What is asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Operation {
    pool: String,
    backend: String,
    verb: Verb,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Verb {
    Drain,
    Enable,
    /// The body says which.
    Weight,
}

impl Operation {
    /// Names stand in the path as they are in the configuration, percent-encoded as in every URL (RFC 3986 §2.1). A slash
    /// need not be: the last `/backends/` is the border.
    pub(super) fn find(path: &str) -> Option<Self> {
        let (names, verb) = path.strip_prefix("/pools/")?.rsplit_once('/')?;
        let verb = match verb {
            "drain" => Verb::Drain,
            "enable" => Verb::Enable,
            "weight" => Verb::Weight,
            _ => return None,
        };
        let (pool, backend) = names.rsplit_once("/backends/")?;
        Some(Self {
            pool: decode(pool)?,
            backend: decode(backend)?,
            verb,
        })
    }
}

pub(super) async fn answer<B>(
    operation: Operation,
    body: B,
    control: &ControlHandle,
) -> Response<Full<Bytes>>
where
    B: Body,
    B::Error: Into<Box<dyn Error + Send + Sync>>,
{
    let Operation {
        pool,
        backend,
        verb,
    } = operation;
    let state = match verb {
        Verb::Drain => AdminState::Draining,
        Verb::Enable => AdminState::Enabled,
        Verb::Weight => return weigh(&pool, &backend, body, control).await,
    };
    match control.set_backend_state(&pool, &backend, state).await {
        Some(backend) => show(StatusCode::OK, &json::backend(&backend)),
        None => refuse(&WeightError::UnknownBackend),
    }
}

async fn weigh<B>(
    pool: &str,
    backend: &str,
    body: B,
    control: &ControlHandle,
) -> Response<Full<Bytes>>
where
    B: Body,
    B::Error: Into<Box<dyn Error + Send + Sync>>,
{
    let body = match read(body).await {
        Ok(body) => body,
        Err(refusal) => return *refusal,
    };
    let Some(weight) = parse_weight(&body) else {
        let help = format!(
            "as in {{ \"weight\": 5 }}: a whole number from 0 (no new traffic) to {}, or null for what the configuration says",
            Weight::MAX.0
        );
        let body = json::error("this is no weight", Some(&help));
        return show(StatusCode::BAD_REQUEST, &body);
    };
    match control.set_weight(pool, backend, weight).await {
        Ok(backend) => show(StatusCode::OK, &json::backend(&backend)),
        Err(error) => refuse(&error),
    }
}

fn refuse(error: &WeightError) -> Response<Full<Bytes>> {
    let (status, help) = match error {
        WeightError::UnknownBackend => (
            StatusCode::NOT_FOUND,
            Some("GET /pools shows the names of pools and backends"),
        ),
        WeightError::Ignored(_) => (
            StatusCode::UNPROCESSABLE_ENTITY,
            Some("drain the backend, or give the pool a weighted algorithm"),
        ),
        WeightError::Ending => (StatusCode::SERVICE_UNAVAILABLE, None),
    };
    show(status, &json::error(&error.to_string(), help))
}

/// `Some(None)`: back to the configured one.
fn parse_weight(body: &[u8]) -> Option<Option<Weight>> {
    let Value::Object(object) = serde_json::from_slice(body).ok()? else {
        return None;
    };
    // A misspelt key beside it would be ignored.
    if object.len() != 1 {
        return None;
    }
    match object.get("weight")? {
        Value::Null => Some(None),
        number => {
            let number = u32::try_from(number.as_u64()?).ok()?;
            (number <= Weight::MAX.0).then_some(Some(Weight(number)))
        }
    }
}

/// `None`: an escape that is none, or no UTF-8.
fn decode(text: &str) -> Option<String> {
    let mut bytes = text.bytes();
    let mut decoded = Vec::with_capacity(text.len());
    while let Some(byte) = bytes.next() {
        if byte != b'%' {
            decoded.push(byte);
            continue;
        }
        let mut digit = || char::from(bytes.next()?).to_digit(16);
        let (high, low) = (digit()?, digit()?);
        decoded.push(u8::try_from(high << 4 | low).ok()?);
    }
    String::from_utf8(decoded).ok()
}

#[cfg(test)]
mod tests {
    use super::{Operation, Verb, Weight, parse_weight};

    #[test]
    fn an_operation_names_a_pool_a_backend_and_what_is_done() {
        for (path, expected) in [
            ("/pools/p/backends/a/drain", Some(("p", "a", Verb::Drain))),
            ("/pools/p/backends/a/weight", Some(("p", "a", Verb::Weight))),
            (
                "/pools/p/backends/127.0.0.1:90/enable",
                Some(("p", "127.0.0.1:90", Verb::Enable)),
            ),
            (
                "/pools/route:x/backends/unix:/run/a/drain",
                Some(("route:x", "unix:/run/a", Verb::Drain)),
            ),
            (
                "/pools/route%3Ax/backends/unix:%2frun%2Fa/drain",
                Some(("route:x", "unix:/run/a", Verb::Drain)),
            ),
            (
                "/pools/a%20b/backends/%C3%A4%25/enable",
                Some(("a b", "ä%", Verb::Enable)),
            ),
            ("/pools/p/backends/a%/drain", None),
            ("/pools/p/backends/a%4/drain", None),
            ("/pools/p/backends/a%+4/drain", None),
            ("/pools/p/backends/%ff/drain", None),
            ("/pools/p/backends/a", None),
            ("/pools/p/backends/a/delete", None),
            ("/pools/p/a/drain", None),
            ("/pools/drain", None),
            ("/pools", None),
        ] {
            let found = Operation::find(path);
            let found = found
                .as_ref()
                .map(|one| (&*one.pool, &*one.backend, one.verb));
            assert_eq!(found, expected, "{path}");
        }
    }

    #[test]
    fn a_weight_is_a_whole_number_within_its_limits() {
        for (body, expected) in [
            ("{ \"weight\": 5 }", Some(Some(Weight(5)))),
            ("{\"weight\":0}", Some(Some(Weight(0)))),
            ("{\"weight\":1000000}", Some(Some(Weight::MAX))),
            ("{\"weight\":null}", Some(None)),
            ("{\"weight\":1000001}", None),
            ("{\"weight\":18446744073709551616}", None),
            ("{\"weight\":1e400}", None),
            ("{\"weight\":-1}", None),
            ("{\"weight\":1.5}", None),
            ("{\"weight\":NaN}", None),
            ("{\"weight\":\"5\"}", None),
            ("{\"weight\":5,\"wait\":1}", None),
            ("{\"wieght\":5}", None),
            ("{}", None),
            ("5", None),
            ("", None),
        ] {
            assert_eq!(parse_weight(body.as_bytes()), expected, "{body}");
        }
    }
}

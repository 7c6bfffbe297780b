//! Taking a backend out of traffic and putting it back: `POST /pools/{pool}/backends/{backend}/drain` and `…/enable`.

use balance_control::{AdminState, ControlHandle};
use http_body_util::Full;
use hyper::body::Bytes;
use hyper::{Response, StatusCode};

use super::show;
use crate::json;

/// What is asked for. Names stand in the path as they are in the configuration: none of them can hold a slash that
/// would be mistaken for the border, since the last one found is taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Switch<'p> {
    pool: &'p str,
    backend: &'p str,
    to: AdminState,
}

impl<'p> Switch<'p> {
    pub(super) fn find(path: &'p str) -> Option<Self> {
        let (names, verb) = path.strip_prefix("/pools/")?.rsplit_once('/')?;
        let to = match verb {
            "drain" => AdminState::Draining,
            "enable" => AdminState::Enabled,
            _ => return None,
        };
        let (pool, backend) = names.rsplit_once("/backends/")?;
        Some(Self { pool, backend, to })
    }
}

pub(super) fn answer(switch: Switch<'_>, control: &ControlHandle) -> Response<Full<Bytes>> {
    match control.set_backend_state(switch.pool, switch.backend, switch.to) {
        Some((state, weight)) => show(StatusCode::OK, &json::backend(&state, weight.0)),
        None => show(
            StatusCode::NOT_FOUND,
            &json::error(
                "there is no such backend",
                Some("GET /pools shows the names of pools and backends"),
            ),
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::{AdminState, Switch};

    #[test]
    fn a_switch_names_a_pool_a_backend_and_what_it_is_to_be() {
        let drain = AdminState::Draining;
        for (path, expected) in [
            ("/pools/p/backends/a/drain", Some(("p", "a", drain))),
            (
                "/pools/p/backends/127.0.0.1:90/enable",
                Some(("p", "127.0.0.1:90", AdminState::Enabled)),
            ),
            (
                "/pools/route:x/backends/unix:/run/a/drain",
                Some(("route:x", "unix:/run/a", drain)),
            ),
            ("/pools/p/backends/a", None),
            ("/pools/p/backends/a/delete", None),
            ("/pools/p/a/drain", None),
            ("/pools/drain", None),
            ("/pools", None),
        ] {
            let found = Switch::find(path).map(|one| (one.pool, one.backend, one.to));
            assert_eq!(found, expected, "{path}");
        }
    }
}

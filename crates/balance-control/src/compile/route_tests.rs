//! The `tests` of routes, explained by what serves: what a request would come to.

use std::collections::HashSet;
use std::net::{IpAddr, Ipv4Addr};

use balance_config::{
    Config, Diagnostic, Mode, PoolKind, Route, RouteScope, RouteTest, Severity, Spanned,
};
use balance_core::{PoolId, RouteId};
use balance_proxy::explain::{
    Explainer, Forward, NotOneHead, Outcome as Explained, RequestExplanation,
};
use balance_proxy::{Action, Snapshot};

use crate::explain::head;

/// Runs all tests. An expectation that does not hold is an error at its place. A test is put to every
/// listener that asks its route.
pub(super) fn run(config: &Config, snapshot: &Snapshot, errors: &mut Vec<Diagnostic>) {
    let scopes: Vec<Scope> = snapshot
        .listeners
        .iter()
        .enumerate()
        .filter_map(|(position, rules)| {
            let listener = (config.listeners.iter()).find(|one| one.name == rules.name)?;
            (listener.mode == Mode::Http).then(|| Scope::of(listener, position))
        })
        .collect();
    for (index, route) in config.routes.iter().enumerate() {
        let id = RouteId::from_index(index);
        for test in &route.tests {
            let request = match request(test) {
                Ok(request) => request,
                Err(message) => {
                    let place = &test.request.place;
                    errors.push(Diagnostic::new(Severity::Error, place, message));
                    continue;
                }
            };
            // The first listener where something is different stands for all.
            let failed = scopes
                .iter()
                .filter(|scope| scope.asks(id))
                .map(|scope| {
                    let trial = Trial {
                        config,
                        snapshot,
                        listener: scope.position,
                        request: &request,
                    };
                    trial.compare(id, test)
                })
                .find(|failed| !failed.is_empty());
            errors.extend(failed.into_iter().flatten());
        }
    }
}

/// The routes that an address asks.
struct Scope {
    /// In the snapshot.
    position: usize,
    /// `None`: all.
    routes: Option<HashSet<RouteId>>,
}

impl Scope {
    fn of(listener: &balance_config::Listener, position: usize) -> Self {
        let routes = match &listener.routes {
            RouteScope::All => None,
            RouteScope::Listed(listed) => Some(listed.iter().copied().collect()),
        };
        Self { position, routes }
    }

    fn asks(&self, route: RouteId) -> bool {
        self.routes
            .as_ref()
            .is_none_or(|routes| routes.contains(&route))
    }
}

/// A request that is put to an address.
struct Trial<'a> {
    config: &'a Config,
    snapshot: &'a Snapshot,
    /// The position in the snapshot.
    listener: usize,
    /// The bytes of a head.
    request: &'a [u8],
}

impl Trial<'_> {
    /// One error for each expectation of a test that does not hold.
    fn compare(&self, own: RouteId, test: &RouteTest) -> Vec<Diagnostic> {
        let outcome = match self.explain(false) {
            Ok(explanation) => self.outcome(&explanation),
            Err(error) => {
                let message = format!("`{}` is not a request: {error}", test.request.value);
                let place = &test.request.place;
                return vec![Diagnostic::new(Severity::Error, place, message)];
            }
        };
        let mut failed = Vec::new();
        for (key, expected) in &test.expect {
            let Some(found) = self.difference(key, expected, &outcome) else {
                continue;
            };
            let at = match self.config.listeners.len() {
                0 | 1 => String::new(),
                _ => format!(
                    " (listener `{}`)",
                    self.snapshot.listeners[self.listener].name
                ),
            };
            let message = format!("route test: {found}{at}");
            let mut diagnostic = Diagnostic::new(Severity::Error, &expected.place, message);
            if outcome.route != Some(own) {
                diagnostic.help = self.why_not(own);
                if let Some(decided) = outcome.route.map(|id| self.route(id)) {
                    let what = format!("route `{}` takes the request", decided.name);
                    diagnostic = diagnostic.with_related(&decided.place, what);
                }
            }
            failed.push(diagnostic);
        }
        failed
    }

    /// From this machine. Which routes are asked is told only where it is needed: ten thousand tests of ten thousand
    /// routes would take seconds for it.
    fn explain(&self, is_tracing: bool) -> Result<RequestExplanation, NotOneHead> {
        let explainer = Explainer {
            snapshot: self.snapshot,
            listener: self.listener,
            peer: IpAddr::V4(Ipv4Addr::LOCALHOST),
            server_name: None,
            certificates: None,
            via_name: "",
            now_ms: 0,
            seed: 0,
            is_tracing,
        };
        explainer.request(self.request)
    }

    fn outcome(&self, explanation: &RequestExplanation) -> Outcome {
        let route = explanation.route;
        let forwarded = |forward: &Forward, status| Outcome {
            route,
            pools: self.drawn(route, forward.destination.pool),
            target: Some(forward.head.path_and_query.clone()),
            status,
        };
        match &explanation.outcome {
            Explained::Answered(answer) => Outcome {
                route,
                pools: Vec::new(),
                target: None,
                status: Some(answer.status),
            },
            Explained::Forwarded(forward) => forwarded(forward, None),
            Explained::Stranded(forward, answer) => forwarded(forward, Some(answer.status)),
        }
    }

    /// Of a split all pools that it may draw, else the one.
    fn drawn(&self, route: Option<RouteId>, pool: PoolId) -> Vec<PoolId> {
        match route.map(|route| &self.snapshot.routes[route.index()].action) {
            Some(Action::Split(split)) => {
                let shares = self.snapshot.splits[split.index()].shares().iter();
                let drawn = shares.filter(|share| share.weight.0 > 0);
                drawn.map(|share| share.pool).collect()
            }
            _ => vec![pool],
        }
    }

    /// What is there in place of the expected value; `None` when it is the same.
    fn difference(
        &self,
        key: &str,
        expected: &Spanned<String>,
        outcome: &Outcome,
    ) -> Option<String> {
        let wanted = expected.value.as_str();
        match key {
            "route" => {
                let name = outcome.route.map(|id| self.route(id).name.as_str());
                (name.unwrap_or("none") != wanted).then(|| match name {
                    Some(name) => format!("route `{name}` takes it, not `{wanted}`"),
                    None => format!("no route takes it, `{wanted}` should"),
                })
            }
            "pool" if outcome.pools.is_empty() => {
                Some(format!("{} and goes to no pool", outcome.answer()))
            }
            "pool" => {
                let mut pools = outcome.pools.iter();
                let fits = pools.any(|pool| self.pool_names(*pool).any(|name| name == wanted));
                (!fits).then(|| {
                    let name =
                        |pool: &PoolId| format!("`{}`", self.config.pools[pool.index()].name);
                    let names: Vec<String> = outcome.pools.iter().map(name).collect();
                    format!("it goes to pool {}, not `{wanted}`", names.join(" or "))
                })
            }
            "path" => match &outcome.target {
                Some(target) => {
                    let path = target.split('?').next().unwrap_or_default();
                    let shown = if wanted.contains('?') {
                        target.as_str()
                    } else {
                        path
                    };
                    (shown != wanted).then(|| format!("the path becomes `{shown}`, not `{wanted}`"))
                }
                None => Some(format!("{} and its path goes nowhere", outcome.answer())),
            },
            _ => match outcome.status {
                Some(status) => (status.to_string() != wanted)
                    .then(|| format!("{}, not with {wanted}", outcome.answer())),
                None => Some("it goes to a backend, which gives it its status".to_owned()),
            },
        }
    }

    /// Why the route that the test belongs to does not decide.
    fn why_not(&self, own: RouteId) -> Option<String> {
        let trace = self.explain(true).ok()?.trace?;
        let name = &self.route(own).name;
        Some(match trace.steps.iter().find(|step| step.route == own) {
            Some(step) => format!(
                "route `{name}` does not take it because of its {}",
                step.mismatch?
            ),
            None => format!("route `{name}` is asked later"),
        })
    }

    fn route(&self, id: RouteId) -> &Route {
        &self.config.routes[id.index()]
    }

    /// A view answers to its own name and to that of its pool.
    fn pool_names(&self, id: PoolId) -> impl Iterator<Item = &str> {
        let pools = &self.config.pools;
        let pool = &pools[id.index()];
        let of = match pool.kind {
            PoolKind::View { of, .. } => Some(pools[of.index()].name.as_str()),
            PoolKind::Definition => None,
        };
        [Some(pool.name.as_str()), of].into_iter().flatten()
    }
}

/// What a request comes to.
struct Outcome {
    route: Option<RouteId>,
    /// Empty when it is answered here.
    pools: Vec<PoolId>,
    /// Path and query as the backend sees them.
    target: Option<String>,
    /// Of a response of our own.
    status: Option<u16>,
}

impl Outcome {
    fn answer(&self) -> String {
        let status = self
            .status
            .map_or_else(|| "?".to_owned(), |status| status.to_string());
        format!("it is answered with status {status}")
    }
}

/// The head of `GET https://host:port/path?query`, or of `GET /path`: in HTTP/1.0, which needs no host.
fn request(test: &RouteTest) -> Result<Vec<u8>, String> {
    let text = test.request.value.trim();
    let refuse = |what: &str| format!("`{text}` is not a request: {what}");
    let (method, url) = text
        .split_once(' ')
        .ok_or_else(|| refuse("write it like `GET https://host/path`"))?;
    let is_url = ["http://", "https://", "/"]
        .iter()
        .any(|begin| url.starts_with(begin));
    if !is_url || url.bytes().any(|byte| byte <= b' ' || byte >= 0x7f) {
        return Err(refuse("its path begins with `/` and has no spaces"));
    }
    let field = |(name, value): &(String, String)| format!("{name}: {}", value.trim());
    let headers: Vec<String> = test.headers.iter().map(field).collect();
    head(method, url, &headers, "HTTP/1.0").map_err(|error| refuse(&error.to_string()))
}

//! The `tests` of routes, put to the same tables and filters that serve: what a request would come to.

use std::collections::HashSet;
use std::sync::Arc;

use balance_config::{
    Config, Diagnostic, Mode, PoolKind, Route, RouteScope, RouteTest, Severity, Spanned,
};
use balance_core::{PathPolicy, PoolId, RouteId, UnderscorePolicy};
use balance_proxy::{Action, Filter, PathRewrite, PoolRules};
use balance_route::{Facts, RouteTable};

use super::routes::CompiledRoutes;
use crate::authority::without_port;

/// What tests are run against.
pub(super) struct Served<'a> {
    pub(super) config: &'a Config,
    pub(super) routes: &'a CompiledRoutes,
    pub(super) pools: &'a [PoolRules],
    /// One for each listener of the configuration.
    pub(super) tables: &'a [Arc<RouteTable>],
}

/// Runs all tests. An expectation that does not hold is an error at its place. A test is put to every
/// listener that asks its route.
pub(super) fn run(served: &Served<'_>, errors: &mut Vec<Diagnostic>) {
    if served
        .config
        .routes
        .iter()
        .all(|route| route.tests.is_empty())
    {
        return;
    }
    let listeners = served.config.listeners.iter().enumerate();
    let scopes: Vec<(usize, Option<HashSet<RouteId>>)> = listeners
        .filter(|(_, listener)| listener.mode == Mode::Http)
        .map(|(index, listener)| match &listener.routes {
            RouteScope::All => (index, None),
            RouteScope::Listed(listed) => (index, Some(listed.iter().copied().collect())),
        })
        .collect();
    for (index, route) in served.config.routes.iter().enumerate() {
        let id = RouteId::from_index(index);
        let asked =
            |scope: &Option<HashSet<RouteId>>| scope.as_ref().is_none_or(|ids| ids.contains(&id));
        for test in &route.tests {
            let request = match Request::parse(test, served.config) {
                Ok(request) => request,
                Err(message) => {
                    errors.push(Diagnostic::new(
                        Severity::Error,
                        &test.request.place,
                        message,
                    ));
                    continue;
                }
            };
            // The first listener where something is different stands for all.
            let failed = scopes
                .iter()
                .filter(|(_, scope)| asked(scope))
                .map(|(listener, _)| served.compare(*listener, id, test, &request))
                .find(|failed| !failed.is_empty());
            errors.extend(failed.into_iter().flatten());
        }
    }
}

impl Served<'_> {
    /// One error for each expectation of a test that does not hold at a listener.
    fn compare(
        &self,
        listener: usize,
        own: RouteId,
        test: &RouteTest,
        request: &Request<'_>,
    ) -> Vec<Diagnostic> {
        let outcome = self.outcome(listener, request);
        let several = self.config.listeners.len() > 1;
        let mut failed = Vec::new();
        for (key, expected) in &test.expect {
            let Some(found) = self.difference(key, expected, &outcome) else {
                continue;
            };
            let at = if several {
                format!(" (listener `{}`)", self.config.listeners[listener].name)
            } else {
                String::new()
            };
            let message = format!("route test: {found}{at}");
            let mut diagnostic = Diagnostic::new(Severity::Error, &expected.place, message);
            if outcome.route != Some(own) {
                diagnostic.help = self.why_not(listener, own, request);
                if let Some(decided) = outcome.route.map(|id| self.route(id)) {
                    let what = format!("route `{}` takes the request", decided.name);
                    diagnostic = diagnostic.with_related(&decided.place, what);
                }
            }
            failed.push(diagnostic);
        }
        failed
    }

    /// What serving would do, with its own table, actions and path rules.
    fn outcome(&self, listener: usize, request: &Request<'_>) -> Outcome {
        let policy = self.config.protocol.paths;
        if PathRewrite::default()
            .rewrite(request.target, policy)
            .is_none()
        {
            return Outcome::answered(None, 400);
        }
        let (route, filters, pools) = match self.tables[listener].decide(request) {
            Some(id) => {
                let rules = &self.routes.routes[id.index()];
                match &rules.action {
                    Action::Forward(pool) => (Some(id), &rules.filters, vec![*pool]),
                    Action::Split(split) => {
                        let shares = self.routes.splits[split.index()].shares().iter();
                        let drawn = shares.filter(|share| share.weight.0 > 0);
                        (
                            Some(id),
                            &rules.filters,
                            drawn.map(|share| share.pool).collect(),
                        )
                    }
                    Action::Redirect(redirect) => {
                        return Outcome::answered(Some(id), redirect.status);
                    }
                    Action::Respond(respond) => return Outcome::answered(Some(id), respond.status),
                }
            }
            None => match self.config.listeners[listener].pool {
                Some(pool) => (None, &self.pools[pool.index()].filters, vec![pool]),
                None => return Outcome::answered(None, 404),
            },
        };
        match rewritten(request.target, filters, policy) {
            Some(target) => Outcome {
                route,
                pools,
                target: Some(target),
                status: None,
            },
            None => Outcome::answered(route, 400),
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
    fn why_not(&self, listener: usize, own: RouteId, request: &Request<'_>) -> Option<String> {
        let trace = self.tables[listener].explain(request);
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
    /// Of a split all that it may draw; empty when it is answered here.
    pools: Vec<PoolId>,
    /// Path and query as the backend sees them.
    target: Option<String>,
    /// Of a response of our own.
    status: Option<u16>,
}

impl Outcome {
    fn answered(route: Option<RouteId>, status: u16) -> Self {
        Self {
            route,
            pools: Vec::new(),
            target: None,
            status: Some(status),
        }
    }

    fn answer(&self) -> String {
        let status = self
            .status
            .map_or_else(|| "?".to_owned(), |status| status.to_string());
        format!("it is answered with status {status}")
    }
}

/// The target after the filters that change it; `None` when the result is refused.
fn rewritten(target: &[u8], filters: &[Filter], policy: PathPolicy) -> Option<String> {
    let mut target = target.to_vec();
    for filter in filters {
        if let Filter::Path(rewrite) = filter {
            target = rewrite.rewrite(&target, policy)?;
        }
    }
    Some(String::from_utf8_lossy(&target).into_owned())
}

/// The request of a test, as routes see requests.
struct Request<'a> {
    method: &'a str,
    host: &'a str,
    target: &'a [u8],
    headers: Vec<(&'a str, &'a str)>,
}

impl<'a> Request<'a> {
    /// `GET https://host:port/path?query`, or `GET /path` for a request without a host.
    fn parse(test: &'a RouteTest, config: &Config) -> Result<Self, String> {
        let text = test.request.value.trim();
        let refuse = |what: &str| format!("`{text}` is not a request: {what}");
        let (method, url) = text
            .split_once(' ')
            .ok_or_else(|| refuse("write it like `GET https://host/path`"))?;
        let rest = ["http://", "https://"]
            .iter()
            .find_map(|scheme| url.strip_prefix(scheme));
        let (authority, target) = match rest {
            Some(rest) => rest.split_at(rest.find(['/', '?']).unwrap_or(rest.len())),
            None => ("", url),
        };
        let target = match target.split('#').next().unwrap_or_default() {
            "" => "/",
            target => target,
        };
        if !target.starts_with('/') || target.bytes().any(|byte| byte <= b' ' || byte >= 0x7f) {
            return Err(refuse("its path begins with `/` and has no spaces"));
        }
        // As serving has it: such fields are gone before routes are asked.
        let drops = config.protocol.underscores_in_headers == UnderscorePolicy::Drop;
        let headers: Vec<(&str, &str)> = test
            .headers
            .iter()
            .filter(|(name, _)| !(drops && name.contains('_')))
            .map(|(name, value)| (name.as_str(), value.trim()))
            .collect();
        let field = headers
            .iter()
            .find(|(name, _)| name.eq_ignore_ascii_case("host"));
        let authority = field.map_or(authority, |(_, value)| *value);
        Ok(Self {
            method,
            host: host_of(authority),
            target: target.as_bytes(),
            headers,
        })
    }
}

impl Facts for Request<'_> {
    fn method(&self) -> &[u8] {
        self.method.as_bytes()
    }

    fn host(&self) -> &[u8] {
        self.host.as_bytes()
    }

    fn path(&self) -> &[u8] {
        let mut parts = self.target.split(|byte| *byte == b'?');
        parts.next().unwrap_or_default()
    }

    fn query(&self) -> &[u8] {
        let mark = self.target.iter().position(|byte| *byte == b'?');
        mark.map_or(&[], |at| &self.target[at + 1..])
    }

    fn header_values(&self, name_lower: &[u8]) -> impl Iterator<Item = &[u8]> {
        self.headers
            .iter()
            .filter(move |(name, _)| name.as_bytes().eq_ignore_ascii_case(name_lower))
            .map(|(_, value)| value.as_bytes())
    }
}

/// Without port and trailing dot.
fn host_of(authority: &str) -> &str {
    let host = without_port(authority);
    host.strip_suffix('.').unwrap_or(host)
}

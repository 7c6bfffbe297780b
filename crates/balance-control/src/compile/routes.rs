//! Routes: what they do, and in which order each listener asks them.

use std::sync::Arc;

use balance_config::{
    Action as ActionConfig, Config, Diagnostic, HeaderEdit, HostPattern as HostConfig, Listener,
    Mirror, NamedMatch as NamedConfig, PathMatch as PathConfig, Place, Redirect as RedirectConfig,
    Respond as RespondConfig, Route, RouteScope, Severity, Share, Spanned, Transform,
    ValueMatch as ValueConfig,
};
use balance_core::{MirrorId, RouteId, SplitId, Timeouts};
use balance_lb::Places;
use balance_proxy::{
    Action, Filter, HeaderAction, HeaderRule, MirrorRules, PathRewrite, Redirect, Respond,
    RouteRules, Sample, ShareRules, SplitRules,
};
use balance_route::{
    HostPattern, NamedMatch, PathMatch, Regex, RegexError, RouteErrorKind, RouteSpec, RouteTable,
    ValueMatch,
};

use crate::identity::Identities;

/// What the routes of a configuration become.
pub(super) struct CompiledRoutes {
    /// One for each route of the configuration, in its order.
    pub(super) routes: Vec<RouteRules>,
    pub(super) splits: Vec<SplitRules>,
    pub(super) mirrors: Vec<MirrorRules>,
}

pub(super) fn compile(
    config: &Config,
    identities: &Identities,
    errors: &mut Vec<Diagnostic>,
) -> CompiledRoutes {
    let mut compiled = CompiledRoutes {
        routes: Vec::with_capacity(config.routes.len()),
        splits: Vec::new(),
        mirrors: Vec::new(),
    };
    let mut timeouts: Arc<Timeouts> = Arc::default();
    for (index, route) in config.routes.iter().enumerate() {
        // Most routes have what the one before has.
        if *timeouts != route.timeouts {
            timeouts = Arc::new(route.timeouts.clone());
        }
        let rules = RouteRules {
            name: route.name.as_str().into(),
            action: compiled.action(route, identities, errors),
            mirror: route.mirror.as_ref().map(|mirror| {
                let in_flight = identities.mirror(&route.name);
                let id = MirrorId::from_index(compiled.mirrors.len());
                let route = RouteId::from_index(index);
                compiled
                    .mirrors
                    .push(mirror_rules(route, mirror, in_flight));
                id
            }),
            filters: filters(&route.transform, &route.place, errors).into(),
            timeouts: Arc::clone(&timeouts),
        };
        compiled.routes.push(rules);
    }
    compiled
}

impl CompiledRoutes {
    fn action(
        &mut self,
        route: &Route,
        identities: &Identities,
        errors: &mut Vec<Diagnostic>,
    ) -> Action {
        match &route.action {
            ActionConfig::Forward(pool) => Action::Forward(*pool),
            ActionConfig::Split(shares) => {
                let id = SplitId::from_index(self.splits.len());
                let shares = shares.iter().map(share_rules).collect();
                match SplitRules::compile(shares, identities.split(&route.name)) {
                    Ok(split) => self.splits.push(split),
                    Err(error) => errors.push(refuse(&route.place, format!("split: {error}"))),
                }
                Action::Split(id)
            }
            ActionConfig::Redirect(redirect) => {
                Action::Redirect(Box::new(compile_redirect(redirect)))
            }
            ActionConfig::Respond(respond) => {
                for (name, value) in &respond.headers {
                    if !Respond::check_header(name, value) {
                        let message =
                            format!("respond: `{name}: {value}` cannot be sent as a header");
                        errors.push(refuse(&route.place, message));
                    }
                }
                Action::Respond(Box::new(compile_respond(respond)))
            }
        }
    }
}

fn share_rules(share: &Share) -> ShareRules {
    ShareRules {
        pool: share.pool,
        weight: share.weight,
        timeouts: share.timeouts.clone(),
    }
}

fn mirror_rules(route: RouteId, mirror: &Mirror, in_flight: Arc<Places>) -> MirrorRules {
    MirrorRules {
        route,
        pool: mirror.pool,
        sample: Sample::of_share(mirror.sample),
        body_bytes_max: mirror.body_bytes_max,
        timeout: mirror.timeout,
        in_flight_max: mirror.in_flight_max,
        in_flight,
    }
}

/// The routes of a listener.
pub(super) struct Tables {
    /// Those that requests (http) or sessions (tcp) are held against.
    pub(super) routes: Arc<RouteTable>,
    /// Those by the name of the handshake, for requests that none of `routes` takes.
    pub(super) server_names: Option<Arc<RouteTable>>,
}

/// One for each listener. Those that ask all routes share a table.
pub(super) fn tables(config: &Config, errors: &mut Vec<Diagnostic>) -> Vec<Tables> {
    let routes = config.routes.iter().enumerate();
    let specs: Vec<RouteSpec> = routes
        .map(|(index, route)| spec(index, route, errors))
        .collect();
    let of_requests = routes_where(config, |route| route.server_names.is_none());
    let mut table_of_all: Option<Arc<RouteTable>> = None;
    let mut compile = |scope: &RouteScope, errors: &mut Vec<Diagnostic>| match scope {
        RouteScope::All => {
            let table = match &table_of_all {
                Some(table) => Arc::clone(table),
                None => Arc::new(table(config, &specs, Some(&of_requests), errors)),
            };
            table_of_all = Some(Arc::clone(&table));
            table
        }
        RouteScope::Listed(listed) => Arc::new(table(config, &specs, Some(listed), errors)),
    };
    let of_listener = |listener: &Listener| Tables {
        routes: compile(&listener.routes, errors),
        server_names: (!listener.server_names.is_empty())
            .then(|| Arc::new(table(config, &specs, Some(&listener.server_names), errors))),
    };
    config.listeners.iter().map(of_listener).collect()
}

/// Positions, in the order of the file.
fn routes_where(config: &Config, is_wanted: impl Fn(&Route) -> bool) -> Vec<RouteId> {
    let routes = config.routes.iter().enumerate();
    let wanted = routes.filter(|(_, route)| is_wanted(route));
    wanted
        .map(|(index, _)| RouteId::from_index(index))
        .collect()
}

/// The filters of a `transform`.
pub(super) fn filters(
    transform: &Transform,
    place: &Place,
    errors: &mut Vec<Diagnostic>,
) -> Vec<Filter> {
    let mut filters = Vec::new();
    if transform.strip_prefix.is_some() || transform.add_prefix.is_some() {
        let (strip, add) = (
            transform.strip_prefix.as_deref(),
            transform.add_prefix.as_deref(),
        );
        match PathRewrite::new(strip, add) {
            Ok(rewrite) => filters.push(Filter::Path(rewrite)),
            Err(error) => errors.push(refuse(place, format!("transform: {error}"))),
        }
    }
    let request = header_rules(&transform.request_headers, place, errors);
    if !request.is_empty() {
        filters.push(Filter::RequestHeaders(request));
    }
    let response = header_rules(&transform.response_headers, place, errors);
    if !response.is_empty() {
        filters.push(Filter::ResponseHeaders(response));
    }
    filters
}

fn header_rules(
    edits: &[HeaderEdit],
    place: &Place,
    errors: &mut Vec<Diagnostic>,
) -> Vec<HeaderRule> {
    let mut rules = Vec::with_capacity(edits.len());
    for edit in edits {
        let (action, name, value) = match edit {
            HeaderEdit::Add { name, value } => (HeaderAction::Add, name, value.as_str()),
            HeaderEdit::Set { name, value } => (HeaderAction::Set, name, value.as_str()),
            HeaderEdit::Remove { name } => (HeaderAction::Remove, name, ""),
        };
        match HeaderRule::new(action, name, value) {
            Ok(rule) => rules.push(rule),
            Err(error) => errors.push(refuse(place, format!("transform: {error}"))),
        }
    }
    rules
}

fn compile_redirect(redirect: &RedirectConfig) -> Redirect {
    Redirect {
        scheme: redirect.scheme.clone(),
        host: redirect.host.clone(),
        port: redirect.port,
        path: redirect.path.clone(),
        status: redirect.status,
    }
}

/// The content type stands apart from the other headers: a response has exactly one.
fn compile_respond(respond: &RespondConfig) -> Respond {
    let is_type = |name: &str| name.eq_ignore_ascii_case("content-type");
    let typed = respond.headers.iter().find(|(name, _)| is_type(name));
    let others = respond.headers.iter().filter(|(name, _)| !is_type(name));
    let content_type = typed.map_or("text/plain; charset=utf-8", |(_, value)| value.as_str());
    Respond {
        status: respond.status,
        body: respond.body.clone().into_bytes(),
        content_type: content_type.to_owned(),
        headers: others.cloned().collect(),
    }
}

fn spec(index: usize, route: &Route, errors: &mut Vec<Diagnostic>) -> RouteSpec {
    let matches = &route.matches;
    let host = |host: &HostConfig| match host {
        HostConfig::Any => HostPattern::Any,
        HostConfig::Exact(name) => HostPattern::Exact(name.clone()),
        HostConfig::Under(name) => HostPattern::Suffix(name.clone()),
    };
    RouteSpec {
        id: RouteId::from_index(index),
        priority: route.priority,
        // The name that a TLS client asks for stands where the host of a request stands.
        hosts: route
            .server_names
            .as_ref()
            .unwrap_or(&matches.hosts)
            .iter()
            .map(host)
            .collect(),
        path: match &matches.path {
            PathConfig::Any => PathMatch::Any,
            PathConfig::BytePrefix(path) => PathMatch::BytePrefix(path.clone()),
            PathConfig::SegmentPrefix(path) => PathMatch::SegmentPrefix(path.clone()),
            PathConfig::Exact(path) => PathMatch::Exact(path.clone()),
            PathConfig::Regex(pattern) => {
                regex(pattern, errors).map_or(PathMatch::Any, PathMatch::Regex)
            }
        },
        methods: matches.methods.clone(),
        headers: conditions(&matches.headers, errors),
        query: conditions(&matches.query, errors),
        cookies: conditions(&matches.cookies, errors),
    }
}

fn conditions(conditions: &[NamedConfig], errors: &mut Vec<Diagnostic>) -> Vec<NamedMatch> {
    let compile = |condition: &NamedConfig| NamedMatch {
        name: condition.name.clone(),
        value: match &condition.value {
            ValueConfig::Exact(value) => ValueMatch::Exact(value.clone()),
            ValueConfig::Regex(pattern) => {
                regex(pattern, errors).map_or(ValueMatch::Present, ValueMatch::Regex)
            }
            ValueConfig::Present => ValueMatch::Present,
            ValueConfig::Absent => ValueMatch::Absent,
        },
    };
    conditions.iter().map(compile).collect()
}

/// What is wrong with regular expressions. An anchor may bring one to several routes.
pub(crate) fn check_patterns(patterns: &[Spanned<String>]) -> Vec<Diagnostic> {
    let mut errors = Vec::new();
    for pattern in patterns {
        regex(pattern, &mut errors);
    }
    errors.sort_by(|a, b| a.place.cmp(&b.place));
    errors.dedup();
    errors
}

/// `None` if it is reported: then nothing is compiled from what stands in its place.
fn regex(pattern: &Spanned<String>, errors: &mut Vec<Diagnostic>) -> Option<Regex> {
    let text = &pattern.value;
    let error = match Regex::compile(text) {
        Ok(regex) => return Some(regex),
        Err(error) => error,
    };
    let diagnostic = match &error {
        RegexError::Syntax { place, .. } => {
            let letter = text.get(..place.start).unwrap_or_default().chars().count() + 1;
            let message = format!("regular expression: {error}, at character {letter}");
            refuse(&pattern.place.of_part(text, place), message)
        }
        _ => refuse(&pattern.place, format!("regular expression: {error}")),
    };
    errors.push(diagnostic);
    None
}

/// A table, or an empty one when something is wrong, so that the other mistakes are found too.
fn table(
    config: &Config,
    specs: &[RouteSpec],
    listed: Option<&[RouteId]>,
    errors: &mut Vec<Diagnostic>,
) -> RouteTable {
    match RouteTable::compile_listed(specs, listed) {
        Ok(table) => table,
        Err(list) => {
            for error in list {
                let route = &config.routes[error.route.index()];
                let message = format!("route `{}`: {error}", route.name);
                let place = match (&error.kind, &route.matches.path) {
                    (RouteErrorKind::PathNeverMatches(_), PathConfig::Regex(regex)) => &regex.place,
                    _ => &route.place,
                };
                let diagnostic = refuse(place, message);
                // Two listeners with the same routes find the same mistakes.
                if !errors.contains(&diagnostic) {
                    errors.push(diagnostic);
                }
            }
            RouteTable::compile(Vec::new()).expect("no routes have no mistakes")
        }
    }
}

fn refuse(place: &Place, message: String) -> Diagnostic {
    Diagnostic::new(Severity::Error, place, message)
}

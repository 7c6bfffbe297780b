//! Routes that never decide, because one that is asked before them takes every request they match.
//!
//! Only what is certain is said: one earlier route must cover all hosts, paths, methods and other conditions. That
//! several earlier routes together cover one is not looked for.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use balance_config::{Config, Diagnostic, RouteScope, Severity};
use balance_core::RouteId;
use balance_route::{HostPattern, NamedMatch, PathMatch, RouteSpec, RouteTable, ValueMatch};

use super::routes::Tables;

/// One warning for each route that decides at none of the listeners that ask it.
pub(super) fn remarks(config: &Config, tables: &[Tables]) -> Vec<Diagnostic> {
    let mut asked: HashMap<RouteId, usize> = HashMap::new();
    let mut shadows: HashMap<RouteId, Vec<(usize, RouteId)>> = HashMap::new();
    let mut known: Option<(&Arc<RouteTable>, Vec<Shadow>)> = None;
    let mut unfinished: Option<RouteId> = None;
    for (index, table) in tables.iter().map(|one| &one.routes).enumerate() {
        let found = match &known {
            Some((same, found)) if Arc::ptr_eq(same, table) => found.clone(),
            _ => {
                let search = find(table);
                unfinished = unfinished.or(search.unfinished);
                search.found
            }
        };
        for route in table.routes() {
            *asked.entry(route.id).or_default() += 1;
        }
        for shadow in &found {
            let by = (index, shadow.by);
            shadows.entry(shadow.route).or_default().push(by);
        }
        known = Some((table, found));
    }
    let mut remarks: Vec<Diagnostic> = shadows
        .iter()
        .filter(|(route, by)| asked.get(route) == Some(&by.len()))
        .filter_map(|(route, by)| by.first().map(|(listener, by)| (*route, *listener, *by)))
        .map(|(route, listener, by)| explain(config, &tables[listener].routes, listener, route, by))
        .collect();
    if let Some(route) = unfinished {
        let route = &config.routes[route.index()];
        let message = format!(
            "from route `{}` on it was not looked whether routes ever decide: more than a million comparisons",
            route.name
        );
        remarks.push(Diagnostic::new(Severity::Note, &route.place, message));
    }
    remarks.sort_by(|a, b| a.place.cmp(&b.place));
    remarks
}

/// `route` never decides, since `by` is asked before it.
#[derive(Clone, Copy)]
struct Shadow {
    route: RouteId,
    by: RouteId,
}

struct Search {
    found: Vec<Shadow>,
    /// The first route that is not compared with all before it.
    unfinished: Option<RouteId>,
}

fn find(table: &RouteTable) -> Search {
    let specs: Vec<&RouteSpec> = table.routes().collect();
    let mut earlier = Earlier::default();
    let mut found = Vec::new();
    for (rank, spec) in specs.iter().enumerate() {
        if let Some(by) = earlier.first_that_covers(spec, &specs) {
            let by = specs[by].id;
            found.push(Shadow { route: spec.id, by });
        }
        if earlier.compared > COMPARISONS_MAX {
            return Search {
                found,
                unfinished: Some(spec.id),
            };
        }
        earlier.insert(rank, spec);
    }
    Search {
        found,
        unfinished: None,
    }
}

/// The routes so far, by host and path, so that ten thousand of them need no comparison of all with all.
#[derive(Default)]
struct Earlier<'s> {
    hosts: HashMap<HostPattern, Paths<'s>>,
    compared: usize,
}

#[derive(Default)]
struct Paths<'s> {
    /// Ranks, ascending, by kind and text.
    patterns: HashMap<(Kind, &'s str), Vec<usize>>,
    lengths: BTreeSet<usize>,
}

#[derive(Clone, Copy, PartialEq, Eq, Hash)]
enum Kind {
    Any,
    Bytes,
    Segments,
    Exact,
    Regex,
}

impl<'s> Earlier<'s> {
    fn insert(&mut self, rank: usize, spec: &'s RouteSpec) {
        let any = [HostPattern::Any];
        let hosts = if spec.hosts.is_empty() {
            &any
        } else {
            &spec.hosts[..]
        };
        let (kind, text) = split(&spec.path);
        for host in hosts {
            let paths = self.hosts.entry(host.clone()).or_default();
            paths.patterns.entry((kind, text)).or_default().push(rank);
            paths.lengths.insert(text.len());
        }
    }

    /// The smallest rank whose route takes all that `spec` takes.
    fn first_that_covers(&mut self, spec: &RouteSpec, specs: &[&RouteSpec]) -> Option<usize> {
        let (kind, text) = split(&spec.path);
        let mut best: Option<usize> = None;
        for host in hosts_above(spec.hosts.first().unwrap_or(&HostPattern::Any)) {
            let Some(paths) = self.hosts.get(&host) else {
                continue;
            };
            let prefixes = paths
                .lengths
                .range(..=text.len())
                .filter_map(|len| text.get(..*len));
            let exact = (kind == Kind::Exact).then_some(Kind::Exact);
            let keys = prefixes.flat_map(|prefix| {
                [Kind::Any, Kind::Bytes, Kind::Segments, Kind::Regex]
                    .into_iter()
                    .chain(exact)
                    .map(move |kind| (kind, prefix))
            });
            for rank in keys.filter_map(|key| paths.patterns.get(&key)).flatten() {
                self.compared += 1;
                if self.compared > COMPARISONS_MAX {
                    return best;
                }
                if best.is_none_or(|best| *rank < best) && covers(specs[*rank], spec) {
                    best = Some(*rank);
                }
            }
        }
        best
    }
}

/// Enough for ten thousand routes in any order that people write; it bounds the time for all others.
const COMPARISONS_MAX: usize = 1_000_000;

/// The patterns that take all hosts that `host` takes.
fn hosts_above(host: &HostPattern) -> Vec<HostPattern> {
    let mut above = vec![HostPattern::Any];
    let name = match host {
        HostPattern::Any => return above,
        HostPattern::Exact(name) | HostPattern::Suffix(name) => name,
    };
    above.push(host.clone());
    let parents = name.match_indices('.').map(|(at, _)| &name[at + 1..]);
    above.extend(parents.map(|parent| HostPattern::Suffix(parent.to_owned())));
    above
}

/// Whether every request that `inner` takes is one that `outer` takes. The fields are named one by one, so
/// that a new condition of routes cannot be forgotten here.
fn covers(outer: &RouteSpec, inner: &RouteSpec) -> bool {
    let RouteSpec {
        id: _,
        priority: _,
        hosts,
        path,
        methods,
        headers,
        query,
        cookies,
    } = outer;
    let any = [HostPattern::Any];
    let inner_hosts = if inner.hosts.is_empty() {
        &any
    } else {
        &inner.hosts[..]
    };
    let takes_host = |host: &HostPattern| hosts.iter().any(|outer| covers_host(outer, host));
    (hosts.is_empty() || inner_hosts.iter().all(takes_host))
        && covers_path(path, &inner.path)
        && (methods.is_empty()
            || (!inner.methods.is_empty()
                && inner.methods.iter().all(|method| methods.contains(method))))
        && covers_named(headers, &inner.headers)
        && covers_named(query, &inner.query)
        && covers_named(cookies, &inner.cookies)
}

/// Whether each condition of `outer` holds where those of `inner` do.
fn covers_named(outer: &[NamedMatch], inner: &[NamedMatch]) -> bool {
    outer.iter().all(|outer| {
        let mut same_name = inner.iter().filter(|inner| inner.name == outer.name);
        same_name.any(|inner| covers_value(&outer.value, &inner.value))
    })
}

fn covers_value(outer: &ValueMatch, inner: &ValueMatch) -> bool {
    match (outer, inner) {
        (ValueMatch::Present, inner) => *inner != ValueMatch::Absent,
        (ValueMatch::Regex(outer), ValueMatch::Exact(inner)) => outer.is_match(inner.as_bytes()),
        _ => outer == inner,
    }
}

fn covers_host(outer: &HostPattern, inner: &HostPattern) -> bool {
    match (outer, inner) {
        (HostPattern::Any, _) => true,
        (_, HostPattern::Any) | (HostPattern::Exact(_), HostPattern::Suffix(_)) => false,
        (HostPattern::Exact(outer), HostPattern::Exact(inner)) => outer == inner,
        (HostPattern::Suffix(_), HostPattern::Exact(inner)) => outer.is_match(inner.as_bytes()),
        (HostPattern::Suffix(name), HostPattern::Suffix(inner)) => {
            name == inner || outer.is_match(inner.as_bytes())
        }
    }
}

fn covers_path(outer: &PathMatch, inner: &PathMatch) -> bool {
    let (_, text) = split(inner);
    match (outer, inner) {
        (PathMatch::Any, _) => true,
        (_, PathMatch::Any) | (PathMatch::Exact(_), PathMatch::BytePrefix(_)) => false,
        (PathMatch::Exact(_), PathMatch::SegmentPrefix(_) | PathMatch::Regex(_)) => false,
        (PathMatch::Regex(outer), PathMatch::Regex(inner)) => outer == inner,
        (PathMatch::Regex(outer), PathMatch::Exact(inner)) => outer.is_match(inner.as_bytes()),
        (PathMatch::Regex(outer), PathMatch::BytePrefix(_)) => {
            outer.takes_all_below(text.as_bytes())
        }
        (PathMatch::Regex(outer), PathMatch::SegmentPrefix(_)) => {
            outer.is_match(text.as_bytes()) && outer.takes_all_below(format!("{text}/").as_bytes())
        }
        (PathMatch::Exact(outer), PathMatch::Exact(inner)) => outer == inner,
        (PathMatch::BytePrefix(prefix), _) => text.starts_with(prefix.as_str()),
        // These may go on in the middle of a segment, so the outer prefix must end before.
        (PathMatch::SegmentPrefix(_), PathMatch::BytePrefix(_) | PathMatch::Regex(_)) => {
            let (_, prefix) = split(outer);
            text.strip_prefix(prefix)
                .is_some_and(|rest| rest.starts_with('/'))
        }
        (PathMatch::SegmentPrefix(_), _) => outer.is_match(text.as_bytes()),
    }
}

/// What all paths that a pattern takes begin with, and how they go on.
fn split(path: &PathMatch) -> (Kind, &str) {
    match path {
        PathMatch::Any => (Kind::Any, ""),
        PathMatch::BytePrefix(text) => (Kind::Bytes, text),
        PathMatch::SegmentPrefix(text) => (Kind::Segments, text.strip_suffix('/').unwrap_or(text)),
        PathMatch::Exact(text) => (Kind::Exact, text),
        // Octets that are no text are in no path.
        PathMatch::Regex(regex) => (
            Kind::Regex,
            std::str::from_utf8(regex.prefix()).unwrap_or_default(),
        ),
    }
}

fn explain(
    config: &Config,
    table: &RouteTable,
    listener: usize,
    route: RouteId,
    by: RouteId,
) -> Diagnostic {
    let (route_name, by_name) = (
        &config.routes[route.index()].name,
        &config.routes[by.index()].name,
    );
    let spec = |id: RouteId| table.routes().find(|spec| spec.id == id);
    let message = format!("route `{route_name}` never decides: `{by_name}` takes all its requests");
    let place = &config.routes[route.index()].place;
    let mut diagnostic = Diagnostic::new(Severity::Warning, place, message).with_related(
        &config.routes[by.index()].place,
        format!("`{by_name}` is asked before it"),
    );
    if let (Some(route), Some(by)) = (spec(route), spec(by)) {
        let order = if by.priority > route.priority {
            format!("priority {} over {}", by.priority, route.priority)
        } else {
            match config.listeners[listener].routes {
                RouteScope::All => "equal priority, earlier in the file".to_owned(),
                RouteScope::Listed(_) => {
                    "equal priority, earlier in the listener's list".to_owned()
                }
            }
        };
        diagnostic.help = Some(format!(
            "`{by_name}` is asked first ({order}) and takes {}; put `{route_name}` before it or give it a higher `priority`",
            conditions(by)
        ));
    }
    diagnostic
}

/// What a route takes, in words.
fn conditions(spec: &RouteSpec) -> String {
    let mut parts = Vec::new();
    if !spec.hosts.is_empty() {
        let hosts: Vec<String> = spec.hosts.iter().map(|host| format!("`{host}`")).collect();
        parts.push(format!("host {}", hosts.join(" or ")));
    }
    match &spec.path {
        PathMatch::Any => {}
        PathMatch::BytePrefix(text) | PathMatch::SegmentPrefix(text) => {
            parts.push(format!("paths under `{text}`"));
        }
        PathMatch::Exact(text) => parts.push(format!("path `{text}`")),
        PathMatch::Regex(regex) => parts.push(format!("paths that match `{regex}`")),
    }
    if !spec.methods.is_empty() {
        parts.push(spec.methods.join(" or "));
    }
    let named = |conditions: &[NamedMatch], what: &str, separator: &str| -> Vec<String> {
        let shown = |one: &NamedMatch| format!("{what} `{}{separator}{}`", one.name, one.value);
        conditions.iter().map(shown).collect()
    };
    parts.extend(named(&spec.headers, "header", ": "));
    parts.extend(named(&spec.query, "query", "="));
    parts.extend(named(&spec.cookies, "cookie", "="));
    if parts.is_empty() {
        "everything".to_owned()
    } else {
        parts.join(", ")
    }
}

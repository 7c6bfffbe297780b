//! The rules once more, as the documentation tells them and as slowly as one likes: what tables are compared with. Tests
//! and fuzz targets take this file in by its path, and the types from where they are for them.

use std::cell::RefCell;
use std::collections::HashMap;

use balance_core::RouteId;
use regex_automata::nfa::thompson::pikevm::PikeVM;
use regex_automata::util::syntax;

use super::{HostPattern, NamedMatch, PathMatch, Regex, Request, RouteSpec, ValueMatch};

pub(super) fn decide<'a>(
    routes: impl Iterator<Item = &'a RouteSpec>,
    request: &Request,
) -> Option<RouteId> {
    let mut routes = routes.filter(|spec| takes(spec, request));
    routes.next().map(|spec| spec.id)
}

pub(super) fn takes(spec: &RouteSpec, request: &Request) -> bool {
    let method = &request.method;
    (spec.hosts.is_empty()
        || spec
            .hosts
            .iter()
            .any(|host| takes_host(host, &request.host)))
        && (spec.methods.is_empty() || spec.methods.contains(method))
        && holds(&spec.headers, &request.headers, false)
        && holds(&spec.query, &parameters(&request.query), true)
        && holds(&spec.cookies, &cookies(request), true)
        && takes_path(&spec.path, &request.path)
}

fn takes_host(pattern: &HostPattern, host: &str) -> bool {
    let host = host.to_lowercase();
    match pattern {
        HostPattern::Any => true,
        HostPattern::Exact(exact) => host == *exact,
        HostPattern::Suffix(suffix) => {
            let end = format!(".{suffix}");
            host.len() > end.len() && host.ends_with(&end)
        }
    }
}

fn takes_path(pattern: &PathMatch, path: &str) -> bool {
    match pattern {
        PathMatch::Any => true,
        PathMatch::BytePrefix(prefix) => path.starts_with(prefix),
        PathMatch::SegmentPrefix(prefix) => {
            let prefix = prefix.strip_suffix('/').unwrap_or(prefix);
            path == prefix || path.starts_with(&format!("{prefix}/"))
        }
        PathMatch::Exact(exact) => path == exact,
        PathMatch::Regex(regex) => takes_all(regex, path),
    }
}

/// With an engine that follows the pattern's threads instead of an automaton. Each is built once: that is what takes the
/// time.
pub(super) fn takes_all(regex: &Regex, text: &str) -> bool {
    thread_local! {
        static ENGINES: RefCell<HashMap<String, PikeVM>> = RefCell::default();
    }
    ENGINES.with_borrow_mut(|engines| {
        let build = || {
            let whole = format!(r"\A(?:{})\z", regex.pattern());
            PikeVM::builder()
                .syntax(syntax::Config::new().unicode(false).utf8(false))
                .build(&whole)
                .expect("what the other engine compiled is valid")
        };
        let known = engines.entry(regex.pattern().to_owned());
        let engine = known.or_insert_with(build);
        engine.is_match(&mut engine.create_cache(), text)
    })
}

fn parameters(query: &str) -> Vec<(String, String)> {
    let pairs = query
        .split('&')
        .map(|pair| pair.split_once('=').unwrap_or((pair, "")));
    owned(pairs)
}

fn cookies(request: &Request) -> Vec<(String, String)> {
    let lines = request.headers.iter().filter(|(name, _)| name == "cookie");
    let pairs = lines
        .flat_map(|(_, line)| line.split(';'))
        .filter_map(|pair| pair.split_once('='))
        .map(|(name, value)| (name.trim(), value.trim()));
    owned(pairs)
}

fn owned<'a>(pairs: impl Iterator<Item = (&'a str, &'a str)>) -> Vec<(String, String)> {
    pairs
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .collect()
}

fn holds(conditions: &[NamedMatch], pairs: &[(String, String)], first_counts: bool) -> bool {
    conditions.iter().all(|condition| {
        let mut values: Vec<&String> = pairs
            .iter()
            .filter(|(name, _)| *name == condition.name)
            .map(|(_, value)| value)
            .collect();
        if first_counts {
            values.truncate(1);
        }
        match &condition.value {
            ValueMatch::Exact(exact) => values.contains(&exact),
            ValueMatch::Regex(regex) => values.iter().any(|value| takes_all(regex, value)),
            ValueMatch::Present => !values.is_empty(),
            ValueMatch::Absent => values.is_empty(),
        }
    })
}

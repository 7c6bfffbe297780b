//! The rules once more, as the documentation tells them and as slowly as one likes: what the table is compared with.

use balance_core::RouteId;
use regex_automata::nfa::thompson::pikevm::PikeVM;
use regex_automata::util::syntax;

use super::Request;
use crate::condition::{NamedMatch, ValueMatch};
use crate::pattern::{HostPattern, PathMatch};
use crate::regex::Regex;
use crate::route::RouteSpec;

pub(super) fn decide<'a>(
    routes: impl Iterator<Item = &'a RouteSpec>,
    request: &Request,
) -> Option<RouteId> {
    let mut routes = routes.filter(|spec| takes(spec, request));
    routes.next().map(|spec| spec.id)
}

fn takes(spec: &RouteSpec, request: &Request) -> bool {
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
        && takes_path(&spec.path, &request.path) // Last: it may have to build an engine.
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

/// With an engine that follows the pattern's threads instead of an automaton.
pub(crate) fn takes_all(regex: &Regex, text: &str) -> bool {
    let whole = format!(r"\A(?:{})\z", regex.pattern());
    let engine = PikeVM::builder()
        .syntax(syntax::Config::new().unicode(false).utf8(false))
        .build(&whole)
        .unwrap();
    engine.is_match(&mut engine.create_cache(), text)
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

//! Routing: deciding by index, explaining, and asking every route in turn agree, for any table and any
//! request.

#[path = "../../crates/balance-route/tests/shared/reference.rs"]
mod reference;
#[path = "../../crates/balance-route/tests/shared/request.rs"]
mod request;

use std::cell::RefCell;
use std::cmp::Reverse;
use std::collections::HashMap;

use balance_core::RouteId;
use balance_route::{
    Facts, HostPattern, NamedMatch, PathMatch, Regex, RouteError, RouteErrorKind, RouteSpec,
    RouteTable, ValueMatch,
};

use crate::input::Input;
use crate::mutate::Mutator;

use request::Request;

/// The input chooses a table and requests to it, from few words, so that they meet.
pub fn check(input: &[u8]) {
    let mut input = Input::new(input);
    let count = input.below(24);
    let specs: Vec<RouteSpec> = (0..count)
        .map(|position| route(&mut input, RouteId((position as u32) ^ 5)))
        .collect();
    let mut in_order = specs.clone();
    in_order.sort_by_key(|spec| Reverse(spec.priority));
    let table = match RouteTable::compile(specs) {
        Ok(table) => table,
        Err(errors) => return refused_takes_nothing(&errors, &mut input),
    };
    assert!(table.routes().eq(&in_order), "by priority, else as listed");

    for _ in 0..4 {
        let request = Request::choose(&mut input);
        let expected = reference::decide(in_order.iter(), &request);
        assert_eq!(table.decide(&request), expected, "{request:?}");
        let trace = table.explain(&request);
        assert_eq!(trace.decision(), expected, "{request:?}");
        assert_eq!(trace.steps.len() + trace.unasked, in_order.len());
        for (step, spec) in trace.steps.iter().zip(&in_order) {
            assert_eq!(step.route, spec.id);
            assert_eq!(step.mismatch.is_none(), reference::takes(spec, &request));
        }
        if input.is_empty() {
            break;
        }
    }
}

/// The one mistake that is made here: an expression that no path can match.
fn refused_takes_nothing(errors: &[RouteError], input: &mut Input<'_>) {
    for error in errors {
        let RouteErrorKind::PathNeverMatches(pattern) = &error.kind else {
            panic!("only valid routes are made: {error}");
        };
        let regex = regex(pattern);
        for _ in 0..4 {
            let path = Request::choose(input).path;
            assert!(!regex.is_match(path.as_bytes()), "{pattern} takes {path}");
        }
    }
}

/// The choices have no form: any bytes are as good as others.
pub fn seeds() -> Vec<Vec<u8>> {
    let mut random = Mutator::new(1);
    (16..48)
        .map(|step| {
            let bytes = (0..step * 8).map(|_| random.below(256) as u8);
            bytes.collect()
        })
        .collect()
}

fn route(input: &mut Input<'_>, id: RouteId) -> RouteSpec {
    let priority = input.one_of(&[0, 0, 0, 1, -1, i64::MAX]);
    let hosts = (0..input.below(3)).map(|_| host_pattern(input)).collect();
    let path = path_match(input);
    let methods = (0..input.below(3))
        .map(|_| input.one_of(METHODS).to_owned())
        .collect();
    // Most routes ask for few things, or nothing would ever match.
    let kinds = input.byte();
    let mut conditions = |bit: u8| match kinds & bit {
        0 => Vec::new(),
        _ => (0..=input.below(2)).map(|_| condition(input)).collect(),
    };
    RouteSpec {
        priority,
        hosts,
        path,
        methods,
        headers: conditions(1),
        query: conditions(2),
        cookies: conditions(4),
        ..RouteSpec::any(id)
    }
}

fn host_pattern(input: &mut Input<'_>) -> HostPattern {
    match input.below(4) {
        0 => HostPattern::Any,
        1 => HostPattern::Exact(joined(input, LABELS, ".")),
        _ => HostPattern::Suffix(joined(input, LABELS, ".")),
    }
}

fn path_match(input: &mut Input<'_>) -> PathMatch {
    let kind = input.below(6);
    let mut path = || format!("/{}", joined(input, SEGMENTS, "/"));
    match kind {
        0 => PathMatch::Any,
        1 => PathMatch::Exact(path()),
        2 => PathMatch::BytePrefix(path()),
        3 => PathMatch::SegmentPrefix(path()),
        _ => {
            let rest = [input.one_of(EXPRESSIONS), input.one_of(EXPRESSIONS)].concat();
            let before = input.one_of(&["/", "/a", "(?i)/", "(/|b)", "/(a|ab)", "/?[/]"]);
            PathMatch::Regex(regex(&format!("{before}{rest}")))
        }
    }
}

fn condition(input: &mut Input<'_>) -> NamedMatch {
    let name = input.one_of(NAMES).to_owned();
    let value = match input.below(4) {
        0 => ValueMatch::Present,
        1 => ValueMatch::Absent,
        2 => ValueMatch::Regex(regex(input.one_of(EXPRESSIONS))),
        _ => ValueMatch::Exact(input.one_of(VALUES).to_owned()),
    };
    NamedMatch { name, value }
}

/// Few patterns, each compiled once: that is what takes the time.
fn regex(pattern: &str) -> Regex {
    thread_local! {
        static COMPILED: RefCell<HashMap<String, Regex>> = RefCell::default();
    }
    COMPILED.with_borrow_mut(|compiled| {
        let known = compiled.entry(pattern.to_owned());
        let compile = || Regex::compile(pattern).expect("only valid patterns are made");
        known.or_insert_with(compile).clone()
    })
}

fn joined(input: &mut Input<'_>, words: &[&'static str], separator: &str) -> String {
    let count = input.below(4) + 1;
    let words: Vec<&str> = (0..count).map(|_| input.one_of(words)).collect();
    words.join(separator)
}

impl Request {
    fn choose(input: &mut Input<'_>) -> Self {
        let method = input.one_of(METHODS).to_owned();
        let host = match input.below(8) {
            0 => String::new(),
            1 => format!(".{}", joined(input, LABELS, ".")),
            2 => joined(input, LABELS, ".").to_ascii_uppercase(),
            _ => joined(input, LABELS, "."),
        };
        let path = match input.below(16) {
            0 => "*".to_owned(),
            _ => format!("/{}", joined(input, SEGMENTS, "/")),
        };
        let query = joined(input, PAIRS, "&");
        let mut headers = Vec::new();
        for _ in 0..input.below(4) {
            let name = input.one_of(NAMES).to_owned();
            headers.push((name, input.one_of(VALUES).to_owned()));
        }
        for _ in 0..input.below(3) {
            headers.push(("cookie".to_owned(), joined(input, PAIRS, "; ")));
        }
        Self {
            method,
            host,
            path,
            query,
            headers,
        }
    }
}

const METHODS: &[&str] = &["GET", "POST", "get"];
const LABELS: &[&str] = &["a", "b", "ab", "com"];
const SEGMENTS: &[&str] = &["a", "b", "ab", ""];
const NAMES: &[&str] = &["x-a", "x-b"];
const VALUES: &[&str] = &["", "0", "1"];
const PAIRS: &[&str] = &["x-a", "x-a=", "x-a=1", "x-b=0", "x-b=1", "", "X-A=0"];
const EXPRESSIONS: &[&str] = &[
    "a", ".*", "(a|b)*", "b?", "[/1]", "(ab)?/", "\\d*", "^", "$",
];

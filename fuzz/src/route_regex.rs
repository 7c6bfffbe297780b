//! Regular expressions of routes: any text compiles within its bounds or has its mistake at a place, and
//! what is compiled takes what another engine takes, in the index too.

use balance_core::RouteId;
use balance_route::{Facts, PathMatch, Regex, RegexError, RouteSpec, RouteTable};
use regex_automata::nfa::thompson::Config;
use regex_automata::nfa::thompson::pikevm::PikeVM;
use regex_automata::util::syntax;

use crate::corpus::request_inputs;

/// The first line is the pattern, the others are texts that it may take.
pub fn check(input: &[u8]) {
    let mut lines = input.split(|byte| *byte == b'\n');
    let Some(Ok(pattern)) = lines.next().map(std::str::from_utf8) else {
        return;
    };
    let regex = match Regex::compile(pattern) {
        Ok(regex) => regex,
        Err(error) => return check_place(pattern, &error),
    };
    assert_eq!(regex.pattern(), pattern);
    let table = table_with(&regex);
    let reference = reference(pattern);
    for text in lines.chain([&b"/"[..], b"*", b""]).take(TEXTS_MAX) {
        let takes = regex.is_match(text);
        if let Some(engine) = &reference {
            let expected = engine.is_match(&mut engine.create_cache(), text);
            assert_eq!(takes, expected, "{pattern} {}", text.escape_ascii());
        }
        if text.starts_with(b"/") || text == b"*" {
            let found = table.as_ref().and_then(|table| table.decide(&Path(text)));
            assert_eq!(found, takes.then_some(RouteId(0)), "{pattern} in the index");
        }
    }
}

/// What people write, and what is hard, before the targets of the tables.
pub fn seeds() -> Vec<Vec<u8>> {
    let requests = request_inputs();
    let targets: Vec<&[u8]> = requests
        .iter()
        .filter_map(|request| request.split(|byte| *byte == b' ').nth(1))
        .filter(|target| !target.contains(&b'\n'))
        .take(TEXTS_MAX)
        .collect();
    let targets = targets.join(&b'\n');
    PATTERNS
        .iter()
        .map(|pattern| [pattern.as_bytes(), b"\n", &targets].concat())
        .collect()
}

/// The place can be underlined.
fn check_place(pattern: &str, error: &RegexError) {
    assert!(!error.to_string().is_empty());
    if let RegexError::Syntax { place, .. } = error {
        assert!(place.start <= place.end, "{place:?}");
        assert!(
            pattern.get(place.clone()).is_some(),
            "{pattern:?} {place:?}"
        );
    }
}

/// Enough routes for an index. `None` when no path can match.
fn table_with(regex: &Regex) -> Option<RouteTable> {
    let others = (1..12).map(|id| RouteSpec {
        path: PathMatch::Exact(format!("/never{id}")),
        methods: vec!["NEVER".to_owned()],
        ..RouteSpec::any(RouteId(id))
    });
    let route = RouteSpec {
        path: PathMatch::Regex(regex.clone()),
        ..RouteSpec::any(RouteId(0))
    };
    RouteTable::compile([route].into_iter().chain(others).collect()).ok()
}

/// An engine that follows the threads of a pattern. `None` for patterns that mean something else inside
/// of a group (a comment under `x` takes its end), and for huge ones.
fn reference(pattern: &str) -> Option<PikeVM> {
    PikeVM::builder()
        .syntax(syntax::Config::new().unicode(false).utf8(false))
        .thompson(Config::new().utf8(false).nfa_size_limit(Some(1 << 18)))
        .build(&format!(r"\A(?:{pattern})\z"))
        .ok()
}

struct Path<'a>(&'a [u8]);

impl Facts for Path<'_> {
    fn method(&self) -> &[u8] {
        b"GET"
    }

    fn host(&self) -> &[u8] {
        b"a"
    }

    fn path(&self) -> &[u8] {
        self.0
    }

    fn query(&self) -> &[u8] {
        b""
    }

    fn header_values(&self, _: &[u8]) -> impl Iterator<Item = &[u8]> {
        std::iter::empty()
    }
}

const TEXTS_MAX: usize = 8;
const PATTERNS: &[&str] = &[
    "/a.*",
    "/(a|b)/[0-9]{1,4}",
    "(?i)/STATIC/.*\\.(png|jpe?g)",
    "/[^/]+/x",
    "(/|/a)?",
    "^/$",
    "/a\\b.*",
    "(?x) / a # b",
    "(a*)*b",
    "(/a{0,9}){0,9}",
    "/\\w+(-\\w+)*",
    "*",
    "(?s-u:.)",
    "/[[:alpha:]&&[^a]]",
    "\\xff|\u{e9}",
];

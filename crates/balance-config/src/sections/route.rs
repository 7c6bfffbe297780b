//! Routes, in the original form (`http.routes`, the match beside the action) and the full one (`routes`,
//! the match in a block of its own).

use balance_core::Method;

use super::backend::count;
use super::condition::{self, CONDITION, Carrier};
use super::mirror::{self, MirrorDraft};
use super::security::RATE_LIMIT;
use super::split::{self, SplitDraft};
use super::timeouts::{TIMEOUTS, TimeoutsLayer};
use super::transform::{self, TRANSFORM};
use crate::config::{
    HostPattern, PathMatch, Redirect, Respond, RouteMatch, RouteTest, Transform, Version,
};
use crate::diagnostics::{Diagnostic, Diagnostics, Place, Severity, Spanned};
use crate::table::{Key, Kind, Table};
use crate::value::Block;

pub(crate) static ROUTE: Table = Table {
    name: "route",
    doc: "What to do with the exchanges that match.",
    main: None,
    keys: &[
        NAME,
        PRIORITY,
        Key::new(
            "match",
            Kind::Block(&MATCH),
            "everything",
            "All of it must match.",
        ),
        POOL,
        BACKENDS,
        SPLIT,
        MIRROR,
        TRANSFORM_KEY,
        REDIRECT_KEY,
        RESPOND_KEY,
        RATE_LIMIT_KEY,
        TIMEOUTS_KEY,
        TESTS,
    ],
};

pub(crate) static FLAT_ROUTE: Table = Table {
    name: "http route",
    doc: "A route in the original form: the match beside the action.",
    main: None,
    keys: &[
        NAME,
        PRIORITY,
        HOST,
        PATH_PREFIX,
        PATH,
        PATH_REGEX,
        METHOD,
        HEADERS,
        QUERY,
        COOKIE,
        POOL,
        BACKENDS,
        SPLIT,
        MIRROR,
        TRANSFORM_KEY,
        REDIRECT_KEY,
        RESPOND_KEY,
        RATE_LIMIT_KEY,
        TIMEOUTS_KEY,
        TESTS,
    ],
};

static MATCH: Table = Table {
    name: "match",
    doc: "Conditions on a request; all that are given must hold.",
    main: None,
    keys: &[
        HOST,
        PATH_PREFIX,
        PATH,
        PATH_REGEX,
        METHOD,
        HEADERS,
        QUERY,
        COOKIE,
        SERVER_NAME,
    ],
};

const NAME: Key = Key::new(
    "name",
    Kind::Text,
    "route-N",
    "Its name in logs, metrics and lists; unique.",
)
.example("api");
const PRIORITY: Key = Key::new(
    "priority",
    Kind::Integer {
        min: -1_000_000,
        max: 1_000_000,
    },
    "0",
    "Higher first; ties in the order of the listener's list, then of the file.",
);
const HOST: Key = Key::new(
    "host",
    Kind::OneOrMany(&Kind::Host),
    "*",
    "`a.example`, `*.example` (any depth, not itself) or `*`. Case and port do not matter.",
)
.example("\"*.example.com\"");
const PATH_PREFIX: Key = Key::new(
    "path_prefix",
    Kind::UrlPath,
    "/",
    "The first bytes of the path; with `version: 2` whole segments.",
);
const PATH: Key = Key::new(
    "path",
    Kind::UrlPath,
    "",
    "The whole path, exactly, without the query.",
)
.example("/v1/status");
const PATH_REGEX: Key = Key::new(
    "path_regex",
    Kind::Regex,
    "",
    "A regular expression that the whole path matches, without the query.",
)
.example("\"/v[0-9]+/.*\"");
const METHOD: Key = Key::new(
    "method",
    Kind::OneOrMany(&Kind::Token),
    "any",
    "One method or several.",
)
.example("[GET, HEAD]");
const HEADERS: Key = Key::new(
    "headers",
    Kind::Map(&CONDITION_ITEM),
    "",
    "Field names and what one of their values must be.",
)
.example("{ X-Api: \"1\" }");
const QUERY: Key = Key::new(
    "query",
    Kind::Map(&CONDITION_ITEM),
    "",
    "Parameters of the query and what their first value must be, as it is sent.",
)
.example("{ debug: \"1\" }");
const COOKIE: Key = Key::new(
    "cookie",
    Kind::Map(&CONDITION_ITEM),
    "",
    "Cookies and what their first value must be, as it is sent.",
)
.example("{ beta: { present: true } }");
const SERVER_NAME: Key = Key::new(
    "sni",
    Kind::OneOrMany(&Kind::Host),
    "",
    "The server that a TLS client names, in mode tcp and without ending TLS: a route of sessions, with no other condition.",
)
.example("\"*.example.com\"");
const POOL: Key = Key::new("pool", Kind::Text, "default", "The pool that answers.").example("api");
const BACKENDS: Key = Key::new(
    "backends",
    Kind::OneOrMany(&Kind::Text),
    "all of the pool",
    "Names of backends of the pool: only these, with the pool's policy.",
)
.example("[api-1]");
const SPLIT: Key = Key::new(
    "split",
    Kind::List(&SHARE_ITEM),
    "",
    "Several pools by weight, in place of `pool`. An exchange stays with its pool, also when that fails.",
)
.example("[{ pool: a, weight: 95 }, { pool: b, weight: 5 }]");
const MIRROR: Key = Key::new(
    "mirror",
    Kind::Block(&mirror::MIRROR),
    "",
    "A copy of the requests that are forwarded, to a second pool.",
)
.example("{ pool: shadow, sample: 10% }");
const TRANSFORM_KEY: Key = Key::new(
    "transform",
    Kind::Block(&TRANSFORM),
    "",
    "Edits, after the top-level ones.",
);
const REDIRECT_KEY: Key = Key::new(
    "redirect",
    Kind::Block(&REDIRECT),
    "",
    "Answer with a redirection.",
);
const RESPOND_KEY: Key = Key::new("respond", Kind::Block(&RESPOND), "", "Answer directly.");
const RATE_LIMIT_KEY: Key = Key::new(
    "rate_limit",
    Kind::Block(&RATE_LIMIT),
    "",
    "A limit for this route.",
)
.later("rate limits");
const TIMEOUTS_KEY: Key = Key::new(
    "timeouts",
    Kind::Block(&TIMEOUTS),
    "",
    "Over those of the pool.",
);
const TESTS: Key = Key::new(
    "tests",
    Kind::List(&TEST_ITEM),
    "",
    "Requests and what must come of them; `balance check` and every start and reload run them.",
);

static CONDITION_ITEM: Kind = Kind::Block(&CONDITION);
static SHARE_ITEM: Kind = Kind::Block(&split::SHARE);
static TEST_ITEM: Kind = Kind::Block(&TEST);

static REDIRECT: Table = Table {
    name: "redirect",
    doc: "A redirection; what is not given stays as the request has it.",
    main: None,
    keys: &[
        Key::new(
            "scheme",
            Kind::Choice(&["http", "https"], &[]),
            "",
            "The new scheme.",
        ),
        Key::new("host", Kind::Token, "", "The new host.").example("www.example.com"),
        Key::new(
            "port",
            Kind::Integer {
                min: 1,
                max: 65_535,
            },
            "that of the scheme",
            "The new port.",
        )
        .example("8443"),
        Key::new("path", Kind::UrlPath, "", "The new path.").example("/v1/status"),
        Key::new(
            "status",
            Kind::Integer { min: 301, max: 308 },
            "308",
            "301, 302, 303, 307 or 308.",
        ),
    ],
};

static RESPOND: Table = Table {
    name: "respond",
    doc: "A response of our own.",
    main: None,
    keys: &[
        Key::new(
            "status",
            Kind::Integer { min: 200, max: 599 },
            "200",
            "The status.",
        ),
        Key::new("body", Kind::Text, "", "The body, at most 64 KiB.").example("\"ok\\n\""),
        Key::new(
            "content_type",
            Kind::FieldValue,
            "text/plain; charset=utf-8",
            "The type of the body.",
        )
        .example("application/json"),
        Key::new("headers", Kind::Map(&Kind::FieldValue), "", "More fields.")
            .example("{ X-Api: \"1\" }"),
    ],
};

static TEST: Table = Table {
    name: "test",
    doc: "A request and what must come of it.",
    main: None,
    keys: &[
        Key::required("request", Kind::Text, "`GET https://host/path`").example("\"GET https://api.example.com/v1/u\""),
        Key::new("headers", Kind::Map(&Kind::FieldValue), "", "Its fields.").example("{ X-Api: \"1\" }"),
        Key::required(
            "expect",
            Kind::Map(&Kind::Text),
            "`pool`, `route` (or `none`), `path` after rewriting, or `status` of an own response, and its value",
        ).example("{ pool: api, path: /u }"),
    ],
};

/// It is held in memory and sent in one go.
const BODY_BYTES_MAX: usize = 64 * 1024;

/// A route as written; names are not resolved.
#[derive(Debug)]
pub(crate) struct RouteDraft {
    pub(crate) name: Option<Spanned<String>>,
    pub(crate) place: Place,
    pub(crate) priority: i64,
    pub(crate) matches: RouteMatch,
    /// `Some`: a route of sessions.
    pub(crate) server_names: Option<Vec<HostPattern>>,
    pub(crate) pool: Option<Spanned<String>>,
    pub(crate) backends: Option<Vec<Spanned<String>>>,
    pub(crate) split: Option<SplitDraft>,
    pub(crate) mirror: Option<MirrorDraft>,
    pub(crate) redirect: Option<Redirect>,
    pub(crate) respond: Option<Respond>,
    pub(crate) transform: Transform,
    pub(crate) timeouts: TimeoutsLayer,
    pub(crate) tests: Vec<RouteTest>,
    /// An action that is an error already, so that its absence is no second one.
    pub(crate) is_reported: bool,
}

/// Reads a route of either form.
pub(crate) fn read(block: &Block, version: Version, diagnostics: &mut Diagnostics) -> RouteDraft {
    let is_flat = std::ptr::eq(block.table, &raw const FLAT_ROUTE);
    let conditions = if is_flat {
        Some(block)
    } else {
        block.block("match")
    };
    let actions = ["pool", "redirect", "respond", "split"];
    let written: Vec<&str> = actions.into_iter().filter(|key| block.has(key)).collect();
    if let [first, second, ..] = written[..] {
        let message = format!("`{second}` beside `{first}`: a route does one thing");
        diagnostics.push(
            Diagnostic::new(Severity::Error, block.key_place(second), message)
                .with_related(block.key_place(first), "the other one is here"),
        );
    }
    for (extra, action) in [
        ("backends", "redirect"),
        ("backends", "respond"),
        ("backends", "split"),
        ("mirror", "redirect"),
        ("mirror", "respond"),
    ] {
        if block.has(extra) && block.has(action) {
            let message = format!("`{extra}` has no effect beside `{action}`");
            diagnostics.warning(block.key_place(extra), message);
        }
    }
    if let Some(conditions) = conditions.filter(|block| !is_flat && block.has("sni")) {
        check_session_route(block, conditions, diagnostics);
    }
    RouteDraft {
        name: block.spanned_text("name"),
        place: block.place.clone(),
        priority: block.integer("priority").copied().unwrap_or(0),
        matches: conditions
            .map(|block| read_match(block, version, diagnostics))
            .unwrap_or_default(),
        server_names: conditions
            .filter(|block| !is_flat && block.has("sni"))
            .map(|block| hosts(block, "sni")),
        pool: block.spanned_text("pool"),
        backends: block.has("backends").then(|| texts(block, "backends")),
        split: split::read(block, diagnostics),
        mirror: block.block("mirror").and_then(mirror::read),
        redirect: block
            .block("redirect")
            .map(|block| read_redirect(block, diagnostics)),
        respond: block
            .block("respond")
            .map(|block| read_respond(block, diagnostics)),
        transform: transform::read(block.block("transform"), diagnostics),
        timeouts: TimeoutsLayer::read(block.block("timeouts"), diagnostics),
        tests: block
            .list("tests")
            .iter()
            .filter_map(|item| read_test(item.block()?, diagnostics))
            .collect(),
        is_reported: !written.is_empty(),
    }
}

/// The texts of a list with their places.
pub(crate) fn texts(block: &Block, key: &str) -> Vec<Spanned<String>> {
    let spanned =
        |item: &crate::value::Item| Some(Spanned::new(item.text()?.to_owned(), item.place.clone()));
    block.list(key).iter().filter_map(spanned).collect()
}

fn read_match(block: &Block, version: Version, diagnostics: &mut Diagnostics) -> RouteMatch {
    let methods = texts(block, "method");
    for method in &methods {
        let upper = method.value.to_ascii_uppercase();
        if upper != method.value && Method::parse(upper.as_bytes()) != Method::Other {
            let message = format!(
                "`{}` never matches: methods are case-sensitive",
                method.value
            );
            diagnostics.push(
                Diagnostic::new(Severity::Warning, &method.place, message)
                    .with_help(format!("write `{upper}`")),
            );
        }
    }
    let paths = ["path", "path_prefix", "path_regex"];
    let written: Vec<&str> = paths.into_iter().filter(|key| block.has(key)).collect();
    if let [first, second, ..] = written[..] {
        let message = format!("`{first}` beside `{second}`: a route looks at the path in one way");
        diagnostics.push(
            Diagnostic::new(Severity::Error, block.key_place(first), message)
                .with_related(block.key_place(second), "the other one is here")
                .with_help("keep one of the two"),
        );
    }
    for key in ["path", "path_prefix"] {
        if let Some(text) = block.text(key)
            && text.contains(['?', '#'])
        {
            let message =
                format!("`{key}`: routes see the path without its query, so this never matches");
            let place = block.item(key).map_or(&block.place, |item| &item.place);
            diagnostics.error(place, message);
        }
    }
    let regex = condition::read_regex(block, "path_regex", "path", diagnostics);
    let path = match (block.text("path"), block.text("path_prefix"), version) {
        (Some(path), _, _) => PathMatch::Exact(path.to_owned()),
        (None, Some("/") | None, _) => PathMatch::Any,
        (None, Some(prefix), Version::V1) => PathMatch::BytePrefix(prefix.to_owned()),
        (None, Some(prefix), Version::V2) => PathMatch::SegmentPrefix(prefix.to_owned()),
    };
    RouteMatch {
        hosts: hosts(block, "host"),
        path: regex.map_or(path, PathMatch::Regex),
        methods: methods.into_iter().map(|method| method.value).collect(),
        headers: condition::read(block, Carrier::Headers, diagnostics),
        query: condition::read(block, Carrier::Query, diagnostics),
        cookies: condition::read(block, Carrier::Cookies, diagnostics),
    }
}

fn hosts(block: &Block, key: &str) -> Vec<HostPattern> {
    let items = block.list(key).iter();
    items.filter_map(|item| item.host().cloned()).collect()
}

/// Before TLS is ended nothing is visible but the name, and a session can only be passed on.
fn check_session_route(route: &Block, conditions: &Block, diagnostics: &mut Diagnostics) {
    let others = [
        "host",
        "path_prefix",
        "path",
        "path_regex",
        "method",
        "headers",
        "query",
        "cookie",
    ];
    let actions = [
        "split",
        "mirror",
        "redirect",
        "respond",
        "transform",
        "rate_limit",
        "tests",
    ];
    let written = |block: &Block, keys: &[&'static str]| -> Vec<(&'static str, Place)> {
        let keys = keys.iter().filter(|key| block.has(key));
        keys.map(|key| (*key, block.key_place(key).clone()))
            .collect()
    };
    let found = [written(conditions, &others), written(route, &actions)].concat();
    for (key, place) in found {
        let message =
            format!("`{key}` beside `sni`: a session shows nothing but the name of its server");
        diagnostics.push(
            Diagnostic::new(Severity::Error, &place, message)
                .with_related(conditions.key_place("sni"), "`sni` is here")
                .with_help(
                    "a route of sessions has `sni` and a `pool`; HTTP is seen in mode http alone",
                ),
        );
    }
}

fn read_redirect(block: &Block, diagnostics: &mut Diagnostics) -> Redirect {
    let status = block.integer("status").map_or(308, |status| *status);
    if !matches!(status, 301 | 302 | 303 | 307 | 308) {
        let message = format!("`status`: {status} is not a redirection with a target");
        diagnostics.error_help(
            block.key_place("status"),
            message,
            "301, 302, 303, 307 or 308",
        );
    }
    let changes = ["scheme", "host", "port", "path"];
    if !changes.iter().any(|key| block.has(key)) {
        diagnostics.error_help(
            &block.place,
            "a redirection to the same place would never end",
            "give `scheme`, `host`, `port` or `path`",
        );
    }
    let text = |key: &str| block.text(key).map(str::to_owned);
    Redirect {
        scheme: text("scheme"),
        host: text("host"),
        port: count(block, "port").and_then(|port| u16::try_from(port).ok()),
        path: text("path"),
        status: u16::try_from(status).unwrap_or(308),
    }
}

fn read_respond(block: &Block, diagnostics: &mut Diagnostics) -> Respond {
    let status = block.integer("status").map_or(200, |status| *status);
    let body = block.text("body").unwrap_or_default().to_owned();
    if body.len() > BODY_BYTES_MAX {
        diagnostics.error(block.key_place("body"), "`body` is larger than 64 KiB");
    }
    // RFC 9110 §6.4.1: these statuses have no content.
    if matches!(status, 204 | 205 | 304) && !body.is_empty() {
        let message = format!("a response with status {status} has no body");
        diagnostics.error(block.key_place("body"), message);
    }
    let mut headers = block.fields("headers", diagnostics);
    if !body.is_empty() {
        let content_type = block
            .text("content_type")
            .unwrap_or("text/plain; charset=utf-8");
        headers.push(("content-type".to_owned(), content_type.to_owned()));
    }
    Respond {
        status: u16::try_from(status).unwrap_or(200),
        body,
        headers,
    }
}

fn read_test(block: &Block, diagnostics: &mut Diagnostics) -> Option<RouteTest> {
    for (name, _) in block.map("expect") {
        if !RouteTest::EXPECTATIONS.contains(&name.value.as_str()) {
            let message = format!(
                "a test cannot expect `{}`",
                crate::check::shown(&name.value)
            );
            let mut diagnostic = Diagnostic::new(Severity::Error, &name.place, message);
            let known = || RouteTest::EXPECTATIONS.into_iter();
            diagnostic.help = diagnostics.suggest("expectations", &name.value, known);
            diagnostics.push(diagnostic);
        }
    }
    let pairs = |key: &str| {
        block.map(key).iter().filter_map(|(name, item)| {
            let value = Spanned::new(item.text()?.to_owned(), item.place.clone());
            Some((name.value.clone(), value))
        })
    };
    Some(RouteTest {
        place: block.place.clone(),
        request: block.spanned_text("request")?,
        headers: pairs("headers")
            .map(|(name, value)| (name, value.value))
            .collect(),
        expect: pairs("expect").collect(),
    })
}

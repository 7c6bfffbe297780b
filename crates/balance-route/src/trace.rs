//! Why a request took its route: every route that was asked, in order.

use std::fmt::Display;

use balance_core::RouteId;

use crate::condition::{NamedMatch, Unmet};
use crate::route::{Mismatch, RouteSpec};

/// One route that was asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Step {
    pub route: RouteId,
    /// What the request lacks for it; `None` if it matches.
    pub mismatch: Option<Mismatch>,
}

/// The answer of [`RouteTable::explain`](crate::RouteTable::explain).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Trace {
    /// In order of precedence, up to and including the one that matches.
    pub steps: Vec<Step>,
    /// How many routes stand behind the one that matched.
    pub unasked: usize,
}

impl Trace {
    /// What [`RouteTable::decide`](crate::RouteTable::decide) returns for the same request.
    pub fn decision(&self) -> Option<RouteId> {
        self.steps
            .last()
            .filter(|step| step.mismatch.is_none())
            .map(|step| step.route)
    }
}

impl Mismatch {
    /// What `spec` asks for and the request lacks, for people.
    pub fn reason(self, spec: &RouteSpec) -> String {
        match self {
            Self::Host => format!("host is not {}", one_of(&spec.hosts)),
            Self::Path => format!("path is not {}", spec.path),
            Self::Method => format!("method is not {}", one_of(&spec.methods)),
            Self::Header(unmet) => condition("header", &spec.headers, unmet),
            Self::Query(unmet) => condition("query parameter", &spec.query, unmet),
            Self::Cookie(unmet) => condition("cookie", &spec.cookies, unmet),
        }
    }
}

fn condition(kind: &str, wanted: &[NamedMatch], unmet: Unmet) -> String {
    match wanted.get(unmet.position) {
        Some(NamedMatch { name, value }) => {
            format!("{kind} `{name}` {}, wanted is {value}", unmet.got)
        }
        None => format!("{kind} {}", unmet.got),
    }
}

fn one_of<T: Display>(list: &[T]) -> String {
    let shown: Vec<String> = list.iter().map(ToString::to_string).collect();
    shown.join(" or ")
}

#[cfg(test)]
mod tests {
    use balance_core::RouteId;

    use super::Mismatch;
    use crate::{Got, HostPattern, NamedMatch, PathMatch, RouteSpec, Unmet, ValueMatch};

    #[test]
    fn reasons_name_what_is_wanted_and_what_is_there() {
        let named = |name: &str, value| {
            vec![NamedMatch {
                name: name.to_owned(),
                value,
            }]
        };
        let spec = RouteSpec {
            hosts: ["a.test", "*.b.test"]
                .map(|host| HostPattern::parse(host).unwrap())
                .into(),
            path: PathMatch::SegmentPrefix("/v1".to_owned()),
            methods: vec!["GET".to_owned(), "HEAD".to_owned()],
            headers: named("x-env", ValueMatch::Exact("live".to_owned())),
            query: named("beta", ValueMatch::Present),
            cookies: named("old", ValueMatch::Absent),
            ..RouteSpec::any(RouteId(0))
        };
        let unmet = |got| Unmet { position: 0, got };
        for (mismatch, reason) in [
            (Mismatch::Host, "host is not a.test or *.b.test"),
            (Mismatch::Path, "path is not /v1* (segments)"),
            (Mismatch::Method, "method is not GET or HEAD"),
            (
                Mismatch::Header(unmet(Got::OtherValue)),
                "header `x-env` has another value, wanted is live",
            ),
            (
                Mismatch::Query(unmet(Got::Nothing)),
                "query parameter `beta` is not there, wanted is { present: true }",
            ),
            (
                Mismatch::Cookie(unmet(Got::Something)),
                "cookie `old` is there, wanted is { present: false }",
            ),
        ] {
            assert_eq!(mismatch.reason(&spec), reason);
        }
    }
}

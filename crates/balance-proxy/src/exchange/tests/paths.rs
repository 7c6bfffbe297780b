//! `strip_prefix` and `add_prefix`, case by case.

use std::net::{IpAddr, Ipv4Addr};

use balance_core::PathPolicy;
use balance_proto::{HeadEdits, Scheme};

use super::super::memory::MemoryRequest;
use crate::filter::{Filter, FilterContext, PathRewrite, Verdict};

/// What a target becomes: `=` if it is left alone, else the new one or the status of our answer.
fn rewrite(policy: PathPolicy, strip: &str, add: &str, target: &'static str) -> String {
    let filter = Filter::Path(PathRewrite::new(Some(strip), Some(add)).expect("valid prefixes"));
    let request = MemoryRequest::new("GET", target);
    let mut edits = HeadEdits::default();
    let context = FilterContext {
        client: IpAddr::V4(Ipv4Addr::LOCALHOST),
        scheme: Scheme::Http,
        paths: policy,
    };
    match filter.on_request(&request, &mut edits, &context) {
        Verdict::Respond(response) => response.status.to_string(),
        Verdict::Continue | Verdict::Wait(_) => match edits.path() {
            None => "=".to_owned(),
            Some(path) => String::from_utf8_lossy(path).into_owned(),
        },
    }
}

#[test]
fn prefixes_are_stripped_and_added() {
    for (strip, add, target, expected) in [
        ("/v1", "", "/v1", "/"),
        ("/v1", "", "/v1/", "/"),
        ("/v1", "", "/v1/x?q=/v1", "/x?q=/v1"),
        ("/v1", "", "/v1?q", "/?q"),
        ("/v1/", "", "/v1/x", "/x"),
        ("/v1/", "", "/v1", "/v1"),
        ("/v1", "", "/v2/x", "/v2/x"),
        ("/v1", "", "/V1/x", "/V1/x"),
        ("/v1", "", "/v1/v1/x", "/v1/x"),
        ("/", "", "/x", "/x"),
        ("", "/api", "/", "/api/"),
        ("", "/api", "/x?q", "/api/x?q"),
        ("", "/api/", "/x", "/api/x"),
        ("", "/", "/x", "/x"),
        ("/v1", "/api", "/v1", "/api/"),
        ("/v1", "/api", "/v1/x?q", "/api/x?q"),
        ("/v1", "/api", "/v1?q", "/api/?q"),
        ("/v1", "/api/", "/v1/x", "/api/x"),
        ("/v1", "/api", "/other", "/api/other"),
        ("/v1", "/api", "*", "="),
    ] {
        let seen = rewrite(PathPolicy::Safe, strip, add, target);
        assert_eq!(seen, expected, "{target} without {strip} with {add}");
    }
}

/// A rewrite cannot make what routing would have refused (robustness SM-28).
#[test]
fn rewritten_paths_obey_the_policy() {
    for (policy, strip, add, target, expected) in [
        (PathPolicy::Safe, "/v1/a", "", "/v1/a../x", "400"),
        (PathPolicy::Safe, "/v", "", "/v./x", "400"),
        (PathPolicy::Safe, "/v", "", "/v%2e%2e/x", "400"),
        (PathPolicy::Safe, "/v1", "/..", "/v1/x", "400"),
        (PathPolicy::Safe, "/v1", "/api/.", "/v1", "400"),
        (PathPolicy::Reject, "/v1/a", "", "/v1/a../x", "400"),
        (PathPolicy::Reject, "", "/a//b", "/x", "400"),
        (PathPolicy::Reject, "/v1", "", "/v1/x", "/x"),
        (PathPolicy::Off, "/v", "", "/v../x", "/../x"),
    ] {
        let seen = rewrite(policy, strip, add, target);
        assert_eq!(
            seen, expected,
            "{policy:?}: {target} without {strip} with {add}"
        );
    }
}

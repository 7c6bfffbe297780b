//! Keys of other versions of the original format.

use super::config::{BASE, config};
use crate::{HeaderEdit, MemorySources, load};

/// All diagnostics but notes of a file that is added to [`BASE`], from line 4 on.
fn seen(more: &str) -> Vec<String> {
    let yaml = format!("{BASE}{more}");
    load(&MemorySources::file("b.yaml", yaml), "b.yaml")
        .diagnostics
        .iter()
        .map(|one| one.to_string().replace("b.yaml:", ""))
        .filter(|text| !text.contains(": note: "))
        .collect()
}

fn check(more: &str, expected: &[&str]) {
    let seen = seen(more);
    let fits = seen.len() == expected.len()
        && seen
            .iter()
            .zip(expected)
            .all(|(seen, expected)| seen.starts_with(expected));
    assert!(fits, "{more}\n{seen:#?}");
}

#[test]
fn security_keys_mean_what_they_said() {
    let yaml =
        "security: { max_connections_per_ip: 7, max_request_size: 1MB, max_header_size: 8KiB }\n";
    check(
        yaml,
        &[
            "4:13: warning: `security.max_connections_per_ip` is an old name of `security.connection_protection.max_connections_per_ip`\n  help: use `security.connection_protection.max_connections_per_ip`",
            "4:40: warning: `security.max_request_size` is an old name of",
            "4:63: warning: `security.max_header_size` is an old name of",
        ],
    );
    let limits = config(&format!("{BASE}{yaml}")).limits;
    assert_eq!(limits.connections_per_ip_max, 7);
    assert_eq!(limits.body_bytes_max, 1_000_000);
    assert_eq!(limits.head_bytes_max, 8192);
    check(
        "security: { blocklist: [192.0.2.1, 203.0.113.0/24] }\n",
        &[
            "4:13: warning: `security.blocklist` is an old name of `security.ip_blocklist.blocked_cidrs`",
            "4:13: error: not supported yet: `ip_blocklist`",
        ],
    );
    check(
        "security: { blocklist: [nonsense], ip_blocklist: { enabled: false } }\n",
        &[
            "4:13: warning: `security.blocklist` is an old name of",
            "4:25: error: `blocked_cidrs`: `nonsense` is not an IP address",
        ],
    );
}

#[test]
fn http_keys_mean_what_they_said() {
    let yaml = "http:
  http2: { enabled: false }
  websocket: { enabled: false, buffer: 5 }
  transform:
    add_request_headers: { X-Real-IP: \"{client_ip}\", X-Scheme: \"{scheme}\" }
    remove_request_headers: [X-A]
    add_response_headers: { X-B: c }
    remove_response_headers: Server
transform: { request_headers: [ { action: set, name: X-First, value: y } ] }
";
    check(
        yaml,
        &[
            "5:3: warning: `http.http2` is an old name of `http.enable_http2`",
            "6:3: warning: `http.websocket` is an old name of `http.enable_websocket`",
            "6:32: warning: `buffer` has no effect here",
            "7:3: warning: `http.transform` is an old name of `transform`",
        ],
    );
    let config = config(&format!("{BASE}{yaml}"));
    assert!(!config.protocol.enable_http2 && !config.protocol.enable_websocket);
    let edits = &config.transform.request_headers;
    assert_eq!(edits.len(), 4);
    assert_eq!(
        edits[1],
        HeaderEdit::Add {
            name: "X-Real-IP".to_owned(),
            value: "{client_ip}".to_owned()
        }
    );
    assert_eq!(
        config.transform.response_headers[1],
        HeaderEdit::Remove {
            name: "Server".to_owned()
        }
    );
    check(
        "http: { transform: { add_request_headers: [X], add_headers: {} }, http2: true }\n",
        &[
            "4:9: warning: `http.transform` is an old name",
            "4:43: error: `add_request_headers` takes a map of field names to values, not a list",
            "4:48: warning: unknown key `add_headers` in `transform`",
            "4:67: warning: `http.http2` is an old name",
        ],
    );
}

#[test]
fn what_comes_later_says_so_under_its_old_name_too() {
    check(
        "circuit_breaker: { failure_threshold: 3, success_threshold: 2, timeout: 5s }
retry: { max_attempts: 2, backoff_base: 1s, backoff_max: 5s }
rate_limit: { burst: 5 }
health_check: { enabled: false, http_path: /h, http_method: HEAD, http_expected_status: 204 }
",
        &[
            "4:1: warning: `circuit_breaker` is an old name of `resilience.circuit_breaker`",
            "4:20: warning: `failure_threshold` is an old name of `max_failures`",
            "5:1: warning: `retry` is an old name of `resilience.retry`",
            "5:27: warning: `backoff_base` is an old name of `initial_delay`",
            "5:45: warning: `backoff_max` is an old name of `max_delay`",
            "6:1: warning: `rate_limit` is an old name of `security.rate_limit`",
            "6:1: error: not supported yet: rate limits",
            "6:15: warning: `burst` is an old name of `burst_size`",
            "7:33: warning: `http_path` is an old name of `path`",
            "7:48: warning: `http_method` is an old name of `method`",
            "7:67: warning: `http_expected_status` is an old name of `expected_status`",
        ],
    );
    check(
        "retry: { enabled: false, max_attempts: 0 }\n",
        &[
            "4:1: warning: `retry` is an old name",
            "4:40: error: `max_attempts`: `0` is refused",
        ],
    );
}

#[test]
fn what_does_not_exist_here_has_no_effect() {
    check(
        "performance: { buffer_pool_size: 5, worker_pool_size: 1, goroutine_pool: {}, buffer_pool: {}, connection_pool: {}, worker_threads: 2 }\n",
        &[
            "4:16: warning: `buffer_pool_size` has no effect here",
            "4:37: warning: `worker_pool_size` has no effect here",
            "4:58: warning: `goroutine_pool` has no effect here",
            "4:78: warning: `buffer_pool` has no effect here",
            "4:95: warning: `connection_pool` has no effect here",
        ],
    );
}

#[test]
fn an_old_name_beside_the_new_one_is_an_error_with_both_places() {
    check(
        "http: { http2: { enabled: false }, enable_http2: true }\n",
        &[
            "4:9: warning: `http.http2` is an old name",
            "4:9: error: `http2` sets `http.enable_http2` a second time\n  4:36: it is set here first",
        ],
    );
    check(
        "health_check: { enabled: false, path: /a, http_path: /b }\n",
        &[
            "4:43: warning: `http_path` is an old name",
            "4:43: error: `http_path` sets `path` a second time\n  4:33: it is set here too",
        ],
    );
    check(
        "version: 2\nsecurity: { max_header_size: 8KiB, connection_protection: { max_header_size: 16KiB } }\n",
        &[
            "5:13: warning: `security.max_header_size` is an old name",
            "5:13: error: `max_header_size` sets `security.connection_protection.max_header_size` a second time\n  5:61: it is set here first",
        ],
    );
    check("http2: ~\nretry:\n", &["4:1: warning: unknown key `http2`"]);
}

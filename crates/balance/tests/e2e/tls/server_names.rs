//! What the name of the handshake decides besides the certificate: the pool where no route does, and which requests a
//! connection is good for.

use balance_testkit::{Origin, Process, Script};

use super::files::{Files, said};
use crate::programs::is_here;
use crate::subject::{Config, balance, text_of, wait_for_cause};

/// `a.test` and `localhost` have one certificate, `b.test` another; a session for `b.test` leads to `named`, a path to
/// `routed`.
fn config(files: &Files, [other, named, routed]: [&Origin; 3]) -> Config {
    files.issue("b", &["b.test"]);
    let certificates = ["server", "b"].map(|name| format!("{{ {} }}", files.pair(name)));
    let tls = format!(
        "certificates: [{}], sni: {{ routes: {{ b.test: '{}' }} }}",
        certificates.join(", "),
        named.addr()
    );
    let mut config = files.secure(Config::http(&[other.addr()]), &tls);
    config.pools = format!("  r: {{ backends: ['{}'] }}\n", routed.addr());
    config
        .with("transform: { request_headers: [ { action: set, name: X-Seen, value: all } ] }")
        .with("routes: [ { name: routed, match: { path_prefix: /routed }, pool: r } ]")
}

fn origins() -> [Origin; 3] {
    ["other", "named", "routed"].map(|name| Origin::answering(Script::ok(name)))
}

#[test]
fn the_name_of_the_handshake_leads_to_a_pool_where_no_route_matches() {
    if !is_here("curl") {
        return;
    }
    let files = Files::new();
    let origins = origins();
    let process = config(&files, origins.each_ref()).start();
    let web = process.listener("web");
    for (url, expected) in [
        ("https://a.test/", "other"),
        ("https://b.test/", "named"),
        ("https://b.test/routed", "routed"),
        ("https://127.0.0.1/", "other"),
    ] {
        assert_eq!(said(&files.curl(web, &[url])), expected, "{url}");
    }
    // As without a route, the transform of the file acts.
    for origin in &origins {
        assert_eq!(origin.wait_for(1)[0].header("x-seen"), Some("all"));
    }
}

#[test]
fn a_request_for_a_host_with_another_certificate_is_misdirected() {
    if !is_here("curl") {
        return;
    }
    let files = Files::new();
    let origins = origins();
    let process = config(&files, origins.each_ref()).start();
    let web = process.listener("web");
    let status = |url: &str, host: &str| {
        let host = format!("Host: {host}");
        let args = ["--output", &files.path("body"), "-w", "%{http_code}"];
        said(&files.curl(web, &[&args[..], &["--header", &host, url]].concat()))
    };
    for (url, host, expected) in [
        ("https://a.test/", "b.test", "421"),
        ("https://b.test/", "a.test", "421"),
        ("https://b.test/", "B.test:443", "200"),
        // One certificate is for both.
        ("https://a.test/", "localhost", "200"),
        // What has no certificate of its own has that of clients that name nobody: the first.
        ("https://a.test/", "other.test", "200"),
        ("https://b.test/", "other.test", "421"),
        // An address is no name: nobody was named, and nobody is missed.
        ("https://127.0.0.1/", "b.test", "200"),
    ] {
        assert_eq!(status(url, host), expected, "{url} for {host}");
    }
    wait_for_cause(&process, "misdirected_request", 3);
}

#[test]
fn the_explanation_names_the_certificate() {
    let files = Files::new();
    let origins = origins();
    let config = config(&files, origins.each_ref());
    let process = config.start();
    process.listener("web"); // it runs
    let b = files.path("b.pem");
    let server = files.path("server.pem");
    let url = |host: &str| format!("https://{host}/");
    for (host, sni, parts) in [
        ("b.test", None, [b.as_str(), "for b.test", "sni:web:b.test"]),
        ("a.test", None, [&server, "for a.test", "pool p"]),
        (
            "a.test",
            Some("B.test."),
            [&b, "421", "misdirected_request"],
        ),
        ("127.0.0.1", None, [&server, "no server name", "pool p"]),
    ] {
        let name = sni.map(|name| vec!["--sni", name]).unwrap_or_default();
        let url = url(host);
        for by in [&["--admin"][..], &[]] {
            let text = explained(&process, &[by, &name, &[&url]].concat());
            for part in parts {
                assert!(text.contains(part), "{host} {sni:?} {by:?}: {part}\n{text}");
            }
        }
    }
    let text = explained(&process, &["--format", "json", &url("b.test")]);
    let json: serde_json::Value = serde_json::from_str(&text).unwrap();
    assert_eq!(json["tls"]["server_name"], "b.test");
    assert_eq!(json["tls"]["certificates"][0]["file"], b.as_str());
}

fn explained(process: &Process, args: &[&str]) -> String {
    let config = process.config_path();
    let file = [
        "explain",
        "-c",
        config.to_str().unwrap(),
        "--listener",
        "web",
    ];
    text_of(&balance(&[&file, args].concat(), process.directory()))
}

//! What the fields of a message become on their way: who the client is, Via, request ids, and fields
//! that are for one hop only.

use balance_testkit::{Origin, Recorded, Script};

use crate::proxy::{BASE, Proxy};

const CLAIMS: &str = "X-Forwarded-For: 192.0.2.1\r\nX-Forwarded-For: 192.0.2.2\r\n\
    X-Forwarded-Proto: https\r\nX-Forwarded-Host: claimed.example\r\nX-Forwarded-Port: 444\r\n\
    Forwarded: for=192.0.2.3\r\nX-Real-IP: 192.0.2.4\r\nX-Request-ID: claimed-id\r\n";

fn origin() -> Origin {
    Origin::answering(
        Script::ok("")
            .header("Keep-Alive", "timeout=50")
            .header("X-Kept", "1"),
    )
}

/// Sends the claims and returns what the backend got.
fn forwarded(proxy: &Proxy, origin: &Origin) -> Recorded {
    let request = format!("GET / HTTP/1.1\r\nHost: asked.example\r\n{CLAIMS}\r\n");
    assert_eq!(proxy.exchange(request).status, 200);
    origin.requests().pop().unwrap()
}

fn trusting(origin: &Origin, network: &str) -> Proxy {
    Proxy::start(&format!(
        "{BASE}listeners:\n- {{ name: web, listen: '127.0.0.1:0', mode: http, pool: p, trusted_proxies: ['{network}'] }}\n\
         pools: {{ p: {{ backends: ['{}'] }} }}\n",
        origin.addr()
    ))
}

fn is_hex(text: &str, length: usize) -> bool {
    text.len() == length && text.bytes().all(|byte| byte.is_ascii_hexdigit())
}

#[test]
fn claims_of_an_unknown_client_are_replaced() {
    let origin = origin();
    // Trusting somebody else changes nothing.
    for proxy in [Proxy::before(&origin), trusting(&origin, "192.0.2.0/24")] {
        let request = forwarded(&proxy, &origin);
        assert_eq!(request.headers("x-forwarded-for"), ["127.0.0.1"]);
        assert_eq!(request.headers("x-forwarded-proto"), ["http"]);
        assert_eq!(request.headers("x-forwarded-host"), ["asked.example"]);
        assert_eq!(request.headers("x-real-ip"), ["127.0.0.1"]);
        assert_eq!(request.headers("host"), ["asked.example"]);
        assert!(request.header("x-forwarded-port").is_none());
        assert!(request.header("forwarded").is_none());
        let [id] = request.headers("x-request-id")[..] else {
            unreachable!("{:?}", request.fields);
        };
        assert!(is_hex(id, 32), "{id}");
        assert_ne!(forwarded(&proxy, &origin).header("x-request-id"), Some(id));
    }
}

#[test]
fn claims_of_a_trusted_proxy_are_kept_and_continued() {
    let origin = origin();
    let proxy = trusting(&origin, "127.0.0.0/8");
    let request = forwarded(&proxy, &origin);
    assert_eq!(
        request.headers("x-forwarded-for"),
        ["192.0.2.1, 192.0.2.2, 127.0.0.1"]
    );
    assert_eq!(request.headers("x-forwarded-proto"), ["https"]);
    assert_eq!(request.headers("x-forwarded-host"), ["claimed.example"]);
    assert_eq!(request.headers("x-forwarded-port"), ["444"]);
    assert_eq!(request.headers("x-request-id"), ["claimed-id"]);
    // The first from the right that is not trusted.
    assert_eq!(request.headers("x-real-ip"), ["192.0.2.2"]);
}

#[test]
fn via_names_the_proxy_and_finds_loops() {
    let origin = origin();
    let proxy = Proxy::before(&origin);
    let via = "GET / HTTP/1.1\r\nHost: test\r\nVia: 1.0 other (a, b)\r\n\r\n";
    let response = proxy.exchange(via);
    assert!(
        response.header("via").is_none(),
        "clients are told nothing of the way"
    );
    let seen = origin.requests().pop().unwrap();
    let [other, own] = seen.headers("via")[..] else {
        unreachable!("{:?}", seen.fields);
    };
    assert_eq!(other, "1.0 other (a, b)");
    let name = own.strip_prefix("1.1 balance-").unwrap();
    assert!(is_hex(name, 8), "{own}");

    let again = format!("GET / HTTP/1.1\r\nHost: test\r\nVia: 1.1 x, {own}\r\n\r\n");
    let response = proxy.exchange(again);
    assert_eq!(response.status, 508);
    let error = response.header("proxy-status");
    assert_eq!(error, Some("balance; error=proxy_loop_detected"));
    assert_eq!(origin.requests().len(), 1);

    // Another Balance has another name, so a chain of two is no loop.
    let outer = Proxy::over(&[proxy.web()], "");
    assert_eq!(outer.get("/").status, 200);
    assert_eq!(origin.requests().pop().unwrap().headers("via").len(), 2);
}

#[test]
fn a_fixed_name_for_via() {
    let origin = origin();
    let proxy = Proxy::over(&[origin.addr()], "via_name: edge-1");
    proxy.get("/");
    assert_eq!(origin.requests()[0].headers("via"), ["1.1 edge-1"]);
}

#[test]
fn fields_for_one_hop_stay_there() {
    let origin = origin();
    let proxy = Proxy::before(&origin);
    let response = proxy.exchange(
        "GET / HTTP/1.1\r\nHost: test\r\nConnection: keep-alive, X-Hop\r\nKeep-Alive: timeout=9\r\n\
         Proxy-Connection: keep-alive\r\nX-Hop: 1\r\nTE: trailers, gzip\r\nX-End: 2\r\n\r\n",
    );
    let request = &origin.requests()[0];
    for name in [
        "connection",
        "keep-alive",
        "proxy-connection",
        "x-hop",
        "te",
    ] {
        assert_eq!(request.header(name), None, "{name}");
    }
    assert_eq!(request.header("x-end"), Some("2"));
    assert_eq!(response.header("keep-alive"), None);
    assert_eq!(response.header("x-kept"), Some("1"));
}

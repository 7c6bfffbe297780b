//! Answers of Balance's own, and what must not happen around them: resets, bytes of others, names of others.

use std::time::Duration;

use balance_testkit::{Origin, RawClient, Script, pause};

use crate::proxy::{BASE, Proxy, get, post};
use crate::subject::wait_until;

/// A route that refuses, one that redirects, one that answers; everything else goes to the origin.
fn with_routes(origin: &Origin) -> Proxy {
    Proxy::start(&format!(
        "{BASE}listeners:\n- {{ name: web, listen: '127.0.0.1:0', mode: http, pool: p }}\n\
         pools: {{ p: {{ backends: [ {{ name: b0, address: '{}' }} ] }} }}\n\
         routes:\n\
         - {{ name: refused, match: {{ path: /refused }}, respond: {{ status: 403, body: no }} }}\n\
         - {{ name: moved, match: {{ path_prefix: /moved }}, redirect: {{ port: 8443, status: 308 }} }}\n",
        origin.addr()
    ))
}

/// Sends all of a large upload, whatever comes back, and reads only then: the client that loses its answer
/// to a reset.
fn upload(proxy: &Proxy, path: &str) -> balance_testkit::Response {
    let mut client = proxy.connect();
    client
        .send(post(path, &vec![b'x'; 5 << 20]))
        .expect("the upload is read out");
    client.read_response().expect("the answer is not reset")
}

#[test]
fn an_upload_that_is_refused_gets_its_whole_answer() {
    let origin = Origin::answering(Script::status(413).body("too much").early());
    let proxy = with_routes(&origin);
    for _ in 0..5 {
        let own = upload(&proxy, "/refused");
        assert_eq!((own.status, own.text().as_str()), (403, "no"));
        let early = upload(&proxy, "/backend");
        assert_eq!((early.status, early.text().as_str()), (413, "too much"));
    }
}

/// Closing with anything unread would reset the connection, and what the client has not got yet is lost.
#[test]
fn what_comes_behind_the_last_request_does_not_reset_its_response() {
    // More than a client takes without reading.
    let script = Script::ok(vec![b'x'; 200_000]).delay(Duration::from_millis(100));
    let origin = Origin::answering(script);
    let proxy = Proxy::before(&origin);
    for number in 1..=3 {
        let mut client = proxy.connect();
        client
            .send("GET / HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n")
            .unwrap();
        origin.wait_for(number);
        client.send("\r\n").unwrap();
        proxy.wait_for_cause("completed", number as u32);
        assert_eq!(client.read_response().unwrap().body.len(), 200_000);
    }
}

#[test]
fn the_log_line_of_an_own_answer_names_nothing_of_another_request() {
    let origin = Origin::answering(Script::ok("fine"));
    let proxy = Proxy::start(&format!(
        "{}logging: {{ access_log: true }}\n\
         listeners:\n- {{ name: web, listen: '127.0.0.1:0', mode: http, trusted_proxies: [127.0.0.0/8] }}\n\
         pools: {{ p: {{ backends: [ '{}' ] }} }}\n\
         routes: [ {{ name: f, match: {{ path: /f }}, pool: p }} ]\n",
        BASE.replace("logging: { access_log: false }\n", ""),
        origin.addr()
    ));
    let kept = "GET /f HTTP/1.1\r\nHost: test\r\nX-Request-ID: aaaa\r\n\r\n";
    assert_eq!(proxy.exchange(kept).status, 200);
    let secret = "GET /none HTTP/1.1\r\nHost: test\r\nAuthorization: Bearer SECRET\r\n\r\n";
    assert_eq!(proxy.exchange(secret).status, 404);
    wait_until(|| proxy.process.stdout().lines().count() >= 2, "both lines");
    let log = proxy.process.stdout();
    let own = log.lines().find(|line| line.contains("/none")).unwrap();
    assert!(!own.contains("SECRET") && !own.contains("aaaa"), "{own}");
    assert!(log.contains("aaaa"), "the id of a trusted peer is logged");
}

/// Each answer of our own costs a task one operation of its turn and never waits. With the turn used up
/// the runtime calls every socket quiet, also one that a backend has closed.
#[test]
fn a_connection_that_the_backend_closed_is_not_used_behind_many_own_answers() {
    let origin = Origin::answering(Script::ok("fine").then_close());
    let proxy = with_routes(&origin);
    for own in [0, 50, 120, 125, 126, 127, 128, 129, 130] {
        let mut client = proxy.connect();
        assert_eq!(client.exchange(get("/")).unwrap().status, 200);
        origin.wait_for_open_connections(0);
        // The FIN has to reach the proxy too; a moment is all that can be given to it.
        pause(Duration::from_millis(10));
        client
            .send([get("/refused").repeat(own).into_bytes(), post("/", b"once")].concat())
            .unwrap();
        for _ in 0..own {
            assert_eq!(client.read_response().unwrap().status, 403);
        }
        let last = client.read_response().unwrap();
        assert_eq!(last.status, 200, "behind {own} answers");
    }
}

#[test]
fn a_malformed_body_that_comes_with_its_head_is_a_502() {
    let bad = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nZZ\r\n";
    let origin = Origin::answering(Script::raw(bad));
    let proxy = Proxy::before(&origin);
    let response = proxy.get("/");
    assert_eq!(response.status, 502);
    let error = response.header("proxy-status");
    assert_eq!(error, Some("balance; error=http_protocol_error"));
    proxy.wait_for_cause("http_protocol_error", 1);
}

#[test]
fn a_redirect_never_takes_a_path_for_a_host() {
    let origin = Origin::answering(Script::ok(""));
    let proxy = with_routes(&origin);
    let moved = proxy.get("/moved/x?y");
    assert_eq!(moved.header("location"), Some("http://test:8443/moved/x?y"));
    let hostless = proxy.exchange("GET /moved/x HTTP/1.0\r\n\r\n");
    assert_eq!(hostless.header("location"), Some("/moved/x"));
}

#[test]
fn more_clients_than_places_wait_on_every_worker() {
    let origin = Origin::answering(Script::ok("served"));
    let config = BASE.replace("worker_threads: 1", "worker_threads: 4");
    let proxy = Proxy::start(&format!(
        "{config}limits: {{ connections_max: 2 }}\n\
         listeners:\n- {{ name: web, listen: '127.0.0.1:0', mode: http, pool: p }}\n\
         pools: {{ p: {{ backends: [ '{}' ] }} }}\n",
        origin.addr()
    ));
    let ask = |mut client: RawClient| {
        let request = "GET / HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n";
        client.exchange(request).expect("nobody is reset").text()
    };
    std::thread::scope(|scope| {
        let clients: Vec<_> = (0..24)
            .map(|_| scope.spawn(|| ask(proxy.connect())))
            .collect();
        for client in clients {
            assert_eq!(client.join().unwrap(), "served");
        }
    });
}

/// Its client would take the body for the beginning of the next response.
#[test]
fn a_refusal_of_head_has_no_body_even_when_the_head_is_malformed() {
    let origin = Origin::answering(Script::ok("here"));
    let proxy = with_routes(&origin);
    for (request, status) in [
        ("HEAD /refused HTTP/1.1\r\nHost: a\r\n\r\n", 403),
        ("HEAD / HTTP/1.1\r\nHost: a\r\nX : y\r\n\r\n", 400),
        ("\r\nHEAD / HTTP/3.0\r\n\r\n", 505),
    ] {
        let mut client = proxy.connect();
        client.send(request).unwrap();
        let response = client.read_head_response().unwrap();
        assert_eq!(response.status, status, "{request:?}");
        client.half_close().unwrap();
        assert!(client.is_closed_by_peer(), "{request:?}");
    }
}

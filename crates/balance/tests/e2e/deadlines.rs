//! Every deadline: the status, the Proxy-Status and the cause, and that progress renews those which are
//! about progress.

use std::io::Write;
use std::net::TcpListener;
use std::time::{Duration, Instant};

use balance_testkit::{
    OnConnect, Origin, OriginOptions, Script, SilentAddress, StrictError, at_some_pace, pause,
};

use crate::proxy::{Proxy, get};

fn check_answer(response: &balance_testkit::Response, status: u16, proxy_status: &str) {
    assert_eq!(response.status, status, "{}", response.text());
    let expected = format!("balance; {proxy_status}");
    assert_eq!(response.header("proxy-status"), Some(expected.as_str()));
}

#[test]
fn connect() {
    let silent = SilentAddress::new();
    let proxy = Proxy::over(&[silent.addr()], "timeouts: { connect: 200ms }");
    let mut client = proxy.connect();
    let started = Instant::now();
    let response = client.exchange(get("/")).unwrap();
    assert!(started.elapsed() >= Duration::from_millis(200));
    check_answer(&response, 504, "error=connection_timeout");
    assert!(response.keeps_alive());
    proxy.wait_for_cause("connection_timeout", 1);
}

#[test]
fn connect_goes_on_to_the_next_backend() {
    let silent = SilentAddress::new();
    let origin = Origin::answering(Script::ok("alive"));
    let proxy = Proxy::over(
        &[silent.addr(), origin.addr()],
        "timeouts: { connect: 200ms }",
    );
    for _ in 0..3 {
        assert_eq!(proxy.get("/").text(), "alive");
    }
    proxy.wait_for_cause("completed", 3);
}

#[test]
fn head_in_total_and_not_per_byte() {
    at_some_pace(|pace| {
        let origin = Origin::answering(Script::ok(""));
        let proxy = Proxy::over(
            &[origin.addr()],
            &format!("timeouts: {{ head: {:?}, idle: 1h }}", pace.ms(400)),
        );
        // The first head of a connection, and one after an idle time.
        for is_first in [true, false] {
            let mut started = Instant::now();
            let mut client = proxy.connect();
            if !is_first {
                assert_eq!(client.exchange(get("/")).unwrap().status, 200);
                started = Instant::now();
            }
            let drip = format!("GET /{}", "x".repeat(5_000));
            for byte in drip.as_bytes().chunks(1) {
                if started.elapsed() > pace.ms(5_000) || client.send(byte).is_err() {
                    break;
                }
                client.set_read_timeout(Duration::from_millis(20)).unwrap();
                match client.read_response() {
                    Err(StrictError::TimedOut) => {}
                    Ok(response) => {
                        check_answer(&response, 408, "details=\"client_timeout\"");
                        assert!(!response.keeps_alive());
                        break;
                    }
                    other => unreachable!("{other:?}"),
                }
            }
            let took = started.elapsed();
            assert!(took >= pace.ms(350), "{took:?}: too early");
            assert!(took < pace.ms(4_000), "{took:?}: every byte renewed it");
        }
        proxy.wait_for_cause("client_timeout", 2);
        assert!(origin.requests().iter().all(|each| each.target == "/"));
    });
}

#[test]
fn idle() {
    at_some_pace(|pace| {
        let origin = Origin::answering(Script::ok(""));
        let proxy = Proxy::over(
            &[origin.addr()],
            &format!("timeouts: {{ idle: {:?} }}", pace.ms(600)),
        );
        let mut client = proxy.connect();
        for _ in 0..3 {
            // Each request renews it.
            pause(pace.ms(250));
            assert_eq!(client.exchange(get("/")).unwrap().status, 200);
        }
        let started = Instant::now();
        assert_eq!(
            client.read_to_end(),
            Ok(vec![]),
            "no answer to what was not asked"
        );
        // Counted from when the client had its answer, a little after the proxy began to count.
        assert!(
            started.elapsed() > pace.ms(300),
            "the last one did not renew it"
        );
        assert_eq!(proxy.cause("client_timeout"), 0.0);
    });
}

#[test]
fn first_byte() {
    at_some_pace(|pace| {
        let origin = Origin::start(move |request| match request.target.as_str() {
            "/never" => Script::never(),
            "/interim" => Script::never().interim(103, &[]),
            _ => Script::ok("late").delay(pace.ms(150)),
        });
        let proxy = Proxy::over(
            &[origin.addr()],
            &format!("timeouts: {{ first_byte: {:?}, read: 1h }}", pace.ms(700)),
        );
        let mut client = proxy.connect();
        assert_eq!(client.exchange(get("/late")).unwrap().text(), "late");
        let response = client.exchange(get("/never")).unwrap();
        check_answer(&response, 504, "error=http_response_timeout");
        assert!(response.keeps_alive(), "the request was read to its end");
        // An interim response does not stop the clock for good.
        let response = client.exchange(get("/interim")).unwrap();
        check_answer(&response, 504, "error=http_response_timeout");
        assert_eq!(response.interim, [103]);
        proxy.wait_for_cause("http_response_timeout", 2);
        origin.wait_for_open_connections(0);
    });
}

#[test]
fn first_byte_does_not_run_while_the_body_is_coming() {
    at_some_pace(|pace| {
        let origin = Origin::answering(Script::echo());
        let proxy = Proxy::over(
            &[origin.addr()],
            &format!("timeouts: {{ first_byte: {:?}, read: 1h }}", pace.ms(600)),
        );
        let mut client = proxy.connect();
        client
            .send("POST / HTTP/1.1\r\nHost: test\r\nContent-Length: 6\r\n\r\n")
            .unwrap();
        for byte in ["s", "l", "o", "w", "l", "y"] {
            pause(pace.ms(130));
            client.send(byte).unwrap();
        }
        assert_eq!(client.read_response().unwrap().text(), "slowly");
    });
}

#[test]
fn read_of_a_response() {
    at_some_pace(|pace| {
        // A piece every two milliseconds or later: twice as long as allowed.
        let pieces = usize::try_from(pace.ms(600).as_millis()).unwrap();
        let slow = Script::ok(vec![b'x'; pieces]);
        let origin = Origin::start(move |request| match request.target.as_str() {
            // Head and body take long in total, but each part comes in time.
            "/slow" => slow.clone().in_pieces_of(1),
            _ => Script::ok(vec![b'x'; 10_000]).hang_after_bytes(5_000),
        });
        let proxy = Proxy::over(
            &[origin.addr()],
            &format!("timeouts: {{ read: {:?}, first_byte: 1h }}", pace.ms(600)),
        );
        let mut client = proxy.connect();
        assert_eq!(client.exchange(get("/slow")).unwrap().body.len(), pieces);
        client.send(get("/hang")).unwrap();
        let error = client.read_response().unwrap_err();
        assert!(
            matches!(error, StrictError::Truncated | StrictError::Reset),
            "{error}"
        );
        proxy.wait_for_cause("connection_read_timeout", 1);
        origin.wait_for_open_connections(0);
    });
}

#[test]
fn read_of_a_request() {
    let origin = Origin::answering(Script::echo());
    let proxy = Proxy::over(&[origin.addr()], "timeouts: { read: 300ms }");
    let mut client = proxy.connect();
    client
        .send("POST / HTTP/1.1\r\nHost: test\r\nContent-Length: 10\r\n\r\nhalf ")
        .unwrap();
    let response = client.read_response().unwrap();
    check_answer(&response, 408, "details=\"client_timeout\"");
    assert!(!response.keeps_alive());
    proxy.wait_for_cause("client_timeout", 1);
    origin.wait_for_heads(1);
    origin.wait_for_open_connections(0);
    assert!(!origin.requests()[0].is_complete);
}

#[test]
fn write_progress_towards_the_client() {
    let origin = Origin::answering(Script::ok(vec![b'x'; 64 << 20]));
    let proxy = Proxy::over(
        &[origin.addr()],
        "timeouts: { write_progress: 300ms, read: 30s }",
    );
    let mut client = proxy.connect();
    client.send(get("/")).unwrap();
    // It reads nothing, until its part of the world is full.
    proxy.wait_for_cause("client_timeout", 1);
    origin.wait_for_open_connections(0);
    let error = client.read_response().unwrap_err();
    assert!(
        matches!(error, StrictError::Truncated | StrictError::Reset),
        "{error}"
    );
}

#[test]
fn write_progress_is_not_the_length_of_a_download() {
    at_some_pace(|pace| {
        const BYTES: usize = 24 << 20;
        let origin = Origin::answering(Script::ok(vec![b'x'; BYTES]));
        let proxy = Proxy::over(
            &[origin.addr()],
            &format!(
                "timeouts: {{ write_progress: {0:?}, read: {0:?} }}",
                pace.ms(1_500)
            ),
        );
        let mut client = proxy.connect();
        client.send(get("/")).unwrap();
        let started = Instant::now();
        let mut seen = 0;
        while seen < BYTES {
            pause(pace.ms(90));
            let part = (BYTES - seen).min(1 << 20);
            seen += client.read_exact(part).unwrap().len();
        }
        assert!(
            started.elapsed() > pace.ms(2_000),
            "longer than any deadline"
        );
        proxy.wait_for_cause("completed", 1);
    });
}

#[test]
fn write_progress_towards_a_backend_that_never_reads() {
    let options = OriginOptions {
        on_connect: OnConnect::Ignore,
        ..OriginOptions::default()
    };
    let origin = Origin::with_options(options, |_| Script::never());
    let proxy = Proxy::over(
        &[origin.addr()],
        // Far longer than the client's patience below, also on a machine that is busy.
        "timeouts: { write_progress: 4s, read: 30s }",
    );
    let before = proxy.process.resident_bytes();
    let mut client = proxy.connect();
    client
        .send("POST / HTTP/1.1\r\nHost: test\r\nContent-Length: 100000000\r\n\r\n")
        .unwrap();
    // It stops at the first write that has to wait: later, what follows the answer is thrown away.
    let block = vec![b'x'; 1 << 20];
    let mut sent = 0;
    client
        .stream()
        .set_write_timeout(Some(Duration::from_millis(300)))
        .unwrap();
    while sent < 95 && client.send(&block).is_ok() {
        sent += 1;
    }
    assert!(sent < 60, "{sent} MiB went somewhere");
    proxy.wait_for_cause("connection_write_timeout", 1);
    let grown = proxy.process.resident_bytes().saturating_sub(before);
    assert!(grown < 6 << 20, "grown by {grown} bytes");
    let response = client.read_response().unwrap();
    check_answer(&response, 504, "error=connection_write_timeout");
}

#[test]
fn request_bounds_the_whole_exchange() {
    at_some_pace(|pace| {
        let origin = Origin::start(|request| match request.target.as_str() {
            "/never" => Script::never(),
            "/drip" => Script::ok(vec![b'x'; 100_000]).in_pieces_of(1),
            _ => Script::ok("quick"),
        });
        let proxy = Proxy::over(
            &[origin.addr()],
            &format!("timeouts: {{ request: {:?} }}", pace.ms(800)),
        );
        let mut client = proxy.connect();
        for _ in 0..3 {
            // It begins anew with every exchange.
            pause(pace.ms(300));
            assert_eq!(client.exchange(get("/")).unwrap().text(), "quick");
        }
        let response = client.exchange(get("/never")).unwrap();
        check_answer(&response, 504, "error=http_response_timeout");
        client.send(get("/drip")).unwrap();
        assert!(client.read_response().is_err());
        proxy.wait_for_cause("http_response_timeout", 2);
    });
}

#[test]
fn request_includes_connecting() {
    let silent = SilentAddress::new();
    let proxy = Proxy::over(
        &[silent.addr()],
        "timeouts: { connect: 20s, request: 300ms }",
    );
    let response = proxy.get("/");
    check_answer(&response, 504, "error=http_response_timeout");
}

#[test]
fn a_route_has_deadlines_of_its_own() {
    let origin = Origin::start(|request| match request.target.as_str() {
        "/quick" => Script::never(),
        _ => Script::ok("late").delay(Duration::from_millis(250)),
    });
    let routes = "routes:\n\
        - { name: quick, match: { path: /quick }, pool: p, timeouts: { first_byte: 100ms } }\n";
    let proxy = Proxy::over(&[origin.addr()], routes);
    assert_eq!(proxy.get("/").text(), "late");
    assert_eq!(proxy.get("/quick").status, 504);
}

/// The client waits for a 100 that only the backend can give: it is not the slow one.
#[test]
fn a_backend_that_never_gives_the_100_is_to_blame() {
    let origin = Origin::answering(Script::never().without_continue());
    let timeouts = "timeouts: { first_byte: 300ms, read: 200ms }";
    let proxy = Proxy::over(&[origin.addr()], timeouts);
    let request =
        "PUT / HTTP/1.1\r\nHost: test\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\n";
    check_answer(&proxy.exchange(request), 504, "error=http_response_timeout");
    proxy.wait_for_cause("http_response_timeout", 1);
}

#[test]
fn first_byte_bounds_the_whole_head_of_a_response() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let dripping = std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let endless = b"HTTP/1.1 200 OK\r\n"
            .iter()
            .chain(b"A: b\r\n".iter().cycle());
        for byte in endless {
            // Ends when the proxy has enough of it.
            if stream.write_all(&[*byte]).is_err() {
                return;
            }
            pause(Duration::from_millis(20));
        }
    });
    let proxy = Proxy::over(&[address], "timeouts: { first_byte: 400ms }");
    check_answer(&proxy.get("/"), 504, "error=http_response_timeout");
    dripping.join().unwrap();
}

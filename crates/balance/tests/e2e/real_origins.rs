//! Origins that people really use, behind Balance: nginx, Apache, Node, Python and Go.

mod death;
mod rolling;

use std::time::Duration;

use balance_testkit::{
    EchoServer, Framing, Process, Program, RawClient, RealOrigin, Response, pause,
};

use crate::programs::must_be_here;
use crate::subject::{Config, cause};

/// Starts the program, or says that it is not there.
#[expect(
    clippy::print_stderr,
    reason = "a skipped test must not look like a passed one"
)]
fn start(program: Program) -> Option<(RealOrigin, Process)> {
    if !program.is_available() {
        must_be_here(program.name());
        eprintln!(
            "skipped: {} is not installed, .ci/install.sh does that",
            program.name()
        );
        return None;
    }
    let origin = RealOrigin::start(program).unwrap();
    let process = Config::http(&[origin.addr()]).start();
    Some((origin, process))
}

/// One client over one connection that is kept.
struct Client(RawClient);

impl Client {
    fn connect(process: &Process) -> Self {
        Self(RawClient::connect(process.listener("web")).unwrap())
    }

    /// A request with more field lines and a body.
    fn ask(&mut self, method: &str, path: &str, fields: &str, body: &[u8]) -> Response {
        let head = format!("{method} {path} HTTP/1.1\r\nHost: origin.test\r\n{fields}\r\n");
        self.0.exchange([head.as_bytes(), body].concat()).unwrap()
    }

    fn get(&mut self, path: &str) -> Response {
        self.ask("GET", path, "", b"")
    }
}

/// What every origin can do.
fn check_files(program: Program, process: &Process) {
    let mut client = Client::connect(process);
    for _ in 0..3 {
        assert_eq!(client.get("/").text(), format!("{}\n", program.name()));
    }
    assert_eq!(client.get("/small.txt").text(), RealOrigin::SMALL);
    let large = client.get("/large.bin");
    assert!(large.body == EchoServer::pattern(RealOrigin::LARGE_BYTES));
    assert_eq!(client.get("/nothing").status, 404);

    let head = client.ask("HEAD", "/small.txt", "", b"");
    assert_eq!((head.status, head.body.len()), (200, 0));
    assert_eq!(client.get("/small.txt?query=1").text(), RealOrigin::SMALL);

    // HTTP/1.0 clients get a response that they understand.
    let mut old = RawClient::connect(process.listener("web")).unwrap();
    let response = old.exchange("GET /small.txt HTTP/1.0\r\n\r\n").unwrap();
    assert_eq!(
        (response.status, response.text().as_str()),
        (200, RealOrigin::SMALL)
    );
    assert!(!response.keeps_alive() && response.framing != Framing::Chunked);

    // Ten at once, so that several connections to the origin are made and kept.
    std::thread::scope(|scope| {
        for _ in 0..10 {
            scope.spawn(|| {
                let mut client = Client::connect(process);
                for _ in 0..10 {
                    assert_eq!(client.get("/small.txt").text(), RealOrigin::SMALL);
                }
            });
        }
    });
}

/// What origins that know files well can do.
fn check_conditions_and_ranges(process: &Process) {
    let mut client = Client::connect(process);
    let full = client.get("/small.txt");
    let tag = full.header("etag").unwrap().to_owned();
    let fresh = client.ask(
        "GET",
        "/small.txt",
        &format!("If-None-Match: {tag}\r\n"),
        b"",
    );
    assert_eq!((fresh.status, fresh.body.len()), (304, 0));
    assert!(fresh.keeps_alive(), "a 304 without a body ends by itself");
    let date = full.header("last-modified").unwrap().to_owned();
    let fresh = client.ask(
        "GET",
        "/small.txt",
        &format!("If-Modified-Since: {date}\r\n"),
        b"",
    );
    assert_eq!(fresh.status, 304);

    let part = client.ask("GET", "/large.bin", "Range: bytes=1000-1999\r\n", b"");
    assert_eq!(part.status, 206);
    let range = format!("bytes 1000-1999/{}", RealOrigin::LARGE_BYTES);
    assert_eq!(part.header("content-range"), Some(range.as_str()));
    assert!(part.body == EchoServer::pattern(2000)[1000..]);
    let parts = client.ask("GET", "/large.bin", "Range: bytes=0-9,100-109\r\n", b"");
    assert_eq!(parts.status, 206);
    let kind = parts.header("content-type").unwrap();
    assert!(kind.starts_with("multipart/byteranges"), "{kind}");
    let beyond = client.ask("GET", "/small.txt", "Range: bytes=1000-\r\n", b"");
    assert_eq!(beyond.status, 416);
}

/// What origins that run code can do.
fn check_bodies(process: &Process) {
    let mut client = Client::connect(process);
    let body = EchoServer::pattern(200_000);
    let length = format!("Content-Length: {}\r\n", body.len());
    assert!(client.ask("POST", "/echo", &length, &body).body == body);
    let chunked = "Transfer-Encoding: chunked\r\n";
    let chunks = b"5\r\nhello\r\n1\r\n \r\n5\r\nworld\r\n0\r\n\r\n";
    assert_eq!(
        client.ask("POST", "/echo", chunked, chunks).text(),
        "hello world"
    );
    assert_eq!(
        client
            .ask("PUT", "/echo", "Content-Length: 0\r\n", b"")
            .text(),
        ""
    );

    let response = client.get("/chunked");
    assert_eq!(
        (response.framing, response.text().as_str()),
        (Framing::Chunked, "one two\n")
    );
    let mut old = RawClient::connect(process.listener("web")).unwrap();
    let response = old.exchange("GET /chunked HTTP/1.0\r\n\r\n").unwrap();
    assert_eq!(
        (response.framing, response.text().as_str()),
        (Framing::UntilClose, "one two\n")
    );

    client
        .0
        .send("POST /echo HTTP/1.1\r\nHost: t\r\nContent-Length: 3\r\nExpect: 100-continue\r\n\r\n")
        .unwrap();
    assert_eq!(client.0.read_any_response(false).unwrap().status, 100);
    client.0.send("abc").unwrap();
    assert_eq!(client.0.read_response().unwrap().text(), "abc");
}

/// Nothing but complete exchanges.
fn check_causes(process: &Process) {
    for name in [
        "connection_refused",
        "connection_terminated",
        "http_protocol_error",
        "http_response_incomplete",
        "aborted_by_upstream",
    ] {
        assert_eq!(cause(process, name), 0.0, "{name}");
    }
}

#[test]
fn nginx() {
    let Some((_origin, process)) = start(Program::Nginx) else {
        return;
    };
    check_files(Program::Nginx, &process);
    check_conditions_and_ranges(&process);
    let mut client = Client::connect(&process);
    let refused = client.ask("POST", "/small.txt", "Content-Length: 3\r\n", b"abc");
    assert_eq!(refused.status, 405);
    assert_eq!(client.get("/small.txt").text(), RealOrigin::SMALL);
    check_causes(&process);
}

#[test]
fn apache() {
    let Some((_origin, process)) = start(Program::Apache) else {
        return;
    };
    check_files(Program::Apache, &process);
    check_conditions_and_ranges(&process);
    check_causes(&process);
}

#[test]
fn node() {
    let Some((_origin, process)) = start(Program::Node) else {
        return;
    };
    check_files(Program::Node, &process);
    check_bodies(&process);
    check_causes(&process);
}

#[test]
fn python() {
    let Some((_origin, process)) = start(Program::Python) else {
        return;
    };
    check_files(Program::Python, &process);
    let mut client = Client::connect(&process);
    let date = client.get("/small.txt");
    let date = date.header("last-modified").unwrap();
    let fresh = client.ask(
        "GET",
        "/small.txt",
        &format!("If-Modified-Since: {date}\r\n"),
        b"",
    );
    assert_eq!(fresh.status, 304);
    let refused = client.ask("POST", "/small.txt", "Content-Length: 3\r\n", b"abc");
    assert_eq!(refused.status, 501);
    check_causes(&process);
}

#[test]
fn go() {
    let Some((_origin, process)) = start(Program::Go) else {
        return;
    };
    check_files(Program::Go, &process);
    check_bodies(&process);
    check_causes(&process);
}

#[test]
fn an_origin_that_closes_idle_connections_loses_no_post() {
    let Some((_origin, process)) = start(Program::Node) else {
        return;
    };
    // Node closes after two seconds of idling and says so with `Keep-Alive: timeout=2`. A POST that meets
    // the close could not be repeated.
    let ask_after = |wait_ms: u64| {
        let mut client = Client::connect(&process);
        for wait_ms in [0, wait_ms] {
            pause(Duration::from_millis(wait_ms));
            let response = client.ask("POST", "/echo", "Content-Length: 3\r\n", b"abc");
            let seen = (response.status, response.text());
            assert_eq!(seen, (200, "abc".to_owned()), "after {wait_ms} ms");
        }
    };
    std::thread::scope(|scope| {
        for wait_ms in [900, 1000, 1100, 1900, 1980, 2000, 2020, 2100] {
            scope.spawn(move || ask_after(wait_ms));
        }
    });
    check_causes(&process);
}

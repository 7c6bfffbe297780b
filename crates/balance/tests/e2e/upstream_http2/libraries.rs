//! Libraries that people build HTTP/2 backends with, in the clear and under TLS: Node's, Python's h2, Rust's h2.
//!
//! Each serves the same paths:
//!
//! ```text
//!   /connections  over how many connections it was asked
//!   /large        LARGE_BYTES of `l`
//!   /echo         the content of the request
//!   /behind       the content, and the trailer `x-sum` of the request as a trailer
//!   /early        403 while the content is still to come
//!   /reset        no answer, INTERNAL_ERROR
//!   /half         the beginning of an answer, then INTERNAL_ERROR
//! ```

mod h2_crate;

use std::net::SocketAddr;

use balance_testkit::http2::{DATA, END_HEADERS, END_STREAM, Frame, HEADERS, block};
use balance_testkit::{ConfiguredProgram, EchoServer, RawClient, TlsFrontOptions};

use crate::http2::raw::RawHttp2;
use crate::programs::{is_here, peers, python_with};
use crate::subject::{Config, cause, get, wait_for_cause};
use crate::tls::Files;

use h2_crate::H2Server;

const LARGE_BYTES: usize = 3_000_000;

const NODE: &str = include_str!("libraries/server.js");
const PYTHON: &str = include_str!("libraries/server.py");

#[test]
fn node() {
    if !is_here("node") {
        return;
    }
    check_program("node", &["-e", NODE, "@PORT@"]);
}

#[test]
fn python_h2() {
    if python_with("h2").is_none() {
        return;
    }
    let packages = peers().join("python").display().to_string();
    check_program("python3", &["-c", PYTHON, "@PORT@", &packages]);
}

/// A server that takes a certificate and its key behind its arguments, and speaks in the clear without.
fn check_program(program: &str, arguments: &[&str]) {
    let files = Files::new();
    let pair = [files.path("server.pem"), files.path("server.key")];
    let start = |more: &[&str]| {
        let arguments = [arguments, more].concat();
        ConfiguredProgram::with_arguments(program, &arguments).unwrap()
    };
    let server = start(&[]);
    check_in_the_clear(server.addr());
    let server = start(&[&pair[0], &pair[1]]);
    check_under_tls(&files, server.addr());
}

#[test]
fn rust_h2() {
    let server = H2Server::start();
    check_in_the_clear(server.addr());
    let files = Files::new();
    let server = H2Server::start();
    let options = TlsFrontOptions {
        carries_http2: true,
        ..TlsFrontOptions::default()
    };
    let front = files.front(server.addr(), "server", &options);
    check_under_tls(&files, front.addr());
}

fn check_in_the_clear(backend: SocketAddr) {
    check(&Config::http(&[backend]).with_pool("protocol: h2"));
}

fn check_under_tls(files: &Files, backend: SocketAddr) {
    let trusted = files.trusted("server_name: a.test");
    check(
        &Config::http(&[backend])
            .with_pool(&trusted)
            .with_pool("protocol: h2"),
    );
}

/// All of it passes over one connection, which no mishap of a stream ends.
fn check(config: &Config) {
    let process = config.start();
    let web = process.listener("web");
    assert_eq!(get(web, "/connections").text(), "1");
    let large = get(web, "/large");
    assert!(large.body == vec![b'l'; LARGE_BYTES]);
    check_echoes(web);
    check_trailers(web);
    for _ in 0..3 {
        check_early(web);
        assert_eq!(get(web, "/reset").status, 502);
        check_half(web);
    }
    assert_eq!(get(web, "/connections").text(), "1");
    wait_for_cause(&process, "completed", 2 + 1 + ECHOES + 1 + 3);
    assert_eq!(cause(&process, "http_protocol_error"), 0.0);
}

fn check_echoes(web: SocketAddr) {
    std::thread::scope(|scope| {
        for _ in 0..CLIENTS {
            scope.spawn(|| {
                let mut client = RawClient::connect(web).unwrap();
                for len in SIZES {
                    let body = EchoServer::pattern(len);
                    let head = format!(
                        "POST /echo HTTP/1.1\r\nHost: a.test\r\nContent-Length: {len}\r\n\r\n"
                    );
                    let request = [head.as_bytes(), &body].concat();
                    let response = client.exchange(request).unwrap();
                    assert_eq!((response.status, response.body.len()), (200, len));
                    assert!(response.body == body);
                }
            });
        }
    });
}

fn check_trailers(web: SocketAddr) {
    let mut client = RawHttp2::connect(web);
    let stream = client.begin("POST", "/behind", &[], 0);
    client.send(&Frame::new(DATA, 0, stream, "content"));
    let trailers = block(&[("x-sum", "42")]);
    client.send(&Frame::new(
        HEADERS,
        END_STREAM | END_HEADERS,
        stream,
        trailers,
    ));
    assert!(!client.read_kind(HEADERS).has(END_STREAM));
    assert_eq!(client.read_kind(DATA).payload, b"content");
    let trailers = client.read_kind(HEADERS);
    assert!(trailers.has(END_STREAM));
    let text = String::from_utf8_lossy(&trailers.payload).into_owned();
    assert!(text.contains("x-sum\u{2}42"), "{text:?}");
}

fn check_early(web: SocketAddr) {
    let mut client = RawHttp2::connect(web);
    let stream = client.begin("POST", "/early", &[], 0);
    client.send(&Frame::new(DATA, 0, stream, "the beginning"));
    assert_eq!(client.response(stream), Ok((403, b"early".to_vec())));
}

/// The client learns that it is not all: by a reset, or by 502 when the head was still here.
fn check_half(web: SocketAddr) {
    let mut client = RawHttp2::connect(web);
    let stream = client.ask("/half");
    let seen = client.response(stream);
    assert!(matches!(seen, Err(_) | Ok((502, _))), "{seen:?}");
}

const CLIENTS: u32 = 8;
const SIZES: [usize; 4] = [0, 1, 16_384, 200_000];
const ECHOES: u32 = CLIENTS * SIZES.len() as u32;

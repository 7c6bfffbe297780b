use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use super::{Backend, BackendOptions, IdentityFiles, Mode};
use crate::tls::testing::Identity;

fn connect(backend: &Backend) -> TcpStream {
    let stream = TcpStream::connect(backend.local_addr()).unwrap();
    stream
        .set_read_timeout(Some(Duration::from_secs(10)))
        .unwrap();
    stream
}

/// Sends `request`, closes the writing side and returns everything that comes back.
fn exchange(backend: &Backend, request: &str) -> String {
    let mut stream = connect(backend);
    stream.write_all(request.as_bytes()).unwrap();
    stream.shutdown(Shutdown::Write).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}

#[test]
fn answers_pipelined_requests_in_order_and_counts_them() {
    let options = BackendOptions {
        body_bytes: 5,
        name: "a".into(),
        ..Default::default()
    };
    let backend = Backend::start(&options).unwrap();
    let answer = exchange(
        &backend,
        "GET / HTTP/1.1\r\n\r\nHEAD / HTTP/1.1\r\n\r\nPOST / HTTP/1.1\r\nContent-Length: 3\r\n\r\nabc",
    );
    let head =
        "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 5\r\nX-Backend: a\r\n\r\n";
    assert_eq!(answer, format!("{head}01234{head}{head}01234"));
    assert_eq!((backend.requests(), backend.connections()), (3, 1));
}

#[test]
fn closes_when_the_request_says_so() {
    let backend = Backend::start(&BackendOptions::default()).unwrap();
    let mut stream = connect(&backend);
    stream
        .write_all(b"GET / HTTP/1.1\r\nConnection: close\r\n\r\n")
        .unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    assert!(answer.contains("\r\nConnection: close\r\n"), "{answer}");
}

#[test]
fn identifies_itself() {
    let options = BackendOptions {
        name: "b1".into(),
        identify: true,
        ..Default::default()
    };
    let backend = Backend::start(&options).unwrap();
    assert!(exchange(&backend, "GET / HTTP/1.1\r\n\r\n").ends_with("\r\n\r\nhello from b1\n"));
}

#[test]
fn large_bodies_survive_a_slow_reader() {
    let options = BackendOptions {
        body_bytes: 8 << 20,
        ..Default::default()
    };
    let backend = Backend::start(&options).unwrap();
    let answer = exchange(&backend, "GET / HTTP/1.1\r\n\r\nGET / HTTP/1.1\r\n\r\n");
    let head_len = answer.find("\r\n\r\n").unwrap() + 4;
    assert_eq!(answer.len(), 2 * (head_len + (8 << 20)));
}

#[test]
fn answers_wait_for_the_delay() {
    let delay = Duration::from_millis(60);
    let backend = Backend::start(&BackendOptions {
        delay,
        ..Default::default()
    })
    .unwrap();
    let start = Instant::now();
    exchange(&backend, "GET / HTTP/1.1\r\n\r\n");
    assert!(start.elapsed() >= delay);
    assert_eq!(backend.requests(), 1);
}

#[test]
fn echo_returns_everything_and_then_closes() {
    let options = BackendOptions {
        mode: Mode::Echo,
        ..Default::default()
    };
    let backend = Backend::start(&options).unwrap();
    let mut stream = connect(&backend);
    let mut writer = stream.try_clone().unwrap();
    let sent = vec![b'x'; 4 << 20];
    let copy = sent.clone();
    let writing = std::thread::spawn(move || {
        writer.write_all(&copy).unwrap();
        writer.shutdown(Shutdown::Write).unwrap();
    });
    let mut received = Vec::new();
    stream.read_to_end(&mut received).unwrap();
    writing.join().unwrap();
    assert!(received == sent);
}

#[test]
fn source_gives_and_sink_takes() {
    let source = Backend::start(&BackendOptions {
        mode: Mode::Source,
        ..Default::default()
    })
    .unwrap();
    let mut buffer = vec![0; 1 << 20];
    connect(&source).read_exact(&mut buffer).unwrap();
    let sink = Backend::start(&BackendOptions {
        mode: Mode::Sink,
        ..Default::default()
    })
    .unwrap();
    assert_eq!(exchange(&sink, &"x".repeat(1 << 20)), "");
    assert_eq!(sink.bytes(), 1 << 20);
}

#[test]
fn a_port_in_use_is_an_error_whatever_the_number_of_threads() {
    let first = Backend::start(&BackendOptions {
        threads: 2,
        ..Default::default()
    })
    .unwrap();
    for threads in [1, 2] {
        let listen = vec![first.local_addr()];
        let error = Backend::start(&BackendOptions {
            listen,
            threads,
            ..Default::default()
        });
        assert!(
            error
                .unwrap_err()
                .to_string()
                .starts_with("cannot listen on 127.0.0.1:")
        );
    }
}

#[test]
fn stopping_frees_the_port() {
    let backend = Backend::start(&BackendOptions::default()).unwrap();
    let address: SocketAddr = backend.local_addr();
    let _open = connect(&backend);
    backend.stop();
    let listen = vec![address];
    assert!(
        Backend::start(&BackendOptions {
            listen,
            ..Default::default()
        })
        .is_ok()
    );
}

#[test]
fn what_is_no_identity_is_refused_with_the_file() {
    let (one, other) = (Identity::new(), Identity::new());
    let mixed = IdentityFiles {
        certificate: one.files().certificate,
        key: other.files().key,
    };
    let absent = IdentityFiles {
        key: "/no/such/file".into(),
        ..one.files()
    };
    let swapped = IdentityFiles {
        certificate: one.files().key,
        key: one.files().certificate,
    };
    for (tls, words) in [
        (mixed, "does not belong"),
        (absent, "/no/such/file"),
        (swapped, "key.pem"),
    ] {
        let options = BackendOptions {
            tls: Some(tls),
            ..Default::default()
        };
        let error = Backend::start(&options).unwrap_err().to_string();
        assert!(error.contains(words), "{error}");
    }
}

//! Bodies of any size, streamed both ways, with bounded memory.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use balance_testkit::{EchoServer, Framing, Origin, Script, pause};

use crate::proxy::{Proxy, get, post};

const LARGE_BYTES: usize = 10 << 20;
/// What a large body may add to the proxy's memory: its scratch, one kept piece per direction, and what
/// the allocator holds on to.
const GROWTH_BYTES_MAX: u64 = 6 << 20;

/// Not periodic in any buffer size, so that a lost or doubled block shows.
fn pattern() -> Vec<u8> {
    EchoServer::pattern(LARGE_BYTES)
}

fn chunks(body: &[u8], size: usize) -> Vec<&[u8]> {
    body.chunks(size).collect()
}

/// Runs `exchange` and checks that the proxy has not grown with what passed.
fn check_growth(proxy: &Proxy, exchange: impl FnOnce()) {
    proxy.get("/warm");
    let before = proxy.process.resident_bytes();
    exchange();
    let grown = proxy.process.resident_bytes().saturating_sub(before);
    assert!(grown < GROWTH_BYTES_MAX, "grown by {grown} bytes");
}

#[test]
fn uploads_with_a_length_and_in_chunks() {
    let origin = Origin::answering(Script::ok("got it"));
    let proxy = Proxy::before(&origin);
    let body = pattern();
    check_growth(&proxy, || {
        assert_eq!(proxy.exchange(post("/length", &body)).text(), "got it");
    });
    check_growth(&proxy, || {
        let mut client = proxy.connect();
        client
            .send("POST /chunks HTTP/1.1\r\nHost: test\r\nTransfer-Encoding: chunked\r\n\r\n")
            .unwrap();
        for chunk in chunks(&body, 77_777) {
            client.send(format!("{:x}\r\n", chunk.len())).unwrap();
            client.send(chunk).unwrap();
            client.send("\r\n").unwrap();
        }
        client.send("0\r\n\r\n").unwrap();
        assert_eq!(client.read_response().unwrap().text(), "got it");
    });
    let uploads = origin.requests();
    let uploads = uploads.iter().filter(|each| each.method == "POST");
    for upload in uploads {
        assert!(upload.body == body, "{} arrived changed", upload.target);
        assert_eq!(upload.violation, None);
        let is_chunked = upload.header("transfer-encoding") == Some("chunked");
        assert_eq!(is_chunked, upload.target == "/chunks");
    }
}

#[test]
fn downloads_in_every_framing_to_both_versions() {
    let body = Arc::new(pattern());
    let served = Arc::clone(&body);
    let origin = Origin::start(move |request| match request.target.as_str() {
        "/length" => Script::ok(served.to_vec()),
        "/chunks" => Script::status(200).chunked(&chunks(&served, 100_000)),
        "/close" => Script::status(200).until_close(served.to_vec()),
        _ => Script::ok("small"),
    });
    let proxy = Proxy::before(&origin);
    for (path, framing) in [
        ("/length", Framing::Length(LARGE_BYTES as u64)),
        ("/chunks", Framing::Chunked),
        ("/close", Framing::Chunked),
    ] {
        check_growth(&proxy, || {
            let mut client = proxy.connect();
            let response = client.exchange(get(path)).unwrap();
            assert_eq!(response.framing, framing, "{path}");
            assert!(response.body == *body, "{path} arrived changed");
            assert_eq!(client.exchange(get("/")).unwrap().text(), "small");
        });
        // RFC 9112 §6.1: HTTP/1.0 knows no chunks; the end of the connection ends what has no length.
        let request =
            format!("GET {path} HTTP/1.0\r\nHost: test\r\nConnection: keep-alive\r\n\r\n");
        let response = proxy.exchange(request);
        assert!(response.body == *body, "{path} arrived changed at HTTP/1.0");
        assert_eq!(response.keeps_alive(), path == "/length");
    }
}

#[test]
fn tiny_chunks_and_odd_pieces() {
    let body = EchoServer::pattern(20_000);
    let served = body.clone();
    let origin = Origin::start(move |request| match request.target.as_str() {
        "/ones" => Script::status(200).chunked(&chunks(&served, 1)),
        _ => Script::ok(served.clone()).in_pieces_of(997),
    });
    let proxy = Proxy::before(&origin);
    for path in ["/ones", "/pieces"] {
        assert!(proxy.get(path).body == body, "{path}");
    }
}

#[test]
fn both_directions_at_once() {
    // The backend answers with the first byte of the request and echoes as it comes.
    let answer = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n";
    let (address, _) = backend(move |mut stream| {
        read_head(&mut stream);
        stream.write_all(answer).unwrap();
        let mut block = [0; 8192];
        let mut seen = Vec::new();
        while !seen.ends_with(b"0\r\n\r\n") {
            let read = stream.read(&mut block).unwrap();
            stream.write_all(&block[..read]).unwrap();
            seen.extend_from_slice(&block[..read]);
        }
    });
    let proxy = Proxy::over(&[address], "");
    let mut client = proxy.connect();
    client
        .send("POST / HTTP/1.1\r\nHost: test\r\nTransfer-Encoding: chunked\r\n\r\n3\r\none\r\n")
        .unwrap();
    // The first part comes back before the second is sent.
    let mut seen = Vec::new();
    while !seen.ends_with(b"one\r\n") {
        seen.extend(client.read_exact(1).unwrap());
    }
    client.send("3\r\ntwo\r\n0\r\n\r\n").unwrap();
    while !seen.ends_with(b"3\r\ntwo\r\n0\r\n\r\n") {
        seen.extend(client.read_exact(1).unwrap());
    }
}

#[test]
fn a_slow_reader_slows_the_backend() {
    const BODY_BYTES: u64 = 64 << 20;
    // Both kernels' buffers, on both connections, may fill; nothing else may.
    const AHEAD_BYTES_MAX: u64 = 40 << 20;
    let written = Arc::new(AtomicU64::new(0));
    let counter = Arc::clone(&written);
    let (address, _) = backend(move |mut stream| {
        read_head(&mut stream);
        let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {BODY_BYTES}\r\n\r\n");
        stream.write_all(head.as_bytes()).unwrap();
        let block = vec![b'x'; 64 << 10];
        for _ in 0..BODY_BYTES / block.len() as u64 {
            if stream.write_all(&block).is_err() {
                return;
            }
            counter.fetch_add(block.len() as u64, Ordering::Relaxed);
        }
    });
    let proxy = Proxy::over(&[address], "");
    let mut client = proxy.connect();
    let before = proxy.process.resident_bytes();
    client.send(get("/")).unwrap();
    let ahead = settled(&written);
    assert!(ahead < AHEAD_BYTES_MAX, "{ahead} bytes ahead of the client");
    let grown = proxy.process.resident_bytes().saturating_sub(before);
    assert!(grown < GROWTH_BYTES_MAX, "grown by {grown} bytes");

    assert_eq!(
        client.read_response().unwrap().body.len() as u64,
        BODY_BYTES
    );
    assert_eq!(written.load(Ordering::Relaxed), BODY_BYTES);
}

/// The value once it has stopped growing.
fn settled(counter: &AtomicU64) -> u64 {
    let mut last = (u64::MAX, Instant::now());
    loop {
        let value = counter.load(Ordering::Relaxed);
        if value != last.0 {
            last = (value, Instant::now());
        } else if value > 0 && last.1.elapsed() > Duration::from_millis(200) {
            return value;
        }
        pause(Duration::from_millis(5));
    }
}

/// A backend of one connection that does just this.
fn backend(
    serve: impl FnOnce(std::net::TcpStream) + Send + 'static,
) -> (SocketAddr, std::thread::JoinHandle<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let thread = std::thread::spawn(move || serve(listener.accept().unwrap().0));
    (address, thread)
}

fn read_head(stream: &mut std::net::TcpStream) {
    let mut head = Vec::new();
    let mut byte = [0];
    while !head.ends_with(b"\r\n\r\n") {
        stream.read_exact(&mut byte).unwrap();
        head.push(byte[0]);
    }
}

//! Clients that leave before their answer, and clients that only stop sending (robustness BE-04).

use std::io::{ErrorKind, Read};
use std::net::{TcpListener, TcpStream};
use std::time::Duration;

use balance_testkit::{Origin, PATIENCE, RawClient, Script, SilentAddress};

use crate::proxy::{Proxy, get, post};
use crate::subject::{self, Config};

/// Hangs at `/hang`, answers late at `/late`.
fn origin() -> Origin {
    Origin::start(|request| match request.target.as_str() {
        "/hang" => Script::never(),
        "/late" => Script::ok("late").delay(Duration::from_millis(150)),
        "/large" => Script::ok(vec![b'x'; 32 << 20]),
        _ => Script::ok("here"),
    })
}

#[test]
fn a_client_that_resets_while_it_waits_frees_the_backend() {
    let origin = origin();
    let proxy = Proxy::before(&origin);
    for number in 1..=3 {
        let mut client = proxy.connect();
        client.send(get("/hang")).unwrap();
        origin.wait_for(number);
        client.reset().unwrap();
        origin.wait_for_open_connections(0);
        proxy.wait_for_cause("client_closed", number as u32);
    }
    // The backend is not to blame: it is picked as before.
    assert_eq!(proxy.get("/").text(), "here");
    proxy.wait_for_cause("completed", 1);
}

#[test]
fn a_client_that_stops_sending_gets_its_answer() {
    let origin = origin();
    let proxy = Proxy::before(&origin);
    let mut client = proxy.connect();
    client.send(get("/late")).unwrap();
    client.half_close().unwrap();
    assert_eq!(client.read_response().unwrap().text(), "late");
    assert!(client.is_closed_by_peer());
    proxy.wait_for_cause("completed", 1);

    // Pipelined requests before the FIN are answered too.
    let mut client = proxy.connect();
    client
        .send([get("/late"), get("/1"), get("/2")].concat())
        .unwrap();
    client.half_close().unwrap();
    for body in ["late", "here", "here"] {
        assert_eq!(client.read_response().unwrap().text(), body);
    }
    assert!(client.is_closed_by_peer());
}

#[test]
fn with_abort_on_close_the_end_of_sending_ends_the_exchange() {
    let origin = origin();
    let proxy = Proxy::over(&[origin.addr()], "http: { abort_on_close: true }");
    let mut client = proxy.connect();
    client.send(get("/hang")).unwrap();
    origin.wait_for(1);
    client.half_close().unwrap();
    origin.wait_for_open_connections(0);
    proxy.wait_for_cause("client_closed", 1);
    assert!(client.is_closed_by_peer());
}

#[test]
fn a_client_that_leaves_in_the_middle_of_its_body() {
    let origin = origin();
    let proxy = Proxy::before(&origin);
    for (number, head) in ["Content-Length: 1000", "Transfer-Encoding: chunked"]
        .iter()
        .enumerate()
    {
        let mut client = proxy.connect();
        let request = format!("POST / HTTP/1.1\r\nHost: test\r\n{head}\r\n\r\n5\r\nhello\r\n");
        client.send(request).unwrap();
        origin.wait_for_heads(number + 1);
        client.half_close().unwrap();
        assert!(client.is_closed_by_peer());
        origin.wait_for_open_connections(0);
        proxy.wait_for_cause("client_closed", number as u32 + 1);
    }
    assert!(origin.requests().iter().all(|each| !each.is_complete));
    assert_eq!(proxy.get("/").text(), "here");
}

#[test]
fn a_client_that_leaves_in_the_middle_of_its_response() {
    let origin = origin();
    let proxy = Proxy::before(&origin);
    let mut client = proxy.connect();
    client.send(get("/large")).unwrap();
    client.read_exact(100_000).unwrap();
    client.reset().unwrap();
    origin.wait_for_open_connections(0);
    proxy.wait_for_cause("client_closed", 1);
    assert_eq!(proxy.get("/").text(), "here");
}

/// Reads a request with a body of so many bytes from whoever sends one; who only fills the queue does not.
fn take_upload(listener: &TcpListener, body_bytes: usize) -> TcpStream {
    loop {
        let (mut stream, _) = listener.accept().unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        let mut bytes = Vec::new();
        let mut block = [0; 64 << 10];
        loop {
            let read = stream.read(&mut block).unwrap_or(0);
            if read == 0 {
                break;
            }
            bytes.extend_from_slice(&block[..read]);
            let head = bytes.windows(4).position(|four| four == b"\r\n\r\n");
            if head.is_some_and(|at| bytes.len() == at + 4 + body_bytes) {
                return stream;
            }
        }
    }
}

/// While it connects, the proxy sees the body lie there, and must not take that for the end of its watch.
#[test]
fn a_client_that_resets_after_an_upload_that_began_while_connecting() {
    // More than is read along with the head.
    const BYTES: usize = 400_000;
    let silent = SilentAddress::new();
    let process = Config::http(&[silent.addr()]).start();
    let mut client = RawClient::connect(process.listener("web")).unwrap();
    client.send(post("/", &vec![b'x'; BYTES])).unwrap();
    subject::wait_until(
        || subject::backend(&process, "a")["in_flight"] == 1,
        "it connects",
    );
    let mut upload = take_upload(&silent.listen(), BYTES);
    client.reset().unwrap();
    let end = upload.read(&mut [0]);
    let is_closed = match &end {
        Ok(read) => *read == 0,
        Err(error) => error.kind() == ErrorKind::ConnectionReset,
    };
    assert!(is_closed, "{end:?}");
    subject::wait_for_cause(&process, "client_closed", 1);
}

//! Headers for backends: each connection begins with one, and carries nobody else.

use std::net::SocketAddr;

use balance_testkit::{EchoServer, Origin, PeerMode, Process, RawClient, TempDir};

use super::{clients, ip, origin};
use crate::proxy::{BASE, get};
use crate::subject::{BINARY, Config, metric, reload, wait_until};

/// A pool `p` that sends, in place of the one that [`Config`] makes.
fn sending(config: Config, version: &str) -> String {
    let yaml = config.yaml();
    yaml.replacen(" ] }", &format!(" ], send_proxy: {version} }}"), 1)
}

fn start(yaml: &str) -> Process {
    Process::start(BINARY, yaml).unwrap()
}

fn ipv4(source: SocketAddr, destination: SocketAddr) -> Vec<u8> {
    let octets = |address: SocketAddr| match address.ip() {
        std::net::IpAddr::V4(ip) => ip.octets(),
        std::net::IpAddr::V6(_) => unreachable!(),
    };
    let ports = [
        source.port().to_be_bytes(),
        destination.port().to_be_bytes(),
    ]
    .concat();
    let prefix = b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c";
    [&prefix[..], &octets(source), &octets(destination), &ports].concat()
}

#[test]
fn a_session_begins_with_the_addresses_of_its_client() {
    for version in ["v1", "v2"] {
        let server = EchoServer::start(PeerMode::Echo);
        let process = start(&sending(Config::tcp(&[server.addr()]), version));
        let web = process.listener("web");
        let mut client = RawClient::connect_from(ip("127.0.0.3"), web).unwrap();
        client.send("payload").unwrap();
        client.half_close().unwrap();
        let source = client.local_addr().unwrap();
        let header = match version {
            "v1" => format!(
                "PROXY TCP4 127.0.0.3 127.0.0.1 {} {}\r\n",
                source.port(),
                web.port()
            )
            .into_bytes(),
            _ => ipv4(source, web),
        };
        let expected = [&header[..], b"payload"].concat();
        assert_eq!(server.wait_for_ended(1)[0].received, expected, "{version}");
        // An echo of our header is not ours to keep.
        assert_eq!(client.read_to_end().unwrap(), expected, "{version}");
    }
}

#[test]
fn a_header_that_was_accepted_is_passed_on_in_the_other_form() {
    let server = EchoServer::start(PeerMode::Echo);
    let config = Config {
        listener: "pool: p, proxy_protocol: { accept: true, from: 127.0.0.1 }".to_owned(),
        ..Config::tcp(&[server.addr()])
    };
    let process = start(&sending(config, "v1"));
    let mut client = RawClient::connect(process.listener("web")).unwrap();
    let header = ipv4(
        "192.0.2.7:7".parse().unwrap(),
        "198.51.100.2:443".parse().unwrap(),
    );
    client.send([&header[..], b"x"].concat()).unwrap();
    client.half_close().unwrap();
    let session = &server.wait_for_ended(1)[0];
    let expected = b"PROXY TCP4 192.0.2.7 198.51.100.2 7 443\r\nx";
    assert_eq!(session.received, expected);
}

#[test]
fn a_client_at_a_unix_socket_is_unknown() {
    use std::io::{Read, Write};
    let server = EchoServer::start(PeerMode::Echo);
    let folder = TempDir::new("unix").unwrap();
    let path = folder.path().join("web.sock");
    let config = Config {
        listen: format!("unix:{}", path.display()),
        ..Config::tcp(&[server.addr()])
    };
    let process = start(&sending(config, "v1"));
    process.wait_for_stderr(|line| line.contains("web.sock"));
    let mut client = std::os::unix::net::UnixStream::connect(&path).unwrap();
    client.write_all(b"x").unwrap();
    client.shutdown(std::net::Shutdown::Write).unwrap();
    let mut echoed = Vec::new();
    client.read_to_end(&mut echoed).unwrap();
    assert_eq!(echoed, b"PROXY UNKNOWN\r\nx");
}

/// A Balance that requires headers: what it takes for the client is what the one before it announced.
fn receiver(origin: &Origin) -> Process {
    Config {
        listener: "pool: p, proxy_protocol: { accept: true, from: 127.0.0.1 }".to_owned(),
        ..Config::http(&[origin.addr()])
    }
    .start()
}

fn connections(process: &Process) -> f64 {
    metric(process, "balance_connections_total{listener=\"web\"}")
}

#[test]
fn a_connection_is_used_again_for_its_client_and_for_no_other() {
    let origin = origin();
    let receiver = receiver(&origin);
    let backend = receiver.listener("web");
    let sender = start(&sending(Config::http(&[backend]), "v2"));
    let web = sender.listener("web");
    let mut anna = RawClient::connect_from(ip("127.0.0.2"), web).unwrap();
    let mut berta = RawClient::connect_from(ip("127.0.0.3"), web).unwrap();
    // From the same address, over another connection: another port is another client to a backend.
    let mut clara = RawClient::connect_from(ip("127.0.0.2"), web).unwrap();
    for round in 1..=3 {
        for client in [&mut anna, &mut berta, &mut clara] {
            assert_eq!(client.exchange(get("/")).unwrap().status, 200);
        }
        assert_eq!(connections(&receiver), 3.0, "round {round}");
    }
    let named = clients(&origin);
    assert_eq!(named, ["127.0.0.2", "127.0.0.3", "127.0.0.2"].repeat(3));
}

#[test]
fn a_reload_that_begins_or_ends_sending_leaves_no_connection_of_the_other_kind() {
    let origin = origin();
    let receiver = receiver(&origin);
    let plain = Config::http(&[receiver.listener("web")]);
    let sender = start(&sending(plain.clone(), "v1"));
    let mut client = RawClient::connect(sender.listener("web")).unwrap();
    assert_eq!(client.exchange(get("/")).unwrap().status, 200);
    // Now the same backend gets connections without a header, and closes them.
    reload(&sender, &plain);
    assert_eq!(client.exchange(get("/")).unwrap().status, 502);
    let mut client = RawClient::connect(sender.listener("web")).unwrap();
    sender.write_config(&sending(plain, "v2")).unwrap();
    let response = crate::subject::post(sender.listener("admin"), "/reload");
    assert_eq!(response.status, 200, "{}", response.text());
    wait_until(
        || {
            client
                .exchange(get("/"))
                .is_ok_and(|answer| answer.status == 200)
        },
        "the backend rests for a moment after it closed",
    );
}

#[test]
fn a_copy_names_the_client_of_what_it_is_a_copy_of() {
    let (origin, other) = (origin(), origin());
    let receiver = receiver(&other);
    let sender = start(&format!(
        "{BASE}listeners:\n- {{ name: web, listen: '127.0.0.1:0', mode: http }}\n\
         pools:\n  p: {{ backends: ['{}'] }}\n  q: {{ backends: ['{}'], send_proxy: v2 }}\n\
         routes:\n- {{ name: all, pool: p, mirror: q }}\n",
        origin.addr(),
        receiver.listener("web"),
    ));
    let web = sender.listener("web");
    let mut client = RawClient::connect_from(ip("127.0.0.4"), web).unwrap();
    assert_eq!(client.exchange(get("/")).unwrap().status, 200);
    other.wait_for(1);
    assert_eq!(clients(&other), ["127.0.0.4"]);
}

#[test]
fn headers_are_no_part_of_what_a_request_counts() {
    let origin = origin();
    let receiver = receiver(&origin);
    let sender = start(&sending(Config::http(&[receiver.listener("web")]), "v1"));
    let mut client = RawClient::connect(sender.listener("web")).unwrap();
    let request = get("/");
    assert_eq!(client.exchange(&request).unwrap().status, 200);
    let sent = request.len() as f64;
    wait_until(
        || metric(&sender, "balance_bytes_received_total") >= sent,
        "counted",
    );
    assert_eq!(metric(&sender, "balance_bytes_received_total"), sent);
}

//! HAProxy and nginx at the other end of the PROXY protocol.

use balance_testkit::{ConfiguredProgram, RawClient};

use super::{clients, ip, origin};
use crate::programs::is_here;
use crate::proxy::get;
use crate::subject::Config;
use crate::tls::Files;

/// Which words make HAProxy send which header.
const SENDERS: [&str; 4] = [
    "send-proxy",
    "send-proxy-v2",
    "send-proxy-v2 proxy-v2-options crc32c",
    "send-proxy-v2-ssl-cn proxy-v2-options crc32c,unique-id,authority",
];

#[test]
fn haproxy_says_who_its_clients_are() {
    if !is_here("haproxy") {
        return;
    }
    let origin = origin();
    let process = Config {
        listener: "pool: p, proxy_protocol: { accept: true, from: 127.0.0.1 }".to_owned(),
        ..Config::http(&[origin.addr()])
    }
    .start();
    let web = process.listener("web");
    let mut expected = Vec::new();
    for (mode, words) in ["tcp", "http"]
        .into_iter()
        .flat_map(|mode| SENDERS.map(|words| (mode, words)))
    {
        let haproxy = ConfiguredProgram::haproxy(&format!(
            "listen front\n  mode {mode}\n  bind 127.0.0.1:@PORT@\n  server balance {web} {words}"
        ))
        .unwrap();
        for source in ["127.0.0.5", "127.0.0.6"] {
            let mut client = RawClient::connect_from(ip(source), haproxy.addr()).unwrap();
            for _ in 0..2 {
                let response = client.exchange(get("/")).unwrap();
                assert_eq!(response.status, 200, "{mode} {words}");
                expected.push(source);
            }
        }
    }
    assert_eq!(clients(&origin), expected);
}

/// The header stands in front of the handshake, in the clear.
#[test]
fn haproxy_says_it_in_front_of_tls() {
    if !is_here("haproxy") {
        return;
    }
    let files = Files::new();
    let origin = origin();
    let mut config = files.secured(Config::http(&[origin.addr()]));
    config
        .listener
        .push_str(", proxy_protocol: { accept: true, from: 127.0.0.1 }");
    let process = config.start();
    let web = process.listener("web");
    let verified = format!(
        "ssl verify required ca-file {} sni str(a.test) verifyhost a.test",
        files.path("ca.pem")
    );
    let mut expected = Vec::new();
    for words in SENDERS {
        let haproxy = ConfiguredProgram::haproxy(&format!(
            "listen front\n  mode http\n  bind 127.0.0.1:@PORT@\n  server balance {web} {verified} {words}"
        ))
        .unwrap();
        for source in ["127.0.0.5", "127.0.0.6"] {
            let mut client = RawClient::connect_from(ip(source), haproxy.addr()).unwrap();
            let response = client.exchange(get("/")).unwrap();
            assert_eq!(response.status, 200, "{words}");
            expected.push(source);
        }
    }
    assert_eq!(clients(&origin), expected);
    let seen = origin.requests();
    let secured = seen
        .iter()
        .filter(|request| request.header("x-forwarded-proto") == Some("https"));
    assert_eq!(secured.count(), expected.len());
}

#[test]
fn haproxy_checks_and_what_it_checks_with_is_local() {
    if !is_here("haproxy") {
        return;
    }
    let origin = origin();
    let process = Config {
        listener: "pool: p, proxy_protocol: { accept: true, from: 127.0.0.1 }".to_owned(),
        ..Config::http(&[origin.addr()])
    }
    .start();
    let web = process.listener("web");
    let _haproxy = ConfiguredProgram::haproxy(&format!(
        "listen front\n  mode http\n  bind 127.0.0.1:@PORT@\n  option httpchk GET /check\n  \
         server balance {web} check inter 100ms send-proxy-v2"
    ))
    .unwrap();
    let checks = origin.wait_for(2);
    assert_eq!(checks[0].target, "/check");
    assert_eq!(clients(&origin)[..2], ["127.0.0.1"; 2]);
}

/// Asks through Balance from two addresses, twice each over one connection, and expects to be told which. `tls` is what
/// the pool has to say about TLS, if anything.
#[track_caller]
fn is_told_the_client(backend: &ConfiguredProgram, tls: Option<&str>) {
    for mode in ["tcp", "http"] {
        for version in ["v1", "v2"] {
            let config = Config {
                mode,
                ..Config::http(&[backend.addr()])
            };
            let config = config.with_pool(&format!("send_proxy: {version}"));
            let config = tls.iter().fold(config, |config, tls| config.with_pool(tls));
            let process = config.start();
            let web = process.listener("web");
            for source in ["127.0.0.5", "127.0.0.6"] {
                let mut client = RawClient::connect_from(ip(source), web).unwrap();
                let own = format!("{} {web}", client.local_addr().unwrap());
                for _ in 0..2 {
                    let answer = client.exchange(get("/")).unwrap().text();
                    assert_eq!(answer, own, "{mode} {version}");
                }
            }
        }
    }
}

#[test]
fn haproxy_is_told_who_our_clients_are() {
    if !is_here("haproxy") {
        return;
    }
    is_told_the_client(&haproxy_that_tells("accept-proxy"), None);
}

#[test]
fn haproxy_is_told_in_front_of_tls() {
    if !is_here("haproxy") {
        return;
    }
    let files = Files::new();
    let read = |name: &str| std::fs::read_to_string(files.path(name)).unwrap();
    // HAProxy has both in one file.
    files.write("both.pem", &(read("server.pem") + &read("server.key")));
    let words = format!("accept-proxy ssl crt {}", files.path("both.pem"));
    let tls = files.trusted("server_name: a.test");
    is_told_the_client(&haproxy_that_tells(&words), Some(&tls));
}

/// Accepts by these words, and answers with the addresses that it was told.
fn haproxy_that_tells(words: &str) -> ConfiguredProgram {
    ConfiguredProgram::haproxy(&format!(
        "frontend origin\n  mode http\n  bind 127.0.0.1:@PORT@ {words}\n  \
         http-request return status 200 content-type text/plain lf-string \
         \"%[src]:%[src_port] %[dst]:%[dst_port]\"",
    ))
    .unwrap()
}

#[test]
fn nginx_is_told_who_our_clients_are() {
    if !is_here("nginx") {
        return;
    }
    let nginx = ConfiguredProgram::nginx(
        "server { listen 127.0.0.1:@PORT@ proxy_protocol; location / { return 200 \
         \"$proxy_protocol_addr:$proxy_protocol_port $proxy_protocol_server_addr:$proxy_protocol_server_port\"; } }",
    );
    is_told_the_client(&nginx.unwrap(), None);
}

//! Programs that people run as HTTP/2 backends, in the clear and under TLS, and how the version is agreed on.

use balance_testkit::{ConfiguredProgram, RawClient};

use crate::programs::is_here;
use crate::subject::{Config, backend, get_on, wait_for_cause, wait_until};
use crate::tls::Files;

/// nginx that says how it was asked. `listen`: what follows the port; `more`: directives of the server.
fn nginx(listen: &str, more: &str) -> ConfiguredProgram {
    let says = "$server_protocol $connection $connection_requests";
    nginx_that_says(says, listen, more)
}

fn nginx_that_says(says: &str, listen: &str, more: &str) -> ConfiguredProgram {
    ConfiguredProgram::nginx(&format!(
        "server {{\n listen 127.0.0.1:@PORT@ {listen};\n server_name a.test;\n{more}\n\
         location / {{ return 200 '{says}'; }}\n}}",
    ))
    .unwrap()
}

fn secured(files: &Files) -> String {
    let (certificate, key) = (files.path("server.pem"), files.path("server.key"));
    format!("ssl_certificate {certificate};\n ssl_certificate_key {key};")
}

/// Three requests of one client: what the backend says of each.
fn said(config: &Config) -> [String; 3] {
    let process = config.start();
    let mut client = RawClient::connect(process.listener("web")).unwrap();
    let answers = [(); 3].map(|()| get_on(&mut client, "/").text());
    wait_for_cause(&process, "completed", 3);
    answers
}

/// All came as `version` over one connection, one after the other.
fn check_said(config: &Config, version: &str) {
    let answers = said(config);
    let (_, connection) = answers[0].split_once(' ').unwrap();
    let (connection, _) = connection.split_once(' ').unwrap();
    let expected = [1, 2, 3].map(|count| format!("{version} {connection} {count}"));
    assert_eq!(answers, expected);
}

#[test]
fn nginx_in_the_clear() {
    if !is_here("nginx") {
        return;
    }
    let nginx = nginx("http2", "");
    let config = Config::http(&[nginx.addr()]).with_pool("protocol: h2");
    check_said(&config, "HTTP/2.0");
}

#[test]
fn nginx_under_tls_agrees_on_what_both_speak() {
    if !is_here("nginx") {
        return;
    }
    let files = Files::new();
    let trusted = files.trusted("server_name: a.test");
    for (listen, protocol, version) in [
        ("ssl http2", "h2", "HTTP/2.0"),
        ("ssl http2", "auto", "HTTP/2.0"),
        ("ssl", "auto", "HTTP/1.1"),
    ] {
        let nginx = nginx(listen, &secured(&files));
        let config = Config::http(&[nginx.addr()])
            .with_pool(&trusted)
            .with_pool(&format!("protocol: {protocol}"));
        check_said(&config, version);
    }
}

/// It was asked for, and HTTP/1.1 is not what the operator wants.
#[test]
fn a_backend_under_tls_that_does_not_take_http2_is_not_used() {
    if !is_here("nginx") {
        return;
    }
    let files = Files::new();
    let nginx = nginx("ssl", &secured(&files));
    let config = Config::http(&[nginx.addr()])
        .with_pool(&files.trusted("server_name: a.test"))
        .with_pool("protocol: h2");
    let process = config.start();
    let mut client = RawClient::connect(process.listener("web")).unwrap();
    assert_eq!(get_on(&mut client, "/").status, 502);
}

/// A backend takes all streams of a connection for those of the client that its PROXY header names.
#[test]
fn a_connection_that_names_its_client_carries_nobody_else() {
    if !is_here("nginx") {
        return;
    }
    let says = "$server_protocol $proxy_protocol_addr:$proxy_protocol_port $connection";
    let nginx = nginx_that_says(says, "http2 proxy_protocol", "");
    for version in ["v1", "v2"] {
        let process = Config::http(&[nginx.addr()])
            .with_pool("protocol: h2")
            .with_pool(&format!("send_proxy: {version}"))
            .start();
        let web = process.listener("web");
        let connect = |address: &str| RawClient::connect_from(address.parse().unwrap(), web);
        let mut clients = ["127.0.0.3", "127.0.0.4"].map(|one| connect(one).unwrap());
        let mut asked = || {
            clients.each_mut().map(|client| {
                let text = get_on(client, "/").text();
                let (seen, connection) = text.rsplit_once(' ').unwrap();
                let address = client.local_addr().unwrap();
                assert_eq!(seen, format!("HTTP/2.0 {address}"), "{version}");
                connection.to_owned()
            })
        };
        let connections = asked();
        assert_ne!(connections[0], connections[1], "{version}");
        assert_eq!(asked(), connections, "{version}: each has its own");
    }
}

#[test]
fn probes_speak_what_requests_speak() {
    if !is_here("nginx") {
        return;
    }
    let files = Files::new();
    let with_http2 = nginx("ssl http2", &secured(&files));
    let without = nginx("ssl", &secured(&files));
    let in_the_clear = nginx("http2", "");
    let probes = "health_check: { path: /up, interval: 20ms, unhealthy_threshold: 1 }";
    let config = Config::http(&[with_http2.addr(), without.addr()])
        .with_pool(&files.trusted("server_name: a.test"))
        .with_pool("protocol: h2")
        .with_pool(probes);
    let process = config.start();
    let health = |process: &_, name: &str| backend(process, name)["health"]["state"].clone();
    wait_until(|| health(&process, "a") == "healthy", "with HTTP/2");
    wait_until(|| health(&process, "b") == "unhealthy", "without");
    let config = Config::http(&[in_the_clear.addr()])
        .with_pool("protocol: h2")
        .with_pool(probes);
    let process = config.start();
    let probed = || backend(&process, "a")["health"]["reason"] == "the probe succeeded";
    wait_until(probed, "in the clear");
}

#[test]
fn apache_sends_a_large_file_and_refuses_a_large_body() {
    if !is_here("apache2") {
        return;
    }
    let files = Files::new();
    let content = "0123456789abcde\n".repeat(200_000);
    files.write("large.txt", &content);
    let folder = files.folder.path().display().to_string();
    files.write(
        "apache.conf",
        &format!(
            "ServerRoot /usr/lib/apache2\nServerName a.test\nPidFile {folder}/pid\nDefaultRuntimeDir {folder}\n\
             ErrorLog {folder}/error.log\nLoadModule mpm_event_module modules/mod_mpm_event.so\n\
             LoadModule authz_core_module modules/mod_authz_core.so\nLoadModule http2_module modules/mod_http2.so\n\
             Protocols h2c http/1.1\nStartServers 1\nServerLimit 1\nThreadsPerChild 8\n\
             MaxRequestWorkers 8\nMinSpareThreads 1\nMaxSpareThreads 8\nDocumentRoot {folder}\n\
             <Directory {folder}>\nRequire all granted\n</Directory>\n"
        ),
    );
    let config = files.path("apache.conf");
    let arguments = [
        "-f",
        &config,
        "-DFOREGROUND",
        "-C",
        "Listen 127.0.0.1:@PORT@",
    ];
    let apache = ConfiguredProgram::with_arguments("apache2", &arguments).unwrap();
    let config = Config::http(&[apache.addr()]).with_pool("protocol: h2");
    let process = config.start();
    let mut client = RawClient::connect(process.listener("web")).unwrap();
    let got = get_on(&mut client, "/large.txt");
    assert_eq!((got.status, got.body.len()), (200, content.len()));
    assert!(got.text() == content);
    // Nobody wants the body: what is answered early leaves the connection to the backend as it was.
    let length = content.len();
    let head =
        format!("POST /large.txt HTTP/1.1\r\nHost: a.test\r\nContent-Length: {length}\r\n\r\n");
    let answer = client.exchange(format!("{head}{content}")).unwrap();
    assert!(matches!(answer.status, 200 | 405), "{}", answer.status);
    if !answer.keeps_alive() {
        client = RawClient::connect(process.listener("web")).unwrap();
    }
    assert_eq!(get_on(&mut client, "/large.txt").body.len(), content.len());
}

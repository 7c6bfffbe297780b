//! Programs that people run as TLS backends.

use balance_testkit::{ConfiguredProgram, RawClient};

use crate::programs::is_here;
use crate::subject::{Config, get_on, wait_for_cause};
use crate::tls::Files;

/// What a backend says about the TLS of two requests, which come over different connections.
fn said(files: &Files, backend: &ConfiguredProgram, more: &str) -> [String; 2] {
    let tls = files.trusted(&format!("server_name: a.test{more}"));
    let config = Config::http(&[backend.addr()]).with_pool(&tls);
    let process = config.start();
    let mut client = RawClient::connect(process.listener("web")).unwrap();
    let answers = [(); 2].map(|()| get_on(&mut client, "/").text());
    wait_for_cause(&process, "completed", 2);
    answers
}

#[test]
fn nginx_resumes_sessions_and_takes_our_certificate() {
    if !is_here("nginx") {
        return;
    }
    let files = Files::new();
    files.issue("us", &["us.test"]);
    let nginx = ConfiguredProgram::nginx(&format!(
        "server {{\n listen 127.0.0.1:@PORT@ ssl;\n server_name a.test;\n ssl_protocols TLSv1.2 TLSv1.3;\n keepalive_requests 1;\n\
         ssl_certificate {};\n ssl_certificate_key {};\n\
         ssl_verify_client on;\n ssl_client_certificate {};\n\
         ssl_session_cache shared:s:1m;\n\
         location / {{ return 200 '$ssl_protocol $ssl_session_reused $ssl_server_name $ssl_client_verify'; }}\n}}",
        files.path("server.pem"),
        files.path("server.key"),
        files.path("ca.pem"),
    ))
    .unwrap();
    let shown = files.shown("us");
    for (more, version) in [("", "TLSv1.3"), (", max_version: '1.2'", "TLSv1.2")] {
        let answers = said(&files, &nginx, &format!(", {shown}{more}"));
        assert_eq!(answers[0], format!("{version} . a.test SUCCESS"));
        assert_eq!(answers[1], format!("{version} r a.test SUCCESS"));
    }
}

#[test]
fn openssl_that_demands_a_certificate_is_served() {
    if !is_here("openssl") {
        return;
    }
    let files = Files::new();
    files.issue("us", &["us.test"]);
    let (certificate, key) = (files.path("server.pem"), files.path("server.key"));
    let authority = files.path("ca.pem");
    let arguments = [
        "s_server",
        "-www",
        "-accept",
        "127.0.0.1:@PORT@",
        "-cert",
        &certificate,
        "-key",
        &key,
        "-CAfile",
        &authority,
        "-Verify",
        "1",
        "-verify_return_error",
    ];
    let server = ConfiguredProgram::with_arguments("openssl", &arguments).unwrap();
    let shown = format!(", {}", files.shown("us"));
    for answer in said(&files, &server, &shown) {
        assert!(answer.contains("Client certificate"), "{answer}");
    }
    let config = Config::http(&[server.addr()]).with_pool(&files.trusted(""));
    let process = config.start();
    let mut client = RawClient::connect(process.listener("web")).unwrap();
    assert_eq!(get_on(&mut client, "/").status, 502);
    wait_for_cause(&process, "tls_certificate_error", 1);
}

#[test]
fn apache_serves_over_a_connection_that_is_kept() {
    if !is_here("apache2") {
        return;
    }
    let files = Files::new();
    files.write("index.html", "from apache");
    let folder = files.folder.path().display().to_string();
    let (certificate, key) = (files.path("server.pem"), files.path("server.key"));
    files.write(
        "apache.conf",
        &format!(
            "ServerRoot /usr/lib/apache2\nServerName a.test\nPidFile {folder}/pid\nDefaultRuntimeDir {folder}\n\
             ErrorLog {folder}/error.log\nLoadModule mpm_event_module modules/mod_mpm_event.so\n\
             LoadModule authz_core_module modules/mod_authz_core.so\nLoadModule dir_module modules/mod_dir.so\n\
             LoadModule ssl_module modules/mod_ssl.so\nStartServers 1\nServerLimit 1\nThreadsPerChild 8\n\
             MaxRequestWorkers 8\nMinSpareThreads 1\nMaxSpareThreads 8\nDocumentRoot {folder}\nDirectoryIndex index.html\n\
             <Directory {folder}>\nRequire all granted\n</Directory>\n\
             SSLEngine on\nSSLCertificateFile {certificate}\nSSLCertificateKeyFile {key}\n"
        ),
    );
    let config = files.path("apache.conf");
    let listen = "Listen 127.0.0.1:@PORT@";
    let arguments = ["-f", &config, "-DFOREGROUND", "-C", listen];
    let apache = ConfiguredProgram::with_arguments("apache2", &arguments).unwrap();
    assert_eq!(said(&files, &apache, ""), ["from apache", "from apache"]);
}

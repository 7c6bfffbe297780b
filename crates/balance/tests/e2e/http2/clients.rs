//! Clients that people use: curl, nghttp, h2load, Node and Python's h2.

use balance_testkit::{Origin, Script, TempDir};

use crate::programs::{is_here, python_with, run};
use crate::subject::Config;
use crate::tls::{Files, said};

fn origin() -> Origin {
    Origin::start(|request| match request.target.as_str() {
        "/echo" => Script::echo(),
        "/large" => Script::ok(vec![b'l'; 3_000_000]),
        _ => Script::ok("here"),
    })
}

#[test]
fn curl_speaks_http2_in_the_clear_and_under_tls() {
    if !is_here("curl") {
        return;
    }
    let origin = origin();
    let process = Config::http(&[origin.addr()]).start();
    let folder = TempDir::new("curl-h2").unwrap();
    let upload = folder.path().join("upload");
    std::fs::write(&upload, vec![b'u'; 2_000_000]).unwrap();
    let upload = format!("@{}", upload.display());
    let write = "%{http_version} %{http_code} %{size_download}";
    let asks = |rest: &[&'static str]| {
        let common = [
            "--silent",
            "--show-error",
            "--max-time",
            "60",
            "--noproxy",
            "*",
        ];
        let common = common
            .into_iter()
            .chain(["--output", "/dev/null", "--write-out", write]);
        common.chain(rest.iter().copied()).collect::<Vec<_>>()
    };
    let web = process.listener("web");
    let knows = asks(&["--http2-prior-knowledge"]);
    let url = |path: &str| format!("http://{web}{path}");
    for (args, path, expected) in [
        (&[][..], "/", "2 200 4"),
        (&[], "/large", "2 200 3000000"),
        (&["--head"], "/", "2 200 0"),
        (&["--data-binary", &upload], "/echo", "2 200 2000000"),
    ] {
        let text = run("curl", &[&knows[..], args, &[url(path).as_str()]].concat());
        assert_eq!(text, expected, "{args:?} {path}");
    }
    // Upgrade: h2c is not taken (RFC 9113 §3.1 has removed it): HTTP/1.1 goes on.
    let text = run(
        "curl",
        &[&asks(&["--http2"])[..], &[url("/").as_str()]].concat(),
    );
    assert_eq!(text, "1.1 200 4");

    let files = Files::new();
    let process = files.secured(Config::http(&[origin.addr()])).start();
    let web = process.listener("web");
    for (args, expected) in [(&["--http2"][..], "2 200 4"), (&["--http1.1"], "1.1 200 4")] {
        let args = [
            args,
            &[
                "--output",
                "/dev/null",
                "--write-out",
                write,
                "https://a.test/",
            ],
        ];
        assert_eq!(said(&files.curl(web, &args.concat())), expected);
    }
    let process = files
        .secured(Config::http(&[origin.addr()]))
        .with("http: { enable_http2: false }")
        .start();
    let args = [
        "--http2",
        "--output",
        "/dev/null",
        "--write-out",
        write,
        "https://a.test/",
    ];
    assert_eq!(
        said(&files.curl(process.listener("web"), &args)),
        "1.1 200 4"
    );
    assert!(origin.violations().is_empty());
}

#[test]
fn h2load_and_nghttp_lose_nothing() {
    if !is_here("h2load") || !is_here("nghttp") {
        return;
    }
    let origin = origin();
    let process = Config::http(&[origin.addr()]).start();
    let url = format!("http://{}", process.listener("web"));
    for args in [
        &["-n", "2000", "-c", "8", "-m", "16"][..],
        &["-n", "2000", "-c", "1", "-m", "100"],
        &["-n", "500", "-c", "50", "-m", "1"],
    ] {
        let text = run("h2load", &[args, &[&url]].concat());
        let count = args[1];
        let expected = format!("{count} succeeded, 0 failed, 0 errored, 0 timeout");
        assert!(text.contains(&expected), "{args:?}:\n{text}");
    }
    let large = format!("{url}/large");
    let text = run("nghttp", &["-nvy", "-m", "3", &large]);
    assert_eq!(text.matches(":status: 200").count(), 3, "{text}");

    let files = Files::new();
    let process = files.secured(Config::http(&[origin.addr()])).start();
    let url = format!("https://{}", process.listener("web"));
    let text = run("h2load", &["-n", "2000", "-c", "8", "-m", "16", &url]);
    assert!(text.contains("2000 succeeded, 0 failed"), "{text}");
    assert!(text.contains("Application protocol: h2"), "{text}");
}

#[test]
fn node_asks_side_by_side_and_cancels() {
    if !is_here("node") {
        return;
    }
    let origin = origin();
    let process = Config::http(&[origin.addr()]).start();
    let url = format!("http://{}", process.listener("web"));
    let script = r#"
        const client = require('http2').connect(process.argv[1]);
        const ask = (path, body) => new Promise((done, fail) => {
            const stream = client.request({ ':path': path, ':method': body ? 'POST' : 'GET' });
            let length = 0;
            stream.on('data', (piece) => { length += piece.length; });
            stream.on('end', () => done(length));
            stream.on('error', fail);
            stream.end(body);
        });
        const cancelled = client.request({ ':path': '/large' });
        cancelled.on('response', () => cancelled.close(8));
        const all = [];
        for (let i = 0; i < 50; i++) all.push(ask('/'), ask('/echo', Buffer.alloc(70000)));
        all.push(ask('/large'));
        Promise.all(all).then((lengths) => {
            console.log(lengths.reduce((sum, length) => sum + length, 0));
            client.close();
        });
    "#;
    let text = run("node", &["-e", script, &url]);
    let expected = 50 * (4 + 70_000) + 3_000_000;
    assert_eq!(text.trim(), expected.to_string());
}

#[test]
fn python_h2_takes_our_frames() {
    let Some(mut python) = python_with("h2") else {
        return;
    };
    let origin = origin();
    let process = Config::http(&[origin.addr()]).start();
    let script = r#"
import socket, sys, h2.connection, h2.events
connection = h2.connection.H2Connection()
connection.initiate_connection()
peer = socket.create_connection((sys.argv[1], int(sys.argv[2])), 30)
for stream in range(1, 21, 2):
    connection.send_headers(stream, [(":method", "GET"), (":scheme", "http"), (":path", "/large"),
        (":authority", "test"), ("cookie", "a=1"), ("cookie", "b=2")], end_stream=True)
ended, received = 0, 0
while ended < 10:
    peer.sendall(connection.data_to_send())
    for event in connection.receive_data(peer.recv(65536)):
        if isinstance(event, h2.events.DataReceived):
            received += len(event.data)
            connection.acknowledge_received_data(event.flow_controlled_length, event.stream_id)
        elif isinstance(event, h2.events.StreamEnded):
            ended += 1
        elif isinstance(event, (h2.events.StreamReset, h2.events.ConnectionTerminated)):
            sys.exit(str(event))
print(received)
"#;
    let web = process.listener("web");
    let output = python
        .args(["-c", script, &web.ip().to_string(), &web.port().to_string()])
        .output()
        .unwrap();
    assert_eq!(said(&output).trim(), "30000000");
    let requests = origin.requests();
    // RFC 9113 §8.2.3: one line for HTTP/1.
    assert_eq!(requests[0].header("cookie"), Some("a=1; b=2"));
}

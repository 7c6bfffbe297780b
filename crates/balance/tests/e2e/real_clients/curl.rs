//! curl: uploads, ranges, HEAD, 100-continue, keep-alive, HTTP/1.0.

use std::net::SocketAddr;

use balance_testkit::{EchoServer, Origin, Process, Program, RealOrigin, Script, TempDir};

use crate::programs::{is_here, run};
use crate::subject::Config;

/// Node behind Balance: it echoes and serves files.
fn start() -> Option<(RealOrigin, Process, SocketAddr)> {
    if !is_here("curl") || !is_here("node") {
        return None;
    }
    let origin = RealOrigin::start(Program::Node).unwrap();
    let process = Config::http(&[origin.addr()]).start();
    let web = process.listener("web");
    Some((origin, process, web))
}

/// Runs curl, silent but for errors, and returns its standard output.
#[track_caller]
fn curl(args: &[&str]) -> String {
    let first = [
        "--silent",
        "--show-error",
        "--max-time",
        "30",
        "--noproxy",
        "*",
    ];
    run("curl", &[&first, args].concat())
}

#[test]
fn large_uploads_come_back_as_they_were() {
    let Some((_origin, _process, web)) = start() else {
        return;
    };
    let folder = TempDir::new("curl").unwrap();
    let bytes = EchoServer::pattern(20_000_000);
    let file = folder.write("upload.bin", &bytes).unwrap();
    let back = folder.path().join("back.bin");
    let (file, back) = (file.to_str().unwrap(), back.to_str().unwrap());
    let url = format!("http://{web}/echo");
    let data = format!("@{file}");
    let forms: [&[&str]; 3] = [
        // With Content-Length, and Expect: 100-continue as curl does it with large bodies.
        &["--data-binary", &data],
        &["--data-binary", &data, "--header", "Expect:"],
        &[
            "--data-binary",
            &data,
            "--header",
            "Transfer-Encoding: chunked",
        ],
    ];
    for form in forms {
        let said = curl(
            &[
                form,
                &[
                    "--output",
                    back,
                    "--write-out",
                    "%{http_code} %{size_upload}",
                    &url,
                ],
            ]
            .concat(),
        );
        assert!(said.starts_with("200 "), "{form:?}: {said}");
        assert!(std::fs::read(back).unwrap() == bytes, "{form:?}");
    }
    let said = curl(&[
        "--upload-file",
        file,
        "--output",
        back,
        "--write-out",
        "%{http_code}",
        &url,
    ]);
    assert_eq!(said, "200");
    assert!(std::fs::read(back).unwrap() == bytes);
}

#[test]
fn a_refused_upload_is_not_sent() {
    if !is_here("curl") {
        return;
    }
    let origin = Origin::answering(Script::status(403).early().without_continue());
    let process = Config::http(&[origin.addr()]).start();
    let folder = TempDir::new("curl").unwrap();
    let file = folder.write("upload.bin", vec![b'x'; 5_000_000]).unwrap();
    let data = format!("@{}", file.display());
    let url = format!("http://{}/", process.listener("web"));
    let said = curl(&[
        "--data-binary",
        &data,
        "--header",
        "Expect: 100-continue",
        "--expect100-timeout",
        "20",
        "--write-out",
        "%{http_code} %{size_upload}",
        &url,
    ]);
    assert_eq!(said, "403 0");
}

#[test]
fn two_urls_share_a_connection() {
    let Some((_origin, _process, web)) = start() else {
        return;
    };
    let small = format!("http://{web}/small.txt");
    let said = curl(&[
        "--output",
        "/dev/null",
        "--output",
        "/dev/null",
        "--write-out",
        "%{num_connects} ",
        &small,
        &small,
    ]);
    assert_eq!(said, "1 0 ");
    let chunked = format!("http://{web}/chunked");
    assert_eq!(
        curl(&[&chunked, &small, &chunked]),
        "one two\na small file\none two\n"
    );
}

#[test]
fn head_and_old_versions_work() {
    let Some((_origin, _process, web)) = start() else {
        return;
    };
    let small = format!("http://{web}/small.txt");
    let head = curl(&["--head", &small]);
    assert!(head.starts_with("HTTP/1.1 200 "), "{head}");
    assert_eq!(curl(&["--http1.0", &small]), RealOrigin::SMALL);
    let chunked = format!("http://{web}/chunked");
    assert_eq!(curl(&["--http1.0", &chunked]), "one two\n");
    let version = "%{http_version} %{http_code}";
    let said = curl(&[
        "--output",
        "/dev/null",
        "--write-out",
        version,
        &format!("http://{web}/nothing"),
    ]);
    assert_eq!(said, "1.1 404");
}

#[test]
fn ranges_and_resumed_downloads_work() {
    if !is_here("curl") || !is_here("nginx") {
        return;
    }
    let origin = RealOrigin::start(Program::Nginx).unwrap();
    let process = Config::http(&[origin.addr()]).start();
    let large = format!("http://{}/large.bin", process.listener("web"));
    let folder = TempDir::new("curl").unwrap();
    let bytes = EchoServer::pattern(RealOrigin::LARGE_BYTES);
    let half = folder.write("half.bin", &bytes[..1_234_567]).unwrap();
    let half = half.to_str().unwrap();
    curl(&["--continue-at", "-", "--output", half, &large]);
    assert!(std::fs::read(half).unwrap() == bytes);
    let said = curl(&[
        "--range",
        "100-199",
        "--output",
        half,
        "--write-out",
        "%{http_code}",
        &large,
    ]);
    assert_eq!(said, "206");
    assert!(std::fs::read(half).unwrap() == bytes[100..200]);
}

//! The access log: what a line says, in both formats, and that it can be moved away.

use std::path::Path;

use balance_testkit::{Origin, RawClient, Script, Signal, TempDir};
use serde_json::Value;

use crate::subject::{Config, dead_address, get, wait_until};

/// Waits until the file has so many lines and returns them.
fn lines(file: &Path, count: usize) -> Vec<String> {
    let read = || {
        let text = std::fs::read_to_string(file).unwrap_or_default();
        let lines = text
            .split_inclusive('\n')
            .filter(|line| line.ends_with('\n'));
        lines
            .map(|line| line.trim_end().to_owned())
            .collect::<Vec<_>>()
    };
    wait_until(|| read().len() >= count, "the lines of the access log");
    let lines = read();
    assert_eq!(lines.len(), count, "{lines:#?}");
    lines
}

const ROUTES: &str = "routes:\n\
    - { name: dead, match: { path: /dead }, pool: q }\n\
    - { name: all, match: { path_prefix: /a }, pool: p }\n";

/// Two pools, one of them dead, and nothing for what no route matches.
fn config(origin: &Origin, log: &Path, format: &str) -> Config {
    let (dead, log) = (dead_address(), log.display());
    let config = Config::http(&[origin.addr()]).with(&format!(
        "{ROUTES}logging: {{ format: {format}, access_log: '{log}' }}"
    ));
    Config {
        pools: format!("  q: {{ backends: [ {{ name: d, address: '{dead}' }} ] }}\n"),
        listener: "routes: [dead, all]".to_owned(),
        ..config
    }
}

#[test]
fn json_lines_name_everything_and_the_cause() {
    let origin = Origin::answering(Script::ok("12345"));
    let folder = TempDir::new("log").unwrap();
    let file = folder.path().join("access.log");
    let mut process = config(&origin, &file, "json").start();
    // In a JSON log the addresses are events too.
    let line = process.wait_for_stderr(|line| line.contains("\"web\""));
    let event: Value = serde_json::from_str(&line).unwrap();
    let web = event["address"].as_str().unwrap().parse().unwrap();

    let mut client = RawClient::connect(web).unwrap();
    let ok = "GET /a?x=1 HTTP/1.1\r\nHost: Example.test\r\n\r\n";
    assert_eq!(client.exchange(ok).unwrap().status, 200);
    assert_eq!(get(web, "/dead").status, 502);
    assert_eq!(get(web, "/nothing").status, 404);
    let mut broken = RawClient::connect(web).unwrap();
    let bad = "GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n";
    assert_eq!(broken.exchange(bad).unwrap().status, 400);
    assert_eq!(process.terminate().code(), Some(0));

    let lines = lines(&file, 4);
    let lines: Vec<Value> = lines
        .iter()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    let first = &lines[0];
    for (key, value) in [
        ("client", "127.0.0.1"),
        ("listener", "web"),
        ("route", "all"),
        ("pool", "p"),
        ("backend", "a"),
        ("method", "GET"),
        ("path", "/a?x=1"),
        ("protocol", "HTTP/1.1"),
        ("cause", "completed"),
    ] {
        assert_eq!(first[key], value, "{first:#}");
    }
    assert!(
        first["host"]
            .as_str()
            .unwrap()
            .eq_ignore_ascii_case("example.test")
    );
    assert_eq!(
        (&first["status"], &first["attempts"]),
        (&200.into(), &1.into())
    );
    assert_eq!(first["bytes_in"], ok.len());
    assert!(first["bytes_out"].as_u64().unwrap() > 5);
    let seen = &origin.requests()[0];
    assert_eq!(first["request_id"].as_str(), seen.header("x-request-id"));
    for time in ["duration", "connect", "first_byte", "total"] {
        assert!(first[time].as_f64().unwrap() > 0.0, "{time}: {first:#}");
    }
    assert!(first["tls"].is_null(), "{first:#}");

    let causes = lines
        .iter()
        .map(|line| (line["status"].clone(), line["cause"].clone()));
    let expected = [
        (200, "completed"),
        (502, "connection_refused"),
        (404, "no_route"),
        (400, "http_request_error"),
    ];
    let expected = expected.map(|(status, cause)| (Value::from(status), Value::from(cause)));
    assert_eq!(causes.collect::<Vec<_>>(), expected);
    assert_eq!(lines[2]["route"], "");
    assert_eq!(lines[2]["attempts"], 0);
}

#[test]
fn text_lines_are_the_combined_format_and_more_and_cannot_be_forged() {
    let origin = Origin::answering(Script::ok("12345"));
    let folder = TempDir::new("log").unwrap();
    let file = folder.path().join("access.log");
    let mut process = config(&origin, &file, "text").start();
    let web = process.listener("web");
    let mut client = RawClient::connect(web).unwrap();
    let request = "GET /a HTTP/1.1\r\nHost: example.test\r\nReferer: http://r.test/\r\n\
                   User-Agent: a \"quoted\" \\ agent cause=completed\r\n\r\n";
    assert_eq!(client.exchange(request).unwrap().status, 200);
    assert_eq!(process.terminate().code(), Some(0));

    let line = &lines(&file, 1)[0];
    assert!(line.starts_with("127.0.0.1 - - ["), "{line}");
    for part in [
        "] \"GET /a HTTP/1.1\" 200 ",
        " \"http://r.test/\" \"",
        " host=example.test listener=web route=all pool=p backend=a cause=completed request_id=",
        " attempts=1 duration=",
    ] {
        assert!(line.contains(part), "`{part}` is missing in {line}");
    }
    assert!(!line.contains("a \"quoted\""), "{line}");
}

#[test]
fn a_moved_log_is_written_until_the_signal_and_a_new_one_after_it() {
    let origin = Origin::answering(Script::ok("x"));
    let folder = TempDir::new("log").unwrap();
    let (file, moved) = (
        folder.path().join("access.log"),
        folder.path().join("moved.log"),
    );
    let config = Config::http(&[origin.addr()])
        .with(&format!("logging: {{ access_log: '{}' }}", file.display()));
    let process = config.start();
    let web = process.listener("web");
    get(web, "/1");
    lines(&file, 1);
    std::fs::rename(&file, &moved).unwrap();
    get(web, "/2");
    assert!(lines(&moved, 2)[1].contains("/2 "));
    assert!(!file.exists());

    process.signal(Signal::User1).unwrap();
    process.wait_for_stderr(|line| line.contains("opened anew"));
    wait_until(|| file.exists(), "the new file");
    get(web, "/3");
    assert!(lines(&file, 1)[0].contains("/3 "));
    assert_eq!(lines(&moved, 2).len(), 2);
}

#[test]
fn the_log_on_standard_output_is_complete_after_a_stop() {
    let origin = Origin::answering(Script::ok("x"));
    let config = Config::http(&[origin.addr()]).with("logging: { access_log: true }");
    let mut process = config.start();
    let mut client = RawClient::connect(process.listener("web")).unwrap();
    for _ in 0..300 {
        crate::subject::get_on(&mut client, "/");
    }
    assert_eq!(process.terminate().code(), Some(0));
    let lines = process.stdout().lines().count();
    assert_eq!(lines, 300, "{}", process.stdout());
}

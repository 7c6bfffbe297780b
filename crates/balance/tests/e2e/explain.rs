//! `balance explain` against what the running proxy really does.

mod agreement;

use std::net::SocketAddr;
use std::path::Path;
use std::process::Output;

use balance_testkit::{EchoServer, Origin, PeerMode, Process, RawClient, Script, TempDir};
use serde_json::{Value, json};

use crate::subject::{
    Config, balance, check_output, dead_address, get, json as body_of, reload, text_of,
};

/// Asks the process; `what` are the arguments after `explain`.
pub(crate) fn explain(process: &Process, what: &[&str]) -> Output {
    let config = process.config_path();
    let args = [
        &["explain", "--admin", "-c", config.to_str().unwrap()],
        what,
    ]
    .concat();
    balance(&args, process.directory())
}

/// The same as JSON, which must have an answer.
#[track_caller]
pub(crate) fn explained(process: &Process, what: &[&str]) -> Value {
    let output = explain(process, &[&["--format", "json"], what].concat());
    let answer = serde_json::from_slice(&output.stdout);
    assert!(answer.is_ok(), "{}", text_of(&output));
    answer.unwrap()
}

fn url(process: &Process, path: &str) -> String {
    format!("http://{}{path}", process.listener("web"))
}

#[test]
fn the_exit_code_tells_how_it_ends() {
    let process = Config {
        listener: "routes: [moved, all]".to_owned(),
        ..Config::http(&[dead_address()])
    }
    .with(
        "routes:\n- { name: moved, match: { path: /old }, redirect: { path: /new } }\n\
         - { name: all, match: { path_prefix: /a }, pool: p }",
    )
    .start();
    let check = |path: &str, code, part: &str| {
        let output = explain(&process, &["GET", &url(&process, path)]);
        check_output(&output, code, &[part]);
    };
    check("/a", 0, "\n→ would go to pool p, backend a (127.0.0.1:");
    check("/old", 0, "\n→ would be answered with 308 to http://");
    check(
        "/b",
        1,
        "\n→ would be refused: 404 no_route: no route matches\n",
    );
    check(
        "/a/../b",
        1,
        "\n→ would be refused: 400 http_request_error: ",
    );

    let refused = |args: &[&str], part: &str| check_output(&explain(&process, args), 2, &[part]);
    refused(
        &["GET", "/a", "--listener", "wep"],
        "there is no listener `wep`\n  web  http  127.0.0.1:",
    );
    refused(
        &["GET", "http://a.test:1/"],
        "no listener at port 1 speaks http",
    );
    refused(&["GET"], "`GET` is neither a URL nor a path");
    refused(&[], "say what to explain");
    refused(&["GET", "/a", "--from", "nowhere"], "nowhere");
}

#[test]
fn nobody_runs_and_a_bad_configuration_are_no_refusal() {
    let folder = TempDir::new("explain").unwrap();
    let config = Config::http(&[dead_address()]).yaml();
    let good = folder.write("good.yaml", &config).unwrap();
    let bad = config.replace("pool: p", "pool: q");
    let bad = folder.write("bad.yaml", bad).unwrap();
    let run = |file: &Path, more: &[&str]| {
        let args = [
            &["explain", "-c", file.to_str().unwrap(), "http://a.test/"],
            more,
        ]
        .concat();
        balance(&args, folder.path())
    };
    check_output(&run(&good, &[]), 0, &["not running", "states are unknown"]);
    check_output(&run(&good, &["--admin"]), 2, &["no Balance runs with"]);
    check_output(
        &run(&bad, &[]),
        2,
        &[
            "there is no pool `q`",
            "cannot be explained: 1 error in the configuration",
        ],
    );
}

/// The first YAML block is the configuration, each console block a command and all that it prints.
#[test]
fn the_document_shows_what_is_printed() {
    let document = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/explain.md");
    let document = std::fs::read_to_string(document).unwrap();
    let blocks = |kind: &str| -> Vec<String> {
        let fence = format!("```{kind}\n");
        let parts = document.split(&fence).skip(1);
        parts
            .map(|part| part.split("```").next().unwrap().to_owned())
            .collect()
    };
    let folder = TempDir::new("explain").unwrap();
    folder.write("balance.yaml", &blocks("yaml")[0]).unwrap();
    let shown = blocks("console");
    assert!(shown.len() >= 2);
    for block in shown {
        let (command, expected) = block.split_once('\n').unwrap();
        let command = command.strip_prefix("$ balance ").unwrap();
        // As the shell does: quotes keep words together.
        let mut words = vec![String::new()];
        for (index, part) in command.split('\'').enumerate() {
            for c in part.chars() {
                match c {
                    ' ' if index % 2 == 0 => words.push(String::new()),
                    c => words.last_mut().unwrap().push(c),
                }
            }
        }
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        let output = balance(&words, folder.path());
        assert_eq!(
            String::from_utf8_lossy(&output.stdout),
            expected,
            "{command}"
        );
    }
}

#[test]
fn states_of_backends_are_those_of_the_process() {
    let origin = Origin::answering(Script::ok("here"));
    let process = Config::http(&[dead_address(), origin.addr()]).start();
    let backends = |explained: &Value| {
        let list = explained["pool"]["backends"].as_array().unwrap().clone();
        list.into_iter()
            .map(|one| one["state"].clone())
            .collect::<Vec<_>>()
    };
    let before = explained(&process, &[&url(&process, "/")]);
    let fresh = json!({ "gate": "pickable", "rest_left_ms": 0, "failures": 0, "in_flight": 0 });
    assert_eq!(backends(&before), [fresh.clone(), fresh.clone()]);
    // Its turn, and then the other's when it cannot be reached.
    assert_eq!(before["pool"]["pick"]["backend"], "a");
    assert_eq!(before["pool"]["then"], json!(["b"]));

    assert_eq!(get(process.listener("web"), "/").text(), "here");
    let after = backends(&explained(&process, &[&url(&process, "/")]));
    assert_eq!(
        (&after[0]["gate"], &after[0]["failures"]),
        (&json!("resting"), &json!(1))
    );
    assert_eq!(after[1], fresh);
}

#[test]
fn a_backend_at_its_limit_is_told_and_asking_takes_no_place() {
    let origin = Origin::answering(Script::never());
    let mut config = Config::http(&[origin.addr()]);
    config.backends[0] = config.backends[0].replace(" }", ", max_connections: 1 }");
    let process = config.start();
    let ask = || explained(&process, &[&url(&process, "/")]);
    for _ in 0..3 {
        assert_eq!(ask()["verdict"]["outcome"], "forwarded");
    }
    let mut waiting = RawClient::connect(process.listener("web")).unwrap();
    waiting
        .send("GET / HTTP/1.1\r\nHost: a.test\r\n\r\n")
        .unwrap();
    origin.wait_for_heads(1);
    let full = ask();
    let backend = &full["pool"]["backends"][0];
    assert_eq!(backend["state"]["in_flight"], 1);
    assert_eq!(backend["excluded"], "it is at its max_connections");
    assert_eq!(full["answer"]["cause"], "connection_limit_reached");
    assert_eq!(
        get(process.listener("web"), "/").status,
        full["answer"]["status"]
    );
}

#[test]
fn a_reload_is_what_is_explained_from_then_on() {
    let origin = Origin::answering(Script::ok("here"));
    let config = Config::http(&[origin.addr()]);
    let process = config.start();
    let ask = || explained(&process, &[&url(&process, "/x")]);
    assert_eq!(ask()["routes"]["decided"], Value::Null);
    reload(
        &process,
        &config.with("routes:\n- { name: new, match: { path: /x }, respond: { status: 418 } }"),
    );
    let explained = ask();
    assert_eq!(explained["routes"]["decided"], "new");
    assert_eq!(explained["answer"]["status"], 418);
    assert_eq!(explained["source"]["generation"], 2);
    assert_eq!(get(process.listener("web"), "/x").status, 418);
}

#[test]
fn sessions_go_where_it_says() {
    let servers = [PeerMode::Echo, PeerMode::Echo].map(EchoServer::start);
    let process = Config::tcp(&[servers[0].addr(), servers[1].addr()]).start();
    let web = process.listener("web");
    for _ in 0..4 {
        let explained = explained(&process, &[&format!("tcp://{web}")]);
        let pick = explained["pool"]["pick"]["address"].as_str().unwrap();
        let server = servers
            .iter()
            .find(|server| server.addr().to_string() == pick);
        let server = server.unwrap();
        let before = server.sessions().len();
        let mut client = RawClient::connect(web).unwrap();
        client.send("x").unwrap();
        assert_eq!(client.read_exact(1).unwrap(), b"x");
        server.wait_for(before + 1);
    }
}

/// One POST to the admin listener.
fn post_question(admin: SocketAddr, question: &str, fields: &str) -> balance_testkit::Response {
    let mut client = RawClient::connect(admin).unwrap();
    let length = question.len();
    let head =
        format!("POST /explain HTTP/1.1\r\nHost: a\r\nContent-Length: {length}\r\n{fields}\r\n");
    client
        .exchange([head.as_bytes(), question.as_bytes()].concat())
        .unwrap()
}

#[test]
fn the_admin_api_answers_questions_as_json() {
    let process = Config::http(&[dead_address()]).start();
    let admin = process.listener("admin");
    let question =
        json!({ "url": "/x", "headers": ["Host: a.test"], "listener": "web" }).to_string();
    let answer = post_question(admin, &question, "");
    assert_eq!(answer.status, 200);
    let explained = body_of(&answer);
    assert_eq!(explained["request"]["path_and_query"], "/x");
    assert_eq!(explained["verdict"]["outcome"], "forwarded");

    let answer = post_question(admin, r#"{ "url": "http://a.test:1/" }"#, "");
    assert_eq!(answer.status, 422);
    assert!(
        answer.text().contains("no listener at port 1"),
        "{}",
        answer.text()
    );
    for garbage in ["", "[]", r#"{ "uri": "/x" }"#, r#"{ "url": 1 }"#] {
        let answer = post_question(admin, garbage, "");
        assert_eq!(answer.status, 400, "{garbage}");
    }
    // Refused while most of it is still to be sent, more than the kernels take: the answer arrives all the same.
    let huge = format!(r#"{{ "url": "/{}" }}"#, "x".repeat(32 << 20));
    assert_eq!(post_question(admin, &huge, "").status, 400);
    assert_eq!(
        post_question(admin, &huge, "Origin: https://evil.example\r\n").status,
        403
    );
    // A browser sends it on behalf of a page.
    assert_eq!(
        post_question(admin, &question, "Origin: https://evil.example\r\n").status,
        403
    );
    assert_eq!(get(admin, "/explain").status, 405);
}

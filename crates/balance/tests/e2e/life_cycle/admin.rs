//! The admin API: what it shows, and to whom.

use std::os::unix::fs::PermissionsExt;

use balance_testkit::{Origin, RawClient, Response, Script, TempDir};

use crate::subject::{Config, ask, check_output, get, json, metric, post, wait_for_cause};

fn origin() -> Origin {
    Origin::answering(Script::ok("here"))
}

#[test]
fn the_admin_api_shows_what_runs() {
    let origin = origin();
    let config = Config::http(&[origin.addr()])
        .with("routes:\n- { name: hi, match: { path: /hi }, respond: { status: 200, body: hi } }");
    let process = config.start();
    let (web, admin) = (process.listener("web"), process.listener("admin"));
    assert_eq!(get(web, "/hi").text(), "hi");
    for path in ["/health", "/healthz", "/ready", "/readyz"] {
        assert_eq!(get(admin, path).status, 200, "{path}");
    }
    let version = json(&get(admin, "/version"));
    assert_eq!(version["version"], env!("CARGO_PKG_VERSION"));
    let pools = json(&get(admin, "/pools"));
    let backend = &pools["pools"][0]["backends"][0];
    assert_eq!(backend["name"], "a");
    assert_eq!(backend["state"], "pickable");
    assert_eq!(backend["resolved"][0], origin.addr().to_string());
    let routes = json(&get(admin, "/routes"));
    assert_eq!(routes["routes"][0]["action"], "respond 200");
    let status = json(&get(admin, "/status"));
    assert_eq!(status["phase"], "ready");
    assert_eq!(status["pid"], process.pid());
    assert_eq!(status["listeners"][0]["address"], web.to_string());
    assert_eq!(json(&get(admin, "/config"))["settings"]["version"], 2);
    check_output(&ask(&process, "health"), 0, &["healthy"]);
}

#[test]
fn metrics_count_what_happened_by_the_names_of_the_configuration() {
    let origin = origin();
    let config = Config::http(&[origin.addr()])
        .with("routes:\n- { name: r, match: { path_prefix: /r/ }, pool: p }");
    let process = config.start();
    let web = process.listener("web");
    for path in ["/r/1", "/r/2", "/other"] {
        assert_eq!(get(web, path).status, 200);
    }
    let mut client = RawClient::connect(web).unwrap();
    let odd = "PURGE /r/3 HTTP/1.1\r\nHost: t\r\n\r\n";
    assert_eq!(client.exchange(odd).unwrap().status, 200);

    wait_for_cause(&process, "completed", 4);
    let text = get(process.listener("admin"), "/metrics").text();
    let labels = "listener=\"web\",route=\"r\",pool=\"p\"";
    for line in [
        format!("balance_http_requests_total{{{labels},method=\"GET\",status=\"200\"}} 2"),
        format!("balance_http_requests_total{{{labels},method=\"other\",status=\"200\"}} 1"),
        "balance_exchange_cause_total{cause=\"completed\"} 4".to_owned(),
        "balance_backend_requests_total{pool=\"p\",backend=\"a\"} 4".to_owned(),
        "balance_backend_healthy{pool=\"p\",backend=\"a\"} 1".to_owned(),
    ] {
        assert!(
            text.lines().any(|one| one == line),
            "{line} is missing in:\n{text}"
        );
    }
    for name in [
        "balance_build_info{",
        "process_resident_memory_bytes ",
        "process_open_fds ",
    ] {
        assert!(text.contains(name), "{name} is missing in:\n{text}");
    }
    assert!(metric(&process, "process_resident_memory_bytes") > 1e6);
}

fn get_as(process: &balance_testkit::Process, path: &str, authorization: &str) -> Response {
    let mut client = RawClient::connect(process.listener("admin")).unwrap();
    let request = format!(
        "GET {path} HTTP/1.1\r\nHost: t\r\nAuthorization: {authorization}\r\nConnection: close\r\n\r\n"
    );
    client.exchange(request).unwrap()
}

#[test]
fn a_token_opens_what_is_not_open_to_all() {
    let origin = origin();
    let folder = TempDir::new("token").unwrap();
    let token = folder.write("token", "secret\n").unwrap();
    let config = Config::http(&[origin.addr()]);
    let yaml = config.yaml().replace(
        "admin: { listen: '127.0.0.1:0' }",
        &format!(
            "admin: {{ listen: '127.0.0.1:0', token_file: '{}' }}",
            token.display()
        ),
    );
    let process = balance_testkit::Process::start(crate::subject::BINARY, &yaml).unwrap();
    let admin = process.listener("admin");
    for path in ["/health", "/ready", "/version", "/metrics"] {
        assert_eq!(get(admin, path).status, 200, "{path}");
    }
    for path in ["/status", "/pools", "/config", "/routes"] {
        let refused = get(admin, path);
        assert_eq!(refused.status, 401, "{path}");
        assert!(
            refused
                .header("www-authenticate")
                .unwrap()
                .starts_with("Bearer")
        );
        assert_eq!(get_as(&process, path, "Bearer wrong").status, 401, "{path}");
        assert_eq!(get_as(&process, path, "Basic secret").status, 401, "{path}");
        assert_eq!(
            get_as(&process, path, "Bearer secret").status,
            200,
            "{path}"
        );
    }
    assert_eq!(post(admin, "/reload").status, 401);
    // The command line comes over the socket, whose file says who may.
    check_output(&ask(&process, "reload"), 0, &["is in use"]);
    let text = json(&get_as(&process, "/config", "Bearer secret")).to_string();
    assert!(!text.contains("secret"), "{text}");
}

#[test]
fn what_is_not_there_or_not_allowed_is_said() {
    let origin = origin();
    let process = Config::http(&[origin.addr()]).start();
    let admin = process.listener("admin");
    assert_eq!(get(admin, "/nothing").status, 404);
    assert_eq!(get(admin, "/reload").status, 405);
    assert_eq!(post(admin, "/pools").status, 405);
    let mut page = RawClient::connect(admin).unwrap();
    let request =
        "POST /reload HTTP/1.1\r\nHost: t\r\nOrigin: http://page.test\r\nContent-Length: 0\r\n\r\n";
    assert_eq!(page.exchange(request).unwrap().status, 403);
    // The admin API is not reachable by way of the traffic's port.
    assert_eq!(get(process.listener("web"), "/pools").text(), "here");
}

#[test]
fn the_admin_socket_is_for_its_owner_alone() {
    let origin = origin();
    let process = Config::http(&[origin.addr()]).start();
    process.wait_for_stderr(|line| line == "ready");
    let folder = process.directory().join("balance");
    let sockets: Vec<_> = std::fs::read_dir(&folder).unwrap().collect();
    assert_eq!(sockets.len(), 1, "{sockets:?}");
    let socket = sockets[0].as_ref().unwrap();
    let mode = socket.metadata().unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
}

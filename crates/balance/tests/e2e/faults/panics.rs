//! A planted panic at each place where a connection's code runs (balance-proxy's `planted.rs`): it ends that
//! connection alone, is logged and counted, gives everything back, and the worker goes on.

#[cfg(debug_assertions)]
mod planted {
    use std::io::ErrorKind;
    use std::net::SocketAddr;

    use balance_testkit::{
        EchoServer, Origin, PeerMode, Process, ProcessOptions, RawClient, Script, StrictError,
        TempDir,
    };

    use crate::subject::{BINARY, Config, cause, get, get_on, metric, wait_until};

    /// Starts Balance with panics planted at these places. Its access log is in its directory.
    fn start(config: Config, places: &str) -> (Process, TempDir) {
        let log = TempDir::new("panics").unwrap();
        let file = log.path().join("access.log");
        let config = config.with(&format!("logging: {{ access_log: '{}' }}", file.display()));
        let options = ProcessOptions {
            environment: vec![("BALANCE_PLANTED_PANICS".to_owned(), places.to_owned())],
            ..ProcessOptions::default()
        };
        let process = Process::with_options(BINARY, &config.yaml(), &options).unwrap();
        (process, log)
    }

    fn origin() -> Origin {
        Origin::start(|request| match request.target.as_str() {
            "/ws" => Script::upgrade("websocket"),
            // In two pieces, so that a part of the body comes after the head.
            _ => Script::ok(vec![b'x'; 400_000]),
        })
    }

    /// The lines of the access log with this cause.
    fn logged(log: &TempDir, cause: &str) -> Vec<String> {
        let text = std::fs::read_to_string(log.path().join("access.log")).unwrap();
        let cause = format!(" cause={cause} ");
        let lines = text.lines().filter(|line| line.contains(&cause));
        lines.map(str::to_owned).collect()
    }

    fn ask(web: SocketAddr, place: &str) -> Result<balance_testkit::Response, StrictError> {
        let (line, more, body) = match place {
            "tunnel" => (
                "GET /ws",
                "Connection: Upgrade\r\nUpgrade: websocket\r\n",
                "",
            ),
            "upload" => ("POST /panic", "Content-Length: 5\r\n", "hello"),
            _ => ("GET /panic", "", ""),
        };
        let request = format!(
            "{line} HTTP/1.1\r\nHost: test\r\n{more}X-Planted-Panic: {place}\r\n\r\n{body}"
        );
        RawClient::connect(web).unwrap().exchange(request)
    }

    #[test]
    fn a_panic_ends_its_connection_alone() {
        let origin = origin();
        // Each with whether it was an exchange by then, which has its line in the log.
        let places = [
            ("accept", false),
            ("head", false),
            ("route", true),
            ("upload", true),
            ("response-head", true),
            ("response-body", true),
            ("tunnel", true),
        ];
        let names = places.map(|(place, _)| place).join(",");
        let (process, log) = start(Config::http(&[origin.addr()]), &names);
        let web = process.listener("web");
        let mut neighbour = RawClient::connect(web).unwrap();
        assert_eq!(get_on(&mut neighbour, "/").status, 200);
        let (mut panics, mut exchanges) = (0, 0);
        for (place, is_exchange) in places {
            for _ in 0..2 {
                let answer = ask(web, place);
                // A tunnel has its 101 by then.
                let is_switched = answer.as_ref().is_ok_and(|answer| answer.status == 101);
                assert!(answer.is_err() || is_switched, "{place}: {answer:?}");
                panics += 1;
                exchanges += usize::from(is_exchange);
                assert_eq!(get_on(&mut neighbour, "/").status, 200, "{place}");
                assert_eq!(get(web, "/").status, 200, "{place}");
            }
            let line = format!("panic: planted at {place}");
            process.wait_for_stderr(|each| each.contains(&line));
        }
        wait_until(
            || metric(&process, "balance_panics_total") == f64::from(panics),
            "each is counted",
        );
        assert_eq!(cause(&process, "proxy_internal_error"), f64::from(panics));
        wait_until(
            || logged(&log, "proxy_internal_error").len() == exchanges,
            "each exchange is logged once",
        );
        for line in logged(&log, "proxy_internal_error") {
            let lines = ["\"GET /panic ", "\"POST /panic ", "\"GET /ws "];
            assert!(lines.iter().any(|each| line.contains(each)), "{line}");
        }
        // Leases and places are given back, and so are the backend's connections that were in use.
        wait_until(
            || crate::subject::backend(&process, "a")["in_flight"] == 0,
            "nothing is in flight",
        );
        drop(neighbour);
        let active = "balance_active_connections{listener=\"web\"}";
        wait_until(|| metric(&process, active) == 0.0, "no connection is open");
    }

    /// The copy is lost; its exchange, its place and its backend's are not.
    #[test]
    fn a_panic_in_a_copy_is_not_noticed() {
        let (primary, shadow) = (origin(), origin());
        let config = Config {
            pools: format!("  shadow: {{ backends: ['{}'] }}\n", shadow.addr()),
            listener: String::new(),
            ..Config::http(&[primary.addr()])
        }
        .with("routes: [ { name: app, pool: p, mirror: { pool: shadow, in_flight_max: 1 } } ]");
        let (process, _log) = start(config, "mirror");
        let web = process.listener("web");
        let copies = |outcome: &str| {
            let labels = format!("route=\"app\",pool=\"shadow\",outcome=\"{outcome}\"");
            metric(
                &process,
                &format!("balance_mirror_requests_total{{{labels}}}"),
            )
        };
        for count in 1..=3 {
            assert_eq!(ask(web, "mirror").unwrap().status, 200);
            wait_until(|| copies("failed") == f64::from(count), "the copy is lost");
        }
        assert_eq!(metric(&process, "balance_panics_total"), 3.0);
        assert_eq!(get(web, "/").status, 200);
        wait_until(|| copies("sent") == 1.0, "the next one has its place");
        assert_eq!(shadow.requests().len(), 1);
    }

    #[test]
    fn what_a_panic_left_half_done_meets_no_other_exchange() {
        let origin = Origin::start(|request| Script::ok(request.target.clone()));
        let (process, _log) = start(Config::http(&[origin.addr()]), "route,response-head");
        let web = process.listener("web");
        for number in 0..50 {
            let place = ["route", "response-head"][number % 2];
            assert!(ask(web, place).is_err());
            let path = format!("/{number}");
            assert_eq!(get(web, &path).text(), path);
        }
        let seen = origin.requests();
        let clean = seen.iter().filter(|each| each.target != "/panic");
        for request in clean {
            assert_eq!(request.violation, None);
            assert!(request.header("x-planted-panic").is_none(), "{request:?}");
        }
    }

    #[test]
    fn a_session_that_panics_is_reset_and_settled() {
        let server = EchoServer::start(PeerMode::Echo);
        let (process, log) = start(Config::tcp(&[server.addr()]), "session");
        // The reset may be there before the client is done with connecting.
        match RawClient::connect(process.listener("web")) {
            Ok(mut client) => assert_eq!(client.read_to_end(), Err(StrictError::Reset)),
            Err(error) => assert_eq!(error.kind(), ErrorKind::ConnectionReset),
        }
        server.wait_for_ended(1);
        wait_until(
            || logged(&log, "proxy_internal_error").len() == 1,
            "the line of the session",
        );
        let line = logged(&log, "proxy_internal_error").remove(0);
        assert!(line.contains(" pool=p backend=a "), "{line}");
        assert_eq!(metric(&process, "balance_panics_total"), 1.0);
        assert_eq!(crate::subject::backend(&process, "a")["in_flight"], 0);
    }

    /// Without its deadlines or its housekeeping a worker would stay, and nothing would end in it any more.
    #[test]
    fn a_panic_of_the_worker_itself_ends_the_process() {
        let origin = origin();
        let (mut process, _log) = start(Config::http(&[origin.addr()]), "housekeeping");
        assert_eq!(get(process.listener("web"), "/").status, 200);
        let status = process.wait_for_exit(balance_testkit::PATIENCE);
        assert_eq!(status.code(), Some(1), "{}", process.stderr());
        let log = process.stderr();
        assert!(log.contains("has ended by itself"), "{log}");
    }
}

/// What is not in the binary cannot be reached in it.
#[cfg(not(debug_assertions))]
#[test]
fn a_release_build_has_no_planted_panics() {
    let binary = std::fs::read(crate::subject::BINARY).unwrap();
    let name = b"BALANCE_PLANTED_PANICS";
    assert!(!binary.windows(name.len()).any(|window| window == name));
}

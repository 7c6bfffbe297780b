//! Splits and mirrors, over sockets: exact over workers and reloads, and copies that change nothing.

use std::net::SocketAddr;

use balance_testkit::{Origin, PATIENCE, Process, RawClient, Script, Signal, SilentAddress};

use crate::subject::{Config, dead_address, get, get_on, metric, reload, wait_until};

/// Over `stable` and `canary`, 19 to 1 after reduction.
fn split(stable: &Origin, canary: &Origin) -> Config {
    let pools = format!("  canary: {{ backends: ['{}'] }}\n", canary.addr());
    Config {
        pools,
        workers: 4,
        listener: String::new(),
        ..Config::http(&[stable.addr()])
    }
    .with("routes: [ { name: app, split: [ { pool: p, weight: 95 }, { pool: canary, weight: 5 } ] } ]")
}

/// One request on each of so many connections at once, which the kernel spreads over the workers.
fn ask_at_once(web: SocketAddr, count: usize) {
    std::thread::scope(|scope| {
        for _ in 0..CLIENTS {
            scope
                .spawn(|| (0..count / CLIENTS).for_each(|_| assert_eq!(get(web, "/").status, 200)));
        }
    });
}

#[test]
fn a_split_is_exact_over_workers_and_reloads() {
    let (stable, canary) = (
        Origin::answering(Script::ok("s")),
        Origin::answering(Script::ok("c")),
    );
    let config = split(&stable, &canary);
    let process = config.start();
    let web = process.listener("web");
    // 30 and 50: neither is a whole number of rounds, both together are.
    ask_at_once(web, 30);
    reload(&process, &config.with("timeouts: { connect: 2s }"));
    ask_at_once(web, 50);
    assert_eq!((stable.requests().len(), canary.requests().len()), (76, 4));
    let counted = |pool: &str| {
        let labels = format!("listener=\"web\",route=\"app\",pool=\"{pool}\"");
        metric(
            &process,
            &format!("balance_http_requests_total{{{labels},method=\"GET\",status=\"200\"}}"),
        )
    };
    // A client sees the end of its response a moment before it is counted.
    wait_until(
        || counted("p") + counted("canary") >= 80.0,
        "all are counted",
    );
    assert_eq!((counted("p"), counted("canary")), (76.0, 4.0));
}

/// The labels of a request are those of its own pool, whatever came first.
#[test]
fn a_request_that_a_filter_refuses_leaves_its_route_the_labels() {
    let origin = Origin::answering(Script::ok("x"));
    let process = Config::http(&[origin.addr()])
        .with("routes: [ { name: r, pool: p, transform: { strip_prefix: /v } } ]")
        .start();
    let web = process.listener("web");
    let counted = |pool: &str, status: u16| {
        let labels = format!("listener=\"web\",route=\"r\",pool=\"{pool}\"");
        let series = format!("{{{labels},method=\"GET\",status=\"{status}\"}}");
        metric(&process, &format!("balance_http_requests_total{series}"))
    };
    // What the rewrite leaves of it walks round the prefix.
    assert_eq!(get(web, "/v./x").status, 400);
    assert_eq!(get(web, "/v/x").status, 200);
    wait_until(|| counted("p", 200) >= 1.0, "it is counted under its pool");
    assert_eq!(counted("", 400), 1.0);
}

/// Copies of all requests to `shadow`.
fn mirrored(origin: &Origin, shadow: SocketAddr, options: &str) -> Config {
    Config {
        pools: format!("  shadow: {{ backends: ['{shadow}'] }}\n"),
        workers: 2,
        listener: String::new(),
        ..Config::http(&[origin.addr()])
    }
    .with(&format!(
        "routes: [ {{ name: app, pool: p, mirror: {{ pool: shadow{options} }} }} ]"
    ))
}

fn copies(process: &Process, outcome: &str) -> f64 {
    let labels = format!("route=\"app\",pool=\"shadow\",outcome=\"{outcome}\"");
    metric(
        process,
        &format!("balance_mirror_requests_total{{{labels}}}"),
    )
}

#[track_caller]
fn wait_for_copies(process: &Process, outcome: &str, count: u32) {
    wait_until(|| copies(process, outcome) >= f64::from(count), outcome);
    assert_eq!(copies(process, outcome), f64::from(count), "{outcome}");
}

const CHUNKED: &str = "POST /c HTTP/1.1\r\nHost: test\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n";
const UPLOAD: &str = "POST /u HTTP/1.1\r\nHost: test\r\nContent-Length: 5\r\n\r\nhello";

/// A GET and two uploads on one connection, all answered by the first pool.
fn ask_all(web: SocketAddr) {
    let mut client = RawClient::connect(web).unwrap();
    assert_eq!(get_on(&mut client, "/g?q=1").text(), "primary");
    for upload in [UPLOAD, CHUNKED] {
        assert_eq!(client.exchange(upload).unwrap().text(), "primary");
    }
}

/// What serves connections is kept for the next one; the copy that was being made is not.
#[test]
fn an_upload_that_breaks_off_gives_its_place_back() {
    let (origin, shadow) = (
        Origin::answering(Script::ok("primary")),
        Origin::answering(Script::ok("no")),
    );
    let process = mirrored(&origin, shadow.addr(), ", in_flight_max: 1").start();
    let web = process.listener("web");
    let mut client = RawClient::connect(web).unwrap();
    let begun = UPLOAD.trim_end_matches("llo");
    client.send(begun).unwrap();
    origin.wait_for_heads(1);
    drop(client);
    wait_for_copies(&process, "skipped_body", 1);
    assert_eq!(get(web, "/").status, 200);
    wait_for_copies(&process, "sent", 1);
}

#[test]
fn a_copy_is_the_request() {
    let (origin, shadow) = (
        Origin::answering(Script::ok("primary")),
        Origin::answering(Script::ok("no")),
    );
    let process = mirrored(&origin, shadow.addr(), "").start();
    ask_all(process.listener("web"));
    let mut seen = shadow.wait_for(3);
    seen.sort_by(|a, b| a.target.cmp(&b.target));
    let mut originals = origin.requests();
    originals.sort_by(|a, b| a.target.cmp(&b.target));
    for (copy, original) in seen.iter().zip(&originals) {
        assert_eq!(
            (&copy.method, &copy.target, &copy.body),
            (&original.method, &original.target, &original.body)
        );
        for name in [
            "host",
            "x-request-id",
            "x-forwarded-for",
            "via",
            "content-length",
            "transfer-encoding",
        ] {
            assert_eq!(copy.headers(name), original.headers(name), "{name}");
        }
        assert_eq!(copy.headers("x-balance-mirror"), ["1"]);
        assert!(original.header("x-balance-mirror").is_none());
    }
    assert_eq!(seen.len(), originals.len());
    wait_for_copies(&process, "sent", 3);
    assert_eq!(shadow.violations(), Vec::<String>::new());
}

/// Dead, deaf, mute, and talking nonsense: the answers are those of the first pool, and each copy is counted.
#[test]
fn a_broken_second_pool_is_not_noticed() {
    let garbage = Origin::answering(Script::raw("what?\r\n\r\n"));
    let mute = Origin::answering(Script::never());
    let cuts = Origin::answering(Script::ok("a longer body").close_after_bytes(30));
    let deaf = SilentAddress::new();
    for (name, shadow) in [
        ("dead", dead_address()),
        ("garbage", garbage.addr()),
        ("mute", mute.addr()),
        ("cuts", cuts.addr()),
        ("deaf", deaf.addr()),
    ] {
        let origin = Origin::answering(Script::ok("primary"));
        let process = mirrored(&origin, shadow, ", timeout: 300ms").start();
        for _ in 0..3 {
            ask_all(process.listener("web"));
        }
        wait_for_copies(&process, "failed", 9);
        assert_eq!(origin.requests().len(), 9, "{name}");
        let completed = metric(
            &process,
            "balance_exchange_cause_total{cause=\"completed\"}",
        );
        assert_eq!(completed, 9.0, "{name}");
    }
}

/// What copies hold is bounded, however many requests there are and however little the second pool takes.
#[test]
fn copies_under_way_are_bounded() {
    let (origin, mute) = (
        Origin::answering(Script::ok("primary")),
        Origin::answering(Script::never()),
    );
    let process = mirrored(
        &origin,
        mute.addr(),
        ", in_flight_max: 2, timeout: 1h, body_bytes_max: 4",
    )
    .start();
    let web = process.listener("web");
    let mut client = RawClient::connect(web).unwrap();
    for _ in 0..20 {
        assert_eq!(get_on(&mut client, "/").text(), "primary");
    }
    wait_for_copies(&process, "skipped_limit", 18);
    assert_eq!(client.exchange(UPLOAD).unwrap().text(), "primary");
    wait_for_copies(&process, "skipped_body", 1);
    mute.wait_for(2);
    assert_eq!(mute.requests().len(), 2);
    // A reload with another limit counts those under way.
    reload(
        &process,
        &mirrored(&origin, mute.addr(), ", in_flight_max: 3, timeout: 1h"),
    );
    for _ in 0..3 {
        assert_eq!(get(web, "/").text(), "primary");
    }
    wait_for_copies(&process, "skipped_limit", 20);
    mute.wait_for(3);
}

#[test]
fn a_drain_does_not_hang_on_copies() {
    let (origin, mute) = (
        Origin::answering(Script::ok("primary")),
        Origin::answering(Script::never()),
    );
    let mut process = mirrored(&origin, mute.addr(), ", timeout: 1h")
        .with_shutdown("delay: 0, limit: 1h")
        .start();
    assert_eq!(get(process.listener("web"), "/").text(), "primary");
    mute.wait_for(1);
    process.signal(Signal::Terminate).unwrap();
    assert_eq!(process.wait_for_exit(PATIENCE).code(), Some(0));
}

const CLIENTS: usize = 10;

use std::sync::Arc;
use std::time::{Duration, Instant};

use balance_core::{
    BackendAddress, ExpectedStatus, HealthCheck, HttpProbe, Probe, UpstreamProtocol,
};
use balance_lb::{Backend, BackendIdentity, Health};
use balance_proxy::{Clock, Endpoint, OwnConnector, UpstreamAddress};
use balance_testkit::{EchoServer, Origin, PATIENCE, PeerMode, Recorded, Script, pause};

use super::probe::Probing;
use super::watch::Watched;
use super::{HealthThread, Target, Targets};

fn endpoint(pool: &str, address: std::net::SocketAddr) -> Arc<Endpoint> {
    let identity = BackendIdentity {
        pool: pool.to_owned(),
        name: "a".to_owned(),
        address: BackendAddress::Ip(address),
    };
    Arc::new(Endpoint::new(
        Backend::new(identity),
        vec![UpstreamAddress::Ip(address)],
    ))
}

/// Every 10 ms, and once is enough.
fn quick(probe: Probe) -> HealthCheck {
    HealthCheck {
        probe,
        send_proxy: None,
        protocol: UpstreamProtocol::Http1,
        interval: Duration::from_millis(10),
        fast_interval: Duration::from_millis(5),
        timeout: Duration::from_secs(5),
        healthy_threshold: 1,
        unhealthy_threshold: 1,
    }
}

fn http() -> HttpProbe {
    HttpProbe {
        method: "GET".to_owned(),
        path: "/up?deep=1".to_owned(),
        host: None,
        headers: vec![("X-Probe".to_owned(), "yes".to_owned())],
        expected_status: ExpectedStatus::Fine,
        expected_body: None,
    }
}

/// What a probe says about an origin that answers so.
fn ask(script: Script, probe_of: HttpProbe) -> String {
    let origin = Origin::answering(script);
    judge(&endpoint("p", origin.addr()), &quick(Probe::Http(probe_of)))
}

fn judge(endpoint: &Endpoint, check: &HealthCheck) -> String {
    let probing = Probing {
        connector: OwnConnector::default(),
        check: check.clone(),
        tls: None,
    };
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    match runtime.block_on(probing.probe(endpoint)) {
        Ok(()) => "ok".to_owned(),
        Err(error) => error.to_string(),
    }
}

#[test]
fn a_probe_asks_what_it_is_told_to() {
    let origin = Origin::answering(Script::ok("x"));
    let endpoint = endpoint("p", origin.addr());
    let probe = HttpProbe {
        host: Some("inner".to_owned()),
        ..http()
    };
    assert_eq!(judge(&endpoint, &quick(Probe::Http(probe))), "ok");
    let requests = origin.wait_for(1);
    let Recorded { method, target, .. } = &requests[0];
    assert_eq!((method.as_str(), target.as_str()), ("GET", "/up?deep=1"));
    for (name, value) in [
        ("host", "inner"),
        ("x-probe", "yes"),
        ("connection", "close"),
        ("user-agent", "balance-health-check"),
    ] {
        assert_eq!(requests[0].header(name), Some(value), "{name}");
    }
    assert_eq!(origin.violations(), Vec::<String>::new());
}

#[test]
fn answers_are_judged_by_status_and_body() {
    let no_content = ExpectedStatus::OneOf(vec![204]);
    let exactly = |expected_status: &ExpectedStatus| HttpProbe {
        expected_status: expected_status.clone(),
        ..http()
    };
    let with_body = |text: &str| HttpProbe {
        expected_body: Some(text.to_owned()),
        ..http()
    };
    let missing = "its answer does not contain the expected text";
    let large = vec![b'x'; 200_000];
    for (script, probe, verdict) in [
        (Script::status(200), http(), "ok"),
        (Script::status(399), http(), "ok"),
        (Script::status(400), http(), "it answered with status 400"),
        (Script::status(204), exactly(&no_content), "ok"),
        (
            Script::status(200),
            exactly(&no_content),
            "it answered with status 200",
        ),
        (Script::ok("is up."), with_body("up"), "ok"),
        (Script::ok("is down."), with_body("up"), missing),
        (
            Script::ok("").chunked(&[b"is u", b"p."]),
            with_body("up"),
            "ok",
        ),
        (Script::ok("").until_close("is up."), with_body("up"), "ok"),
        (
            Script::ok("").until_close("is down."),
            with_body("up"),
            missing,
        ),
        (Script::ok(large).then_hang(), with_body("up"), missing),
        (Script::status(200).interim(103, &[]), http(), "ok"),
        (Script::close(), http(), "it closed without an answer"),
        (
            Script::raw("SSH-2.0-x\r\n"),
            http(),
            "its answer is not HTTP: the status line is not HTTP/1.x SP three digits",
        ),
    ] {
        assert_eq!(ask(script, probe), verdict);
    }
}

/// 1 GB would be no different: what is read ends with the largest head.
#[test]
fn an_endless_head_is_bounded() {
    let mut head = b"HTTP/1.1 200 OK\r\nX-Long: ".to_vec();
    head.resize(1 << 20, b'x');
    let verdict = ask(Script::raw(head).then_hang(), http());
    assert_eq!(verdict, "its answer is not HTTP: the head is too large");
}

#[test]
fn who_accepts_and_hangs_fails_when_asked() {
    let peer = EchoServer::start(PeerMode::Sink);
    let hanging = endpoint("p", peer.addr());
    assert_eq!(judge(&hanging, &quick(Probe::Tcp)), "ok");
    let check = HealthCheck {
        timeout: Duration::from_millis(50),
        ..quick(Probe::Http(http()))
    };
    assert_eq!(judge(&hanging, &check), "no answer within 50ms");
}

#[track_caller]
fn wait_until(what: &str, mut is_reached: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !is_reached() {
        assert!(Instant::now() < deadline, "not in time: {what}");
        pause(Duration::from_millis(2));
    }
}

#[track_caller]
fn wait_for(endpoint: &Endpoint, health: Health) {
    wait_until(health.name(), || {
        endpoint
            .health()
            .is_some_and(|record| record.health == health)
    });
}

fn target(endpoint: &Arc<Endpoint>, check: Option<HealthCheck>) -> Target {
    Target {
        endpoint: Arc::clone(endpoint),
        check,
        tls: None,
    }
}

#[test]
fn one_address_in_two_pools_is_probed_once_and_told_to_both() {
    let origin = Origin::answering(Script::status(500));
    let pools = ["p", "q"].map(|pool| endpoint(pool, origin.addr()));
    let check = quick(Probe::Http(http()));
    let probed = |endpoint: &Arc<Endpoint>| target(endpoint, Some(check.clone()));
    let thread = HealthThread::spawn(Clock::start(), 1).unwrap();
    let probe_all = |probed: Vec<Target>| {
        thread.set_targets(Targets {
            probed,
            judged: Vec::new(),
        });
    };
    probe_all(pools.iter().map(probed).collect());
    for endpoint in &pools {
        wait_for(endpoint, Health::Unhealthy);
        assert!(!endpoint.is_pickable(0));
    }
    let probes = || pools[0].health().unwrap().probes;
    wait_until("ten probes", || probes() >= 10);
    let asked = origin.requests().len() as u64;
    assert!(asked <= probes() + 1, "one for both: {asked}");

    // What is not probed any more is picked again; the other one goes on.
    probe_all(vec![target(&pools[0], None), probed(&pools[1])]);
    wait_until("nobody probes it", || pools[0].health().is_none());
    assert!(pools[0].is_pickable(0) && !pools[1].is_pickable(0));
}

#[test]
fn a_changed_check_goes_on_from_what_is_known() {
    let endpoint = endpoint("p", ([127, 0, 0, 1], 1).into());
    let refused = HealthThread::spawn(Clock::start(), 1).unwrap();
    refused.set_targets(Targets {
        probed: vec![target(&endpoint, Some(quick(Probe::Tcp)))],
        judged: Vec::new(),
    });
    wait_for(&endpoint, Health::Unhealthy);
    let before = endpoint.health().unwrap();
    assert_eq!(&*before.reason, "the backend refuses connections");
    drop(refused);
    let _watched = Watched::new(vec![Arc::clone(&endpoint)], 99);
    let after = endpoint.health().unwrap();
    assert_eq!(
        (after.health, after.since_ms),
        (Health::Unhealthy, before.since_ms)
    );
}

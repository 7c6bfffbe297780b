//! When the machine has no more to give: out of descriptors. And what a burst gives back.

mod budget;
mod logs;

use std::time::Duration;

use balance_testkit::{
    Origin, PATIENCE, Process, ProcessOptions, RawClient, Script, StrictError, pause,
};

use crate::subject::{BINARY, Config, get, get_on, series_of, wait_until};

/// CPU time that a process has used, in clock ticks of 10 ms.
fn cpu_ticks(process: &Process) -> u64 {
    let stat = std::fs::read_to_string(format!("/proc/{}/stat", process.pid())).unwrap();
    // The name may contain anything; what follows its parenthesis is numbers. utime and stime are the
    // 14th and 15th field, the name is the second.
    let (_, rest) = stat.rsplit_once(')').unwrap();
    let fields: Vec<&str> = rest.split_whitespace().collect();
    let ticks = |index: usize| fields[index].parse::<u64>().unwrap();
    ticks(11) + ticks(12)
}

const DESCRIPTORS_MAX: usize = 60;

/// Opens connections until one is not answered; the last one is that one.
fn use_up_descriptors(process: &Process) -> Vec<RawClient> {
    let mut clients = Vec::new();
    loop {
        assert!(clients.len() < 200, "it has no end");
        let mut client = RawClient::connect(process.listener("web")).unwrap();
        client.send("GET /own HTTP/1.1\r\nHost: t\r\n\r\n").unwrap();
        client.set_read_timeout(Duration::from_millis(300)).unwrap();
        let answer = loop {
            match client.read_response() {
                // It may only be slow.
                Err(StrictError::TimedOut) if process.open_descriptors() + 1 < DESCRIPTORS_MAX => {}
                other => break other,
            }
        };
        client.set_read_timeout(PATIENCE).unwrap();
        clients.push(client);
        match answer {
            Ok(response) => assert_eq!(response.status, 204),
            Err(error) => {
                assert_eq!(
                    error,
                    StrictError::TimedOut,
                    "it waits in the kernel's queue"
                );
                return clients;
            }
        }
    }
}

#[test]
fn without_descriptors_it_serves_what_it_has_and_recovers() {
    let origin = Origin::answering(Script::ok("here"));
    let config = Config::http(&[origin.addr()])
        .with("routes:\n- { name: own, match: { path: /own }, respond: { status: 204 } }");
    let process = config.start_with_descriptors(DESCRIPTORS_MAX as u64);
    let mut first = RawClient::connect(process.listener("web")).unwrap();
    assert_eq!(get_on(&mut first, "/").text(), "here");
    let mut admin = RawClient::connect(process.listener("admin")).unwrap();
    assert_eq!(get_on(&mut admin, "/metrics").status, 200);
    let kept_open = process.open_descriptors();

    let mut clients = use_up_descriptors(&process);
    assert!(
        process.open_descriptors() + 1 >= DESCRIPTORS_MAX,
        "{}",
        process.open_descriptors()
    );
    assert!(clients.len() > 10, "{}", clients.len());

    let before = cpu_ticks(&process);
    pause(Duration::from_secs(1));
    let used = cpu_ticks(&process) - before;
    assert!(used <= 25, "{used} of 100 ticks: a busy loop");
    let errors = "balance_accept_errors_total";
    wait_until(
        || series_of(&get_on(&mut admin, "/metrics"), errors) >= 20.0,
        "it is tried again and again",
    );

    // The connection to the backend is there already, and so is the client's.
    assert_eq!(get_on(&mut first, "/").text(), "here");
    assert_eq!(get_on(&mut clients[0], "/own").status, 204);
    // A second exchange at the same time would need a new one: that is our fault, not the backend's.
    // It is tried again 50 times a second, and said seldom.
    let log = process.stderr_lines();
    let complaints = log.iter().filter(|line| line.contains("cannot accept"));
    assert!((1..=3).contains(&complaints.count()), "{log:#?}");

    let mut waiting = clients.pop().unwrap();
    drop(clients);
    assert_eq!(waiting.read_response().unwrap().status, 204);
    drop(waiting);
    for _ in 0..20 {
        assert_eq!(get(process.listener("web"), "/").text(), "here");
    }
    wait_until(
        || process.open_descriptors() <= kept_open + 1,
        "all descriptors are given back",
    );
}

#[test]
fn without_a_descriptor_for_the_backend_the_backend_is_not_blamed() {
    let origin = Origin::answering(Script::ok("here"));
    let config = Config::http(&[origin.addr()])
        .with("routes:\n- { name: own, match: { path: /own }, respond: { status: 204 } }");
    let process = config.start_with_descriptors(DESCRIPTORS_MAX as u64);
    let mut clients = use_up_descriptors(&process);
    let refused = get_on(&mut clients[0], "/");
    assert_eq!(refused.status, 503, "{refused:?}");
    assert!(refused.header("retry-after").is_some());
    let waiting = clients.pop();
    drop(clients);
    drop(waiting);
    wait_until(
        || {
            RawClient::connect(process.listener("web"))
                .is_ok_and(|mut client| get_on(&mut client, "/").status == 200)
        },
        "it has recovered",
    );
    assert_eq!(crate::subject::backend(&process, "a")["rests"], 0);
}

/// What 200 exchanges at once need for their heads must not stay with the parts that are used again.
#[test]
fn memory_for_large_heads_is_given_back() {
    const CLIENTS: usize = 200;
    let large = "x".repeat(60_000);
    let (open, gate) = std::sync::mpsc::channel::<()>();
    let gate = std::sync::Mutex::new(gate);
    let value = large.clone();
    let origin = Origin::start(move |_| {
        // All of them wait until the channel is gone.
        let _ = gate.lock().unwrap().recv();
        Script::ok("here").header("X-Large", &value)
    });
    // As it is, but for the ten seconds after which it begins to give back. Nothing works here meanwhile.
    let conf = "dirty_decay_ms:500,muzzy_decay_ms:0";
    let options = ProcessOptions {
        environment: vec![("_RJEM_MALLOC_CONF".to_owned(), conf.to_owned())],
        ..ProcessOptions::default()
    };
    let config = Config::http(&[origin.addr()]).yaml();
    let process = Process::with_options(BINARY, &config, &options).unwrap();
    let web = process.listener("web");
    let before = process.resident_bytes();
    let request = format!("GET / HTTP/1.1\r\nHost: t\r\nX-Large: {large}\r\n\r\n");
    let mut clients: Vec<_> = (0..CLIENTS)
        .map(|_| {
            let mut client = RawClient::connect(web).unwrap();
            client.send(&request).unwrap();
            client
        })
        .collect();
    origin.wait_for_connections(CLIENTS);
    drop(open);
    for client in &mut clients {
        assert_eq!(client.read_response().unwrap().text(), "here");
    }
    drop(clients);
    let grown = || process.resident_bytes().saturating_sub(before);
    wait_until(|| grown() < 6 << 20, "less than 6 MiB more than before");
}

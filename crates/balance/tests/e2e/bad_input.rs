//! What is wrong with the file, the machine or the bytes that come in, and how it is said.

use std::net::TcpListener;
use std::process::Command;

use balance_testkit::{Origin, Process, RawClient, Script, TempDir};

use crate::programs::is_here;
use crate::subject::{
    BINARY, Config, ask, balance, check_output, command, dead_address, get, run_to_its_end,
    text_of, wait_for_cause,
};

fn origin() -> Origin {
    Origin::answering(Script::ok("here"))
}

#[test]
fn a_port_in_use_is_one_line_with_its_place() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let config = Config {
        listen: address.clone(),
        ..Config::http(&[dead_address()])
    };
    check_output(
        &run_to_its_end(&config.yaml()),
        1,
        &[
            ":8:",
            "error:",
            &address,
            "is in use by another process",
            "not started",
        ],
    );
}

#[test]
fn a_second_balance_does_not_share_the_port() {
    let origin = origin();
    let config = Config::http(&[origin.addr()]);
    let first = config.start();
    let web = first.listener("web").to_string();
    let same = Config {
        listen: web.clone(),
        ..config
    };
    check_output(
        &run_to_its_end(&same.yaml()),
        1,
        &[&web, "is in use by another process"],
    );
    // The very same file, as by an operator who starts it twice.
    let admin = first.listener("admin").to_string();
    let fixed = same.yaml().replace(
        "admin: { listen: '127.0.0.1:0' }",
        &format!("admin: {{ listen: '{admin}' }}"),
    );
    first.write_config(&fixed).unwrap();
    check_output(&ask(&first, "run"), 1, &[&web, &admin, "is in use"]);
    assert_eq!(get(first.listener("web"), "/").text(), "here");
    check_output(&ask(&first, "health"), 0, &["healthy"]);
}

#[test]
fn a_file_that_cannot_be_read_is_one_line() {
    let folder = TempDir::new("files").unwrap();
    let missing = balance(&["-c", "missing.yaml"], folder.path());
    check_output(&missing, 1, &["missing.yaml: error:", "No such file"]);
    let directory = balance(&["-c", "."], folder.path());
    check_output(&directory, 1, &["it is a folder"]);
    folder.write("binary.yaml", [0xff, 0xfe, 0, 1]).unwrap();
    let binary = balance(&["-c", "binary.yaml"], folder.path());
    check_output(&binary, 1, &["binary.yaml", "error:"]);
    folder.write("empty.yaml", "").unwrap();
    let empty = balance(&["-c", "empty.yaml"], folder.path());
    check_output(&empty, 1, &["empty.yaml", "error:"]);
    check_output(
        &balance(&[], folder.path()),
        2,
        &["no configuration", "balance demo"],
    );
}

#[test]
fn a_file_without_read_rights_is_one_line() {
    if !is_root() || !is_here("setpriv") {
        return;
    }
    use std::os::unix::fs::PermissionsExt;
    let folder = TempDir::new("rights").unwrap();
    let file = folder.write("secret.yaml", "listen: ':0'\n").unwrap();
    std::fs::set_permissions(&file, PermissionsExt::from_mode(0o600)).unwrap();
    let Some(binary) = binary_for_all(&folder) else {
        return;
    };
    let output = as_nobody(Command::new("setpriv"))
        .arg(binary)
        .args(["check", file.to_str().unwrap()])
        .output()
        .unwrap();
    check_output(&output, 1, &["secret.yaml", "ermission denied"]);
}

#[test]
fn a_privileged_port_without_rights_says_what_to_do() {
    if !is_root() || !is_here("setpriv") || !is_here("unshare") {
        return;
    }
    // A network namespace of its own has the kernel's default of who may bind below 1024, whatever the
    // machine's setting is.
    let probe = Command::new("unshare").args(["--net", "true"]).status();
    if !probe.is_ok_and(|status| status.success()) {
        return;
    }
    let folder = TempDir::new("port").unwrap();
    let config = Config {
        listen: "0.0.0.0:80".to_owned(),
        ..Config::http(&[dead_address()])
    };
    let yaml = config
        .yaml()
        .replace("admin: { listen: '127.0.0.1:0' }\n", "");
    let file = folder.write("balance.yaml", yaml).unwrap();
    let Some(binary) = binary_for_all(&folder) else {
        return;
    };
    let mut unshare = Command::new("unshare");
    unshare.args(["--net", "setpriv"]);
    let output = as_nobody(unshare)
        .arg(binary)
        .args(["-c", file.to_str().unwrap()])
        .output()
        .unwrap();
    check_output(
        &output,
        1,
        &[
            ":7:",
            "error:",
            "no right to bind 0.0.0.0:80",
            "cap_net_bind_service",
        ],
    );
}

#[test]
fn an_address_of_another_machine_is_one_line() {
    let elsewhere = Config {
        listen: "192.0.2.1:8080".to_owned(),
        ..Config::http(&[dead_address()])
    };
    check_output(
        &run_to_its_end(&elsewhere.yaml()),
        1,
        &["192.0.2.1:8080", "not an address of this machine"],
    );
}

#[test]
fn all_mistakes_of_a_file_come_at_once_with_their_places() {
    let config = "version: 2\n\
                  listeners:\n\
                  - { name: web, listen: '127.0.0.1:99999', mode: htp, pool: nowhere }\n\
                  pools:\n  \
                    p: { backends: [ { name: a, adress: 'x:1' } ] }\n\
                  timeouts: { connect: 5 }\n\
                  routes:\n\
                  - { name: r, match: { path: / }, pool: q }\n\
                  bogus: 1\n";
    let places = [":3:", ":5:", ":6:", ":8:", ":9:1: error:"];
    let output = run_to_its_end(config);
    check_output(&output, 1, &places);
    check_output(&output, 1, &["bogus", "not started"]);

    let folder = TempDir::new("mistakes").unwrap();
    let file = folder.write("wrong.yaml", config).unwrap();
    let file = file.to_str().unwrap();
    let checked = balance(&["check", "--format", "short", file], folder.path());
    check_output(&checked, 1, &places);
    let lines = text_of(&checked);
    let errors = lines.lines().filter(|line| line.contains(": error: "));
    assert!(errors.count() >= 6, "{lines}");

    check_output(
        &run_to_its_end("listen: [\n"),
        1,
        &["balance.yaml:", "error:", "not started"],
    );
}

#[test]
fn a_name_that_does_not_resolve_is_a_warning_and_a_502() {
    let origin = origin();
    let config = Config {
        backends: vec!["{ name: a, address: 'no-such-host.invalid:80' }".to_owned()],
        ..Config::http(&[])
    };
    let process = config.start();
    let web = process.listener("web");
    process.wait_for_stderr(|line| {
        line.contains("WARN") && line.contains("no-such-host.invalid") && line.contains("resolve")
    });
    let refused = get(web, "/");
    assert_eq!(refused.status, 502, "{}", refused.text());
    let status = refused.header("proxy-status").unwrap();
    assert!(status.contains("dns_error"), "{status}");
    assert!(!refused.text().contains("invalid"), "{}", refused.text());
    wait_for_cause(&process, "dns_error", 1);

    // Beside one that works it costs nothing.
    let mut both = Config::http(&[origin.addr()]);
    both.backends
        .push("{ name: b, address: 'no-such-host.invalid:80' }".to_owned());
    crate::subject::reload(&process, &both);
    for _ in 0..10 {
        assert_eq!(get(web, "/").text(), "here");
    }
}

#[test]
fn too_few_descriptors_are_a_warning() {
    let origin = origin();
    let few = Config::http(&[origin.addr()]).start_with_descriptors(200);
    assert_eq!(get(few.listener("web"), "/").text(), "here");
    few.wait_for_stderr(|line| {
        line.contains("WARN") && line.contains("200 file descriptors") && line.contains("ulimit")
    });
    let wanted = Config::http(&[origin.addr()]).with("limits: { connections_max: 2000 }");
    let too_many = wanted.start_with_descriptors(3000);
    too_many.wait_for_stderr(|line| {
        line.contains("WARN") && line.contains("limits.connections_max of 2000")
    });
}

#[test]
fn garbage_on_the_port_never_reaches_a_backend() {
    let origin = origin();
    let process = Config::http(&[origin.addr()]).start();
    let web = process.listener("web");
    // The beginning of a real ClientHello, SSH, RDP, an SQL client, a Redis command, noise.
    let hello =
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\x5e\x8b\x01\x02\x03\x04\x05\x06\x07\x08";
    let noise: Vec<u8> = (0..4000_u32).map(|n| (n * 7919 % 251) as u8).collect();
    let inputs: [&[u8]; 8] = [
        hello,
        b"SSH-2.0-OpenSSH_9.2\r\n\r\n",
        b"\x03\x00\x00\x13\x0e\xe0\x00\x00\x00\x00\x00\x01\x00\x08\x00\x03\x00\x00\x00",
        b"\x00\x00\x00\x08\x04\xd2\x16\x2f",
        b"*1\r\n$4\r\nPING\r\n",
        b"\r\n\r\n\r\n\r\n\r\n\r\n\r\n\r\n\r\n\r\nGARBAGE\r\n\r\n",
        &[0; 300],
        &noise,
    ];
    for input in inputs {
        let mut client = RawClient::connect(web).unwrap();
        // It may have been refused before it was sent to its end.
        let _ = client.send(input).and_then(|()| Ok(client.half_close()?));
        let shown = String::from_utf8_lossy(&input[..input.len().min(20)]).into_owned();
        match client.read_any_response(false) {
            Ok(response) => {
                assert!(
                    (400..=505).contains(&response.status),
                    "{shown:?}: {response:?}"
                );
                assert!(!response.keeps_alive(), "{shown:?}: {response:?}");
            }
            Err(error) => {
                use balance_testkit::StrictError;
                assert!(
                    matches!(error, StrictError::Closed | StrictError::Reset),
                    "{shown:?}: {error}"
                );
            }
        }
    }
    assert_eq!(get(web, "/").text(), "here", "it goes on");
    assert_eq!(origin.requests().len(), 1);
    assert_eq!(origin.connections(), 1);
}

#[test]
fn garbage_on_the_admin_port_is_harmless() {
    let origin = origin();
    let process = Config::http(&[origin.addr()]).start();
    let admin = process.listener("admin");
    for input in [
        &b"\x16\x03\x01\x02\x00\x01"[..],
        b"nonsense\r\n\r\n",
        &[0; 300],
    ] {
        let mut client = RawClient::connect(admin).unwrap();
        let _ = client.send(input).and_then(|()| Ok(client.half_close()?));
        if let Ok(response) = client.read_any_response(false) {
            assert_eq!(response.status, 400);
        }
    }
    assert_eq!(get(admin, "/health").status, 200);
}

fn is_root() -> bool {
    use std::os::unix::fs::MetadataExt;
    std::fs::metadata("/proc/self").is_ok_and(|own| own.uid() == 0)
}

/// A copy of the binary that everybody may run: the build's folder may be closed to others.
fn binary_for_all(folder: &TempDir) -> Option<std::path::PathBuf> {
    use std::os::unix::fs::PermissionsExt;
    let copy = folder.path().join("balance");
    std::fs::copy(BINARY, &copy).unwrap();
    for path in [folder.path(), &copy] {
        std::fs::set_permissions(path, PermissionsExt::from_mode(0o755)).unwrap();
    }
    // A temporary folder may be mounted without the right to execute.
    let runs = as_nobody(Command::new("setpriv"))
        .arg(&copy)
        .arg("version")
        .output();
    runs.is_ok_and(|output| output.status.success())
        .then_some(copy)
}

/// The arguments of setpriv for a user without any rights.
fn as_nobody(mut setpriv: Command) -> Command {
    setpriv.args([
        "--reuid=65534",
        "--regid=65534",
        "--clear-groups",
        "--inh-caps=-all",
        "--bounding-set=-all",
        "--",
    ]);
    setpriv
}

#[test]
fn a_process_that_runs_by_hand_is_found_by_its_file() {
    let origin = origin();
    let folder = TempDir::new("hand").unwrap();
    folder
        .write("balance.yaml", Config::http(&[origin.addr()]).yaml())
        .unwrap();
    let run = command(BINARY, &["run"], folder.path());
    let process = Process::spawn(run, TempDir::new("unused").unwrap()).unwrap();
    assert_eq!(get(process.listener("web"), "/").text(), "here");
    for args in [
        ["health", "-c", "balance.yaml"],
        ["reload", "-c", "./balance.yaml"],
    ] {
        assert_eq!(
            balance(&args, folder.path()).status.code(),
            Some(0),
            "{args:?}"
        );
    }
    check_output(
        &balance(&["health", "-c", "other.yaml"], folder.path()),
        1,
        &["no Balance runs"],
    );
}

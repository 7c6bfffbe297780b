//! Logs that cannot be written: a full disk, and pipes whose reader stands still. Lines are lost and counted,
//! traffic goes on.

use std::fs::{File, OpenOptions};
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use balance_testkit::{Origin, Process, RawClient, Script, TempDir};

use crate::subject::{
    BINARY, Config, check_output, get, get_on, metric, post, run_to_its_end, wait_until,
};

const DROPPED: &str = "balance_access_log_lines_dropped_total";

fn origin() -> Origin {
    Origin::answering(Script::ok("here"))
}

fn config(origin: &Origin, log: &Path) -> Config {
    let log = log.display();
    Config::http(&[origin.addr()]).with(&format!("logging: {{ access_log: '{log}' }}"))
}

fn run(command: &mut Command) -> bool {
    command.status().is_ok_and(|status| status.success())
}

fn named_pipe(folder: &TempDir) -> PathBuf {
    let path = folder.path().join("pipe");
    assert!(run(Command::new("mkfifo").arg(&path)));
    path
}

/// A reader that is there and reads nothing. Opened for writing too, so that this does not wait for a writer.
fn silent_reader(path: &Path) -> File {
    let mut options = OpenOptions::new();
    options.read(true).write(true).open(path).unwrap()
}

/// So many requests on one connection, each answered.
fn load(process: &Process, requests: usize) {
    let mut client = RawClient::connect(process.listener("web")).unwrap();
    for _ in 0..requests {
        assert_eq!(get_on(&mut client, "/").text(), "here");
    }
}

#[test]
fn a_full_disk_costs_lines_and_no_request() {
    let origin = origin();
    // Every write to it fails with ENOSPC.
    let mut process = config(&origin, Path::new("/dev/full")).start();
    load(&process, 300);
    wait_until(
        || metric(&process, DROPPED) == 300.0,
        "each line is counted",
    );
    let warnings = || process.stderr().matches("lines are dropped").count();
    assert_eq!(warnings(), 1, "{}", process.stderr());
    load(&process, 100);
    wait_until(
        || metric(&process, DROPPED) == 400.0,
        "each line is counted",
    );
    assert_eq!(warnings(), 1, "it is said once");
    assert_eq!(process.terminate().code(), Some(0));
}

/// A file system of its own with so little room. Only root may make one.
struct SmallDisk(TempDir);

impl SmallDisk {
    fn mount() -> Option<Self> {
        let folder = TempDir::new("disk").unwrap();
        let mut mount = Command::new("mount");
        mount.args(["-t", "tmpfs", "-o", "size=64k", "tmpfs"]);
        mount.arg(folder.path()).stderr(Stdio::null());
        run(&mut mount).then(|| Self(folder))
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        // Lazily: the process that writes there may not have ended.
        run(Command::new("umount").arg("-l").arg(self.0.path()));
    }
}

#[test]
fn a_disk_that_has_room_again_is_written_again_with_whole_lines() {
    let Some(disk) = SmallDisk::mount() else {
        return; // not root: `/dev/full` above has to do
    };
    let origin = origin();
    let file = disk.0.path().join("access.log");
    let process = config(&origin, &file).start();
    while metric(&process, DROPPED) == 0.0 {
        load(&process, 100);
    }
    process.wait_for_stderr(|line| line.contains("lines are dropped"));
    File::create(&file).unwrap(); // as an operator who makes room
    let mut client = RawClient::connect(process.listener("web")).unwrap();
    wait_until(
        || {
            get_on(&mut client, "/");
            process.stderr().contains("can be written again")
        },
        "it is written again",
    );
    get_on(&mut client, "/last");
    let text = || std::fs::read_to_string(&file).unwrap();
    wait_until(|| text().contains("/last"), "the last line");
    let text = text();
    // The stump of a line that broke off is ended before what follows.
    let whole = |line: &&str| line.starts_with("127.0.0.1 - - [") && line.contains(" cause=");
    let torn: Vec<_> = text.lines().filter(|line| !whole(line)).collect();
    assert!(torn.len() <= 1, "{torn:?}");
}

#[test]
fn a_pipe_that_nobody_empties_costs_lines_and_no_request() {
    let origin = origin();
    let folder = TempDir::new("pipe").unwrap();
    let path = named_pipe(&folder);
    let reader = silent_reader(&path);
    let mut process = config(&origin, &path).start();
    // The pipe holds 64 KiB and the queue 2 MiB; what comes then is dropped.
    while metric(&process, DROPPED) == 0.0 {
        load(&process, 1000);
    }
    load(&process, 1000);
    assert_eq!(get(process.listener("admin"), "/ready").status, 200);
    // Reading makes it go on where it stood, with whole lines.
    let mut lines = BufReader::new(reader).lines();
    for _ in 0..1000 {
        let line = lines.next().unwrap().unwrap();
        assert!(
            line.starts_with("127.0.0.1 - - [") && line.contains(" cause="),
            "{line}"
        );
    }
    // And a stop does not wait for a reader that has stopped again.
    assert_eq!(process.terminate().code(), Some(0));
}

#[test]
fn a_pipe_without_a_reader_is_refused_and_waited_for_by_nobody() {
    let origin = origin();
    let folder = TempDir::new("pipe").unwrap();
    let path = named_pipe(&folder);
    let piped = config(&origin, &path);
    let output = run_to_its_end(&piped.yaml());
    check_output(&output, 1, &["cannot be opened", "nobody reads this pipe"]);

    let process = Config::http(&[origin.addr()]).start();
    let admin = process.listener("admin");
    process.write_config(&piped.yaml()).unwrap();
    let refused = post(admin, "/reload");
    assert_eq!(refused.status, 422, "{}", refused.text());
    assert!(refused.text().contains("nobody reads this pipe"));
    load(&process, 1);
}

/// The process log, too: who has something to say must not stand still with it.
#[test]
fn a_process_log_that_nobody_reads_stops_nothing() {
    let origin = origin();
    let folder = TempDir::new("pipe").unwrap();
    let path = named_pipe(&folder);
    let mut reader = BufReader::new(silent_reader(&path));
    let config = Config::http(&[origin.addr()]);
    let file = folder.write("balance.yaml", config.yaml()).unwrap();
    let mut command = Command::new("sh");
    command
        .args(["-c", "exec \"$0\" -c \"$1\" 2> \"$2\"", BINARY])
        .args([&file, &path])
        .env("XDG_RUNTIME_DIR", folder.path());
    let mut process = Process::spawn(command, TempDir::new("process").unwrap()).unwrap();
    let (web, admin) = (listener(&mut reader, "web"), listener(&mut reader, "admin"));
    // From here on nobody reads. Each failed reload says a hundred lines; pipe and queue hold less than twice a
    // thousand.
    let mistakes: String = (0..100)
        .map(|number| format!("mistake_{number}: 1\n"))
        .collect();
    folder.write("balance.yaml", &mistakes).unwrap();
    for _ in 0..30 {
        assert_eq!(post(admin, "/reload").status, 422);
    }
    assert_eq!(get(web, "/").text(), "here");
    assert_eq!(get(admin, "/ready").status, 200);
    // It goes on where it stood, and says that something is missing.
    let (mut complaints, mut line) = (0, String::new());
    while !line.contains("lines of this log were lost") {
        line.clear();
        reader.read_line(&mut line).unwrap();
        complaints += usize::from(line.contains("mistake_"));
    }
    assert!((1000..3000).contains(&complaints), "{complaints}");
    assert_eq!(process.terminate().code(), Some(0));
}

/// The address in the line that says where it listens.
fn listener(reader: &mut impl BufRead, name: &str) -> std::net::SocketAddr {
    let name = format!("name={name} ");
    loop {
        let mut line = String::new();
        reader.read_line(&mut line).unwrap();
        if line.starts_with("listening") && line.contains(&name) {
            return line
                .split("address=")
                .nth(1)
                .unwrap()
                .trim()
                .parse()
                .unwrap();
        }
    }
}

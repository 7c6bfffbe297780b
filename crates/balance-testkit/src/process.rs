//! The proxy (or any other program) as a child process: started with a configuration in a directory of its
//! own, watched through its standard error, stopped by signal, killed when dropped.

use std::io::{BufRead, BufReader, Read};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::Context;

use crate::{PATIENCE, TempDir, pause};

/// The signals that Balance knows (conventions: signals and processes), and the ones that test it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Signal {
    Hangup,
    Interrupt,
    Quit,
    Terminate,
    Kill,
    User1,
    User2,
    Stop,
    Continue,
}

/// How to start a [`Process`].
#[derive(Clone, Debug, Default)]
pub struct ProcessOptions {
    /// Placed behind `run -c FILE`.
    pub arguments: Vec<String>,
    pub environment: Vec<(String, String)>,
    /// Soft limit of open descriptors (set by `prlimit`), for tests that run out of them.
    pub descriptors_max: Option<u64>,
}

/// A running child with its output.
#[derive(Debug)]
pub struct Process {
    child: Child,
    directory: TempDir,
    output: Arc<Output>,
    readers: Vec<JoinHandle<()>>,
}

/// The lines of standard error and the bytes of standard output, as they come.
#[derive(Debug, Default)]
struct Output {
    text: Mutex<Text>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct Text {
    stderr: Vec<String>,
    stdout: String,
    /// Both pipes have ended: the process is gone.
    ended: bool,
}

/// The name of the configuration in the process's directory.
const CONFIG_NAME: &str = "balance.yaml";

impl Process {
    /// Starts `binary run -c FILE` with this configuration. It returns at once; wait with
    /// [`Process::listener`] or [`Process::wait_for_stderr`].
    ///
    /// # Errors
    /// The binary could not be started.
    pub fn start(binary: impl AsRef<Path>, config: &str) -> anyhow::Result<Self> {
        Self::with_options(binary, config, &ProcessOptions::default())
    }

    /// As [`Process::start`] with more arguments or environment.
    ///
    /// # Errors
    /// The binary could not be started.
    pub fn with_options(
        binary: impl AsRef<Path>,
        config: &str,
        options: &ProcessOptions,
    ) -> anyhow::Result<Self> {
        let directory = TempDir::new("process")?;
        let file = directory.write(CONFIG_NAME, config)?;
        let mut command = match options.descriptors_max {
            None => Command::new(binary.as_ref()),
            Some(max) => {
                let mut command = Command::new("prlimit");
                command
                    .arg(format!("--nofile={max}:{max}"))
                    .arg(binary.as_ref());
                command
            }
        };
        command
            .arg("run")
            .arg("-c")
            .arg(file)
            .args(&options.arguments);
        // Its control socket goes into the directory too, so that tests do not meet.
        command
            .env("XDG_RUNTIME_DIR", directory.path())
            .env_remove("RUNTIME_DIRECTORY");
        command.envs(
            options
                .environment
                .iter()
                .map(|(name, value)| (name, value)),
        );
        Self::spawn(command, directory)
    }

    /// Starts any command, with a directory that lives as long as it.
    ///
    /// # Errors
    /// The command could not be started.
    pub fn spawn(mut command: Command, directory: TempDir) -> anyhow::Result<Self> {
        command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let mut child = command
            .spawn()
            .with_context(|| format!("cannot start {command:?}"))?;
        let output = Arc::new(Output::default());
        let stdout = child.stdout.take().context("standard output was piped")?;
        let stderr = child.stderr.take().context("standard error was piped")?;
        let reading_stdout = std::thread::spawn({
            let output = Arc::clone(&output);
            move || output.read_stdout(stdout)
        });
        let reading_stderr = std::thread::spawn({
            let output = Arc::clone(&output);
            move || {
                output.read_stderr(stderr);
                let _ = reading_stdout.join(); // it ends when the process does
                output.change(|text| text.ended = true);
            }
        });
        Ok(Self {
            child,
            directory,
            output,
            readers: vec![reading_stderr],
        })
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Its directory: the configuration, its control socket, and whatever the test puts there.
    pub fn directory(&self) -> &Path {
        self.directory.path()
    }

    pub fn config_path(&self) -> PathBuf {
        self.directory.path().join(CONFIG_NAME)
    }

    /// Replaces the configuration file; the process learns of it by a reload.
    ///
    /// # Errors
    /// The file could not be written.
    pub fn write_config(&self, config: &str) -> std::io::Result<()> {
        self.directory.write(CONFIG_NAME, config).map(|_| ())
    }

    /// Waits for the line `listening name=NAME address=IP:PORT`, or its JSON, and returns its address (the last
    /// one, when a reload has bound the name again).
    ///
    /// # Panics
    /// When it does not come within [`PATIENCE`] or the process ends.
    pub fn listener(&self, name: &str) -> SocketAddr {
        let needles = [format!("name={name} "), format!("\"name\":\"{name}\"")];
        let is_wanted = |line: &str| {
            line.contains("listening") && needles.iter().any(|needle| line.contains(needle))
        };
        self.wait_for_stderr(is_wanted);
        let lines = self.stderr_lines();
        let line = lines.iter().rfind(|line| is_wanted(line));
        let value = line
            .and_then(|line| line.split("address").nth(1))
            .unwrap_or_default()
            .trim_start_matches(['=', '"', ':']);
        let end = value.find([' ', '"', ',']).unwrap_or(value.len());
        let address = &value[..end];
        match address.parse::<SocketAddr>() {
            // A wildcard is reached over loopback.
            Ok(address) if address.ip().is_unspecified() => {
                SocketAddr::from(([127, 0, 0, 1], address.port()))
            }
            Ok(address) => address,
            Err(error) => fail(&format!("{address:?} in {line:?}: {error}")),
        }
    }

    /// Waits for a line of standard error and returns it. Lines that came before count too.
    ///
    /// # Panics
    /// When it does not come within [`PATIENCE`] or the process ends.
    pub fn wait_for_stderr(&self, is_wanted: impl Fn(&str) -> bool) -> String {
        self.wait_for_stderr_after(0, is_wanted)
    }

    /// As [`Process::wait_for_stderr`] among the lines from number `from` on, for what happens repeatedly.
    ///
    /// # Panics
    /// When it does not come within [`PATIENCE`] or the process ends.
    pub fn wait_for_stderr_after(&self, from: usize, is_wanted: impl Fn(&str) -> bool) -> String {
        let deadline = Instant::now() + PATIENCE;
        let mut text = self.output.text();
        loop {
            if let Some(line) = text.stderr.iter().skip(from).find(|line| is_wanted(line)) {
                return line.clone();
            }
            let left = deadline.saturating_duration_since(Instant::now());
            assert!(
                !left.is_zero() && !text.ended,
                "the line did not come (process ended: {}); standard error:\n{}",
                text.ended,
                text.stderr.join("\n")
            );
            let waited = self.output.changed.wait_timeout(text, left);
            text = waited.expect("no reader panics with the lock").0;
        }
    }

    /// All lines of standard error so far.
    pub fn stderr_lines(&self) -> Vec<String> {
        self.output.text().stderr.clone()
    }

    /// Standard error so far.
    pub fn stderr(&self) -> String {
        self.stderr_lines().join("\n")
    }

    /// Standard output so far.
    pub fn stdout(&self) -> String {
        self.output.text().stdout.clone()
    }

    /// Sends a signal.
    ///
    /// # Errors
    /// The process is gone.
    pub fn signal(&self, signal: Signal) -> std::io::Result<()> {
        signal_pid(self.pid(), signal)
    }

    /// SIGTERM, then waits for the end.
    ///
    /// # Panics
    /// When it does not end within [`PATIENCE`].
    pub fn terminate(&mut self) -> ExitStatus {
        // It may have ended by itself, which the exit status tells.
        let _ = self.signal(Signal::Terminate);
        self.wait_for_exit(PATIENCE)
    }

    /// SIGKILL, then waits for the end.
    pub fn kill(&mut self) -> ExitStatus {
        let _ = self.child.kill(); // fails only when it has ended
        self.wait_for_exit(PATIENCE)
    }

    /// Waits for the end and for the last of its output.
    ///
    /// # Panics
    /// When it does not end within `limit`.
    pub fn wait_for_exit(&mut self, limit: Duration) -> ExitStatus {
        let deadline = Instant::now() + limit;
        loop {
            match self.child.try_wait() {
                Ok(Some(status)) => {
                    self.join_readers();
                    return status;
                }
                Ok(None) if Instant::now() < deadline => pause(Duration::from_millis(5)),
                _ => fail(&format!("still running; it wrote:\n{}", self.stderr())),
            }
        }
    }

    /// Whether it has not ended yet.
    pub fn is_running(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(None))
    }

    /// Resident memory in bytes (`VmRSS`); 0 when it has ended.
    pub fn resident_bytes(&self) -> u64 {
        let path = format!("/proc/{}/status", self.pid());
        let status = std::fs::read_to_string(path).unwrap_or_default();
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        let kib = line.and_then(|rest| rest.split_whitespace().next()?.parse::<u64>().ok());
        kib.unwrap_or(0) * 1024
    }

    /// How many descriptors it has open; 0 when it has ended.
    pub fn open_descriptors(&self) -> usize {
        std::fs::read_dir(format!("/proc/{}/fd", self.pid())).map_or(0, Iterator::count)
    }

    fn join_readers(&mut self) {
        for reader in self.readers.drain(..) {
            let _ = reader.join();
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // Both fail only when it has ended and been waited for.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Output {
    fn text(&self) -> MutexGuard<'_, Text> {
        self.text.lock().expect("no reader panics with the lock")
    }

    fn change(&self, act: impl FnOnce(&mut Text)) {
        act(&mut self.text());
        self.changed.notify_all();
    }

    fn read_stderr(&self, pipe: impl Read) {
        for line in BufReader::new(pipe).split(b'\n') {
            let Ok(line) = line else { return };
            let line = String::from_utf8_lossy(&line).into_owned();
            self.change(|text| text.stderr.push(line));
        }
    }

    fn read_stdout(&self, mut pipe: impl Read) {
        let mut block = [0; 4096];
        while let Ok(read) = pipe.read(&mut block) {
            if read == 0 {
                return;
            }
            self.change(|text| {
                text.stdout
                    .push_str(&String::from_utf8_lossy(&block[..read]))
            });
        }
    }
}

/// Sends a signal to any process.
pub(crate) fn signal_pid(pid: u32, signal: Signal) -> std::io::Result<()> {
    use rustix::process::Signal as Number;
    let number = match signal {
        Signal::Hangup => Number::HUP,
        Signal::Interrupt => Number::INT,
        Signal::Quit => Number::QUIT,
        Signal::Terminate => Number::TERM,
        Signal::Kill => Number::KILL,
        Signal::User1 => Number::USR1,
        Signal::User2 => Number::USR2,
        Signal::Stop => Number::STOP,
        Signal::Continue => Number::CONT,
    };
    let pid = i32::try_from(pid)
        .ok()
        .and_then(rustix::process::Pid::from_raw);
    let pid = pid.ok_or(std::io::ErrorKind::InvalidInput)?;
    Ok(rustix::process::kill_process(pid, number)?)
}

#[expect(clippy::panic, reason = "a test fails by panicking, and here it fails")]
#[track_caller]
fn fail(reason: &str) -> ! {
    panic!("{reason}")
}

#[cfg(test)]
mod tests {
    use std::process::Command;
    use std::time::Duration;

    use super::{Process, Signal};
    use crate::TempDir;

    fn shell(script: &str) -> Process {
        let mut command = Command::new("sh");
        command.arg("-c").arg(script);
        Process::spawn(command, TempDir::new("shell").unwrap()).unwrap()
    }

    #[test]
    fn finds_the_address_of_a_listener() {
        let process = shell("echo 'INFO listening name=web address=0.0.0.0:81' >&2; exec sleep 60");
        assert_eq!(process.listener("web").to_string(), "127.0.0.1:81");
    }

    #[test]
    fn signals_reach_the_process() {
        let mut process =
            shell("trap 'echo got it; exit 3' USR1; echo up >&2; while :; do sleep 0.05; done");
        process.wait_for_stderr(|line| line == "up");
        process.signal(Signal::User1).unwrap();
        assert_eq!(
            process.wait_for_exit(Duration::from_secs(20)).code(),
            Some(3)
        );
        assert_eq!(process.stdout(), "got it\n");
    }

    #[test]
    fn a_process_is_started_with_its_configuration() {
        // echo is no proxy, but it shows which arguments it gets.
        let mut process = Process::start("/bin/echo", "mode: tcp\n").unwrap();
        assert!(process.wait_for_exit(Duration::from_secs(20)).success());
        assert_eq!(
            process.stdout(),
            format!("run -c {}\n", process.config_path().display())
        );
        assert_eq!(
            std::fs::read_to_string(process.config_path()).unwrap(),
            "mode: tcp\n"
        );
    }
}

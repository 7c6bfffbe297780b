//! The proxy that is measured: a process of its own on a core of its own.

use std::fs;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::Context;
use rustix::thread::{CpuSet, sched_setaffinity};

/// A running proxy. Dropping it ends it and removes its files.
pub(super) struct Proxy {
    child: Child,
    address: SocketAddr,
    directory: PathBuf,
}

/// How long it may take until it listens.
const START_TIME: Duration = Duration::from_secs(10);

impl Proxy {
    /// Starts `binary` on the cores of `own`; the calling thread is on those of `rest` afterwards.
    ///
    /// # Errors
    /// It does not start, or does not listen in time: with what it said.
    pub(super) fn start(
        binary: &Path,
        origin: SocketAddr,
        own: &CpuSet,
        rest: &CpuSet,
    ) -> anyhow::Result<Self> {
        // Free at this moment; should another program be quicker, the proxy says so.
        let address = TcpListener::bind(("127.0.0.1", 0))?.local_addr()?;
        let directory =
            std::env::temp_dir().join(format!("balance-targets-{}", std::process::id()));
        fs::create_dir_all(&directory).context("cannot make a temporary folder")?;
        let path = directory.join("balance.yaml");
        fs::write(&path, configuration(address, origin))
            .context("cannot write the configuration")?;
        let log = fs::File::create(directory.join("log")).context("cannot write a log")?;
        // A child has the cores of the thread that starts it.
        sched_setaffinity(None, own).context("cannot choose cores")?;
        let child = Command::new(binary)
            .args(["run", "-c"])
            .arg(&path)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn();
        sched_setaffinity(None, rest).context("cannot choose cores")?;
        let mut proxy = Self {
            child: child.with_context(|| format!("cannot start {}", binary.display()))?,
            address,
            directory,
        };
        proxy.wait_until_it_listens()?;
        Ok(proxy)
    }

    pub(super) fn addr(&self) -> SocketAddr {
        self.address
    }

    pub(super) fn pid(&self) -> u32 {
        self.child.id()
    }

    fn wait_until_it_listens(&mut self) -> anyhow::Result<()> {
        let deadline = Instant::now() + START_TIME;
        while TcpStream::connect(self.address).is_err() {
            if self.child.try_wait()?.is_some() || Instant::now() > deadline {
                let said = fs::read_to_string(self.directory.join("log")).unwrap_or_default();
                anyhow::bail!("the proxy does not listen; it said:\n{said}");
            }
            std::thread::park_timeout(Duration::from_millis(20));
        }
        Ok(())
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        // It may have ended already, and nothing else can be done about a file that stays.
        let _ = self.child.kill();
        let _ = self.child.wait();
        let _ = fs::remove_dir_all(&self.directory);
    }
}

/// One worker, metrics on, no access log: what benchmark/peers measures beside other proxies.
fn configuration(listen: SocketAddr, origin: SocketAddr) -> String {
    format!(
        "version: 2
performance: {{ worker_threads: 1 }}
logging: {{ level: warn, access_log: false }}
http: {{ max_idle_conns_per_host: 256, idle_conn_timeout: 600s }}
timeouts: {{ connect: 5s, idle: 600s }}
listeners:
  - {{ name: web, listen: \"{listen}\", mode: http, pool: origin }}
pools:
  origin: {{ backends: [ {{ name: origin-1, address: \"{origin}\" }} ] }}
"
    )
}

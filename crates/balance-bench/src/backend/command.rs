//! `balance bench backend`: the built-in backend on the command line.

use std::io::Write;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use super::{Backend, BackendOptions, IdentityFiles, Mode};

/// Run the built-in origin until Ctrl-C.
#[derive(Clone, Debug, clap::Args)]
pub struct BackendArgs {
    /// Address to accept on; may be given several times. Port 0 takes a free port
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:9001")]
    pub listen: Vec<SocketAddr>,

    /// What to do with a connection
    #[arg(long, value_enum, default_value_t = Mode::Http)]
    pub mode: Mode,

    /// Length of every answer's body, in bytes
    #[arg(long, value_name = "BYTES", default_value_t = 128)]
    pub body: usize,

    /// How long every answer waits, in milliseconds
    #[arg(long, value_name = "MS", default_value_t = 0)]
    pub delay: u64,

    /// Status of every answer
    #[arg(long, value_name = "CODE", default_value_t = 200)]
    pub status: u16,

    /// Name sent in the header X-Backend
    #[arg(long, default_value = "")]
    pub name: String,

    /// Say the name in the body, instead of --body bytes of text
    #[arg(long, requires = "name")]
    pub identify: bool,

    /// Threads, each with its own accept socket; 0 = one per core
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub threads: usize,

    /// Speak TLS with this certificate, PEM (`balance cert self-signed` makes one)
    #[arg(long, value_name = "FILE", requires = "tls_key")]
    pub tls_cert: Option<PathBuf>,

    /// Its key, PEM
    #[arg(long, value_name = "FILE", requires = "tls_cert")]
    pub tls_key: Option<PathBuf>,
}

impl BackendArgs {
    fn identity(&self) -> Option<IdentityFiles> {
        let (certificate, key) = (self.tls_cert.clone()?, self.tls_key.clone()?);
        Some(IdentityFiles { certificate, key })
    }

    fn options(&self) -> BackendOptions {
        let cores = || std::thread::available_parallelism().map_or(1, usize::from);
        BackendOptions {
            listen: self.listen.clone(),
            mode: self.mode,
            body_bytes: self.body,
            delay: Duration::from_millis(self.delay),
            status: self.status,
            name: self.name.clone(),
            identify: self.identify,
            threads: if self.threads == 0 {
                cores()
            } else {
                self.threads
            },
            tls: self.identity(),
        }
    }
}

/// Serves until SIGINT or SIGTERM, then says how much it did.
pub(crate) fn run(args: &BackendArgs) -> anyhow::Result<ExitCode> {
    crate::descriptors::raise_limit();
    let backend = Backend::start(&args.options())?;
    let mut out = std::io::stdout();
    for address in backend.local_addrs() {
        writeln!(out, "backend listening on {address}")?;
    }
    out.flush()?;
    crate::interrupt::wait()?;
    writeln!(
        out,
        "{} connections, {} requests, {} bytes relayed",
        backend.connections(),
        backend.requests(),
        backend.bytes()
    )?;
    backend.stop();
    Ok(ExitCode::SUCCESS)
}

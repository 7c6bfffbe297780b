//! Programs with a configuration that the test writes: HAProxy, nginx, openssl in whatever part they have to play.

use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;

use anyhow::Context;

use crate::process::Process;
use crate::real_origin::{find_program, free_port, wait_until_it_accepts};
use crate::{PATIENCE, TempDir};

/// A running program that accepts at one address. Dropping it stops it.
#[derive(Debug)]
pub struct ConfiguredProgram {
    address: SocketAddr,
    process: Process,
}

impl ConfiguredProgram {
    /// HAProxy with these sections; `@PORT@` is the port of 127.0.0.1 to accept at.
    ///
    /// # Errors
    /// It is not installed, or it ended at once; with what it wrote.
    pub fn haproxy(sections: &str) -> anyhow::Result<Self> {
        let config = format!("{HAPROXY_BASE}{sections}\n");
        Self::start("haproxy", |command, directory, port| {
            let file = directory.write("haproxy.cfg", config.replace("@PORT@", port))?;
            command.args(["-db", "-f"]).arg(file);
            Ok(())
        })
    }

    /// nginx with these `http` blocks; `@PORT@` is the port of 127.0.0.1 to accept at.
    ///
    /// # Errors
    /// As [`ConfiguredProgram::haproxy`].
    pub fn nginx(http: &str) -> anyhow::Result<Self> {
        let is_root = rustix::process::geteuid().is_root();
        let user = if is_root { "user root;\n" } else { "" };
        let config = format!("{user}{NGINX_BASE}http {{\naccess_log off;\n{http}\n}}\n");
        Self::start("nginx", |command, directory, port| {
            let file = directory.write("nginx.conf", config.replace("@PORT@", port))?;
            command.args(["-e", "stderr", "-p"]).arg(directory.path());
            command.arg("-c").arg(file);
            Ok(())
        })
    }

    /// Any program with these arguments; `@PORT@` in them is the port of 127.0.0.1 to accept at.
    ///
    /// # Errors
    /// As [`ConfiguredProgram::haproxy`].
    pub fn with_arguments(program: &str, arguments: &[&str]) -> anyhow::Result<Self> {
        Self::start(program, |command, _, port| {
            command.args(arguments.iter().map(|one| one.replace("@PORT@", port)));
            Ok(())
        })
    }

    fn start(
        program: &str,
        configure: impl Fn(&mut Command, &TempDir, &str) -> anyhow::Result<()>,
    ) -> anyhow::Result<Self> {
        let binary = find_program(program);
        let binary = binary.with_context(|| format!("{program} is not installed"))?;
        // Another program may take the port between our look and its start.
        let mut attempts = 0;
        loop {
            attempts += 1;
            match Self::spawn(&binary, &configure) {
                Err(_) if attempts < 3 => {}
                result => return result,
            }
        }
    }

    fn spawn(
        binary: &Path,
        configure: &impl Fn(&mut Command, &TempDir, &str) -> anyhow::Result<()>,
    ) -> anyhow::Result<Self> {
        let port = free_port()?;
        let directory = TempDir::new("configured")?;
        let mut command = Command::new(binary);
        configure(&mut command, &directory, &port.to_string())?;
        let mut process = Process::spawn(command, directory)?;
        let address = SocketAddr::from(([127, 0, 0, 1], port));
        wait_until_it_accepts(&mut process, address, PATIENCE)?;
        Ok(Self { address, process })
    }

    pub fn addr(&self) -> SocketAddr {
        self.address
    }
}

impl Drop for ConfiguredProgram {
    fn drop(&mut self) {
        if self.process.is_running() {
            // In order, because nginx stops its children; killing it would leave those.
            self.process.terminate();
        }
    }
}

const HAPROXY_BASE: &str = "defaults\n\
    \x20 timeout connect 20s\n\
    \x20 timeout client 20s\n\
    \x20 timeout server 20s\n";

const NGINX_BASE: &str = "daemon off;\n\
    worker_processes 1;\n\
    pid nginx.pid;\n\
    error_log stderr warn;\n\
    events { worker_connections 256; }\n";

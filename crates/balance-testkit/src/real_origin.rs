//! Origins that people really use: nginx, Apache, Node, Python's http.server, Go's net/http and gunicorn, with a
//! generated configuration in a directory of their own.
//!
//! As origins, all but gunicorn serve the same files: `/` (the program's name), `/small.txt`, `/large.bin`
//! ([`RealOrigin::LARGE_BYTES`]). Node (over HTTP/2 too) and Go also answer `/echo` with the body they got and `/chunked` without a length.
//! As witnesses, all but Go and Node over HTTP/2 say what they saw of each request ([`witness`]).

mod witness;

use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};

use crate::process::Process;
use crate::{PATIENCE, TempDir, pause};

pub use witness::Sight;

/// A program that can serve as an origin.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Program {
    Nginx,
    Apache,
    Node,
    /// Node again, which speaks HTTP/2 alone, by prior knowledge.
    NodeHttp2,
    Python,
    Go,
    Gunicorn,
}

/// What it is there for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Role {
    /// Serves files.
    Origin,
    /// Answers everything and logs what it saw.
    Witness,
}

/// A running origin. Dropping it stops it.
#[derive(Debug)]
pub struct RealOrigin {
    program: Program,
    address: SocketAddr,
    process: Process,
}

impl Program {
    /// Those that can be witnesses.
    pub const WITNESSES: [Self; 5] = [
        Self::Nginx,
        Self::Apache,
        Self::Node,
        Self::Python,
        Self::Gunicorn,
    ];

    /// What `/` answers.
    pub fn name(self) -> &'static str {
        match self {
            Self::Nginx => "nginx",
            Self::Apache => "apache",
            Self::Node => "node",
            Self::NodeHttp2 => "node-http2",
            Self::Python => "python",
            Self::Go => "go",
            Self::Gunicorn => "gunicorn",
        }
    }

    /// Whether it is installed here.
    pub fn is_available(self) -> bool {
        let is_installed = self != Self::Gunicorn || modules().join("gunicorn").is_dir();
        is_installed && self.binary().is_some()
    }

    /// Whether it keeps connections open and answers `/echo` and `/chunked`.
    pub fn runs_code(self) -> bool {
        matches!(self, Self::Node | Self::NodeHttp2 | Self::Go)
    }

    fn binary(self) -> Option<PathBuf> {
        let name = match self {
            Self::Nginx => "nginx",
            Self::Apache => "apache2",
            Self::Node | Self::NodeHttp2 => "node",
            Self::Python | Self::Gunicorn => "python3",
            Self::Go => "go",
        };
        find_program(name)
    }
}

/// Where a program is installed, if it is. Debian keeps daemons in sbin, which is not in every PATH.
pub(crate) fn find_program(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let more = ["/usr/sbin", "/usr/local/sbin"].map(PathBuf::from);
    let mut places = std::env::split_paths(&path)
        .chain(more)
        .map(|place| place.join(name));
    places.find(|file| file.is_file())
}

/// Waits until a program accepts at its address, or tells what it wrote.
pub(crate) fn wait_until_it_accepts(
    process: &mut Process,
    address: SocketAddr,
    limit: Duration,
) -> anyhow::Result<()> {
    let deadline = Instant::now() + limit;
    while Instant::now() < deadline {
        if TcpStream::connect_timeout(&address, PATIENCE).is_ok() {
            return Ok(());
        }
        if !process.is_running() {
            break;
        }
        pause(Duration::from_millis(10));
    }
    bail!(
        "nothing accepts at {address}; the program wrote:\n{}",
        process.stderr()
    )
}

impl RealOrigin {
    /// The length of `/large.bin`.
    pub const LARGE_BYTES: usize = 3_000_000;
    /// The content of `/small.txt`.
    pub const SMALL: &str = "a small file\n";

    /// Starts it on a free port and waits until it accepts.
    ///
    /// # Errors
    /// The program is not installed, or it ended at once; with what it wrote.
    pub fn start(program: Program) -> anyhow::Result<Self> {
        Self::start_in(Role::Origin, program)
    }

    fn start_in(role: Role, program: Program) -> anyhow::Result<Self> {
        // Another program may take the port between our look and its start.
        let mut attempts = 0;
        loop {
            attempts += 1;
            match Self::spawn(role, program, free_port()?) {
                Err(_) if attempts < 3 => {}
                result => return result,
            }
        }
    }

    /// As [`RealOrigin::start`] on a given port, to come back where it was before.
    ///
    /// # Errors
    /// As [`RealOrigin::start`].
    pub fn start_on(program: Program, port: u16) -> anyhow::Result<Self> {
        Self::spawn(Role::Origin, program, port)
    }

    fn spawn(role: Role, program: Program, port: u16) -> anyhow::Result<Self> {
        let binary = program.binary();
        let binary = binary.with_context(|| format!("{} is not installed", program.name()))?;
        let directory = TempDir::new(program.name())?;
        write_files(&directory, program)?;
        let command = command(role, program, &binary, &directory, port)?;
        let process = Process::spawn(command, directory)?;
        let address = SocketAddr::from(([127, 0, 0, 1], port));
        let mut origin = Self {
            program,
            address,
            process,
        };
        origin.wait_until_it_accepts()?;
        Ok(origin)
    }

    pub fn program(&self) -> Program {
        self.program
    }

    pub fn addr(&self) -> SocketAddr {
        self.address
    }

    /// The process: for its signals, its output and its death.
    pub fn process(&mut self) -> &mut Process {
        &mut self.process
    }

    /// The directory of the files it serves.
    pub fn root(&self) -> PathBuf {
        self.process.directory().join(ROOT)
    }

    fn wait_until_it_accepts(&mut self) -> anyhow::Result<()> {
        let limit = if self.program == Program::Go {
            6 * PATIENCE // Go is compiled first
        } else {
            PATIENCE
        };
        let waited = wait_until_it_accepts(&mut self.process, self.address, limit);
        waited.with_context(|| self.program.name())
    }
}

impl Drop for RealOrigin {
    fn drop(&mut self) {
        if self.process.is_running() {
            // In order, because nginx and Apache stop their children; killing them would leave those.
            self.process.terminate();
        }
    }
}

const ROOT: &str = "root";

pub(crate) fn free_port() -> std::io::Result<u16> {
    Ok(TcpListener::bind("127.0.0.1:0")?.local_addr()?.port())
}

fn write_files(directory: &TempDir, program: Program) -> std::io::Result<()> {
    let root = directory.path().join(ROOT);
    std::fs::create_dir(&root)?;
    std::fs::write(root.join("index.html"), format!("{}\n", program.name()))?;
    std::fs::write(root.join("small.txt"), RealOrigin::SMALL)?;
    std::fs::write(
        root.join("large.bin"),
        crate::EchoServer::pattern(RealOrigin::LARGE_BYTES),
    )
}

/// Where `.ci/install.sh` puts what Python takes from a registry.
fn modules() -> PathBuf {
    let target = std::env::var_os("CARGO_TARGET_DIR").map(PathBuf::from);
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    root.join(target.unwrap_or_else(|| PathBuf::from("target")))
        .join("test-peers/python")
}

fn command(
    role: Role,
    program: Program,
    binary: &Path,
    directory: &TempDir,
    port: u16,
) -> anyhow::Result<Command> {
    let mut command = Command::new(binary);
    let path = directory.path();
    let fill = |text: &str| {
        let user_line = if rustix::process::geteuid().is_root() {
            "user root;"
        } else {
            ""
        };
        text.replace("@PORT@", &port.to_string())
            .replace("@DIRECTORY@", &path.display().to_string())
            .replace("@USER_LINE@", user_line)
    };
    let is_witness = role == Role::Witness;
    match program {
        Program::Nginx => {
            let text = if is_witness {
                witness::NGINX_CONF
            } else {
                NGINX_CONF
            };
            let config = directory.write("nginx.conf", fill(text))?;
            command
                .arg("-p")
                .arg(path)
                .arg("-c")
                .arg(config)
                .args(["-e", "stderr"]);
        }
        Program::Apache => {
            let text = if is_witness {
                witness::APACHE_CONF
            } else {
                APACHE_CONF
            };
            let config = directory.write("apache.conf", fill(text))?;
            command.arg("-f").arg(config).arg("-DFOREGROUND");
        }
        Program::Node if is_witness => {
            let script = directory.write("server.js", fill(witness::NODE_SERVER))?;
            command.arg(script);
        }
        Program::NodeHttp2 if is_witness => bail!("node is no witness over HTTP/2"),
        Program::Node | Program::NodeHttp2 => {
            let is_http2 = program == Program::NodeHttp2;
            let module = if is_http2 { "http2" } else { "http" };
            let text = fill(NODE_SERVER).replace("@MODULE@", module);
            let script = directory.write("server.js", text)?;
            command.arg(script);
        }
        Program::Python if is_witness => {
            let script = directory.write("server.py", fill(witness::PYTHON_SERVER))?;
            command.arg(script);
        }
        Program::Gunicorn if is_witness => {
            directory.write("application.py", fill(witness::WSGI_APPLICATION))?;
            command
                .env("PYTHONPATH", modules())
                .args(["-m", "gunicorn"]);
            command.arg("--chdir").arg(path);
            command.arg("--bind").arg(format!("127.0.0.1:{port}"));
            command.args(witness::GUNICORN_OPTIONS);
        }
        Program::Gunicorn => bail!("gunicorn serves no files here"),
        Program::Go if is_witness => bail!("go is no witness"),
        Program::Python => {
            command.args([
                "-m",
                "http.server",
                "--bind",
                "127.0.0.1",
                "--protocol",
                "HTTP/1.1",
            ]);
            command
                .arg("--directory")
                .arg(path.join(ROOT))
                .arg(port.to_string());
        }
        Program::Go => {
            // Built and then run: `go run` would put itself between us and the server's process.
            let source = directory.write("server.go", fill(GO_SERVER))?;
            let server = path.join("server");
            let mut build = Command::new(binary);
            build
                .args(["build", "-o"])
                .arg(&server)
                .arg(source)
                .env("GO111MODULE", "off");
            if std::env::var_os("HOME").is_none() {
                build.env("GOCACHE", path.join("cache"));
            }
            let output = build.output().context("cannot run go")?;
            if !output.status.success() {
                bail!("go build: {}", String::from_utf8_lossy(&output.stderr));
            }
            command = Command::new(server);
        }
    }
    Ok(command)
}

const NGINX_CONF: &str = include_str!("real_origin/nginx.conf");
const APACHE_CONF: &str = include_str!("real_origin/apache.conf");
const NODE_SERVER: &str = include_str!("real_origin/server.js");
const GO_SERVER: &str = include_str!("real_origin/server.go");

#[cfg(test)]
mod tests {
    use super::{Program, RealOrigin};
    use crate::RawClient;

    fn check(program: Program) {
        if !program.is_available() {
            return;
        }
        let origin = RealOrigin::start(program).unwrap();
        let mut client = RawClient::connect(origin.addr()).unwrap();
        let mut get = |path: &str| {
            client
                .exchange(format!("GET {path} HTTP/1.1\r\nHost: h\r\n\r\n"))
                .unwrap()
        };
        assert_eq!(get("/").text(), format!("{}\n", program.name()));
        assert_eq!(get("/small.txt").text(), RealOrigin::SMALL);
        assert_eq!(get("/large.bin").body.len(), RealOrigin::LARGE_BYTES);
        assert_eq!(get("/nothing").status, 404);
        if program.runs_code() {
            assert_eq!(get("/chunked").framing, crate::Framing::Chunked);
            let post = "POST /echo HTTP/1.1\r\nHost: h\r\nContent-Length: 2\r\n\r\nhi";
            assert_eq!(client.exchange(post).unwrap().text(), "hi");
        }
    }

    #[test]
    fn nginx_serves_files() {
        check(Program::Nginx);
    }

    #[test]
    fn apache_serves_files() {
        check(Program::Apache);
    }

    #[test]
    fn node_serves_files() {
        check(Program::Node);
    }

    #[test]
    fn python_serves_files() {
        check(Program::Python);
    }

    #[test]
    fn go_serves_files() {
        check(Program::Go);
    }
}

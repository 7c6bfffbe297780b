"""The proxies and the origins: started from templates, pinned to a core, stopped by process id."""

import os
import re
import shutil
import signal
import subprocess
import tempfile
from pathlib import Path

import machine

PEERS = Path(__file__).resolve().parent.parent / "peers"
REPOSITORY = PEERS.parent.parent

# What requests and certificates are for.
HOST = "bench.example"

# More would only preallocate: the limit of descriptors is lower on most machines.
CONNECTIONS = 40_000


# What clients speak, and the proxy to backends, by the kind of a scenario.
MARKERS = {
    "http": ("cleartext", "h1", "toh1"),
    "tls": ("tls", "h1", "toh1"),
    "h2": ("tls", "h2", "toh1"),
    "h2c": ("cleartext", "h2", "toh1"),
    "h2-to-h2": ("tls", "h2", "toh2"),
    "h2c-to-h2": ("cleartext", "h2", "toh2"),
}


class Children:
    """Everything this run has started. Used as a context: leaving it stops all of it."""

    def __init__(self):
        self._started = []

    def __enter__(self):
        return self

    def __exit__(self, *_):
        for process in reversed(self._started):
            stop(process)

    def start(self, command, log, cwd=None):
        # A session of its own: Ctrl-C reaches only us, and we stop the children in order.
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            cwd=cwd,
            start_new_session=True,
            env={**os.environ, "PATH": machine.search_path()},
        )
        self._started.append(process)
        return process

    def stop(self, process):
        stop(process)
        self._started.remove(process)


def stop(process):
    if process.poll() is not None:
        return
    tree = machine.process_tree(process.pid)
    process.send_signal(signal.SIGTERM)
    try:
        process.wait(timeout=5)
        return
    except subprocess.TimeoutExpired:
        pass
    for pid in tree:
        try:
            os.kill(pid, signal.SIGKILL)
        except ProcessLookupError:
            pass
    process.wait()


class Proxy:
    """One running proxy."""

    def __init__(self, name, process, ports):
        self.name = name
        self.process = process
        self.ports = ports

    def pids(self):
        return machine.process_tree(self.process.pid)

    def cpu_seconds(self):
        return self._measured(machine.cpu_seconds)

    def memory(self):
        return self._measured(machine.memory)

    def _measured(self, measure):
        try:
            return measure(self.pids())
        except OSError as error:
            raise machine.Unusable(f"{self.name} ended while it was measured") from error


class Stage:
    """The two cores, the origins on one of them, and a directory for configurations and logs."""

    def __init__(self, children, proxy_core, load_core, bench):
        self.children = children
        self.proxy_core = proxy_core
        self.load_core = load_core
        self.bench = bench
        self.directory = Path(tempfile.mkdtemp(prefix="balance-compare-"))
        self.log = open(self.directory / "log.txt", "ab")
        self.origins = {}
        self.identity = {}

    def close(self):
        self.log.close()
        shutil.rmtree(self.directory, ignore_errors=True)

    def log_tail(self):
        lines = (self.directory / "log.txt").read_text(errors="replace").splitlines()
        return "\n".join(lines[-15:])

    def start_origins(self):
        """The built-in backend in each of the roles that the scenarios need."""
        roles = {
            "SMALL_PORT": ["--mode", "http", "--body", "128"],
            "LARGE_PORT": ["--mode", "http", "--body", "65536"],
            "ECHO_PORT": ["--mode", "echo"],
            "SOURCE_PORT": ["--mode", "source"],
        }
        # New connections to the echo origin are spread over 16 of its addresses (see peers/).
        for (role, options), port in zip(roles.items(), machine.free_ports(len(roles), addresses=16)):
            addresses = range(1, 17 if role == "ECHO_PORT" else 2)
            listen = [word for last in addresses for word in ("--listen", f"127.0.0.{last}:{port}")]
            command = [*self.bench, "backend", *listen, *options]
            process = self.children.start(machine.pinned(self.load_core, command), self.log)
            machine.wait_for_port(port, process)
            self.origins[role] = port

    def make_identity(self):
        """One certificate for all, P-256: the same work for each."""
        certificate, key = self.directory / "cert.pem", self.directory / "key.pem"
        command = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes",
                   "-days", "30", "-subj", f"/CN={HOST}", "-addext", f"subjectAltName=DNS:{HOST}",
                   "-keyout", key, "-out", certificate]
        made = subprocess.run(command, capture_output=True, text=True, check=False)
        if made.returncode != 0:
            raise machine.Unusable(f"openssl made no certificate: {made.stderr}")
        both = self.directory / "both.pem"
        both.write_text(certificate.read_text() + key.read_text())
        self.identity = {"CERT": certificate, "KEY": key, "PEM": both}

    def start_proxy(self, name, kind):
        """`kind` is a key of MARKERS, or tcp. Returns when the proxy accepts."""
        names = ["ECHO_PROXY_PORT", "BULK_PROXY_PORT", "METRICS_PORT"] if kind == "tcp" else [
            "PORT", "METRICS_PORT"]
        ports = dict(zip(names, machine.free_ports(len(names))))
        template, command = PROGRAMS[name](kind)
        directory = self.directory / f"{name}-{kind}"
        directory.mkdir(exist_ok=True)
        config = directory / template
        config.write_text(self._fill(template, TO_HTTP1[kind] if name == "to-h1" else kind, ports))
        command = [str(word).replace("@CONFIG@", str(config)) for word in command]
        command = [word.replace("@DIRECTORY@", str(directory)) for word in command]
        process = self.children.start(
            machine.pinned(self.proxy_core, command), self.log, cwd=directory)
        for port_name, port in ports.items():
            if port_name != "METRICS_PORT":
                machine.wait_for_port(port, process)
        return Proxy(name, process, ports)

    def _fill(self, template, kind, ports):
        module = Path("/usr/lib/nginx/modules/ngx_stream_module.so")
        values = {
            **self.origins,
            **self.identity,
            **ports,
            "DESCRIPTORS": machine.facts()["descriptors"],
            "CONNECTIONS": CONNECTIONS,
            # Workers that stay root need no readable temporary directories; others ignore the line.
            "USER_LINE": "user root;" if os.geteuid() == 0 else "",
            "STREAM_MODULE": f"load_module {module};" if module.exists() else "",
        }
        text = marked_for(kind, (PEERS / template).read_text())
        return re.sub(r"@([A-Z_]+)@", lambda match: str(values[match.group(1)]), text)


def marked_for(kind, text):
    """Without the lines that begin with a marker of other kinds, and without the markers of this one."""
    markers = MARKERS.get(kind, ())

    def keep(line):
        marked = re.match(r"(?:@[a-z0-9]+@)*", line)[0]
        return line[len(marked):] if set(re.findall(r"[a-z0-9]+", marked)) <= set(markers) else None

    kept = [keep(line) for line in text.splitlines()]
    return "\n".join(line for line in kept if line is not None) + "\n"


def _nginx(kind):
    template = "nginx-stream.conf" if kind == "tcp" else "nginx.conf"
    return template, ["nginx", "-p", "@DIRECTORY@/", "-c", "@CONFIG@", "-e", "stderr"]


def _haproxy(kind):
    template = "haproxy-tcp.cfg" if kind == "tcp" else "haproxy.cfg"
    return template, ["haproxy", "-q", "-db", "-f", "@CONFIG@"]


def _envoy(kind):
    template = "envoy-tcp.yaml" if kind == "tcp" else "envoy.yaml"
    # The id keeps it from sharing memory with any other Envoy of the machine.
    return template, ["envoy", "-c", "@CONFIG@", "--concurrency", "1", "--use-dynamic-base-id",
                      "--disable-hot-restart", "-l", "error"]


def _caddy(_kind):
    return "Caddyfile", ["caddy", "run", "--config", "@CONFIG@", "--adapter", "caddyfile"]


def _balance(kind):
    return _balance_template(kind), [balance_binary(), "run", "-c", "@CONFIG@"]


def _before(kind):
    return _balance_template(kind), [before_binary(), "run", "-c", "@CONFIG@"]


def _balance_template(kind):
    return "balance-tcp.yaml" if kind == "tcp" else "balance-http.yaml"


PROGRAMS = {"balance": _balance, "to-h1": _balance, "before": _before, "nginx": _nginx, "haproxy": _haproxy,
            "envoy": _envoy, "caddy": _caddy}

# Balance that speaks HTTP/1.1 to the backends, beside itself where it speaks HTTP/2: the kinds with the same clients.
TO_HTTP1 = {"h2-to-h2": "h2", "h2c-to-h2": "h2c"}

# Caddy proxies TCP only with a module that is not part of it. The nginx of distributions speaks no HTTP/2 to backends,
# and the configurations of Envoy and Caddy have none.
UNABLE = {"caddy": ["tcp", *TO_HTTP1], "nginx": [*TO_HTTP1], "envoy": [*TO_HTTP1]}


def is_able(name, kind):
    return kind in TO_HTTP1 if name == "to-h1" else kind not in UNABLE.get(name, [])


def default_names():
    """The peers that the targets are about must be there; the others are measured when they are."""
    return ["balance", "to-h1", "nginx", "haproxy", *(name for name in ("envoy", "caddy") if machine.is_installed(name))]


def before_binary():
    """An older Balance, for a comparison of the two."""
    path = os.environ.get("BALANCE_BEFORE")
    if path is None or not Path(path).exists():
        raise machine.Unusable("`before` is the Balance that BALANCE_BEFORE names, and there is none")
    return Path(path)


def balance_binary():
    return Path(os.environ.get("BALANCE", REPOSITORY / "target/release/balance"))


def bench_command():
    """`balance bench`, or the example of balance-bench where the proxy is not built."""
    if override := os.environ.get("BALANCE_BENCH"):
        return override.split()
    balance = balance_binary()
    if balance.exists():
        help_text = subprocess.run([balance, "bench", "backend", "--help"], capture_output=True, check=False)
        if help_text.returncode == 0:
            return [str(balance), "bench"]
    example = REPOSITORY / "target/release/examples/bench"
    if example.exists():
        return [str(example)]
    raise machine.Unusable(
        "no load generator: run `cargo build --release`, "
        "or `cargo build --release -p balance-bench --example bench` for the peers alone")


def versions(names):
    programs = {
        "balance": [str(balance_binary()), "version"],
        "to-h1": [str(balance_binary()), "version"],
        "nginx": ["nginx", "-v"],
        "haproxy": ["haproxy", "-v"],
        "envoy": ["envoy", "--version"],
        "caddy": ["caddy", "version"],
    }
    if "before" in names:
        programs["before"] = [str(before_binary()), "version"]
    os.environ["PATH"] = machine.search_path()
    return {name: f"{name} {_number(machine.version_of(programs[name]))}" for name in names}


def _number(line):
    """The version alone: some programs print the path they were started by."""
    found = re.search(r"\d+\.\d+\.\d+[^\s/]*", line)
    return found[0] if found else line

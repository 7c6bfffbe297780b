"""What is measured: each scenario makes one round against one proxy and returns a Sample."""

import json
import re
import socket
import ssl
import subprocess
import tempfile
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

import machine
from proxies import HOST

SMALL, LARGE = "/api/small", "/large"

# The same for all, whatever each prefers, so that the same work is done.
TLS = ["--insecure", "--server-name", HOST, "--tls-version", "1.3", "--ciphers", "TLS_AES_128_GCM_SHA256",
       "--groups", "X25519"]


@dataclass
class Sample:
    """One round of one proxy. The unit is a request, a message, a connection, or a gigabyte."""

    units: float
    seconds: float
    cpu_seconds: float
    p50_us: float | None = None
    p99_us: float | None = None
    errors: dict = field(default_factory=dict)
    agreed: str = ""
    """Version, cipher and group, under TLS."""

    @property
    def cpu_us_per_unit(self):
        return self.cpu_seconds * 1e6 / self.units if self.units else float("inf")

    @property
    def units_per_second(self):
        return self.units / self.seconds if self.seconds else 0.0

    @property
    def busy(self):
        """The share of its core that the proxy used."""
        return self.cpu_seconds / self.seconds if self.seconds else 0.0

    def to_json(self):
        return {
            **asdict(self),
            "cpu_us_per_request": self.cpu_us_per_unit,
            "requests_per_second": self.units_per_second,
        }


@dataclass(frozen=True)
class Scenario:
    name: str
    title: str
    kind: str
    unit: str
    run: object
    """Balance's CPU per unit divided by that of the best of `rivals` may be at most `target`. None: for information."""
    target: float | None = None
    rivals: tuple = ("nginx",)
    check: object = None


def wrk(connections, path, close=False, script=None):
    """A round of wrk, one thread on the load core. A script makes the requests instead of `path`."""

    def run(stage, proxy, seconds):
        command = ["wrk", "-t1", f"-c{connections}", f"-d{seconds}s", "--latency", "-H", f"Host: {HOST}"]
        if close:
            command += ["-H", "Connection: close"]
        if script is not None:
            command += ["-s", script]
        command.append(f"http://127.0.0.1:{proxy.ports['PORT']}{path}")
        before = proxy.cpu_seconds()
        result = subprocess.run(
            machine.pinned(stage.load_core, command), capture_output=True, text=True, check=False)
        cpu = proxy.cpu_seconds() - before
        if result.returncode != 0:
            raise machine.Unusable(f"wrk failed: {result.stdout}{result.stderr}")
        return _parse_wrk(result.stdout, cpu)

    return run


def _parse_wrk(text, cpu):
    completed = re.search(r"(\d+) requests in ([\d.]+)(ms|s|m),", text)
    if completed is None:
        raise machine.Unusable(f"wrk printed no result: {text}")
    seconds = float(completed[2]) * {"ms": 1e-3, "s": 1.0, "m": 60.0}[completed[3]]
    errors = {}
    if sockets := re.search(r"Socket errors: connect (\d+), read (\d+), write (\d+), timeout (\d+)", text):
        kinds = zip(("connect", "read", "write", "timeout"), sockets.groups())
        errors.update({kind: int(count) for kind, count in kinds if int(count)})
    if statuses := re.search(r"Non-2xx or 3xx responses: (\d+)", text):
        errors["status"] = int(statuses[1])
    percentiles = {
        share: float(value) * {"us": 1.0, "ms": 1e3, "s": 1e6, "m": 60e6}[unit]
        for share, value, unit in re.findall(r"^\s+(\d+)%\s+([\d.]+)(us|ms|s|m)\s*$", text, re.M)
    }
    return Sample(
        units=int(completed[1]),
        seconds=seconds,
        cpu_seconds=cpu,
        p50_us=percentiles.get("50"),
        p99_us=percentiles.get("99"),
        errors=errors,
    )


def http(path, connections, streams=None, is_tls=True):
    """The beginning of a command that asks a proxy; with `streams`, over HTTP/2."""

    def command(proxy):
        scheme, tls = ("https", TLS) if is_tls else ("http", [])
        h2 = [] if streams is None else ["--h2", "--streams", streams]
        return ["http", f"{scheme}://127.0.0.1:{proxy.ports['PORT']}{path}", "--threads", 1,
                "--connections", connections, "--header", f"Host: {HOST}", *tls, *h2]

    return command


def load(command_for, handshakes=None):
    """A round of `balance bench http`. `handshakes`, full or resumed: one for each request."""

    def run(stage, proxy, seconds):
        command = [*command_for(proxy), "--duration", f"{seconds}s"]
        if handshakes is not None:
            command += ["--new-connections"]
        if handshakes == "resumed":
            command += ["--resumption"]
        before = proxy.cpu_seconds()
        result = bench(stage, command)
        cpu = proxy.cpu_seconds() - before
        errors = result["errors"]
        resumed = sum(each["handshakes"] for each in result["tls"] if each["resumed"])
        if handshakes == "resumed" and resumed < 0.9 * result["requests"]:
            errors = {**errors, "not_resumed": result["requests"] - resumed}
        return Sample(
            units=result["requests"],
            seconds=result["duration_s"],
            cpu_seconds=cpu,
            p50_us=result["latency_us"]["p50"],
            p99_us=result["latency_us"]["p99"],
            errors=errors,
            agreed=agreed(result),
        )

    return run


def agreed(result):
    kinds = {f"TLS {each['version']} {each['cipher']} {each['group']}" for each in result["tls"]}
    return " and ".join(sorted(kinds))


def tcp(port_name, options, per_gb=False):
    """A round of `balance bench tcp` on the load core."""

    def run(stage, proxy, seconds):
        command = ["tcp", "--target", f"127.0.0.1:{proxy.ports[port_name]}", "--duration", seconds, *options]
        before = proxy.cpu_seconds()
        result = bench(stage, command)
        cpu = proxy.cpu_seconds() - before
        return Sample(
            units=result["bytes"] / 1e9 if per_gb else result["requests"],
            seconds=result["duration_s"],
            cpu_seconds=cpu,
            p50_us=None if per_gb else result["latency_us"]["p50"],
            p99_us=None if per_gb else result["latency_us"]["p99"],
            errors=result["errors"],
        )

    return run


def bench(stage, arguments):
    """Runs the load generator and returns its JSON. Its exit code 3 (LIMITED) is a result too."""
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory) / "result.json"
        command = machine.pinned(stage.load_core, [*stage.bench, *arguments, "--json", path])
        result = subprocess.run(command, capture_output=True, text=True, check=False)
        if not path.exists():
            raise machine.Unusable(f"{command} failed: {result.stdout}{result.stderr}")
        return json.loads(path.read_text())


def closes_when_asked(_stage, proxy):
    """Whether a request with `Connection: close` really ends its connection."""
    with socket.create_connection(("127.0.0.1", proxy.ports["PORT"]), timeout=5) as connection:
        connection.sendall(f"GET {SMALL} HTTP/1.1\r\nHost: {HOST}\r\nConnection: close\r\n\r\n".encode())
        received = b""
        while block := connection.recv(65536):
            received += block
    if not received.startswith(b"HTTP/1.1 200"):
        raise machine.Unusable(f"{proxy.name} answered {received[:80]!r}")


def connect(proxy, is_tls):
    connection = socket.create_connection(("127.0.0.1", proxy.ports["PORT"]), timeout=5)
    if not is_tls:
        return connection
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    return context.wrap_socket(connection, server_hostname=HOST)


def answers(path, length, is_tls=False):
    """A check that the proxy reaches the right origin before anything is measured."""

    def check(_stage, proxy):
        with connect(proxy, is_tls) as connection:
            request = f"GET {path} HTTP/1.1\r\nHost: {HOST}\r\nConnection: close\r\n\r\n"
            connection.sendall(request.encode())
            received = b""
            while block := connection.recv(65536):
                received += block
        head, _, body = received.partition(b"\r\n\r\n")
        if not head.startswith(b"HTTP/1.1 200") or len(body) != length:
            raise machine.Unusable(f"{proxy.name}: {len(body)} bytes behind {head[:80]!r}")

    return check


def speaks_h2(command_for, length):
    """A check that the proxy answers over HTTP/2, with what the origin sent."""

    def check(stage, proxy):
        result = bench(stage, [*command_for(proxy), "--requests", 64])
        if result["errors"] or result["statuses"] != {"200": 64}:
            raise machine.Unsupported(f"{proxy.name} answers no HTTP/2 here: {result['errors']}")
        if result["bytes"] < 64 * length:
            raise machine.Unusable(f"{proxy.name}: {result['bytes']} bytes in 64 answers")

    return check


def h2(name, title, path, connections, streams, is_tls, target=None):
    command = http(path, connections, streams, is_tls)
    length = 128 if path == SMALL else 65536
    return Scenario(name, f"HTTP/2 {'over TLS' if is_tls else 'in the clear'}, {title}", "h2" if is_tls else "h2c", "request",
                    load(command), target, ("nginx", "haproxy"), check=speaks_h2(command, length))


def h2_to_h2(name, title, path, connections, streams, is_tls):
    """The same with HTTP/2 to the backends, beside HTTP/1.1 to the same ones: that must not be cheaper where bodies are small."""
    to_http1 = h2(name, title, path, connections, streams, is_tls)
    return replace(to_http1, title=f"{to_http1.title}, HTTP/2 to backends", kind=f"{to_http1.kind}-to-h2",
                   target=1.0 if path == SMALL else None, rivals=("to-h1",))


def idle(stage, proxy, scenario, connections):
    """Memory of a fresh proxy, after it has worked for a second, and its growth by idle connections.

    The growth is counted from the second figure: code, tables and buffers that are touched for the first time by any
    request are no cost of a connection."""
    fresh = proxy.memory()
    is_tls, is_h2 = scenario.kind in ("tls", "h2"), scenario.kind in ("h2", "h2c")
    command_for = http(SMALL, 64, 1 if is_h2 else None, is_tls)
    if is_h2:
        speaks_h2(command_for, 128)(stage, proxy)
    load(command_for)(stage, proxy, 1)
    warm = proxy.memory()
    command = ["connections", "--target", f"127.0.0.1:{proxy.ports['PORT']}", "--host", HOST,
               "--path", SMALL, "--connections", connections, "--hold", IDLE_HOLD_S]
    command += ["--https", *TLS] if is_tls else []
    command += ["--h2"] if is_h2 else []
    for pid in proxy.pids():
        command += ["--pid", pid]
    result = bench(stage, command)
    held = result["memory"]["held_rss_bytes"]
    return {
        "connections": result["connections"],
        "connections_wanted": connections,
        "lost": result["lost"],
        "agreed": agreed(result),
        "errors": result["errors"],
        "limited_by": result["limited_by"],
        "base_rss_bytes": fresh.rss,
        "base_pss_bytes": fresh.pss,
        "warm_rss_bytes": warm.rss,
        "held_rss_bytes": held,
        "bytes_per_connection": (held - warm.rss) / max(result["connections"], 1),
    }


SCENARIOS = [
    Scenario("h1-64", "HTTP/1.1 keep-alive, 64 connections, 128 B", "http", "request",
             wrk(64, SMALL), 0.80, check=answers(SMALL, 128)),
    Scenario("h1-256", "HTTP/1.1 keep-alive, 256 connections, 128 B", "http", "request",
             wrk(256, SMALL), 0.75, check=answers(SMALL, 128)),
    Scenario("h1-64k", "HTTP/1.1 keep-alive, 64 connections, 64 KiB", "http", "request",
             wrk(64, LARGE), 0.85, check=answers(LARGE, 65536)),
    Scenario("newconn", "a new connection per request, 64 at a time", "http", "request",
             wrk(64, SMALL, close=True), 1.0, check=closes_when_asked),
    Scenario("tcp-conn", "TCP: connect, echo 64 B, close; 64 at a time", "tcp", "connection",
             tcp("ECHO_PROXY_PORT", ["--connections", 64, "--size", 64, "--new-connections"]), 1.0),
    Scenario("tcp-echo", "TCP: 64 B echoed on 64 kept connections", "tcp", "message",
             tcp("ECHO_PROXY_PORT", ["--connections", 64, "--size", 64])),
    Scenario("tcp-bulk", "TCP: bulk data on 4 connections", "tcp", "GB",
             tcp("BULK_PROXY_PORT", ["--connections", 4, "--bulk", "read"], per_gb=True), 1.05, ("haproxy",)),
    Scenario("tls-h1-64", "HTTP/1.1 over TLS, kept, 64 connections, 128 B", "tls", "request",
             load(http(SMALL, 64)), 0.70, check=answers(SMALL, 128, is_tls=True)),
    Scenario("tls-h1-64k", "HTTP/1.1 over TLS, kept, 64 connections, 64 KiB", "tls", "request",
             load(http(LARGE, 64)), 0.65, check=answers(LARGE, 65536, is_tls=True)),
    Scenario("tls-full", "a full TLS handshake for every request, 64 at a time", "tls", "handshake",
             load(http(SMALL, 64), "full"), 0.60, ("nginx", "haproxy"), check=answers(SMALL, 128, is_tls=True)),
    Scenario("tls-resumed", "a resumed TLS handshake for every request, 64 at a time", "tls", "handshake",
             load(http(SMALL, 64), "resumed"), 0.60, ("nginx", "haproxy"), check=answers(SMALL, 128, is_tls=True)),
    h2("h2-32x8", "32 connections with 8 streams, 128 B", SMALL, 32, 8, is_tls=True, target=0.60),
    h2("h2-wide", "8 connections with 64 streams, 128 B", SMALL, 8, 64, is_tls=True),
    h2("h2-64x1", "64 connections with one stream, 128 B", SMALL, 64, 1, is_tls=True, target=0.75),
    h2("h2-64k", "16 connections with 4 streams, 64 KiB", LARGE, 16, 4, is_tls=True, target=0.60),
    h2("h2c-32x8", "32 connections with 8 streams, 128 B", SMALL, 32, 8, is_tls=False),
    h2("h2c-wide", "8 connections with 64 streams, 128 B", SMALL, 8, 64, is_tls=False),
    h2("h2c-64x1", "64 connections with one stream, 128 B", SMALL, 64, 1, is_tls=False),
    h2("h2c-64k", "16 connections with 4 streams, 64 KiB", LARGE, 16, 4, is_tls=False),
    h2_to_h2("h2-to-h2", "32 connections with 8 streams, 128 B", SMALL, 32, 8, is_tls=True),
    h2_to_h2("h2-to-h2-64k", "16 connections with 4 streams, 64 KiB", LARGE, 16, 4, is_tls=True),
    h2_to_h2("h2c-to-h2", "32 connections with 8 streams, 128 B", SMALL, 32, 8, is_tls=False),
    h2_to_h2("h2c-to-h2-64k", "16 connections with 4 streams, 64 KiB", LARGE, 16, 4, is_tls=False),
]


@dataclass(frozen=True)
class Idle:
    """Idle connections. Balance has to stay below the limits; the peers are measured for comparison."""

    name: str
    title: str
    kind: str
    bytes_max: int
    base_bytes_max: float


IDLE = [
    Idle("idle", "idle connections", "http", 1_536, 15e6),
    Idle("idle-tls", "idle connections under TLS", "tls", 6 * 1_024, 15e6),
    Idle("idle-h2", "idle connections of HTTP/2 under TLS", "h2", 6 * 1_024, 15e6),
    Idle("idle-h2c", "idle connections of HTTP/2 in the clear", "h2c", 3 * 1_024, 15e6),
]
# An allocator may give memory back over ten seconds, in two steps: jemalloc does. The same for all.
IDLE_HOLD_S = 20
IDLE_CONNECTIONS = (5_000, 18_000)

"""The machine under the measurement: CPU time and memory of process trees, ports, pinning, facts."""

import contextlib
import os
import platform
import random
import resource
import shutil
import socket
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path

# Where install.sh --all puts Envoy and Caddy.
PEERS_BIN = Path(__file__).resolve().parent.parent.parent / "target/bench-peers/bin"

TICKS_PER_SECOND = os.sysconf("SC_CLK_TCK")


class Unusable(Exception):
    """The measurement cannot be made here; the message says what to do."""


class Unsupported(Exception):
    """A proxy does not do what a scenario is about; the message says what."""


@dataclass(frozen=True)
class Memory:
    """Resident memory of a process tree, in bytes."""

    rss: int
    pss: int


def process_tree(pid):
    """The process and all its descendants: nginx works in children."""
    pids, waiting = [], [pid]
    while waiting:
        current = waiting.pop()
        pids.append(current)
        for task in Path(f"/proc/{current}/task").glob("*/children"):
            try:
                waiting.extend(int(child) for child in task.read_text().split())
            except OSError:
                pass  # a thread that has ended in between
    return pids


def cpu_seconds(pids):
    """User and system time of all threads of these processes so far."""
    ticks = 0
    for pid in pids:
        stat = Path(f"/proc/{pid}/stat").read_text()
        # The name in brackets may hold spaces; utime and stime are the 12th and 13th field behind it.
        fields = stat.rpartition(")")[2].split()
        ticks += int(fields[11]) + int(fields[12])
    return ticks / TICKS_PER_SECOND


def memory(pids):
    return Memory(
        rss=sum(_kib_line(f"/proc/{pid}/status", "VmRSS:") for pid in pids) * 1024,
        pss=sum(_kib_line(f"/proc/{pid}/smaps_rollup", "Pss:") for pid in pids) * 1024,
    )


def _kib_line(path, name):
    for line in Path(path).read_text().splitlines():
        if line.startswith(name):
            return int(line.split()[1])
    return 0


def free_ports(count, addresses=1):
    """Distinct ports that nobody has on 127.0.0.1 and the following addresses now.

    They lie below those that connections take by themselves: a connection just closed holds its port for a minute.
    """
    taken_by_connections = int(Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split()[0])
    candidates = range(10_000, taken_by_connections if taken_by_connections > 11_000 else 65_536)
    hosts = [f"127.0.0.{last}" for last in range(1, addresses + 1)]
    ports = []
    with contextlib.ExitStack() as held:
        for port in random.sample(candidates, len(candidates)):
            try:
                for host in hosts:
                    held.enter_context(socket.create_server((host, port)))
            except OSError:
                continue
            ports.append(port)
            if len(ports) == count:
                return ports
    raise Unusable(f"no {count} ports are free between {candidates[0]} and {candidates[-1]}")


def wait_for_port(port, process, seconds=10.0, pause=0.02):
    """Returns when the process accepts on the port."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if process.poll() is not None:
            raise Unusable(f"{process.args} ended with {process.returncode}: see its output above")
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
            return
        except OSError:
            time.sleep(pause)
    raise Unusable(f"{process.args} does not listen on port {port}")


def raise_descriptor_limit():
    """Takes the hard limit and returns it: children inherit it."""
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    if hard == resource.RLIM_INFINITY:
        hard = 1_000_000
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    return hard


def pinned(core, command):
    return ["taskset", "-c", str(core), *map(str, command)]


def require_programs(names):
    missing = [name for name in names if not is_installed(name)]
    if missing:
        raise Unusable(f"not installed: {', '.join(missing)} (benchmark/install.sh installs them)")


def is_installed(name):
    return shutil.which(name, path=search_path()) is not None


def search_path():
    """Debian keeps daemons in sbin, which is not in every user's PATH; install.sh --all has a folder of its own."""
    return os.pathsep.join([os.environ.get("PATH", ""), "/usr/local/sbin", "/usr/sbin", "/sbin", str(PEERS_BIN)])


def version_of(command):
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    lines = (result.stdout + result.stderr).strip().splitlines()
    return lines[0] if lines else "unknown"


def facts():
    """What a reader must know about the machine."""
    model = "unknown"
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            model = line.split(":", 1)[1].strip()
            break
    return {
        "cpu": model,
        "cores": os.cpu_count(),
        "kernel": platform.release(),
        "descriptors": resource.getrlimit(resource.RLIMIT_NOFILE)[1],
        "load_average": os.getloadavg()[0],
    }

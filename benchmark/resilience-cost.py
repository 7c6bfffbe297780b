#!/usr/bin/env python3
"""What health checks, passive checks, breakers, retries, limits and a queue cost when all is well.

Two Balances on one core, one with all of it and one with none, are asked in turns by wrk on another core, which also has
the backend. Prints the CPU time per request of both, and the median over the pairs of rounds of their ratio. Needs a
release build, wrk and taskset.
"""

import argparse
import os
import re
import socket
import statistics
import subprocess
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
CONFIG = """\
version: 2
performance: {{ worker_threads: 1 }}
logging: {{ level: warn, access_log: false }}
http: {{ max_idle_conns_per_host: 256, idle_conn_timeout: 600s }}
pools:
  p:
    backends: ['127.0.0.1:{backend}']
{policy}
listeners: [ {{ name: web, listen: '127.0.0.1:{web}', mode: http, pool: p }} ]
"""
POLICIES = {
    "none": "",
    "all": """\
    health_check:
      path: /
      interval: 1s
      passive_checks: { consecutive_failures: 5, error_rate_threshold: 50%, window: 10s }
    resilience:
      circuit_breaker: { max_failures: 5 }
      retry: { per_try: 5s }
    limits: { max_connections: 10000, queue: 1000 }""",
}
TICKS = os.sysconf("SC_CLK_TCK")


def free_port():
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return listener.getsockname()[1]


def wait_for(port):
    for _ in range(200):
        try:
            return socket.create_connection(("127.0.0.1", port), timeout=10).close()
        except ConnectionRefusedError:
            time.sleep(0.05)
    raise SystemExit(f"nothing listens on port {port}")


def cpu_seconds(pid):
    fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / TICKS


def round_us(options, pid, port):
    before = cpu_seconds(pid)
    command = ["taskset", "-c", "1", "wrk", "-t1", f"-c{options.connections}", f"-d{options.seconds}s",
               f"http://127.0.0.1:{port}/"]
    text = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    if "Non-2xx" in text or "Socket errors" in text:
        raise SystemExit(text)
    return (cpu_seconds(pid) - before) * 1e6 / int(re.search(r"(\d+) requests in", text)[1])


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--binary", default=ROOT / "target/release/balance")
    parser.add_argument("--connections", type=int, default=64)
    parser.add_argument("--rounds", type=int, default=12)
    parser.add_argument("--seconds", type=int, default=3)
    options = parser.parse_args()
    children = []

    def start(core, *arguments):
        command = ["taskset", "-c", core, options.binary, *arguments]
        children.append(subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL))
        return children[-1].pid

    try:
        with tempfile.TemporaryDirectory() as folder:
            backend = free_port()
            start("1", "bench", "backend", "--listen", f"127.0.0.1:{backend}")
            wait_for(backend)
            running = {}
            for name, policy in POLICIES.items():
                port, config = free_port(), Path(folder, f"{name}.yaml")
                config.write_text(CONFIG.format(backend=backend, web=port, policy=policy))
                running[name] = (start("0", "-c", config), port)
                wait_for(port)
                round_us(options, *running[name])
            taken = {name: [] for name in POLICIES}
            for number in range(options.rounds):
                # Turn about, so that a machine that grows slower is slower for both.
                for name in list(POLICIES)[:: 1 if number % 2 else -1]:
                    taken[name].append(round_us(options, *running[name]))
    finally:
        for child in children:
            child.kill()
            child.wait()
    for name, values in taken.items():
        print(f"{name:5} {statistics.median(values):.2f} µs CPU per request ({min(values):.2f} to {max(values):.2f})")
    ratio = statistics.median(one / other for one, other in zip(taken["all"], taken["none"]))
    print(f"with all of it: {100 * (ratio - 1):+.1f} %, median of {options.rounds} pairs")


if __name__ == "__main__":
    main()

#!/usr/bin/env python3
"""What health checks, passive checks, breakers, retries, limits and a queue cost when all is well.

Two Balances on one core, one with all of it and one with none, are asked in turns by wrk on another core, which also has
the backend. Prints the CPU time per request of both, and the median over the pairs of rounds of their ratio. Needs a
release build, wrk and taskset.
"""

import argparse
import re
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent / "compare"))

import machine

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
PROXY_CORE, LOAD_CORE = 0, 1


def round_us(options, pid, port):
    before = machine.cpu_seconds([pid])
    wrk = ["wrk", "-t1", f"-c{options.connections}", f"-d{options.seconds}s", f"http://127.0.0.1:{port}/"]
    command = machine.pinned(LOAD_CORE, wrk)
    text = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    if "Non-2xx" in text or "Socket errors" in text:
        raise SystemExit(text)
    return (machine.cpu_seconds([pid]) - before) * 1e6 / int(re.search(r"(\d+) requests in", text)[1])


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--binary", default=ROOT / "target/release/balance")
    parser.add_argument("--connections", type=int, default=64)
    parser.add_argument("--rounds", type=int, default=12)
    parser.add_argument("--seconds", type=int, default=3)
    options = parser.parse_args()
    children = []

    def start(port, core, *arguments):
        command = machine.pinned(core, [options.binary, *arguments])
        children.append(subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL))
        machine.wait_for_port(port, children[-1])
        return children[-1].pid

    try:
        with tempfile.TemporaryDirectory() as folder:
            backend, *ports = machine.free_ports(1 + len(POLICIES))
            start(backend, LOAD_CORE, "bench", "backend", "--listen", f"127.0.0.1:{backend}")
            running = {}
            for (name, policy), port in zip(POLICIES.items(), ports):
                config = Path(folder, f"{name}.yaml")
                config.write_text(CONFIG.format(backend=backend, web=port, policy=policy))
                running[name] = (start(port, PROXY_CORE, "-c", config), port)
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
    try:
        main()
    except machine.Unusable as error:
        raise SystemExit(error)

#!/usr/bin/env python3
"""How long a configuration with 10,000 routes and 1,000 pools takes: to check, to start with and to reload.

    cargo build --release
    benchmark/config-load.py [--routes N] [--pools N] [--rounds N]

Exits 0 when every median is below the target, 1 when one is not, 2 when it could not be measured.
"""

import argparse
import re
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

BALANCE = Path(__file__).resolve().parent.parent / "target/release/balance"
TARGET_SECONDS = 0.5
BACKENDS_PER_POOL = 4
HOSTS = 2000


def configuration(routes, pools):
    """Routes by host, prefix and method over many hosts; weighted pools of several backends."""
    lines = [
        "version: 2",
        "listeners: [ { name: web, listen: '127.0.0.1:0', mode: http, pool: pool-0 } ]",
        "admin: { listen: '127.0.0.1:0' }",
        "pools:",
    ]
    for pool in range(pools):
        lines += [f"  pool-{pool}:", "    load_balancer: { algorithm: weighted-round-robin }", "    backends:"]
        for backend in range(BACKENDS_PER_POOL):
            address = f"10.{pool // 256}.{pool % 256}.{backend + 1}:8080"
            lines.append(f"      - {{ name: b-{backend}, address: '{address}', weight: {backend + 1} }}")
    lines.append("routes:")
    for route in range(routes):
        prefix = f"/v{route // HOSTS}/service-{route}/"
        lines += [
            f"  - name: route-{route}",
            f"    match: {{ host: h{route % HOSTS}.example.com, path_prefix: {prefix}, method: [GET, POST] }}",
            f"    pool: pool-{route % pools}",
        ]
    return "\n".join(lines) + "\n"


def timed(arguments):
    """Wall time and CPU time of a command that must succeed."""
    before, start = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    result = subprocess.run([BALANCE, *arguments], capture_output=True, text=True)
    wall, after = time.perf_counter() - start, resource.getrusage(resource.RUSAGE_CHILDREN)
    if result.returncode != 0:
        raise RuntimeError(f"balance {' '.join(map(str, arguments))}: {result.stdout}{result.stderr}")
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return wall, cpu


def started(file):
    """A running process and the time until it listens."""
    start = time.perf_counter()
    process = subprocess.Popen([BALANCE, "-c", file], stderr=subprocess.PIPE, text=True)
    for line in process.stderr:
        if re.search(r"\blisten", line):
            return process, time.perf_counter() - start
    raise RuntimeError(f"balance ended with {process.wait()} before it listened")


def measure(routes, pools, rounds):
    """Lists of seconds by what was done."""
    seconds = {"check, wall": [], "check, CPU": [], "start until it listens, wall": [], "reload, wall": []}
    text = configuration(routes, pools)
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "balance.yaml"
        for _ in range(rounds):
            file.write_text(text)
            wall, cpu = timed(["check", file])
            seconds["check, wall"].append(wall)
            seconds["check, CPU"].append(cpu)
            process, wall = started(file)
            try:
                seconds["start until it listens, wall"].append(wall)
                # A change, so that there is something to publish.
                file.write_text(text.replace("weight: 2 }", "weight: 3 }"))
                seconds["reload, wall"].append(timed(["reload", "-c", file])[0])
            finally:
                process.terminate()
                process.communicate()
    return len(text), seconds


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--routes", type=int, default=10_000)
    parser.add_argument("--pools", type=int, default=1_000)
    parser.add_argument("--rounds", type=int, default=7)
    options = parser.parse_args()
    try:
        size, seconds = measure(options.routes, options.pools, options.rounds)
    except (OSError, RuntimeError) as error:
        print(error, file=sys.stderr)
        return 2
    print(f"{options.routes:,} routes, {options.pools:,} pools, {size / 1e6:.1f} MB; {options.rounds} rounds\n")
    print("| what | median | min–max | target |\n|---|---|---|---|")
    is_met = True
    for what, values in seconds.items():
        median = statistics.median(values)
        is_met &= median < TARGET_SECONDS
        spread = f"{min(values) * 1e3:.0f}–{max(values) * 1e3:.0f} ms"
        print(f"| {what} | **{median * 1e3:.0f} ms** | {spread} | < {TARGET_SECONDS * 1e3:.0f} ms |")
    return 0 if is_met else 1


sys.exit(main())

#!/usr/bin/env python3
"""What clients see of one bad backend among three, and how long a killed one is missed.

Clients ask Balance for small answers, each every 20 ms. The third backend fails 30 % of its requests, hangs, or is slow:
once with the defaults, once with passive checks and retries. Then it is killed (SIGKILL) under the same load with health
checks, and started again: when did it get its last attempt, and when the first one after its return. Prints the tables of
docs/operations.md. Needs a release build.
"""

import argparse
import http.client
import random
import re
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent / "compare"))

import machine

ROOT = Path(__file__).resolve().parent.parent
CONFIG = """\
version: 2
performance: {{ worker_threads: 1 }}
admin: {{ listen: '127.0.0.1:{admin}' }}
timeouts: {{ first_byte: 5s }}
pools:
  p:
    backends:
    - {{ name: a, address: '127.0.0.1:{a}' }}
    - {{ name: b, address: '127.0.0.1:{b}' }}
    - {{ name: c, address: '127.0.0.1:{c}' }}
{policy}
listeners: [ {{ name: web, listen: '127.0.0.1:{web}', mode: http, pool: p }} ]
"""
POLICIES = {
    "by default": "",
    "with both": """\
    health_check: { passive_checks: { error_rate_threshold: 20%, window: 10s } }
    resilience: { retry: { per_try: 500ms, initial_delay: 10ms, max_delay: 100ms } }""",
}
CHECKED = "    health_check: { path: /, interval: 1s, fast_interval: 200ms, unhealthy_threshold: 2, healthy_threshold: 2 }"
PAUSE = 0.02


class Scripted:
    """A backend that answers with what `status` says, or with nothing at all."""

    def __init__(self, port, status):
        self.status = status
        self.listener = socket.create_server(("127.0.0.1", port), backlog=1024)
        threading.Thread(target=self.accept, daemon=True).start()

    def accept(self):
        while True:
            try:
                stream, _ = self.listener.accept()
            except OSError:
                return
            threading.Thread(target=self.serve, args=(stream,), daemon=True).start()

    def serve(self, stream):
        held = b""
        try:
            while piece := stream.recv(65536):
                held += piece
                while b"\r\n\r\n" in held:
                    _, held = held.split(b"\r\n\r\n", 1)
                    if status := self.status():
                        stream.sendall(f"HTTP/1.1 {status} \r\nContent-Length: 4\r\n\r\nbody".encode())
        except OSError:
            pass  # Balance has given it up
        stream.close()

    def kill(self):
        self.listener.close()


class Clients:
    """Threads that ask until they are told to end."""

    def __init__(self, port, count):
        self.port = port
        self.is_over = threading.Event()
        self.seen = []  # of each request: status, or 0, and seconds
        self.threads = [threading.Thread(target=self.run, args=(number / count,)) for number in range(count)]
        for thread in self.threads:
            thread.start()

    def run(self, share):
        client = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        self.is_over.wait(PAUSE * share)
        while not self.is_over.is_set():
            begun = time.monotonic()
            try:
                client.request("GET", "/")
                response = client.getresponse()
                response.read()
                status = response.status
            except OSError:
                client.close()
                status = 0
            took = time.monotonic() - begun
            self.seen.append((status, took))
            self.is_over.wait(max(0.0, PAUSE - took))
        client.close()

    def end(self):
        self.is_over.set()
        for thread in self.threads:
            thread.join()
        return self.seen


class Setup:
    """Three backends, of which the third may be bad, and Balance in front of them."""

    def __init__(self, options, policy, bad=None, folder=None):
        self.options = options
        self.ports = dict(zip(("a", "b", "c", "web", "admin"), machine.free_ports(5)))
        self.children = {}
        for name in "abc" if bad is None else "ab":
            self.start_backend(name)
        self.bad = bad(self) if bad else None
        config = Path(folder, "balance.yaml")
        config.write_text(CONFIG.format(policy=policy, **self.ports))
        self.start("balance", "-c", config)
        machine.wait_for_port(self.ports["web"], self.children["balance"])

    def start(self, name, *arguments):
        command = [self.options.binary, *arguments]
        self.children[name] = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

    def start_backend(self, name, *more):
        port = self.ports[name]
        self.start(name, "bench", "backend", "--listen", f"127.0.0.1:{port}", *more)
        # Looked at often: how long it gets nothing is measured from here.
        machine.wait_for_port(port, self.children[name], pause=0.005)

    def attempts(self, admin):
        """At the third backend: requests sent to it, and connections that could not be opened."""
        admin.request("GET", "/metrics")
        text = admin.getresponse().read().decode()
        pattern = r'^balance_backend_(?:requests|connect_failures)_total\{pool="p",backend="c"\} (\d+)'
        return [int(value) for value in re.findall(pattern, text, re.MULTILINE)]

    def end(self):
        for child in self.children.values():
            child.kill()
            child.wait()
        if isinstance(self.bad, Scripted):
            self.bad.kill()


def failing(setup):
    numbers = random.Random(7)
    return Scripted(setup.ports["c"], lambda: 503 if numbers.random() < 0.3 else 200)


def hanging(setup):
    return Scripted(setup.ports["c"], lambda: None)


def slow(setup):
    setup.start_backend("c", "--delay", "200")


BAD = {
    "answers 30 % of its requests with 503": failing,
    "accepts and never answers": hanging,
    "answers after 200 ms": slow,
}


def told(seen):
    errors = [took for status, took in seen if status != 200]
    times = sorted(took for status, took in seen if status == 200)
    p50, p99 = times[len(times) // 2], times[len(times) * 99 // 100]
    share = f"{100 * len(errors) / len(seen):.2f} % errors ({len(errors)} of {len(seen):,})"
    latest = f", the latest after {max(errors):.1f} s" if errors else ""
    return f"{share}{latest}; answers: p50 {1000 * p50:.1f} ms, p99 {1000 * p99:.0f} ms"


def measure_bad(options, folder):
    print("| the third backend | " + " | ".join(POLICIES) + " |")
    print("|---" * (1 + len(POLICIES)) + "|")
    for name, bad in BAD.items():
        cells = [name]
        for policy in POLICIES.values():
            setup = Setup(options, policy, bad, folder)
            clients = Clients(setup.ports["web"], options.clients)
            time.sleep(options.seconds)
            cells.append(told(clients.end()))
            setup.end()
        print("| " + " | ".join(cells) + " |", flush=True)


def watch(setup, admin, seconds):
    """The moments at which the counts of the third backend had changed."""
    moments, before, until = [], setup.attempts(admin), time.monotonic() + seconds
    while (now := time.monotonic()) < until:
        counts = setup.attempts(admin)
        if counts != before:
            moments.append((now, counts[0] != before[0]))
            before = counts
        time.sleep(0.002)
    return moments


def measure_death(options, folder):
    last_attempts, returns, errors, requests = [], [], 0, 0
    for _ in range(options.rounds):
        setup = Setup(options, CHECKED, None, folder)
        admin = http.client.HTTPConnection("127.0.0.1", setup.ports["admin"])
        clients = Clients(setup.ports["web"], options.clients)
        time.sleep(2)
        setup.children["c"].send_signal(signal.SIGKILL)
        killed = time.monotonic()
        setup.children["c"].wait()
        moments = watch(setup, admin, 4)
        last_attempts.append(max((at - killed for at, _ in moments), default=0.0))
        setup.start_backend("c")
        accepts = time.monotonic()
        moments = watch(setup, admin, 4)
        returns.append(min(at - accepts for at, is_request in moments if is_request))
        seen = clients.end()
        errors += sum(status != 200 for status, _ in seen)
        requests += len(seen)
        admin.close()
        setup.end()
    print(f"\nkilled {options.rounds} times: {errors} of {requests:,} requests failed")
    for name, values in (("last attempt after the kill", last_attempts), ("first request after it accepts again", returns)):
        values = [1000 * value for value in values]
        print(f"{name}: median {statistics.median(values):.0f} ms, {min(values):.0f} to {max(values):.0f} ms")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--binary", default=ROOT / "target/release/balance")
    parser.add_argument("--clients", type=int, default=24)
    parser.add_argument("--seconds", type=int, default=20, help="for each cell of the table")
    parser.add_argument("--rounds", type=int, default=5, help="how often a backend is killed")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        measure_bad(options, folder)
        measure_death(options, folder)


if __name__ == "__main__":
    try:
        main()
    except machine.Unusable as error:
        raise SystemExit(error)

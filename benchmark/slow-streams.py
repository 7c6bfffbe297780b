#!/usr/bin/env python3
"""What many slow streams on one HTTP/2 connection cost those who are fast.

One Balance behind `balance bench backend`. Fast clients ask over HTTP/2, one request at a time on each connection, at a
steady rate; in every second run one more connection holds slow streams, each of which takes a KiB of its body in a
second. Prints the median over all rounds of the p99 without and with them, their ratio, and the memory of Balance.
Needs a release build.
"""

import argparse
import json
import socket
import statistics
import struct
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
limits: {{ http2: {{ max_concurrent_streams: {streams} }} }}
timeouts: {{ read: 600s, write_progress: 600s }}
pools: {{ small: {{ backends: ['127.0.0.1:{small}'] }}, large: {{ backends: ['127.0.0.1:{large}'] }} }}
listeners: [ {{ name: web, listen: '127.0.0.1:{web}', mode: http, pool: small }} ]
routes: [ {{ name: large, match: {{ path: /large }}, pool: large }} ]
"""
DATA, HEADERS, RESET, SETTINGS, GOAWAY, WINDOW_UPDATE = 0, 1, 3, 4, 7, 8
INITIAL_WINDOW_SIZE = 4
STEP = 1024


def frame(kind, flags, stream, payload=b""):
    return struct.pack(">I", len(payload))[1:] + bytes([kind, flags]) + struct.pack(">I", stream) + payload


def head():
    """A field block of literals (RFC 7541 §6.2.2)."""
    fields = [(b":method", b"GET"), (b":scheme", b"http"), (b":path", b"/large"), (b":authority", b"slow.example")]
    return b"".join(bytes([0, len(name)]) + name + bytes([len(value)]) + value for name, value in fields)


class SlowStreams:
    """A connection whose streams take a step of their bodies each second."""

    def __init__(self, port, count):
        self.streams = range(1, 2 * count, 2)
        self.received = 0
        self.problem = None
        self.is_over = threading.Event()
        self.socket = socket.create_connection(("127.0.0.1", port))
        preface = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
        window = struct.pack(">HI", INITIAL_WINDOW_SIZE, STEP)
        self.socket.sendall(preface + frame(SETTINGS, 0, 0, window) + frame(SETTINGS, 1, 0))
        self.socket.sendall(frame(WINDOW_UPDATE, 0, 0, struct.pack(">I", 0x7FFFFFFF - 65535)))
        self.threads = [threading.Thread(target=run) for run in (self.read, self.write)]
        for thread in self.threads:
            thread.start()

    def write(self):
        block = head()
        for start in range(0, len(self.streams), 50):
            for stream in self.streams[start:start + 50]:
                self.socket.sendall(frame(HEADERS, 5, stream, block))
            time.sleep(0.05)
        step = struct.pack(">I", STEP)
        while not self.is_over.is_set():
            for start in range(0, len(self.streams), 10):
                updates = (frame(WINDOW_UPDATE, 0, stream, step) for stream in self.streams[start:start + 10])
                try:
                    self.socket.sendall(b"".join(updates))
                except OSError:
                    return
                if self.is_over.wait(10 / len(self.streams)):
                    return

    def read(self):
        stream = self.socket.makefile("rb")
        while header := stream.read(9):
            length = int.from_bytes(header[:3], "big")
            payload = stream.read(length)
            if header[3] == DATA:
                self.received += length
            elif header[3] in (RESET, GOAWAY):
                self.problem = f"frame {header[3]}: {payload.hex()}"

    def end(self):
        self.is_over.set()
        self.threads[1].join()
        self.socket.shutdown(socket.SHUT_RDWR)
        self.threads[0].join()
        self.socket.close()
        if self.problem or not self.received:
            raise SystemExit(f"the slow streams were not served: {self.problem}")


def rss_bytes(pid):
    for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
        if line.startswith("Rss:"):
            return int(line.split()[1]) * 1024
    raise SystemExit("no memory of Balance is told")


def p99_us(options, port, folder):
    report = Path(folder, "load.json")
    command = [options.binary, "bench", "http", f"http://127.0.0.1:{port}/", "--h2", "--threads", "1",
               "--connections", str(options.fast), "--rate", str(options.rate),
               "--duration", f"{options.seconds}s", "--json", report]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    result = json.loads(report.read_text())
    if result["errors"] or set(result["statuses"]) != {"200"}:
        raise SystemExit(f"the fast ones were not served: {result['errors']} {result['statuses']}")
    return result["latency_us"]["p99"]


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--binary", default=ROOT / "target/release/balance")
    parser.add_argument("--slow", type=int, default=1000, help="slow streams")
    parser.add_argument("--fast", type=int, default=100, help="fast connections")
    parser.add_argument("--rate", type=int, default=5000, help="requests per second of the fast ones")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=int, default=5)
    options = parser.parse_args()
    ports = dict(zip(("small", "large", "web"), machine.free_ports(3)))
    children = []
    with tempfile.TemporaryDirectory() as folder:
        config = Path(folder, "balance.yaml")
        config.write_text(CONFIG.format(streams=options.slow, **ports))

        def start(*arguments):
            child = subprocess.Popen([options.binary, *arguments], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
            children.append(child)
            return child

        try:
            for name, body in (("small", 128), ("large", 1 << 20)):
                backend = start("bench", "backend", "--listen", f"127.0.0.1:{ports[name]}", "--body", str(body))
                machine.wait_for_port(ports[name], backend)
            balance = start("run", "-c", config)
            machine.wait_for_port(ports["web"], balance)
            without, among, memory = [], [], []
            for number in range(options.rounds):
                without.append(p99_us(options, ports["web"], folder))
                before = rss_bytes(balance.pid)
                slow = SlowStreams(ports["web"], options.slow)
                time.sleep(2)  # until all of them are under way
                among.append(p99_us(options, ports["web"], folder))
                memory.append(rss_bytes(balance.pid) - before)
                slow.end()
                print(f"round {number + 1}: p99 {without[-1]:.0f} us alone, {among[-1]:.0f} us among slow streams")
        finally:
            for child in children:
                child.terminate()
            for child in children:
                child.wait()
    alone, beside = statistics.median(without), statistics.median(among)
    print(f"medians: p99 {alone:.0f} us alone, {beside:.0f} us among {options.slow} slow streams: {beside / alone:.2f}")
    print(f"memory of the slow streams: {max(memory) / options.slow:.0f} bytes each, at most")


if __name__ == "__main__":
    try:
        main()
    except machine.Unusable as error:
        raise SystemExit(error)

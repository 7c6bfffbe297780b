#!/usr/bin/env python3
"""What profiling costs: the same load on the same Balance, in turns without and with it.

Three processes of Balance behind wrk: as it is built (heap profiling in and off), with heap profiling left out
(`prof:false`), with heap profiling on, and while a CPU profile is taken. Balance has a core of its own, load and origin have another.
Prints the median of each over all rounds, of requests per second and of CPU time per request, and the ratio to the first;
and how full Balance's core was. Needs wrk, two cores and a release build.
"""

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent / "compare"))

import machine

ROOT = Path(__file__).resolve().parent.parent
CONFIG = """\
version: 2
performance: {{ worker_threads: 1 }}
admin: {{ listen: '127.0.0.1:0' }}
pools: {{ p: {{ backends: ['{origin}'] }} }}
listeners: [ {{ name: web, listen: '127.0.0.1:0', mode: http, pool: p }} ]
"""
PROXY_CORE, LOAD_CORE = 0, 1


class Balance:
    """A child and the addresses that it listens on."""

    def __init__(self, binary, args, conf=""):
        environment = {**os.environ, "_RJEM_MALLOC_CONF": conf} if conf else os.environ
        self.child = subprocess.Popen(machine.pinned(PROXY_CORE, [binary, *args]), stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True, env=environment)
        self.addresses = {}
        for line in self.child.stderr:
            words = dict(word.split("=", 1) for word in line.split() if "=" in word)
            if "name" in words and "address" in words:
                self.addresses[words["name"]] = words["address"]
            if line.startswith("ready"):
                break
        threading.Thread(target=self.child.stderr.read, daemon=True).start()

    def cpu_seconds(self):
        return machine.cpu_seconds([self.child.pid])


def load(balance, seconds):
    """Requests per second, microseconds of CPU time for each, and the share of its core that Balance used."""
    before, since = balance.cpu_seconds(), time.monotonic()
    address = balance.addresses["web"]
    text = subprocess.run(machine.pinned(LOAD_CORE, ["wrk", "-t1", "-c64", f"-d{seconds}s", f"http://{address}/"]),
                          check=True, stdout=subprocess.PIPE, text=True).stdout
    count = next(int(line.split()[0]) for line in text.splitlines() if " requests in " in line)
    if "Socket errors" in text or "Non-2xx" in text:
        raise SystemExit(text)
    used = balance.cpu_seconds() - before
    return count / seconds, used / count * 1e6, used / (time.monotonic() - since)


def profiled_load(balance, seconds):
    url = f"http://{balance.addresses['profiling']}/debug/pprof/profile?seconds={seconds}"
    fetched = []
    thread = threading.Thread(target=lambda: fetched.append(len(urllib.request.urlopen(url).read())))
    thread.start()
    time.sleep(0.05)
    result = load(balance, seconds)
    thread.join()
    if not fetched:
        raise SystemExit("there was no profile")
    return result


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=11)
    parser.add_argument("--seconds", type=int, default=2, help="of each measurement")
    parser.add_argument("--binary", default=ROOT / "target/release/balance")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        children = []
        try:
            origin = subprocess.Popen(machine.pinned(LOAD_CORE, [args.binary, "bench", "backend", "--listen", "127.0.0.1:0"]),
                                      stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
            children.append(origin)
            address = next(line.split()[-1] for line in origin.stdout if "listening on" in line)
            threading.Thread(target=origin.stdout.read, daemon=True).start()
            plain, profiling = Path(folder, "plain.yaml"), Path(folder, "profiling.yaml")
            plain.write_text(CONFIG.format(origin=address))
            profiling.write_text(plain.read_text() + "profiling: { http_addr: '127.0.0.2:0' }\n")
            start = lambda file, conf="": Balance(args.binary, ["-c", file], conf)
            built, without, heap = start(plain), start(plain, "prof:false"), start(profiling)
            # The heap of this one is not sampled, so that the CPU profile is seen alone.
            cpu = start(profiling, "prof:false")
            children += [one.child for one in (built, without, heap, cpu)]
            measured = {
                "as built, nothing on": lambda: load(built, args.seconds),
                "heap profiling left out (prof:false)": lambda: load(without, args.seconds),
                "heap profiling on": lambda: load(heap, args.seconds),
                "while a CPU profile is taken": lambda: profiled_load(cpu, args.seconds),
            }
            results = {name: [] for name in measured}
            for turn in range(args.rounds):
                names = list(measured)
                for name in names[turn % len(names):] + names[:turn % len(names)]:
                    results[name].append(measured[name]())
        finally:
            for child in children:
                child.terminate()
                child.wait()
    report(results)


def report(results):
    first = next(iter(results.values()))
    print(f"{'':38} {'requests/s':>12} {'ratio':>7} {'CPU us each':>12} {'ratio':>7} {'core':>6}  (medians of {len(first)} rounds)")
    for name, rounds in results.items():
        cells = []
        for index in (0, 1):
            own = statistics.median(one[index] for one in rounds)
            # Round by round, so that what the machine did meanwhile is the same for both.
            ratio = statistics.median(one[index] / base[index] for one, base in zip(rounds, first))
            cells += [f"{own:12,.2f}", f"{ratio:7.3f}"]
        full = statistics.median(one[2] for one in rounds)
        print(f"{name:38} " + " ".join(cells) + f" {full:6.0%}")


if __name__ == "__main__":
    main()

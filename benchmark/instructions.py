#!/usr/bin/env python3
"""Instructions that codec and router take, counted by callgrind: no noise, so that a small change shows.

Counts the operations of `cargo bench` that are named below and compares them with the stored baseline
(benchmark/results/instructions.json). Needs valgrind. Exits 0; 1 when one takes more than the threshold; 2 when it could
not count. Counts depend on the compiler and the C library: a baseline of other versions is compared and said to be one.
"""

import argparse
import json
import platform
import re
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
BASELINE = ROOT / "benchmark/results/instructions.json"
GROUPS = ("codec/", "router/", "exchange/")
# A call of `count_instructions` does an operation so many times.
TIMES = 1000


class Uncounted(Exception):
    """There is nothing to compare."""


def build():
    """Builds the benchmark and returns its path."""
    command = ["cargo", "bench", "--locked", "--no-run", "-p", "balance", "--bench", "operations", "--message-format", "json"]
    output = subprocess.run(command, cwd=ROOT, check=True, stdout=subprocess.PIPE, text=True).stdout
    for line in output.splitlines():
        message = json.loads(line)
        if message.get("executable") and message["target"]["name"] == "operations":
            return message["executable"]
    raise Uncounted("cargo built no benchmark")


def operations(binary, wanted):
    listed = subprocess.run([binary, "--list-operations"], check=True, stdout=subprocess.PIPE, text=True).stdout
    names = [name for name in listed.split() if name.startswith(GROUPS)]
    return [name for name in names if not wanted or any(part in name for part in wanted)]


def count(binary, name):
    """Instructions of one time, inside of `count_instructions` alone."""
    with tempfile.TemporaryDirectory() as folder:
        command = ["valgrind", "--tool=callgrind", "--collect-atstart=no", "--toggle-collect=*count_instructions*",
                   f"--callgrind-out-file={folder}/out", binary, "--count-instructions", name]
        run = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    found = re.search(r"Collected : (\d+)", run.stderr)
    if run.returncode != 0 or not found or found.group(1) == "0":
        raise Uncounted(f"{name} could not be counted:\n{run.stdout}{run.stderr}")
    return int(found.group(1)) / TIMES


def versions():
    rustc = subprocess.run(["rustc", "--version"], check=True, stdout=subprocess.PIPE, text=True).stdout.strip()
    return {"rustc": rustc, "libc": " ".join(platform.libc_ver()), "machine": platform.machine()}


def compare(old, new, threshold):
    """Prints a line for each operation and returns those that take too many."""
    worse = []
    for name, instructions in new.items():
        before = old.get(name)
        change = "new" if before is None else f"{(instructions / before - 1) * 100:+.2f} %"
        print(f"{name:48} {instructions:12,.1f} {change:>10}")
        if before is not None and instructions > before * (1 + threshold / 100):
            worse.append(name)
    return worse


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("filter", nargs="*", help="only operations with one of these in their names")
    parser.add_argument("--threshold", type=float, default=2.0, metavar="PERCENT", help="how many more are too many (default 2)")
    parser.add_argument("--save", action="store_true", help="store what was counted as the new baseline")
    parser.add_argument("--binary", help="a built benchmark, instead of building it")
    args = parser.parse_args()

    binary = args.binary or build()
    names = operations(binary, args.filter)
    if not names:
        print("there is no such operation", file=sys.stderr)
        return 2
    stored = json.loads(BASELINE.read_text()) if BASELINE.exists() else {"instructions": {}}
    if stored.get("versions", versions()) != versions():
        print(f"the baseline is of {stored['versions']}, this is {versions()}")
    counted = {name: count(binary, name) for name in names}
    worse = compare(stored["instructions"], counted, args.threshold)
    if args.save:
        kept = {} if not args.filter else stored["instructions"]
        result = {"versions": versions(), "instructions": {**kept, **counted}}
        BASELINE.write_text(json.dumps(result, indent=1) + "\n")
        return 0
    for name in worse:
        print(f"{name} takes more than {args.threshold} % more", file=sys.stderr)
    return 1 if worse else 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except (Uncounted, OSError, subprocess.CalledProcessError) as error:
        print(error, file=sys.stderr)
        sys.exit(2)

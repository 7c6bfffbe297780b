#!/usr/bin/env python3
"""Builds the fuzz targets on the stable toolchain, and runs or minimises them.

    fuzz/run.py SECONDS [TARGET ...]         all targets (or these) for SECONDS of fuzzing in total
    fuzz/run.py SECONDS --log [TARGET ...]   and adds a row for each to docs/fuzzing.md
    fuzz/run.py --merge [TARGET ...]         takes what was found into fuzz/corpus, minimised
    fuzz/run.py --build                      builds only

`--jobs N` runs N at a time; default: as many as there are cores. A crash leaves its input in target/fuzz/artifacts,
and the exit code is 1. libFuzzer is driven directly: cargo-fuzz takes minutes to install and wants nightly options,
but the layout is its own, so `cargo fuzz run` works where it is installed (docs/fuzzing.md has the options).
"""

import argparse
import os
import re
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
WORK = ROOT / "target" / "fuzz"
CORPUS = ROOT / "fuzz" / "corpus"
LOG = ROOT / "docs" / "fuzzing.md"

# What cargo-fuzz sets, without a sanitizer: the code under test has no unsafe block, and sanitizers need nightly.
RUSTFLAGS = [
    "--cfg=fuzzing",
    "-Cpasses=sancov-module",
    "-Cllvm-args=-sanitizer-coverage-level=4",
    "-Cllvm-args=-sanitizer-coverage-inline-8bit-counters",
    "-Cllvm-args=-sanitizer-coverage-pc-table",
    "-Cllvm-args=-sanitizer-coverage-trace-compares",
    "-Cforce-frame-pointers=yes",
]
INPUT_BYTES_MAX = 4096
# Of one input, in seconds: above it the input is kept as a hang.
INPUT_SECONDS_MAX = 5
MEMORY_MB_MAX = 1024
CORPUS_FILES_MAX = 300
CORPUS_BYTES_MAX = 500_000


def target_names():
    return sorted(path.stem for path in (ROOT / "fuzz" / "fuzz_targets").glob("*.rs"))


def host():
    version = subprocess.run(["rustc", "-vV"], check=True, stdout=subprocess.PIPE, text=True).stdout
    return re.search(r"^host: (.+)$", version, re.MULTILINE).group(1)


def build():
    """Builds the binaries and writes the seeds. Returns the folder of the binaries."""
    triple = host()
    # With a target named, build scripts and macros are not instrumented.
    command = ["cargo", "build", "--quiet", "--locked", "--profile", "fuzz", "--target", triple, "--target-dir", WORK]
    command += ["-p", "balance-fuzz", "--features", "libfuzzer", "--bins"]
    environment = {**os.environ, "CARGO_ENCODED_RUSTFLAGS": "\x1f".join(RUSTFLAGS)}
    subprocess.run(command, cwd=ROOT, env=environment, check=True)
    seeds = WORK / "seeds"
    shutil.rmtree(seeds, ignore_errors=True)
    command = ["cargo", "run", "--quiet", "--locked", "-p", "balance-fuzz", "--example", "seeds", "--", seeds]
    subprocess.run(command, cwd=ROOT, check=True)
    return WORK / triple / "fuzz"


def folders(target):
    """Where new inputs go, where failing ones go, and the two that are begun with: corpus and seeds."""
    found = WORK / "found" / target
    artifacts = WORK / "artifacts" / target
    for folder in (found, artifacts, CORPUS / target):
        folder.mkdir(parents=True, exist_ok=True)
    return found, artifacts, [CORPUS / target, WORK / "seeds" / target]


def run(binaries, target, seconds):
    """Fuzzes one target. Returns its statistics; `status` is not 0 when a property does not hold."""
    found, artifacts, seeds = folders(target)
    report = WORK / f"{target}.log"
    command = [
        binaries / target,
        found,
        *seeds,
        f"-max_total_time={seconds}",
        f"-max_len={INPUT_BYTES_MAX}",
        f"-timeout={INPUT_SECONDS_MAX}",
        f"-rss_limit_mb={MEMORY_MB_MAX}",
        f"-dict={WORK / 'seeds' / 'dictionary'}",
        f"-artifact_prefix={artifacts}/",
        "-print_final_stats=1",
        "-verbosity=1",
    ]
    with report.open("wb") as output:
        child = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT)
        _, status, usage = os.wait4(child.pid, 0)
        child.returncode = os.waitstatus_to_exitcode(status)
    text = report.read_text(errors="replace")
    executions = re.search(r"^stat::number_of_executed_units: *(\d+)$", text, re.MULTILINE)
    coverage = re.findall(r"\bcov: (\d+)", text)
    return {
        "target": target,
        "status": child.returncode,
        "executions": int(executions.group(1)) if executions else 0,
        "cpu": usage.ru_utime + usage.ru_stime,
        "edges": int(coverage[-1]) if coverage else 0,
        "report": text,
    }


def merge(binaries, target):
    """Makes the corpus in the repository about the fewest inputs that reach every edge that was reached."""
    found, artifacts, seeds = folders(target)
    fresh = WORK / "merged" / target
    shutil.rmtree(fresh, ignore_errors=True)
    fresh.mkdir(parents=True)
    command = [binaries / target, "-set_cover_merge=1", "-use_counters=0", f"-max_len={INPUT_BYTES_MAX}", fresh, found, artifacts, *seeds]
    subprocess.run(command, check=True, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    # The seeds are made anew each time: what they reach needs no file.
    known = {path.read_bytes() for path in seeds[1].iterdir()}
    inputs = sorted((path for path in fresh.iterdir() if path.read_bytes() not in known), key=lambda path: path.stat().st_size)
    kept, total = [], 0
    for path in inputs:
        total += path.stat().st_size
        if len(kept) < CORPUS_FILES_MAX and total <= CORPUS_BYTES_MAX:
            kept.append(path)
    shutil.rmtree(seeds[0])
    seeds[0].mkdir()
    for path in kept:
        shutil.copyfile(path, seeds[0] / path.name)
    print(f"{target}: {len(kept)} of {len(inputs)} inputs, {sum(path.stat().st_size for path in kept)} bytes")


def log(results):
    """Adds what was run to the table at the end of the log: one row for a commit and a target."""
    commit = ["git", "rev-parse", "--short=12", "HEAD"]
    commit = subprocess.run(commit, cwd=ROOT, check=True, stdout=subprocess.PIPE, text=True).stdout.strip()
    text = LOG.read_text()
    for result in results:
        executions, seconds, failures = result["executions"], result["cpu"], int(result["status"] != 0)
        row = re.search(rf"^\| {commit} \| {result['target']} \| ([\d,]+) \| ([\d,]+) \| (\d+) \|\n", text, re.MULTILINE)
        if row:
            executions += int(row.group(1).replace(",", ""))
            seconds += int(row.group(2).replace(",", ""))
            failures += int(row.group(3))
            text = text.replace(row.group(0), "")
        text += f"| {commit} | {result['target']} | {executions:,} | {seconds:,.0f} | {failures} |\n"
    LOG.write_text(text)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("seconds", nargs="?", type=int)
    parser.add_argument("targets", nargs="*", metavar="TARGET")
    parser.add_argument("--merge", nargs="*", metavar="TARGET", help="minimise instead of running")
    parser.add_argument("--build", action="store_true", help="build only")
    parser.add_argument("--log", action="store_true", help="add what was run to docs/fuzzing.md")
    parser.add_argument("--jobs", type=int, default=len(os.sched_getaffinity(0)))
    options = parser.parse_intermixed_args()

    names = options.targets or options.merge or target_names()
    unknown = sorted(set(names) - set(target_names()))
    if unknown:
        parser.error(f"no such target: {', '.join(unknown)} (one of {', '.join(target_names())})")
    if options.seconds is None and options.merge is None and not options.build:
        parser.error("how many seconds?")

    binaries = build()
    if options.build:
        return 0
    if options.merge is not None:
        for name in names:
            merge(binaries, name)
        return 0
    share = max(1, options.seconds // len(names))
    with ThreadPoolExecutor(options.jobs) as pool:
        results = list(pool.map(lambda name: run(binaries, name, share), names))
    for result in results:
        print("{target:16} {executions:12,} executions {cpu:8.1f} s of CPU {edges:6} edges".format(**result))
    if options.log:
        log(results)
    failed = [result for result in results if result["status"] != 0]
    for result in failed:
        print(f"\n{result['target']} failed:\n{result['report'][-4000:]}", file=sys.stderr)
    return 1 if failed else 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except subprocess.CalledProcessError as error:
        sys.exit(f"failed: {error.cmd[0]} (exit code {error.returncode})")

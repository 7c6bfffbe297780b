"""Load generators on the same server, in turns: whether they agree, and what each costs."""

import argparse
import os
import re
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

import machine
import proxies
from report import median

URL = "http://127.0.0.1:{port}/"


@dataclass
class Result:
    requests_per_second: float
    cpu_us_per_request: float
    p50_us: float | None
    p99_us: float | None


def main():
    parser = argparse.ArgumentParser(prog="generators.sh", description=__doc__)
    parser.add_argument("--rounds", type=int, default=5, help="default: %(default)s")
    parser.add_argument("--duration", type=int, default=5, help="seconds of a round (default: %(default)s)")
    parser.add_argument("--connections", type=int, default=64, help="default: %(default)s")
    parser.add_argument("--delay", type=int, default=0,
                        help="milliseconds the server waits before it answers (default: %(default)s)")
    parser.add_argument("--server-core", type=int, default=0, help="default: %(default)s")
    parser.add_argument("--load-core", type=int, default=1, help="default: %(default)s")
    options = parser.parse_args()
    try:
        return run(options)
    except machine.Unusable as error:
        print(f"generators: {error}", file=sys.stderr)
        return 2


def run(options):
    machine.require_programs(["taskset", "wrk"])
    bench = proxies.bench_command()
    with proxies.Children() as children, tempfile.TemporaryDirectory() as directory:
        [port] = machine.free_ports(1)
        command = [*bench, "backend", "--listen", f"127.0.0.1:{port}", "--delay", options.delay]
        with open(Path(directory) / "log", "wb") as log:
            server = children.start(machine.pinned(options.server_core, command), log)
        machine.wait_for_port(port, server)
        generators = programs(bench, options, URL.format(port=port))
        results = {name: [] for name in generators}
        for number in range(options.rounds + 1):
            for name, (command, parse) in generators.items():
                result = measure(machine.pinned(options.load_core, command), parse)
                if number > 0:  # the first one warms
                    results[name].append(result)
                print(f"round {number}/{options.rounds} {name}: {result}", file=sys.stderr, flush=True)
    print(table(results))
    ratio = cpu(results["balance bench"]) / cpu(results["wrk"])
    print(f"\nCPU per request: {ratio:.2f} x wrk, target <= 1.20: {'PASS' if ratio <= 1.2 else 'FAIL'}")
    return 0 if ratio <= 1.2 else 1


def programs(bench, options, url):
    """Name → command and the reading of its output. hey and h2load where they are installed."""
    connections, seconds = str(options.connections), options.duration
    found = {
        "balance bench": ([*bench, "http", url, "--threads", "1", "--connections", connections,
                           "--duration", f"{seconds}s"], parse_balance),
        "wrk": (["wrk", "-t1", f"-c{connections}", f"-d{seconds}s", "--latency", url], parse_wrk),
        "hey": (["hey", "-cpus", "1", "-z", f"{seconds}s", "-c", connections, url], parse_hey),
        "h2load": (["h2load", "--h1", "-t1", "-c", connections, "-D", str(seconds), url], parse_h2load),
    }
    return {name: each for name, each in found.items() if name == "balance bench" or machine.is_installed(name)}


def measure(command, parse):
    """Runs it to its end, and counts the CPU time of it and its children."""
    with tempfile.TemporaryFile("w+") as output:
        process = subprocess.Popen(command, stdout=output, stderr=output, stdin=subprocess.DEVNULL)
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        output.seek(0)
        text = output.read()
    try:
        requests, seconds, p50, p99 = parse(text)
    except (TypeError, ValueError) as error:
        raise machine.Unusable(f"{command} printed no result: {text}") from error
    cpu_seconds = usage.ru_utime + usage.ru_stime
    return Result(requests / seconds, cpu_seconds * 1e6 / requests, p50, p99)


def parse_balance(text):
    requests = re.search(r"^requests +(\d+)", text, re.M)[1]
    seconds = re.search(r"^duration +([\d.]+) s", text, re.M)[1]
    p50, p99 = (float(re.search(rf"^latency {name} +([\d.]+) us", text, re.M)[1]) for name in ("p50", "p99"))
    return int(requests), float(seconds), p50, p99


def parse_wrk(text):
    total = re.search(r"(\d+) requests in ([\d.]+)s", text)
    scale = {"us": 1.0, "ms": 1e3, "s": 1e6}
    p50, p99 = (re.search(rf"^ +{share}% +([\d.]+)(us|ms|s)$", text, re.M) for share in (50, 99))
    return int(total[1]), float(total[2]), float(p50[1]) * scale[p50[2]], float(p99[1]) * scale[p99[2]]


def parse_hey(text):
    counts = sum(int(count) for count in re.findall(r"\[\d+\]\s+(\d+) responses", text))
    seconds = float(re.search(r"Total:\s+([\d.]+) secs", text)[1])
    p50, p99 = (float(re.search(rf"{share}%%? in ([\d.]+) secs", text)[1]) * 1e6 for share in (50, 99))
    return counts, seconds, p50, p99


def parse_h2load(text):
    """It prints no percentiles."""
    requests = int(re.search(r"(\d+) succeeded", text)[1])
    seconds = float(re.search(r"finished in ([\d.]+)s", text)[1])
    return requests, seconds, None, None


def cpu(rounds):
    return median([each.cpu_us_per_request for each in rounds])


def table(results):
    lines = ["| generator | requests/s (min–max) | p50 (min–max) | p99 (min–max) | its CPU per request |", "|---|---|---|---|---|"]
    for name, rounds in results.items():
        rates = spread([each.requests_per_second for each in rounds], "")
        p50, p99 = (spread([getattr(each, key) for each in rounds], " µs") for key in ("p50_us", "p99_us"))
        costs = [each.cpu_us_per_request for each in rounds]
        lines.append(f"| {name} | {rates} | {p50} | {p99} | {median(costs):.2f} ({min(costs):.2f}–{max(costs):.2f}) µs |")
    return "\n".join(lines)


def spread(values, unit):
    if None in values:
        return "–"
    return f"{median(values):,.0f} ({min(values):,.0f}–{max(values):,.0f}){unit}"


if __name__ == "__main__":
    sys.exit(main())

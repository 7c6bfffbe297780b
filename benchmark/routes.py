#!/usr/bin/env python3
"""What 10,000 routes cost a request beside one route: CPU time of Balance over sockets, in interleaved rounds.

    benchmark/install.sh                 # wrk
    cargo build --release
    benchmark/routes.py [--routes N] [--rounds N] [--duration SECONDS]

Both processes get the same requests: for the last route alone, then for all routes in turn, which is the worst that
traffic can do to caches. Exits 0 when the median of the rounds' ratios is within the target for both, 1 when it is not,
2 when it could not be measured.
"""

import argparse
import statistics
import sys
import tempfile
from pathlib import Path
from types import SimpleNamespace

sys.path.insert(0, str(Path(__file__).resolve().parent / "compare"))

import machine
import proxies
import scenarios

TARGET_RATIO = 1.03
HOSTS = 2000
CONNECTIONS = 64
PROXY_CORE, LOAD_CORE = 0, 1


def configuration(port, metrics, origin, routes):
    """A single route takes everything; many are told apart by host and prefix."""
    lines = [
        "version: 2",
        "performance: { worker_threads: 1 }",
        f"listeners: [ {{ name: web, listen: '127.0.0.1:{port}', mode: http }} ]",
        f"pools: {{ origin: {{ backends: ['127.0.0.1:{origin}'] }} }}",
        "logging: { level: warn, access_log: false }",
        f"metrics: {{ listen: '127.0.0.1:{metrics}' }}",
        "routes:",
    ]
    for route in range(routes):
        match = "{}" if routes == 1 else f"{{ host: {host(route)}, path_prefix: {path(route)} }}"
        lines.append(f"  - {{ name: route-{route}, match: {match}, pool: origin }}")
    return "\n".join(lines) + "\n"


def host(route):
    return f"h{route % HOSTS}.example.com"


def path(route):
    return f"/v{route // HOSTS}/service-{route}/"


def script(routes, is_last_only):
    """Requests for one route or all. The stride of a prime leaves no cache a pattern to learn."""
    count = 1 if is_last_only else routes
    return f"""
        local requests, at = {{}}, 0
        function init()
            for n = 0, {count - 1} do
                local route = ({routes - 1} + n * 7919) % {routes}
                local path = string.format("/v%d/service-%d/", math.floor(route / {HOSTS}), route)
                local host = string.format("h%d.example.com", route % {HOSTS})
                requests[n] = wrk.format("GET", path, {{ Host = host }})
            end
        end
        function request()
            at = (at + 1) % {count}
            return requests[at]
        end
    """


def start(children, folder, log, origin, routes):
    port, metrics = machine.free_ports(2)
    file = folder / f"{routes}.yaml"
    file.write_text(configuration(port, metrics, origin, routes))
    process = children.start(machine.pinned(PROXY_CORE, [proxies.balance_binary(), "-c", file]), log)
    machine.wait_for_port(port, process)
    return proxies.Proxy(f"{routes:,} routes", process, {"PORT": port})


def measure(options):
    """CPU time per request in microseconds, by kind of traffic, for one route and for many: a list of rounds each."""
    microseconds = {}
    with tempfile.TemporaryDirectory() as folder, proxies.Children() as children:
        folder = Path(folder)
        with open(folder / "log.txt", "ab") as log:
            (origin,) = machine.free_ports(1)
            bench = [*proxies.bench_command(), "backend", "--listen", f"127.0.0.1:{origin}", "--body", "128"]
            machine.wait_for_port(origin, children.start(machine.pinned(LOAD_CORE, bench), log))
            sides = [start(children, folder, log, origin, routes) for routes in (1, options.routes)]
            for traffic, is_last_only in (("the last route", True), ("all routes in turn", False)):
                requests = folder / "requests.lua"
                requests.write_text(script(options.routes, is_last_only))
                run = scenarios.wrk(CONNECTIONS, "/", script=requests)
                microseconds[traffic] = rounds(run, sides, traffic, options)
    return microseconds


def rounds(run, sides, traffic, options):
    stage = SimpleNamespace(load_core=LOAD_CORE)
    samples = {proxy: [] for proxy in sides}
    for proxy in sides:
        run(stage, proxy, 2)  # warm: connections to the origin, a series of metrics for every route
    for number in range(options.rounds):
        for proxy in sides if number % 2 == 0 else reversed(sides):
            sample = run(stage, proxy, options.duration)
            if sample.errors:
                raise machine.Unusable(f"{proxy.name}: errors {sample.errors}")
            samples[proxy].append(sample.cpu_us_per_unit)
            print(f"{traffic}, round {number + 1}/{options.rounds}, {proxy.name}: {sample.cpu_us_per_unit:.2f} us/request, "
                  f"{sample.units_per_second:.0f}/s", file=sys.stderr, flush=True)
    return list(samples.values())


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--routes", type=int, default=10_000)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--duration", type=int, default=3, metavar="SECONDS")
    options = parser.parse_args()
    try:
        machine.require_programs(["taskset", "wrk"])
        microseconds = measure(options)
    except machine.Unusable as error:
        print(error, file=sys.stderr)
        return 2
    print(f"| requests for | 1 route | {options.routes:,} routes | median of ratios (min–max) | target |\n|---|---|---|---|---|")
    is_met = True
    for traffic, (one, many) in microseconds.items():
        ratios = [right / left for left, right in zip(one, many)]
        is_met &= statistics.median(ratios) <= TARGET_RATIO
        print(f"| {traffic} | {shown(one)} | {shown(many)} | **{statistics.median(ratios):.3f}** "
              f"({min(ratios):.3f}–{max(ratios):.3f}) | ≤ {TARGET_RATIO:.2f} |")
    return 0 if is_met else 1


def shown(values):
    return f"{statistics.median(values):.2f} ({min(values):.2f}–{max(values):.2f}) µs"


sys.exit(main())

"""Balance beside nginx, HAProxy, Envoy and Caddy: one interleaved run, one core for the proxy."""

import argparse
import datetime
import json
import os
import signal
import sys
from pathlib import Path

import machine
import page
import proxies
import report
import scenarios

RESULTS = Path(__file__).resolve().parent.parent / "results"
NAMES = [scenario.name for scenario in [*scenarios.SCENARIOS, *scenarios.IDLE]]


def main():
    options = parse()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: sys.exit(130))
    try:
        return run(options)
    except machine.Unusable as error:
        print(f"compare: {error}", file=sys.stderr)
        return 2


def parse():
    parser = argparse.ArgumentParser(prog="compare.sh", description=__doc__)
    parser.add_argument("--only", default=",".join(proxies.default_names()), metavar="PROXIES",
                        help="comma-separated proxies (default: %(default)s); `before` is an older Balance, "
                             "the one that BALANCE_BEFORE names; `to-h1` is Balance with HTTP/1.1 to the backends, "
                             "where the scenario has HTTP/2")
    parser.add_argument("--scenarios", default=",".join(NAMES), metavar="NAMES",
                        help="comma-separated scenarios (default: %(default)s)")
    parser.add_argument("--rounds", type=int, default=5, metavar="N",
                        help="odd number of rounds (default: %(default)s)")
    parser.add_argument("--duration", type=int, default=5, metavar="SECONDS",
                        help="length of a round (default: %(default)s)")
    parser.add_argument("--idle", default=",".join(map(str, scenarios.IDLE_CONNECTIONS)), metavar="COUNTS",
                        help="numbers of idle connections (default: %(default)s)")
    parser.add_argument("--proxy-core", type=int, default=0, metavar="CORE", help="default: %(default)s")
    parser.add_argument("--load-core", type=int, default=1, metavar="CORE",
                        help="for load and origins (default: %(default)s)")
    parser.add_argument("--name", default="compare", metavar="NAME",
                        help="results/NAME.md, .json and .html are written (default: %(default)s); `-` writes none")
    parser.add_argument("--results", type=Path, default=RESULTS, metavar="FOLDER",
                        help="where they are written instead of benchmark/results")
    options = parser.parse_args()
    options.only = choose(parser, options.only, list(proxies.PROGRAMS), "proxy")
    options.scenarios = choose(parser, options.scenarios, NAMES, "scenario")
    options.idle = [int(count) for count in options.idle.split(",") if count.strip().isdigit()]
    if options.rounds < 1 or options.rounds % 2 == 0:
        parser.error("--rounds must be odd, so that the median is one of them")
    if options.duration < 1:
        parser.error("--duration must be at least 1")
    if options.proxy_core == options.load_core:
        parser.error("proxy and load need a core each")
    return options


def choose(parser, text, known, what):
    chosen = [word.strip() for word in text.split(",") if word.strip()]
    for word in chosen:
        if word not in known:
            parser.error(f"no {what} `{word}`: {', '.join(known)}")
    return chosen


def run(options):
    if len(os.sched_getaffinity(0)) < 2:
        raise machine.Unusable("two cores are needed: one for the proxy, one for load and origins")
    programs = set(options.only) - {"balance", "before", "to-h1"}
    machine.require_programs(["taskset", "wrk", "openssl", *sorted(programs)])
    if "balance" in options.only and not proxies.balance_binary().exists():
        raise machine.Unusable(f"{proxies.balance_binary()} does not exist: run `cargo build --release`")
    machine.raise_descriptor_limit()
    facts, versions = machine.facts(), proxies.versions(options.only)
    with proxies.Children() as children:
        stage = proxies.Stage(children, options.proxy_core, options.load_core, proxies.bench_command())
        try:
            stage.start_origins()
            stage.make_identity()
            left_out = []
            results = [
                (scenario, measure(stage, scenario, options, left_out))
                for scenario in scenarios.SCENARIOS if scenario.name in options.scenarios
            ]
            idle = [
                (scenario, measure_idle(stage, scenario, options, left_out))
                for scenario in scenarios.IDLE if scenario.name in options.scenarios
            ]
        except machine.Unusable as error:
            raise machine.Unusable(f"{error}\nlast output of the programs:\n{stage.log_tail()}") from error
        finally:
            stage.close()
    return publish(options, facts, versions, results, idle, left_out)


def measure(stage, scenario, options, left_out):
    """All rounds of a scenario, every proxy once in each, the order rotating. Who is not able to is left out."""
    running = []
    for name in options.only:
        if not proxies.is_able(name, scenario.kind):
            continue
        proxy = stage.start_proxy(name, scenario.kind)
        try:
            if scenario.check is not None:
                scenario.check(stage, proxy)
        except machine.Unsupported as error:
            left_out.append(f"{scenario.name}: {error}")
            progress(f"left out: {left_out[-1]}")
            stage.children.stop(proxy.process)
            continue
        running.append(proxy)
    samples = {proxy.name: [] for proxy in running}
    if not running:
        return samples
    for proxy in running:
        scenario.run(stage, proxy, 1)  # warm: connections to the origin, memory, caches
    for number in range(options.rounds):
        turn = number % len(running)
        for proxy in running[turn:] + running[:turn]:
            sample = scenario.run(stage, proxy, options.duration)
            samples[proxy.name].append(sample)
            progress(f"{scenario.name} round {number + 1}/{options.rounds} {proxy.name}: "
                     f"{sample.cpu_us_per_unit:.2f} us/{scenario.unit}, {sample.units_per_second:.1f}/s"
                     + (f", errors {sample.errors}" if sample.errors else ""))
    for proxy in running:
        stage.children.stop(proxy.process)
    return samples


def measure_idle(stage, scenario, options, left_out):
    """Each count against a fresh proxy: memory that was grown once is seldom given back."""
    idle = {name: [] for name in options.only if proxies.is_able(name, scenario.kind)}
    for count in options.idle:
        for name in idle:
            proxy = stage.start_proxy(name, scenario.kind)
            try:
                row = scenarios.idle(stage, proxy, scenario, count)
            except machine.Unsupported as error:
                left_out.append(f"{scenario.name}, {count:,}: {error}")
                progress(f"left out: {left_out[-1]}")
                stage.children.stop(proxy.process)
                continue
            idle[name].append(row)
            progress(f"{scenario.name} {name}: {row['connections']} connections, {row['bytes_per_connection']:.0f} B each"
                     + (f", errors {row['errors']}" if row["errors"] else ""))
            stage.children.stop(proxy.process)
    return idle


def progress(text):
    print(text, file=sys.stderr, flush=True)


def publish(options, facts, versions, results, idle, left_out):
    when = datetime.datetime.now(datetime.timezone.utc).strftime("%Y-%m-%d %H:%M UTC")
    text = report.to_markdown(facts, versions, results, idle, options.duration, options.rounds, when, left_out)
    print(text)
    if options.name != "-":
        options.results.mkdir(parents=True, exist_ok=True)
        data = report.to_json(facts, versions, results, idle, options.duration, options.rounds)
        (options.results / f"{options.name}.md").write_text(text)
        (options.results / f"{options.name}.json").write_text(json.dumps(data, indent=1) + "\n")
        (options.results / f"{options.name}.html").write_text(page.render(results, idle, text))
    words = [report.verdict(scenario, samples)[1] for scenario, samples in results]
    words += [
        report.idle_verdict(scenario, name, row)
        for scenario, rows_of in idle for name, rows in rows_of.items() for row in rows
    ]
    if any(word.startswith("FAIL") for word in words):
        return 1
    return 3 if any(word.startswith("LIMITED") for word in words) else 0


if __name__ == "__main__":
    sys.exit(main())

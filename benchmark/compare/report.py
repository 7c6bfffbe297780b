"""The result as a table for people and as JSON for programs."""

import statistics

from scenarios import BASE_BYTES_MAX, IDLE_BYTES_MAX

# Above this share of its core a proxy counts as saturated: then its rate is its own maximum.
SATURATED = 0.95


def median(values):
    return statistics.median(values)


def verdict(scenario, samples):
    """PASS, FAIL, or `-` where nothing is promised or one side was not measured; and the ratio."""
    if "balance" not in samples or scenario.rival not in samples:
        return None, "-"
    ours, rival = samples["balance"], samples[scenario.rival]
    ratio = median([s.cpu_us_per_unit for s in ours]) / median([s.cpu_us_per_unit for s in rival])
    if scenario.target is None:
        return ratio, "-"
    if any(sample.errors for sample in ours):
        return ratio, "FAIL (errors)"
    return ratio, "PASS" if ratio <= scenario.target else "FAIL"


def rounds_table(results):
    """`results`: list of (scenario, {proxy: [Sample]})."""
    lines = [
        "| scenario | proxy | CPU per unit, median (min–max) | units/s | core busy | p50 | p99 | errors |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for scenario, samples in results:
        for name, rounds in samples.items():
            lines.append(_row(scenario, name, rounds))
    return "\n".join(lines)


def _row(scenario, name, rounds):
    cpu = [sample.cpu_us_per_unit for sample in rounds]
    errors = {}
    for sample in rounds:
        for kind, count in sample.errors.items():
            errors[kind] = errors.get(kind, 0) + count
    columns = [
        scenario.name,
        name,
        f"{_cpu(scenario, median(cpu))} ({_cpu(scenario, min(cpu))}–{_cpu(scenario, max(cpu))}) "
        f"{'s' if scenario.unit == 'GB' else 'µs'}/{scenario.unit}",
        f"{median([s.units_per_second for s in rounds]):,.{2 if scenario.unit == 'GB' else 0}f}",
        f"{median([s.busy for s in rounds]):.0%}",
        _micros([s.p50_us for s in rounds]),
        _micros([s.p99_us for s in rounds]),
        ", ".join(f"{count} {kind}" for kind, count in errors.items()) or "0",
    ]
    return "| " + " | ".join(columns) + " |"


def _cpu(scenario, microseconds):
    return f"{microseconds / 1e6:.3f}" if scenario.unit == "GB" else f"{microseconds:.2f}"


def _micros(values):
    known = [value for value in values if value is not None]
    return f"{median(known):,.0f} µs" if known else "–"


def ratio_table(results):
    lines = [
        "| scenario | measured | CPU ratio of medians (min–max by round) | target | verdict |",
        "|---|---|---|---|---|",
    ]
    for scenario, samples in results:
        ratio, word = verdict(scenario, samples)
        if ratio is None:
            continue
        pairs = zip(samples["balance"], samples[scenario.rival])
        by_round = [ours.cpu_us_per_unit / rival.cpu_us_per_unit for ours, rival in pairs]
        target = "–" if scenario.target is None else f"≤ {scenario.target:.2f}"
        lines.append(
            f"| {scenario.name} | {scenario.title} | balance/{scenario.rival} **{ratio:.2f}** "
            f"({min(by_round):.2f}–{max(by_round):.2f}) | {target} | {word} |")
    return "\n".join(lines) if len(lines) > 2 else ""


def idle_verdict(name, row):
    if name != "balance":
        return "-"
    if row["lost"] or (row["errors"] and not row["limited_by"]):
        return "FAIL (errors)"
    if row["bytes_per_connection"] > IDLE_BYTES_MAX or row["base_rss_bytes"] > BASE_BYTES_MAX:
        return "FAIL"
    return f"LIMITED ({row['limited_by']})" if row["limited_by"] else "PASS"


def idle_table(idle):
    """`idle`: {proxy: [row]}."""
    lines = [
        "| proxy | idle connections | base RSS (Pss) | after work | held | per connection | at 50,000 | verdict |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for name, rows in idle.items():
        for row in rows:
            if row["connections"] >= 50_000:
                total = _mb(row["held_rss_bytes"])
            else:
                total = _mb(row["warm_rss_bytes"] + 50_000 * row["bytes_per_connection"]) + ", computed"
            lines.append(
                f"| {name} | {row['connections']:,} of {row['connections_wanted']:,} "
                f"| {_mb(row['base_rss_bytes'])} ({_mb(row['base_pss_bytes'])}) | {_mb(row['warm_rss_bytes'])} "
                f"| {_mb(row['held_rss_bytes'])} | {row['bytes_per_connection']:,.0f} B | {total} "
                f"| {idle_verdict(name, row)} |")
    slopes = [f"{name} {slope(rows):,.0f} B" for name, rows in idle.items() if len(rows) > 1]
    if slopes:
        lines += ["", "Growth per connection between the smallest and the largest count: " + ", ".join(slopes) + "."]
    return "\n".join(lines)


def slope(rows):
    """The cost of one more connection, without whatever is paid once."""
    few, many = min(rows, key=_count), max(rows, key=_count)
    return (many["held_rss_bytes"] - few["held_rss_bytes"]) / max(_count(many) - _count(few), 1)


def _count(row):
    return row["connections"]


def _mb(value):
    return f"{value / 1e6:.1f} MB"


def notes(results, seconds, rounds):
    """What limited the figures, so that nobody reads more into them."""
    lines = [f"{rounds} rounds of {seconds} s per proxy and scenario, the order rotating."]
    unsaturated = [
        scenario.name for scenario, samples in results
        if any(median([s.busy for s in rounds_]) < SATURATED for rounds_ in samples.values())
    ]
    if unsaturated:
        lines.append(
            "Limited by the load core (a proxy's core was not full, so units/s and latencies there are those of "
            f"the whole set-up; CPU per unit is not affected): {', '.join(unsaturated)}.")
    noisy = []
    for scenario, samples in results:
        for name, rounds_ in samples.items():
            cpu = [sample.cpu_us_per_unit for sample in rounds_]
            if max(cpu) > 1.15 * min(cpu):
                noisy.append(f"{scenario.name} {name}")
    if noisy:
        lines.append(f"More than 15 % between the rounds: {', '.join(noisy)}.")
    return "\n".join(lines)


def to_json(facts, versions, results, idle, seconds, rounds):
    return {
        "machine": facts,
        "versions": versions,
        "rounds": rounds,
        "round_seconds": seconds,
        "scenarios": {
            scenario.name: {
                "title": scenario.title,
                "unit": scenario.unit,
                "target": scenario.target,
                "rival": scenario.rival,
                "ratio": verdict(scenario, samples)[0],
                "verdict": verdict(scenario, samples)[1],
                "samples": {name: [s.to_json() for s in each] for name, each in samples.items()},
            }
            for scenario, samples in results
        },
        "idle": {
            name: [{**row, "verdict": idle_verdict(name, row)} for row in rows] for name, rows in idle.items()
        },
    }


def to_markdown(facts, versions, results, idle, seconds, rounds, when):
    parts = [
        f"# Balance beside other proxies, {when}",
        f"{facts['cpu']}, {facts['cores']} cores, Linux {facts['kernel']}; "
        f"load average at the start {facts['load_average']:.2f}; {facts['descriptors']:,} descriptors a process.\n"
        + ", ".join(versions.values()) + ".",
        notes(results, seconds, rounds) if results else "",
        ratio_table(results),
        rounds_table(results) if results else "",
        idle_table(idle) if idle else "",
    ]
    return "\n\n".join(part for part in parts if part) + "\n"

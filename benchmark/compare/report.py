"""The result as a table for people and as JSON for programs."""

import statistics

# Above this share of its core a proxy counts as saturated: then its rate is its own maximum.
SATURATED = 0.95


def median(values):
    return statistics.median(values)


def rival_of(scenario, samples):
    """The best of those that the target is about; None where none was measured."""
    measured = [name for name in scenario.rivals if name in samples]
    return min(measured, key=lambda name: cpu_of(samples[name]), default=None)


def cpu_of(rounds):
    return median([sample.cpu_us_per_unit for sample in rounds])


def verdict(scenario, samples):
    """PASS, FAIL, or `-` where nothing is promised or one side was not measured; and the ratio."""
    rival = rival_of(scenario, samples)
    if "balance" not in samples or rival is None:
        return None, "-"
    ours = samples["balance"]
    ratio = cpu_of(ours) / cpu_of(samples[rival])
    if scenario.target is None:
        return ratio, "-"
    if any(sample.errors for sample in ours):
        return ratio, "FAIL (errors)"
    return ratio, "PASS" if ratio <= scenario.target else "FAIL"


def rounds_table(results):
    """`results`: list of (scenario, {proxy: [Sample]})."""
    lines = [
        "| scenario | proxy | CPU per unit, median (min–max) | units/s | core busy | p50 | p99 | errors | agreed |",
        "|---|---|---|---|---|---|---|---|---|",
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
        " and ".join(sorted({sample.agreed for sample in rounds if sample.agreed})) or "–",
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
        rival = rival_of(scenario, samples)
        pairs = zip(samples["balance"], samples[rival])
        by_round = [ours.cpu_us_per_unit / theirs.cpu_us_per_unit for ours, theirs in pairs]
        target = "–" if scenario.target is None else f"≤ {scenario.target:.2f}"
        lines.append(
            f"| {scenario.name} | {scenario.title} | balance/{rival} **{ratio:.2f}** "
            f"({min(by_round):.2f}–{max(by_round):.2f}) | {target} | {word} |")
    return "\n".join(lines) if len(lines) > 2 else ""


def idle_verdict(scenario, name, row):
    if name != "balance":
        return "-"
    if row["lost"] or (row["errors"] and not row["limited_by"]):
        return "FAIL (errors)"
    if row["bytes_per_connection"] > scenario.bytes_max or row["base_rss_bytes"] > scenario.base_bytes_max:
        return "FAIL"
    return f"LIMITED ({row['limited_by']})" if row["limited_by"] else "PASS"


def idle_table(scenario, idle):
    """`idle`: {proxy: [row]}."""
    lines = [
        f"| proxy | {scenario.title} | base RSS (Pss) | after work | held | per connection | at 50,000 | verdict |",
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
                f"| {idle_verdict(scenario, name, row)} |")
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
                "rival": rival_of(scenario, samples),
                "ratio": verdict(scenario, samples)[0],
                "verdict": verdict(scenario, samples)[1],
                "samples": {name: [s.to_json() for s in each] for name, each in samples.items()},
            }
            for scenario, samples in results
        },
        **{
            scenario.name.replace("-", "_"): {
                name: [{**row, "verdict": idle_verdict(scenario, name, row)} for row in rows]
                for name, rows in rows_of.items()
            }
            for scenario, rows_of in idle
        },
    }


def to_markdown(facts, versions, results, idle, seconds, rounds, when, left_out):
    parts = [
        f"# Balance beside other proxies, {when}",
        f"{facts['cpu']}, {facts['cores']} cores, Linux {facts['kernel']}; "
        f"load average at the start {facts['load_average']:.2f}; {facts['descriptors']:,} descriptors a process.\n"
        + ", ".join(versions.values()) + ".",
        notes(results, seconds, rounds) if results else "",
        "\n".join(f"Left out: {word}." for word in left_out),
        ratio_table(results),
        rounds_table(results) if results else "",
        *(idle_table(scenario, rows) for scenario, rows in idle),
    ]
    return "\n\n".join(part for part in parts if part) + "\n"

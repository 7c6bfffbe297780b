"""The result as one HTML file: the tables of the Markdown, and a chart for each scenario."""

import html

from report import median

WIDTH, ROW, NAME, FIGURE = 520, 26, 84, 64

STYLE = """
:root{color-scheme:light dark;--ink:#1f2430;--soft:#5c6470;--line:#d9dde3;--back:#fff;--panel:#f6f7f9;--own:#0072b2;--peer:#9aa3af}
@media(prefers-color-scheme:dark){:root{--ink:#e6e8ec;--soft:#a0a7b3;--line:#363c47;--back:#15181d;--panel:#1d2127;
--own:#56b4e9;--peer:#68707c}}
body{margin:0 auto;max-width:1120px;padding:24px;background:var(--back);color:var(--ink);font:15px/1.5 system-ui,sans-serif}
h1{font-size:22px;margin:0 0 4px}h2{font-size:15px;margin:0 0 8px}p{color:var(--soft);margin:0 0 12px}
.charts{display:grid;grid-template-columns:repeat(auto-fit,minmax(460px,1fr));gap:16px;margin:16px 0}
figure{background:var(--panel);border:1px solid var(--line);border-radius:6px;padding:12px;margin:0}
svg{width:100%;height:auto;display:block}svg text{fill:var(--ink);font:13px system-ui,sans-serif}
.spread{stroke:var(--ink);stroke-width:1.5}
.wide{overflow-x:auto}table{border-collapse:collapse;margin:0 0 16px;width:100%;font-size:14px}
td,th{text-align:left;padding:4px 12px 4px 0;border-bottom:1px solid var(--line)}
"""


def render(results, idle, markdown):
    """`markdown` is the whole report: what is in the one is in the other."""
    charts = [_scenario(scenario, samples) for scenario, samples in results]
    charts += [_idle(scenario, rows) for scenario, rows in idle]
    blocks = [_block(block) for block in markdown.strip().split("\n\n")]
    # Behind the title and the paragraph about the machine.
    blocks.insert(2, f'<div class="charts">{"".join(charts)}</div>')
    return (f'<!doctype html>\n<html lang="en">\n<meta charset="utf-8">\n<meta name="viewport" '
            f'content="width=device-width">\n<title>Balance beside other proxies</title>\n'
            f"<style>{STYLE}</style>\n" + "\n".join(blocks) + "\n</html>\n")


def _scenario(scenario, samples):
    unit = "s" if scenario.unit == "GB" else "µs"
    scale = 1e6 if scenario.unit == "GB" else 1.0
    rows = []
    for name, rounds in samples.items():
        cpu = [sample.cpu_us_per_unit / scale for sample in rounds]
        rows.append((name, median(cpu), min(cpu), max(cpu)))
    return _figure(f"{scenario.title}: CPU per {scenario.unit}, {unit}", rows)


def _idle(scenario, idle):
    rows = []
    for name, each in idle.items():
        costs = [row["bytes_per_connection"] for row in each]
        rows.append((name, median(costs), min(costs), max(costs)))
    return _figure(f"{scenario.title[0].upper()}{scenario.title[1:]}: bytes for each", rows)


def _figure(title, rows):
    """Bars from zero to the median, with a line from the lowest to the highest round."""
    highest = max((most for *_, most in rows), default=0) or 1
    length = WIDTH - NAME - FIGURE

    def x(value):
        return NAME + length * value / highest

    parts = []
    for number, (name, middle, least, most) in enumerate(rows):
        top = number * ROW
        colour = "var(--own)" if name == "balance" else "var(--peer)"
        parts.append(
            f'<text x="0" y="{top + 16}">{html.escape(name)}</text>'
            f'<rect x="{NAME}" y="{top + 4}" width="{x(middle) - NAME:.1f}" height="16" style="fill:{colour}"/>'
            f'<line class="spread" x1="{x(least):.1f}" x2="{x(most):.1f}" y1="{top + 12}" y2="{top + 12}"/>'
            f'<text x="{WIDTH}" y="{top + 16}" text-anchor="end">{_figure_text(middle)}</text>')
    svg = f'<svg viewBox="0 0 {WIDTH} {ROW * len(rows)}" role="img">{"".join(parts)}</svg>'
    return f"<figure><h2>{html.escape(title)}</h2>{svg}</figure>"


def _figure_text(value):
    return f"{value:,.0f}" if value >= 100 else f"{value:.2f}" if value >= 1 else f"{value:.3f}"


def _block(block):
    lines = block.splitlines()
    if block.startswith("# "):
        return f"<h1>{html.escape(block[2:])}</h1>"
    if not block.startswith("|"):
        return f"<p>{'<br>'.join(html.escape(line) for line in lines)}</p>"
    rows = [[_cell(cell) for cell in line.strip("| ").split(" | ")] for line in lines if not line.startswith("|---")]
    head, *body = rows
    head = "".join(f"<th>{cell}</th>" for cell in head)
    body = "".join(f"<tr>{''.join(f'<td>{cell}</td>' for cell in row)}</tr>\n" for row in body)
    return f'<div class="wide"><table>\n<tr>{head}</tr>\n{body}</table></div>'


def _cell(text):
    before, *rest = html.escape(text.strip()).split("**")
    return before + (f"<b>{rest[0]}</b>{rest[1]}" if len(rest) == 2 else "")

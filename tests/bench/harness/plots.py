"""The plots, as SVG: the same results give the same bytes."""

from statistics import median

import matplotlib

matplotlib.use("svg")
matplotlib.rcParams.update({"svg.hashsalt": "backfill", "svg.fonttype": "none", "font.family": "sans-serif", "font.size": 10, "axes.spines.top": False, "axes.spines.right": False})

from matplotlib import pyplot  # noqa: E402

from .stats import ratios, spread  # noqa: E402

# A number over a line stays legible.
ON_WHITE = {"facecolor": "white", "edgecolor": "none", "pad": 1}
OURS, OTHERS, LINE = "#1f6feb", "#9aa4b1", "#c9372c"
SHORT = {
    "statement": "one statement",
    "procedure": "procedure, COMMIT each 1,000",
    "script-1000": "script, COMMIT each 1,000",
    "script-autocommit": "script, autocommit",
    "ours": "operator, one worker",
    "nothing": "no backfill",
    "ours-full": "operator, Full",
}


def draw(results, out):
    """Draws what there are results for; answers the names of what was drawn."""
    drawn = []
    for name, plot in (("speed", _speed), ("tenths", _tenths), ("memory", _memory), ("latency", _latency)):
        figure = plot(results)
        if figure is None:
            continue
        # No date: a plot that did not change must not look changed.
        figure.savefig(out / f"{name}.svg", metadata={"Date": None, "Creator": None}, bbox_inches="tight")
        pyplot.close(figure)
        drawn.append(name)
    return drawn


def _short(variant):
    return SHORT.get(variant) or f"operator, {variant.removeprefix('ours-')} workers"


def _colour(variant):
    return OURS if variant.startswith("ours") else OTHERS


def _speed(results):
    rounds = results.get("speed", {}).get("rounds")
    if not rounds:
        return None
    figure, panes = pyplot.subplots(1, 2, figsize=(9, 0.45 * len(rounds[0]) + 1.2), sharey=True)
    order = sorted(rounds[0], key=lambda name: median(row[name]["rate"] for row in rounds))
    for pane, field, title, target in ((panes[0], "rate", "rows a second", 0.8), (panes[1], "serverCpuPerRow", "server CPU a row", 1.3)):
        found = [spread(ratios([{n: r[field] for n, r in row.items()} for row in rounds], name, "statement")) for name in order]
        middle = [one["median"] for one in found]
        around = [[one["median"] - one["min"] for one in found], [one["max"] - one["median"] for one in found]]
        pane.barh([_short(name) for name in order], middle, xerr=around, color=[_colour(name) for name in order], error_kw={"capsize": 3, "lw": 1})
        for place, one in enumerate(found):
            pane.text(one["max"] + max(middle) * 0.03, place, f"{one['median']:.2f}", va="center", zorder=4, bbox=ON_WHITE)
        pane.axvline(target, color=LINE, lw=1, ls="--", zorder=3)
        pane.set_xlim(0, max(one["max"] for one in found) * 1.2)
        pane.set_title(f"{title}, of the one statement's", fontsize=10)
    figure.supxlabel("median of the rounds; whiskers: least and most; dashed: target for one worker", fontsize=9)
    figure.tight_layout()
    return figure


def _tenths(results):
    rounds = results.get("speed", {}).get("rounds", [])
    lines = [row["ours"]["tenths"] for row in rounds if row.get("ours", {}).get("tenths")]
    if not lines:
        return None
    per_tenth = results["speed"]["written"] / 10
    figure, pane = pyplot.subplots(figsize=(7, 3))
    for line in lines:
        pane.plot(range(1, 11), [per_tenth / seconds for seconds in line], color=OTHERS, lw=1, alpha=0.8)
    pane.plot(range(1, 11), [per_tenth / median(line[n] for line in lines) for n in range(10)], color=OURS, lw=2, marker="o", label="median of the rounds")
    pane.set_ylim(bottom=0)
    pane.yaxis.set_major_formatter("{x:,.0f}")
    pane.set_xticks(range(1, 11))
    pane.set_xlabel("tenth of the rows")
    pane.set_ylabel("rows a second")
    pane.set_title("operator, one worker: from the first row to the last", fontsize=10)
    pane.legend(frameon=False, loc="lower right")
    figure.tight_layout()
    return figure


def _memory(results):
    sizes = sorted((results[part]["rows"], [row["ours"]["memoryKib"] / 1024 for row in results[part]["rounds"]]) for part in ("small", "speed") if part in results)
    if not sizes:
        return None
    figure, pane = pyplot.subplots(figsize=(7, 0.5 * len(sizes) + 1.2))
    for rows, peaks in sizes:
        pane.barh(f"{rows:,} rows", median(peaks), color=OURS, height=0.6)
        pane.plot(peaks, [f"{rows:,} rows"] * len(peaks), "|", color="black", ms=10)
        pane.text(max(peaks) + 1, f"{rows:,} rows", f"{median(peaks):.1f}", va="center")
    pane.axvline(64, color=LINE, lw=1, ls="--")
    pane.set_xlim(0, max(70, *(peak * 1.15 for _, peaks in sizes for peak in peaks)))
    pane.set_xlabel("MiB; bars: median, strokes: each round, dashed: target")
    pane.set_title("largest resident memory of the apply step", fontsize=10)
    figure.tight_layout()
    return figure


def _latency(results):
    rounds = (results.get("latency") or {}).get("rounds")
    if not rounds:
        return None
    order = [name for name in ("statement", "procedure", "ours-full", "ours", "nothing") if name in rounds[0]]
    figure, pane = pyplot.subplots(figsize=(7, 0.5 * len(order) + 1.2))
    least = min(row[name]["p99"] for row in rounds for name in order)
    for name in order:
        values = [row[name]["p99"] for row in rounds]
        # On a logarithmic scale a bar has no honest length: points, and a line to lead the eye.
        pane.plot([least / 3, median(values)], [_short(name)] * 2, color=_colour(name), lw=1)
        pane.plot(values, [_short(name)] * len(values), "o", color=_colour(name), ms=5, alpha=0.6)
        pane.plot(median(values), _short(name), "|", color="black", ms=16)
        pane.text(max(values) * 1.25, _short(name), f"{median(values):,.1f} ms", va="center")
    pane.set_xscale("log")
    pane.set_ylim(-0.6, len(order) - 0.4)
    pane.set_xlim(least / 3, max(row[name]["p99"] for row in rounds for name in order) * 6)
    pane.set_xlabel("p99 of the application's transactions, ms; points: runs, stroke: median")
    figure.tight_layout()
    return figure

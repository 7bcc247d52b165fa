"""What was to be reached, and whether it was. Knows only the results document; no I/O."""

from dataclasses import dataclass
from statistics import median

from .stats import mann_whitney, ratios, smallest_p, spread

REACHED, MISSED, NOT_MEASURED = "reached", "missed", "not measured"
# Below this two sets of runs count as different.
LEVEL = 0.05
# With more noise than this, tenths that are alike prove nothing.
TOO_NOISY = 0.3


@dataclass
class Target:
    """One line of the table."""

    name: str
    wanted: str
    measured: str
    verdict: str


def judge(results):
    """All targets, in the order of issue 4."""
    rounds, plans = (results.get(part, {}).get("rounds", []) for part in ("speed", "planning"))
    workers = results["settings"]["workers"]
    # Where the engine has no workers the run goes without; the target stays in the table.
    two = f"ours-{workers}" if workers > 1 else "ours-2"
    return [
        _at_least("one worker: rows a second, of the one statement's", 0.8, 1.0, _speed(rounds, "ours", "rate")),
        _at_least("two workers: rows a second, of the one statement's", 1.2, 1.3, _speed(rounds, two, "rate")),
        _at_most("server CPU a row, of the one statement's", 1.3, None, _speed(rounds, "ours", "serverCpuPerRow")),
        _at_least("planning: rows a second, of COPY's", 0.7, None, ratios(_field(plans, "rate"), "plan", "copy")),
        _at_most("undo: its time, of apply's", 0.5, None, [row["undoSeconds"] / row["applySeconds"] for row in _rounds(results, "wayback")]),
        # No undo of single rows is quicker than this statement by itself, so that what two sessions gain is all there is to gain.
        _at_most("undo: its time, of one statement's that takes the same back", 1.0, None, _back(_rounds(results, "wayback"))),
        # "About a second".
        _at_most("undo of 10,000 rows of a million, s", 1.2, None, [row["undoSeconds"] for row in (results.get("wayback") or {}).get("few", [])]),
        _dump(results, "ours", "dump by default: times as fast as pg_dump -Fc", 4),
        _dump(results, None, "dump by the fastest choice: times as fast as pg_dump -Fc", 7),
        _dump(results, None, "the same, the rows in four tables", 7, "spread"),
        _latency(results.get("latency")),
        _memory(results),
        _same_memory(results),
        _tenths(rounds),
        _kills(results.get("kills")),
        _nothing_twice(results),
    ]


def _back(rounds):
    return [row["undoSeconds"] / row["statementBackSeconds"] for row in rounds if "statementBackSeconds" in row]


def _rounds(results, part):
    return (results.get(part) or {}).get("rounds", [])


def _dump(results, variant, name, least, layout="rounds"):
    """The dump, without the sums of every table and its proof, against the command, which has neither. Without a variant: the
    fastest of ours."""
    rounds = (results.get("dump") or {}).get(layout, [])

    def ours(row):
        return row[variant]["dumpSeconds"] if variant else min(row[which]["dumpSeconds"] for which in row if which.startswith("ours"))

    return _at_least(name, least, None, [row["pg_dump -Fc"]["dumpSeconds"] / ours(row) for row in rounds])


def _field(rounds, field):
    return [{name: result.get(field) for name, result in row.items()} for row in rounds]


def _speed(rounds, name, field):
    return ratios(_field(rounds, field), name, "statement")


def _at_least(name, least, aim, values):
    wanted = f"at least {least}" + (f" (aim {aim})" if aim else "")
    found = spread(values)
    verdict = NOT_MEASURED if found is None else REACHED if found["median"] >= least else MISSED
    return Target(name, wanted, _show(found), verdict)


def _at_most(name, most, aim, values):
    wanted = f"at most {most}" + (f" (aim {aim})" if aim else "")
    found = spread(values)
    verdict = NOT_MEASURED if found is None else REACHED if found["median"] <= most else MISSED
    return Target(name, wanted, _show(found), verdict)


def _show(found):
    return "–" if found is None else f"{found['median']:.2f} ({found['min']:.2f} to {found['max']:.2f}, {found['n']} rounds)"


def _latency(latency):
    name = f"p99 of an application beside it, {latency['rate'] if latency else 200} transactions a second"
    wanted = "not to be told from no backfill, at least 5 runs each"
    if not latency or "ours" not in latency["rounds"][0]:
        return Target(name, wanted, "–", NOT_MEASURED)
    ours, alone = ([row[which]["p99"] for row in latency["rounds"]] for which in ("ours", "nothing"))
    p = mann_whitney(ours, alone)
    measured = f"{median(ours):.1f} ms beside it, {median(alone):.1f} ms alone; p = {p:.3f}"
    if min(len(ours), len(alone)) < 5:
        return Target(name, wanted, f"{measured}; {len(ours)} runs (p cannot be below {smallest_p(len(ours), len(alone)):.2f})", NOT_MEASURED)
    # Distinguishably better is not worse.
    worse = p < LEVEL and median(ours) > median(alone)
    return Target(name, wanted, measured, MISSED if worse else REACHED)


def _memory(results):
    peaks = _peaks(results)
    if not peaks:
        return Target("worker memory, MiB", "at most 64", "–", NOT_MEASURED)
    most = max(peak for size in peaks.values() for peak in size) / 1024
    return Target("worker memory, MiB", "at most 64", f"{most:.1f}", REACHED if most <= 64 else MISSED)


def _same_memory(results):
    """The same: the larger table's median is at most 10 percent and 1 MiB above the smaller one's, which is room for the
    allocator's noise."""
    peaks = _peaks(results)
    sizes = sorted(peaks)
    name = "worker memory, the same at " + " and ".join(f"{size:,}" for size in sizes) + " rows"
    if len(sizes) < 2:
        return Target(name, "equal", "–", NOT_MEASURED)
    small, large = (median(peaks[size]) / 1024 for size in (sizes[0], sizes[-1]))
    verdict = REACHED if large <= small * 1.1 + 1 else MISSED
    return Target(name, "equal (10 percent and 1 MiB allowed)", f"{small:.1f} and {large:.1f} MiB", verdict)


def _peaks(results):
    found = {}
    for part in ("speed", "small"):
        if part in results:
            peaks = [row["ours"]["memoryKib"] for row in results[part]["rounds"] if "ours" in row]
            found.setdefault(results[part]["rows"], []).extend(peaks)
    return {size: peaks for size, peaks in found.items() if peaks}


def _tenths(rounds):
    """The noise is how far the inner eight tenths' medians lie from one another."""
    lines = [row["ours"]["tenths"] for row in rounds if row.get("ours", {}).get("tenths")]
    name, wanted = "time per row, last tenth of the first's", "1 within the noise"
    if not lines:
        return Target(name, wanted, "–", NOT_MEASURED)
    medians = [median(line[n] for line in lines) for n in range(10)]
    inner = medians[1:9]
    noise = (max(inner) - min(inner)) / median(inner)
    ratio = median(line[9] / line[0] for line in lines)
    measured = f"{ratio:.2f}; noise {noise:.2f}"
    if ratio > 1 + noise:
        return Target(name, wanted, measured, MISSED)
    # Anything is within the noise of a busy machine.
    return Target(name, wanted, measured, REACHED if noise <= TOO_NOISY else NOT_MEASURED)


def _kills(kills):
    name, wanted = "kill -9 to the next commit", "under 1 s"
    found = spread(kills["kills"]) if kills else None
    if found is None:
        return Target(name, wanted, "–", NOT_MEASURED)
    measured = f"{found['median'] * 1000:.0f} ms ({found['min'] * 1000:.0f} to {found['max'] * 1000:.0f}, {found['n']} kills)"
    return Target(name, wanted, measured, REACHED if found["max"] < 1 else MISSED)


def _nothing_twice(results):
    """After the kills; every other problem of correctness ends the run with an error."""
    name, wanted = "after the kills: written twice, audited twice", "nothing"
    kills = results.get("kills")
    if not kills or not kills["kills"]:
        return Target(name, wanted, "–", NOT_MEASURED)
    return Target(name, wanted, "; ".join(kills["problems"]) or "nothing", MISSED if kills["problems"] else REACHED)


def problems(results):
    """Everything that is wrong, not slow: a run with any of it fails."""
    parts = ("speed", "small", "kills", "wayback", "capture", "dump")
    return [f"{part}: {problem}" for part in parts for problem in (results.get(part) or {}).get("problems", [])]

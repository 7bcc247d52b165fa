"""Medians, spreads and one exact test. No I/O, no dependencies."""

from itertools import combinations
from math import comb
from statistics import median

# Beyond this many splits the exact test would take too long; 8 against 8 has 12,870.
MOST_SPLITS = 200_000


def spread(values):
    """Median, smallest and largest; None where there is nothing."""
    values = [value for value in values if value is not None]
    if not values:
        return None
    return {"median": median(values), "min": min(values), "max": max(values), "n": len(values)}


def ratios(rounds, name, base):
    """name/base within each round, so that what slows a whole round down cancels out."""
    pairs = [(row.get(name), row.get(base)) for row in rounds]
    return [ours / theirs for ours, theirs in pairs if ours is not None and theirs]


def percentile(values, percent):
    """The smallest value that at least `percent` of 100 of them do not exceed (nearest rank)."""
    if not values:
        return None
    ordered = sorted(values)
    rank = -(-len(ordered) * percent // 100)
    return ordered[max(int(rank), 1) - 1]


def mann_whitney(left, right):
    """Two-sided exact p of the Mann-Whitney test: the share of all splits of the values whose rank sum lies at least as
    far from the middle. None where there is nothing to compare, or too much."""
    n, total = len(left), len(left) + len(right)
    if not left or not right or comb(total, n) > MOST_SPLITS:
        return None
    ranks = _midranks(list(left) + list(right))
    middle = n * (total + 1) / 2
    seen = abs(sum(ranks[:n]) - middle)
    splits = [abs(sum(split) - middle) for split in combinations(ranks, n)]
    # Ranks are multiples of a half: the comparison is exact.
    return sum(distance >= seen for distance in splits) / len(splits)


def smallest_p(n, m):
    """The smallest p that `mann_whitney` can answer for so many values."""
    return 2 / comb(n + m, n)


def _midranks(values):
    ordered = sorted(values)
    first = {value: ordered.index(value) + 1 for value in set(values)}
    return [first[value] + (ordered.count(value) - 1) / 2 for value in values]


def tenths(points, total, end):
    """Seconds that each tenth of the rows took. `points` are (seconds, rows handled before that moment), in order;
    `end` is the second at which all `total` rows were handled. Between two points rows are taken to be even."""
    line = [*points, (end, total)]
    marks = [_when(line, total * n / 10) for n in range(11)]
    return [later - earlier for earlier, later in zip(marks, marks[1:])]


def _when(line, rows):
    for (t0, r0), (t1, r1) in zip(line, line[1:]):
        if r0 <= rows <= r1:
            return t0 if r1 == r0 else t0 + (t1 - t0) * (rows - r0) / (r1 - r0)
    return line[-1][0]

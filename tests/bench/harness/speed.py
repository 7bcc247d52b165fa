"""Rounds over the variants: each on its own copy of the same database, in a seeded order."""

from . import ledger, state
from .stats import tenths
from .variants import Floor, Ours, Procedure, Script, measure


def variants(settings):
    """All variants of a round."""
    found = [Floor(), Procedure(), Ours()]
    if settings.workers > 1:
        found.append(Ours(settings.workers))
    if settings.script_rows:
        found += [Script("script-1000", "thousand", settings.script_rows), Script("script-autocommit", "autocommit", settings.script_rows)]
    return found


def run(scene, template, rows, compared, count, random, say):
    """`count` rounds: for each variant what it took, and whether it left what the one statement left."""
    rounds, problems = [], []
    written = scene.plans[1].status["willWrite"]
    for number in range(count):
        results, states = {}, {}
        for variant in random.sample(compared, len(compared)):
            with scene.server.copy(template, "bench_run") as database:
                measured = measure(variant, scene, database)
                sample = getattr(variant, "rows", None)
                states[variant.name] = (sample, state.of(scene.server, database, scene.shape, sample))
                if isinstance(variant, Floor):
                    samples = {None} | {getattr(other, "rows", None) for other in compared}
                    expected = {upto: state.of(scene.server, database, scene.shape, upto) for upto in samples}
                results[variant.name] = result = _figures(measured, _share(written, rows, sample))
                if measured.ended:
                    result |= _of_ours(scene, database, measured, written, problems)
                say(f"round {number + 1}: {variant.name} {result['rate']:.0f} rows a second")
        for name, (sample, found) in states.items():
            if found != expected[sample]:
                problems.append(f"round {number + 1}: {name} left {found}, the one statement {expected[sample]}")
        rounds.append(results)
    return {"rows": rows, "written": written, "rounds": rounds, "problems": problems}


def _share(written, rows, sample):
    # Invalid rows are spread evenly: a sample has its share of them.
    return written if sample is None else written * sample / rows


def _figures(measured, written):
    usage = measured.usage
    client = measured.ended.client_cpu if measured.ended else None
    return {
        "seconds": usage.wall,
        "rate": written / usage.wall,
        "serverCpuPerRow": usage.server_cpu / written,
        # All of the machine: kernel threads, clients, and whatever else was running.
        "machineCpuPerRow": usage.machine_cpu / written,
        "clientCpuPerRow": None if client is None else client / written,
    }


def _of_ours(scene, database, measured, written, problems):
    with scene.server.connect(database) as connection:
        points, handled = ledger.batches(connection)
        ledger_bytes = ledger.sizes(connection)
    if handled != written:
        problems.append(f"the ledger counts {handled} rows, planned are {written}")
    # The last batch has no successor that says when it ended: what follows its beginning is left out.
    seconds = tenths(points, points[-1][1], points[-1][0]) if len(points) > 10 else None
    return {
        "memoryKib": measured.ended.memory_kib,
        "batches": len(points),
        "ledgerBytes": ledger_bytes,
        "secondsBeforeFirstBatch": points[0][0] - measured.ended.started,
        "tenths": seconds,
    }

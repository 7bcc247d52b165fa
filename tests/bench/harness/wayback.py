"""Apply, verify, undo: how fast is the way back beside the way there, does verify agree, and is everything as it was before?"""

import time
from dataclasses import replace

from . import state, worker
from .variants import Floor, Ours

# So many rows of all: a small run on a large table.
FEW = 10_000


def run(scene, template, settings, say):
    """Rounds there and back, each on a fresh copy; and one over few rows of the same tables."""
    problems, before = [], state.of(scene.server, template, scene.shape)
    rounds = [
        {**_there_and_back(scene, template, before, number == 0, problems, say), "statementBackSeconds": _statement(scene, template, before, problems, say)}
        for number in range(settings.wayback_rounds)
    ]
    return {"rounds": rounds, "few": [_there_and_back(_few(scene, template), template, before, False, problems, say) for _ in rounds], "problems": problems}


def _statement(scene, template, before, problems, say):
    """What one statement takes that puts the same rows back, after one that wrote them."""
    floor = Floor()
    with scene.server.copy(template, "bench_run") as database:
        floor.prepare(scene, database)
        floor.write(scene, database)
        began = time.monotonic()
        scene.server.execute(database, scene.shape.back, user="app")
        seconds = time.monotonic() - began
        if (after := state.of(scene.server, database, scene.shape)) != before:
            problems.append(f"after the statement that takes it back there is {after}, before {before}")
    say(f"one statement back: {seconds:.2f} s")
    return seconds


def _few(scene, template):
    spec = scene.shape.spec
    source = {**spec["source"], "where": f"({spec['source']['where']}) AND s.id <= {FEW}" if "where" in spec["source"] else f"s.id <= {FEW}"}
    shape = replace(scene.shape, spec={**spec, "source": source})
    return replace(scene, shape=shape, plans={1: worker.plan(scene.folder / "plan-few", scene.engine, scene.server, template, shape, 1)})


def _there_and_back(scene, template, before, verified, problems, say):
    ours, written = Ours(), scene.plans[1].status["willWrite"]
    with scene.server.copy(template, "bench_run") as database:
        ours.prepare(scene, database)
        pod = ours.pod(scene, database)
        apply = pod.run("apply")
        if verified and state.of(scene.server, database, scene.shape) == before:
            problems.append("apply changed nothing")
        # The sums over all tables are part of verify.
        verify = pod.run("verify")
        undo = pod.run("undo")
        last = scene.server.row(database, "SELECT extract(epoch FROM max(undone_at))::float8 FROM backfill.batches")[0]
        if (after := state.of(scene.server, database, scene.shape)) != before:
            problems.append(f"after the undo there is {after}, before the run {before}")
    say(f"{written} rows: apply {apply.wall:.2f} s, verify {verify.wall:.2f} s, undo {undo.wall:.2f} s, {undo.wall / apply.wall:.2f} of apply")
    return {
        "written": written,
        "applySeconds": apply.wall,
        "verifySeconds": verify.wall,
        # The whole step: all rows back, and looked at once more.
        "undoSeconds": undo.wall,
        # Until the last batch began: about when the last row was back.
        "rowsBackSeconds": last - undo.started,
        "undoMemoryKib": undo.memory_kib,
    }

"""Apply, verify, undo: does verify agree, and is everything as it was before?"""

from . import state
from .variants import Ours


def run(scene, template, settings, say):
    """One way there and back; how fast, and what was wrong."""
    problems, ours = [], Ours()
    written = scene.plans[1].status["willWrite"]
    before = state.of(scene.server, template, scene.shape)
    with scene.server.copy(template, "bench_run") as database:
        ours.prepare(scene, database)
        pod = ours.pod(scene, database)
        pod.run("apply")
        if state.of(scene.server, database, scene.shape) == before:
            problems.append("apply changed nothing")
        # The sums over all tables are part of verify.
        verify = pod.run("verify")
        undo = pod.run("undo")
        after = state.of(scene.server, database, scene.shape)
        if after != before:
            problems.append(f"after the undo there is {after}, before the run {before}")
    say(f"verify {verify.wall:.1f} s, undo {written / undo.wall:.0f} rows a second")
    return {
        "verifySeconds": verify.wall,
        "undoRate": written / undo.wall,
        "undoMemoryKib": undo.memory_kib,
        "problems": problems,
    }

"""The plan step beside COPY of the same columns, on the same database, in turn."""

import subprocess
import time

from . import worker
from .meter import Meter


def run(scene, template, rows, settings, random, say):
    """Rounds of both, in a seeded order."""
    rounds = []
    for number in range(settings.plan_rounds):
        results = {}
        for name in random.sample(["plan", "copy"], 2):
            meter = Meter(scene.server)
            if name == "plan":
                ended = worker.plan(scene.folder / "planning", scene.engine, scene.server, template, scene.shape).ended
                usage = meter.stop(ended.wall)
                results[name] = {"memoryKib": ended.memory_kib, "clientCpuPerRow": ended.client_cpu / rows}
            else:
                began = time.monotonic()
                _copy(scene, template)
                usage = meter.stop(time.monotonic() - began)
                results[name] = {}
            results[name] |= {"seconds": usage.wall, "rate": rows / usage.wall, "serverCpuPerRow": usage.server_cpu / rows}
            say(f"round {number + 1}: {name} {results[name]['rate']:.0f} rows a second")
        rounds.append(results)
    return {"rounds": rounds}


def _copy(scene, database):
    statement = f"COPY ({scene.shape.planned}) TO STDOUT"
    command = scene.server.client("psql", database, "-X", "-q", "-v", "ON_ERROR_STOP=1", "-c", statement)
    subprocess.run(command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, timeout=3600, check=True)

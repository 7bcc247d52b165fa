"""An application beside each variant: pgbench at a fixed rate, open loop. A transaction's latency counts from the moment
it was due, so that waiting for a locked row, or behind those that wait, is part of it."""

import shutil
import subprocess
import time
from dataclasses import replace

from . import ledger
from .stats import percentile
from .variants import Floor, Ours, Procedure

RATE = 200
CLIENTS = 16
# Seconds before the backfill begins, and the least after it.
LEAD, TAIL = 4, 5
# Seconds that ours is looked at, and nothing: beside an application it takes minutes. The others are looked at to their end.
WINDOW = 40


class Nothing:
    """The application alone."""

    name = "nothing"

    def prepare(self, scene, database):
        pass

    def write(self, scene, database):
        time.sleep(WINDOW)


class Beside(Ours):
    """The apply step, with this block `throttle`."""

    def __init__(self, name, throttle):
        super().__init__()
        self.called, self.throttle = name, throttle

    @property
    def name(self):
        return self.called

    def scene(self, scene):
        return replace(scene, engine=replace(scene.engine, throttle=self.throttle))

    def prepare(self, scene, database):
        super().prepare(self.scene(scene), database)

    def write(self, scene, database):
        self.pod(self.scene(scene), database).run_for("apply", WINDOW)


VARIANTS = {
    "ours": lambda: Beside("ours", {}),
    "ours-full": lambda: Beside("ours-full", {"besideWriters": "Full"}),
    "statement": Floor,
    "procedure": Procedure,
}


def run(scene, template, rows, expected, settings, random, say):
    """Rounds over the variants. `expected`: seconds that each takes without an application beside it."""
    rounds, remarks = [], []
    for number in range(settings.latency_rounds):
        order = [Nothing(), *(VARIANTS[name]() for name in settings.latency_beside)]
        random.shuffle(order)
        seed = random.randrange(1 << 30)
        results = {}
        for variant in order:
            with scene.server.copy(template, "bench_run") as database:
                variant.prepare(scene, database)
                results[variant.name] = result = _beside(scene, database, variant, rows, expected, seed)
                # What is due and never starts, because pgbench ends first, would look fast.
                if result["cut"] or result["transactions"] < 0.8 * result["due"] - 50:
                    remarks.append(f"round {number + 1}: the application ended before {variant.name} did, or before its queue was empty")
                say(f"round {number + 1}: beside {variant.name} p99 {result['p99']:.1f} ms of {result['transactions']} transactions")
        rounds.append(results)
    return {"rate": RATE, "rounds": rounds, "remarks": remarks}


def _beside(scene, database, variant, rows, expected, seed):
    folder = scene.folder / "pgbench"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    scripts = []
    for number, text in enumerate(scene.shape.application):
        (folder / f"{number}.sql").write_text(text)
        scripts += ["-f", str(folder / f"{number}.sql")]
    if isinstance(variant, (Nothing, Beside)):
        seconds = LEAD + WINDOW + TAIL
    else:
        # Twice as long as alone; and what waited for the one statement has to be worked off.
        seconds = int(LEAD + 2 * expected[variant.name] * 1.2 + TAIL + 1)
    command = scene.server.client(
        "pgbench", database, "-n", *scripts, "-D", f"rows={rows}", "-R", str(RATE), "-c", str(CLIENTS), "-j", "2", "-T", str(seconds),
        f"--random-seed={seed}", "-l", "--log-prefix", str(folder / "log"),
    )  # fmt: skip
    with open(folder / "said", "w") as said:
        application = subprocess.Popen(command, stdout=said, stderr=said, stdin=subprocess.DEVNULL)
        time.sleep(LEAD)
        began = time.time()
        variant.write(scene, database)
        ended = time.time()
        early = application.poll() is not None
        code = application.wait(timeout=seconds * 10 + 600)
    if code != 0:
        raise RuntimeError(f"pgbench: {(folder / 'said').read_text()[-2000:]}")
    latencies = _latencies(folder, began, ended)
    written = rows
    if isinstance(variant, Beside):
        with scene.server.connect(database) as connection:
            written = ledger.batches(connection)[1]
    return {
        "rate": 0 if isinstance(variant, Nothing) else written / (ended - began),
        "seconds": ended - began,
        "transactions": len(latencies),
        "due": RATE * (ended - began),
        "p50": percentile(latencies, 50),
        "p99": percentile(latencies, 99),
        "max": max(latencies, default=None),
        "cut": early,
    }


def _latencies(folder, began, ended):
    """Milliseconds of the transactions that were due while the variant wrote. A line of the log: client, number,
    latency in µs (with -R from the moment it was due), script, seconds and µs of its end, lag."""
    found = []
    for log in folder.glob("log.*"):
        for line in log.read_text().splitlines():
            fields = line.split()
            latency = int(fields[2])
            due = int(fields[4]) + (int(fields[5]) - latency) / 1e6
            if began <= due <= ended:
                found.append(latency / 1000)
    return found

"""Arguments, and the order of the run. Every part's numbers go into results.json as soon as they are there."""

import argparse
import datetime
import json
import os
import random
import signal
import sys
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median

from . import capture, dump, kills, latency, machine, planning, report, server, speed, targets, wayback, worker
from .shapes import SHAPES
from .variants import Floor, Ours, Scene, measure

ROOT = Path(__file__).resolve().parents[3]
PARTS = ("speed", "planning", "small", "kills", "wayback", "capture", "dump", "latency")
WORKERS = 2
# Bytes: template, a copy with as many dead rows as live ones, the ledger, the write-ahead log.
DISK_PER_ROW = 20_000


@dataclass
class Settings:
    """How much of everything."""

    rows: int
    # Another size, for memory that must not grow.
    small_rows: int
    rounds: int
    small_rounds: int
    plan_rounds: int
    # The script is too slow for all rows.
    script_rows: int
    latency_rounds: int
    # What the application is looked at beside, and beside nothing.
    latency_beside: tuple
    kills: int
    # Of a dump: a million rows are 2 GB.
    dump_rounds: int
    wayback_rounds: int
    # Seconds; about a batch.
    kill_jitter: float = 0.05
    workers: int = 1


PROFILES = {
    "full": Settings(1_000_000, 100_000, 5, 3, 5, 20_000, 5, ("ours", "ours-full", "statement", "procedure"), 12, 3, 3),
    "quick": Settings(100_000, 20_000, 3, 2, 3, 2_000, 3, ("ours", "ours-full", "statement"), 5, 2, 2),
}


def main():
    """Runs, and answers the exit code: 0 unless something is wrong; slow is not wrong."""
    arguments = _arguments()
    if arguments.redraw:
        report.write(json.loads((arguments.redraw / "results.json").read_text()), arguments.redraw)
        return 0
    # SIGTERM ends the server, too.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    settings = _settings(arguments)
    engine = worker.Engine.of(arguments.binary.resolve(), {"size": arguments.batch_size} if arguments.batch_size else {})
    if arguments.workers == "auto":
        settings.workers = WORKERS if engine.has_workers else 1
    else:
        settings.workers = int(arguments.workers)
    try:
        results = _measured(arguments, settings, engine)
    except worker.StepFailed as error:
        print(f"bench: {error}", file=sys.stderr)
        return 1
    report.write(results, arguments.out)
    wrong = targets.problems(results)
    for target in targets.judge(results):
        print(f"{target.verdict:>12}  {target.name}: {target.measured} (wanted: {target.wanted})")
    for problem in wrong:
        print(f"WRONG: {problem}", file=sys.stderr)
    print(f"report: {arguments.out / 'report.md'}")
    return 1 if wrong else 0


def _measured(arguments, settings, engine):
    cache = Path(os.environ["BACKFILL_CACHE"]) / "bench"
    shape, seed, began = SHAPES[arguments.shape], random.Random(arguments.seed), time.monotonic()

    def say(text):
        print(f"{time.monotonic() - began:7.0f} s  {text}", flush=True)

    with server.serving(cache, settings.rows * DISK_PER_ROW) as running:
        results = {
            "date": datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%d %H:%M UTC"),
            "command": arguments.command,
            "profile": arguments.profile,
            "seed": arguments.seed,
            "shape": shape.name,
            "settings": asdict(settings),
            "engine": {"scansSecrets": engine.scans_secrets, "hasWorkers": engine.has_workers, "batch": engine.batch},
            "server": server.SETTINGS,
            "machine": machine.describe(running, engine.binary, ROOT),
            "busyBefore": machine.busy(),
        }
        if arguments.add:
            earlier = json.loads((arguments.out / "results.json").read_text())
            results = {**earlier, "command": f"{earlier['command']}`, then `{arguments.command}"}
        templates = {size: _template(running, shape, size, arguments.seed, say) for size in {settings.rows, settings.small_rows}}
        results["rowBytes"] = running.row(templates[settings.rows], f"SELECT avg(pg_column_size(metadata))::int FROM {shape.spec['source']['table']}")[0]
        scene = _scene(running, engine, shape, cache / "pods", templates[settings.rows], settings.workers)
        say(f"planned: {scene.plans[1].status['willWrite']} of {settings.rows} rows")
        # The first ones on a fresh server have to make the files of the log that all later ones use again, and get memory from
        # the machine that nobody has touched: nobody is to be those.
        for first in (Floor(), Ours()):
            with running.copy(templates[settings.rows], "bench_run") as database:
                measure(first, scene, database)
        for part in [part for part in PARTS if part in arguments.parts]:
            say(part)
            results[part] = _part(part, scene, templates, settings, results, seed, say)
            _save(results, arguments.out)
        results["busyAfter"] = machine.busy()
        results["minutes"] = round((time.monotonic() - began) / 60 + (results.get("minutes", 0) if arguments.add else 0), 1)
        _save(results, arguments.out)
    return results


def _part(part, scene, templates, settings, results, seed, say):
    template, rows = templates[settings.rows], settings.rows
    match part:
        case "speed":
            return speed.run(scene, template, rows, speed.variants(settings), settings.rounds, seed, say)
        case "planning":
            return planning.run(scene, template, rows, settings, seed, say)
        case "small":
            small = _scene(scene.server, scene.engine, scene.shape, scene.folder / "small", templates[settings.small_rows], 1)
            return speed.run(small, templates[settings.small_rows], settings.small_rows, [Floor(), Ours()], settings.small_rounds, seed, say)
        case "kills":
            return kills.run(scene, template, settings, seed, say)
        case "wayback":
            return wayback.run(scene, template, settings, say)
        case "capture":
            return capture.run(scene, template, settings, seed, say)
        case "dump":
            return dump.run(scene, template, settings, seed, say)
        case "latency":
            timed = results["speed"]["rounds"]
            alone = {name: median(row[name]["seconds"] for row in timed) for name in ("statement", "procedure")}
            return latency.run(scene, template, rows, alone, settings, seed, say)
        case other:
            raise ValueError(other)


def _scene(running, engine, shape, folder, template, workers):
    plans = {count: worker.plan(folder / f"plan-{count}", engine, running, template, shape, count) for count in {1, workers}}
    return Scene(running, engine, shape, folder, plans)


def _template(running, shape, rows, seed, say):
    """The database that every variant starts from; frozen and analysed, so that nothing of that happens while it is measured."""
    name = f"template_{rows}"
    running.execute("postgres", f"CREATE DATABASE {name} OWNER {server.OWNER}")
    running.execute(name, shape.tables, *shape.fill_with(rows, seed), user=server.OWNER)
    running.execute(name, *(f"VACUUM (FREEZE, ANALYZE) {table}" for table in shape.names))
    say(f"{rows} rows are there")
    return name


def _save(results, out):
    out.mkdir(parents=True, exist_ok=True)
    (out / "results.json").write_text(json.dumps(results, indent=1) + "\n")


def _settings(arguments):
    settings = PROFILES[arguments.profile]
    for name in ("rows", "small_rows", "rounds", "latency_rounds", "kills", "script_rows", "dump_rounds", "wayback_rounds", "latency_beside"):
        if (value := getattr(arguments, name)) is not None:
            setattr(settings, name, value)
    return settings


def _arguments():
    parser = argparse.ArgumentParser(prog="tests/bench/bench", description="Measures the operator's data plane beside what teams write instead.")
    parser.add_argument("--profile", choices=PROFILES, default="full")
    parser.add_argument("--binary", type=Path, help="a built operator (default: the release build, made first)")
    parser.add_argument("--out", type=Path, help="folder of the report (default: docs/performance, or out/bench for a quick run)")
    parser.add_argument("--shape", choices=SHAPES, default="scenarios")
    parser.add_argument("--workers", default="auto", help="auto: 2 where the engine has workers; or a number")
    parser.add_argument("--batch-size", type=int, help="rows a batch (default: the operator's own)")
    parser.add_argument("--seed", type=int, default=20261123)
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=list(PARTS), help="only these (latency needs speed)")
    parser.add_argument("--add", action="store_true", help="beside the parts that the folder has already, with the same other arguments")
    parser.add_argument("--redraw", type=Path, metavar="FOLDER", help="write report and plots again out of its results.json")
    for name in ("rows", "small-rows", "rounds", "latency-rounds", "kills", "script-rows", "dump-rounds", "wayback-rounds"):
        parser.add_argument(f"--{name}", type=int, help="instead of the profile's")
    parser.add_argument("--latency-beside", nargs="+", choices=latency.VARIANTS, help="only these, and nothing")
    arguments = parser.parse_args()
    if not arguments.redraw and not arguments.binary:
        parser.error("--binary is needed; tests/bench/bench sets it")
    if "latency" in arguments.parts and "speed" not in arguments.parts and not arguments.add:
        parser.error("latency needs speed: how long a variant takes alone")
    if arguments.workers != "auto" and not arguments.workers.isdigit():
        parser.error("--workers takes auto or a number")
    if arguments.out is None:
        arguments.out = ROOT / ("docs/performance" if arguments.profile == "full" else "out/bench")
    arguments.command = _shown(sys.argv[1:])
    return arguments


def _shown(words):
    """The command that a reader would type, without paths of this machine."""
    # The entry script puts the release build first.
    typed = words[2:] if words[:1] == ["--binary"] else words
    made = {("--profile", "full"): "make bench", ("--profile", "quick"): "make bench-quick"}.get(tuple(typed))
    if made:
        return made
    return "tests/bench/bench " + " ".join(Path(word).name if word.startswith("/") else word for word in words)

"""A backup beside the checklist's command: how fast, how large, and does every dump come back as the same rows?

Ours is the whole step: the dump, every block of it read back, and the sums of every table in its snapshot. The command has none
of these; with the same reading behind it, it stands there a second time."""

import os
import shutil
import subprocess
import time

from . import state
from .worker import Pod

COMMAND, PROVED = "pg_dump -Fc", "pg_dump -Fc, then read back"
OURS = {
    "ours": {},
    "ours-fastest": {"format": "Directory", "jobs": max(2, os.cpu_count() or 2), "compression": "None"},
}


def run(scene, template, settings, seed, say):
    """Rounds in a seeded order, each variant on the same database, which nothing changes."""
    server, problems, rounds = scene.server, [], []
    size = server.row(template, "SELECT pg_database_size(current_database())")[0]
    expected = state.of(server, template, scene.shape)
    for number in range(settings.dump_rounds):
        names, row = [COMMAND, PROVED, *OURS], {}
        seed.shuffle(names)
        for name in names:
            folder = scene.folder / "dump"
            shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir(parents=True)
            seconds, dump = _ours(scene, template, folder, OURS[name]) if name in OURS else _command(server, template, folder, name == PROVED)
            row[name] = {"seconds": seconds, "bytes": _bytes(dump)}
            # Once is enough: the same program writes it each time.
            if number == 0 and (found := _restored(scene, dump)) != expected:
                problems.append(f"{name}: restored there is {found}, dumped was {expected}")
            shutil.rmtree(folder)
        rounds.append(row)
        say(", ".join(f"{name} {row[name]['seconds']:.1f} s" for name in (COMMAND, PROVED, *OURS)))
    return {"databaseBytes": size, "rounds": rounds, "problems": problems}


def _command(server, template, folder, proved):
    dump = folder / "command.dump"
    began = time.monotonic()
    subprocess.run(server.client("pg_dump", template, "-Fc", "-f", str(dump)), check=True, timeout=3600)
    if proved:
        subprocess.run([str(server.programs / "pg_restore"), "-f", "/dev/null", str(dump)], check=True, timeout=3600)
    return time.monotonic() - began, dump


def _ours(scene, template, folder, how):
    pod = Pod(folder / "pod", scene.engine, scene.server, template, scene.shape)
    pod.spec["backup"].update(how)
    ended = pod.run("backup")
    return ended.wall, pod.root / "backup" / ended.report["backup"]["file"]


def _bytes(dump):
    return sum(file.stat().st_size for file in ([dump] if dump.is_file() else dump.iterdir()))


def _restored(scene, dump):
    server, name = scene.server, "bench_restored"
    server.execute("postgres", f"DROP DATABASE IF EXISTS {name} WITH (FORCE)", f"CREATE DATABASE {name} OWNER app")
    try:
        command = server.client("pg_restore", str(dump), "--dbname", name, "--no-owner")
        subprocess.run(command, check=True, timeout=3600)
        return state.of(server, name, scene.shape)
    finally:
        server.execute("postgres", f"DROP DATABASE {name} WITH (FORCE)")

"""A backup beside the checklist's command: how fast, how large, and does every dump come back as the same rows?

Ours is dumped by the client of 17, as the image has it; then the sums of every table are taken in the same snapshot, while every
block is read back. The time of a dump is that until the last byte of its files was written, of the command's, too; the other time is
all of it, until the process ends. The command has no proof; with the same reading behind it, it stands there a second time.
Beside them what no dump is faster than: the same rows by COPY, and by pg_dump, without a file."""

import os
import shutil
import subprocess
import time
from dataclasses import replace
from pathlib import Path

from . import state
from .worker import Pod

COMMAND, PROVED = "pg_dump -Fc", "pg_dump -Fc, then read back"
OURS = {
    "ours": {},
    "ours-lz4": {"format": "Directory", "jobs": max(2, os.cpu_count() or 2), "compression": "Lz4"},
    "ours-none": {"format": "Directory", "jobs": max(2, os.cpu_count() or 2), "compression": "None"},
}


# The rows once more in so many tables: a dump has a session a table at most.
TABLES = 4


def run(scene, template, settings, seed, say):
    """Rounds in a seeded order, each variant on the same database, which nothing changes."""
    server, problems = scene.server, []
    size = server.row(template, "SELECT pg_database_size(current_database())")[0]
    found = {"databaseBytes": size, "rounds": _rounds(scene, template, settings.dump_rounds, seed, problems, say), "problems": problems}
    name, spread = _spread(scene, settings.rows)
    try:
        found["spread"] = _rounds(spread, name, settings.dump_rounds, seed, problems, say)
    finally:
        server.execute("postgres", f"DROP DATABASE {name} WITH (FORCE)")
    return found


def _rounds(scene, database, count, seed, problems, say):
    rounds, expected = [], state.of(scene.server, database, scene.shape)
    for number in range(count):
        names, row = [COMMAND, PROVED, *FLOORS, *OURS], {}
        seed.shuffle(names)
        for name in names:
            folder = scene.folder / "dump"
            shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir(parents=True)
            if name in FLOORS:
                began = time.monotonic()
                FLOORS[name](scene, database)
                seconds = time.monotonic() - began
                row[name] = {"dumpSeconds": seconds, "seconds": seconds, "bytes": 0}
                continue
            dumped, seconds, dump = _ours(scene, database, folder, OURS[name]) if name in OURS else _command(scene.server, database, folder, name == PROVED)
            row[name] = {"dumpSeconds": dumped, "seconds": seconds, "bytes": sum(file.stat().st_size for file in _files(dump))}
            # Once is enough: the same program writes it each time.
            if number == 0 and (found := _restored(scene, dump)) != expected:
                problems.append(f"{name}: restored there is {found}, dumped was {expected}")
            shutil.rmtree(folder)
        rounds.append(row)
        say(", ".join(f"{name} {row[name]['dumpSeconds']:.1f} s ({row[name]['seconds']:.1f} s)" for name in (COMMAND, PROVED, *FLOORS, *OURS)))
    return rounds


def _spread(scene, rows):
    """A database with as many rows of the source, of other seeds, in several tables."""
    server, shape, name, source = scene.server, scene.shape, "bench_spread", scene.shape.spec["source"]["table"]
    server.execute("postgres", f"DROP DATABASE IF EXISTS {name} WITH (FORCE)", f"CREATE DATABASE {name} OWNER app")
    server.execute(name, shape.tables, *shape.fill_with(rows // TABLES, 1), user="app")
    others = [f"{source}_{number}" for number in range(2, TABLES + 1)]
    for number, table in enumerate(others, 2):
        fill = [statement.replace(f"INTO {source} ", f"INTO {table} ") for statement in shape.fill_with(rows // TABLES, number) if f"INTO {source} " in statement]
        server.execute(name, f"CREATE TABLE {table} (LIKE {source} INCLUDING ALL)", *fill, user="app")
    server.execute(name, *(f"VACUUM (FREEZE, ANALYZE) {table}" for table in (*shape.names, *others)))
    server.execute("postgres", "CHECKPOINT")
    row = dict(shape.state)[source]
    return name, replace(scene, shape=replace(shape, state=[*shape.state, *((table, row) for table in others)]))


def _copied(scene, database):
    for table, _ in scene.shape.state:
        subprocess.run(scene.server.client("psql", database, "-X", "-q", "-c", f"COPY {table} TO STDOUT"), check=True, timeout=3600, stdout=subprocess.DEVNULL)


def _plain(scene, database):
    # Not by -f: /dev/null cannot be brought to the disk.
    subprocess.run(scene.server.client("pg_dump", database, "-Fc", "-Z0"), check=True, timeout=3600, stdout=subprocess.DEVNULL)


FLOORS = {"copy": _copied, "plain": _plain}


def _command(server, database, folder, proved):
    dump = folder / "command.dump"
    began, clock = time.monotonic(), time.time()
    subprocess.run(server.client("pg_dump", database, "-Fc", "-f", str(dump)), check=True, timeout=3600)
    if proved:
        subprocess.run([str(server.programs / "pg_restore"), "-f", "/dev/null", str(dump)], check=True, timeout=3600)
    return dump.stat().st_mtime - clock, time.monotonic() - began, dump


def _ours(scene, database, folder, how):
    pod = Pod(folder / "pod", scene.engine, scene.server, database, scene.shape)
    pod.spec["backup"].update(how)
    clients = _clients(folder)
    # The machine's own client is of the server's major, would be preferred, and is not in the image.
    pod.environment = {"BACKFILL_CLIENTS": str(clients), "PATH": f"{clients / '17/bin'}:{os.environ['PATH']}"}
    ended = pod.run("backup")
    dump = pod.root / "backup" / ended.report["backup"]["file"]
    return max(file.stat().st_mtime for file in _files(dump)) - ended.started, ended.wall, dump


def _files(dump):
    return [dump] if dump.is_file() else list(dump.iterdir())


def _clients(folder):
    """A folder of clients by major, as the image has one."""
    script = Path(__file__).resolve().parents[2] / "clients/bin.sh"
    programs = subprocess.run([script], capture_output=True, text=True, check=True, timeout=600).stdout.strip()
    (folder / "clients/17").mkdir(parents=True)
    (folder / "clients/17/bin").symlink_to(programs)
    return folder / "clients"


def _restored(scene, dump):
    server, name = scene.server, "bench_restored"
    # A dump of the newer client wants its pg_restore.
    restore = subprocess.run([Path(__file__).resolve().parents[2] / "clients/bin.sh"], capture_output=True, text=True, check=True, timeout=600)
    server.execute("postgres", f"DROP DATABASE IF EXISTS {name} WITH (FORCE)", f"CREATE DATABASE {name} OWNER app")
    try:
        address = ["-h", "127.0.0.1", "-p", str(server.port), "-U", "app"]
        # Its one complaint on an older server is a setting that this does not know (transaction_timeout): the sums decide.
        subprocess.run([f"{restore.stdout.strip()}/pg_restore", *address, "--no-owner", "--dbname", name, str(dump)], check=False, timeout=3600, capture_output=True)
        return state.of(server, name, scene.shape)
    finally:
        server.execute("postgres", f"DROP DATABASE {name} WITH (FORCE)")

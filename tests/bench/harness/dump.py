"""A backup beside the checklist's command: how fast, how large, and does every dump come back as the same rows?

Ours is dumped by the client of 17, as the image has it, while the sums of every table are taken in the same snapshot; then every
block is read back. The time of the dump is that until its last file was written, the time of the step is all of it. The command
has no proof; with the same reading behind it, it stands there a second time."""

import os
import shutil
import subprocess
import time
from pathlib import Path

from . import state
from .worker import Pod

COMMAND, PROVED = "pg_dump -Fc", "pg_dump -Fc, then read back"
OURS = {
    "ours": {},
    "ours-lz4": {"format": "Directory", "jobs": max(2, os.cpu_count() or 2), "compression": "Lz4"},
    "ours-none": {"format": "Directory", "jobs": max(2, os.cpu_count() or 2), "compression": "None"},
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
            dumped, seconds, dump = _ours(scene, template, folder, OURS[name]) if name in OURS else _command(server, template, folder, name == PROVED)
            row[name] = {"dumpSeconds": dumped, "seconds": seconds, "bytes": sum(file.stat().st_size for file in _files(dump))}
            # Once is enough: the same program writes it each time.
            if number == 0 and (found := _restored(scene, dump)) != expected:
                problems.append(f"{name}: restored there is {found}, dumped was {expected}")
            shutil.rmtree(folder)
        rounds.append(row)
        say(", ".join(f"{name} {row[name]['dumpSeconds']:.1f} s ({row[name]['seconds']:.1f} s)" for name in (COMMAND, PROVED, *OURS)))
    return {"databaseBytes": size, "rounds": rounds, "problems": problems}


def _command(server, template, folder, proved):
    dump = folder / "command.dump"
    began = time.monotonic()
    subprocess.run(server.client("pg_dump", template, "-Fc", "-f", str(dump)), check=True, timeout=3600)
    dumped = time.monotonic() - began
    if proved:
        subprocess.run([str(server.programs / "pg_restore"), "-f", "/dev/null", str(dump)], check=True, timeout=3600)
    return dumped, time.monotonic() - began, dump


def _ours(scene, template, folder, how):
    pod = Pod(folder / "pod", scene.engine, scene.server, template, scene.shape)
    pod.spec["backup"].update(how)
    pod.environment["BACKFILL_CLIENTS"] = str(_clients(folder))
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

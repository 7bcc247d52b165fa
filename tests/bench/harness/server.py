"""A PostgreSQL of the run's own, in a folder of its own: made at the start, gone at the end."""

import fcntl
import os
import pwd
import re
import shutil
import socket
import subprocess
import sys
import tempfile
from contextlib import contextmanager
from pathlib import Path

import psycopg

# What differs from the defaults. Durable; large enough that the floor is not held up by checkpoints that a tuned server
# would not make either; the same for every variant.
SETTINGS = {
    "shared_buffers": "1GB",
    "max_wal_size": "8GB",
    "checkpoint_timeout": "15min",
    "max_connections": "100",
    "fsync": "on",
    "synchronous_commit": "on",
    "full_page_writes": "on",
    "autovacuum": "on",
}
OWNER = "app"


class Server:
    """A running server."""

    def __init__(self, folder, programs):
        self.folder, self.programs, self.data = folder, programs, folder / "data"
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]

    def start(self):
        self.folder.mkdir(parents=True, mode=0o755)
        if os.getuid() == 0:
            shutil.chown(self.folder, "postgres", "postgres")
        log = self.folder / "server.log"
        initdb = ["-D", self.data, "-U", "postgres", "-A", "trust", "-E", "UTF8", "--locale=C.UTF-8"]
        self._program("initdb", *initdb)
        with open(self.data / "postgresql.conf", "a") as conf:
            for name, value in SETTINGS.items():
                conf.write(f"{name} = '{value}'\n")
            conf.write(f"port = {self.port}\nlisten_addresses = '127.0.0.1'\nunix_socket_directories = '{self.folder}'\n")
        self._program("pg_ctl", "-D", self.data, "-l", log, "-w", "-t", "60", "start")
        self.execute("postgres", f"CREATE ROLE {OWNER} LOGIN")

    def stop(self):
        self._program("pg_ctl", "-D", self.data, "-m", "immediate", "-w", "-t", "60", "stop", check=False)
        shutil.rmtree(self.folder, ignore_errors=True)

    @property
    def postmaster(self):
        return int((self.data / "postmaster.pid").read_text().splitlines()[0])

    def connect(self, database, user="postgres"):
        address = {"host": "127.0.0.1", "port": self.port, "dbname": database, "user": user}
        return psycopg.connect(**address, autocommit=True, connect_timeout=10)

    def execute(self, database, *statements, user="postgres"):
        with self.connect(database, user) as connection:
            for statement in statements:
                connection.execute(statement)

    def row(self, database, query, *values):
        with self.connect(database) as connection:
            return connection.execute(query, values).fetchone()

    def client(self, program, database, *arguments):
        """The command line of a client program of PostgreSQL, as the tables' owner."""
        return [str(self.programs / program), "-h", "127.0.0.1", "-p", str(self.port), "-U", OWNER, *arguments, database]

    @contextmanager
    def copy(self, template, name):
        """A database that is the template to the byte; dropped at the end."""
        version = self.row("postgres", "SELECT current_setting('server_version_num')::int")[0]
        strategy = " STRATEGY FILE_COPY" if version >= 150_000 else ""
        drop = f"DROP DATABASE IF EXISTS {name} WITH (FORCE)"
        self.execute("postgres", drop, f"CREATE DATABASE {name} TEMPLATE {template}{strategy} OWNER {OWNER}", "CHECKPOINT")
        try:
            yield name
        finally:
            self.execute("postgres", drop)

    def _program(self, name, *arguments, check=True):
        as_user = ["setpriv", "--reuid=postgres", "--regid=postgres", "--clear-groups"] if os.getuid() == 0 else []
        # Into a file: pg_ctl's server would keep a pipe open.
        with tempfile.TemporaryFile() as said:
            command = [*as_user, self.programs / name, *arguments]
            done = subprocess.run(command, stdin=subprocess.DEVNULL, stdout=said, stderr=said, cwd="/", timeout=300, check=False)
            if check and done.returncode != 0:
                said.seek(0)
                raise RuntimeError(f"{name} failed: {said.read().decode(errors='replace')}")


def programs():
    """Where PostgreSQL's programs are: PG_BIN, or the newest of the distribution."""
    if named := os.environ.get("PG_BIN"):
        return Path(named)
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"), key=lambda p: int(re.sub(r"\D", "", p.parts[-3]) or 0))
    if not found:
        sys.exit("bench: no PostgreSQL server programs; set PG_BIN to their folder")
    return found[-1].parent


@contextmanager
def serving(cache, disk):
    """A server for the time of the block, which may need so many bytes of disk. One at a time for a cache; what a killed run left is cleared away first."""
    home = _home(cache)
    home.mkdir(parents=True, exist_ok=True)
    with open(home / "lock", "w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            sys.exit("bench: another run is using this cache")
        server = Server(home / "server", programs())
        if server.folder.exists():
            server.stop()
        if (free := shutil.disk_usage(home).free) < disk:
            sys.exit(f"bench: {home} has {free >> 30} GiB free, and {disk >> 30} GiB may be needed")
        try:
            server.start()
            yield server
        finally:
            server.stop()


def _home(cache):
    """The cache, or /var/tmp where the user `postgres` cannot get into it (root's home is closed)."""
    if os.getuid() != 0:
        return cache
    postgres = pwd.getpwnam("postgres")
    reachable = all(_may_pass(folder, postgres) for folder in [*cache.resolve().parents] if folder.exists())
    return cache if reachable else Path("/var/tmp/backfill-bench")


def _may_pass(folder, user):
    status = folder.stat()
    if status.st_uid == user.pw_uid:
        return bool(status.st_mode & 0o100)
    return bool(status.st_mode & (0o010 if status.st_gid == user.pw_gid else 0o001))

"""What is compared. Each variant writes one database from its first row to its last, and answers how long it took."""

import subprocess
import sys
import time
from dataclasses import dataclass

from .meter import Meter, Usage
from .worker import Pod, plan

# The procedure's rows between two COMMITs: what is found in most runbooks.
PAGE = 1000

PROCEDURE = """
    CREATE PROCEDURE backfill_in_pages(page int) LANGUAGE plpgsql AS $procedure$
    DECLARE
        after_id bigint := 0;
        upto_id bigint;
    BEGIN
        LOOP
            SELECT max(id) INTO upto_id FROM (SELECT s.id FROM {source} s WHERE s.id > after_id ORDER BY s.id LIMIT page) next_page;
            EXIT WHEN upto_id IS NULL;
            {update};
            COMMIT;
            after_id := upto_id;
        END LOOP;
    END $procedure$
"""


@dataclass
class Scene:
    """Where variants run: server, engine, shape, a folder for pods; the plan of each number of workers."""

    server: object
    engine: object
    shape: object
    folder: object
    plans: dict


@dataclass
class Measured:
    """What one variant took, and for ours what the worker needed."""

    usage: Usage
    ended: object = None


class Floor:
    """One statement: the fastest that PostgreSQL can, while the application waits."""

    name = "statement"

    def prepare(self, scene, database):
        pass

    def write(self, scene, database):
        run(scene.server.client("psql", database, "-X", "-q", "-v", "ON_ERROR_STOP=1", "-c", scene.shape.update_where("true")))


class Procedure:
    """A procedure that commits each 1,000 rows, called by psql."""

    name = "procedure"

    def prepare(self, scene, database):
        update = scene.shape.update_where("s.id > after_id AND s.id <= upto_id")
        procedure = PROCEDURE.format(source=scene.shape.spec["source"]["table"], update=update)
        scene.server.execute(database, procedure, user="app")

    def write(self, scene, database):
        run(scene.server.client("psql", database, "-X", "-q", "-v", "ON_ERROR_STOP=1", "-c", f"CALL backfill_in_pages({PAGE})"))


@dataclass
class Script:
    """The script, on the first `rows` rows."""

    name: str
    commit: str
    rows: int

    def prepare(self, scene, database):
        pass

    def write(self, scene, database):
        command = [sys.executable, "-m", "harness.script", scene.server.port, database, scene.shape.name, self.rows, self.commit]
        run(list(map(str, command)))


@dataclass
class Ours:
    """The apply step, from its start to its end, with so many workers."""

    workers: int = 1

    @property
    def name(self):
        return "ours" if self.workers == 1 else f"ours-{self.workers}"

    def pod(self, scene, database):
        return Pod(scene.folder / "apply", scene.engine, scene.server, database, scene.shape, self.workers, scene.plans[self.workers])

    def prepare(self, scene, database):
        # On the very database, as a run does: versions of rows, by which apply knows them again, mean nothing in a copy of it.
        scene.plans[self.workers] = plan(scene.folder / f"plan-{self.workers}", scene.engine, scene.server, database, scene.shape, self.workers)
        self.pod(scene, database).run("claim")

    def write(self, scene, database):
        return self.pod(scene, database).run("apply")


def measure(variant, scene, database):
    """Runs the variant on a database of its own."""
    # A plan has read everything once: the others shall find the same in memory.
    run(scene.server.client("psql", database, "-X", "-q", "-c", f"\\copy ({' '.join(scene.shape.planned.split())}) TO '/dev/null'"))
    variant.prepare(scene, database)
    meter = Meter(scene.server)
    began = time.monotonic()
    ended = variant.write(scene, database)
    wall = time.monotonic() - began
    return Measured(meter.stop(ended.wall if ended else wall), ended)


def run(command):
    done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=4 * 3600, check=False)
    if done.returncode != 0:
        raise RuntimeError(f"{command[0]} failed: {done.stderr[-2000:]}")

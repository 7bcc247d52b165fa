"""kill -9 in the middle of a batch, and a new worker at once: how long until the next COMMIT, and was anything written twice?"""

import time
from dataclasses import replace

from . import ledger, state
from .stats import spread
from .variants import Floor, Ours

# A log of every row that an UPDATE writes, in that UPDATE's own transaction: what is in it twice was written twice.
LOG = """
    CREATE TABLE written_rows (of_table text, id bigint);
    CREATE FUNCTION log_written() RETURNS trigger LANGUAGE plpgsql AS
        $log$ BEGIN INSERT INTO written_rows SELECT TG_TABLE_NAME, id FROM rows_now; RETURN NULL; END $log$;
"""
TRIGGER = "CREATE TRIGGER log_written AFTER UPDATE ON {table} REFERENCING NEW TABLE AS rows_now FOR EACH STATEMENT EXECUTE FUNCTION log_written()"
# The next COMMIT must come within this; anything longer is a problem of its own.
PATIENCE = 120


def run(scene, template, settings, random, say):
    """One apply, killed at seeded moments; then the same rows as after the one statement, each written once."""
    problems, ours = [], Ours()
    with scene.server.copy(template, "bench_run") as database:
        Floor().write(scene, database)
        expected = state.of(scene.server, database, scene.shape)
    with scene.server.copy(template, "bench_run") as database:
        scene.server.execute(database, LOG, *(TRIGGER.format(table=name) for name in scene.shape.names), user="app")
        # A trigger belongs to a table's definition, which must be that of the plan.
        scene = replace(scene, plans={})
        ours.prepare(scene, database)
        seconds = _killed(scene, database, ours, settings, random, say)
        with scene.server.connect(database) as connection:
            entries, places = ledger.undo_entries(connection)
            twice = connection.execute(
                "SELECT count(*) FROM (SELECT FROM written_rows GROUP BY of_table, id HAVING count(*) > 1) x"
            ).fetchone()[0]
            logged = dict(connection.execute("SELECT of_table, count(*) FROM written_rows GROUP BY 1").fetchall())
        if twice:
            problems.append(f"{twice} rows were written more than once")
        written = scene.plans[1].status["willWrite"]
        if logged != dict.fromkeys(scene.shape.names, written):
            problems.append(f"planned are {written} rows, written were {logged}")
        if entries != places or entries == 0:
            problems.append(f"{entries} undo entries speak of {places} places")
        if (found := state.of(scene.server, database, scene.shape)) != expected:
            problems.append(f"after the kills there is {found}, after the one statement {expected}")
    return {"kills": seconds, "spread": spread(seconds), "writtenTwice": twice, "undoEntries": entries, "problems": problems}


def _killed(scene, database, ours, settings, random, say):
    """Kills when so many rows are written, and some milliseconds later, so that any moment of a batch is hit."""
    planned = scene.plans[1].status["willWrite"]
    marks = sorted(random.uniform(0.02, 0.9) for _ in range(settings.kills))
    pod, seconds, attempt = ours.pod(scene, database), [], 1
    began = time.monotonic()
    processes = pod.start("apply", attempt)
    with scene.server.connect(database) as connection:
        for mark in marks:
            while ledger.attempts(connection)[0] < mark * planned and processes[0].poll() is None:
                time.sleep(0.002)
            time.sleep(random.uniform(0, settings.kill_jitter))
            if processes[0].poll() is not None:
                break
            epoch = ledger.attempts(connection)[1]
            processes[0].kill()
            killed = time.monotonic()
            processes[0].wait()
            attempt += 1
            processes = pod.start("apply", attempt)
            while ledger.attempts(connection)[1] == epoch:
                if time.monotonic() - killed > PATIENCE or processes[0].poll() not in (None, 0):
                    pod.wait("apply", processes, began)
                    raise RuntimeError("no COMMIT after a kill")
                time.sleep(0.002)
            seconds.append(time.monotonic() - killed)
            say(f"kill {len(seconds)}: next commit after {seconds[-1] * 1000:.0f} ms")
    pod.wait("apply", processes, began)
    return seconds

"""What a script pays for being captured: the same script with and without, and is everything as before after its undo?"""

import time

from . import state
from .shapes.shape import RUN
from .stats import ratios, spread
from .variants import Ours, run as run_client

# A script that goes row by row, each with a COMMIT: on the first rows only.
BY_ROW = """
    CREATE PROCEDURE script_by_row(rows int) LANGUAGE plpgsql AS $procedure$
    DECLARE one_id bigint;
    BEGIN
        FOR one_id IN SELECT s.id FROM {source} s ORDER BY s.id LIMIT rows LOOP
            {update};
            COMMIT;
        END LOOP;
    END $procedure$
"""
KINDS = ("statement", "rows")


def run(scene, template, settings, seed, say):
    """Rounds of plain and captured scripts in a seeded order, each on a fresh copy."""
    rounds, problems, undo = [], [], None
    before = state.of(scene.server, template, scene.shape)
    for number in range(settings.rounds):
        order = [(kind, captured) for kind in KINDS for captured in (False, True)]
        seed.shuffle(order)
        row = {}
        for kind, captured in order:
            with scene.server.copy(template, "bench_run") as database:
                result, back = _one(scene, database, kind, captured, settings, before, problems)
                row[f"{kind}-captured" if captured else kind] = result
                undo = back or undo
        for kind in KINDS:
            # The same script writes the same rows; those of the captured one were counted.
            plain, captured = row[kind], row[f"{kind}-captured"]
            plain["rows"] = captured["rows"]
            plain["rate"], captured["rate"] = plain["rows"] / plain["seconds"], captured["rows"] / captured["seconds"]
        rounds.append(row)
        for kind in KINDS:
            say(f"round {number + 1}, {kind}: {row[kind]['rate']:.0f} rows a second, captured {row[f'{kind}-captured']['rate']:.0f}")
    rates = [{name: result["rate"] for name, result in row.items()} for row in rounds]
    overhead = {kind: spread(ratios(rates, f"{kind}-captured", kind)) for kind in KINDS}
    return {"rounds": rounds, "overhead": overhead, "undoRate": undo, "problems": problems}


def _one(scene, database, kind, captured, settings, before, problems):
    update = scene.shape.update_where("true" if kind == "statement" else "s.id = one_id")
    call = update
    if kind == "rows":
        scene.server.execute(database, BY_ROW.format(source=scene.shape.spec["source"]["table"], update=update), user="app")
        call = f"CALL script_by_row({settings.script_rows})"
    pod = _pod(scene, database)
    pod.run("claim")
    if captured:
        pod.run("capture")
    options = f"options='-c backfill.run={RUN['uid']}'"
    began = time.monotonic()
    run_client(scene.server.client("psql", f"dbname={database} {options}", "-X", "-q", "-v", "ON_ERROR_STOP=1", "-c", call))
    wall = time.monotonic() - began
    if state.of(scene.server, database, scene.shape) == before:
        problems.append(f"the script ({kind}) changed nothing")
    if not captured:
        return {"seconds": wall}, None
    pod = _pod(scene, database)
    began = time.monotonic()
    undone = pod.run("undo").report["undone"]
    rate = undone / (time.monotonic() - began)
    after = state.of(scene.server, database, scene.shape)
    if after != before:
        problems.append(f"after the undo of the script ({kind}) there is {after}, before it {before}")
    return {"seconds": wall, "rows": undone}, rate


def _pod(scene, database):
    pod = Ours().pod(scene, database)
    template = {"spec": {"containers": [{"name": "script"}]}}
    job = {"dryRun": {"template": template}, "apply": {"template": template}, "capture": {"tables": list(scene.shape.names)}}
    pod.spec = {**pod.spec, "backfill": {"job": job}}
    pod.plan = None
    return pod

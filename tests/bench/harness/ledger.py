"""All that is asked of the ledger's tables: when a column there changes its name, this file does, too."""

from .shapes.shape import RUN

SCHEMA = "backfill"


def batches(connection):
    """(seconds since the first, rows handled before it) of each batch in the order of their beginnings: `committed_at`
    is the moment at which a batch's transaction began. And what all of them handled."""
    rows = connection.execute(
        f"SELECT extract(epoch FROM committed_at)::float8, written + drifted FROM {SCHEMA}.batches WHERE run_uid = %s ORDER BY 1, batch",
        [RUN["uid"]],
    ).fetchall()
    points, handled = [], 0
    for at, count in rows:
        points.append((at, handled))
        handled += count
    return points, handled


def attempts(connection):
    """Rows handled, and the highest epoch that committed a batch: a dead worker's last COMMIT does not count as the next
    one's first."""
    return connection.execute(
        f"SELECT coalesce(sum(written + drifted), 0)::int8, coalesce(max(epoch), 0)::int8 FROM {SCHEMA}.batches WHERE run_uid = %s",
        [RUN["uid"]],
    ).fetchone()


def undo_entries(connection):
    """Entries, and different places that they speak of (write, action, key): more entries than places is a row that was
    written twice."""
    return connection.execute(
        f"""SELECT count(*), count(DISTINCT (u.seq, u.action, k.key)) FROM {SCHEMA}.undo u, unnest(u.texts) AS k(key)
            WHERE u.run_uid = %s AND u.role = 'key'""",
        [RUN["uid"]],
    ).fetchone()


def sizes(connection):
    """Bytes of the ledger's tables, indexes and all."""
    return connection.execute(
        "SELECT coalesce(sum(pg_total_relation_size(c.oid)), 0)::int8 FROM pg_class c WHERE c.relkind = 'r' AND c.relnamespace = to_regnamespace(%s)",
        [SCHEMA],
    ).fetchone()[0]

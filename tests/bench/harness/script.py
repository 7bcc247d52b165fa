"""What teams write: a script that reads a page, checks each row and writes it, a statement at a time. A process of its own.

    python -m harness.script PORT DATABASE SHAPE ROWS autocommit|thousand

Stops after the source row with the id ROWS. Prints nothing.
"""

import sys

import psycopg
from psycopg.rows import dict_row

from .shapes import SHAPES
from .shapes.shape import is_valid


def main(port, database, shape, rows, commit):
    shape, rows = SHAPES[shape], int(rows)
    address = {"host": "127.0.0.1", "port": port, "dbname": database, "user": "app"}
    with psycopg.connect(**address, autocommit=commit == "autocommit", row_factory=dict_row) as connection:
        last = 0
        while page := [row for row in connection.execute(shape.page, [last]).fetchall() if row["id"] <= rows]:
            for row in page:
                write(connection, shape, row)
            last = page[-1]["id"]
            connection.commit()


def write(connection, shape, row):
    response = row["response"]
    if not is_valid(response):
        return
    values = {"id": row["id"], "target": row["target"], "prompt": response["prompt"], "model": response.get("model")}
    for statement in shape.row:
        if connection.execute(statement, values).rowcount != 1:
            break


if __name__ == "__main__":
    main(*sys.argv[1:])

"""What stands in the tables, as one short text: equal texts are equal rows, but for what the moment sets."""


def of(server, database, shape, upto=None):
    """Rows and a sum of 64-bit hashes of each table; `upto`: only rows with ids up to it."""
    parts = []
    with server.connect(database) as connection:
        for table, expression in shape.state:
            where = f"t.id <= {int(upto)}" if upto else "true"
            parts.append(
                connection.execute(
                    f"""SELECT '{table}:' || count(*) || ':' || coalesce(sum(hashtextextended(row_text, 0)::numeric), 0)
                        FROM (SELECT (ROW({expression}))::text AS row_text FROM {table} t WHERE {where}) x"""
                ).fetchone()[0]
            )
    return " ".join(parts)

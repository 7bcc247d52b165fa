"""What `make bench` runs: the release binary's steps and what teams write instead, on the same data, one after another.

The map, from the outside in:

    cli         arguments, and the order of the run
    speed       rounds over the variants: rows a second, server CPU, memory, tenths
    planning    the plan step beside COPY … TO STDOUT
    latency     an application beside each variant: pgbench, open loop
    kills       kill -9, and what stands in the tables afterwards
    wayback     undo: how fast, and whether everything is as before
    report      report.md out of results.json; plots draws the SVGs; targets says what was to be reached
    variants    what is compared: the floor, the procedure, the script, ours
    worker      a folder that looks like a step's pod, and the real binary in it
    ledger      all that is asked of the ledger's tables
    shapes      the tables, the data, the backfill and its equivalents in SQL
    server      a PostgreSQL of the run's own; meter reads its CPU from /proc
    stats       medians, ratios within a round, exact Mann-Whitney

`stats` and `targets` know nobody and have unit tests. Nobody knows `cli`.
"""

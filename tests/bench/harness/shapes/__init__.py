"""What is backfilled: tables, data, the spec for us, and the same in SQL for the others. A file a shape.

Every way to write must leave the same rows behind; `STATE` is how that is found out.
"""

from . import own_row, scenarios

SHAPES = {"scenarios": scenarios.SHAPE, "own-row": own_row.SHAPE}

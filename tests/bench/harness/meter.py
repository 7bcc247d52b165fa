"""CPU out of /proc: the server's, and that of everything else."""

import os
import time
from dataclasses import dataclass
from pathlib import Path

TICK = os.sysconf("SC_CLK_TCK")


@dataclass
class Usage:
    """What a block took: seconds on the clock, CPU seconds of the server and of the whole machine."""

    wall: float = 0.0
    server_cpu: float = 0.0
    machine_cpu: float = 0.0


class Meter:
    """Measures from its making to `stop`."""

    def __init__(self, server):
        self.server = server
        self.machine_at, self.server_at = _machine(), _server(server.postmaster)
        self.began = time.monotonic()

    def stop(self, wall=None):
        """A CHECKPOINT first, outside of the clock but inside of the CPU: what a variant leaves to be written is its own."""
        wall = time.monotonic() - self.began if wall is None else wall
        self.server.execute("postgres", "CHECKPOINT")
        return Usage(wall, _server(self.server.postmaster) - self.server_at, _machine() - self.machine_at)


def _server(postmaster):
    """CPU seconds of the postmaster and all it ever started: backends that live and backends that ended (they are in
    its sum of children), WAL writer, checkpointer, background writer, autovacuum."""
    for _ in range(50):
        before = _children(postmaster)
        own = _stat(postmaster)
        # utime, stime, and those of children that were waited for: fields 14 to 17 of proc(5).
        total = sum(map(int, own[11:15])) + sum(ticks for _, ticks in before)
        # A backend that ended in between would be counted twice or not at all.
        if {pid for pid, _ in before} == {pid for pid, _ in _children(postmaster)} and _stat(postmaster)[13:15] == own[13:15]:
            break
        time.sleep(0.02)
    return total / TICK


def _children(parent):
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and (fields := _stat(entry.name)) and int(fields[1]) == parent:
            found.append((entry.name, int(fields[11]) + int(fields[12])))
    return found


def _stat(pid):
    """Fields of /proc/PID/stat from the third on; the second, the name, may hold blanks."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2].split()
    except OSError:
        return []


def _machine():
    """CPU seconds of all processors that were not idle."""
    user, nice, system, _idle, _wait, irq, softirq, steal = map(int, Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:9])
    return (user + nice + system + irq + softirq + steal) / TICK


def peak_memory(pid):
    """The largest resident set that the process has had, in KiB; None once it has ended."""
    try:
        for line in Path(f"/proc/{pid}/status").read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1])
    except OSError:
        pass
    return None

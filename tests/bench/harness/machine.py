"""On what it ran: what a reader needs to judge the numbers, and nothing that names the machine."""

import hashlib
import os
import platform
import re
import subprocess
import time
from pathlib import Path

from .meter import TICK


def describe(server, binary, root):
    """Machine, server and binary."""
    memory = re.search(r"MemTotal:\s+(\d+)", Path("/proc/meminfo").read_text())
    processor = re.search(r"model name\s*:\s*(.+)", Path("/proc/cpuinfo").read_text())
    return {
        "cores": os.cpu_count(),
        "memoryGib": round(int(memory[1]) / 1024 / 1024, 1),
        "processor": processor[1].strip() if processor else platform.machine(),
        "kernel": platform.release(),
        "postgresql": server.row("postgres", "SELECT current_setting('server_version')")[0],
        "binary": {
            "build": binary.parent.name,
            "version": subprocess.run([binary, "--version"], capture_output=True, text=True, timeout=60, check=True).stdout.strip(),
            "sha256": hashlib.sha256(binary.read_bytes()).hexdigest()[:12],
        },
        "commit": _commit(root),
    }


def busy(seconds=3.0):
    """Share of all processors that is in use by others: asked while the run itself does nothing."""

    def read():
        ticks = list(map(int, Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:9]))
        return sum(ticks) - ticks[3] - ticks[4]

    before = read()
    time.sleep(seconds)
    return round((read() - before) / TICK / seconds / (os.cpu_count() or 1), 2)


def _commit(root):
    def git(*arguments):
        return subprocess.run(["git", "-C", root, *arguments], capture_output=True, text=True, timeout=60, check=False).stdout.strip()

    commit = git("rev-parse", "--short=10", "HEAD")
    changed = git("status", "--porcelain", "--", "src", "Cargo.toml", "Cargo.lock")
    return commit + (" with changes" if changed else "")

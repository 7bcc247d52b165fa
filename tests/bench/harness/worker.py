"""A folder that looks like the pod of a step, and the real binary run in it."""

import json
import os
import re
import shutil
import subprocess
import time
from dataclasses import dataclass, field
from pathlib import Path

from .meter import peak_memory
from .shapes.shape import PLAN_DIGEST, RUN

# A step that says nothing for so long is no measurement any more.
LONGEST = 4 * 3600
DETAILS = "BACKFILL-DETAILS "


class StepFailed(Exception):
    """A step that did not end as it should."""


@dataclass
class Ended:
    """How the processes of a step ended: the first one's verdict and report, the clock, the largest memory of one."""

    reason: str
    report: dict
    # By the clock of the machine, which is the database's, too.
    started: float
    wall: float
    memory_kib: int
    client_cpu: float


@dataclass
class Engine:
    """The binary, and what of it is switched on."""

    binary: Path
    scans_secrets: bool
    has_workers: bool
    batch: dict = field(default_factory=dict)
    throttle: dict = field(default_factory=dict)

    @classmethod
    def of(cls, binary, batch):
        """What the binary's own resource definition has: an engine that does not know a field is measured without it, and
        the report says so."""
        crd = subprocess.run([binary, "crds"], capture_output=True, text=True, timeout=60, check=True).stdout
        block = crd[crd.find("backfill:") :]
        known = {name for name in ("sensitiveData", "workers") if re.search(rf"^\s+{name}:\s*$", block, re.MULTILINE)}
        return cls(binary, "sensitiveData" in known, "workers" in known, batch)

    def spec(self, shape, workers):
        """The whole spec of a run, with everything on that the engine has."""
        sql = json.loads(json.dumps(shape.spec))
        if self.scans_secrets:
            texts = [column for column in sql["writes"][0]["set"] if column in ("accepted_prompt", "prompt")]
            sql["sensitiveData"] = {"columns": texts}
        if self.batch:
            sql["batch"] = self.batch
        if self.throttle:
            sql["throttle"] = self.throttle
        if workers > 1:
            sql["workers"] = workers
        return {
            "database": {"secretRef": {"name": "db"}, "tls": {"mode": "Disable"}},
            "backup": {"destination": {"persistentVolumeClaim": {"claimName": "backups"}}},
            "backfill": {"sql": sql},
        }


class Pod:
    """The files of a step. One folder for all workers of a step: they share input and volume, as Kubernetes has it."""

    def __init__(self, folder, engine, server, database, shape, workers=1, plan=None):
        self.root, self.engine, self.workers = Path(folder), engine, workers
        self.spec = engine.spec(shape, workers)
        self.plan = plan.status if plan else None
        # What the image has and this machine has elsewhere.
        self.environment = {}
        shutil.rmtree(self.root, ignore_errors=True)
        for path in ("run/backfill/input", "run/backfill/database", "run/backfill/control", "run/backfill/scratch", "backup/bench"):
            (self.root / path).mkdir(parents=True)
        secret = {"host": "127.0.0.1", "port": server.port, "dbname": database, "username": "app", "password": "not-asked-for"}
        for key, value in secret.items():
            (self.root / "run/backfill/database" / key).write_text(str(value))
        if plan:
            shutil.copytree(plan.folder, self.root / "backup/bench", dirs_exist_ok=True)

    def start(self, step, attempt=1):
        """Starts the step's processes, and answers them."""
        document = {"run": RUN, "step": step.capitalize(), "attempt": attempt, "specHash": "bench", "spec": self.spec, "backup": {"file": "bench/bench.dump"}}
        if self.plan:
            document["plan"] = self.plan
        (self.root / "run/backfill/input/input.json").write_text(json.dumps(document))
        return [self._process(step, index) for index in range(self.workers if step == "apply" else 1)]

    def run(self, step):
        """Runs the step to its end; anything but Passed is a StepFailed."""
        began = time.monotonic()
        return self.wait(step, self.start(step), began)

    def run_for(self, step, seconds):
        """Runs the step to its end, or tells it after so many seconds to end with what it has in hand."""
        processes = self.start(step)
        until = time.monotonic() + seconds
        while time.monotonic() < until and any(process.poll() is None for process in processes):
            time.sleep(0.03)
        for process in processes:
            process.terminate()
        for index, process in enumerate(processes):
            process.wait(timeout=120)
            verdict = self._verdict(step, index)
            if verdict["outcome"] not in ("Passed", "Stopped"):
                raise StepFailed(f"{step}: {verdict}: {self._log(step)}")

    def wait(self, step, processes, began):
        """Waits until the last process has ended. Memory is looked at every 30 ms: the kernel's own maximum is gone with
        the process, and the one that wait() tells begins with the memory of the process that forked."""
        running, memory, cpu, failed = dict(enumerate(processes)), 0, 0.0, []
        while running:
            for index, process in list(running.items()):
                memory = max(memory, peak_memory(process.pid) or 0)
                # Where somebody has asked before whether it lives, its end is known already.
                if process.returncode is None:
                    ended, status, usage = os.wait4(process.pid, os.WNOHANG)
                    if not ended:
                        continue
                    process.returncode = os.waitstatus_to_exitcode(status)
                    cpu += usage.ru_utime + usage.ru_stime
                del running[index]
                if process.returncode != 0:
                    failed.append(index)
            if time.monotonic() - began > LONGEST:
                for process in running.values():
                    process.kill()
                    process.wait()
                raise StepFailed(f"{step}: no end in {LONGEST} s")
            time.sleep(0.03 if running else 0)
        wall, started = time.monotonic() - began, time.time() - (time.monotonic() - began)
        verdicts = [self._verdict(step, index) for index in range(len(processes))]
        if failed or any(verdict["outcome"] != "Passed" for verdict in verdicts):
            raise StepFailed(f"{step}: {verdicts}: {self._log(step)}")
        return Ended(verdicts[0]["reason"], self._report(step, verdicts[0]), started, wall, memory, cpu)

    def _process(self, step, index):
        home = self.root
        if index > 0:
            # Input, secret and volume are the same files; the verdict is each worker's own.
            home = self.root.with_name(f"{self.root.name}-{index}")
            shutil.rmtree(home, ignore_errors=True)
            (home / "dev").mkdir(parents=True)
            for shared in ("run", "backup"):
                (home / shared).symlink_to(self.root / shared, target_is_directory=True)
        (home / "dev").mkdir(exist_ok=True)
        (home / "dev/termination-log").unlink(missing_ok=True)
        # As the operator's pods have it.
        environment = {"PATH": os.environ["PATH"], "JOB_COMPLETION_INDEX": str(index), "MALLOC_ARENA_MAX": "1", **self.environment}
        with open(home / f"{step}.out", "w") as out, open(home / f"{step}.log", "w") as log:
            command = [self.engine.binary, "step", step, "--root", home]
            return subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=out, stderr=log, env=environment)

    def _home(self, index):
        return self.root if index == 0 else self.root.with_name(f"{self.root.name}-{index}")

    def _verdict(self, step, index):
        try:
            return json.loads((self._home(index) / "dev/termination-log").read_text())
        except (OSError, ValueError):
            return {"outcome": "Lost", "reason": "NoVerdict", "message": f"worker {index} of {step} left no verdict"}

    def _report(self, step, verdict):
        for line in (self.root / f"{step}.out").read_text().splitlines():
            mark, _, rest = line.partition(" ")
            sha256, _, document = rest.partition(" ")
            if mark + " " == DETAILS and sha256 == verdict.get("detailsSha256"):
                return next(iter(json.loads(document).values()))
        return {}

    def _log(self, step):
        return (self.root / f"{step}.log").read_text()[-2000:]


@dataclass
class Plan:
    """An approved plan: its status, and the files that belong to it."""

    status: dict
    folder: Path
    ended: Ended


def plan(folder, engine, server, database, shape, workers=1):
    """Plans, and approves."""
    pod = Pod(folder, engine, server, database, shape, workers)
    ended = pod.run("plan")
    status = ended.report["plan"]
    # As the controller does it: the digest is its own, samples stay with it.
    status = {**status, "digest": PLAN_DIGEST, "sample": [], "invalidSample": []}
    return Plan(status, pod.root / "backup/bench", ended)

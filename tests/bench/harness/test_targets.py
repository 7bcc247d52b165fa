"""A target is judged by its median, and what was not measured is never reached."""

import unittest

from .targets import MISSED, NOT_MEASURED, REACHED, judge, problems


def result(rate, cpu=1.0, memory=30_000, tenths=None):
    return {"rate": rate, "serverCpuPerRow": cpu, "memoryKib": memory, "tenths": tenths or [1.0] * 10}


def document(**more):
    rounds = [{"statement": result(100), "ours": result(rate)} for rate in (70, 85, 90)]
    base = {
        "settings": {"workers": 1},
        "speed": {"rows": 1000, "rounds": rounds, "problems": []},
        "planning": {"rounds": [{"plan": {"rate": 69}, "copy": {"rate": 100}}]},
    }
    return {**base, **more}


def verdicts(results):
    return {target.name: target.verdict for target in judge(results)}


class Targets(unittest.TestCase):
    def test_the_median_of_the_rounds_decides(self):
        found = verdicts(document())
        self.assertEqual(found["one worker: rows a second, of the one statement's"], REACHED)
        self.assertEqual(found["planning: rows a second, of COPY's"], MISSED)

    def test_what_was_not_measured_is_not_reached(self):
        found = verdicts(document())
        for name in ("two workers: rows a second, of the one statement's", "kill -9 to the next commit"):
            self.assertEqual(found[name], NOT_MEASURED)

    def test_three_runs_beside_an_application_prove_nothing(self):
        rounds = [{"ours": {"p99": 9.0 + n}, "nothing": {"p99": 1.0 + n / 10}} for n in range(5)]
        name = "p99 of an application beside it, 200 transactions a second"
        self.assertEqual(verdicts(document(latency={"rate": 200, "rounds": rounds}))[name], MISSED)
        self.assertEqual(verdicts(document(latency={"rate": 200, "rounds": rounds[:3]}))[name], NOT_MEASURED)

    def test_memory_that_grows_with_the_table_is_missed(self):
        small = {"rows": 100, "rounds": [{"ours": result(1, memory=20_000)}], "problems": []}
        self.assertEqual(verdicts(document(small=small))["worker memory, the same at 100 and 1,000 rows"], MISSED)

    def test_a_kill_that_took_longer_than_a_second_is_missed_whatever_the_median(self):
        kills = {"kills": [0.2, 0.2, 1.2], "problems": []}
        self.assertEqual(verdicts(document(kills=kills))["kill -9 to the next commit"], MISSED)

    def test_a_slower_last_tenth_is_missed_unless_the_inner_ones_differ_as_much(self):
        def of(line):
            rounds = [{"statement": result(1), "ours": result(1, tenths=line)}]
            speed = {"rows": 1, "rounds": rounds, "problems": []}
            return verdicts(document(speed=speed))["time per row, last tenth of the first's"]

        self.assertEqual(of([1.0] * 9 + [1.5]), MISSED)
        self.assertEqual(of([1.0] * 8 + [1.25, 1.2]), REACHED)
        self.assertEqual(of([1.0] * 8 + [1.6, 1.5]), NOT_MEASURED)

    def test_undo_is_held_against_the_apply_of_its_own_round(self):
        rounds = [{"undoSeconds": undo, "applySeconds": apply} for undo, apply in ((5.0, 9.0), (4.0, 9.0), (9.0, 20.0))]
        found = verdicts(document(wayback={"rounds": rounds, "few": [{"undoSeconds": 1.5}], "problems": []}))
        self.assertEqual(found["undo: its time, of apply's"], REACHED)
        self.assertEqual(found["undo of 10,000 rows of a million, s"], MISSED)

    def test_a_dump_is_held_against_the_command_and_not_against_itself(self):
        rounds = [{"pg_dump -Fc": {"dumpSeconds": 10.0}, "ours": {"dumpSeconds": s}, "ours-none": {"dumpSeconds": s / 2}} for s in (2.0, 2.1, 9.0)]
        found = verdicts(document(dump={"rounds": rounds, "problems": []}))
        self.assertEqual(found["dump by default: times as fast as pg_dump -Fc"], REACHED)
        self.assertEqual(found["dump by the fastest choice: times as fast as pg_dump -Fc"], REACHED)
        slow = [{"pg_dump -Fc": {"dumpSeconds": 10.0}, "ours": {"dumpSeconds": 3.0}, "ours-none": {"dumpSeconds": 2.0}}]
        self.assertEqual(verdicts(document(dump={"rounds": slow, "problems": []}))["dump by default: times as fast as pg_dump -Fc"], MISSED)

    def test_parts_that_were_left_out_are_not_measured(self):
        self.assertEqual(set(verdicts({"settings": {"workers": 1}}).values()), {NOT_MEASURED})

    def test_problems_of_every_part_are_told(self):
        self.assertEqual(problems(document(kills={"problems": ["a"]}, wayback={"problems": ["b"]})), ["kills: a", "wayback: b"])


if __name__ == "__main__":
    unittest.main()

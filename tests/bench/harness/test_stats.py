"""The sums of the report."""

import unittest

from .stats import mann_whitney, percentile, ratios, smallest_p, spread, tenths


class Stats(unittest.TestCase):
    def test_a_spread_is_median_and_both_ends_and_skips_what_was_not_measured(self):
        self.assertEqual(spread([3, None, 1, 2]), {"median": 2, "min": 1, "max": 3, "n": 3})
        self.assertIsNone(spread([None]))

    def test_a_ratio_is_taken_within_its_round(self):
        rounds = [{"a": 2.0, "b": 4.0}, {"a": 9.0, "b": 3.0}, {"a": 1.0}]
        self.assertEqual(ratios(rounds, "a", "b"), [0.5, 3.0])

    def test_a_percentile_is_a_value_that_was_seen(self):
        self.assertEqual(percentile(list(range(1, 101)), 99), 99)
        self.assertEqual(percentile([7], 99), 7)
        self.assertEqual(percentile(list(range(1, 102)), 99), 100)
        self.assertIsNone(percentile([], 99))

    def test_five_against_five_without_overlap_is_the_smallest_p(self):
        self.assertAlmostEqual(mann_whitney([1, 2, 3, 4, 5], [6, 7, 8, 9, 10]), 2 / 252)
        self.assertAlmostEqual(smallest_p(5, 5), 2 / 252)

    def test_the_same_values_cannot_be_told_apart(self):
        self.assertEqual(mann_whitney([1, 1, 1], [1, 1, 1]), 1)
        # By hand: of the 6 splits of the ranks 1..4 two lie farther out than {1, 4} and {2, 3}, which lie in the middle.
        self.assertEqual(mann_whitney([1, 4], [2, 3]), 1)
        self.assertAlmostEqual(mann_whitney([1, 3], [2, 4]), 4 / 6)

    def test_tenths_are_read_off_the_line_between_batches(self):
        # 50 rows in the first second, 50 in the next two.
        seconds = tenths([(0.0, 0), (1.0, 50)], 100, 3.0)
        self.assertEqual(len(seconds), 10)
        for n, expected in enumerate([0.2] * 5 + [0.4] * 5):
            self.assertAlmostEqual(seconds[n], expected)
        self.assertAlmostEqual(sum(seconds), 3.0)


if __name__ == "__main__":
    unittest.main()

//! How many rows the next batch takes: found by itself, from how long the last one took. Pure.

use super::control::BatchSettings;
use std::time::Duration;

/// `Auto` starts with so many rows: a batch that costs little whatever a row costs.
const FIRST: usize = 100;
/// After it shrank, so many whole batches go by before it grows again, or it would run into the same lock at once.
const CALM: u32 = 3;

/// Why a batch is to be smaller.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trouble {
    /// A reading of the throttle holds the worker.
    Throttle,
    /// A lock of somebody else's was waited for until the lock timeout, or there was a deadlock.
    LockWait,
    /// The statement timeout, or the server's memory, ended it: the same batch would end so again.
    TooLarge,
}

/// The size of batches, from one batch to the next.
#[derive(Clone, Copy, Debug)]
pub struct BatchSize {
    settings: BatchSettings,
    rows: usize,
    calm: u32,
}

impl BatchSize {
    /// The size of the first batch.
    #[must_use]
    pub fn new(settings: BatchSettings) -> Self {
        let mut size = Self { settings, rows: settings.size.unwrap_or(FIRST), calm: 0 };
        size.bound();
        size
    }

    /// Other settings from here on. What `Auto` has found stays, as far as the new bounds let it.
    pub fn set(&mut self, settings: BatchSettings) {
        if self.settings == settings {
            return;
        }
        if let Some(rows) = settings.size.filter(|_| self.settings.size != settings.size) {
            self.rows = rows;
        }
        self.settings = settings;
        self.bound();
    }

    /// Rows of the next batch: at least 1, never more than the settings' `max`, or than the number that they fix.
    #[must_use]
    pub const fn rows(&self) -> usize {
        self.rows
    }

    /// A batch of so many rows was committed after this time. `Auto` takes four times as many while that is an eighth of the
    /// target, and twice as many while it is a half; then it goes to the number that would have taken the target. It leaves a
    /// quarter of it to chance, and falls to a fourth at most, as one slow batch may be a checkpoint. A fixed number is only
    /// gone back to.
    pub fn took(&mut self, rows: usize, elapsed: Duration) {
        // The last batch, and one of rows that are gone, say nothing about a whole one.
        let whole = rows >= self.rows;
        let target = self.settings.target;
        if elapsed * 8 <= target {
            self.grow(self.rows.saturating_mul(4), whole);
        } else if elapsed * 2 <= target {
            self.grow(self.rows.saturating_mul(2), whole);
        } else if elapsed * 4 <= target * 3 {
            // Never more than double: a batch that was read under other settings says little about this size.
            self.grow(fitting(rows, elapsed, target).min(self.rows.saturating_mul(2)), whole);
        } else if elapsed * 4 > target * 5 && self.settings.size.is_none() {
            self.rows = fitting(rows, elapsed, target).max(self.rows / 4).min(self.rows);
            self.bound();
        }
    }

    /// Half as many rows from the next batch on. A number that is fixed stays, unless it was too large for the server.
    pub fn shrink(&mut self, trouble: Trouble) {
        if self.settings.size.is_none() || trouble == Trouble::TooLarge {
            self.rows /= 2;
            self.calm = CALM;
            self.bound();
        }
    }

    fn grow(&mut self, to: usize, whole: bool) {
        if !whole {
            return;
        }
        if self.calm > 0 {
            self.calm -= 1;
            return;
        }
        self.rows = to.max(self.rows);
        self.bound();
    }

    fn bound(&mut self) {
        self.rows = self.rows.clamp(1, self.settings.size.unwrap_or(self.settings.max).max(1));
    }
}

/// So many rows would have taken the target.
fn fitting(rows: usize, elapsed: Duration, target: Duration) -> usize {
    let micros = elapsed.as_micros().max(1);
    let fitting = u128::try_from(rows).unwrap_or(u128::MAX).saturating_mul(target.as_micros()) / micros;
    usize::try_from(fitting).unwrap_or(usize::MAX)
}

#[cfg(test)]
mod tests {
    use super::{BatchSettings, BatchSize, Trouble};
    use proptest::prelude::*;
    use std::time::Duration;

    fn auto(target: u64, max: usize) -> BatchSettings {
        BatchSettings { size: None, target: Duration::from_millis(target), max, pause: Duration::ZERO }
    }

    fn fixed(rows: usize) -> BatchSettings {
        BatchSettings { size: Some(rows), ..auto(500, 5000) }
    }

    /// Batches of rows that take this long each, until the size is found.
    fn settle(size: &mut BatchSize, micros_a_row: u64) {
        for _ in 0..40 {
            let rows = size.rows();
            size.took(rows, Duration::from_micros(micros_a_row * rows as u64));
        }
    }

    #[test]
    fn it_starts_small_and_grows_as_fast_as_the_target_has_room() {
        for (millis_a_batch, sizes) in [(62, [100, 400, 1600, 5000, 5000]), (63, [100, 200, 400, 800, 1600])] {
            let mut size = BatchSize::new(auto(500, 5000));
            let seen = std::array::from_fn(|_| {
                let rows = size.rows();
                size.took(rows, Duration::from_millis(millis_a_batch));
                rows
            });
            assert_eq!(seen, sizes, "{millis_a_batch} ms a batch");
        }
    }

    #[test]
    fn it_goes_to_what_takes_the_target_from_both_sides() {
        for (rows_taken, millis, next) in [
            (100, 250, 200), // just half: doubled
            (100, 62, 400),  // an eighth: four times as many would still take no more than half
            (100, 300, 166), // 500 / 300
            (100, 400, 100), // close enough
            (100, 600, 100), // close enough
            (100, 1000, 50), // half of what it took
            (100, 9000, 25), // a fourth at most
            (40, 2000, 25),  // a batch that was not whole tells that it is too slow
            (40, 10, 100),   // but not that it is quick
        ] {
            let mut size = BatchSize::new(auto(500, 5000));
            size.took(rows_taken, Duration::from_millis(millis));
            assert_eq!(size.rows(), next, "{rows_taken} rows in {millis} ms");
        }
    }

    #[test]
    fn trouble_halves_it_at_once_and_it_waits_before_it_grows_again() {
        for trouble in [Trouble::Throttle, Trouble::LockWait, Trouble::TooLarge] {
            let mut size = BatchSize::new(auto(500, 5000));
            size.shrink(trouble);
            assert_eq!(size.rows(), 50);
            let grown: Vec<usize> = (0..5)
                .map(|_| {
                    size.took(size.rows(), Duration::from_millis(1));
                    size.rows()
                })
                .collect();
            assert_eq!(grown, [50, 50, 50, 200, 800]);
        }
    }

    #[test]
    fn a_number_stays_that_number_unless_the_server_cannot_do_it() {
        let mut size = BatchSize::new(fixed(1000));
        size.took(1000, Duration::from_mins(1));
        size.took(1000, Duration::ZERO);
        size.shrink(Trouble::Throttle);
        size.shrink(Trouble::LockWait);
        assert_eq!(size.rows(), 1000);
        size.shrink(Trouble::TooLarge);
        assert_eq!(size.rows(), 500);
        size.took(500, Duration::from_mins(1));
        assert_eq!(size.rows(), 500, "slow batches keep it down");
        settle(&mut size, 1);
        assert_eq!(size.rows(), 1000, "quick ones bring it back");
    }

    #[test]
    fn new_settings_count_at_once_and_keep_what_was_found() {
        let mut size = BatchSize::new(auto(500, 5000));
        settle(&mut size, 500);
        let found = size.rows();
        size.set(BatchSettings { pause: Duration::from_secs(1), ..auto(500, 5000) });
        assert_eq!(size.rows(), found);
        size.set(auto(500, 300));
        assert_eq!(size.rows(), 300);
        size.set(fixed(4000));
        assert_eq!(size.rows(), 4000);
        size.shrink(Trouble::TooLarge);
        size.set(BatchSettings { pause: Duration::from_secs(1), ..fixed(4000) });
        assert_eq!(size.rows(), 2000, "another pause makes no batch larger");
        size.set(auto(500, 5000));
        assert_eq!(size.rows(), 2000);
    }

    #[derive(Clone, Debug)]
    enum Event {
        Took(usize, u64),
        Shrink(Trouble),
        Set(BatchSettings),
    }

    fn settings() -> impl Strategy<Value = BatchSettings> {
        (proptest::option::of(1_usize..=5000), 0_u64..5000, 1_usize..=5000)
            .prop_map(|(size, target, max)| BatchSettings { size, ..auto(target, max) })
    }

    fn event() -> impl Strategy<Value = Event> {
        prop_oneof![
            (0_usize..6000, 0_u64..100_000).prop_map(|(rows, millis)| Event::Took(rows, millis)),
            prop_oneof![Just(Trouble::Throttle), Just(Trouble::LockWait), Just(Trouble::TooLarge)].prop_map(Event::Shrink),
            settings().prop_map(Event::Set),
        ]
    }

    proptest! {
        #[test]
        fn it_is_never_nothing_and_never_above_its_bound(first in settings(), events in prop::collection::vec(event(), 0..60)) {
            let mut now = first;
            let mut size = BatchSize::new(first);
            for event in events {
                let before = size.rows();
                match event {
                    Event::Took(rows, millis) => {
                        size.took(rows, Duration::from_millis(millis));
                        prop_assert!(size.rows() <= before * 4, "four times as many at most");
                    }
                    Event::Shrink(trouble) => {
                        size.shrink(trouble);
                        prop_assert!(size.rows() <= before);
                        prop_assert!(now.size.is_some() || size.rows() == (before / 2).max(1));
                    }
                    Event::Set(settings) => {
                        size.set(settings);
                        now = settings;
                    }
                }
                prop_assert!(size.rows() >= 1 && size.rows() <= now.size.unwrap_or(now.max));
            }
        }

        #[test]
        fn it_finds_the_target_whatever_a_row_costs(micros in 1_u64..2_000_000, target in 50_u64..5000, max in 1_usize..=5000) {
            let mut size = BatchSize::new(auto(target, max));
            settle(&mut size, micros);
            let takes = Duration::from_micros(micros * size.rows() as u64);
            let target = Duration::from_millis(target);
            // One row is the least, and a row more or less is as near as it gets.
            prop_assert!(takes * 4 <= target * 5 || size.rows() == 1, "{} rows take {takes:?}", size.rows());
            let more = Duration::from_micros(micros * (size.rows() as u64 + 1));
            prop_assert!(takes * 4 > target * 3 || size.rows() == max || more * 4 > target * 3, "{} rows take {takes:?}", size.rows());
        }
    }
}

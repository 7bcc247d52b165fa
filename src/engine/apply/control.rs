//! What may change while a run applies: batch size, pause and suspend, as annotations of the pod, read before each batch.

use crate::api::duration;
use crate::api::spec::SqlBackfill;
use std::path::{Path, PathBuf};
use std::time::Duration;

const BATCH_SIZE: &str = "backfill.dev/batch-size";
const BATCH_PAUSE: &str = "backfill.dev/batch-pause";
const SUSPEND: &str = "backfill.dev/suspend";
/// As the resource's schema has it.
const BATCH_MAX: usize = 5000;

/// The settings in force.
#[derive(Clone, Debug)]
pub struct Control {
    file: PathBuf,
    size: usize,
    pause: Duration,
    suspended: bool,
    /// No batch is larger, after one that took too long.
    cap: usize,
}

impl Control {
    /// The spec's settings, until the annotations say otherwise.
    #[must_use]
    pub fn of(spec: &SqlBackfill, file: &Path) -> Self {
        Self {
            file: file.to_owned(),
            size: usize::try_from(spec.batch.size).unwrap_or(1).clamp(1, BATCH_MAX),
            pause: duration::parse(&spec.batch.pause).unwrap_or_default(),
            suspended: false,
            cap: BATCH_MAX,
        }
    }

    /// Reads the annotations again. What is missing or cannot be read stays as it is; suspend must be there to hold.
    pub fn refresh(&mut self) -> &Self {
        self.read(&std::fs::read_to_string(&self.file).unwrap_or_default());
        self
    }

    /// Rows of the next batch.
    #[must_use]
    pub fn size(&self) -> usize {
        self.size.min(self.cap)
    }

    /// Pause after each batch.
    #[must_use]
    pub const fn pause(&self) -> Duration {
        self.pause
    }

    /// True where no further batch may begin.
    #[must_use]
    pub const fn suspended(&self) -> bool {
        self.suspended
    }

    /// Batches are half as large from now on.
    pub fn halve(&mut self) {
        self.cap = (self.size() / 2).max(1);
    }

    fn read(&mut self, annotations: &str) {
        self.suspended = false;
        // The kubelet writes `key="value"` a line, the value quoted as Go does, which for these values is as JSON does.
        let pairs = annotations.lines().filter_map(|line| {
            let (key, quoted) = line.split_once('=')?;
            Some((key.trim(), serde_json::from_str::<String>(quoted.trim()).ok()?))
        });
        for (key, value) in pairs {
            match key {
                BATCH_SIZE => self.size = value.parse().map_or(self.size, |size: usize| size.clamp(1, BATCH_MAX)),
                BATCH_PAUSE => self.pause = duration::parse(&value).unwrap_or(self.pause),
                SUSPEND => self.suspended = value == "true",
                _ => {}
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Control;
    use std::path::PathBuf;
    use std::time::Duration;

    fn control() -> Control {
        Control { file: PathBuf::new(), size: 1000, pause: Duration::ZERO, suspended: false, cap: 5000 }
    }

    #[test]
    fn annotations_are_read_as_the_kubelet_writes_them() {
        let mut control = control();
        control.read("a=\"b\\\"=c\"\nbackfill.dev/batch-pause=\"250ms\"\nbackfill.dev/batch-size=\"10\"\nbackfill.dev/suspend=\"true\"");
        assert_eq!((control.size(), control.pause(), control.suspended()), (10, Duration::from_millis(250), true));
        control.read("");
        assert_eq!((control.size(), control.suspended()), (10, false));
    }

    #[test]
    fn nonsense_changes_nothing_and_sizes_stay_in_bounds() {
        let mut control = control();
        control.read("backfill.dev/batch-size=\"many\"\nbackfill.dev/batch-pause=\"soon\"\nbackfill.dev/suspend=\"yes\"\ngarbage");
        assert_eq!((control.size(), control.pause(), control.suspended()), (1000, Duration::ZERO, false));
        control.read("backfill.dev/batch-size=\"0\"");
        assert_eq!(control.size(), 1);
        control.read("backfill.dev/batch-size=\"999999\"");
        assert_eq!(control.size(), 5000);
        control.halve();
        assert_eq!(control.size(), 2500);
    }
}

//! What may change while a run applies: batches, throttle and suspend, as annotations of the pod, read between batches.

use crate::api::duration;
use crate::api::spec::{BATCH_MAX, Batch, BatchRows, SqlBackfill, Throttle};
use crate::protocol::settings;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Beside others that write, at most so many rows: their log is on disk before a commit of theirs waits for it.
const GENTLE_ROWS: usize = 50;
/// And fewer, where a batch takes longer than this.
const GENTLE_TARGET: Duration = Duration::from_millis(20);

/// How batches are to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BatchSettings {
    /// Rows of each; `None`: found by itself.
    pub size: Option<usize>,
    /// How long one shall take, where its size is found.
    pub target: Duration,
    /// The most rows of one, where its size is found.
    pub max: usize,
    /// Pause after each.
    pub pause: Duration,
}

impl BatchSettings {
    pub(super) fn of(batch: &Batch) -> Self {
        let default = Batch::default();
        let time = |text: &str, default: &str| duration::parse(text).or_else(|| duration::parse(default)).unwrap_or_default();
        Self {
            size: match batch.size {
                BatchRows::Auto => None,
                BatchRows::Fixed(rows) => Some(in_bounds(rows)),
            },
            target: time(&batch.target, &default.target),
            max: in_bounds(batch.max),
            pause: time(&batch.pause, &default.pause),
        }
    }

    /// Those beside others that write; a number that is fixed stays.
    #[must_use]
    pub fn gentle(self) -> Self {
        Self { target: self.target.min(GENTLE_TARGET), max: self.max.min(GENTLE_ROWS), ..self }
    }
}

fn in_bounds(rows: i32) -> usize {
    usize::try_from(rows.clamp(1, BATCH_MAX)).unwrap_or(1)
}

/// The settings in force.
#[derive(Clone, Debug)]
pub struct Control {
    file: PathBuf,
    seen: String,
    batch: BatchSettings,
    throttle: Throttle,
    suspended: bool,
}

impl Control {
    /// The spec's settings, until the annotations say otherwise.
    #[must_use]
    pub fn of(spec: &SqlBackfill, file: &Path) -> Self {
        Self {
            file: file.to_owned(),
            seen: String::new(),
            batch: BatchSettings::of(&spec.batch),
            throttle: spec.throttle.clone(),
            suspended: false,
        }
    }

    /// Reads the annotations again, which costs less than a statement: so a suspension counts after the batch in hand. What
    /// is missing or cannot be read stays as it is; suspend must be there to hold.
    pub fn refresh(&mut self) -> &Self {
        let annotations = std::fs::read_to_string(&self.file).unwrap_or_default();
        if annotations != self.seen {
            self.read(&annotations);
            self.seen = annotations;
        }
        self
    }

    /// How batches are to be: what [`super::BatchSize`] is made of.
    #[must_use]
    pub const fn batch(&self) -> BatchSettings {
        self.batch
    }

    /// What holds the worker.
    #[must_use]
    pub const fn throttle(&self) -> &Throttle {
        &self.throttle
    }

    /// Pause after each batch.
    #[must_use]
    pub const fn pause(&self) -> Duration {
        self.batch.pause
    }

    /// True where no further batch may begin.
    #[must_use]
    pub const fn suspended(&self) -> bool {
        self.suspended
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
                settings::BATCH_SIZE => self.batch.size = rows(&value, self.batch.size),
                settings::BATCH_TARGET => self.batch.target = duration::parse(&value).unwrap_or(self.batch.target),
                settings::BATCH_MAX => self.batch.max = value.parse().map_or(self.batch.max, in_bounds),
                settings::BATCH_PAUSE => self.batch.pause = duration::parse(&value).unwrap_or(self.batch.pause),
                settings::THROTTLE => {
                    if let Ok(throttle) = serde_json::from_str(&value) {
                        self.throttle = throttle;
                    }
                }
                settings::SUSPEND => self.suspended = value == "true",
                _ => {}
            }
        }
    }
}

/// Rows of a batch as an annotation says it: a number is brought into its bounds, nonsense changes nothing.
fn rows(text: &str, before: Option<usize>) -> Option<usize> {
    match text.parse() {
        Ok(BatchRows::Auto) => None,
        Ok(BatchRows::Fixed(rows)) => Some(in_bounds(rows)),
        Err(_) => text.parse().map(in_bounds).ok().or(before),
    }
}

#[cfg(test)]
mod tests {
    use super::{BatchSettings, Control};
    use crate::api::spec::SqlBackfill;
    use crate::protocol::settings::annotations;
    use std::path::Path;
    use std::time::Duration;

    fn spec(blocks: &str) -> SqlBackfill {
        serde_yaml_ng::from_str(&format!("{{source: {{table: a}}, writes: [{{set: {{a: '1'}}}}], {blocks}}}")).unwrap()
    }

    fn control() -> Control {
        Control::of(&spec("batch: {size: 1000}"), Path::new(""))
    }

    /// As the kubelet writes them.
    fn file_of(spec: &SqlBackfill) -> String {
        annotations(spec)
            .iter()
            .fold(String::new(), |file, (key, value)| file + &format!("{key}={}\n", serde_json::to_string(value).unwrap()))
    }

    #[test]
    fn gentle_settings_are_never_larger_than_those_of_the_spec_and_leave_a_fixed_number() {
        let of = |blocks: &str| BatchSettings::of(&spec(blocks).batch).gentle();
        let of = |blocks: &str| (of(blocks).size, of(blocks).target.as_millis(), of(blocks).max, of(blocks).pause.as_millis());
        assert_eq!(of(""), (None, 20, 50, 0));
        assert_eq!(of("batch: {target: 5ms, max: 7, pause: 1s}"), (None, 5, 7, 1000));
        assert_eq!(of("batch: {size: 1000}").0, Some(1000));
    }

    #[test]
    fn annotations_are_read_as_the_kubelet_writes_them() {
        let mut control = control();
        control.read("a=\"b\\\"=c\"\nbackfill.dev/batch-pause=\"250ms\"\nbackfill.dev/batch-size=\"10\"\nbackfill.dev/suspend=\"true\"");
        assert_eq!((control.batch().size, control.pause(), control.suspended()), (Some(10), Duration::from_millis(250), true));
        control.read("");
        assert_eq!((control.batch().size, control.suspended()), (Some(10), false));
    }

    #[test]
    fn nonsense_changes_nothing_and_sizes_stay_in_bounds() {
        let mut control = control();
        control.read("backfill.dev/batch-size=\"many\"\nbackfill.dev/batch-pause=\"soon\"\nbackfill.dev/suspend=\"yes\"\ngarbage\nbackfill.dev/throttle=\"{\"");
        assert_eq!((control.batch().size, control.pause(), control.suspended()), (Some(1000), Duration::ZERO, false));
        assert_eq!(control.throttle(), &control_default().throttle);
        control.read("backfill.dev/batch-size=\"0\"");
        assert_eq!(control.batch().size, Some(1));
        control.read("backfill.dev/batch-size=\"999999\"\nbackfill.dev/batch-max=\"999999\"");
        assert_eq!((control.batch().size, control.batch().max), (Some(5000), 5000));
    }

    fn control_default() -> Control {
        Control::of(&spec(""), Path::new(""))
    }

    #[test]
    fn every_setting_reaches_a_worker_that_began_with_others() {
        let changed = spec(
            "batch: {size: Auto, target: 2s, max: 700, pause: 1m}, throttle: {maxReplicationLag: 1m, maxActiveBackends: 7, maxWaitingLocks: 0, \
             maxWalRate: 50Mi, avoidAutovacuum: true, query: {sql: \"SELECT '\\\"a\\n<b>'::text IS NULL\", max: 3}, hold: 1s}",
        );
        let mut control = control();
        control.read(&file_of(&changed));
        let wanted = BatchSettings { size: None, target: Duration::from_secs(2), max: 700, pause: Duration::from_mins(1) };
        assert_eq!(control.batch(), wanted);
        assert_eq!(control.throttle(), &changed.throttle);
        assert_eq!(Control::of(&changed, Path::new("")).batch(), wanted);
        // What is taken out of the spec is not looked at any more.
        control.read(&file_of(&spec("")));
        assert_eq!(control.throttle(), &control_default().throttle);
    }

    #[test]
    fn a_changed_file_is_seen_at_the_next_look() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("annotations");
        std::fs::write(&file, "backfill.dev/batch-size=\"10\"").unwrap();
        let mut control = Control::of(&spec(""), &file);
        assert_eq!(control.refresh().batch().size, Some(10));
        std::fs::write(&file, "backfill.dev/batch-size=\"20\"").unwrap();
        assert_eq!(control.refresh().batch().size, Some(20));
        std::fs::remove_file(&file).unwrap();
        assert_eq!(control.refresh().batch().size, Some(20));
    }
}

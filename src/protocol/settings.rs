//! Settings: what may change while a run applies, as annotations of its pod. The controller writes them, the step reads
//! them as a file of the downward API.

use crate::api::spec::SqlBackfill;
use std::collections::BTreeMap;

/// Rows a batch: `Auto`, or a number.
pub const BATCH_SIZE: &str = "backfill.dev/batch-size";
/// How long a batch shall take, a duration.
pub const BATCH_TARGET: &str = "backfill.dev/batch-target";
/// The most rows that `Auto` takes.
pub const BATCH_MAX: &str = "backfill.dev/batch-max";
/// Pause after a batch, a duration.
pub const BATCH_PAUSE: &str = "backfill.dev/batch-pause";
/// The block `throttle`, as JSON.
pub const THROTTLE: &str = "backfill.dev/throttle";
/// `true` where no further batch may begin.
pub const SUSPEND: &str = "backfill.dev/suspend";

/// The annotations that the pod of an apply step has, by their names. The same spec always makes the same texts, so
/// that what the pod was told can be compared with what it should be told.
#[must_use]
pub fn annotations(spec: &SqlBackfill) -> BTreeMap<String, String> {
    let batch = &spec.batch;
    [
        (BATCH_SIZE, batch.size.to_string()),
        (BATCH_TARGET, batch.target.clone()),
        (BATCH_MAX, batch.max.to_string()),
        (BATCH_PAUSE, batch.pause.clone()),
        (THROTTLE, serde_json::to_string(&spec.throttle).unwrap_or_default()),
    ]
    .map(|(name, value)| (name.to_owned(), value))
    .into()
}

/// Those of a pod's annotations that [`annotations`] sets.
#[must_use]
pub fn told(of_pod: &BTreeMap<String, String>) -> BTreeMap<String, String> {
    let ours = [BATCH_SIZE, BATCH_TARGET, BATCH_MAX, BATCH_PAUSE, THROTTLE];
    ours.iter().filter_map(|name| of_pod.get_key_value(*name)).map(|(name, value)| (name.clone(), value.clone())).collect()
}

#[cfg(test)]
mod tests {
    use super::{annotations, told};
    use crate::api::spec::SqlBackfill;

    #[test]
    fn what_a_pod_is_told_is_found_on_it_again_among_other_annotations() {
        let spec: SqlBackfill = serde_yaml_ng::from_str(
            "{source: {table: a}, writes: [{set: {a: '1'}}], batch: {size: 10, pause: 1s}, throttle: {query: {sql: 'SELECT 1', max: 1}}}",
        )
        .unwrap();
        let mut pod = annotations(&spec);
        assert_eq!(pod.len(), 5);
        assert_eq!(
            pod.get("backfill.dev/throttle").map(String::as_str),
            Some(r#"{"maxReplicationLag":"10s","query":{"sql":"SELECT 1","max":1},"hold":"10s"}"#)
        );
        pod.insert("example.org/team".into(), "a".into());
        assert_eq!(told(&pod), annotations(&spec));
    }
}

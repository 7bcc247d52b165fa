//! The pods of a Job with several workers: which of them speaks for all.

use super::pod;
use crate::protocol::{Outcome, Verdict};
use k8s_openapi::api::core::v1::Pod;
use kube::ResourceExt as _;
use std::collections::BTreeMap;

/// Which worker of an Indexed Job a pod is.
const INDEX: &str = "batch.kubernetes.io/job-completion-index";

/// The newest pod of each worker; one in all where there is only one worker.
pub(super) fn newest(pods: Vec<Pod>) -> Vec<Pod> {
    let mut newest: BTreeMap<String, Pod> = BTreeMap::new();
    for pod in pods {
        let index = pod.annotations().get(INDEX).cloned().unwrap_or_default();
        let older = newest.get(&index).is_some_and(|known| known.creation_timestamp() > pod.creation_timestamp());
        if !older {
            newest.insert(index, pod);
        }
    }
    newest.into_values().collect()
}

/// A pod that runs, while one does: it tells how far all are. Else the one with the gravest verdict, which is the Job's.
pub(super) fn that_decides(pods: &[Pod]) -> Option<Pod> {
    let running = pods.iter().find(|pod| pod::is_running(pod));
    running.or_else(|| pods.iter().rev().max_by_key(|pod| gravity(pod))).cloned()
}

/// A failed worker stops the others, so that their end is only a consequence.
fn gravity(pod: &Pod) -> u8 {
    match pod::termination_message(pod).and_then(|text| Verdict::from_message(&text)).map(|verdict| verdict.outcome) {
        Some(Outcome::Failed) => 5,
        Some(Outcome::Stalled) => 4,
        None | Some(Outcome::Lost) => 3,
        Some(Outcome::Stopped) => 2,
        Some(Outcome::Inconclusive) => 1,
        Some(Outcome::Passed) => 0,
    }
}

#[cfg(test)]
mod tests {
    use super::{newest, that_decides};
    use crate::protocol::{Outcome, Verdict};
    use k8s_openapi::api::core::v1::Pod;
    use kube::ResourceExt as _;
    use serde_json::json;

    fn pod(name: &str, index: usize, second: usize, state: &serde_json::Value) -> Pod {
        serde_json::from_value(json!({
            "metadata": {"name": name, "creationTimestamp": format!("2026-01-01T00:00:{second:02}Z"),
                "annotations": {"batch.kubernetes.io/job-completion-index": index.to_string()}},
            "status": {"containerStatuses": [{"name": "step", "image": "", "imageID": "", "ready": false, "restartCount": 0, "state": state}]},
        }))
        .unwrap()
    }

    fn ended(outcome: Outcome) -> serde_json::Value {
        json!({"terminated": {"exitCode": 0, "message": Verdict::new(outcome, "Because", "").to_message()}})
    }

    fn named(pods: Vec<Pod>) -> String {
        that_decides(&newest(pods)).unwrap().name_any()
    }

    #[test]
    fn a_worker_that_was_replaced_has_no_word() {
        let lost = json!({"terminated": {"exitCode": 137}});
        assert_eq!(named(vec![pod("b", 0, 2, &ended(Outcome::Passed)), pod("a", 0, 1, &lost)]), "b");
    }

    #[test]
    fn while_one_runs_it_speaks_and_then_the_gravest_verdict_counts() {
        let running = json!({"running": {}});
        assert_eq!(named(vec![pod("a", 0, 1, &ended(Outcome::Failed)), pod("b", 1, 1, &running)]), "b");
        assert_eq!(named(vec![pod("a", 0, 1, &ended(Outcome::Stopped)), pod("b", 1, 1, &ended(Outcome::Failed))]), "b");
        assert_eq!(named(vec![pod("a", 0, 1, &ended(Outcome::Passed)), pod("b", 1, 1, &ended(Outcome::Passed))]), "a");
    }
}

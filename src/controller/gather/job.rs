//! The Job of the step in hand, and what its pod says.

use super::{pod, workers};
use crate::api::status::{BackfillRunStatus, Step};
use crate::api::{RUN_UID_LABEL, STEP_LABEL};
use crate::controller::context::Context;
use crate::controller::error::{ControllerError, call};
use crate::lifecycle::{StepObservation, TeamEnd, ValidRun};
use crate::protocol::{Details, Progress, Verdict};
use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::{Event, Pod};
use kube::api::ListParams;
use kube::{Api, ResourceExt};
use std::collections::BTreeMap;

/// Looks at the Job of the step in hand; `None` where no step is in hand.
pub(super) async fn observe(
    context: &Context,
    run: &ValidRun,
    status: &BackfillRunStatus,
) -> Result<Option<StepObservation>, ControllerError> {
    let Some(entry) = status.current_step.and_then(|step| status.steps.iter().find(|s| s.step == step)) else {
        return Ok(None);
    };
    if entry.result.is_some() {
        return Ok(None);
    }
    let namespace = &run.meta.identity.namespace;
    let jobs: Api<Job> = Api::namespaced(context.client.clone(), namespace);
    let Some(job) = call("reading a step's Job", jobs.get_opt(&entry.job_name)).await? else {
        return Ok(Some(StepObservation::Absent));
    };
    if !is_ours(&job, run, entry.step) {
        return Ok(Some(StepObservation::Foreign));
    }
    let job_uid = job.uid().unwrap_or_default();
    if entry.job_uid.as_ref().is_some_and(|known| known != &job_uid) {
        return Ok(Some(StepObservation::Foreign));
    }
    if job.metadata.deletion_timestamp.is_some() {
        return Ok(Some(StepObservation::Stopping));
    }
    let pods: Api<Pod> = Api::namespaced(context.client.clone(), namespace);
    let selector = ListParams::default().labels(&format!("batch.kubernetes.io/controller-uid={job_uid}"));
    let listed = workers::newest(call("listing a step's pods", pods.list(&selector)).await?.items);
    let pod = workers::that_decides(&listed);
    let told = listed.iter().max_by_key(|pod| pod.creation_timestamp()).map(pod::told).unwrap_or_default();
    let seen = Seen { context, pods, job, job_uid, pod, told, step: entry.step };
    Ok(Some(match End::of(&seen.job) {
        None => seen.unfinished().await?,
        Some(end) if entry.step.is_team_job() => seen.team_end(end).await?,
        Some(end) => seen.our_end(end).await?,
    }))
}

fn is_ours(job: &Job, run: &ValidRun, step: Step) -> bool {
    let owners = job.owner_references();
    job.labels().get(RUN_UID_LABEL) == Some(&run.meta.identity.uid)
        && job.labels().get(STEP_LABEL).map(String::as_str) == Some(step.slug())
        && (owners.is_empty() || owners.iter().any(|o| o.uid == run.meta.identity.uid))
}

/// How a Job ended: only its terminal conditions count, never its counters.
struct End {
    complete: bool,
    reason: String,
    message: String,
}

impl End {
    fn of(job: &Job) -> Option<Self> {
        let conditions = job.status.as_ref()?.conditions.as_ref()?;
        let end = conditions.iter().find(|c| c.status == "True" && (c.type_ == "Complete" || c.type_ == "Failed"))?;
        Some(Self {
            complete: end.type_ == "Complete",
            reason: end.reason.clone().unwrap_or_default(),
            message: end.message.clone().unwrap_or_default(),
        })
    }
}

struct Seen<'a> {
    context: &'a Context,
    pods: Api<Pod>,
    job: Job,
    job_uid: String,
    /// The pod; of several workers the one whose word counts.
    pod: Option<Pod>,
    /// What the newest pod has been told.
    told: BTreeMap<String, String>,
    step: Step,
}

impl Seen<'_> {
    async fn unfinished(&self) -> Result<StepObservation, ControllerError> {
        let job_uid = self.job_uid.clone();
        let Some(pod) = &self.pod else {
            let problem = self.event_of(&job_uid, "FailedCreate").await?;
            return Ok(StepObservation::Waiting { job_uid, problem });
        };
        if !pod::has_started(pod) {
            let problem = match pod::cannot_start(pod) {
                Some(problem) => Some(problem),
                None => self.event_of(&pod.uid().unwrap_or_default(), "FailedMount").await?,
            };
            return Ok(StepObservation::Waiting { job_uid, problem });
        }
        let progress = if self.step.is_team_job() || !pod::is_running(pod) { None } else { self.progress(pod).await? };
        Ok(StepObservation::Running { job_uid, progress, told: self.told.clone() })
    }

    async fn progress(&self, pod: &Pod) -> Result<Option<Progress>, ControllerError> {
        // A log that cannot be read is no reason to stop looking at the run.
        match pod::log_tail(&self.pods, pod, 20).await {
            Ok(log) => Ok(Progress::latest(&log)),
            Err(error) => {
                tracing::debug!(%error, "no progress to be read");
                Ok(None)
            }
        }
    }

    async fn our_end(&self, end: End) -> Result<StepObservation, ControllerError> {
        let job_uid = self.job_uid.clone();
        let Some(pod) = &self.pod else {
            return Ok(StepObservation::Lost { job_uid, why: format!("its pod is gone ({})", end.reason), progress: None });
        };
        let Some(verdict) = pod::termination_message(pod).and_then(|text| Verdict::from_message(&text)) else {
            let why = pod::why_it_ended(pod).unwrap_or(end.reason);
            return Ok(StepObservation::Lost { job_uid, why, progress: self.progress(pod).await? });
        };
        let report = match &verdict.details_sha256 {
            None => None,
            Some(sha256) => {
                let log = pod::log_end(&self.pods, pod).await?;
                Details::find(&log, sha256)
                    .and_then(|details| serde_json::from_str::<crate::protocol::StepReport>(&details.json).ok())
                    .filter(|report| report.fits(self.step))
                    .map(Box::new)
            }
        };
        Ok(StepObservation::Ended { job_uid, verdict, report })
    }

    async fn team_end(&self, end: End) -> Result<StepObservation, ControllerError> {
        let job_uid = self.job_uid.clone();
        if !end.complete && end.reason == "DeadlineExceeded" {
            let end = TeamEnd {
                passed: false,
                message: "it took longer than its timeout".into(),
                output_tail: String::new(),
                output_sha256: String::new(),
                image: String::new(),
            };
            return Ok(StepObservation::TeamEnded { job_uid, end });
        }
        let Some(pod) = &self.pod else {
            return Ok(StepObservation::Lost {
                job_uid,
                why: format!("its pod is gone ({}: {})", end.reason, end.message),
                progress: None,
            });
        };
        if !end.complete
            && let Some(why) = pod::was_lost(pod)
        {
            return Ok(StepObservation::Lost { job_uid, why, progress: None });
        }
        let output = pod::whole_log(&self.pods, pod).await?;
        let end = TeamEnd {
            passed: end.complete,
            message: pod::why_it_ended(pod).unwrap_or(end.message),
            output_tail: output.tail,
            output_sha256: output.sha256,
            image: pod::image(pod),
        };
        Ok(StepObservation::TeamEnded { job_uid, end })
    }

    /// The newest event of an object with this reason: kubelet and Job controller say there why a pod cannot start.
    async fn event_of(&self, uid: &str, reason: &str) -> Result<Option<String>, ControllerError> {
        let namespace = self.job.namespace().unwrap_or_default();
        let events: Api<Event> = Api::namespaced(self.context.client.clone(), &namespace);
        let selector = ListParams::default().fields(&format!("involvedObject.uid={uid},reason={reason}"));
        let events = call("listing events", events.list(&selector)).await?;
        Ok(events.items.into_iter().max_by_key(|e| e.last_timestamp.clone()).and_then(|e| e.message))
    }
}

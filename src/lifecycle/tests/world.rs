//! A world around `decide`: Jobs that end as told, a flag, people, and a crash between commit and effect.

use super::fixtures;
use crate::api::spec::{Approval, ApprovalEntry, BackfillRun};
use crate::api::status::{BackfillRunStatus, ConfigMapStatus, ReleaseStatus, Step};
use crate::api::{FINALIZER, Phase};
use crate::lifecycle::{
    AdmissionObservation, CnpgBackup, Contents, Decision, Effect, FlagObservation, Observed, OperatorPolicy, Problem, ReleaseFound,
    StepObservation, TeamEnd, decide, validate,
};
use crate::protocol::settings::annotations;
use crate::protocol::{Outcome, Progress, StepReport, Verdict};
use jiff::{SignedDuration, Timestamp};
use std::collections::BTreeMap;

/// How a Job of the world ends.
#[derive(Clone, Debug)]
pub(super) enum Ending {
    Good,
    Verdict(Outcome, &'static str),
    Lost,
    /// Lost before anybody looked at it alive, after so many rows.
    LostAt(i64),
    Disappears,
    Reports(Box<StepReport>, Outcome, &'static str),
}

#[derive(Clone, Debug)]
struct Job {
    step: Step,
    attempt: i32,
    polls: u32,
    told: BTreeMap<String, String>,
}

pub(super) struct World {
    pub(super) run: BackfillRun,
    pub(super) now: Timestamp,
    pub(super) flag: String,
    pub(super) report_written: bool,
    /// Contents of the namespace's ConfigMaps.
    pub(super) contents: Contents,
    pub(super) jobs_made: Vec<(Step, i32)>,
    /// How attempts end, by step; the last one of the list stays.
    pub(super) script: BTreeMap<Step, Vec<Ending>>,
    pub(super) policy: OperatorPolicy,
    pub(super) admission: Option<AdmissionObservation>,
    pub(super) release: Option<ReleaseStatus>,
    pub(super) config_maps: Option<Vec<ConfigMapStatus>>,
    /// What is seen of the Backup that the run names.
    pub(super) cnpg_backup: Option<Result<CnpgBackup, Problem>>,
    /// Approve whatever is asked.
    pub(super) approves: bool,
    jobs: BTreeMap<String, Job>,
}

impl World {
    pub(super) fn new(spec: &serde_json::Value) -> Self {
        Self {
            run: fixtures::run(spec),
            now: fixtures::start(),
            flag: "false".into(),
            report_written: false,
            contents: Contents::new(),
            jobs_made: Vec::new(),
            script: BTreeMap::new(),
            policy: OperatorPolicy { can_rehearse: true, ..OperatorPolicy::default() },
            admission: Some(AdmissionObservation::InForce),
            release: None,
            config_maps: None,
            cnpg_backup: None,
            approves: true,
            jobs: BTreeMap::new(),
        }
    }

    pub(super) fn ends(mut self, step: Step, endings: &[Ending]) -> Self {
        self.script.insert(step, endings.to_vec());
        self
    }

    pub(super) fn status(&self) -> BackfillRunStatus {
        self.run.status.clone().unwrap_or_default()
    }

    pub(super) fn phase(&self) -> Phase {
        self.status().phase
    }

    fn ending(&self, job: &Job) -> Ending {
        let list = self.script.get(&job.step).cloned().unwrap_or_default();
        let index = usize::try_from(job.attempt - 1).unwrap();
        list.get(index).or(list.last()).cloned().unwrap_or(Ending::Good)
    }

    pub(super) fn observed(&mut self) -> Observed {
        let status = self.status();
        let flag = Some(FlagObservation::Value(self.flag.clone()));
        let references = Some(Ok(self.contents.clone()));
        let mut observed = Observed { flag, report_written: self.report_written, references, ..Observed::default() };
        observed.admission.clone_from(&self.admission);
        observed.release = self.release.clone().map(|status| Ok(ReleaseFound { status, ..ReleaseFound::default() }));
        observed.config_maps.clone_from(&self.config_maps);
        observed.cnpg_backup.clone_from(&self.cnpg_backup);
        let Some(entry) = status.current_step.and_then(|s| status.steps.iter().find(|e| e.step == s)) else { return observed };
        observed.step = Some(self.observe_job(&entry.job_name));
        observed
    }

    fn observe_job(&mut self, name: &str) -> StepObservation {
        let Some(job) = self.jobs.get_mut(name) else { return StepObservation::Absent };
        job.polls += 1;
        let job = job.clone();
        let job_uid = format!("uid-{name}");
        match job.polls {
            1 => StepObservation::Waiting { job_uid, problem: None },
            2 => {
                let progress = Progress { done: 5, total: 10, unit: "rows".into(), per_second: 5, ..Progress::default() };
                StepObservation::Running { job_uid, progress: Some(progress), told: job.told }
            }
            _ => self.end_of(name, &job, job_uid),
        }
    }

    fn end_of(&mut self, name: &str, job: &Job, job_uid: String) -> StepObservation {
        let verdict = |outcome, reason: &str| Verdict::new(outcome, reason, "as told");
        let team = |passed| TeamEnd {
            passed,
            message: "exit".into(),
            output_tail: "out".into(),
            output_sha256: "00".into(),
            image: "team@sha256:1".into(),
        };
        match self.ending(job) {
            Ending::Disappears => {
                self.jobs.remove(name);
                StepObservation::Absent
            }
            Ending::Lost => StepObservation::Lost { job_uid, why: "evicted".into(), progress: None },
            Ending::LostAt(done) => {
                let progress = Some(Progress { done, total: 100, unit: "rows".into(), per_second: 0, ..Progress::default() });
                StepObservation::Lost { job_uid, why: "evicted".into(), progress }
            }
            Ending::Good if job.step.is_team_job() => StepObservation::TeamEnded { job_uid, end: team(true) },
            Ending::Good => {
                let report = fixtures::report(job.step, self.now).map(Box::new);
                StepObservation::Ended { job_uid, verdict: verdict(Outcome::Passed, "Passed"), report }
            }
            Ending::Verdict(_, _) if job.step.is_team_job() => StepObservation::TeamEnded { job_uid, end: team(false) },
            Ending::Verdict(outcome, reason) => {
                let report = fixtures::report(job.step, self.now).map(Box::new);
                StepObservation::Ended { job_uid, verdict: verdict(outcome, reason), report }
            }
            Ending::Reports(report, outcome, reason) => {
                StepObservation::Ended { job_uid, verdict: verdict(outcome, reason), report: Some(report) }
            }
        }
    }

    /// One pass; `crash` loses the effect after the commit.
    pub(super) fn pass(&mut self, crash: bool) -> Decision {
        let observed = self.observed();
        self.pass_with(&observed, crash)
    }

    pub(super) fn pass_with(&mut self, observed: &Observed, crash: bool) -> Decision {
        let valid = validate(&self.run, &self.policy).unwrap();
        let decision = decide(&valid, &self.status(), observed, self.now);
        self.run.status = Some(decision.status.clone());
        if let Some(effect) = decision.effect.clone().filter(|_| !crash) {
            self.act(effect);
        }
        self.people();
        let step = decision.requeue.map_or(SignedDuration::from_secs(5), |r| SignedDuration::try_from(r).unwrap());
        self.now = self.now.checked_add(step.min(SignedDuration::from_hours(1))).unwrap();
        decision
    }

    fn act(&mut self, effect: Effect) {
        let finalizers = self.run.metadata.finalizers.get_or_insert_default();
        match effect {
            Effect::AddFinalizer => finalizers.push(FINALIZER.into()),
            Effect::RemoveFinalizer => finalizers.retain(|f| f != FINALIZER),
            Effect::StartStep(start) => {
                self.jobs_made.push((start.step, start.input.attempt));
                let told = start.input.spec.backfill.sql.as_ref().map(annotations).unwrap_or_default();
                let job = Job { step: start.step, attempt: start.input.attempt, polls: 0, told };
                self.jobs.entry(start.job_name).or_insert(job);
            }
            Effect::StopStep { job_name } => drop(self.jobs.remove(&job_name)),
            Effect::TellPod { job_name, settings } => {
                if let Some(job) = self.jobs.get_mut(&job_name) {
                    job.told = settings;
                }
            }
            Effect::EnableFlag { previous } => {
                if self.flag == previous {
                    self.flag = "true".into();
                }
            }
            Effect::RestoreFlag { previous } => {
                if self.flag == "true" {
                    self.flag = previous;
                }
            }
            Effect::WriteReport => self.report_written = true,
        }
    }

    fn people(&mut self) {
        if let Some(awaiting) = self.status().awaiting.filter(|_| self.approves) {
            let entry = ApprovalEntry { decision: Approval::Approve, digest: awaiting.digest, message: None };
            self.run.spec.approvals.insert("maria".into(), entry);
        }
    }

    /// Passes until the run has settled, or `limit` of them.
    pub(super) fn settle(&mut self, limit: usize) -> Phase {
        for _ in 0..limit {
            let before = self.run.clone();
            let decision = self.pass(false);
            if self.phase().is_terminal() && decision.effect.is_none() && before == self.run {
                break;
            }
        }
        self.phase()
    }

    pub(super) fn made(&self, step: Step) -> usize {
        self.jobs_made.iter().filter(|(s, _)| *s == step).count()
    }
}

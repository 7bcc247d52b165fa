//! Validate: from what a person wrote to what the decision works with. What CRD rules cannot hold is found here.

use super::canonical::spec_hash;
use super::invalid::Invalid;
use super::requirement::OperatorPolicy;
use crate::api::spec::{BackfillRun, BackfillRunSpec, Proof, Rehearsal, SqlBackfill, TeamJob};
use crate::api::{EDITED_BY, FINALIZER, REQUESTED_BY, duration, quantity};
use crate::protocol::RunIdentity;
use k8s_openapi::api::core::v1::PodTemplateSpec;
use kube::ResourceExt;
use std::time::Duration;

/// What of the resource's metadata the decision needs; there even where the spec is not valid.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RunMeta {
    /// Namespace, name and uid.
    pub identity: RunIdentity,
    /// Generation of the spec.
    pub generation: Option<i64>,
    /// The resource is being deleted.
    pub deleting: bool,
    /// Our finalizer is on it.
    pub finalizer: bool,
    /// Who asked for the run, where it is known.
    pub requested_by: Option<String>,
    /// Who edited its spec last, where it was not the requester.
    pub edited_by: Option<String>,
}

/// A run that can be worked with.
#[derive(Clone, Debug, PartialEq)]
pub struct ValidRun {
    /// Its metadata.
    pub meta: RunMeta,
    /// Its spec.
    pub spec: BackfillRunSpec,
    /// SHA-256 of the data-relevant spec as the user wrote it.
    pub spec_hash: String,
    /// What the operator's configuration says.
    pub policy: OperatorPolicy,
    /// After how long people are reminded.
    pub remind_after: Duration,
    /// How long approvals are waited for.
    pub approval_timeout: Duration,
    /// How long the dump may take.
    pub backup_timeout: Duration,
    /// How old a backup may be when rows are written.
    pub backup_max_age: Duration,
    /// How long the backup's rehearsal may take.
    pub rehearsal_timeout: Duration,
    /// Its space in bytes; `None`: found by itself.
    pub rehearsal_storage: Option<i64>,
    /// How long a run that has succeeded can be taken back.
    pub keep_undo: Duration,
    /// How long the logs are watched.
    pub monitor_duration: Option<Duration>,
    /// Time for the team's migrations.
    pub migrate_timeout: Duration,
    /// Time for the team's script, dry.
    pub dry_run_timeout: Duration,
    /// Time for the team's script.
    pub script_timeout: Duration,
    /// Time for each test Job.
    pub test_timeouts: Vec<Duration>,
}

impl RunMeta {
    /// Reads the metadata.
    #[must_use]
    pub fn of(run: &BackfillRun) -> Self {
        Self {
            identity: RunIdentity {
                namespace: run.namespace().unwrap_or_default(),
                name: run.name_any(),
                uid: run.uid().unwrap_or_default(),
            },
            generation: run.metadata.generation,
            deleting: run.metadata.deletion_timestamp.is_some(),
            finalizer: run.finalizers().iter().any(|f| f == FINALIZER),
            requested_by: run.annotations().get(REQUESTED_BY).filter(|name| !name.is_empty()).cloned(),
            edited_by: run.annotations().get(EDITED_BY).filter(|name| !name.is_empty()).cloned(),
        }
    }
}

/// Parses the spec once; everything after it works with values that are known to be good.
///
/// # Errors
/// [`Invalid`] says what to change.
pub fn validate(run: &BackfillRun, policy: &OperatorPolicy) -> Result<ValidRun, Invalid> {
    let spec = &run.spec;
    let meta = RunMeta::of(run);
    check_names(spec)?;
    check_patterns(spec)?;
    check_selector(spec)?;
    check_after(&meta, spec)?;
    check_capture(spec)?;
    check_schemas(spec)?;
    check_sensitive(spec)?;
    let positive = |field: &str, text: &str| match duration::parse(text) {
        Some(d) if !d.is_zero() => Ok(d),
        _ => Err(Invalid::BadDuration { field: field.into(), text: text.into() }),
    };
    check_scratch(spec)?;
    positive("database.statementTimeout", &spec.database.statement_timeout)?;
    if let Some(sql) = &spec.backfill.sql {
        check_settings(sql)?;
    }
    // What is running is not held up by a policy that came later.
    let begun = run.status.as_ref().is_some_and(|status| status.mutation_started);
    if spec.backup.proof == Proof::Restore && !policy.can_rehearse && !begun {
        return Err(Invalid::RehearsalImageMissing);
    }
    let finished = run.status.as_ref().is_some_and(|status| status.finished_at.is_some());
    if spec.rollback.requested && !begun && !finished {
        return Err(Invalid::RollbackTooEarly);
    }
    let rehearsal = spec.backup.rehearsal.clone().unwrap_or_default();
    let by_digest = policy.wants_digests(&meta.identity.namespace).filter(|_| !begun);
    let team = |field: &str, job: Option<&TeamJob>| match job {
        Some(job) => check_template(field, job, by_digest).and_then(|()| positive(&format!("{field}.timeout"), &job.timeout)),
        None => Ok(Duration::ZERO),
    };
    let script = spec.backfill.job.as_ref();
    let approval_timeout = positive("approval.timeout", &spec.approval.timeout)?;
    let remind_after = spec.approval.remind_after.as_ref().map(|text| positive("approval.remindAfter", text)).transpose()?;
    Ok(ValidRun {
        policy: policy.clone(),
        approval_timeout,
        remind_after: remind_after.unwrap_or(approval_timeout / 2),
        backup_timeout: positive("backup.timeout", &spec.backup.timeout)?,
        backup_max_age: positive("backup.maxAge", &spec.backup.max_age)?,
        rehearsal_timeout: positive("backup.rehearsal.timeout", &rehearsal.timeout)?,
        rehearsal_storage: storage(&rehearsal)?,
        keep_undo: positive("rollback.keepUndo", &spec.rollback.keep_undo)?,
        monitor_duration: spec.monitor.as_ref().map(|m| positive("monitor.duration", &m.duration)).transpose()?,
        migrate_timeout: team("migrations.job", spec.migrations.as_ref().map(|m| &m.job))?,
        dry_run_timeout: team("backfill.job.dryRun", script.map(|s| &s.dry_run))?,
        script_timeout: team("backfill.job.apply", script.map(|s| &s.apply))?,
        test_timeouts: spec
            .verify
            .iter()
            .filter_map(|check| check.job.as_ref().map(|job| team(&format!("verify[{}].job", check.name), Some(job))))
            .collect::<Result<_, _>>()?,
        spec_hash: spec_hash(spec),
        spec: spec.clone(),
        meta,
    })
}

/// The space of a rehearsal; `None`: found by itself.
fn storage(rehearsal: &Rehearsal) -> Result<Option<i64>, Invalid> {
    let text = &rehearsal.storage;
    if text == "Auto" {
        return Ok(None);
    }
    match quantity::parse(text) {
        Some(bytes) if bytes > 0 => Ok(Some(bytes)),
        _ => Err(Invalid::BadQuantity { field: "backup.rehearsal.storage".into(), text: text.clone() }),
    }
}

fn check_scratch(spec: &BackfillRunSpec) -> Result<(), Invalid> {
    match &spec.backup.scratch {
        Some(scratch) if quantity::parse(&scratch.size).is_none_or(|bytes| bytes == 0) => {
            Err(Invalid::BadQuantity { field: "backup.scratch.size".into(), text: scratch.size.clone() })
        }
        Some(_) | None => Ok(()),
    }
}

/// What may change while the run applies. A pause and a hold may be zero.
fn check_settings(sql: &SqlBackfill) -> Result<(), Invalid> {
    let (batch, throttle) = (&sql.batch, &sql.throttle);
    let durations = [
        ("batch.target", &batch.target, true),
        ("batch.pause", &batch.pause, false),
        ("throttle.maxReplicationLag", &throttle.max_replication_lag, true),
        ("throttle.hold", &throttle.hold, false),
    ];
    for (field, text, positive) in durations {
        if duration::parse(text).is_none_or(|d| positive && d.is_zero()) {
            return Err(Invalid::BadDuration { field: format!("backfill.sql.{field}"), text: text.clone() });
        }
    }
    match &throttle.max_wal_rate {
        Some(text) if quantity::parse(text).is_none_or(|bytes| bytes == 0) => {
            Err(Invalid::BadQuantity { field: "backfill.sql.throttle.maxWalRate".into(), text: text.clone() })
        }
        _ => Ok(()),
    }
}

fn check_template(field: &str, job: &TeamJob, by_digest: Option<&str>) -> Result<(), Invalid> {
    let bad = |message: String| Invalid::BadTemplate { field: format!("{field}.template"), message };
    let template: PodTemplateSpec =
        serde_json::from_value(serde_json::Value::Object(job.template.clone())).map_err(|e| bad(e.to_string()))?;
    let spec = template.spec.filter(|spec| !spec.containers.is_empty());
    let spec = spec.ok_or_else(|| bad("spec.containers is missing or empty".into()))?;
    let Some(policy) = by_digest else { return Ok(()) };
    let images = spec.containers.iter().chain(spec.init_containers.iter().flatten()).filter_map(|c| c.image.as_deref());
    match images.into_iter().find(|image| !image.contains("@sha256:")) {
        Some(image) => Err(Invalid::ImageByTag { field: format!("{field}.template"), image: image.into(), policy: policy.into() }),
        None => Ok(()),
    }
}

/// A script whose connection options come from elsewhere could not be given ours.
fn check_capture(spec: &BackfillRunSpec) -> Result<(), Invalid> {
    let Some(job) = spec.backfill.job.as_ref().filter(|job| job.capture.as_ref().is_some_and(|capture| capture.role.is_none())) else {
        return Ok(());
    };
    let containers = |list: &str| job.apply.template.get("spec").and_then(|spec| spec.get(list)?.as_array()).cloned().unwrap_or_default();
    let hides = |variable: &serde_json::Value| {
        variable.get("name").and_then(serde_json::Value::as_str) == Some("PGOPTIONS") && variable.get("valueFrom").is_some()
    };
    let mut all = containers("containers").into_iter().chain(containers("initContainers"));
    let hidden = all.find(|c| c.get("env").and_then(serde_json::Value::as_array).is_some_and(|env| env.iter().any(hides)));
    match hidden {
        Some(container) => Err(Invalid::OptionsHidden {
            container: container.get("name").and_then(serde_json::Value::as_str).unwrap_or_default().to_owned(),
        }),
        None => Ok(()),
    }
}

fn check_patterns(spec: &BackfillRunSpec) -> Result<(), Invalid> {
    for pattern in spec.monitor.iter().flat_map(|m| &m.logs.patterns) {
        regex::Regex::new(&pattern.regex).map_err(|e| Invalid::BadRegex { name: pattern.name.clone(), message: e.to_string() })?;
    }
    Ok(())
}

fn check_selector(spec: &BackfillRunSpec) -> Result<(), Invalid> {
    let Some(monitor) = &spec.monitor else { return Ok(()) };
    let bad = |message: String| Err(Invalid::BadSelector { message });
    match kube::core::Selector::try_from(monitor.logs.selector.clone()) {
        Err(error) => bad(error.to_string()),
        Ok(selector) if selector.selects_all() => bad("it selects every pod of the namespace: name the application's labels".into()),
        Ok(_) => Ok(()),
    }
}

fn check_schemas(spec: &BackfillRunSpec) -> Result<(), Invalid> {
    for rule in spec.backfill.sql.iter().flat_map(|sql| &sql.validate).filter(|rule| rule.schema.inline.is_some()) {
        jsonschema::draft202012::new(&rule.schema.document())
            .map_err(|e| Invalid::BadSchema { name: rule.name.clone(), message: e.to_string() })?;
    }
    Ok(())
}

fn check_sensitive(spec: &BackfillRunSpec) -> Result<(), Invalid> {
    let Some(sql) = &spec.backfill.sql else { return Ok(()) };
    let mut columns = sql.sensitive_data.iter().flat_map(|sensitive| &sensitive.columns);
    match columns.find(|column| !sql.writes.iter().any(|write| write.set.contains_key(*column))) {
        Some(column) => Err(Invalid::ColumnNotWritten { column: column.clone() }),
        None => Ok(()),
    }
}

fn check_after(meta: &RunMeta, spec: &BackfillRunSpec) -> Result<(), Invalid> {
    let itself = spec.after.iter().find(|after| after.name == meta.identity.name);
    itself.map_or(Ok(()), |after| Err(Invalid::AfterItself { name: after.name.clone() }))
}

fn check_names(spec: &BackfillRunSpec) -> Result<(), Invalid> {
    let lists: [(&str, Vec<&str>); 5] = [
        ("after", spec.after.iter().map(|a| a.name.as_str()).collect()),
        ("preflight.checks", spec.preflight.iter().flat_map(|p| &p.checks).map(|c| c.name.as_str()).collect()),
        ("verify", spec.verify.iter().map(|c| c.name.as_str()).collect()),
        ("monitor.logs.patterns", spec.monitor.iter().flat_map(|m| &m.logs.patterns).map(|p| p.name.as_str()).collect()),
        ("backfill.sql.validate", spec.backfill.sql.iter().flat_map(|s| &s.validate).map(|v| v.name.as_str()).collect()),
    ];
    for (field, names) in lists {
        let mut seen = std::collections::BTreeSet::new();
        if let Some(name) = names.into_iter().find(|n| !seen.insert(*n)) {
            return Err(Invalid::DuplicateName { field: field.into(), name: name.into() });
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::{Invalid, check_scratch, check_settings};
    use crate::api::spec::{BackfillRunSpec, SqlBackfill};
    use serde_json::json;

    fn sql(blocks: &str) -> SqlBackfill {
        serde_yaml_ng::from_str(&format!("{{source: {{table: a}}, writes: [{{set: {{a: '1'}}}}], {blocks}}}")).unwrap()
    }

    #[test]
    fn what_the_schema_lets_through_and_makes_no_sense_is_refused_with_its_place() {
        for (blocks, place) in [
            ("batch: {target: 0s}", "backfill.sql.batch.target"),
            ("batch: {pause: soon}", "backfill.sql.batch.pause"),
            ("throttle: {maxReplicationLag: 0s}", "backfill.sql.throttle.maxReplicationLag"),
            ("throttle: {hold: ''}", "backfill.sql.throttle.hold"),
        ] {
            let Err(Invalid::BadDuration { field, .. }) = check_settings(&sql(blocks)) else { panic!("{blocks}") };
            assert_eq!(field, place);
        }
        for rate in ["0", "0Mi", "99999999Pi"] {
            let refused = check_settings(&sql(&format!("throttle: {{maxWalRate: {rate:?}}}")));
            assert!(matches!(refused, Err(Invalid::BadQuantity { .. })), "{rate}");
        }
        assert_eq!(check_settings(&sql("batch: {pause: 0s}, throttle: {hold: 0s, maxWalRate: 50Mi}")), Ok(()));
    }

    #[test]
    fn scratch_of_no_size_is_refused_with_its_place() {
        let spec = |size: &str| -> BackfillRunSpec {
            serde_json::from_value(json!({
                "database": {"secretRef": {"name": "db"}},
                "backup": {"destination": {"s3": {"bucket": "dumps", "secretRef": {"name": "key"}}}, "scratch": {"size": size}},
                "backfill": {"sql": sql("")},
            }))
            .unwrap()
        };
        assert_eq!(check_scratch(&spec("20Gi")), Ok(()));
        for size in ["0", "99999999Pi"] {
            let Err(Invalid::BadQuantity { field, .. }) = check_scratch(&spec(size)) else { panic!("{size}") };
            assert_eq!(field, "backup.scratch.size");
        }
    }
}

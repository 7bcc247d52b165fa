//! The pod of a Job of the team: its template as it is, with the run's names in the environment and, for scripts, the
//! backup read-only beside it, where it is on a volume.

use crate::api::spec::{Place, TeamJob};
use crate::api::status::Step;
use crate::lifecycle::{StartStep, ValidRun};
use k8s_openapi::api::core::v1::{Container, EnvVar, PodTemplateSpec, Volume, VolumeMount};
use serde_json::{Value, json};

/// Where scripts find the backup volume.
const BACKUP_MOUNT: &str = "/backfill/backup";
const BACKUP_VOLUME: &str = "backfill-backup";

/// Builds the pod.
pub(super) fn template(run: &ValidRun, start: &StartStep, labels: &Value) -> Result<PodTemplateSpec, serde_json::Error> {
    let raw = source(run, start).map(|job| job.template.clone()).unwrap_or_default();
    let mut template: PodTemplateSpec = serde_json::from_value(Value::Object(raw))?;
    let metadata = template.metadata.get_or_insert_default();
    let ours: std::collections::BTreeMap<String, String> = serde_json::from_value(labels.clone())?;
    metadata.labels.get_or_insert_default().extend(ours);
    let claim = match run.spec.backup.destination.place() {
        Some(Place::Claim(claim)) if matches!(start.step, Step::DryRun | Step::Script) => Some(claim),
        Some(Place::Claim(_) | Place::Bucket(_)) | None => None,
    };
    let environment = environment(start);
    let spec = template.spec.get_or_insert_default();
    spec.restart_policy = Some("Never".into());
    for container in spec.containers.iter_mut().chain(spec.init_containers.iter_mut().flatten()) {
        equip(container, &environment, claim.is_some());
    }
    if let Some(claim) = claim {
        let claim = &claim.claim_name;
        let volume: Volume =
            serde_json::from_value(json!({"name": BACKUP_VOLUME, "persistentVolumeClaim": {"claimName": claim, "readOnly": true}}))?;
        spec.volumes.get_or_insert_default().push(volume);
    }
    Ok(template)
}

fn source<'a>(run: &'a ValidRun, start: &StartStep) -> Option<&'a TeamJob> {
    let spec = &run.spec;
    match start.step {
        Step::DryRun => spec.backfill.job.as_ref().map(|j| &j.dry_run),
        Step::Script => spec.backfill.job.as_ref().map(|j| &j.apply),
        Step::Migrate => spec.migrations.as_ref().map(|m| &m.job),
        Step::Test => spec.verify.iter().filter_map(|c| c.job.as_ref()).nth(usize::try_from(start.index).ok()?),
        _ => None,
    }
}

/// Ours come first, so that the team's own variables may refer to them.
fn equip(container: &mut Container, environment: &[EnvVar], with_backup: bool) {
    let variables = container.env.get_or_insert_default();
    variables.splice(0..0, environment.iter().cloned());
    if with_backup {
        container.volume_mounts.get_or_insert_default().push(VolumeMount {
            name: BACKUP_VOLUME.into(),
            mount_path: BACKUP_MOUNT.into(),
            read_only: Some(true),
            ..VolumeMount::default()
        });
    }
}

fn environment(start: &StartStep) -> Vec<EnvVar> {
    let identity = &start.input.run;
    // A bucket cannot be mounted: there the variable has the address, and the script its own access.
    let backup = start.input.backup.as_ref().map(|backup| match start.input.spec.backup.destination.place() {
        Some(Place::Bucket(_)) => backup.path.clone(),
        Some(Place::Claim(_)) | None => format!("{BACKUP_MOUNT}/{}", backup.file),
    });
    let backup = backup.unwrap_or_default();
    let digest = start.input.plan.as_ref().map(|p| p.digest.clone()).unwrap_or_default();
    [
        ("BACKFILL_RUN", format!("{}/{}", identity.namespace, identity.name)),
        ("BACKFILL_ATTEMPT", start.input.attempt.to_string()),
        ("BACKFILL_PLAN_DIGEST", digest),
        ("BACKFILL_BACKUP_PATH", backup),
    ]
    .map(|(name, value)| EnvVar { name: name.into(), value: Some(value), value_from: None })
    .to_vec()
}

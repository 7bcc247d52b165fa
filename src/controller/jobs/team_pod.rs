//! The pod of a Job of the team: its template as it is, with the run's names in the environment and, for scripts, the
//! backup read-only beside it, where it is on a volume.

use crate::api::spec::{Place, TeamJob};
use crate::api::status::Step;
use crate::engine::capture;
use crate::lifecycle::{StartStep, ValidRun};
use k8s_openapi::api::core::v1::{Container, EnvVar, PodTemplateSpec, Volume, VolumeMount};
use serde_json::{Value, json};

/// Where scripts find the backup volume.
const BACKUP_MOUNT: &str = "/backfill/backup";
const BACKUP_VOLUME: &str = "backfill-backup";
/// Options that libpq sends with each connection.
const PGOPTIONS: &str = "PGOPTIONS";

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
    let options = options(run, start);
    for container in spec.containers.iter_mut().chain(spec.init_containers.iter_mut().flatten()) {
        equip(container, &environment, claim.is_some());
        if let Some(options) = &options {
            mark(container, options);
        }
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

/// What the script's connections begin with, so that they are known as its own.
fn options(run: &ValidRun, start: &StartStep) -> Option<String> {
    let capture = run.spec.backfill.job.as_ref()?.capture.as_ref().filter(|_| start.step == Step::Script)?;
    capture.role.is_none().then(|| capture::options(&run.meta.identity.uid))
}

/// Says it to libpq and its like (`PGOPTIONS`), after what the team has there; and to a script that hands it on itself.
fn mark(container: &mut Container, options: &str) {
    let variables = container.env.get_or_insert_default();
    let own = |value: String| EnvVar { name: "BACKFILL_PGOPTIONS".into(), value: Some(value), value_from: None };
    variables.insert(0, own(options.to_owned()));
    match variables.iter_mut().find(|variable| variable.name == PGOPTIONS) {
        Some(theirs) => {
            let before = theirs.value.take().filter(|value| !value.is_empty());
            theirs.value = Some(before.map_or_else(|| options.to_owned(), |before| format!("{before} {options}")));
        }
        None => variables.push(EnvVar { name: PGOPTIONS.into(), value: Some(options.to_owned()), value_from: None }),
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

#[cfg(test)]
mod tests {
    use super::mark;
    use k8s_openapi::api::core::v1::{Container, EnvVar};

    fn marked(theirs: Option<&str>) -> Vec<(String, String)> {
        let variable = |value: &str| EnvVar { name: "PGOPTIONS".into(), value: Some(value.into()), value_from: None };
        let mut container = Container { env: theirs.map(|value| vec![variable(value)]), ..Container::default() };
        mark(&mut container, "-c backfill.run=u");
        container.env.unwrap_or_default().into_iter().map(|v| (v.name, v.value.unwrap_or_default())).collect()
    }

    #[test]
    fn the_mark_comes_after_what_the_team_has_in_pgoptions_and_is_there_to_be_handed_on() {
        let own = ("BACKFILL_PGOPTIONS".to_owned(), "-c backfill.run=u".to_owned());
        assert_eq!(marked(None), [own.clone(), ("PGOPTIONS".into(), "-c backfill.run=u".into())]);
        assert_eq!(marked(Some("-c work_mem=64MB")), [own, ("PGOPTIONS".into(), "-c work_mem=64MB -c backfill.run=u".into())]);
    }
}

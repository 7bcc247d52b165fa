//! `CloudNativePG`: which databases it manages, what its clusters say, and a Backup that a run names. Where it is not installed
//! there is nothing to see.

use super::error::{ControllerError, call, code};
use crate::api::status::{BackfillRunStatus, Subject};
use crate::api::{Phase, spec::RestoreMode, spec::Scope};
use crate::lifecycle::{self, CnpgBackup, Problem, ValidRun};
use crate::protocol::{Cnpg, CnpgCluster, CnpgDatabase};
use jiff::Timestamp;
use kube::api::{ApiResource, DynamicObject, ListParams};
use kube::core::GroupVersionKind;
use kube::{Api, Client, ResourceExt as _};
use serde_json::Value;

const GROUP: &str = "postgresql.cnpg.io";

/// True where a restore beside the database may be planned or made.
pub(super) fn is_needed(valid: &ValidRun, status: &BackfillRunStatus) -> bool {
    let (backup, rollback) = (&valid.spec.backup, &valid.spec.rollback);
    let possible = backup.scope == Scope::Database && rollback.restore != Some(RestoreMode::InPlace);
    let asked = status.awaiting.as_ref().is_some_and(|awaiting| awaiting.subject == Subject::Restore);
    possible && (!status.mutation_started || status.phase == Phase::RollingBack || asked)
}

/// The Database and Cluster resources of these namespaces, or of all, for a run of the namespace `of`.
///
/// # Errors
/// [`ControllerError`], but where `CloudNativePG` is not installed, or may not be looked at.
pub async fn managed(client: &Client, namespaces: &[String], of: &str) -> Result<Cnpg, ControllerError> {
    let places: Vec<Option<&str>> =
        if namespaces.is_empty() { vec![None] } else { namespaces.iter().map(|namespace| Some(namespace.as_str())).collect() };
    let mut seen = Cnpg::default();
    for place in places {
        let clusters = listed(client, place, "Cluster", "clusters", &mut seen).await?;
        seen.clusters.extend(clusters.iter().map(cluster));
        // Without a cluster there is no database either.
        if !clusters.is_empty() {
            let databases = listed(client, place, "Database", "databases", &mut seen).await?;
            seen.databases.extend(databases.iter().filter(|object| text(object, "/spec/ensure") != "absent").map(database));
        }
    }
    narrow(&mut seen, of);
    Ok(seen)
}

/// A step's input has an end: of hundreds of clusters only those are told that may matter, first those of the run's namespace.
fn narrow(seen: &mut Cnpg, of: &str) {
    const MOST: usize = 200;
    let elsewhere = |namespace: &str| namespace != of;
    seen.clusters.sort_by(|a, b| elsewhere(&a.namespace).cmp(&elsewhere(&b.namespace)).then_with(|| a.cmp(b)));
    seen.databases.sort_by(|a, b| elsewhere(&a.namespace).cmp(&elsewhere(&b.namespace)).then_with(|| a.cmp(b)));
    if seen.clusters.len() > MOST || seen.databases.len() > MOST {
        seen.clusters.truncate(MOST);
        seen.databases.truncate(MOST);
        seen.unseen = format!("of CloudNativePG's clusters and databases only {MOST} were looked at");
    }
}

async fn listed(
    client: &Client,
    namespace: Option<&str>,
    kind: &str,
    plural: &str,
    seen: &mut Cnpg,
) -> Result<Vec<DynamicObject>, ControllerError> {
    let api = api(client, namespace, kind, plural);
    match call("listing what CloudNativePG manages", api.list(&ListParams::default())).await {
        Ok(list) => Ok(list.items),
        Err(error) if code(&error) == Some(404) => Ok(Vec::new()),
        Err(error) if code(&error) == Some(403) => {
            seen.unseen =
                format!("the operator may not list {plural}.{GROUP}, so that CloudNativePG may manage this database without its knowing");
            Ok(Vec::new())
        }
        Err(error) => Err(error),
    }
}

fn api(client: &Client, namespace: Option<&str>, kind: &str, plural: &str) -> Api<DynamicObject> {
    let resource = ApiResource::from_gvk_with_plural(&GroupVersionKind::gvk(GROUP, "v1", kind), plural);
    match namespace {
        Some(namespace) => Api::namespaced_with(client.clone(), namespace, &resource),
        None => Api::all_with(client.clone(), &resource),
    }
}

fn text(object: &DynamicObject, pointer: &str) -> String {
    object.data.pointer(pointer).and_then(Value::as_str).unwrap_or_default().to_owned()
}

fn cluster(object: &DynamicObject) -> CnpgCluster {
    CnpgCluster {
        namespace: object.namespace().unwrap_or_default(),
        name: object.name_any(),
        system_id: text(object, "/status/systemID"),
        storage: text(object, "/spec/storage/size"),
    }
}

fn database(object: &DynamicObject) -> CnpgDatabase {
    CnpgDatabase {
        namespace: object.namespace().unwrap_or_default(),
        name: object.name_any(),
        cluster: text(object, "/spec/cluster/name"),
        database: text(object, "/spec/name"),
    }
}

/// True where the Backup that the run names is still needed: what it says counts until the first write.
pub(super) fn is_backup_needed(status: &BackfillRunStatus) -> bool {
    !status.mutation_started || lifecycle::before_the_first_write(status)
}

/// The Backup of this name; `Err` inside: what to change.
///
/// # Errors
/// [`ControllerError`] where the API server could not be asked.
pub async fn backup(client: &Client, namespace: &str, name: &str) -> Result<Result<CnpgBackup, Problem>, ControllerError> {
    let problem = |reason: &str, message: String| Ok(Err(Problem { reason: reason.into(), message }));
    let backups = api(client, Some(namespace), "Backup", "backups");
    let found = match call("reading the Backup of CloudNativePG", backups.get_opt(name)).await {
        Ok(Some(found)) => found,
        Ok(None) => return Ok(Err(missing(namespace, name))),
        // Where CloudNativePG is not installed the API server answers in words of its own.
        Err(error) if code(&error) == Some(404) => return Ok(Err(missing(namespace, name))),
        Err(error) if code(&error) == Some(403) => {
            return problem(
                "CnpgForbidden",
                format!("the operator may not read backups.{GROUP} in namespace {namespace}: it needs the right to get them"),
            );
        }
        Err(error) => return Err(error),
    };
    let phase = text(&found, "/status/phase");
    let stopped_at: Option<Timestamp> = text(&found, "/status/stoppedAt").parse().ok();
    let (Some(stopped_at), "completed") = (stopped_at, phase.as_str()) else {
        let error = text(&found, "/status/error");
        let (phase, why) =
            (if phase.is_empty() { "not begun" } else { &phase }, if error.is_empty() { error } else { format!(" ({error})") });
        return problem(
            "CnpgBackupIncomplete",
            format!("the Backup {name} is {phase}{why}, and must be completed: wait for it, or name another one"),
        );
    };
    let cluster = text(&found, "/spec/cluster/name");
    let system_id =
        match call("reading the Cluster of a Backup", api(client, Some(namespace), "Cluster", "clusters").get_opt(&cluster)).await {
            Ok(found) => found.map(|cluster| text(&cluster, "/status/systemID")).unwrap_or_default(),
            Err(error) if matches!(code(&error), Some(403 | 404)) => String::new(),
            Err(error) => return Err(error),
        };
    let method = Some(text(&found, "/status/method")).filter(|method| !method.is_empty()).unwrap_or_else(|| text(&found, "/spec/method"));
    let destination = text(&found, "/status/destinationPath");
    let end_lsn = text(&found, "/status/endLSN");
    Ok(Ok(CnpgBackup { name: name.to_owned(), cluster, system_id, stopped_at, end_lsn, method, destination }))
}

fn missing(namespace: &str, name: &str) -> Problem {
    let message =
        format!("there is no Backup {name} of CloudNativePG in namespace {namespace}: correct backup.existing.cnpgBackup, or make one");
    Problem { reason: "CnpgBackupMissing".into(), message }
}

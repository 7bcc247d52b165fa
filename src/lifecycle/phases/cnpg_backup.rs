//! A Backup of CloudNativePG in place of one that the run takes: believed as far as it says what it is, since no pod of ours can
//! read it back. It is a matter of the API server alone, so that no Job is made for it.

use super::backing_up;
use crate::api::conditions::{ConditionType, Truth};
use crate::api::status::BackupStatus;
use crate::lifecycle::observed::{CnpgBackup, Problem};
use crate::lifecycle::pass::{Pass, later};
use std::time::Duration;

/// `status.backup.existing` of such a backup.
pub(super) const CNPG_BACKUP: &str = "CnpgBackup";
/// `status.backup.proof` of such a backup: it was reported, and nothing of it was read.
pub(super) const REPORTED: &str = "Reported";
/// What is not there may come: it is looked at again.
const AGAIN: Duration = Duration::from_secs(10);

/// Takes it as the run's backup, if it can serve.
pub(super) fn take(pass: &mut Pass<'_>) {
    match judged(pass) {
        None => pass.look_again(Duration::from_secs(1)),
        Some(Err(problem)) => {
            pass.set(ConditionType::BackedUp, Truth::False, &problem.reason, &problem.message);
            pass.stall(&problem.reason, &problem.message);
            pass.look_again(AGAIN);
        }
        Some(Ok(found)) => {
            pass.go_on();
            let message = format!(
                "CloudNativePG says that the Backup {} of the cluster {} was completed at {}",
                found.name, found.cluster, found.stopped_at
            );
            pass.status.backup = Some(status(pass, &found));
            pass.status.rehearsal = None;
            pass.set(ConditionType::BackedUp, Truth::True, REPORTED, &message);
            pass.set(
                ConditionType::BackupVerified,
                Truth::Unknown,
                REPORTED,
                &format!("{message}; nobody has read it back, and the operator cannot restore it"),
            );
            backing_up::go_on(pass);
        }
    }
}

fn judged(pass: &Pass<'_>) -> Option<Result<CnpgBackup, Problem>> {
    let found = match pass.observed.cnpg_backup.clone()? {
        Ok(found) => found,
        Err(problem) => return Some(Err(problem)),
    };
    let problem = |reason: &str, message: String| Some(Err(Problem { reason: reason.into(), message }));
    let ours = system_id(pass);
    if !found.system_id.is_empty() && ours.is_some_and(|ours| ours != found.system_id) {
        let message = format!(
            "the Backup {} is of the cluster {}, whose server has another system identifier ({}) than that of the run's database: name a Backup of its own cluster in backup.existing.cnpgBackup",
            found.name, found.cluster, found.system_id
        );
        return problem("CnpgBackupOfAnotherServer", message);
    }
    if later(found.stopped_at, pass.run.backup_max_age) < pass.now {
        let message = format!(
            "the Backup {} was completed at {}, which is longer ago than backup.maxAge ({}): make a new one and name it, or set a longer maxAge",
            found.name, found.stopped_at, pass.run.spec.backup.max_age
        );
        return problem("ExistingTooOld", message);
    }
    Some(Ok(found))
}

/// Of the server that preflight found; where the role may not ask for it an address stands there, which is no number.
fn system_id<'a>(pass: &'a Pass<'_>) -> Option<&'a str> {
    let id = pass.status.database.as_ref()?.id.split('/').next()?;
    id.chars().all(|c| c.is_ascii_digit()).then_some(id)
}

fn status(pass: &Pass<'_>, found: &CnpgBackup) -> BackupStatus {
    let mut unproved = vec![
        "that it can be read or restored: CloudNativePG says that it is completed, and nobody has looked".to_owned(),
        "what its tables held then".to_owned(),
    ];
    if found.system_id.is_empty() || system_id(pass).is_none() {
        unproved.push(format!(
            "that the run's database is of its cluster ({}): one of the two does not say its system identifier",
            found.cluster
        ));
    }
    BackupStatus {
        path: format!("cnpg/{}/{}", pass.run.meta.identity.namespace, found.name),
        existing: CNPG_BACKUP.into(),
        unproved,
        client: format!("made by CloudNativePG ({}) of the cluster {}{}", found.method, found.cluster, lies(&found.destination)),
        lsn: found.end_lsn.clone(),
        taken_at: Some(found.stopped_at),
        proof: REPORTED.into(),
        restore_with: format!("a new Cluster with bootstrap.recovery.backup.name: {}", found.name),
        ..BackupStatus::default()
    }
}

fn lies(destination: &str) -> String {
    if destination.is_empty() { String::new() } else { format!(", at {destination}") }
}

//! Backups that were made elsewhere, told as sentences.

use super::fixtures::{report, small_spec, start};
use super::world::{Ending, World};
use crate::api::Phase;
use crate::api::conditions::{ConditionType, is_true};
use crate::api::status::{DatabaseStatus, Step};
use crate::lifecycle::{CnpgBackup, Problem};
use crate::protocol::{Outcome, StepReport};
use jiff::SignedDuration;
use serde_json::{Value, json};

fn of_cnpg() -> Value {
    let mut spec = small_spec();
    spec["backup"]["existing"] = json!({"cnpgBackup": {"name": "nightly"}});
    spec
}

fn completed() -> CnpgBackup {
    CnpgBackup {
        name: "nightly".into(),
        cluster: "shop".into(),
        system_id: "1".into(),
        stopped_at: start(),
        end_lsn: "0/2000138".into(),
        method: "barmanObjectStore".into(),
        destination: "s3://backups/shop".into(),
    }
}

fn passes(world: &mut World, count: usize) {
    for _ in 0..count {
        world.pass(false);
    }
}

fn stalled(world: &World) -> (String, String) {
    let conditions = world.status().conditions;
    let stalled = conditions.iter().find(|c| c.type_ == "Stalled" && c.status == "True").expect("stalled");
    (stalled.reason.clone(), stalled.message.clone())
}

#[test]
fn a_backup_of_cloudnativepg_is_believed_without_a_job_and_who_approves_is_told_what_is_not_known() {
    let mut world = World::new(&of_cnpg());
    world.cnpg_backup = Some(Ok(completed()));
    world.approves = false;
    passes(&mut world, 30);
    assert_eq!(world.made(Step::Backup), 0);
    let status = world.status();
    assert_eq!(status.phase, Phase::AwaitingApproval);
    let backup = status.backup.expect("a backup");
    assert_eq!((backup.path.as_str(), backup.existing.as_str(), backup.proof.as_str()), ("cnpg/ns/nightly", "CnpgBackup", "Reported"));
    assert_eq!((backup.lsn.as_str(), backup.taken_at), ("0/2000138", Some(start())));
    assert!(is_true(&status.conditions, ConditionType::BackedUp) && !is_true(&status.conditions, ConditionType::BackupVerified));
    let question = status.awaiting.expect("a question").question;
    for words in ["CloudNativePG's (cnpg/ns/nightly)", "undo is the only way back", "nobody has looked", "what its tables held then"] {
        assert!(question.contains(words), "{words}: {question}");
    }
    assert!(!question.contains("restorable") && !question.contains("system identifier"), "{question}");
    world.approves = true;
    passes(&mut world, 60);
    assert_eq!(world.phase(), Phase::Succeeded);
}

#[test]
fn one_that_cannot_serve_holds_the_run_until_another_one_can() {
    let mut world = World::new(&of_cnpg());
    let missing = Problem { reason: "CnpgBackupMissing".into(), message: "there is none".into() };
    world.cnpg_backup = Some(Err(missing));
    passes(&mut world, 15);
    assert_eq!((world.phase(), stalled(&world).0.as_str()), (Phase::BackingUp, "CnpgBackupMissing"));
    world.cnpg_backup = Some(Ok(CnpgBackup { system_id: "2".into(), ..completed() }));
    passes(&mut world, 2);
    let (reason, message) = stalled(&world);
    assert!(reason == "CnpgBackupOfAnotherServer" && message.contains("shop"), "{message}");
    world.cnpg_backup = Some(Ok(CnpgBackup { stopped_at: start() - SignedDuration::from_hours(5), ..completed() }));
    passes(&mut world, 2);
    let (reason, message) = stalled(&world);
    assert!(reason == "ExistingTooOld" && message.contains("maxAge (4h)"), "{message}");
    world.cnpg_backup = Some(Ok(completed()));
    passes(&mut world, 60);
    assert_eq!(world.phase(), Phase::Succeeded, "{}", world.status().message);
}

#[test]
fn one_that_became_too_old_while_people_were_asked_is_looked_at_again_and_never_used() {
    let mut world = World::new(&of_cnpg());
    world.cnpg_backup = Some(Ok(completed()));
    world.approves = false;
    passes(&mut world, 30);
    assert_eq!(world.phase(), Phase::AwaitingApproval);
    world.now += SignedDuration::from_hours(5);
    world.approves = true;
    passes(&mut world, 20);
    assert_eq!((world.phase(), stalled(&world).0.as_str()), (Phase::BackingUp, "ExistingTooOld"));
    world.cnpg_backup = Some(Ok(CnpgBackup { stopped_at: world.now, ..completed() }));
    passes(&mut world, 60);
    assert_eq!(world.phase(), Phase::Succeeded, "nobody is asked twice: {}", world.status().message);
}

#[test]
fn a_server_that_does_not_say_who_it_is_is_said_not_to() {
    let Some(StepReport::Preflight(mut preflight)) = report(Step::Preflight, start()) else { panic!() };
    preflight.database = DatabaseStatus { id: "10.0.0.1:5432/5".into(), ..DatabaseStatus::default() };
    let ending = Ending::Reports(Box::new(StepReport::Preflight(preflight)), Outcome::Passed, "ChecksPassed");
    let mut world = World::new(&of_cnpg()).ends(Step::Preflight, &[ending]);
    world.cnpg_backup = Some(Ok(completed()));
    world.approves = false;
    passes(&mut world, 30);
    let question = world.status().awaiting.expect("a question").question;
    assert!(question.contains("does not say its system identifier"), "{question}");
}

#[test]
fn where_undo_cannot_serve_only_cloudnativepg_can_restore_and_that_is_said_in_commands() {
    let fails = |reason| [Ending::Verdict(Outcome::Failed, reason)];
    let mut world = World::new(&of_cnpg()).ends(Step::Apply, &fails("RowRefused")).ends(Step::Undo, &fails("LedgerGone"));
    world.cnpg_backup = Some(Ok(completed()));
    passes(&mut world, 80);
    assert_eq!(world.phase(), Phase::RollbackFailed, "{}", world.status().message);
    assert_eq!(world.made(Step::LossAccount) + world.made(Step::Restore), 0);
    let message = world.status().message;
    for words in ["only it can restore", "cnpg/ns/nightly", "bootstrap.recovery.backup.name: nightly"] {
        assert!(message.contains(words), "{words}: {message}");
    }
}

//! Properties over the phase graph: whatever steps answer, whenever the operator crashes, whatever people do.

use super::fixtures::{full_spec, rehearsed_spec, script_spec, small_spec};
use super::world::{Ending, World};
use crate::api::Phase;
use crate::api::conditions::{ConditionType, is_true};
use crate::api::status::Step;
use crate::lifecycle::Effect;
use crate::protocol::Outcome;
use proptest::prelude::*;

/// The edges of the architecture's graph; everything that is not terminal may also end as aborted, abandoned or rolled back.
fn allowed(from: Phase, to: Phase) -> bool {
    use Phase as P;
    let to_failed = matches!(to, P::Failed | P::Aborted);
    let follows: &[P] = match from {
        P::Pending => &[P::Preflight],
        P::Preflight => &[P::BackingUp, P::Succeeded, P::Preflight],
        P::BackingUp => &[P::Planning, P::AwaitingApproval, P::Preflight, P::Migrating, P::Applying, P::RollingBack],
        P::Planning => &[P::AwaitingApproval, P::Succeeded, P::Preflight],
        P::AwaitingApproval => {
            &[P::Migrating, P::Applying, P::BackingUp, P::Preflight, P::Denied, P::Expired, P::RollingBack, P::RollbackFailed, P::Succeeded]
        }
        P::Migrating => &[P::Applying, P::AwaitingApproval, P::BackingUp, P::RollingBack, P::Succeeded],
        P::Applying => &[P::Applying, P::Verifying, P::AwaitingApproval, P::BackingUp, P::RollingBack, P::Succeeded],
        P::Verifying => &[P::EnablingFlag, P::Monitoring, P::Succeeded, P::RollingBack],
        P::EnablingFlag => &[P::Monitoring, P::Succeeded, P::RollingBack],
        P::Monitoring => &[P::Succeeded, P::RollingBack],
        P::RollingBack => &[P::RolledBack, P::RollbackFailed, P::AwaitingApproval],
        // The one edge out of an end: people asked for the rollback.
        P::Succeeded => return to == P::AwaitingApproval,
        P::Failed | P::Denied | P::Expired | P::Aborted | P::RolledBack | P::RollbackFailed => return false,
    };
    to_failed || follows.contains(&to)
}

fn ending() -> impl Strategy<Value = Ending> {
    prop_oneof![
        6 => Just(Ending::Good),
        1 => Just(Ending::Lost),
        1 => Just(Ending::Disappears),
        1 => Just(Ending::Verdict(Outcome::Failed, "Bad")),
        1 => Just(Ending::Verdict(Outcome::Inconclusive, "Unclear")),
        1 => Just(Ending::Verdict(Outcome::Stalled, "Cannot")),
        1 => Just(Ending::Verdict(Outcome::Stopped, "Stopped")),
        1 => Just(Ending::Verdict(Outcome::Lost, "Gone")),
    ]
}

#[derive(Clone, Debug)]
enum Person {
    Nothing,
    Suspend(bool),
    Abort,
    Delete,
    ChangeSpec,
    Abandon,
    AskBack(bool),
}

fn person() -> impl Strategy<Value = Person> {
    prop_oneof![
        30 => Just(Person::Nothing),
        1 => Just(Person::Suspend(true)),
        3 => Just(Person::Suspend(false)),
        1 => Just(Person::Abort),
        1 => Just(Person::Delete),
        1 => Just(Person::ChangeSpec),
        1 => Just(Person::Abandon),
        3 => Just(Person::AskBack(true)),
        1 => Just(Person::AskBack(false)),
    ]
}

fn world() -> impl Strategy<Value = World> {
    let endings = prop::collection::btree_map(prop::sample::select(Step::ALL.to_vec()), prop::collection::vec(ending(), 1..4), 0..6);
    (prop::sample::select(vec![full_spec(), small_spec(), script_spec(), rehearsed_spec()]), endings).prop_map(|(spec, endings)| {
        let mut world = World::new(&spec);
        for (step, mut list) in endings {
            list.push(Ending::Good);
            world.script.insert(step, list);
        }
        world
    })
}

impl std::fmt::Debug for World {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:?} {:?}", self.run.spec.backfill, self.script)
    }
}

fn does(world: &mut World, person: &Person) {
    let started = world.status().mutation_started;
    match person {
        Person::Nothing => {}
        Person::Suspend(on) => world.run.spec.suspend = *on,
        Person::Abort => world.run.spec.abort = true,
        Person::Abandon => world.run.spec.abandon = true,
        Person::Delete => {
            let now = k8s_openapi::apimachinery::pkg::apis::meta::v1::Time(world.now);
            world.run.metadata.deletion_timestamp.get_or_insert(now);
        }
        // The API server takes it of a run that has succeeded, and is not closed, and of no other.
        Person::AskBack(ask) => {
            let possible = world.phase() == Phase::Succeeded && world.status().closed_at.is_none();
            world.run.spec.rollback.requested = *ask && (possible || world.run.spec.rollback.requested);
        }
        // After the point of no return the API server refuses it.
        Person::ChangeSpec if started => {}
        Person::ChangeSpec => world.run.spec.backup.max_age = format!("{}s", 14_400 + world.now.as_second() % 1000),
    }
}

/// What the safety rules say of every single decision.
fn check_rules(world: &World, before: &crate::api::BackfillRunStatus, effect: Option<&Effect>) {
    if let Some(Effect::StartStep(start)) = effect {
        let changes = matches!(start.step, Step::Claim | Step::Migrate | Step::Apply | Step::Script);
        if changes {
            assert!(before.mutation_started, "rule: the point of no return is committed before {:?}", start.step);
            assert!(before.backup.is_some() && before.plan.is_some(), "rule 1: backup and plan before {:?}", start.step);
            let proof = before.backup.as_ref().map(|backup| backup.proof.as_str());
            assert_eq!(proof, Some(world.run.spec.backup.proof.as_str()), "rule 1: the backup is proved as far as was asked");
            assert!(before.approvals.iter().any(|a| a.user == "maria"), "rule 1: somebody approved before {:?}", start.step);
        }
        if start.step == Step::Undo || start.step == Step::Restore {
            assert_ne!(world.flag, "true", "rule 10: the flag goes back first");
        }
    }
    if let Some(Effect::EnableFlag { .. }) = effect {
        assert!(is_true(&before.conditions, ConditionType::Verified), "rule 10: the flag only after verification");
    }
    if let (Some(Effect::RemoveFinalizer), true) = (effect, before.mutation_started) {
        assert!(before.phase.is_terminal() || world.run.spec.abandon, "the finalizer holds until the run is finished or abandoned");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn every_decision_keeps_the_rules_and_every_run_ends(
        mut world in world(),
        people in prop::collection::vec(person(), 60),
        crashes in prop::collection::vec(prop::bool::weighted(0.15), 60),
    ) {
        for pass in 0..600 {
            if let Some(person) = people.get(pass) {
                does(&mut world, person);
            } else {
                world.run.spec.suspend = false;
            }
            let before = world.status();
            let decision = world.pass(crashes.get(pass).copied().unwrap_or(false));
            check_rules(&world, &before, decision.effect.as_ref().filter(|_| true));
            let asked_back = before.phase == Phase::Succeeded && world.run.spec.rollback.requested && before.closed_at.is_none();
            prop_assert!(
                !before.phase.is_terminal() || before.phase == decision.status.phase || asked_back,
                "a terminal phase is not rewritten, but that of a run which is asked back"
            );
            prop_assert!(!before.mutation_started || decision.status.mutation_started, "the point of no return is latched");
            prop_assert!(before.abort.is_none() || decision.status.abort.is_some(), "an abort is latched");
            for change in decision.status.history.iter().skip(before.history.len()) {
                prop_assert!(allowed(change.from, change.to), "{} -> {}", change.from, change.to);
            }
            prop_assert!(serde_json::to_vec(&decision.status).unwrap().len() < 128 * 1024);
            if world.phase().is_terminal() && pass > 60 && world.run.status == Some(before) && decision.effect.is_none() {
                return Ok(());
            }
        }
        prop_assert!(world.phase().is_terminal(), "the run did not end: {:#?}", world.status());
    }

    #[test]
    fn the_same_arguments_give_the_same_decision(mut world in world(), passes in 0_usize..60) {
        for _ in 0..passes {
            world.pass(false);
        }
        let observed = world.observed();
        let valid = crate::lifecycle::validate(&world.run, &world.policy).unwrap();
        let first = crate::lifecycle::decide(&valid, &world.status(), &observed, world.now);
        let second = crate::lifecycle::decide(&valid, &world.status(), &observed, world.now);
        prop_assert_eq!(first, second);
    }
}

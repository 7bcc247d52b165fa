//! What a spec refers to: waited for, approved with the plan, void when it changes.

use super::fixtures::small_spec;
use super::world::{Ending, World};
use crate::api::Phase;
use crate::api::conditions::{ConditionType, is_true};
use crate::api::spec::ConfigMapKeyRef;
use crate::api::status::Step;
use crate::lifecycle::{Contents, Effect, Observed, OperatorPolicy, Problem, kept, resolve, validate};
use crate::protocol::StepInput;
use serde_json::{Value, json};

const SCHEMA: &str = "type: object\nrequired: [model]\n";
const RULES: &str = "- name: our-token\n  regex: 'acme_[a-f0-9]{8}'\n  keywords: [acme_]\n";

fn key(name: &str, key: &str) -> ConfigMapKeyRef {
    ConfigMapKeyRef { name: name.into(), key: key.into() }
}

fn spec() -> Value {
    let mut spec = small_spec();
    spec["backfill"]["sql"]["validate"] =
        json!([{"name": "v", "value": "s.m", "schema": {"configMapKeyRef": {"name": "schemas", "key": "v.yaml"}}}]);
    spec["backfill"]["sql"]["sensitiveData"] =
        json!({"columns": ["a"], "extraRules": {"configMapKeyRef": {"name": "rules", "key": "rules.yaml"}}});
    spec
}

fn contents() -> Contents {
    Contents::from([(key("schemas", "v.yaml"), SCHEMA.to_owned()), (key("rules", "rules.yaml"), RULES.to_owned())])
}

fn world() -> World {
    let mut world = World::new(&spec());
    world.contents = contents();
    world
}

fn stalled_for(world: &World) -> Option<String> {
    let conditions = world.status().conditions;
    conditions.into_iter().find(|c| c.type_ == ConditionType::Stalled.as_str() && c.status == "True").map(|c| c.reason)
}

fn awaits(mut world: World) -> World {
    world.approves = false;
    for _ in 0..50 {
        if world.status().awaiting.is_some() {
            return world;
        }
        world.pass(false);
    }
    panic!("never asked: {:#?}", world.status());
}

fn inputs(world: &mut World) -> Vec<StepInput> {
    let mut inputs = Vec::new();
    for _ in 0..200 {
        if let Some(Effect::StartStep(start)) = world.pass(false).effect {
            inputs.push(start.input);
        }
    }
    inputs
}

#[test]
fn steps_are_told_what_the_spec_refers_to_and_no_reference() {
    let mut world = world();
    let inputs = inputs(&mut world);
    assert_eq!(world.phase(), Phase::Succeeded, "{:#?}", world.status());
    for input in inputs.iter().filter(|input| matches!(input.step, Step::Preflight | Step::Plan | Step::Apply)) {
        let sql = input.spec.backfill.sql.as_ref().unwrap();
        assert_eq!(sql.validate[0].schema.document(), json!({"type": "object", "required": ["model"]}));
        assert_eq!(sql.validate[0].schema.config_map_key_ref, None);
        let rules = sql.sensitive_data.as_ref().unwrap().extra_rules.as_ref().unwrap();
        assert_eq!((rules.inline.as_ref().unwrap()[0].name.as_str(), &rules.config_map_key_ref), ("our-token", &None));
    }
    assert_eq!(world.status().references.len(), 2);
    assert_eq!(inputs.iter().filter(|input| input.step == Step::Apply).count(), 1);
}

#[test]
fn a_missing_or_malformed_reference_stalls_before_anything_begins_and_goes_on_when_it_is_there() {
    let mut world = world();
    for (text, reason) in [
        (None, "ReferenceMissing"),
        (Some("a line\n- and: [a list"), "ReferenceMalformed"),
        (Some("just a sentence with hunter2 in it"), "ReferenceMalformed"),
        (Some("type: nonsense-type"), "BadSchema"),
        (Some("{{big}}"), "ReferenceTooLarge"),
    ] {
        match text {
            None => drop(world.contents.remove(&key("schemas", "v.yaml"))),
            Some(text) => drop(world.contents.insert(key("schemas", "v.yaml"), text.replace("{{big}}", &"x".repeat(300_000)))),
        }
        world.pass(false);
        assert_eq!((world.phase(), stalled_for(&world).as_deref()), (Phase::Pending, Some(reason)));
        assert!(!world.status().message.contains("hunter2"), "{}", world.status().message);
        assert!(world.jobs_made.is_empty());
    }
    world.contents = contents();
    assert_eq!(world.settle(200), Phase::Succeeded);
    assert!(!is_true(&world.status().conditions, ConditionType::Stalled));
}

#[test]
fn another_content_before_the_data_changes_voids_the_plan_and_another_form_of_it_does_not() {
    let mut world = awaits(world());
    let (old, references) = (world.status().awaiting.unwrap().digest, world.status().references);
    world.contents.insert(key("schemas", "v.yaml"), r#"{"required": ["model"], "type": "object"}"#.into());
    world.pass(false);
    assert_eq!((world.phase(), world.status().references), (Phase::AwaitingApproval, references));
    world.contents.insert(key("schemas", "v.yaml"), "type: object".into());
    world.pass(false);
    assert_eq!((world.phase(), world.status().plan.clone()), (Phase::Preflight, None));
    let entry = world.status().history.last().cloned().unwrap();
    assert_eq!(entry.reason, "ReferenceChanged");
    let mut world = awaits(world);
    assert_ne!(world.status().awaiting.unwrap().digest, old, "the plan's digest covers what the spec refers to");
    world.approves = true;
    assert_eq!(world.settle(200), Phase::Succeeded);
}

#[test]
fn a_reference_that_is_gone_for_a_while_voids_nothing_and_lets_nobody_approve() {
    let mut world = awaits(world());
    let digest = world.status().awaiting.unwrap().digest;
    let there = std::mem::take(&mut world.contents);
    world.approves = true;
    world.settle(20);
    assert_eq!((world.phase(), stalled_for(&world).as_deref()), (Phase::AwaitingApproval, Some("ReferenceMissing")));
    world.contents = there;
    assert_eq!(world.settle(200), Phase::Succeeded);
    assert_eq!(world.status().plan.unwrap().digest, digest);
}

#[test]
fn once_data_may_have_changed_another_content_is_never_used_and_the_way_back_waits_for_none() {
    let mut world = world().ends(Step::Apply, &[Ending::Lost, Ending::Good]);
    while world.status().current_step != Some(Step::Apply) {
        world.pass(false);
    }
    world.contents.insert(key("schemas", "v.yaml"), "type: string".into());
    world.settle(20);
    assert_eq!((world.phase(), stalled_for(&world).as_deref()), (Phase::Applying, Some("ReferenceChanged")));
    assert_eq!(world.made(Step::Apply), 1);
    world.contents.clear();
    world.run.spec.abort = true;
    assert_eq!(world.settle(100), Phase::RolledBack);
}

#[test]
fn what_preflight_was_told_stands_in_for_a_reference() {
    let mut world = world();
    let told = inputs(&mut world).into_iter().find(|input| input.step == Step::Preflight).unwrap();
    let again = resolve(&world.run.spec, &kept(&world.run.spec, &told.spec)).unwrap();
    assert_eq!((again.spec.backfill, again.found), (told.spec.backfill, world.status().references));
}

#[test]
fn what_the_engine_would_refuse_stalls_with_its_reason() {
    let mut world = world();
    let problem = Problem { reason: "UnknownSecretRule".into(), message: "there is no rule".into() };
    world.pass_with(&Observed { references: Some(Err(problem)), ..Observed::default() }, false);
    assert_eq!((world.phase(), stalled_for(&world).as_deref()), (Phase::Pending, Some("UnknownSecretRule")));
    assert_eq!(world.settle(200), Phase::Succeeded);
}

#[test]
fn a_sensitive_column_that_no_write_sets_is_refused() {
    let mut world = world();
    world.run.spec.backfill.sql.as_mut().unwrap().sensitive_data.as_mut().unwrap().columns = vec!["b".into()];
    let refused = validate(&world.run, &OperatorPolicy::default()).unwrap_err();
    assert_eq!(refused.reason(), "ColumnNotWritten");
    assert!(refused.to_string().contains("\"b\""), "{refused}");
}

//! The custom resource definition, as a cluster takes it.

use super::BackfillRun;
use kube::CustomResourceExt as _;
use serde_json::Value;

/// The definition as a document.
///
/// An optional field may be left out, but not be null: `has(self.field)` is true of a null, so that a rule such as
/// "exactly one of" would count a field that says nothing.
///
/// # Errors
/// Where the definition cannot be written as JSON.
pub fn definition() -> Result<Value, serde_json::Error> {
    let mut definition = serde_json::to_value(BackfillRun::crd())?;
    refuse_null(&mut definition);
    Ok(definition)
}

/// The definition as YAML: what `backfill-operator crds` prints and the chart installs.
///
/// # Errors
/// Where the definition cannot be written as YAML.
pub fn yaml() -> Result<String, serde_yaml_ng::Error> {
    let definition = definition().map_err(<serde_yaml_ng::Error as serde::ser::Error>::custom)?;
    serde_yaml_ng::to_string(&definition)
}

fn refuse_null(value: &mut Value) {
    match value {
        Value::Object(map) => {
            // A property may be called `nullable`, too: that one is an object.
            if map.get("nullable").is_some_and(Value::is_boolean) {
                map.shift_remove("nullable");
            }
            map.values_mut().for_each(refuse_null);
        }
        Value::Array(items) => items.iter_mut().for_each(refuse_null),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

#[cfg(test)]
mod tests {
    use super::yaml;

    #[test]
    fn no_field_may_be_null() {
        assert!(!yaml().unwrap().contains("nullable"));
    }

    #[test]
    fn the_checked_in_definition_is_that_of_the_types() {
        assert!(yaml().unwrap() == include_str!("../../crds/backfill.dev_backfillruns.yaml"), "run `make generate`");
        assert!(yaml().unwrap() == include_str!("../../charts/backfill-operator/files/crds.yaml"), "run `make generate`");
    }
}

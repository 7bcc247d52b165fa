//! What the spec refers to: contents of `ConfigMap`s of the run's namespace.

use crate::api::status::{BackfillRunStatus, Step};
use crate::controller::context::Context;
use crate::controller::error::{ControllerError, call, code};
use crate::controller::jobs::input_name;
use crate::engine::secrets;
use crate::lifecycle::{Contents, Problem, ValidRun, are_needed, kept, references, resolve};
use crate::protocol::StepInput;
use k8s_openapi::api::core::v1::ConfigMap;
use kube::Api;
use std::collections::BTreeMap;

/// Reads them; `None` where there are none, or where the phase needs none.
pub(super) async fn observe(
    context: &Context,
    run: &ValidRun,
    status: &BackfillRunStatus,
) -> Result<Option<Result<Contents, Problem>>, ControllerError> {
    let sensitive = run.spec.backfill.sql.as_ref().is_some_and(|sql| sql.sensitive_data.is_some());
    let wanted = references(&run.spec);
    // Rules in the spec itself were found to be usable before anything began, and have not changed since.
    let looked_at = !wanted.is_empty() || (sensitive && !status.mutation_started);
    if !are_needed(status.phase) || !looked_at {
        return Ok(None);
    }
    let maps: Api<ConfigMap> = Api::namespaced(context.client.clone(), &run.meta.identity.namespace);
    // What was approved counts once data may have changed, whatever became of the ConfigMap.
    if status.mutation_started
        && let Some(contents) = told(&maps, run, status).await?
    {
        return Ok(Some(Ok(contents)));
    }
    let mut contents = Contents::new();
    let mut read: BTreeMap<String, BTreeMap<String, String>> = BTreeMap::new();
    for key in wanted {
        if !read.contains_key(&key.name) {
            let map = match call("reading a ConfigMap that the run refers to", maps.get_opt(&key.name)).await {
                Err(error) if code(&error) == Some(403) => {
                    let message = format!("the operator may not read ConfigMap {}: it needs the right to get it", key.name);
                    return Ok(Some(Err(Problem { reason: "ReferenceForbidden".into(), message })));
                }
                other => other?,
            };
            read.insert(key.name.clone(), map.and_then(|map| map.data).unwrap_or_default());
        }
        if let Some(text) = read.get(&key.name).and_then(|data| data.get(&key.key)) {
            contents.insert(key.clone(), text.clone());
        }
    }
    Ok(Some(usable(run, &contents).map(|()| contents)))
}

/// Rules for secrets are the engine's; what it will refuse is found out here, before anything begins.
fn usable(run: &ValidRun, contents: &Contents) -> Result<(), Problem> {
    let resolved = resolve(&run.spec, contents)?;
    match resolved.spec.backfill.sql.and_then(|sql| sql.sensitive_data) {
        None => Ok(()),
        Some(sensitive) => {
            secrets::check(&sensitive).map_err(|error| Problem { reason: error.reason().into(), message: error.to_string() })
        }
    }
}

/// What preflight was told, and all that came after it: its input cannot be changed. `None` where it is gone.
async fn told(maps: &Api<ConfigMap>, run: &ValidRun, status: &BackfillRunStatus) -> Result<Option<Contents>, ControllerError> {
    let Some(entry) = status.steps.iter().find(|entry| entry.step == Step::Preflight) else { return Ok(None) };
    let map = call("reading what preflight was told", maps.get_opt(&input_name(&entry.job_name))).await?;
    let input = map.and_then(|map| map.data).and_then(|mut data| data.remove("input.json"));
    let input: Option<StepInput> = input.and_then(|text| serde_json::from_str(&text).ok());
    Ok(input.filter(|input| input.run == run.meta.identity).map(|input| kept(&run.spec, &input.spec)))
}

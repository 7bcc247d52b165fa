//! `logs NAME`: what the pods of a step wrote, without the lines that are for the operator.

use crate::api::status::Step;
use crate::api::{BackfillRun, RUN_LABEL, RUN_UID_LABEL, STEP_LABEL};
use crate::plugin::cluster::{CALL, Cluster, call};
use crate::plugin::{DONE, PluginError, terminal};
use crate::protocol;
use futures::io::{AsyncBufRead, AsyncBufReadExt as _};
use futures::{StreamExt as _, future};
use k8s_openapi::api::core::v1::Pod;
use kube::api::LogParams;
use std::time::Duration;

/// A pod that is followed may still be pulling its image: it is asked again so often, with this pause.
const STARTING: (u32, Duration) = (150, Duration::from_secs(2));

/// Prints the logs of one step, pod by pod, or of all its pods as they write.
pub(in crate::plugin) async fn logs(cluster: &Cluster, name: &str, step: Option<Step>, follow: bool) -> Result<u8, PluginError> {
    let run = cluster.run(name).await?;
    let step = step.or_else(|| latest(&run)).ok_or_else(|| PluginError::NotNow(format!("{name} has begun no step yet")))?;
    let uid = run.metadata.uid.as_deref().unwrap_or_default();
    let labels = format!("{RUN_LABEL}={name},{RUN_UID_LABEL}={uid},{STEP_LABEL}={}", step.slug());
    let mut pods = cluster.pods(&labels).await?;
    pods.sort_by(|a, b| a.metadata.creation_timestamp.cmp(&b.metadata.creation_timestamp));
    let sources: Vec<Source> = pods.iter().flat_map(Source::of).collect();
    if sources.is_empty() {
        return Err(PluginError::NotNow(format!("{name} has no pod of the step {} any more, or not yet", step.slug())));
    }
    let named = sources.len() > 1;
    if follow {
        future::try_join_all(sources.iter().map(|source| copy(cluster, source, named, true))).await?;
    } else {
        for source in &sources {
            copy(cluster, source, named, false).await?;
        }
    }
    Ok(DONE)
}

/// The step in hand, else the one that began last.
fn latest(run: &BackfillRun) -> Option<Step> {
    let status = run.status.as_ref()?;
    status.current_step.or_else(|| status.steps.iter().max_by_key(|step| step.started_at).map(|step| step.step))
}

/// A container of a pod.
struct Source {
    pod: String,
    container: String,
}

impl Source {
    fn of(pod: &Pod) -> Vec<Self> {
        let name = pod.metadata.name.clone().unwrap_or_default();
        let containers = pod.spec.iter().flat_map(|spec| &spec.containers);
        containers.map(|container| Self { pod: name.clone(), container: container.name.clone() }).collect()
    }
}

/// A log that is followed has no end in time; one that is not must go on within the time of a call.
async fn copy(cluster: &Cluster, source: &Source, named: bool, follow: bool) -> Result<(), PluginError> {
    let prefix = if named { format!("[{}/{}] ", source.pod, source.container) } else { String::new() };
    let mut lines = Box::pin(open(cluster, source, follow).await?.lines());
    loop {
        let next = if follow {
            lines.next().await
        } else {
            tokio::time::timeout(CALL, lines.next()).await.map_err(|_| PluginError::NoAnswer { what: "read the log", after: CALL })?
        };
        match next {
            None => return Ok(()),
            Some(line) => {
                let line = line?;
                if !protocol::is_for_the_operator(&line) {
                    terminal::print(&format!("{prefix}{line}\n"))?;
                }
            }
        }
    }
}

async fn open(cluster: &Cluster, source: &Source, follow: bool) -> Result<impl AsyncBufRead + use<>, PluginError> {
    let parameters = LogParams { container: Some(source.container.clone()), follow, ..LogParams::default() };
    let (tries, pause) = STARTING;
    let mut refusals = 0;
    let pods = cluster.pod_api();
    loop {
        match call("read the log", pods.log_stream(&source.pod, &parameters)).await {
            // 400: the container has not started.
            Err(PluginError::Refused { .. }) if follow && refusals < tries => refusals += 1,
            answer => return answer,
        }
        tokio::time::sleep(pause).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plugin::render::fixture;

    #[test]
    fn the_step_in_hand_comes_before_the_one_that_began_last() {
        let mut run = fixture::applying();
        assert_eq!(latest(&run), Some(Step::Apply));
        run.status.as_mut().unwrap().current_step = None;
        assert_eq!(latest(&run), Some(Step::Apply));
        run.status.as_mut().unwrap().steps.retain(|step| step.step != Step::Apply);
        assert_eq!(latest(&run), Some(Step::Plan));
        run.status = None;
        assert_eq!(latest(&run), None);
    }
}

//! Looking at a run again and again, over a connection that may break for a while.

use crate::api::BackfillRun;
use crate::plugin::cluster::Cluster;
use crate::plugin::{PluginError, render};
use std::time::Duration;
use tokio::time::Instant;

/// Between two looks.
pub(super) const PAUSE: Duration = Duration::from_secs(2);
/// For so long the API server may be away: a control plane's restart takes less.
const AWAY: Duration = Duration::from_mins(1);

/// How long there has been no answer.
#[derive(Debug, Default)]
pub(super) struct Patience {
    failing_since: Option<Instant>,
}

impl Patience {
    /// The run; `None` where the API server is away, and that may pass by itself.
    pub(super) async fn look(&mut self, cluster: &Cluster, name: &str) -> Result<Option<BackfillRun>, PluginError> {
        match cluster.run(name).await {
            Ok(run) => {
                self.failing_since = None;
                Ok(Some(run))
            }
            Err(error) if error.may_pass() => {
                let begun = *self.failing_since.get_or_insert_with(|| {
                    eprintln!("{}; trying again", render::text::lines(&error.to_string()));
                    Instant::now()
                });
                if begun.elapsed() > AWAY { Err(error) } else { Ok(None) }
            }
            Err(error) => Err(error),
        }
    }
}

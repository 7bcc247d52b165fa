//! `wait NAME`: for pipelines, which read the exit code.

use super::patience::{PAUSE, Patience};
use crate::api::BackfillRun;
use crate::api::Phase;
use crate::plugin::arguments::Goal;
use crate::plugin::cluster::Cluster;
use crate::plugin::{DONE, OTHERWISE, PluginError, TIMEOUT, render, terminal};
use std::time::Duration;
use tokio::time::Instant;

/// What a look at a run says about a goal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Sight {
    Reached,
    Never,
    NotYet,
}

/// Prints each change of the run, and answers with [`DONE`], [`OTHERWISE`] or [`TIMEOUT`].
pub(in crate::plugin) async fn wait(cluster: &Cluster, name: &str, goal: Goal, timeout: Duration) -> Result<u8, PluginError> {
    let begun = Instant::now();
    let mut patience = Patience::default();
    let mut seen: Option<BackfillRun> = None;
    let mut shown = String::new();
    loop {
        match patience.look(cluster, name).await {
            // It was there.
            Err(PluginError::NoSuchRun { .. }) if seen.is_some() => {
                terminal::print(&format!("{name} was deleted\n"))?;
                return Ok(OTHERWISE);
            }
            Err(error) => return Err(error),
            Ok(None) => {}
            Ok(Some(run)) => {
                if seen.as_ref().is_some_and(|seen| seen.metadata.uid != run.metadata.uid) {
                    terminal::print(&format!("{name} was deleted, and made anew\n"))?;
                    return Ok(OTHERWISE);
                }
                let line = render::status::line(&run);
                if line != shown {
                    terminal::print(&format!("{line}\n"))?;
                    shown = line;
                }
                match sight(&run, goal) {
                    Sight::Reached => return Ok(DONE),
                    Sight::Never => return Ok(OTHERWISE),
                    Sight::NotYet => seen = Some(run),
                }
            }
        }
        let left = timeout.saturating_sub(begun.elapsed());
        if left.is_zero() {
            eprintln!("not in {}", crate::api::duration::display(timeout));
            return Ok(TIMEOUT);
        }
        tokio::time::sleep(left.min(PAUSE)).await;
    }
}

fn sight(run: &BackfillRun, goal: Goal) -> Sight {
    let phase = super::phase(run);
    let asks = run.status.as_ref().is_some_and(|status| status.awaiting.is_some());
    let reached = match goal {
        Goal::Succeeded => phase == Phase::Succeeded,
        Goal::Finished => phase.is_terminal(),
        Goal::AwaitingApproval => asks && !phase.is_terminal(),
    };
    match (reached, phase.is_terminal()) {
        (true, _) => Sight::Reached,
        (false, true) => Sight::Never,
        (false, false) => Sight::NotYet,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plugin::render::fixture;

    #[test]
    fn a_goal_is_reached_never_or_not_yet() {
        let waiting = fixture::awaiting();
        assert_eq!(sight(&waiting, Goal::AwaitingApproval), Sight::Reached);
        assert_eq!(sight(&waiting, Goal::Succeeded), Sight::NotYet);
        assert_eq!(sight(&waiting, Goal::Finished), Sight::NotYet);
        for phase in Phase::ALL {
            let mut run = fixture::applying();
            run.status.as_mut().unwrap().phase = phase;
            let ended = if phase.is_terminal() { Sight::Never } else { Sight::NotYet };
            assert_eq!(sight(&run, Goal::AwaitingApproval), ended, "{phase}");
            assert_eq!(sight(&run, Goal::Finished), if phase.is_terminal() { Sight::Reached } else { Sight::NotYet }, "{phase}");
            assert_eq!(sight(&run, Goal::Succeeded), if phase == Phase::Succeeded { Sight::Reached } else { ended }, "{phase}");
        }
    }

    #[test]
    fn a_run_that_the_operator_has_not_seen_yet_is_waited_for() {
        let mut run = fixture::applying();
        run.status = None;
        assert_eq!(sight(&run, Goal::Finished), Sight::NotYet);
    }
}

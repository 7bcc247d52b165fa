//! The command line.

use crate::api::duration;
use crate::api::status::Step;
use clap::{Args, Parser, Subcommand, ValueEnum};
use std::time::Duration;

/// See, decide and steer the backfills of a cluster, as the user of the kubeconfig.
#[derive(Debug, Parser)]
#[command(name = "kubectl-backfill", bin_name = "kubectl backfill", version)]
pub struct Arguments {
    /// The namespace; that of the context where it is left out.
    #[arg(short, long, global = true)]
    pub namespace: Option<String>,
    /// The context of the kubeconfig; the current one where it is left out.
    #[arg(long, global = true)]
    pub context: Option<String>,
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Show what people are asked to approve.
    Review {
        /// The run.
        #[arg(value_parser = parse_name)]
        name: String,
        /// The same as a document.
        #[arg(short, long)]
        output: Option<Format>,
    },
    /// Say yes to what is asked, after a look at it.
    Approve(Decision),
    /// Say no. One no ends the run.
    Deny(Decision),
    /// Take back what you said.
    Withdraw {
        /// The run.
        #[arg(value_parser = parse_name)]
        name: String,
        /// Print the run as it is afterwards.
        #[arg(short, long)]
        output: Option<Format>,
    },
    /// Show where a run stands.
    Status {
        /// The run.
        #[arg(value_parser = parse_name)]
        name: String,
        /// Go on showing it until it ends.
        #[arg(short, long, conflicts_with = "output")]
        watch: bool,
        /// The status as a document.
        #[arg(short, long)]
        output: Option<Format>,
    },
    /// Wait for a run. Exit codes: 0 it is so, 1 the run ended otherwise, 2 not in time, 3 no such run or no connection.
    Wait {
        /// The run.
        #[arg(value_parser = parse_name)]
        name: String,
        /// For what.
        #[arg(long = "for", value_name = "WHAT", default_value = "succeeded")]
        goal: Goal,
        /// For how long, as in `30s`, `2h` or `1h30m`; `0s` looks once.
        #[arg(long, default_value = "1h", value_parser = parse_duration)]
        timeout: Duration,
    },
    /// Stop a run for good: the flag goes back first, then the data.
    Abort {
        /// The run.
        #[arg(value_parser = parse_name)]
        name: String,
        /// Do not ask.
        #[arg(short, long)]
        yes: bool,
        /// Print the run as it is afterwards.
        #[arg(short, long)]
        output: Option<Format>,
    },
    /// Ask for the rollback of a run that has succeeded. Others approve it; while its undo is kept.
    Rollback {
        /// The run.
        name: String,
        /// Do not ask.
        #[arg(short, long)]
        yes: bool,
        /// Print the run as it is afterwards.
        #[arg(short, long)]
        output: Option<Format>,
    },
    /// Pause a run after the batch in hand.
    Suspend {
        /// The run.
        #[arg(value_parser = parse_name)]
        name: String,
        /// Print the run as it is afterwards.
        #[arg(short, long)]
        output: Option<Format>,
    },
    /// Let a suspended run go on.
    Resume {
        /// The run.
        #[arg(value_parser = parse_name)]
        name: String,
        /// Print the run as it is afterwards.
        #[arg(short, long)]
        output: Option<Format>,
    },
    /// Show the logs of a step's pods.
    Logs {
        /// The run.
        #[arg(value_parser = parse_name)]
        name: String,
        /// The step, as in `plan` or `apply`; the latest where it is left out.
        #[arg(long, value_parser = parse_step)]
        step: Option<Step>,
        /// Go on until the pods end.
        #[arg(short, long)]
        follow: bool,
    },
    /// Print the completion for a shell.
    Completion {
        /// The shell.
        shell: clap_complete::Shell,
    },
}

/// A decision.
#[derive(Debug, Args)]
pub struct Decision {
    /// The run.
    #[arg(value_parser = parse_name)]
    pub name: String,
    /// Why; it goes into the status, the report and the messages.
    #[arg(short, long)]
    pub message: Option<String>,
    /// The digest that was reviewed. With it nothing is asked, and another digest is refused; without it a terminal is needed.
    #[arg(long)]
    pub digest: Option<String>,
    /// Print the run as it is afterwards.
    #[arg(short, long, requires = "digest")]
    pub output: Option<Format>,
}

/// The form of a document.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// JSON.
    Json,
    /// YAML.
    Yaml,
}

/// What is waited for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Goal {
    /// The run has succeeded.
    Succeeded,
    /// The run has ended, in whatever way.
    Finished,
    /// The run asks people.
    AwaitingApproval,
}

/// As the API server has it (RFC 1123), so that no name leads elsewhere.
fn parse_name(text: &str) -> Result<String, String> {
    let name = text.strip_prefix("backfillrun/").or_else(|| text.strip_prefix("bfr/")).unwrap_or(text);
    let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
    let good = !name.is_empty() && name.len() <= 253 && name.chars().all(|c| plain(c) || c == '-' || c == '.');
    if good && name.starts_with(plain) && name.ends_with(plain) {
        Ok(name.into())
    } else {
        Err("the name of a run has lower case letters, digits, `-` and `.`, and begins and ends with a letter or digit".into())
    }
}

fn parse_duration(text: &str) -> Result<Duration, String> {
    duration::parse(text).ok_or_else(|| "a duration looks like 30s, 2h or 1h30m".into())
}

fn parse_step(slug: &str) -> Result<Step, String> {
    Step::ALL.into_iter().find(|step| step.slug() == slug).ok_or_else(|| {
        let known: Vec<&str> = Step::ALL.iter().map(|step| step.slug()).collect();
        format!("the steps are {}", known.join(", "))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory as _;

    #[test]
    fn the_command_line_is_sound() {
        Arguments::command().debug_assert();
    }

    #[test]
    fn wait_waits_an_hour_for_success_unless_told_otherwise() {
        let Command::Wait { goal, timeout, .. } = Arguments::parse_from(["kubectl-backfill", "wait", "r"]).command else { panic!() };
        assert_eq!((goal, timeout), (Goal::Succeeded, Duration::from_hours(1)));
    }

    #[test]
    fn global_flags_stand_before_and_after_the_command() {
        for arguments in [["b", "-n", "shop", "status", "r"], ["b", "status", "r", "-n", "shop"]] {
            assert_eq!(Arguments::parse_from(arguments).namespace.as_deref(), Some("shop"));
        }
    }

    #[test]
    fn a_run_is_named_as_kubectl_prints_it_or_without_its_kind_and_in_no_other_way() {
        for (typed, name) in [("r", "r"), ("import-1.b", "import-1.b"), ("backfillrun/r", "r"), ("bfr/r", "r")] {
            assert_eq!(parse_name(typed).as_deref(), Ok(name));
        }
        for typed in ["", "../secrets/db", "a/b", "A", "-a", "a-", "a b", "a%2fb", "backfillrun/", "pod/r"] {
            assert!(parse_name(typed).unwrap_err().contains("lower case letters"), "{typed}");
        }
    }

    #[test]
    fn a_step_that_does_not_exist_is_refused_with_those_that_do() {
        let error = Arguments::try_parse_from(["b", "logs", "r", "--step", "aply"]).unwrap_err().to_string();
        assert!(error.contains("the steps are preflight, backup"), "{error}");
    }
}

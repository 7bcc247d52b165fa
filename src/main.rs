//! Wiring only: arguments to functions, signals to tokens, ends to exit codes.

use backfill_operator::api::status::Step;
use backfill_operator::protocol::{Outcome, Paths};
use clap::{Parser, Subcommand};
use std::path::PathBuf;
use std::process::ExitCode;
use tokio_util::sync::CancellationToken;
use tracing_subscriber::EnvFilter;

#[derive(Parser)]
#[command(version, about)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Print the custom resource definition as YAML.
    Crds,
    /// Print the API reference as Markdown.
    Reference,
    /// Watch over all runs: what the chart's Deployment does.
    Controller {
        /// The operator's configuration.
        #[arg(long, default_value = "/etc/backfill-operator/config.yaml")]
        config: PathBuf,
        /// Where probes and metrics are served.
        #[arg(long, default_value = "0.0.0.0:8080")]
        address: std::net::SocketAddr,
    },
    /// Run one step of a run, inside its Job.
    Step {
        /// The step, as in `preflight` or `apply`.
        #[arg(value_parser = step_by_slug)]
        step: Step,
        /// Where the step's files hang; `/` in a pod.
        #[arg(long, default_value = "/", env = "BACKFILL_ROOT")]
        root: PathBuf,
    },
}

fn step_by_slug(slug: &str) -> Result<Step, String> {
    Step::ALL.into_iter().find(|s| s.slug() == slug && !s.is_team_job()).ok_or_else(|| format!("there is no step {slug}"))
}

#[tokio::main]
async fn main() -> ExitCode {
    let arguments = Arguments::parse();
    tracing_subscriber::fmt()
        .json()
        .with_writer(std::io::stderr)
        .with_env_filter(EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("info")))
        .init();
    if rustls::crypto::aws_lc_rs::default_provider().install_default().is_err() {
        tracing::error!("a TLS provider was installed before ours");
        return ExitCode::FAILURE;
    }
    let stop = CancellationToken::new();
    let signal = tokio::spawn(cancel_on_signal(stop.clone()));
    let end = match arguments.command {
        Command::Crds => print_crds(),
        Command::Reference => print_reference(),
        Command::Controller { config, address } => run_controller(&config, address, stop).await,
        Command::Step { step, root } => run_step(step, &root, stop).await,
    };
    signal.abort();
    end
}

fn print_crds() -> ExitCode {
    match backfill_operator::api::crd::yaml() {
        Ok(yaml) => {
            print!("{yaml}");
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("the definition cannot be written: {error}");
            ExitCode::FAILURE
        }
    }
}

fn print_reference() -> ExitCode {
    match backfill_operator::reference::markdown() {
        Ok(page) => {
            print!("{page}");
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("the definition cannot be written: {error}");
            ExitCode::FAILURE
        }
    }
}

async fn run_controller(config: &std::path::Path, address: std::net::SocketAddr, stop: CancellationToken) -> ExitCode {
    match backfill_operator::controller::serve(config, address, stop).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!(%error, "the operator ends");
            ExitCode::FAILURE
        }
    }
}

async fn run_step(step: Step, root: &std::path::Path, cancelled: CancellationToken) -> ExitCode {
    match backfill_operator::steps::run(step, Paths::below(root), cancelled).await {
        Ok(Outcome::Passed | Outcome::Failed | Outcome::Inconclusive | Outcome::Stalled | Outcome::Stopped) => ExitCode::SUCCESS,
        Ok(Outcome::Lost) => ExitCode::FAILURE,
        Err(error) => {
            tracing::error!(%error, "the step left no verdict");
            ExitCode::FAILURE
        }
    }
}

async fn cancel_on_signal(stop: CancellationToken) {
    use tokio::signal::unix::{SignalKind, signal};
    let (Ok(mut terminate), Ok(mut interrupt)) = (signal(SignalKind::terminate()), signal(SignalKind::interrupt())) else {
        return;
    };
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
    stop.cancel();
}

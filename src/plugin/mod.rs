//! `kubectl backfill`: what a person types to see, decide and steer a run, a file a command.
//!
//! It is a client like any other. It uses the identity of the caller's kubeconfig, writes nothing but the caller's own entry of
//! `spec.approvals`, `spec.suspend` and `spec.abort`, and knows nothing that `kubectl get` does not show. Rendering ([`render`]) is
//! pure; [`cluster`] has every call, each under a timeout. Called by the binary `kubectl-backfill`; may know `api`, `protocol`, and the estimates of `lifecycle`.

pub mod arguments;
pub mod cluster;
mod commands;
mod error;
mod output;
pub mod render;
mod terminal;

pub use error::PluginError;

use arguments::{Arguments, Command};
use clap::Parser as _;
use cluster::Cluster;
use std::ffi::OsString;
use std::process::ExitCode;

/// Exit code: it is done, or what was waited for is so.
pub const DONE: u8 = 0;
/// Exit code: refused, declined, or the run ended otherwise.
pub const OTHERWISE: u8 = 1;
/// Exit code: it was not so in time.
pub const TIMEOUT: u8 = 2;
/// Exit code: wrong usage, no such run, or no answer of the API server.
pub const UNUSABLE: u8 = 3;

/// Runs the plugin with the arguments of a process, and says how it ends.
pub async fn run(arguments: impl IntoIterator<Item = OsString>) -> ExitCode {
    let arguments = match Arguments::try_parse_from(arguments) {
        Ok(arguments) => arguments,
        // Help and version are asked for, and no failure. clap's own code for bad usage means something else here.
        Err(error) => {
            let code = if error.use_stderr() { UNUSABLE } else { DONE };
            let _ = error.print();
            return ExitCode::from(code);
        }
    };
    match carry_out(arguments).await {
        Ok(code) => ExitCode::from(code),
        // The reader of a pipe has seen enough.
        Err(PluginError::Output(error)) if error.kind() == std::io::ErrorKind::BrokenPipe => ExitCode::from(DONE),
        Err(error) => {
            eprintln!("error: {}", render::text::lines(&error.to_string()));
            ExitCode::from(error.exit_code())
        }
    }
}

async fn carry_out(arguments: Arguments) -> Result<u8, PluginError> {
    let Arguments { namespace, context, command } = arguments;
    if let Command::Completion { shell } = command {
        return commands::completion::print(shell);
    }
    let cluster = Cluster::connect(context, namespace).await?;
    match command {
        Command::Review { name, output } => commands::review::review(&cluster, &name, output).await,
        Command::Approve(decision) => commands::decide::approve(&cluster, decision).await,
        Command::Deny(decision) => commands::decide::deny(&cluster, decision).await,
        Command::Withdraw { name, output } => commands::withdraw::withdraw(&cluster, &name, output).await,
        Command::Status { name, watch, output } => commands::status::status(&cluster, &name, watch, output).await,
        Command::Wait { name, goal, timeout } => commands::wait::wait(&cluster, &name, goal, timeout).await,
        Command::Abort { name, yes, output } => commands::steer::abort(&cluster, &name, yes, output).await,
        Command::Rollback { name, yes, output } => commands::rollback::rollback(&cluster, &name, yes, output).await,
        Command::Suspend { name, output } => commands::steer::suspend(&cluster, &name, output).await,
        Command::Resume { name, output } => commands::steer::resume(&cluster, &name, output).await,
        Command::Logs { name, step, follow } => commands::logs::logs(&cluster, &name, step, follow).await,
        Command::Completion { shell } => commands::completion::print(shell),
    }
}

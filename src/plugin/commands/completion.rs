//! `completion SHELL`.

use crate::plugin::arguments::Arguments;
use crate::plugin::{DONE, PluginError, terminal};
use clap::CommandFactory as _;
use clap_complete::Shell;

/// Prints the completion script of the binary.
pub(in crate::plugin) fn print(shell: Shell) -> Result<u8, PluginError> {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Arguments::command().bin_name("kubectl-backfill"), "kubectl-backfill", &mut script);
    terminal::print(&String::from_utf8_lossy(&script))?;
    Ok(DONE)
}

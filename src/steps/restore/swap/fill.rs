//! The dump, into the new database: `pg_restore`, with as many jobs as the step has processors.

use super::super::error::RestoreError;
use super::Names;
use crate::postgres::clients;
use crate::postgres::restore_exit::judge;
use crate::postgres::tools::{ToolLogin, drain, not_run};
use crate::steps::StepContext;
use crate::steps::session::Session;
use std::path::Path;
use std::process::Stdio;

/// Restores all of the dump. The database is new: what an entry needs is made by an entry before it.
pub(super) async fn fill(context: &StepContext, session: &Session, names: &Names, dump: &Path) -> Result<(), RestoreError> {
    let session = session.to(&names.new);
    let login = ToolLogin::new(&session.credentials, &session.options, &context.paths.scratch)?;
    let jobs = std::thread::available_parallelism().map_or(1, usize::from).min(8);
    let mut restore = login
        .command(clients::newest().await?.program("pg_restore"))
        .args(["--no-password", "--jobs", &jobs.to_string(), "--dbname", &connection_string(&names.new)])
        .arg(dump)
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(|e| not_run("pg_restore", e))?;
    let says = tokio::spawn(drain(restore.stderr.take()));
    let status = restore.wait().await.map_err(|e| not_run("pg_restore", e))?;
    let says = says.await.unwrap_or_default();
    judge(status.success(), &says).map_err(|detail| RestoreError::from_psql(&says, detail))?;
    super::run_on(&mut session.connect().await?, "ANALYZE").await
}

/// A database by whatever name, for `--dbname`, which else takes a name with `=` in it for more than a name.
pub(super) fn connection_string(name: &str) -> String {
    format!("dbname='{}'", name.replace('\\', "\\\\").replace('\'', "\\'"))
}

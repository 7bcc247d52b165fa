//! The dump, into the new database: `pg_restore`, with as many jobs as the step has processors.

use super::super::error::RestoreError;
use super::Names;
use crate::postgres::archive::{self, Archive};
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
    // A dump that was made elsewhere may have the ledger in it: that of the live database is carried over.
    let ledger = &context.input.spec.database.ledger_schema;
    let entries = archive::list(Archive::File(dump)).await?;
    let list = context.paths.scratch.join("swap.list");
    let lines: Vec<&str> = entries.iter().filter(|entry| !entry.is_of_schema(ledger)).map(|entry| entry.line.as_str()).collect();
    std::fs::write(&list, lines.join("\n")).map_err(RestoreError::ScratchUnwritable)?;
    let jobs = std::thread::available_parallelism().map_or(1, usize::from).min(8);
    let mut restore = login
        .command(clients::newest().await?.program("pg_restore"))
        .args(["--no-password", "--jobs", &jobs.to_string(), "--dbname", &connection_string(&names.new)])
        .arg("--use-list")
        .arg(&list)
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

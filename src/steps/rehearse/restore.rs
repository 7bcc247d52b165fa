//! The dump into the empty database, by `pg_restore`, as a person would do it.

use super::dump::Dump;
use super::error::RehearsalError;
use super::server::ScratchServer;
use super::space;
use crate::api::quantity;
use crate::api::spec::Scope;
use crate::postgres::archive::{self, Archive, Entry};
use crate::postgres::clients;
use crate::postgres::restore_exit::is_harmless;
use crate::postgres::tools::{complaint, drain, not_run};
use crate::steps::StepContext;
use sqlx::Connection as _;
use std::path::Path;
use std::process::Stdio;
use std::time::{Duration, Instant};

/// What is never restored: it leads to other servers, and a copy must not work there. User mappings hold passwords, too.
const NEVER: &[&str] = &["SUBSCRIPTION ", "SUBSCRIPTION TABLE ", "USER MAPPING ", "DATABASE"];

/// What is restored, and what is not.
pub(super) struct Contents {
    list: String,
    /// What is left out, in words.
    pub remarks: Vec<String>,
}

/// Chooses the entries, after a look whether the server has the extensions that they need.
pub(super) async fn choose(dump: &Dump, server: &ScratchServer, ledger: &str) -> Result<Contents, RehearsalError> {
    let mut entries = archive::list(Archive::File(dump.path())).await?;
    // One that was made elsewhere may have it; the copy gets a ledger of its own.
    entries.retain(|entry| !entry.is_of_schema(ledger));
    let mut connection = server.connection().await?;
    let available: Vec<String> = sqlx::query_scalar("SELECT name::text FROM pg_available_extensions").fetch_all(&mut connection).await?;
    let _ = connection.close().await;
    let missing: Vec<String> = extensions(&entries).filter(|name| !available.contains(name)).collect();
    if !missing.is_empty() {
        return Err(RehearsalError::ExtensionMissing { missing: missing.join(", ") });
    }
    let (without_rows, entries): (Vec<&Entry>, Vec<&Entry>) = entries.iter().partition(|entry| asks_for_rows(entry, dump));
    let (left_out, restored): (Vec<&Entry>, Vec<&Entry>) =
        entries.into_iter().partition(|entry| NEVER.iter().any(|kind| entry.what.starts_with(kind)));
    let mut remarks = Vec::new();
    if dump.manifest.scope == Scope::Tables {
        remarks.push(format!("the backup has the rows of {} tables only, with every definition", dump.manifest.tables.len()));
    }
    if !without_rows.is_empty() {
        remarks.push(format!(
            "{} foreign keys and materialized views are not made: they ask for rows that the backup does not have",
            without_rows.iter().filter(|entry| !entry.what.starts_with("COMMENT ")).count()
        ));
    }
    if !left_out.is_empty() {
        remarks.push(format!("{} subscriptions and user mappings are not restored: they lead to other servers", left_out.len()));
    }
    let list = restored.iter().map(|entry| entry.line.as_str()).collect::<Vec<_>>().join("\n");
    Ok(Contents { list, remarks })
}

/// True for what cannot be made of some tables' rows.
fn asks_for_rows(entry: &Entry, dump: &Dump) -> bool {
    let views = dump.manifest.scope == Scope::Tables && entry.what.starts_with("MATERIALIZED VIEW DATA ");
    views || dump.manifest.leads_out.iter().any(|key| entry.what == key.replace(['\n', '\r'], " "))
}

/// `EXTENSION - pgcrypto ` and the owner's name, which is empty.
fn extensions(entries: &[Entry]) -> impl Iterator<Item = String> {
    entries
        .iter()
        .filter_map(|entry| entry.what.strip_prefix("EXTENSION - ")?.split(' ').next().map(|name| name.trim_matches('"').to_owned()))
}

/// Restores, and answers how long it took.
pub(super) async fn restore(
    context: &StepContext,
    server: &mut ScratchServer,
    dump: &Dump,
    contents: &Contents,
    expected_bytes: i64,
) -> Result<Duration, RehearsalError> {
    let login = server.login(&context.paths.scratch)?;
    let list = context.paths.rehearsal.join("list");
    std::fs::write(&list, &contents.list).map_err(RehearsalError::disk)?;
    let begun = Instant::now();
    let client = clients::newest().await?;
    let mut command = login.command(client.program("pg_restore"));
    // Labels of modules that are not loaded, and places on other disks, are not what is proved.
    command
        .args(["--no-password", "--no-security-labels", "--no-tablespaces", "--dbname"])
        .arg(server.database())
        .arg("--use-list")
        .arg(&list);
    // A client newer than the server says one thing that the server does not know, and must go on.
    let newer = client.major >= 17 && server.major() < 17;
    if !newer {
        command.arg("--exit-on-error");
    }
    let mut child = command.arg(dump.path()).stdout(Stdio::null()).stderr(Stdio::piped()).spawn().map_err(|e| not_run("pg_restore", e))?;
    let stderr = tokio::spawn(drain(child.stderr.take()));
    let databases = server.databases();
    let empty = space::taken(&databases);
    let mut tick = tokio::time::interval(Duration::from_secs(1));
    let status = loop {
        tokio::select! {
            status = child.wait() => break status.map_err(|e| not_run("pg_restore", e))?,
            _ = tick.tick() => report(context, &databases, empty, expected_bytes),
        }
    };
    let stderr = stderr.await.unwrap_or_default();
    judge(status.success(), &stderr, context)?;
    Ok(begun.elapsed())
}

/// The copy ends smaller than the database, which has dead rows: the end may come early, and never late.
fn report(context: &StepContext, databases: &Path, empty: i64, expected: i64) {
    let done = (space::taken(databases) - empty).max(0);
    context.reporter.progress(done, expected.max(done), "bytes");
}

/// `pg_restore` says everything with exit code 1; only its words (of the C locale) tell what it was.
fn judge(success: bool, stderr: &str, context: &StepContext) -> Result<(), RehearsalError> {
    if success {
        return Ok(());
    }
    let errors: Vec<&str> = stderr.lines().filter(|line| line.contains("error: ")).collect();
    let others: Vec<&str> = errors.iter().copied().filter(|line| !is_harmless(line)).collect();
    if others.is_empty() && errors.iter().any(|line| is_harmless(line)) {
        return Ok(());
    }
    let says = |texts: &[&str]| others.iter().any(|line| texts.iter().any(|text| line.contains(text)));
    let detail = complaint(&others.join("\n"));
    let limit = context.input.rehearsal.map_or_else(String::new, |space| quantity::display(space.storage_bytes));
    Err(if says(&["No space left on device", "Disk quota exceeded"]) {
        RehearsalError::RehearsalVolumeFull { limit }
    } else if says(&[
        "server closed the connection",
        "terminating connection",
        "could not connect",
        "the database system is",
        "connection to server",
    ]) {
        RehearsalError::ScratchServerLost { detail }
    } else if says(&["shared_preload_libraries", "could not open extension control file", "is not available", "could not access file"]) {
        RehearsalError::ExtensionMissing { missing: detail }
    } else if says(&["could not create locale", "could not open collator"]) || (says(&["collation \""]) && says(&["does not exist"])) {
        RehearsalError::LocaleMissing { wanted: "a collation of its own".into(), detail }
    } else {
        RehearsalError::RehearsalRestoreFailed { detail }
    })
}

#[cfg(test)]
mod tests {
    use super::{Entry, extensions};

    fn entry(what: &str) -> Entry {
        Entry { line: what.into(), what: what.into() }
    }

    #[test]
    fn extensions_are_found_by_name_and_their_comments_are_none() {
        let entries = [
            entry("EXTENSION - pgcrypto "),
            entry("COMMENT - EXTENSION pgcrypto "),
            entry("TABLE public a app"),
            entry("EXTENSION - uuid-ossp"),
        ];
        assert_eq!(extensions(&entries).collect::<Vec<_>>(), ["pgcrypto", "uuid-ossp"]);
    }
}

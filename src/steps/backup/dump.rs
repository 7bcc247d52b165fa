//! `pg_dump`, watched while it writes.

use super::error::BackupError;
use crate::postgres::tools::{ToolLogin, complaint, drain, not_run};
use crate::steps::StepContext;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

/// A table that somebody holds exclusively for longer than this stops the dump: the application would wait behind it.
const LOCK_WAIT_MS: &str = "60000";

/// Writes the dump of a snapshot to `partial`. Dropping the future kills `pg_dump`.
pub(super) async fn write(
    context: &StepContext,
    login: &ToolLogin,
    snapshot: &str,
    partial: &Path,
    estimate_bytes: i64,
) -> Result<(), BackupError> {
    let mut child = login
        .command("pg_dump")
        .args(["--format=custom", "--no-password", "--lock-wait-timeout", LOCK_WAIT_MS])
        .arg(format!("--snapshot={snapshot}"))
        .arg(format!("--exclude-schema={}", context.input.spec.database.ledger_schema))
        .arg("--file")
        .arg(partial)
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(|e| not_run("pg_dump", e))?;
    let stderr = tokio::spawn(drain(child.stderr.take()));
    let mut tick = tokio::time::interval(Duration::from_secs(1));
    let status = loop {
        tokio::select! {
            status = child.wait() => break status.map_err(|e| not_run("pg_dump", e))?,
            _ = tick.tick() => report(context, partial, estimate_bytes),
        }
    };
    report(context, partial, estimate_bytes);
    if status.success() {
        return Ok(());
    }
    Err(classify(&stderr.await.unwrap_or_default()))
}

fn report(context: &StepContext, partial: &Path, estimate_bytes: i64) {
    let written = std::fs::metadata(partial).map_or(0, |m| i64::try_from(m.len()).unwrap_or(i64::MAX));
    context.reporter.progress(written, estimate_bytes.max(written), "bytes");
}

/// `pg_dump` says everything with exit code 1; only its words (of the C locale) tell what it was.
fn classify(stderr: &str) -> BackupError {
    let says = |texts: &[&str]| texts.iter().any(|text| stderr.contains(text));
    if says(&["No space left on device", "Disk quota exceeded"]) {
        return BackupError::BackupVolumeFull;
    }
    let detail = complaint(stderr);
    if says(&["canceling statement due to statement timeout", "canceling statement due to lock timeout", "deadlock detected"]) {
        return BackupError::DumpBlocked { detail };
    }
    let lost = [
        "server closed the connection unexpectedly",
        "terminating connection",
        "could not receive data from server",
        "connection to server was lost",
        "Connection refused",
        "the database system is",
        "SSL SYSCALL error",
        "too many clients",
        "invalid snapshot identifier",
        "could not import the requested snapshot",
    ];
    if says(&lost) { BackupError::DumpLost { detail } } else { BackupError::DumpFailed { detail } }
}

#[cfg(test)]
mod tests {
    use super::{BackupError, classify};

    #[test]
    fn what_pg_dump_says_is_told_apart() {
        let full = "pg_dump: error: could not write to file \"/backup/x\": No space left on device";
        assert!(matches!(classify(full), BackupError::BackupVolumeFull));
        let lost = "pg_dump: error: Dumping the contents of table \"a\" failed: PQgetCopyData() failed.\npg_dump: detail: Error message from server: server closed the connection unexpectedly";
        assert!(matches!(classify(lost), BackupError::DumpLost { .. }));
        let blocked =
            "pg_dump: error: query failed: ERROR:  canceling statement due to statement timeout\npg_dump: detail: Query was: LOCK TABLE a";
        assert!(matches!(classify(blocked), BackupError::DumpBlocked { .. }));
        let denied = "pg_dump: error: query failed: ERROR:  permission denied for table a\npg_dump: detail: Query was: LOCK TABLE a";
        assert!(matches!(classify(denied), BackupError::DumpFailed { detail } if detail == "permission denied for table a"));
    }
}

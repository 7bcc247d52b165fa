//! `pg_dump`, to a file, or through us to where no file can be.

use super::error::BackupError;
use crate::api::spec::{DumpFormat, Scope};
use crate::destination::DestinationError;
use crate::engine::sql::quote;
use crate::postgres::clients::Dumper;
use crate::postgres::table_sums::TableName;
use crate::postgres::tools::{ToolLogin, complaint, drain, not_run};
use crate::steps::StepContext;
use crate::steps::backup_store::{BackupStore, LocalFile, ManifestFile, StoreError, Writer};
use std::collections::BTreeSet;
use std::path::Path;
use std::process::Stdio;
use tokio::io::AsyncReadExt as _;
use tokio::process::{Child, Command};
use tokio_util::sync::CancellationToken;

/// A table that somebody holds exclusively for longer than this stops the dump: the application would wait behind it.
pub(super) const LOCK_WAIT_MS: &str = "60000";

/// What to dump, and until when.
pub(super) struct Dump<'a> {
    pub context: &'a StepContext,
    pub login: &'a ToolLogin,
    /// Who writes it, and how it compresses.
    pub dumper: &'a Dumper,
    /// Of the snapshot that is held open.
    pub snapshot: &'a str,
    /// Tables whose rows it has.
    pub tables: &'a [TableName],
    /// Tables whose rows are left out.
    pub others: &'a [TableName],
    /// The most that it may have.
    pub estimate_bytes: i64,
    /// Ends it: what is unfinished is taken back.
    pub end: &'a CancellationToken,
}

impl Dump<'_> {
    /// Writes the dump to the store under its unfinished name, and says what its files must be.
    pub(super) async fn write(&self, store: &BackupStore, name: &str) -> Result<Vec<ManifestFile>, BackupError> {
        let unfinished = store.destination().unfinished(name);
        if self.format() == DumpFormat::Directory {
            let folder = store.draft(&unfinished)?;
            self.to_file(folder.path()).await?;
            return self.kept(store, name, &folder).await;
        }
        match store.local(&unfinished) {
            Some(_) => {
                self.to_file(store.draft(&unfinished)?.path()).await?;
                // As the volume gives it back, not as it was sent.
                let mut sum = store.sum(&unfinished).await?;
                name.clone_into(&mut sum.name);
                Ok(vec![sum])
            }
            None => Ok(vec![self.to_store(store, name).await?]),
        }
    }

    /// The files of a folder, in the store. Nobody reads them there yet: the manifest is missing.
    async fn kept(&self, store: &BackupStore, name: &str, folder: &LocalFile) -> Result<Vec<ManifestFile>, BackupError> {
        let unfinished = store.destination().unfinished(name);
        let entries = std::fs::read_dir(folder.path()).map_err(StoreError::workspace)?;
        let mut inner: Vec<String> = entries.flatten().filter_map(|entry| entry.file_name().into_string().ok()).collect();
        inner.sort();
        let mut files = Vec::with_capacity(inner.len());
        for inner in inner {
            if self.end.is_cancelled() {
                return Err(BackupError::Stopped);
            }
            let stored = format!("{unfinished}/{inner}");
            let mut file = if folder.is_in_place() {
                store.sum(&stored).await?
            } else {
                let path = folder.path().join(&inner);
                let sent = tokio::select! {
                    sent = store.send(&path, &stored) => sent?,
                    () = self.end.cancelled() => return Err(BackupError::Stopped),
                };
                // Both do not fit on the disk at once when it comes back for the proof.
                std::fs::remove_file(&path).map_err(StoreError::workspace)?;
                sent
            };
            file.name = format!("{name}/{inner}");
            files.push(file);
        }
        Ok(files)
    }

    fn format(&self) -> DumpFormat {
        self.context.input.spec.backup.format
    }

    async fn to_file(&self, path: &Path) -> Result<(), BackupError> {
        let child = self.command().arg("--file").arg(path).stdout(Stdio::null()).spawn().map_err(|e| not_run("pg_dump", e))?;
        let mut child = Watched::new(child);
        tokio::select! {
            ended = child.wait() => ended,
            () = self.end.cancelled() => Err(BackupError::Stopped),
        }
    }

    async fn to_store(&self, store: &BackupStore, name: &str) -> Result<ManifestFile, BackupError> {
        let mut writer = store.write(&store.destination().unfinished(name), self.estimate_bytes).await?;
        match self.through(&mut writer).await {
            Ok(()) => Ok(writer.finish(name).await?),
            Err(error) => {
                writer.abort().await;
                Err(error)
            }
        }
    }

    async fn through(&self, writer: &mut Writer) -> Result<(), BackupError> {
        let mut child = self.command().stdout(Stdio::piped()).spawn().map_err(|e| not_run("pg_dump", e))?;
        let Some(mut stdout) = child.stdout.take() else {
            return Err(not_run("pg_dump", std::io::Error::other("it has no stdout")).into());
        };
        let mut child = Watched::new(child);
        let mut chunk = vec![0; 1024 * 1024];
        loop {
            let read = tokio::select! {
                read = stdout.read(&mut chunk) => read.map_err(|e| not_run("pg_dump", e))?,
                () = self.end.cancelled() => return Err(BackupError::Stopped),
            };
            if read == 0 {
                break;
            }
            tokio::select! {
                sent = writer.write(chunk.get(..read).unwrap_or_default()) => sent?,
                () = self.end.cancelled() => return Err(BackupError::Stopped),
            }
        }
        // Only its exit says that what came was all of it.
        child.wait().await
    }

    fn command(&self) -> Command {
        let mut command = self.login.command(self.dumper.client.program("pg_dump"));
        match self.format() {
            DumpFormat::Custom => command.arg("--format=custom"),
            DumpFormat::Directory => command.args(["--format=directory", "--jobs"]).arg(self.context.input.spec.backup.jobs.to_string()),
        };
        command
            .args(["--no-password", "--lock-wait-timeout", LOCK_WAIT_MS, "--compress", self.dumper.argument()])
            .arg(format!("--snapshot={}", self.snapshot))
            .arg(format!("--exclude-schema={}", self.context.input.spec.database.ledger_schema))
            .stderr(Stdio::piped());
        if self.context.input.spec.backup.scope == Scope::Tables {
            // Rows of no table.
            command.arg("--no-blobs").args(without(self.others, self.tables));
        }
        command
    }
}

/// The arguments that leave rows out. A schema of which no row is wanted is one pattern: a command line has an end.
fn without(others: &[TableName], kept: &[TableName]) -> Vec<String> {
    let wanted: BTreeSet<&str> = kept.iter().map(|table| table.schema.as_str()).collect();
    let patterns: BTreeSet<String> = others
        .iter()
        .map(|table| {
            let schema = quote(&table.schema);
            if wanted.contains(table.schema.as_str()) { format!("{schema}.{}", quote(&table.name)) } else { format!("{schema}.*") }
        })
        .collect();
    patterns.into_iter().map(|pattern| format!("--exclude-table-data={pattern}")).collect()
}

/// A `pg_dump` whose complaints are read while it runs. Dropping it kills it.
struct Watched {
    child: Child,
    says: tokio::task::JoinHandle<String>,
}

impl Watched {
    fn new(mut child: Child) -> Self {
        let says = tokio::spawn(drain(child.stderr.take()));
        Self { child, says }
    }

    async fn wait(&mut self) -> Result<(), BackupError> {
        let status = self.child.wait().await.map_err(|e| not_run("pg_dump", e))?;
        if status.success() {
            return Ok(());
        }
        Err(classify(&(&mut self.says).await.unwrap_or_default()))
    }
}

/// `pg_dump` says everything with exit code 1; only its words (of the C locale) tell what it was.
fn classify(stderr: &str) -> BackupError {
    let says = |texts: &[&str]| texts.iter().any(|text| stderr.contains(text));
    if says(&["No space left on device", "Disk quota exceeded"]) {
        return DestinationError::BackupVolumeFull.into();
    }
    let detail = complaint(stderr);
    if says(&["this build does not support compression", "not built with", "unrecognized compression algorithm"]) {
        return BackupError::CompressionUnsupported { detail };
    }
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
    use super::StoreError;
    use super::{BackupError, DestinationError, classify};

    #[test]
    fn what_pg_dump_says_is_told_apart() {
        let full = "pg_dump: error: could not write to file \"/backup/x\": No space left on device";
        assert!(matches!(classify(full), BackupError::Store(StoreError::Destination(DestinationError::BackupVolumeFull))));
        let lost = "pg_dump: error: Dumping the contents of table \"a\" failed: PQgetCopyData() failed.\npg_dump: detail: Error message from server: server closed the connection unexpectedly";
        assert!(matches!(classify(lost), BackupError::DumpLost { .. }));
        let blocked =
            "pg_dump: error: query failed: ERROR:  canceling statement due to statement timeout\npg_dump: detail: Query was: LOCK TABLE a";
        assert!(matches!(classify(blocked), BackupError::DumpBlocked { .. }));
        let denied = "pg_dump: error: query failed: ERROR:  permission denied for table a\npg_dump: detail: Query was: LOCK TABLE a";
        assert!(matches!(classify(denied), BackupError::DumpFailed { detail } if detail == "permission denied for table a"));
    }
}

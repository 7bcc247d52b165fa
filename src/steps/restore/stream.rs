//! `pg_restore` writes SQL, we pass it on, `psql` runs it: the COMMIT is passed on only when all before it was.

use super::error::RestoreError;
use crate::postgres::clients;
use crate::postgres::tools::{ToolLogin, complaint, drain, not_run};
use crate::steps::StepContext;
use std::path::Path;
use std::process::Stdio;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};

/// The COMMIT lies in the last bytes of the SQL; as many are held back until `pg_restore` has ended well.
const HELD: usize = 4096;
/// The dump's own settings lie in the first bytes.
const HEADER_MAX: usize = 64 * 1024;
/// The last of those settings.
const HEADER_END: &[u8] = b"set_config('search_path'";
const COMMIT: &[u8] = b"\nCOMMIT;\n\n--\n-- PostgreSQL database dump complete";

/// One try.
pub(super) struct Stream<'a> {
    pub context: &'a StepContext,
    pub login: &'a ToolLogin,
    pub list: &'a Path,
    pub dump: &'a Path,
    /// Begins the transaction, and takes the locks.
    pub lock: String,
    /// What goes between the locks and the dump.
    pub before: String,
    /// What goes between the dump and its COMMIT.
    pub after: String,
    pub server_major: i32,
}

impl Stream<'_> {
    /// Restores, all or nothing; `unchanged` fails where tables are not as they were. Dropping the future ends both programs;
    /// without a COMMIT the server rolls back.
    pub(super) async fn run(&self, unchanged: &str) -> Result<(), RestoreError> {
        let mut psql = self
            .login
            .command("psql")
            .args([
                "--no-psqlrc",
                "--quiet",
                "--no-password",
                "-v",
                "ON_ERROR_STOP=1",
                "-v",
                "VERBOSITY=verbose",
                "-v",
                "SHOW_CONTEXT=never",
            ])
            .args(["--file", "-"])
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .map_err(|e| not_run("psql", e))?;
        let mut restore = clients::pg_restore()
            .await?
            .args(["--single-transaction", "--exit-on-error", "--file", "-", "--use-list"])
            .arg(self.list)
            .arg(self.dump)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .map_err(|e| not_run("pg_restore", e))?;
        let psql_says = tokio::spawn(drain(psql.stderr.take()));
        let restore_says = tokio::spawn(drain(restore.stderr.take()));
        let (Some(mut sql), Some(mut sink)) = (restore.stdout.take(), psql.stdin.take()) else {
            return Err(RestoreError::RestoreRefused { detail: "psql and pg_restore could not be joined".into() });
        };
        let passed = self.pass(unchanged, &mut sql, &mut sink, &mut restore).await;
        // Without a COMMIT in it, the end of its input makes psql leave and the server roll back.
        drop(sink);
        drop(sql);
        let status = psql.wait().await.map_err(|e| not_run("psql", e))?;
        let psql_says = psql_says.await.unwrap_or_default();
        if !status.success() {
            return Err(RestoreError::from_psql(&psql_says, complaint(&psql_says)));
        }
        match passed {
            Ok(()) => Ok(()),
            Err(what) => {
                let _ = restore.start_kill();
                let says = restore_says.await.unwrap_or_default();
                let detail = if says.is_empty() { what.to_string() } else { complaint(&says) };
                Err(RestoreError::RestoreRefused { detail })
            }
        }
    }

    async fn pass(
        &self,
        unchanged: &str,
        sql: &mut (impl AsyncRead + Unpin),
        sink: &mut (impl AsyncWrite + Unpin),
        restore: &mut tokio::process::Child,
    ) -> std::io::Result<()> {
        for part in [self.lock.as_str(), unchanged, self.before.as_str()] {
            sink.write_all(part.as_bytes()).await?;
        }
        let mut held = self.header(sql).await?;
        let mut chunk = vec![0; 256 * 1024];
        let mut passed: i64 = 0;
        loop {
            let length = sql.read(&mut chunk).await?;
            if length == 0 {
                break;
            }
            held.extend_from_slice(chunk.get(..length).unwrap_or_default());
            let ready = held.len().saturating_sub(HELD);
            sink.write_all(held.get(..ready).unwrap_or_default()).await?;
            held.drain(..ready);
            passed = passed.saturating_add(i64::try_from(length).unwrap_or(0));
            self.context.reporter.progress(passed, 0, "bytes");
        }
        if !restore.wait().await?.success() {
            return Err(std::io::Error::other("pg_restore failed"));
        }
        let commit = held.windows(COMMIT.len()).rposition(|w| w == COMMIT);
        let Some((body, end)) = commit.and_then(|at| held.split_at_checked(at)) else {
            return Err(std::io::Error::other("pg_restore wrote no COMMIT where it is expected; its version is not known to this release"));
        };
        sink.write_all(body).await?;
        sink.write_all(self.after.as_bytes()).await?;
        sink.write_all(end).await?;
        sink.flush().await
    }

    /// The dump's own settings, without those that would undo ours or that the server does not know.
    async fn header(&self, sql: &mut (impl AsyncRead + Unpin)) -> std::io::Result<Vec<u8>> {
        let mut text = Vec::new();
        let mut chunk = vec![0; 8 * 1024];
        while text.len() < HEADER_MAX && !text.windows(HEADER_END.len()).any(|w| w == HEADER_END) {
            let length = sql.read(&mut chunk).await?;
            if length == 0 {
                break;
            }
            text.extend_from_slice(chunk.get(..length).unwrap_or_default());
        }
        Ok(without_foreign_settings(&text, self.server_major))
    }
}

/// `lock_timeout = 0` would let us wait for a lock for ever, with the application queueing behind; `transaction_timeout`
/// is written by clients from 17 on and refused by servers before it.
fn without_foreign_settings(text: &[u8], server_major: i32) -> Vec<u8> {
    let end = text.windows(HEADER_END.len()).position(|w| w == HEADER_END).unwrap_or(0);
    let (header, rest) = text.split_at_checked(end).unwrap_or((text, &[]));
    let mut kept = Vec::with_capacity(text.len());
    for line in header.split_inclusive(|b| *b == b'\n') {
        let foreign = line.starts_with(b"SET lock_timeout") || (server_major < 17 && line.starts_with(b"SET transaction_timeout"));
        if !foreign {
            kept.extend_from_slice(line);
        }
    }
    kept.extend_from_slice(rest);
    kept
}

#[cfg(test)]
mod tests {
    use super::without_foreign_settings;

    #[test]
    fn only_settings_of_the_header_are_left_out() {
        let text = b"SET statement_timeout = 0;\nSET lock_timeout = 0;\nSET transaction_timeout = 0;\nSELECT pg_catalog.set_config('search_path', '', false);\nSET lock_timeout = 0;\n";
        let kept = |major| String::from_utf8(without_foreign_settings(text, major)).unwrap();
        assert_eq!(
            kept(15),
            "SET statement_timeout = 0;\nSELECT pg_catalog.set_config('search_path', '', false);\nSET lock_timeout = 0;\n"
        );
        assert!(kept(17).contains("transaction_timeout"));
    }
}

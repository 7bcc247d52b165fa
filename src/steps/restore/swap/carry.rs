//! What outlives a restore: the ledger with claim and fence, and the table of audit entries.

use super::super::error::RestoreError;
use super::Names;
use super::fill::connection_string;
use crate::api::spec::Compression;
use crate::engine::sql::quote;
use crate::postgres::clients::{self, Dumper};
use crate::postgres::facts;
use crate::postgres::restore_exit::judge;
use crate::postgres::table_sums::{self, TableSum};
use crate::postgres::tools::{ToolLogin, complaint, drain, not_run};
use crate::steps::session::Session;
use crate::steps::{StepContext, run_tables};
use sqlx::postgres::PgConnection;
use sqlx::{AssertSqlSafe, Connection as _};
use std::process::Stdio;

/// Carries the ledger and the audit table over, and writes there that the database was restored. Our own claim keeps other
/// runs from writing to the ledger meanwhile, and the raised epoch our own workers.
pub(super) async fn carry(context: &StepContext, session: &Session, names: &Names, sums: &[TableSum]) -> Result<(), RestoreError> {
    let ledger = &context.input.spec.database.ledger_schema;
    let mut live = session.to(&names.live).connect().await?;
    let dumper = Dumper::choose(facts(&mut live).await?.major(), Compression::None).await?;
    let exists: bool = sqlx::query_scalar("SELECT to_regnamespace($1) IS NOT NULL").bind(quote(ledger)).fetch_one(&mut live).await?;
    if exists {
        // The view speaks of rows that will be gone.
        let arguments = [format!("--schema={}", pattern(ledger)), format!("--exclude-table={}.written", pattern(ledger))];
        pass(context, session, names, &dumper, &arguments, &[]).await?;
    }
    let audit = context.input.spec.backfill.sql.iter().filter_map(|sql| sql.audit.as_ref()?.table.as_deref());
    for table in audit {
        for table in run_tables::resolve(&mut live, table).await? {
            let argument = format!("--table={}.{}", pattern(&table.schema), pattern(&table.name));
            // What the dump had of it is older.
            pass(context, session, names, &dumper, &[argument], &["--clean", "--if-exists"]).await?;
        }
    }
    let _ = live.close().await;
    if exists {
        let mut new = session.to(&names.new).connect().await?;
        restored(&mut new, context, sums).await?;
    }
    Ok(())
}

async fn restored(new: &mut PgConnection, context: &StepContext, sums: &[TableSum]) -> Result<(), RestoreError> {
    let (schema, uid) = (&context.input.spec.database.ledger_schema, &context.input.run.uid);
    let mut transaction = new.begin().await?;
    for (table, statement) in
        [("runs", "UPDATE {}.runs SET state = 'Restored' WHERE uid = $1"), ("claim", "DELETE FROM {}.claim WHERE run_uid = $1")]
    {
        let there: bool = sqlx::query_scalar("SELECT to_regclass($1) IS NOT NULL")
            .bind(format!("{}.{table}", quote(schema)))
            .fetch_one(&mut *transaction)
            .await?;
        if there {
            sqlx::query(AssertSqlSafe(statement.replace("{}", &quote(schema)))).bind(uid).execute(&mut *transaction).await?;
        }
    }
    if table_sums::exists(&mut transaction, schema).await? {
        table_sums::record(&mut transaction, schema, uid, "Restored", sums).await?;
    }
    transaction.commit().await?;
    Ok(())
}

/// `pg_dump` of the live database into `pg_restore` of the new one.
async fn pass(
    context: &StepContext,
    session: &Session,
    names: &Names,
    dumper: &Dumper,
    what: &[String],
    how: &[&str],
) -> Result<(), RestoreError> {
    let login = |database: &str| {
        let session = session.to(database);
        ToolLogin::new(&session.credentials, &session.options, &context.paths.scratch)
    };
    let (from, to) = (login(&names.live)?, login(&names.new)?);
    let mut dump = from
        .command(dumper.client.program("pg_dump"))
        .args(["--format=custom", "--compress", dumper.argument(), "--no-password", "--lock-wait-timeout", "60000"])
        .args(what)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(|e| not_run("pg_dump", e))?;
    let mut restore = to
        .command(clients::newest().await?.program("pg_restore"))
        .args(["--no-password", "--dbname", &connection_string(&names.new)])
        .args(how)
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(|e| not_run("pg_restore", e))?;
    let (dump_says, restore_says) = (tokio::spawn(drain(dump.stderr.take())), tokio::spawn(drain(restore.stderr.take())));
    let (Some(mut source), Some(mut sink)) = (dump.stdout.take(), restore.stdin.take()) else {
        return Err(RestoreError::RestoreRefused { detail: "pg_dump and pg_restore could not be joined".into() });
    };
    let passed = tokio::io::copy(&mut source, &mut sink).await;
    drop(sink);
    let dump_ended = dump.wait().await.map_err(|e| not_run("pg_dump", e))?;
    let restore_ended = restore.wait().await.map_err(|e| not_run("pg_restore", e))?;
    let (dump_says, restore_says) = (dump_says.await.unwrap_or_default(), restore_says.await.unwrap_or_default());
    if !dump_ended.success() {
        return Err(RestoreError::from_psql(&dump_says, complaint(&dump_says)));
    }
    judge(restore_ended.success(), &restore_says).map_err(|detail| RestoreError::from_psql(&restore_says, detail))?;
    passed.map(|_| ()).map_err(|error| RestoreError::RestoreRefused { detail: error.to_string() })
}

/// A name as the tools' patterns take it: as it is, whatever is in it.
fn pattern(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

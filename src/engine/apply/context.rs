//! What a worker knows while it applies: the model, its questions, and where its rows stand.

use super::unread::Unread;
use super::{ApplyError, ApplyOptions, written_over};
use crate::engine::ledger::{Claimer, Ledger};
use crate::engine::model::{AuditTarget, Model};
use crate::engine::query::{self, Moment, Question, Rows};
use crate::engine::row::{self, Judged, Key, Keys, RowError};
use crate::engine::sensitive::Sensitive;
use crate::engine::sql::quote_literal;
use crate::postgres::transactions::SeenTransactions;
use sqlx::{AssertSqlSafe, Connection as _, PgConnection};
use std::collections::BTreeMap;

/// What reading ahead and writing have in common.
#[derive(Debug)]
pub(super) struct Context {
    pub(super) model: Model,
    pub(super) ledger: Ledger,
    pub(super) claimer: Claimer,
    /// What would be written, with values of the moment and versions.
    pub(super) question: Question,
    /// The rules for secrets, where the run has any.
    sensitive: Option<Sensitive>,
    /// The epoch of the run.
    pub(super) epoch: i64,
    /// A source that is only read may belong to another role: locking a row takes the right to change it.
    pub(super) locks_source: bool,
    /// What all audit entries of the run have in common, as JSON.
    pub(super) entry: String,
    /// How ranges are written without being read, where they can be.
    pub(super) unread: Option<Unread>,
    /// Namespace and name.
    pub(super) run: String,
    pub(super) plan_digest: String,
    /// What the snapshot of the backup saw.
    pub(super) backup_saw: Option<SeenTransactions>,
}

impl Context {
    pub(super) async fn new(
        connection: &mut PgConnection,
        options: ApplyOptions<'_>,
        claimer: &Claimer,
        epoch: i64,
    ) -> Result<Self, ApplyError> {
        let model = Model::resolve(connection, options.spec, &[], &options.plan.parameters).await?;
        model.require_writable(connection).await?;
        let question = query::question(&model, Rows::Keys, Moment::Apply);
        let sql = "SELECT has_any_column_privilege($1::oid, 'UPDATE')";
        let locks_source = sqlx::query_scalar(sql).persistent(false).bind(model.source.table.oid).fetch_one(connection).await?;
        let sensitive = Sensitive::of(options.spec.sensitive_data.as_ref())?;
        let run = format!("{}/{}", options.run.namespace, options.run.name);
        let plan_digest = options.plan.digest.clone();
        let entry = serde_json::json!({"source": "backfill", "run": run, "planDigest": plan_digest}).to_string();
        let (ledger, claimer) = (options.ledger.clone(), claimer.clone());
        let backup_saw = options.backup_saw.cloned();
        Ok(Self { model, ledger, claimer, question, sensitive, epoch, locks_source, entry, unread: None, run, plan_digest, backup_saw })
    }

    /// Makes what the run writes beside the data: the table of audit entries, and the description of its writes in the ledger.
    pub(super) async fn prepare(&self, connection: &mut PgConnection) -> Result<(), ApplyError> {
        if let Some(AuditTarget::Table(table)) = &self.model.audit {
            ensure_audit_table(connection, table).await?;
        }
        written_over::prepare(connection, &self.ledger, self.backup_saw.as_ref()).await?;
        let describe = |(seq, write): (usize, &crate::engine::model::Target)| {
            let compare: Vec<&str> = write.planned().map(|set| set.column.name.as_str()).collect();
            let mut described = serde_json::json!({"seq": seq, "table": write.table.quoted(), "compare": compare});
            if let Some(described) = described.as_object_mut().filter(|_| self.model.recompute) {
                described.insert("recompute".into(), true.into());
            }
            if let Some(described) = described.as_object_mut().filter(|_| write.is_cleared()) {
                described.insert("losesReference".into(), true.into());
            }
            described
        };
        let mut writes: Vec<serde_json::Value> = self.model.writes.iter().enumerate().map(describe).collect();
        match &self.model.audit {
            Some(AuditTarget::Column { path, .. }) => {
                let entry: serde_json::Value = serde_json::from_str(&self.entry).unwrap_or_default();
                let table = self.model.source.table.quoted();
                writes.push(serde_json::json!({"seq": writes.len(), "table": table, "path": path, "entry": entry}));
            }
            Some(AuditTarget::Table(table)) => {
                for write in &mut writes {
                    if let Some(write) = write.as_object_mut() {
                        write.insert("audit".into(), serde_json::json!({"table": table, "run": self.run, "planDigest": self.plan_digest}));
                    }
                }
            }
            None => {}
        }
        let sql = format!(
            "UPDATE {} SET writes = $2::jsonb, state = 'Applying' WHERE uid = $1 AND epoch = $3 AND state = 'Claimed'",
            self.ledger.table("runs")
        );
        let update = sqlx::query(AssertSqlSafe(sql)).persistent(false).bind(self.ledger.uid());
        update.bind(serde_json::Value::Array(writes).to_string()).bind(self.epoch).execute(connection).await?;
        Ok(())
    }

    /// Asks what would be written for the rows with these keys. What was redacted at plan is redacted again; where only the
    /// rule is approved, every value is new, and all are searched.
    pub(super) async fn judge(
        &self,
        connection: &mut PgConnection,
        question: &Question,
        keys: &Keys,
        redact: &[i32],
    ) -> Result<BTreeMap<i32, Judged>, RowError> {
        let mut judged = row::judge(connection, &self.model, question, keys).await?;
        if let Some(sensitive) = self.sensitive.as_ref().filter(|_| self.model.recompute || !redact.is_empty()) {
            for (place, row) in &mut judged {
                if self.model.recompute || redact.contains(place) {
                    sensitive.look(&self.model, row);
                }
            }
        }
        // Here, beside the writer's work, and not when the batch is written.
        let columns = self.model.source.key.len();
        for (n, place) in keys.places.iter().enumerate() {
            let Some(row) = judged.get_mut(place) else { continue };
            let key: Key = keys.columns.iter().take(columns).filter_map(|column| column.get(n).cloned()).collect();
            row.hashed = Some(row.fingerprint(&self.model, &key));
        }
        Ok(judged)
    }

    /// The hashes of the row's changes, where it would be written as it was planned.
    pub(super) fn as_planned<'j>(fingerprint: Option<&i64>, judged: Option<&'j Judged>) -> Option<&'j [blake3::Hash]> {
        let row = judged.filter(|row| row.audit_fits && !row.changes.is_empty())?;
        let (found, hashes) = row.hashed.as_ref()?;
        (Some(found) == fingerprint).then_some(hashes.as_slice())
    }

    /// True where only the rule is approved, and the row has its values already: there is nothing to write, and no drift.
    pub(super) fn is_satisfied(&self, judged: Option<&Judged>) -> bool {
        self.model.recompute && judged.is_some_and(|row| row.applies && row.changes.is_empty())
    }

    /// The keys of some places of a range.
    pub(super) fn keys(columns: &[Vec<String>], places: &[usize]) -> Keys {
        let of = |column: &Vec<String>| places.iter().map(|place| column.get(*place).cloned().unwrap_or_default()).collect();
        Keys {
            places: places.iter().map(|place| i32::try_from(*place).unwrap_or(i32::MAX)).collect(),
            columns: columns.iter().map(of).collect(),
        }
    }
}

/// One entry for each row and action of a run; another run of the same name has entries of its own. Nothing is done where
/// the table is there. Workers that start together make it one after the other: `IF NOT EXISTS` alone can fail.
async fn ensure_audit_table(connection: &mut PgConnection, table: &str) -> Result<(), ApplyError> {
    let mut transaction = connection.begin().await?;
    sqlx::query("SELECT pg_advisory_xact_lock(hashtextextended($1, 0))")
        .persistent(false)
        .bind(format!("backfill.dev audit {table}"))
        .execute(&mut *transaction)
        .await?;
    let there: bool =
        sqlx::query_scalar("SELECT to_regclass($1) IS NOT NULL").persistent(false).bind(table).fetch_one(&mut *transaction).await?;
    if there {
        return Ok(());
    }
    let create = format!(
        "CREATE TABLE {table} (run text NOT NULL, run_uid text NOT NULL, plan_digest text NOT NULL, table_name text NOT NULL, key jsonb NOT NULL,
             action text NOT NULL, result text NOT NULL, at timestamptz NOT NULL DEFAULT now(), UNIQUE (run_uid, table_name, key, action))"
    );
    let comment = format!("COMMENT ON TABLE {table} IS {}", quote_literal("backfill.dev audit: an entry for each row that a run wrote"));
    for sql in [create, comment] {
        sqlx::query(AssertSqlSafe(sql)).persistent(false).execute(&mut *transaction).await?;
    }
    transaction.commit().await?;
    Ok(())
}

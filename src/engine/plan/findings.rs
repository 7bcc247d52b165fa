//! What the approver should know of the plan beside its rows: how it is read, what triggers there are, what depends on
//! the server.

use crate::engine::model::{JoinFrom, Model, WriteAction};
use crate::engine::query::{self, Question};
use sqlx::{AssertSqlSafe, PgConnection};

/// What was found.
#[derive(Debug, Default)]
pub(super) struct Findings {
    /// The server's estimate of the rows that match.
    pub(super) estimate: i64,
    cost: f64,
    remarks: Vec<String>,
}

/// Asks the server how it would read, and the model what it would write.
pub(super) async fn of(connection: &mut PgConnection, model: &Model, question: &Question) -> Result<Findings, sqlx::Error> {
    let explain = query::explain(question);
    let plan: serde_json::Value = sqlx::query_scalar(AssertSqlSafe(explain)).persistent(false).fetch_one(connection).await?;
    let root = plan.pointer("/0/Plan");
    let number = |field: &str| root.and_then(|plan| plan.get(field)?.as_f64()).unwrap_or(0.0);
    #[expect(clippy::cast_possible_truncation, reason = "an estimate of rows is far below 2^53")]
    let estimate = number("Plan Rows") as i64;
    Ok(Findings { estimate, cost: number("Total Cost"), remarks: of_model(model) })
}

fn of_model(model: &Model) -> Vec<String> {
    let mut remarks = Vec::new();
    for write in model.writes.iter().filter(|write| !write.triggers.is_empty()) {
        remarks.push(format!(
            "{} has BEFORE triggers ({}): columns that they change are written as they say, and left out of equality",
            write.table.display(),
            write.triggers.join(", ")
        ));
    }
    for write in model.writes.iter().filter(|write| matches!(write.action, WriteAction::Delete(_))) {
        let with = write.captured.as_ref().and_then(|path| {
            let above = path.len().checked_sub(2).and_then(|n| path.get(n)).map(|step| &step.table);
            let above = above.or_else(|| model.named().find(|(_, delete)| delete.index == write.index).map(|(_, delete)| &delete.table))?;
            Some(format!(" with those of {} (ON DELETE CASCADE)", above.display()))
        });
        let with = with.unwrap_or_default();
        remarks.push(format!("rows of {} are deleted{with}; each is kept whole for the way back", write.table.display()));
    }
    for write in model.writes.iter().filter(|write| write.is_cleared()) {
        let columns: Vec<&str> = write.sets.iter().map(|set| set.column.name.as_str()).collect();
        remarks.push(format!(
            "rows of {} that stay lose their reference to deleted ones (ON DELETE SET NULL or SET DEFAULT of {})",
            write.table.display(),
            columns.join(", ")
        ));
    }
    if model.recompute {
        remarks
            .push("drift.mode is Recompute: rule and rows are approved; the values are those of the moment when they are written".into());
    }
    let server = model.server_dependent();
    if !server.is_empty() {
        let names: Vec<String> = server.into_iter().collect();
        remarks.push(format!(
            "values depend on the server (its version, locale or dictionaries) by {}: on another one the digest may differ",
            names.join(", ")
        ));
    }
    for join in model.all_joins() {
        if let JoinFrom::Query { .. } = join.from {
            remarks.push(format!("the join {} is a query: rows of its tables may change between reading and writing a batch", join.alias));
        }
    }
    remarks
}

impl Findings {
    /// For the approver, once it is known how many rows were read for how many that match.
    pub(super) fn remarks(self, scanned: i64, matching: i64) -> Vec<String> {
        let mut remarks = self.remarks;
        let idle = scanned - matching;
        if idle > 0 {
            let percent = idle.saturating_mul(100) / scanned.max(1);
            remarks.push(format!("{percent} percent of the source rows are read for nothing ({idle} of {scanned}): where leaves them out"));
        }
        remarks.push(format!("the server's cost of reading the plan is {:.0} (EXPLAIN)", self.cost));
        remarks
    }
}

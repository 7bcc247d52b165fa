//! What is kept of a written row beside its values: what undo needs, and the audit entry.

use super::sql::Undo;
use super::write::{Writer, result};
use crate::engine::catalog::Column;
use crate::engine::model::{AuditTarget, Target};
use crate::engine::row::Kind;
use crate::engine::sql::quote_literal;

impl Writer<'_> {
    /// The audit entry, by the result that stands in `v`.
    pub(super) fn entry(&self) -> String {
        format!("(CASE v.result WHEN {} THEN {} ELSE {} END)", quote_literal(result(true)), self.entry_of(true), self.entry_of(false))
    }

    /// The audit entry: what is the same for all rows, what was done, and the moment. Put together once a statement: done for
    /// each row, it cost the server a microsecond.
    pub(super) fn entry_of(&self, redacted: bool) -> String {
        let (entry, result) = (quote_literal(self.entry), quote_literal(result(redacted)));
        format!("(SELECT {entry}::jsonb || jsonb_build_object('result', {result}::text, 'at', now()))")
    }

    /// Column and path of the audit entry, where it goes into the very row that is written.
    pub(super) fn own_entry(&self, target: &Target) -> Option<(&Column, &[String])> {
        match &self.model.audit {
            Some(AuditTarget::Column { column, path }) if target.is_own_row() => Some((column, path.as_slice())),
            _ => None,
        }
    }

    /// What undo gets of the rows of a write.
    pub(super) fn undo(&self, seq: usize, target: &Target, kind: Kind) -> Undo {
        let mut undo = Undo::new(self.ledger, seq, action(kind));
        undo.keys(&target.key);
        match kind {
            Kind::Update => {
                for (n, set) in target.updated() {
                    undo.column(&set.column.name, Some(n), Some(n));
                }
                if let Some((column, _)) = self.own_entry(target).filter(|(column, _)| target.set_of(&column.name).is_none()) {
                    undo.own_entry(self.model.writes.len(), &target.key, column);
                }
            }
            // Of the row as a whole: whatever the application changes in it, it stays.
            Kind::Insert => undo.column("*", None, Some(0)),
            Kind::Delete => {
                for (n, column) in target.keeps.iter().enumerate() {
                    undo.column(&column.name, Some(n), None);
                }
            }
        }
        undo
    }

    /// What undo gets of entries in rows that are not written themselves.
    pub(super) fn undo_of_entries(&self, column: &Column) -> Undo {
        let mut undo = Undo::new(self.ledger, self.model.writes.len(), "Entry");
        undo.keys(&self.model.source.key);
        undo.entry(column);
        undo
    }

    /// An entry for each written row, where the run keeps a table of them.
    pub(super) fn audit_table(&self, target: &Target, kind: Kind, from: &str) -> String {
        let Some(AuditTarget::Table(table)) = &self.model.audit else { return String::new() };
        let key = target.key.iter().enumerate().map(|(n, c)| format!("{}, w.k{n}", quote_literal(&c.name)));
        format!(
            ", a AS (INSERT INTO {table} (run, run_uid, plan_digest, table_name, key, action, result)
                 SELECT {run}, $1, {digest}, {name}, jsonb_build_object({key}), '{action}', w.result FROM {from} AS w{once})",
            // A row may lose a reference to each of two deleted ones: it is one row, and has one entry.
            once = if target.is_cleared() { " ON CONFLICT DO NOTHING" } else { "" },
            run = quote_literal(self.run),
            digest = quote_literal(self.plan_digest),
            name = quote_literal(&target.table.quoted()),
            key = key.collect::<Vec<_>>().join(", "),
            action = action(kind),
        )
    }
}

const fn action(kind: Kind) -> &'static str {
    match kind {
        Kind::Update => "Update",
        Kind::Insert => "Insert",
        Kind::Delete => "Delete",
    }
}

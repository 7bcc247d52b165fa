//! A check: one plain SELECT of the user.

use super::SqlError;
use super::functions::has_effects;
use super::judge::note;
use super::tree::{called, node, parse_one, says, walk};
use super::volatility::Calls;

/// One plain SELECT that changes nothing, as far as the grammar can tell; it runs READ ONLY all the same.
#[derive(Clone, Debug)]
pub struct CheckQuery {
    sql: String,
    calls: Calls,
}

impl CheckQuery {
    /// Reads one SELECT.
    ///
    /// # Errors
    /// [`SqlError`] where it is anything else, or writes, locks or calls what has effects.
    pub fn parse(text: &str) -> Result<Self, SqlError> {
        let (kind, tree) = parse_one(text)?;
        if kind != "SelectStmt" {
            return Err(SqlError::NotASelect);
        }
        let mut calls = Calls::default();
        walk(&tree, &mut |value| {
            if says(value, "into_clause") {
                return Err(SqlError::Into);
            }
            if says(value, "locking_clause") {
                return Err(SqlError::Locking);
            }
            let Some((kind, body)) = node(value) else { return Ok(()) };
            if kind == "FuncCall" {
                let (_, name) = called(body);
                if has_effects(&name) {
                    return Err(SqlError::SideEffect(name));
                }
            }
            note(kind, body, &mut calls);
            match kind {
                "ParamRef" => Err(SqlError::Parameter),
                "LockingClause" => Err(SqlError::Locking),
                other if other.ends_with("Stmt") && other != "SelectStmt" => Err(SqlError::DataModifying),
                _ => Ok(()),
            }
        })?;
        Ok(Self { sql: text.to_owned(), calls })
    }

    /// The statement, as the user wrote it.
    #[must_use]
    pub fn sql(&self) -> &str {
        &self.sql
    }

    /// Functions and operators that it calls.
    #[must_use]
    pub const fn calls(&self) -> &Calls {
        &self.calls
    }
}

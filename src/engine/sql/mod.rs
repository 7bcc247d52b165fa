//! What the user's SQL may be: decided by PostgreSQL's own grammar, before any of it reaches a server.
//!
//! An [`Expression`] is one scalar expression, a [`CheckQuery`] one plain SELECT, a [`SelectQuery`] one that reads rows
//! beside the source's, a [`TableName`] or a quoted column a name as PostgreSQL reads names. What the grammar cannot know
//! (is this function volatile, an aggregate, does that cast call one?) is asked of the catalogue by [`refuse_volatile`],
//! [`only_builtin`], [`casts_to_time`] and [`stored_as_time`]. Pure but for these.

mod builtin;
mod expression;
mod functions;
#[cfg(test)]
mod hostile;
mod identifier;
mod judge;
mod moment;
mod query;
mod select;
mod server;
mod tree;
mod volatility;

pub use builtin::{casts_to_time, only_builtin, stored_as_time};
pub use expression::{Expression, Place};
pub use identifier::{TableName, column_name, quote, quote_literal, type_name};
pub use query::CheckQuery;
pub use select::SelectQuery;
pub use volatility::{Calls, refuse_volatile};

use thiserror::Error;

/// Why a piece of the user's SQL is refused. The message says what to change; it never holds a row's value.
#[derive(Debug, Error)]
pub enum SqlError {
    /// PostgreSQL's grammar does not accept it.
    #[error("PostgreSQL cannot read it: {0}")]
    Syntax(String),
    /// More than one statement.
    #[error("it holds more than one statement: leave exactly one, without a semicolon")]
    SeveralStatements,
    /// Not exactly one expression.
    #[error("it must be exactly one expression, without alias, FROM, WHERE, ORDER BY or a second column")]
    NotOneExpression,
    /// A check that is no SELECT.
    #[error("it must be one SELECT")]
    NotASelect,
    /// A sub-select.
    #[error("sub-selects are not allowed here: rows of other tables will come through source.joins")]
    SubSelect,
    /// A parameter such as `$1`.
    #[error("parameters such as $1 are not allowed: write the value")]
    Parameter,
    /// An aggregate.
    #[error("the aggregate {0} is not allowed: the expression sees one row")]
    Aggregate(String),
    /// A window function.
    #[error("the window function {0} is not allowed: the expression sees one row (source.pick chooses one row of a group)")]
    Window(String),
    /// A set-returning function.
    #[error("{0} returns several rows: an expression must return one value")]
    SetReturning(String),
    /// A star.
    #[error("a star is not allowed: name the columns")]
    Star,
    /// A function that does more than compute.
    #[error("the function {0} has effects beyond its value, or reads beyond the row: it is refused")]
    SideEffect(String),
    /// A volatile function.
    #[error("the function {0} is VOLATILE: its value at apply may differ from the planned one; declare it IMMUTABLE or STABLE if it is")]
    Volatile(String),
    /// A value that depends on who asks.
    #[error("{0} depends on the session: plan and apply may run as different roles; write the value itself")]
    SessionDependent(String),
    /// A value of the moment where rows are chosen.
    #[error("{0} is refused here: plan and apply would choose different rows; write the moment as a literal")]
    MomentDependent(String),
    /// A word like 'today' that the server turns into a moment.
    #[error(
        "the literal '{0}' may be a moment in disguise: use now() or current_date in set, write the moment itself, or, where the word is meant, cast it: '{0}'::text"
    )]
    DateWord(String),
    /// Valid SQL that is not supported in an expression.
    #[error("{0} is not supported in an expression")]
    Unsupported(String),
    /// SELECT INTO.
    #[error("SELECT INTO creates a table: leave INTO out")]
    Into,
    /// FOR UPDATE and kin.
    #[error("FOR UPDATE and FOR SHARE lock rows: leave them out")]
    Locking,
    /// A CTE that writes.
    #[error("INSERT, UPDATE, DELETE and MERGE are not allowed inside WITH")]
    DataModifying,
    /// A name that is no table or column.
    #[error("{0:?} is not a name as PostgreSQL writes names: expected {1}")]
    Name(String, &'static str),
    /// The catalogue could not be asked.
    #[error("the catalogue could not be read: {0}")]
    Database(#[from] sqlx::Error),
}

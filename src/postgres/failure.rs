//! What may be said about an error of the database: never a row's value, never a connection string.

use sqlx::postgres::PgDatabaseError;

/// Classes of SQLSTATE whose messages name objects and rules, not values: connection, features, constraints,
/// transactions, roles, catalogues, deadlocks, syntax and names, resources, limits, prerequisites, operators.
const SHOWN: &[&str] = &["08", "0A", "23", "25", "26", "28", "2B", "3D", "3F", "40", "42", "53", "54", "55", "57"];

/// SQLSTATE of the error, where the server sent one.
#[must_use]
pub fn sqlstate(error: &sqlx::Error) -> Option<String> {
    error.as_database_error().and_then(sqlx::error::DatabaseError::code).map(std::borrow::Cow::into_owned)
}

/// True where the connection gave way (or the server is going down or starting), so that trying again may help and
/// nothing is known about the statement in hand.
#[must_use]
pub fn is_connection_loss(error: &sqlx::Error) -> bool {
    match error {
        sqlx::Error::Io(_)
        | sqlx::Error::Protocol(_)
        | sqlx::Error::WorkerCrashed
        | sqlx::Error::PoolTimedOut
        | sqlx::Error::PoolClosed => true,
        _ => sqlstate(error).is_some_and(|code| is_loss_code(&code)),
    }
}

/// True where asking again may help by itself: the connection gave way, or the statement did to others (serialization,
/// deadlock, lock timeout), to its time, to memory that they may give back or that a smaller batch does not need, or to a
/// server that is read-only because it is just being replaced.
#[must_use]
pub fn may_pass(error: &sqlx::Error) -> bool {
    let transient = |code: String| ["40001", "40P01", "55P03", "57014", "53200", "25006"].contains(&code.as_str());
    is_connection_loss(error) || sqlstate(error).is_some_and(transient)
}

/// 08: connection exception. 57P01 to 57P05: shutdown, crash, cannot connect now, dropped, idle timeout. 53300: no
/// connection left. 25P03: idle in transaction for too long. A full disk (53100) needs a person.
fn is_loss_code(code: &str) -> bool {
    code.starts_with("08") || code.starts_with("57P0") || code == "53300" || code == "25P03"
}

/// The error in words that may be shown.
#[must_use]
pub fn describe(error: &sqlx::Error) -> String {
    if let Some(database) = error.as_database_error() {
        let code = database.code().unwrap_or_default();
        if database.try_downcast_ref::<PgDatabaseError>().and_then(PgDatabaseError::file).is_some_and(is_of_a_language) {
            return format!("SQLSTATE {code}, raised by a function, whose text is not shown because it may quote a row");
        }
        return shown(&code, database.message());
    }
    match error {
        sqlx::Error::Io(error) => format!("the connection was lost: {}", error.kind()),
        sqlx::Error::Tls(_) => "TLS failed".into(),
        sqlx::Error::RowNotFound => "the query returned no row".into(),
        sqlx::Error::ColumnDecode { index, .. } => format!("the column {index} has another type than expected"),
        sqlx::Error::Protocol(_) => "the server broke the protocol".into(),
        _ => "the database driver failed".into(),
    }
}

/// True for the source file of a procedural language (`pl_exec.c`, `plpy_elog.c`, `plperl.c`), in which functions raise what errors
/// they like, of whichever class; `plancat.c` and the like are the planner's.
fn is_of_a_language(file: &str) -> bool {
    file.starts_with("pl") && !file.starts_with("plan")
}

/// A server's message with its SQLSTATE, or the SQLSTATE alone where messages of its class may quote a row: data
/// exceptions (22), errors raised by functions (P0), and all that is not listed.
pub(super) fn shown(code: &str, message: &str) -> String {
    if SHOWN.iter().any(|class| code.starts_with(class)) {
        format!("{message} (SQLSTATE {code})")
    } else {
        format!("SQLSTATE {code}, whose text is not shown because it may quote a row")
    }
}

//! What may be said about an error of the database: never a row's value, never a connection string.

/// SQLSTATE of the error, where the server sent one.
#[must_use]
pub fn sqlstate(error: &sqlx::Error) -> Option<String> {
    error.as_database_error().and_then(|e| e.code()).map(std::borrow::Cow::into_owned)
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
        // 08: connection exception. 57P01 to 57P05: shutdown, crash, cannot connect now, dropped, idle timeout. 53: no
        // memory, disk or connections left. 58: the server's own input and output. 25P03: idle in transaction for too long.
        _ => sqlstate(error)
            .is_some_and(|c| c.starts_with("08") || c.starts_with("57P0") || c.starts_with("53") || c == "58000" || c == "25P03"),
    }
}

/// The error in words that may be shown. Messages of classes 22 (data exceptions), P0 (raised by functions) and other
/// classes quote values of rows, so only their code is told.
#[must_use]
pub fn describe(error: &sqlx::Error) -> String {
    if let Some(database) = error.as_database_error() {
        let code = database.code().unwrap_or_default();
        let shown = ["08", "0A", "23", "25", "26", "28", "2B", "3D", "3F", "40", "42", "53", "54", "55", "57"];
        return if shown.iter().any(|class| code.starts_with(class)) {
            format!("{} (SQLSTATE {code})", database.message())
        } else {
            format!("SQLSTATE {code}; its text may quote a row, so it is not shown")
        };
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

//! Connection URIs as libpq reads them, as far as one server needs it.

use super::credentials::CredentialsError;

/// What a URI says; all of it may be missing.
#[derive(Default)]
pub(super) struct UriParts {
    pub host: Option<String>,
    pub port: Option<String>,
    pub database: Option<String>,
    pub username: Option<String>,
    pub password: Option<String>,
}

/// True for `postgres://`, `postgresql://` and driver variants such as `postgresql+psycopg://`.
pub(super) fn is_postgres(text: &str) -> bool {
    text.split_once("://").is_some_and(|(scheme, _)| {
        let scheme = scheme.split('+').next().unwrap_or_default();
        scheme.eq_ignore_ascii_case("postgres") || scheme.eq_ignore_ascii_case("postgresql")
    })
}

/// Takes a URI apart. No error shows any of it: a password may be anywhere in a malformed one.
pub(super) fn parse(text: &str) -> Result<UriParts, CredentialsError> {
    let malformed = |what: &'static str| CredentialsError::UriMalformed { what };
    if !is_postgres(text) {
        return Err(malformed("it does not begin with postgresql://"));
    }
    let (_, rest) = text.split_once("://").unwrap_or_default();
    let (rest, query) = rest.split_once('?').unwrap_or((rest, ""));
    let (authority, path) = rest.split_once('/').unwrap_or((rest, ""));
    // A user's name or password may hold a bare `@`; a host never does.
    let (user, address) = authority.rsplit_once('@').unwrap_or(("", authority));
    let (username, password) = match user.split_once(':') {
        Some((name, password)) => (name, Some(password)),
        None => (user, None),
    };
    let (host, port) = split_address(address);
    let mut parts = UriParts {
        host: decoded(host)?,
        port: decoded(port)?,
        database: decoded(path)?,
        username: decoded(username)?,
        password: password.map(decoded).transpose()?.flatten(),
    };
    for pair in query.split('&').filter(|p| !p.is_empty()) {
        let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
        let field = match key {
            "host" => &mut parts.host,
            "port" => &mut parts.port,
            "dbname" => &mut parts.database,
            "user" => &mut parts.username,
            "password" => &mut parts.password,
            // Settings of the driver (sslmode, pool sizes, …): the run's spec says how to connect.
            _ => continue,
        };
        *field = decoded(value)?;
    }
    if parts.host.as_deref().is_some_and(|h| h.contains(',')) || parts.port.as_deref().is_some_and(|p| p.contains(',')) {
        return Err(malformed("it names several hosts; name the one that accepts writes"));
    }
    Ok(parts)
}

/// Host and database of a text that is a PostgreSQL URI; `None` where it is none.
#[must_use]
pub fn uri_target(text: &str) -> Option<(Option<String>, Option<String>)> {
    parse(text).ok().map(|parts| (parts.host, parts.database))
}

/// `host:port`, `[::1]:port`, or either alone.
fn split_address(address: &str) -> (&str, &str) {
    if let Some(rest) = address.strip_prefix('[')
        && let Some((host, tail)) = rest.split_once(']')
    {
        return (host, tail.strip_prefix(':').unwrap_or_default());
    }
    address.rsplit_once(':').unwrap_or((address, ""))
}

/// Percent-decodes; empty is missing.
fn decoded(text: &str) -> Result<Option<String>, CredentialsError> {
    let malformed = || CredentialsError::UriMalformed { what: "a percent sign in it is not followed by two hex digits; write % as %25" };
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        if byte == b'%' {
            let (Some(high), Some(low)) = (rest.next().and_then(hex_digit), rest.next().and_then(hex_digit)) else {
                return Err(malformed());
            };
            bytes.push(high * 16 + low);
        } else {
            bytes.push(byte);
        }
    }
    let text = String::from_utf8(bytes).map_err(|_| CredentialsError::UriMalformed { what: "it is not UTF-8" })?;
    Ok((!text.is_empty()).then_some(text))
}

fn hex_digit(byte: u8) -> Option<u8> {
    char::from(byte).to_digit(16).and_then(|d| u8::try_from(d).ok())
}

#[cfg(test)]
mod tests {
    use super::parse;

    fn parts(text: &str) -> [Option<String>; 5] {
        let parts = parse(text).unwrap();
        [parts.host, parts.port, parts.database, parts.username, parts.password]
    }

    fn some<const N: usize>(texts: [&str; N]) -> [Option<String>; N] {
        texts.map(|t| (!t.is_empty()).then(|| t.to_owned()))
    }

    #[test]
    fn every_usual_shape_of_a_uri_is_read() {
        for (text, expected) in [
            ("postgresql://app:s3cret@db-rw.ns:5433/app", ["db-rw.ns", "5433", "app", "app", "s3cret"]),
            ("postgres://app:p%40ss%2Fw%25@db/app?sslmode=require", ["db", "", "app", "app", "p@ss/w%"]),
            ("postgresql+psycopg://app:a@b:c@db/app", ["db", "", "app", "app", "a@b:c"]),
            ("postgresql://app:x@[::1]:5432/app", ["::1", "5432", "app", "app", "x"]),
            ("postgresql:///app?host=/run/pg&user=u&password=p", ["/run/pg", "", "app", "u", "p"]),
            ("postgresql://db", ["db", "", "", "", ""]),
        ] {
            assert_eq!(parts(text), some(expected), "{text}");
        }
    }

    #[test]
    fn a_malformed_uri_is_refused_without_being_shown() {
        for text in
            ["jdbc:postgresql://db/app?password=hunter2", "postgresql://u:hunter2%zz@db/app", "postgresql://u:hunter2@a,b/app", "hunter2"]
        {
            let message = parse(text).err().unwrap().to_string();
            assert!(!message.contains("hunter2"), "{message}");
        }
    }
}

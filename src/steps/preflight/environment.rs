//! The workload's environment against what the run expects: match or no match, never the value.

use super::findings::Findings;
use crate::api::spec::{EnvironmentCheck, EnvironmentMatch};
use crate::postgres::{Credentials, uri_target};
use crate::steps::StepContext;

pub(super) fn check(context: &StepContext, credentials: &Credentials, findings: &mut Findings) {
    let Some(preflight) = &context.input.spec.preflight else { return };
    for wanted in &preflight.environment {
        let name = format!("environment:{}", wanted.name);
        match value(context, &wanted.name) {
            None => findings.failed(&name, "the workload's container does not set it"),
            Some(actual) if matches(wanted, &actual, credentials, &context.input.run.namespace) => findings.passed(&name, "match"),
            Some(_) => findings.failed(&name, format!("no match: it is not {}", expected(wanted))),
        }
    }
}

/// Literal values come with the input, those from Secrets as files, so that they never pass through the controller.
fn value(context: &StepContext, name: &str) -> Option<String> {
    if let Some(value) = context.input.environment.get(name) {
        return Some(value.clone());
    }
    let text = std::fs::read_to_string(context.paths.environment.join(name)).ok()?;
    Some(text.trim_end_matches(['\r', '\n']).to_owned())
}

const fn expected(wanted: &EnvironmentCheck) -> &'static str {
    match wanted.matches {
        Some(EnvironmentMatch::Database) => "the database of spec.database",
        Some(EnvironmentMatch::Host) => "the host of spec.database",
        None => "the value that spec.preflight.environment wants",
    }
}

fn matches(wanted: &EnvironmentCheck, actual: &str, credentials: &Credentials, namespace: &str) -> bool {
    let (host, database) = uri_target(actual).unwrap_or_else(|| (Some(actual.to_owned()), Some(actual.to_owned())));
    match wanted.matches {
        Some(EnvironmentMatch::Database) => database.as_deref() == Some(credentials.database.as_str()),
        Some(EnvironmentMatch::Host) => host.is_some_and(|host| whole(&host, namespace) == whole(&credentials.host, namespace)),
        None => wanted.value.as_deref() == Some(actual),
    }
}

/// A Service has many names: `db`, `db.staging`, `db.staging.svc`, `db.staging.svc.cluster.local`, with or without a
/// port. All become `db.staging`.
fn whole(host: &str, namespace: &str) -> String {
    let host = host.trim().trim_end_matches('.').to_ascii_lowercase();
    let host = match host.rsplit_once(':') {
        Some((name, port)) if !name.contains(':') && !port.is_empty() && port.chars().all(|c| c.is_ascii_digit()) => name,
        _ => host.as_str(),
    };
    let short = host.split_once(".svc").map_or(host, |(name, rest)| if rest.is_empty() || rest.starts_with('.') { name } else { host });
    let is_address = short.contains(':') || short.split('.').all(|part| part.parse::<u8>().is_ok());
    if short.contains('.') || is_address || short == "localhost" { short.to_owned() } else { format!("{short}.{namespace}") }
}

#[cfg(test)]
mod tests {
    use super::*;
    use secrecy::SecretString;

    fn holds(wanted: Option<EnvironmentMatch>, value: Option<&str>, actual: &str) -> bool {
        let credentials = Credentials {
            host: "db-rw.staging.svc".into(),
            port: 5432,
            database: "shop".into(),
            username: "u".into(),
            password: SecretString::from("p".to_owned()),
        };
        let check = EnvironmentCheck { name: "X".into(), value: value.map(str::to_owned), matches: wanted };
        matches(&check, actual, &credentials, "staging")
    }

    #[test]
    fn a_host_is_known_by_each_of_its_names() {
        let host = Some(EnvironmentMatch::Host);
        for name in ["db-rw", "db-rw.staging", "DB-RW.staging.svc.cluster.local", "db-rw:5432", "postgres://a:b@db-rw.staging:5432/x"] {
            assert!(holds(host, None, name), "{name}");
        }
        for name in ["db-ro", "db-rw.production", "10.0.0.7", "postgres://a:b@db-rw.production/shop", ""] {
            assert!(!holds(host, None, name), "{name}");
        }
    }

    #[test]
    fn a_database_is_known_by_its_name_or_in_a_uri() {
        let database = Some(EnvironmentMatch::Database);
        assert!(holds(database, None, "shop"));
        assert!(holds(database, None, "postgresql://a:b@anywhere/shop?sslmode=require"));
        assert!(!holds(database, None, "shop_production"));
        assert!(holds(None, Some("staging"), "staging") && !holds(None, Some("staging"), "production"));
    }
}

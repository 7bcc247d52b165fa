//! The database of a case, asked as its superuser, past the operator.

use crate::cluster::Cluster;
use crate::lab::{SERVER, lab};

/// A database on a server of the lab.
#[derive(Clone, Debug)]
pub struct Database {
    /// Namespace of the server.
    pub server: String,
    /// Its name.
    pub name: String,
}

impl Database {
    /// Runs SQL and returns what it prints: a row a line, `|` between columns.
    pub fn sql(&self, sql: &str) -> String {
        psql(&lab().cluster, &self.server, &self.name, sql).unwrap_or_else(|complaint| panic!("{sql}: {complaint}"))
    }

    /// One whole number.
    pub fn count(&self, sql: &str) -> i64 {
        let answer = self.sql(sql);
        answer.parse().unwrap_or_else(|_| panic!("{sql}: {answer:?} is no number"))
    }

    /// A checksum of expressions over the rows of a table, in the order of `id`.
    pub fn checksum(&self, expressions: &str, table: &str) -> String {
        self.sql(&format!("SELECT md5(coalesce(string_agg(ROW({expressions})::text, '|' ORDER BY id), '')) FROM {table} t"))
    }
}

/// On a server that outlived an earlier suite its databases are dropped, by a pattern of their names.
pub fn drop_all(cluster: &Cluster, pattern: &str) -> Result<(), String> {
    let drop = format!(r"SELECT format('DROP DATABASE %I WITH (FORCE)', datname) FROM pg_database WHERE datname LIKE '{pattern}' \gexec");
    psql(cluster, SERVER, "postgres", &drop).map(|_| ())
}

fn psql(cluster: &Cluster, server: &str, database: &str, sql: &str) -> Result<String, String> {
    let psql = ["psql", "--no-psqlrc", "--quiet", "--no-align", "--tuples-only", "--set", "ON_ERROR_STOP=1", "--username", "postgres"];
    let mut arguments = vec!["--namespace", server, "exec", "--stdin", "deployment/postgres", "--"];
    arguments.extend(psql);
    arguments.extend(["--dbname", database]);
    cluster.try_kubectl(&arguments, sql).map(|text| text.trim_end().to_owned())
}

//! A table, its rows and a backfill over it, all of them drawn from a seed.

use crate::harness::Bench;
use rand::Rng as _;
use rand::rngs::StdRng;
use rand::seq::IndexedRandom as _;
use sqlx::{AssertSqlSafe, Row as _};
use std::collections::BTreeMap;

/// Rows by their keys, as texts.
pub type State = BTreeMap<Vec<String>, Vec<Option<String>>>;

/// A type of a column: values to begin with, expressions over the first key column that it may be set to, and a value of
/// the application (`#`: its number), which is none of the others.
struct Kind {
    name: &'static str,
    values: &'static [&'static str],
    sets: &'static [&'static str],
    application: &'static str,
}

const KINDS: &[Kind] = &[
    Kind {
        name: "text",
        values: &["", "a", "NULL", "ä \"'\\", "{x}"],
        sets: &["'n' || s.k0::text", "lower(s.k0::text)", "NULL", "'a'"],
        application: "app #",
    },
    Kind {
        name: "int",
        values: &["0", "-7", "2147483647"],
        sets: &["length(s.k0::text) * 3", "ascii(s.k0::text)", "NULL"],
        application: "-1000#",
    },
    Kind {
        name: "numeric",
        values: &["1.0", "1.00", "NaN", "-3.25"],
        sets: &["length(s.k0::text) / 7.0", "1.000"],
        application: "1000#.5",
    },
    Kind { name: "numeric(8,2)", values: &["1", "-5.55"], sets: &["length(s.k0::text) / 7.0", "NULL"], application: "1#.5" },
    Kind {
        name: "float8",
        values: &["0.1", "-0", "NaN", "1e300"],
        sets: &["length(s.k0::text) / 3.0", "'Infinity'"],
        application: "1000#.5",
    },
    Kind { name: "boolean", values: &["true", "false"], sets: &["length(s.k0::text) % 2 = 0", "true"], application: "" },
    Kind {
        name: "jsonb",
        values: &["{}", "null", "{\"a\": [1, \"x\"]}"],
        sets: &["jsonb_build_object('k', s.k0::text)", "to_jsonb(s.k0)", "'[]'"],
        application: "{\"app\": #}",
    },
    Kind {
        name: "json",
        values: &["{ }", "{\"a\":1,\"a\":2}"],
        sets: &["json_build_object('k', s.k0::text)"],
        application: "{\"app\":  #}",
    },
    Kind {
        name: "timestamptz",
        values: &["infinity", "2026-01-01 00:00:00.000001+00"],
        sets: &["timestamptz '2026-06-01 00:00+00' + length(s.k0::text) * interval '1 hour'", "NULL"],
        application: "1900-01-01 00:#:00+00",
    },
    Kind {
        name: "text[]",
        values: &["{}", "{NULL,\"a,b\"}", "{{x},{y}}"],
        sets: &["ARRAY[s.k0::text, NULL]", "'{}'"],
        application: "{app,#}",
    },
    Kind { name: "bytea", values: &["", "\\x00ff"], sets: &["decode(md5(s.k0::text), 'hex')"], application: "app #" },
    Kind {
        name: "uuid",
        values: &["00000000-0000-0000-0000-000000000000"],
        sets: &["md5(s.k0::text)::uuid", "NULL"],
        application: "aaaaaaaa-0000-4000-8000-0000000010#",
    },
    Kind {
        name: "int4range",
        values: &["empty", "[1,5)"],
        sets: &["int4range(0, length(s.k0::text) + 1)", "'(,)'"],
        application: "[-1000,-5#)",
    },
    Kind { name: "point", values: &["(0,0)", "(1,-1)"], sets: &["point(length(s.k0::text), 2)"], application: "(-1000,#)" },
    Kind { name: "varchar(20)", values: &["", "ß"], sets: &["left(s.k0::text, 19)", "'x'"], application: "app #" },
    Kind {
        name: "interval",
        values: &["1 mon", "30 days"],
        sets: &["length(s.k0::text) * interval '1 day'", "interval '720 hours'"],
        application: "-# years",
    },
];

/// Types of key columns: how the n-th value is written. All are at least as long as they are different.
const KEYS: &[(&str, &str)] = &[
    ("int", "#"),
    ("bigint", "-900000#"),
    ("text", "k # ä"),
    ("text COLLATE \"de-x-icu\"", "ß-#"),
    ("text COLLATE \"C\"", "Z\"'#\\"),
    ("varchar(12)", "v#"),
    ("uuid", "bbbbbbbb-0000-4000-8000-00000000#"),
    ("numeric(10,2)", "#.50"),
    ("date", "#-02-03"),
    ("bytea", "\\x#"),
];

/// A table `r` with key columns `k0`… and columns `c0`…, and a backfill that sets some of them.
pub struct Case {
    keys: Vec<(&'static str, &'static str)>,
    columns: Vec<&'static Kind>,
    /// By column: what it is set to.
    sets: BTreeMap<usize, String>,
    filter: Option<String>,
    rows: u32,
}

impl Case {
    pub fn random(rng: &mut StdRng) -> Self {
        let keys = (0..rng.random_range(1..4)).map(|_| *KEYS.choose(rng).unwrap()).collect();
        let columns: Vec<&Kind> = (0..rng.random_range(2..7)).map(|_| KINDS.choose(rng).unwrap()).collect();
        let mut sets = BTreeMap::new();
        for _ in 0..rng.random_range(1..columns.len()) {
            let column = rng.random_range(0..columns.len());
            sets.insert(column, (*columns[column].sets.choose(rng).unwrap()).to_owned());
        }
        let filter = match rng.random_range(0..3) {
            0 => Some("length(s.k0::text) > 0 AND hashtext(s.k0::text) % 3 <> 0".to_owned()),
            1 => Some("true".to_owned()),
            _ => None,
        };
        Self { keys, columns, sets, filter, rows: rng.random_range(1..120) }
    }

    pub fn is_set(&self, column: usize) -> bool {
        self.sets.contains_key(&column)
    }

    pub fn type_of(&self, column: usize) -> &'static str {
        self.columns[column].name
    }

    fn key(&self, row: u32) -> Vec<String> {
        self.keys.iter().map(|(_, pattern)| pattern.replace('#', &format!("{:04}", row + 1000))).collect()
    }

    /// A key that no row of the beginning has; spelled as the server would.
    pub fn new_key(&self, count: u32) -> Vec<String> {
        self.key(5000 + count)
    }

    fn literal(text: &str, kind: &str) -> String {
        format!("'{}'::{kind}", text.replace('\'', "''"))
    }

    fn bare(kind: &'static str) -> &'static str {
        kind.split(" COLLATE").next().unwrap_or(kind)
    }

    /// A condition that names one row.
    pub fn key_is(&self, key: &[String]) -> String {
        let parts = self.keys.iter().zip(key).enumerate();
        parts
            .map(|(n, ((kind, _), value))| format!("s.k{n} = {}", Self::literal(value, Self::bare(kind))))
            .collect::<Vec<_>>()
            .join(" AND ")
    }

    pub fn insert(&self, key: &[String], rng: &mut StdRng) -> String {
        let keys = self.keys.iter().zip(key).map(|((kind, _), value)| Self::literal(value, Self::bare(kind)));
        let values = self.columns.iter().map(|kind| match kind.values.choose(rng) {
            Some(value) if rng.random_bool(0.8) => Self::literal(value, kind.name),
            _ => "NULL".to_owned(),
        });
        format!("INSERT INTO r VALUES ({})", keys.chain(values).collect::<Vec<_>>().join(", "))
    }

    pub fn setup(&self, rng: &mut StdRng) -> String {
        let keys = self.keys.iter().enumerate().map(|(n, (kind, _))| format!("k{n} {kind}"));
        let columns = self.columns.iter().enumerate().map(|(n, kind)| format!("c{n} {}", kind.name));
        let key: Vec<String> = (0..self.keys.len()).map(|n| format!("k{n}")).collect();
        let table = format!("CREATE TABLE r ({}, PRIMARY KEY ({}))", keys.chain(columns).collect::<Vec<_>>().join(", "), key.join(", "));
        std::iter::once(table).chain((0..self.rows).map(|row| self.insert(&self.key(row), rng))).collect::<Vec<_>>().join(";\n")
    }

    pub fn spec(&self, rng: &mut StdRng) -> String {
        let set: BTreeMap<String, &String> = self.sets.iter().map(|(column, value)| (format!("c{column}"), value)).collect();
        let mut source = serde_json::json!({"table": "r"});
        if let Some(filter) = &self.filter {
            source["where"] = filter.as_str().into();
        }
        serde_json::json!({"source": source, "writes": [{"set": set}], "batch": {"size": rng.random_range(1..20)}, "drift": {"maxPercent": 100}}).to_string()
    }

    /// A column that the application may set to a value that cannot be mistaken.
    pub fn column_of_the_application(&self, rng: &mut StdRng) -> Option<usize> {
        let columns: Vec<usize> = (0..self.columns.len()).filter(|n| !self.columns[*n].application.is_empty()).collect();
        columns.choose(rng).copied()
    }

    /// The value as SQL, and as the server will show it.
    pub fn value_of_the_application(&self, column: usize, count: u32) -> (String, String) {
        let kind = self.columns[column];
        let text = kind.application.replace('#', &format!("{:02}", count + 10));
        let shown = match kind.name {
            "bytea" => format!("\\x{}", hex::encode(&text)),
            "numeric(8,2)" => format!("{text}0"),
            "int4range" | "text" | "int" | "numeric" | "float8" | "jsonb" | "json" | "timestamptz" | "text[]" | "uuid" | "point"
            | "varchar(20)" | "interval" => text.clone(),
            other => panic!("{other} has no value of the application"),
        };
        (Self::literal(&text, kind.name), shown)
    }

    async fn rows(bench: &Bench, sql: String) -> State {
        let mut connection = bench.connect().await;
        let rows = sqlx::query(AssertSqlSafe(sql)).fetch_all(&mut connection).await.unwrap();
        rows.iter().map(|row| (row.get(0), row.get(1))).collect()
    }

    fn texts(prefix: &str, count: usize) -> String {
        (0..count).map(|n| format!("s.{prefix}{n}::text")).collect::<Vec<_>>().join(", ")
    }

    /// All rows of a table, with their keys spelled as this test spells them.
    pub async fn state(&self, bench: &Bench, table: &str) -> State {
        let (keys, columns) = (Self::texts("k", self.keys.len()), Self::texts("c", self.columns.len()));
        Self::rows(bench, format!("SELECT ARRAY[{keys}], ARRAY[{columns}] FROM {table} s")).await
    }

    /// The rows that one statement would change, as it would leave them.
    pub async fn planned(&self, bench: &Bench) -> State {
        let new = (0..self.columns.len()).map(|n| match self.sets.get(&n) {
            Some(value) => format!("(({value})::{})::text", self.columns[n].name),
            None => format!("s.c{n}::text"),
        });
        let new = format!("ARRAY[{}]::text[]", new.collect::<Vec<_>>().join(", "));
        let (keys, old) = (Self::texts("k", self.keys.len()), Self::texts("c", self.columns.len()));
        let filter = self.filter.as_deref().unwrap_or("true");
        Self::rows(bench, format!("SELECT ARRAY[{keys}], {new} FROM r s WHERE ({filter}) AND {new} IS DISTINCT FROM ARRAY[{old}]")).await
    }
}

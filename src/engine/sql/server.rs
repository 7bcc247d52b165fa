//! What an expression's value takes from the server that evaluates it: its locale, its dictionaries, its time zones.
//!
//! A digest over such values is the same at plan and apply, which ask one server; on another server it may not be, and
//! nobody shall claim so. Marked is what is written and known by its name. Not marked, because it depends on types that
//! the grammar does not know, or because nearly every text would be: comparisons, ORDER BY, min and max of texts under a
//! column's own collation; text @@ text; the spelling of zones inside of literals.

use super::tree::{called, node, strings};
use serde_json::Value;

/// By the locale (the C library's or ICU's rules, and the version of Unicode that they know).
const LOCALE: &[&str] = &[
    "lower",
    "upper",
    "initcap",
    "casefold",
    "to_char",
    "to_number",
    "to_date",
    "normalize",
    "is_normalized",
    "unicode_assigned",
    "unicode_version",
    "icu_unicode_version",
    "iclike",
    "icnlike",
    "texticlike",
    "texticnlike",
    "texticregexeq",
    "texticregexne",
];

/// By text search configurations and dictionaries.
const TEXT_SEARCH: &[&str] = &[
    "to_tsvector",
    "json_to_tsvector",
    "jsonb_to_tsvector",
    "to_tsquery",
    "plainto_tsquery",
    "phraseto_tsquery",
    "websearch_to_tsquery",
    "ts_headline",
    "ts_lexize",
    "ts_parse",
    "ts_debug",
    "ts_token_type",
    "get_current_ts_config",
    "ts_match_tt",
    "ts_match_tq",
];

/// By files or settings of an extension.
const EXTENSIONS: &[&str] =
    &["unaccent", "similarity", "word_similarity", "strict_word_similarity", "show_trgm", "show_limit", "similarity_dist", "st_transform"];

/// By the encoding of the database, the version of the server, the build of libxml, or how a value happens to be stored.
const BUILD: &[&str] = &[
    "chr",
    "ascii",
    "to_ascii",
    "convert",
    "convert_from",
    "convert_to",
    "quote_ident",
    "hashtext",
    "hashtextextended",
    "hash_array",
    "hash_record",
    "jsonb_hash",
    "xpath",
    "xpath_exists",
    "xmlexists",
    "xslt_process",
    "xml_is_well_formed",
    "pg_column_size",
    "pg_size_pretty",
];

/// Of `double precision`: the last bit is the C library's. Those that `numeric` has, too (`exp`, `ln`, `power`), are not marked.
const FLOATING: &[&str] = &[
    "sin", "sind", "cos", "cosd", "tan", "tand", "cot", "cotd", "asin", "asind", "acos", "acosd", "atan", "atand", "atan2", "atan2d",
    "sinh", "cosh", "tanh", "asinh", "acosh", "atanh", "cbrt", "erf", "erfc", "gamma", "lgamma",
];

/// Take a pattern as their second argument.
const PATTERNS: &[&str] = &[
    "regexp_count",
    "regexp_instr",
    "regexp_like",
    "regexp_match",
    "regexp_matches",
    "regexp_replace",
    "regexp_split_to_array",
    "regexp_split_to_table",
    "regexp_substr",
];

/// What physical storage has given the row.
const SYSTEM_COLUMNS: &[&str] = &["tableoid", "ctid", "xmin", "xmax", "cmin", "cmax"];

/// Collations whose order and case are the same everywhere.
const SAME_EVERYWHERE: &[&str] = &["C", "POSIX", "ucs_basic"];

/// What of one node depends on the server, by its name; nothing where it does not.
pub(super) fn server_dependence(kind: &str, body: &Value) -> Option<String> {
    match kind {
        "FuncCall" => function(body),
        "AExpr" => operator(body),
        "CollateClause" => {
            let name = strings(body.get("collname")).pop()?;
            (!SAME_EVERYWHERE.contains(&name.as_str())).then(|| format!("COLLATE \"{name}\""))
        }
        "ColumnRef" => strings(body.get("fields")).pop().filter(|name| SYSTEM_COLUMNS.contains(&name.as_str())),
        _ => None,
    }
}

fn function(body: &Value) -> Option<String> {
    let (_, name) = called(body);
    let arguments = body.get("args").and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
    let depends = match name.as_str() {
        // Only the form that reads a text: the other counts seconds.
        "to_timestamp" => arguments.len() > 1,
        // AT TIME ZONE: the zone is the first argument; the server's tables of zones change each year.
        "timezone" => !arguments.first().and_then(literal).is_some_and(is_fixed_zone),
        "date_trunc" => arguments.get(2).is_some_and(|zone| !literal(zone).is_some_and(is_fixed_zone)),
        "make_timestamptz" => arguments.get(6).is_some_and(|zone| !literal(zone).is_some_and(is_fixed_zone)),
        name if PATTERNS.contains(&name) => {
            arguments.len() > 2 && name != "regexp_replace" || !arguments.get(1).is_some_and(is_plain_pattern)
        }
        name => [LOCALE, TEXT_SEARCH, EXTENSIONS, BUILD, FLOATING].iter().any(|list| list.contains(&name)),
    };
    depends.then_some(name)
}

/// ILIKE and matches without case fold by the locale; `~` only where its pattern names a class of characters.
fn operator(body: &Value) -> Option<String> {
    let name = strings(body.get("name")).pop()?;
    let depends = match name.as_str() {
        "~~*" | "!~~*" | "~*" | "!~*" | "<%" | "%>" | "<<%" | "%>>" => true,
        "~" | "!~" => !body.get("rexpr").is_some_and(is_plain_pattern),
        _ => false,
    };
    depends.then(|| if name.ends_with("~~*") { "ILIKE".to_owned() } else { name })
}

fn literal(value: &Value) -> Option<&str> {
    match node(value)? {
        ("AConst", body) => body.pointer("/val/Sval/sval")?.as_str(),
        ("TypeCast", body) => literal(body.get("arg")?),
        _ => None,
    }
}

/// A pattern that is written out, and names no class (`\w`, `[[:alpha:]]`) or word boundary.
fn is_plain_pattern(value: &Value) -> bool {
    let class = ["\\w", "\\W", "\\d", "\\D", "\\s", "\\S", "\\m", "\\M", "\\y", "\\Y", "[[:", "[:", "[=", "[.", "(?i", "***"];
    literal(value).is_some_and(|pattern| !class.iter().any(|c| pattern.contains(c)))
}

fn is_fixed_zone(zone: &str) -> bool {
    matches!(zone.to_uppercase().as_str(), "UTC" | "GMT" | "Z" | "ZULU" | "ETC/UTC") || zone.starts_with(['+', '-'])
}

#[cfg(test)]
mod tests {
    use crate::engine::sql::{Expression, Place, SelectQuery};

    #[test]
    fn what_depends_on_the_server_is_named() {
        for (text, named) in [
            ("lower(s.a)", &["lower"][..]),
            ("to_char(s.a, 'TMMonth') || initcap(s.b)", &["initcap", "to_char"]),
            ("to_tsvector('german', s.a) @@ plainto_tsquery('x')", &["plainto_tsquery", "to_tsvector"]),
            ("similarity(unaccent(s.a), s.b)", &["similarity", "unaccent"]),
            ("s.a ILIKE 'x%' OR s.a !~* 'y'", &["!~*", "ILIKE"]),
            ("s.a ~ '^\\w+$'", &["~"]),
            ("s.a ~ s.b", &["~"]),
            ("regexp_replace(s.a, '[[:space:]]', '')", &["regexp_replace"]),
            ("s.a < 'x' COLLATE \"de-x-icu\"", &["COLLATE \"de-x-icu\""]),
            ("to_timestamp(s.a, 'YYYY')", &["to_timestamp"]),
            ("s.a AT TIME ZONE 'Europe/Berlin'", &["timezone"]),
            ("s.a IS NFC NORMALIZED", &["is_normalized"]),
            ("sin(s.a)", &["sin"]),
            ("s.ctid = s.a", &["ctid"]),
        ] {
            assert_eq!(Expression::parse(text, Place::Sets).unwrap().server_dependent(), named, "{text}");
        }
        assert_eq!(
            SelectQuery::parse("SELECT upper(o.a) FROM other o ORDER BY o.b COLLATE \"en_US\"").unwrap().server_dependent(),
            ["COLLATE \"en_US\"", "upper"]
        );
        assert_eq!(Expression::parse_order("lower(s.a) DESC").unwrap().server_dependent(), ["lower"]);
    }

    #[test]
    fn what_is_the_same_everywhere_is_not_named() {
        for text in [
            "s.a + 1",
            "s.a ~ '^[a-z]+$'",
            "regexp_replace(s.a, '^ab', '')",
            "s.a < 'x' COLLATE \"C\"",
            "to_timestamp(s.seconds)",
            "s.a AT TIME ZONE 'UTC'",
            "s.a LIKE 'x%'",
            "jsonb_build_object('a', s.a)",
            "date_trunc('day', s.a)",
            "md5(s.a)",
        ] {
            assert!(Expression::parse(text, Place::Sets).unwrap().server_dependent().is_empty(), "{text}");
        }
    }
}

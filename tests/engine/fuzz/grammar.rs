//! Texts out of bytes: harmless expressions that fit together by type, hostile pieces in every place of them, and noise.

/// Pieces that make the canary sing, where they are evaluated at all. `{}` is a harmless int.
pub const HOSTILE: &[&str] = &[
    "sing({})",
    "public.sing({})",
    "app.sing({})",
    "\"sing\"({})",
    "U&\"s\\0069ng\"({})",
    "SING({})",
    "length(sing('x'))",
    "sly(s)",
    "s.sly",
    "(s).sly",
    "(s.a).sing",
    "({}).sing",
    "length((s.b).sing)",
    "(s.q).nextval",
    "('seq'::text).nextval",
    "nextval('seq')",
    "setval('seq', 9)",
    "nextval(s.q::regclass)",
    "pg_catalog.nextval('seq')",
    "lastval()",
    "{}::evil",
    "CAST({} AS evil)",
    "evil({})",
    "evil('4')",
    "'4'::evil",
    "{}::app.evil_seq",
    "{}::nested",
    "nested({})",
    "('{4}'::evil[])[1]",
    "length((ROW({}, 1)::pair)::text)",
    "('(3,4)'::pair).y",
    "ROW({})::odd::int",
    "CAST(ROW(1)::odd AS int)",
    "({}::odd).n",
    "calm_evil({})",
    "calm_evil('4')",
    "{} ### 1",
    "{} OPERATOR(app.###) 1",
    "{} OPERATOR(public.###) {}",
    "!!! {}",
    "{}::by_operator",
    "{} ### ANY (s.f)::int",
    "many({}, 2)",
    "many(VARIADIC s.f)",
    "named(y => {})",
    "named(x := {})",
    "named()",
    "flock({})",
    "random(s.b)",
    "public.random('x')",
    "extract(year FROM app.now())",
    "choir({})",
    "pg_notify('canary', 'x')::text::int",
    "lo_create(0)::text::int",
    "pg_advisory_lock(1)::text::int",
    "(s.d).pg_sleep::text::int",
    "set_config('work_mem', '7MB', false)::text::int",
    "(SELECT sing(1))",
    "(WITH x AS (INSERT INTO canary VALUES (1) RETURNING 1) SELECT 1)",
    "query_to_xml('INSERT INTO canary VALUES (1)', true, true, '')::text::int",
    "NULLIF(sing(1), 1)",
    "CASE sing(1) WHEN 1 THEN 2 END",
    "COALESCE(sing(1), 2)",
    "GREATEST(sing(1), 2)",
    "s.f[sing(1)]",
    "s.f[1:sing(1)]",
    "(ARRAY[sing(1)])[1]",
    "sing(1) COLLATE \"C\"",
    "1); SELECT sing(1); --",
    "1; SELECT sing(1)",
    "1) FROM s; INSERT INTO canary VALUES (1) --",
    "1 FROM s ORDER BY sing(1)",
    "1, sing(1)",
    "sing(1) AS x",
    "count(*) FILTER (WHERE sing(1) = 1)",
    "sum(sing(1)) OVER ()",
    "1 /* */ + /* ' */ sing(1) -- '",
];

const INT: &[&str] = &[
    "s.a",
    "t.a",
    "s.o",
    "1",
    "-2",
    "NULL::int",
    "0x1f::int",
    "length(s.b)",
    "(s.f)[1]",
    "calm(s.a)",
    "(s.c #>> '{k,0}')::int",
    "s.d::int",
];
const TEXT: &[&str] = &[
    "s.b",
    "'x'",
    "E'\\'\\u00fc'",
    "$$a'b$$",
    "$x$;$x$",
    "U&'\\0061'",
    "'日本'",
    "''",
    "NULL::text",
    "s.a::text",
    "'today'::text",
    "'--'",
    "'/*'",
];
const BOOL: &[&str] =
    &["true", "s.a IS NULL", "s.c ? 'k'", "s.a IN (1, 2)", "s.e < '2026-01-01'", "s.b LIKE 'x%' ESCAPE '!'", "s.c IS NOT NULL"];
const AROUND_INT: &[&str] = &[
    "({} + {})",
    "({} * 2)",
    "coalesce({}, {})",
    "greatest({}, {}, 1)",
    "least({}, 2)",
    "nullif({}, {})",
    "CASE WHEN {b} THEN {} ELSE {} END",
    "CASE {} WHEN 1 THEN {} END",
    "{}::int8::int",
    "CAST({} AS numeric(10,2))::int",
    "abs({})",
    "length({t})",
    "(ARRAY[{}, {}])[1]",
    "(ROW({}, 2) IS NULL)::int",
    "s.f[{}]",
    "s.f[{}:{}][1]",
    "{} OPERATOR(pg_catalog.+) {}",
    "mod(y => {}, x => 3)",
    "num_nulls(VARIADIC ARRAY[{}, 1])",
    "- {}",
    "{} /* c */ + -- d\n {}",
    "extract(day FROM s.e + {} * interval '1 day')::int",
    "position({t} IN {t})",
    "(jsonb_build_object('a', {}) ->> 'a')::int",
    "hashtext({t})",
];
const AROUND_TEXT: &[&str] = &[
    "{t} || {t}",
    "lower({t})",
    "concat({t}, {})",
    "overlay({t} PLACING 'y' FROM 1)",
    "substring({t} FROM 1 FOR 2)",
    "trim(BOTH 'x' FROM {t})",
    "({t} COLLATE \"C\")",
    "{t} COLLATE german",
    "format('%s;%s', {t}, {})",
    "coalesce({t}, {t})",
    "regexp_replace({t}, 'a', {t})",
    "{}::text",
    "CASE WHEN {b} THEN {t} END",
    "to_jsonb({t})::text",
    "normalize({t}, NFC)",
];
const AROUND_BOOL: &[&str] = &[
    "({b} AND {b})",
    "NOT {b}",
    "({} < {})",
    "{} BETWEEN {} AND {}",
    "{} NOT BETWEEN SYMMETRIC 1 AND {}",
    "{} = ANY (s.f)",
    "{} IS DISTINCT FROM {}",
    "{t} SIMILAR TO 'x|y'",
    "{t} ~ 'x'",
    "({b}) IS TRUE",
    "ROW({}, {}) < ROW(1, 2)",
    "{t} IS NORMALIZED",
    "s.c @> jsonb_build_object('k', {})",
    "{} IN ({}, {})",
    "{t} ILIKE {t}",
];
/// What may break a text anywhere.
const NOISE: &[&str] = &[
    ";",
    "'",
    "\"",
    "$$",
    "--",
    "/*",
    "*/",
    "(",
    ")",
    "\0",
    "\u{202e}",
    "é",
    "\\",
    "::",
    "[",
    "]",
    "$1",
    ":x",
    " FROM s",
    " AS x",
    "*",
    ".",
    ",",
    "\n",
    "SELECT ",
    " UNION SELECT 1",
    "U&'",
    "E'",
    "{",
    "}",
    "OPERATOR(",
    "VARIADIC ",
    "now()",
    "current_user",
    "'now'",
];

/// Bytes that decide; when they are used up, the first choice. So shorter bytes are simpler texts, and shrinking works.
pub struct Choices<'a>(pub std::slice::Iter<'a, u8>);

impl Choices<'_> {
    pub fn of<'t>(&mut self, list: &[&'t str]) -> &'t str {
        let high = usize::from(self.0.next().copied().unwrap_or(0));
        list[high % list.len()]
    }

    fn one_in(&mut self, n: u8) -> bool {
        self.0.next().is_some_and(|byte| byte % n == n - 1)
    }

    pub fn fill(&mut self, template: &str, depth: u32) -> String {
        let mut text = String::new();
        let mut rest = template;
        while let Some(at) = rest.find('{') {
            text.push_str(&rest[..at]);
            rest = &rest[at..];
            let (value, length) = if rest.starts_with("{}") {
                (self.int(depth + 1), 2)
            } else if rest.starts_with("{t}") {
                (self.text(depth + 1), 3)
            } else if rest.starts_with("{b}") {
                (self.bool(depth + 1), 3)
            } else {
                ("{".to_owned(), 1)
            };
            text.push_str(&value);
            rest = &rest[length..];
        }
        text + rest
    }

    fn int(&mut self, depth: u32) -> String {
        if self.one_in(9) {
            let piece = self.of(HOSTILE);
            return piece.replace("{}", self.of(INT));
        }
        if depth > 3 || self.one_in(3) {
            self.of(INT).to_owned()
        } else {
            let t = self.of(AROUND_INT);
            self.fill(t, depth)
        }
    }

    fn text(&mut self, depth: u32) -> String {
        if depth > 3 || self.one_in(3) {
            self.of(TEXT).to_owned()
        } else {
            let t = self.of(AROUND_TEXT);
            self.fill(t, depth)
        }
    }

    fn bool(&mut self, depth: u32) -> String {
        if depth > 3 || self.one_in(3) {
            self.of(BOOL).to_owned()
        } else {
            let t = self.of(AROUND_BOOL);
            self.fill(t, depth)
        }
    }
}

/// An expression of the grammar; every eighth is broken somewhere.
pub fn expression(bytes: &[u8]) -> String {
    let mut choices = Choices(bytes.iter());
    let mut text = match choices.of(&["int", "text", "bool"]) {
        "int" => choices.int(0),
        "text" => choices.text(0),
        _ => choices.bool(0),
    };
    if choices.one_in(8) {
        let at = usize::from(choices.0.next().copied().unwrap_or(0)) % (text.chars().count() + 1);
        let at = text.char_indices().nth(at).map_or(text.len(), |(at, _)| at);
        let noise = choices.of(NOISE);
        text.insert_str(at, noise);
    }
    text
}

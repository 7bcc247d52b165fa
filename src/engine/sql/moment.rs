//! Words that PostgreSQL reads as a moment: `'today'`, wherever a date or a time is meant.

/// True where a literal may be such a word: alone, with a time of day or a zone (`12:00 today`, `now Europe/Berlin`), or as
/// an element of an array, range or row. Prose that holds such a word (`now and then`) is none.
pub(super) fn is_date_word(literal: &str) -> bool {
    let lower = literal.trim().to_lowercase();
    if lower.starts_with(['{', '[', '(']) && !lower.contains("\":") {
        return lower.split(['{', '}', '[', ']', '(', ')', ',', '"', '\'']).any(says_moment);
    }
    says_moment(&lower)
}

/// One special word; of the others at most one that could be a zone's.
fn says_moment(text: &str) -> bool {
    let words = || text.split(|c: char| c.is_whitespace() || c == ',').filter(|word| !word.is_empty());
    let special = words().any(|word| matches!(word, "now" | "today" | "tomorrow" | "yesterday"));
    let others = words().filter(|word| !matches!(*word, "now" | "today" | "tomorrow" | "yesterday") && !is_of_a_time(word));
    special && others.count() <= 1 && words().all(|word| is_of_a_time(word) || word.len() <= 9)
}

/// What stands beside a date without changing that it is one: digits, a zone by its place, words that PostgreSQL skips.
fn is_of_a_time(word: &str) -> bool {
    let skipped = ["at", "on", "t", "am", "pm", "ad", "bc", "dst", "utc", "z", "zulu", "allballs"];
    word.chars().any(|c| c.is_ascii_digit()) || word.contains('/') || skipped.contains(&word)
}

#[cfg(test)]
mod tests {
    use super::is_date_word;

    #[test]
    fn words_that_postgresql_reads_as_a_moment_are_known_in_every_dress() {
        for text in [
            "now",
            " Today ",
            "tomorrow 12:00",
            "yesterday z",
            "12:00 today",
            "now Europe/Berlin",
            "today EST",
            "now,",
            "{now}",
            "{2026-01-01,today}",
            "[now,)",
            "(\"tomorrow 04:05\",)",
            "today at 12:00",
            "04:05 pm tomorrow",
        ] {
            assert!(is_date_word(text), "{text}");
        }
        for text in [
            "",
            "now and then",
            "today was a good day",
            "2026-01-01",
            "nowhere",
            "{\"kind\": \"today\"}",
            "infinity",
            "epoch",
            "until tomorrow morning",
        ] {
            assert!(!is_date_word(text), "{text}");
        }
    }
}

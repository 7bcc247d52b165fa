//! How numbers, times and texts are written in the report.

use crate::api::duration;
use jiff::Timestamp;
use std::time::Duration;

/// A time to the second, in UTC.
pub(super) fn time(at: Timestamp) -> String {
    at.strftime("%Y-%m-%d %H:%M:%S UTC").to_string()
}

/// A time as the status writes it.
pub(super) fn time_text(text: &str) -> String {
    text.parse().map_or_else(|_| text.to_owned(), time)
}

/// A duration in seconds, for people.
pub(super) fn seconds(seconds: i64) -> String {
    duration::display(Duration::from_secs(u64::try_from(seconds).unwrap_or(0)))
}

/// A size for people, and exactly.
pub(super) fn bytes(bytes: i64) -> String {
    const UNITS: [&str; 5] = ["KiB", "MiB", "GiB", "TiB", "PiB"];
    let (mut tenths, mut unit) = (i128::from(bytes) * 10, "");
    for next in UNITS {
        if tenths < 10_240 {
            break;
        }
        (tenths, unit) = (tenths / 1024, next);
    }
    if unit.is_empty() { format!("{bytes} bytes") } else { format!("{}.{} {unit} ({bytes} bytes)", tenths / 10, tenths % 10) }
}

/// A text for a cell of a table: one line, and nothing that Markdown or HTML would read as a mark.
pub(super) fn cell(text: &str) -> String {
    let mut cell = String::with_capacity(text.len());
    for character in text.trim().chars() {
        match character {
            '\n' | '\r' => cell.push(' '),
            '<' => cell.push_str("&lt;"),
            '>' => cell.push_str("&gt;"),
            '&' => cell.push_str("&amp;"),
            '|' | '\\' | '`' | '*' | '_' | '[' | ']' | '!' | '#' => {
                cell.push('\\');
                cell.push(character);
            }
            other => cell.push(other),
        }
    }
    cell
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_for_people_and_exact() {
        assert_eq!(bytes(0), "0 bytes");
        assert_eq!(bytes(1023), "1023 bytes");
        assert_eq!(bytes(1536), "1.5 KiB (1536 bytes)");
        assert_eq!(bytes(5 * 1024 * 1024 * 1024), "5.0 GiB (5368709120 bytes)");
    }

    #[test]
    fn a_text_cannot_leave_its_cell_or_become_a_link() {
        assert_eq!(cell("a|b\nc"), "a\\|b c");
        assert_eq!(cell("[x](http://y) <script>"), "\\[x\\](http://y) &lt;script&gt;");
    }

    #[test]
    fn times_are_to_the_second() {
        assert_eq!(time_text("2026-11-01T10:00:00.123456Z"), "2026-11-01 10:00:00 UTC");
    }
}

//! Durations as the resource writes them: `30s`, `2h`, `1h30m`, `500ms`.

use std::time::Duration;

/// What the CRD's schema accepts; [`parse`] accepts the same.
pub const PATTERN: &str = "^([0-9]{1,6}(ms|s|m|h|d))+$";

/// Reads a duration; `None` where the text does not match [`PATTERN`].
#[must_use]
pub fn parse(text: &str) -> Option<Duration> {
    let mut total = Duration::ZERO;
    let mut rest = text;
    if rest.is_empty() {
        return None;
    }
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit())?;
        let (number, tail) = rest.split_at(digits);
        let unit = tail.find(|c: char| c.is_ascii_digit()).unwrap_or(tail.len());
        let (unit, tail) = tail.split_at(unit);
        if number.len() > 6 {
            return None;
        }
        let number: u64 = number.parse().ok()?;
        total += match unit {
            "ms" => Duration::from_millis(number),
            "s" => Duration::from_secs(number),
            "m" => Duration::from_secs(number * 60),
            "h" => Duration::from_secs(number * 3600),
            "d" => Duration::from_secs(number * 86_400),
            _ => return None,
        };
        rest = tail;
    }
    Some(total)
}

/// Writes a duration for people: the two largest units that are not zero, `0s` for nothing.
#[must_use]
pub fn display(duration: Duration) -> String {
    let seconds = duration.as_secs();
    let (h, m, s) = (seconds / 3600, seconds % 3600 / 60, seconds % 60);
    match (h, m, s) {
        (0, 0, 0) if duration.subsec_millis() > 0 => format!("{}ms", duration.subsec_millis()),
        (0, 0, s) => format!("{s}s"),
        (0, m, 0) => format!("{m}m"),
        (0, m, s) => format!("{m}m{s}s"),
        (h, 0, _) => format!("{h}h"),
        (h, m, _) => format!("{h}h{m}m"),
    }
}

#[cfg(test)]
mod tests {
    use super::{display, parse};
    use proptest::prelude::*;
    use std::time::Duration;

    #[test]
    fn units_add_up() {
        assert_eq!(parse("1h30m"), Some(Duration::from_mins(90)));
        assert_eq!(parse("500ms"), Some(Duration::from_millis(500)));
        assert_eq!(parse("2d"), Some(Duration::from_hours(48)));
    }

    #[test]
    fn what_is_no_duration_is_refused() {
        for text in ["", "5", "h", "5 m", "-5m", "1.5h", "5w", "9999999s"] {
            assert_eq!(parse(text), None, "{text}");
        }
    }

    proptest! {
        #[test]
        fn a_displayed_duration_reads_back_to_within_its_smallest_shown_unit(seconds in 0u64..360_000) {
            let duration = Duration::from_secs(seconds);
            let back = parse(&display(duration)).unwrap();
            prop_assert!(back <= duration && duration.saturating_sub(back) < Duration::from_mins(1));
        }
    }
}

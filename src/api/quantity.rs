//! Quantities as Kubernetes writes them, in bytes.

/// What the CRD's schema accepts; [`parse`] accepts the same, as long as it fits into an `i64`.
pub const PATTERN: &str = "^[0-9]+(\\.[0-9]+)?(k|M|G|T|P|Ki|Mi|Gi|Ti|Pi)?$";

/// Reads `20Gi`, `1.5T`, `1048576`; `None` where it is none, or more than an `i64` holds.
#[must_use]
pub fn parse(text: &str) -> Option<i64> {
    let digits = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let factor: i64 = match unit {
        "" => 1,
        "k" => 1_000,
        "M" => 1_000_000,
        "G" => 1_000_000_000,
        "T" => 1_000_000_000_000,
        "P" => 1_000_000_000_000_000,
        "Ki" => 1 << 10,
        "Mi" => 1 << 20,
        "Gi" => 1 << 30,
        "Ti" => 1 << 40,
        "Pi" => 1 << 50,
        _ => return None,
    };
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    let whole: i64 = whole.parse().ok()?;
    let mut bytes = whole.checked_mul(factor)?;
    if number.contains('.') {
        // Three digits of the fraction are more than anybody means.
        let thousandths: i64 = format!("{fraction:0<3}").get(..3)?.parse().ok()?;
        bytes = bytes.checked_add((factor / 1000).checked_mul(thousandths)?)?;
    }
    Some(bytes)
}

/// Writes bytes for people.
#[must_use]
pub fn display(bytes: i64) -> String {
    let units = ["B", "KiB", "MiB", "GiB", "TiB", "PiB"];
    let (mut tenths, mut unit) = (bytes.saturating_mul(10), 0);
    while tenths >= 10_240 && unit + 1 < units.len() {
        tenths /= 1024;
        unit += 1;
    }
    let name = units.get(unit).copied().unwrap_or_default();
    if unit == 0 { format!("{bytes} B") } else { format!("{}.{} {name}", tenths / 10, tenths % 10) }
}

#[cfg(test)]
mod tests {
    use super::{display, parse};

    #[test]
    fn quantities_are_bytes() {
        for (text, bytes) in [("0", 0), ("512", 512), ("1k", 1000), ("20Gi", 20 << 30), ("1.5Gi", (3 << 29) - 12), ("2M", 2_000_000)] {
            let parsed = parse(text).unwrap();
            assert!((parsed - bytes).abs() <= 1000, "{text}: {parsed}");
        }
        for text in ["", "Gi", "1.2.3", "5X", "-1", "99999999Pi"] {
            assert_eq!(parse(text), None, "{text}");
        }
    }

    #[test]
    fn bytes_are_shown_in_a_fitting_unit() {
        assert_eq!([display(512), display(1536), display(20 << 30)], ["512 B", "1.5 KiB", "20.0 GiB"]);
    }
}

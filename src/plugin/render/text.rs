//! Text of a run as a terminal may have it: what it would obey, or what turns the direction of reading, is shown and not sent.

use std::fmt::Write as _;

/// One line: line ends and tabs are shown as they are in JSON.
#[must_use]
pub fn line(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    for character in text.chars() {
        push(&mut safe, character);
    }
    safe
}

/// Several lines.
#[must_use]
pub fn lines(text: &str) -> String {
    text.lines().map(line).collect::<Vec<_>>().join("\n")
}

/// The front of a text, so that it fits; at least its first character, and `…` where something is left out.
#[must_use]
pub fn fitting(text: &str, width: usize) -> String {
    if text.chars().count() <= width {
        return text.to_owned();
    }
    let mut front: String = text.chars().take(width.saturating_sub(1).max(1)).collect();
    front.push('…');
    front
}

/// Words in lines of this width; a word that is longer has a line of its own.
#[must_use]
pub fn wrapped(text: &str, width: usize) -> Vec<String> {
    let mut lines = vec![String::new()];
    for word in text.split_whitespace() {
        let Some(last) = lines.last_mut() else { continue };
        if last.is_empty() {
            last.push_str(word);
        } else if last.chars().count() + 1 + word.chars().count() <= width {
            last.push(' ');
            last.push_str(word);
        } else {
            lines.push(word.to_owned());
        }
    }
    lines
}

fn push(safe: &mut String, character: char) {
    match character {
        '\n' => safe.push_str("\\n"),
        '\r' => safe.push_str("\\r"),
        '\t' => safe.push_str("\\t"),
        other if other.is_control() || hides(other) => {
            // Writing to a String does not fail.
            let _ = write!(safe, "\\u{{{:x}}}", u32::from(other));
        }
        other => safe.push(other),
    }
}

/// Characters without a shape that change how others are read: zero-width ones, and those of the bidirectional algorithm
/// (Unicode UAX 9, UTR 36).
const fn hides(character: char) -> bool {
    matches!(character, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_terminal_would_obey_is_shown_and_not_sent() {
        assert_eq!(line("a\x1b[2Jb\u{9b}31m\u{7}"), "a\\u{1b}[2Jb\\u{9b}31m\\u{7}");
        assert_eq!(line("one\ntwo\r\tthree"), "one\\ntwo\\r\\tthree");
    }

    #[test]
    fn what_turns_the_direction_of_reading_or_has_no_width_is_shown() {
        assert_eq!(line("approve\u{202e}yned\u{200b}"), "approve\\u{202e}yned\\u{200b}");
    }

    #[test]
    fn other_letters_stay_as_they_are() {
        assert_eq!(line("Zoë 日本 “é”"), "Zoë 日本 “é”");
    }

    #[test]
    fn what_is_too_long_ends_with_a_mark() {
        assert_eq!(fitting("abcdef", 6), "abcdef");
        assert_eq!(fitting("abcdef", 4), "abc…");
    }

    #[test]
    fn words_are_wrapped_and_never_cut() {
        assert_eq!(wrapped("to be or not", 5), ["to be", "or", "not"]);
        assert_eq!(wrapped("verylongword x", 4), ["verylongword", "x"]);
    }
}

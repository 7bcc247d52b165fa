//! A value before and after: two lines, in which what they share is faint and what differs stands out.

use super::{Ink, Style, text};

/// What stands for NULL; a text that says the same has quotes.
const NULL: &str = "NULL";

/// The lines `- before` and `+ after`. Without colours the signs alone have to do.
pub(super) fn lines(style: Style, before: Option<&str>, after: Option<&str>) -> [String; 2] {
    let (old, new) = (shown(before), shown(after));
    let shared = if before.is_some() && after.is_some() { shared(&old, &new) } else { (0, 0) };
    [painted(style, '-', &old, shared, Ink::Bad, Ink::BadMark), painted(style, '+', &new, shared, Ink::Good, Ink::GoodMark)]
}

fn shown(value: Option<&str>) -> Vec<char> {
    match value {
        None => NULL.chars().collect(),
        Some("") => "''".chars().collect(),
        Some(NULL) => format!("'{NULL}'").chars().collect(),
        Some(value) => text::line(value).chars().collect(),
    }
}

/// How many characters both begin with, and how many of the rest both end with.
fn shared(old: &[char], new: &[char]) -> (usize, usize) {
    let front = old.iter().zip(new).take_while(|(a, b)| a == b).count();
    let rest = old.len().min(new.len()) - front;
    let back = old.iter().rev().zip(new.iter().rev()).take(rest).take_while(|(a, b)| a == b).count();
    (front, back)
}

fn painted(style: Style, sign: char, value: &[char], (front, back): (usize, usize), ink: Ink, mark: Ink) -> String {
    let part = |from: usize, to: usize| value.iter().skip(from).take(to.saturating_sub(from)).collect::<String>();
    let end = value.len().saturating_sub(back);
    format!(
        "{} {}{}{}",
        style.paint(ink, &sign.to_string()),
        style.paint(ink, &part(0, front)),
        style.paint(mark, &part(front, end)),
        style.paint(ink, &part(end, value.len())),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    const PLAIN: Style = Style { colour: false, width: 80 };
    const COLOUR: Style = Style { colour: true, width: 80 };

    #[test]
    fn nothing_an_empty_text_and_the_word_null_are_three_things() {
        assert_eq!(lines(PLAIN, None, Some("")), ["- NULL", "+ ''"]);
        assert_eq!(lines(PLAIN, Some("NULL"), None), ["- 'NULL'", "+ NULL"]);
    }

    #[test]
    fn what_differs_stands_out() {
        assert_eq!(
            lines(COLOUR, Some("gpt-4"), Some("gpt-5")),
            ["\x1b[31m-\x1b[0m \x1b[31mgpt-\x1b[0m\x1b[1;31m4\x1b[0m", "\x1b[32m+\x1b[0m \x1b[32mgpt-\x1b[0m\x1b[1;32m5\x1b[0m"]
        );
    }

    #[test]
    fn a_front_and_a_back_that_overlap_are_counted_once() {
        assert_eq!(shared(&['a', 'a'], &['a', 'a', 'a']), (2, 0));
        assert_eq!(lines(PLAIN, Some("aa"), Some("aaa")), ["- aa", "+ aaa"]);
    }

    #[test]
    fn a_value_cannot_paint_the_terminal() {
        assert_eq!(lines(PLAIN, Some("\x1b[2J"), Some("x")), ["- \\u{1b}[2J", "+ x"]);
    }
}

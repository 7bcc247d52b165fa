//! What is shown, as pure functions: a run, a time and a [`Style`] in, text out.
//!
//! Everything that comes from the run goes through [`text`], as values of a database may hold what a terminal would obey.

mod difference;
pub mod review;
pub mod status;
pub mod text;

#[cfg(test)]
pub(super) mod fixture;
#[cfg(test)]
mod tests;

use jiff::Timestamp;
use std::time::Duration;

/// How to write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Style {
    /// With colours.
    pub colour: bool,
    /// Columns of the terminal.
    pub width: usize,
}

/// What a colour stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Ink {
    Title,
    Good,
    Bad,
    Care,
    Faint,
    GoodMark,
    BadMark,
}

impl Ink {
    /// SGR parameters (ECMA-48).
    const fn sgr(self) -> &'static str {
        match self {
            Self::Title => "1",
            Self::Good => "32",
            Self::Bad => "31",
            Self::Care => "33",
            Self::Faint => "2",
            Self::GoodMark => "1;32",
            Self::BadMark => "1;31",
        }
    }
}

impl Style {
    fn paint(self, ink: Ink, text: &str) -> String {
        if self.colour && !text.is_empty() { format!("\x1b[{}m{text}\x1b[0m", ink.sgr()) } else { text.to_owned() }
    }
}

/// A page of sections.
struct Page {
    style: Style,
    text: String,
}

impl Page {
    const fn new(style: Style) -> Self {
        Self { style, text: String::new() }
    }

    fn section(&mut self, title: &str) {
        if !self.text.is_empty() {
            self.text.push('\n');
        }
        let title = self.style.paint(Ink::Title, title);
        self.line(&title);
    }

    fn line(&mut self, line: &str) {
        self.text.push_str(line);
        self.text.push('\n');
    }

    /// A name and what there is to say about it, below each other.
    fn fact(&mut self, name: &str, value: &str) {
        let name = self.style.paint(Ink::Faint, &format!("{name:<12}"));
        self.line(&format!("  {name}  {value}"));
    }

    /// Columns as wide as their widest cell; the last one is not filled up.
    fn table(&mut self, rows: &[Vec<String>]) {
        let columns = rows.iter().map(Vec::len).max().unwrap_or(0);
        let width = |column: usize| rows.iter().filter_map(|row| row.get(column)).map(|cell| cell.chars().count()).max().unwrap_or(0);
        let widths: Vec<usize> = (0..columns).map(width).collect();
        for row in rows {
            let cells: Vec<String> = row.iter().zip(&widths).map(|(cell, width)| format!("{cell:<width$}")).collect();
            self.line(format!("  {}", cells.join("  ")).trim_end());
        }
    }
}

fn row<const N: usize>(cells: [&str; N]) -> Vec<String> {
    cells.iter().map(|cell| text::line(cell)).collect()
}

/// A time to the second, in UTC.
fn time(at: Timestamp) -> String {
    at.strftime("%Y-%m-%d %H:%M:%S UTC").to_string()
}

/// The time between two moments; zero where the second is not after the first.
fn between(from: Timestamp, to: Timestamp) -> Duration {
    Duration::try_from(to.duration_since(from)).unwrap_or(Duration::ZERO)
}

/// A duration for people, to the second.
fn span(duration: Duration) -> String {
    crate::api::duration::display(Duration::from_secs(duration.as_secs()))
}

fn seconds(seconds: i64) -> String {
    span(Duration::from_secs(u64::try_from(seconds).unwrap_or(0)))
}

//! What the plugin is typed into: a terminal, with a width, colours and somebody to ask; or a pipe, with none of them.

use super::render::Style;
use std::io::{BufRead as _, IsTerminal as _, Write as _};

/// The width where nobody says it.
const WIDTH: usize = 100;

/// How to write to stdout: colours in a terminal only, and never where `NO_COLOR` is set (<https://no-color.org>).
pub(super) fn style() -> Style {
    let terminal = std::io::stdout().is_terminal();
    let plain =
        std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty()) || std::env::var_os("TERM").is_some_and(|t| t == "dumb");
    let width = rustix::termios::tcgetwinsize(std::io::stdout()).ok().map(|size| usize::from(size.ws_col)).filter(|width| *width >= 40);
    Style { colour: terminal && !plain, width: width.unwrap_or(WIDTH) }
}

/// True where somebody reads and can answer.
pub(super) fn somebody_is_there() -> bool {
    std::io::stdin().is_terminal() && std::io::stderr().is_terminal()
}

/// True where what is written can be written over.
pub(super) fn is_screen() -> bool {
    std::io::stdout().is_terminal() && std::env::var_os("TERM").is_none_or(|term| term != "dumb")
}

/// Writes to stdout.
pub(super) fn print(text: &str) -> std::io::Result<()> {
    let mut stdout = std::io::stdout().lock();
    stdout.write_all(text.as_bytes())?;
    stdout.flush()
}

/// Asks; anything but `y` or `yes` is a no, an end of input as well.
pub(super) fn confirmed(question: &str) -> std::io::Result<bool> {
    let mut stderr = std::io::stderr().lock();
    write!(stderr, "{question} [y/N] ")?;
    stderr.flush()?;
    let mut answer = String::new();
    std::io::stdin().lock().read_line(&mut answer)?;
    Ok(matches!(answer.trim(), "y" | "Y" | "yes" | "Yes" | "YES"))
}

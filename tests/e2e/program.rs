//! Programs that people use, run as they run them: kubectl, helm, sh. Their arguments never hold a secret.

use std::ffi::OsStr;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

/// The checkout.
pub fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Where the suite keeps what it makes for itself.
pub fn scratch() -> PathBuf {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("e2e");
    std::fs::create_dir_all(&folder).expect("the folder for files of the suite");
    folder
}

/// What the program printed, or what it said when it failed.
pub fn output(command: &mut Command, stdin: &str) -> Result<String, String> {
    let Output { status, stdout, stderr } = run(command, stdin);
    if status.success() {
        return Ok(String::from_utf8_lossy(&stdout).into_owned());
    }
    let name = command.get_program().to_string_lossy().into_owned();
    let arguments: Vec<_> = command.get_args().map(OsStr::to_string_lossy).collect();
    let said = [String::from_utf8_lossy(&stdout), String::from_utf8_lossy(&stderr)].concat();
    Err(format!("{name} {} ended with {status}: {}", arguments.join(" "), said.trim()))
}

/// How the program ended, with what it printed.
pub fn run(command: &mut Command, stdin: &str) -> Output {
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap_or_else(|error| panic!("{} cannot be run: {error}", command.get_program().display()));
    let mut pipe = child.stdin.take().expect("a pipe");
    let text = stdin.to_owned();
    // A program that does not read what it is given ends the pipe; its own words tell why.
    let writer = std::thread::spawn(move || drop(pipe.write_all(text.as_bytes())));
    let output = child.wait_with_output().expect("the program's end");
    writer.join().expect("the writer's end");
    output
}

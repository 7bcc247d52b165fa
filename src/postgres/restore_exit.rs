//! How `pg_restore` ended, by what it said: it calls everything exit code 1.

use super::tools::complaint;

/// A client from 17 on sets it, and a server before 17 does not know it. Nothing depends on it.
const HARMLESS: &[&str] = &["unrecognized configuration parameter \"transaction_timeout\""];

/// True for a line about an error that does no harm.
#[must_use]
pub fn is_harmless(line: &str) -> bool {
    HARMLESS.iter().any(|known| line.contains(known))
}

/// `Err` with its words where a restore that ended with an error is no good: anything but the known harmless errors.
///
/// # Errors
/// What `pg_restore` complained about, in words that may be shown.
pub fn judge(success: bool, stderr: &str) -> Result<(), String> {
    if success {
        return Ok(());
    }
    let errors: Vec<&str> =
        stderr.lines().filter(|line| line.contains("ERROR:  ") || line.contains(" error: ") || line.contains(" fatal: ")).collect();
    let harmful: Vec<&str> = errors.iter().copied().filter(|line| !is_harmless(line)).collect();
    // Only the summary says that it went on to the end.
    if harmful.is_empty() && !errors.is_empty() && stderr.contains("errors ignored on restore") {
        return Ok(());
    }
    Err(if harmful.is_empty() { complaint(stderr) } else { complaint(&harmful.join("\n")) })
}

#[cfg(test)]
mod tests {
    use super::judge;

    const TIMEOUT: &str = "pg_restore: error: could not execute query: ERROR:  unrecognized configuration parameter \"transaction_timeout\"\nCommand was: SET transaction_timeout = 0;\n";
    const SUMMARY: &str = "pg_restore: warning: errors ignored on restore: 1\n";

    #[test]
    fn the_known_harmless_error_passes_and_any_other_fails() {
        assert_eq!(judge(true, ""), Ok(()));
        assert_eq!(judge(false, &format!("{TIMEOUT}{SUMMARY}")), Ok(()));
        let other = "pg_restore: error: could not execute query: ERROR:  relation \"a\" already exists\n";
        assert_eq!(judge(false, &format!("{TIMEOUT}{other}{SUMMARY}")), Err("relation \"a\" already exists".into()));
        assert!(judge(false, TIMEOUT).is_err(), "it did not go on to the end");
        assert!(judge(false, "").is_err() && judge(false, SUMMARY).is_err());
        assert!(judge(false, "pg_restore: error: could not read from input file: end of file\n").is_err());
    }
}

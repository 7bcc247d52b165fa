//! The server programs that the image has.

use super::error::RehearsalError;
use crate::postgres::tools::command;
use std::path::{Path, PathBuf};

/// Where Debian's packages, and the images that are made of them, have a folder for each major.
const INSTALLED: &str = "/usr/lib/postgresql";
/// Another folder of that kind.
const VARIABLE: &str = "BACKFILL_SERVER_PROGRAMS";

/// The programs of one server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Programs {
    folder: PathBuf,
    /// Their major version.
    pub major: i32,
}

impl Programs {
    /// The server of the dump's major, else the next later one: a dump goes into later servers, not into earlier ones.
    pub(super) async fn fitting(wanted: i32) -> Result<Self, RehearsalError> {
        let root = std::env::var_os(VARIABLE).map_or_else(|| PathBuf::from(INSTALLED), PathBuf::from);
        choose(installed(&root).await, wanted)
    }

    /// One of them.
    pub(super) fn program(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }
}

async fn installed(root: &Path) -> Vec<Programs> {
    let folders = std::fs::read_dir(root).map(|entries| entries.flatten().map(|e| e.path().join("bin")).collect::<Vec<_>>());
    let mut found = Vec::new();
    for folder in folders.unwrap_or_default() {
        let whole = ["initdb", "postgres"].iter().all(|name| folder.join(name).is_file());
        if let Some(major) = major(&folder.join("postgres")).await.filter(|_| whole) {
            found.push(Programs { folder, major });
        }
    }
    found
}

/// Of `postgres (PostgreSQL) 17.6 (Debian 17.6-0+deb13u1)`, of `18beta1`, too.
async fn major(postgres: &Path) -> Option<i32> {
    let output = command(postgres).arg("--version").output().await.ok()?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    text.split_whitespace().find_map(|word| word.split(|c: char| !c.is_ascii_digit()).next()?.parse().ok())
}

fn choose(mut found: Vec<Programs>, wanted: i32) -> Result<Programs, RehearsalError> {
    found.sort_by_key(|programs| programs.major);
    let majors = found.iter().map(|programs| programs.major).collect();
    found.into_iter().find(|p| p.major >= wanted).ok_or(RehearsalError::ServerMajorMissing { wanted, found: majors })
}

#[cfg(test)]
mod tests {
    use super::{Programs, RehearsalError, choose};

    #[test]
    fn the_dumps_own_major_is_taken_else_the_next_later_one_and_never_an_earlier_one() {
        let image = |majors: &[i32]| majors.iter().map(|major| Programs { folder: "x".into(), major: *major }).collect::<Vec<_>>();
        let chosen = |majors: &[i32], wanted| choose(image(majors), wanted).map(|programs| programs.major);
        assert_eq!(chosen(&[18, 15, 17], 15).unwrap(), 15);
        assert_eq!(chosen(&[18, 17], 15).unwrap(), 17);
        let refused = chosen(&[15, 14], 17).unwrap_err();
        assert!(matches!(refused, RehearsalError::ServerMajorMissing { wanted: 17, .. }));
        assert!(refused.to_string().contains("the servers 14, 15"), "{refused}");
        assert!(chosen(&[], 17).unwrap_err().to_string().contains("no PostgreSQL server"));
    }
}

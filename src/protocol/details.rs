//! The details of a verdict: one framed line on stdout, at most 64 KiB, named by its hash.

use sha2::{Digest, Sha256};
use thiserror::Error;

/// Longer details are refused on both sides.
pub const DETAILS_MAX_BYTES: usize = 64 * 1024;
pub(super) const MARK: &str = "BACKFILL-DETAILS ";

/// A framed block of JSON.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Details {
    /// The JSON.
    pub json: String,
    /// Its SHA-256, in hex.
    pub sha256: String,
}

/// Why details cannot be used.
#[derive(Debug, Error, PartialEq, Eq)]
pub enum DetailsError {
    /// Too long.
    #[error("the details have {0} bytes, more than {DETAILS_MAX_BYTES}")]
    TooLong(usize),
}

impl Details {
    /// Frames a document.
    ///
    /// # Errors
    /// [`DetailsError::TooLong`] over [`DETAILS_MAX_BYTES`].
    pub fn new(json: String) -> Result<Self, DetailsError> {
        if json.len() > DETAILS_MAX_BYTES {
            return Err(DetailsError::TooLong(json.len()));
        }
        let sha256 = hex::encode(Sha256::digest(json.as_bytes()));
        Ok(Self { json, sha256 })
    }

    /// The line to print.
    #[must_use]
    pub fn to_line(&self) -> String {
        format!("{MARK}{} {}", self.sha256, self.json)
    }

    /// Finds the block with this hash in a log; a block whose content does not have its hash does not count.
    #[must_use]
    pub fn find(log: &str, sha256: &str) -> Option<Self> {
        log.lines().rev().find_map(|line| {
            let (hash, json) = line.strip_prefix(MARK)?.split_once(' ')?;
            let details = Self::new(json.to_owned()).ok()?;
            (hash == sha256 && details.sha256 == sha256).then_some(details)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn details_are_found_by_their_hash_and_a_forged_block_is_not() {
        let details = Details::new("{\"a\":1}".into()).unwrap();
        let log = format!("noise\n{}\nBACKFILL-DETAILS {} {{\"a\":2}}\n", details.to_line(), details.sha256);
        assert_eq!(Details::find(&log, &details.sha256), Some(details));
        assert_eq!(Details::find("noise", "00"), None);
    }

    #[test]
    fn too_long_details_are_refused() {
        assert_eq!(Details::new("x".repeat(DETAILS_MAX_BYTES + 1)), Err(DetailsError::TooLong(DETAILS_MAX_BYTES + 1)));
    }
}

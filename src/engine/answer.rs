//! One answer to the question. All its columns are texts and truth values, whichever way they travelled.

use sqlx::Row as _;
use sqlx::postgres::PgRow;
use std::ops::Range;

/// A row of what [`super::query::question`] asks.
pub trait Answer {
    /// The text in a column; `None`: NULL.
    ///
    /// # Errors
    /// Those of the driver.
    fn text(&self, at: usize) -> Result<Option<&str>, sqlx::Error>;

    /// The truth value in a column; `None`: NULL.
    ///
    /// # Errors
    /// Those of the driver.
    fn flag(&self, at: usize) -> Result<Option<bool>, sqlx::Error>;

    /// Texts that are never NULL: keys.
    ///
    /// # Errors
    /// Those of the driver.
    fn texts(&self, columns: &Range<usize>) -> Result<Vec<String>, sqlx::Error> {
        columns.clone().map(|at| Ok(self.text(at)?.unwrap_or_default().to_owned())).collect()
    }

    /// Texts.
    ///
    /// # Errors
    /// Those of the driver.
    fn values(&self, columns: &Range<usize>) -> Result<Vec<Option<String>>, sqlx::Error> {
        columns.clone().map(|at| Ok(self.text(at)?.map(str::to_owned))).collect()
    }
}

impl Answer for PgRow {
    fn text(&self, at: usize) -> Result<Option<&str>, sqlx::Error> {
        self.try_get(at)
    }

    fn flag(&self, at: usize) -> Result<Option<bool>, sqlx::Error> {
        self.try_get(at)
    }
}

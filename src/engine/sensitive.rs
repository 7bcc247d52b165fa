//! New values that look like secrets: what is found in them, and what is written instead.

use super::model::{Model, Target};
use super::row::{Change, Judged, Kind};
use super::secrets::{RuleError, Scanner};
use crate::api::spec::{OnMatch, SensitiveData};
use crate::engine::sql::column_name;
use std::borrow::Cow;

/// The run's rules, ready to be used.
#[derive(Debug)]
pub struct Sensitive {
    scanner: Scanner,
    /// Columns whose new values are searched, unquoted.
    columns: Vec<String>,
    /// What happens to a value with a finding.
    pub on_match: OnMatch,
}

/// Where something was found; never what.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    /// The target table, for people.
    pub table: String,
    /// The column.
    pub column: String,
    /// The rule.
    pub rule: String,
}

impl Sensitive {
    /// Compiles the rules; `None` where the run asks for none.
    ///
    /// # Errors
    /// [`RuleError`].
    pub fn of(spec: Option<&SensitiveData>) -> Result<Option<Self>, RuleError> {
        let Some(spec) = spec else { return Ok(None) };
        let columns = spec.columns.iter().filter_map(|name| column_name(name).ok()).collect();
        Ok(Some(Self { scanner: Scanner::of(spec)?, columns, on_match: spec.on_match }))
    }

    /// Searches the new values of a row, and redacts them where that is asked for. A change that is none afterwards, since
    /// the redacted value is there already, is taken out.
    pub fn look(&self, model: &Model, judged: &mut Judged) -> Vec<Found> {
        let mut found = Vec::new();
        for change in judged.changes.iter_mut().filter(|change| change.kind != Kind::Delete) {
            let Some(write) = model.writes.get(change.write) else { continue };
            self.look_at(write, change, &mut found);
        }
        if self.on_match == OnMatch::Redact && !found.is_empty() {
            judged.changes.retain(|change| model.writes.get(change.write).is_none_or(|write| change.is_needed(write)));
        }
        found
    }

    fn look_at(&self, write: &Target, change: &mut Change, found: &mut Vec<Found>) {
        for (set, new) in write.sets.iter().zip(&mut change.new) {
            let Some(text) = new.as_deref().filter(|_| self.columns.contains(&set.column.name)) else { continue };
            let (redacted, rules): (Cow<'_, str>, Vec<&str>) = if self.on_match == OnMatch::Redact {
                let is_json = matches!(set.column.base_type.as_str(), "json" | "jsonb");
                self.scanner.redact(text, is_json)
            } else {
                (text.into(), self.scanner.rules_found(text))
            };
            let of = |rule: &&str| Found { table: write.table.display(), column: set.column.name.clone(), rule: (*rule).to_owned() };
            found.extend(rules.iter().map(of));
            if !rules.is_empty() {
                *new = Some(redacted.into_owned());
            }
        }
    }
}

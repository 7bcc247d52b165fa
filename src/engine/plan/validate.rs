//! JSON Schema over the values of source rows. Nothing is fetched: a schema that refers elsewhere is refused.

use crate::api::spec::OnInvalid;
use crate::api::status::InvalidStatus;
use crate::engine::model::{Model, Rule};
use crate::engine::row::{Key, show};
use jsonschema::{Draft, Validator};
use serde_json::Value;
use thiserror::Error;

/// Why rows cannot be judged, or are not good enough.
#[derive(Debug, Error)]
pub enum ValidationError {
    /// The schema is not one.
    #[error("backfill.sql.validate ({rule}): the schema is no JSON Schema 2020-12: {message}")]
    SchemaInvalid {
        /// Which rule.
        rule: String,
        /// What is wrong.
        message: String,
    },
    /// A row is invalid, and the rule says that none may be.
    #[error("the source row {key} is invalid by the rule {rule} at {pointer}: {message}")]
    RowInvalid {
        /// Key of the source row.
        key: String,
        /// Which rule.
        rule: String,
        /// Where, as a JSON pointer.
        pointer: String,
        /// What the schema asks there.
        message: String,
    },
    /// Too many rows are invalid.
    #[error("{invalid} of {matching} rows are invalid by the rule {rule}, more than {max} percent: look at status.plan.invalidSample")]
    TooManyInvalid {
        /// Which rule.
        rule: String,
        /// How many.
        invalid: i64,
        /// Of how many.
        matching: i64,
        /// The limit.
        max: i32,
    },
}

/// The rules, compiled, with what they found so far.
#[derive(Debug)]
pub struct Validation {
    rules: Vec<Compiled>,
    sample: Vec<InvalidStatus>,
}

#[derive(Debug)]
struct Compiled {
    rule: Rule,
    validator: Validator,
    invalid: i64,
}

impl Validation {
    /// Compiles the rules of a model.
    ///
    /// # Errors
    /// [`ValidationError::SchemaInvalid`].
    pub fn of(model: &Model) -> Result<Self, ValidationError> {
        let compile = |rule: &Rule| {
            jsonschema::options()
                .with_draft(Draft::Draft202012)
                .build(&rule.schema)
                .map(|validator| Compiled { rule: rule.clone(), validator, invalid: 0 })
                .map_err(|error| ValidationError::SchemaInvalid { rule: rule.name.clone(), message: error.to_string() })
        };
        Ok(Self { rules: model.rules.iter().map(compile).collect::<Result<_, _>>()?, sample: Vec::new() })
    }

    /// Judges a row by all rules; true where it is valid. SQL NULL is judged as JSON null.
    ///
    /// # Errors
    /// [`ValidationError::RowInvalid`] where a rule says that none may be invalid.
    pub fn judge(&mut self, key: &Key, values: &[Option<String>]) -> Result<bool, ValidationError> {
        let mut valid = true;
        for (compiled, text) in self.rules.iter_mut().zip(values) {
            let value = text.as_deref().map_or(Ok(Value::Null), serde_json::from_str).unwrap_or(Value::Null);
            let Some(error) = compiled.validator.iter_errors(&value).next() else { continue };
            valid = false;
            compiled.invalid += 1;
            let found = InvalidStatus {
                key: show(key),
                rule: compiled.rule.name.clone(),
                pointer: error.instance_path().to_string(),
                // Masked: a message that quoted the value would carry it into the status.
                message: error.masked_with("the value").to_string().chars().take(256).collect(),
            };
            if compiled.rule.on_invalid == OnInvalid::Fail {
                let InvalidStatus { key, rule, pointer, message } = found;
                return Err(ValidationError::RowInvalid { key, rule, pointer, message });
            }
            if compiled.invalid <= i64::try_from(compiled.rule.sample).unwrap_or(0) {
                self.sample.push(found);
            }
        }
        Ok(valid)
    }

    /// Holds the counts to the rules' limits.
    ///
    /// # Errors
    /// [`ValidationError::TooManyInvalid`].
    pub fn within_limits(&self, matching: i64) -> Result<(), ValidationError> {
        let over = |c: &&Compiled| c.invalid.saturating_mul(100) > matching.saturating_mul(i64::from(c.rule.max_invalid_percent));
        self.rules.iter().find(over).map_or(Ok(()), |c| {
            let (rule, max) = (c.rule.name.clone(), c.rule.max_invalid_percent);
            Err(ValidationError::TooManyInvalid { rule, invalid: c.invalid, matching, max })
        })
    }

    /// Counts by rule, in words.
    #[must_use]
    pub fn remarks(&self) -> Vec<String> {
        let said = |c: &Compiled| (c.invalid > 0).then(|| format!("{} rows are invalid by the rule {}", c.invalid, c.rule.name));
        self.rules.iter().filter_map(said).collect()
    }

    /// The invalid rows that may be named.
    #[must_use]
    pub fn into_sample(self) -> Vec<InvalidStatus> {
        self.sample
    }
}

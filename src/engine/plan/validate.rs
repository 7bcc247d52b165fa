//! JSON Schema over the values of source rows. Nothing is fetched: a schema that refers elsewhere is refused.

use super::borrowed::{Borrowed, InText};
use crate::api::spec::OnInvalid;
use crate::api::status::InvalidStatus;
use crate::engine::model::{Model, Rule};
use crate::engine::row::{Key, show};
use jsonschema::error::ValidationErrorKind;
use jsonschema::{Draft, ValidationError as Violated, Validator};
use serde_json::Value;
use std::collections::BTreeMap;
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

/// The rules, compiled. Rows are judged side by side; the [`Tally`] is kept in key order.
#[derive(Debug)]
pub struct Rules {
    rules: Vec<(Rule, Validator)>,
    /// The same, for values that are only looked at.
    quick: Vec<Validator<InText>>,
}

/// What is wrong with a value, by one rule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    rule: usize,
    pointer: String,
    message: String,
}

impl Rules {
    /// Compiles the rules of a model.
    ///
    /// # Errors
    /// [`ValidationError::SchemaInvalid`].
    pub fn of(model: &Model) -> Result<Self, ValidationError> {
        let compile = |rule: &Rule| {
            jsonschema::options()
                .with_draft(Draft::Draft202012)
                .build(&rule.schema)
                .map(|validator| (rule.clone(), validator))
                .map_err(|error| ValidationError::SchemaInvalid { rule: rule.name.clone(), message: error.to_string() })
        };
        let rules = model.rules.iter().map(compile).collect::<Result<_, _>>()?;
        let quick = model.rules.iter().map(|rule| jsonschema::options_for().with_draft(Draft::Draft202012).build(&rule.schema).ok());
        Ok(Self { rules, quick: quick.collect::<Option<_>>().unwrap_or_default() })
    }

    /// Judges a row by all rules: the first violation of each. SQL NULL is judged as JSON null.
    pub fn judge<'v>(&self, values: impl IntoIterator<Item = Option<&'v str>>) -> Vec<Violation> {
        let mut violations = Vec::new();
        for (index, ((_, validator), text)) in self.rules.iter().zip(values).enumerate() {
            let read = || text.map_or(Ok(Borrowed::Null), serde_json::from_str).unwrap_or(Borrowed::Null);
            if self.quick.get(index).is_some_and(|quick| quick.is_valid(&read())) {
                continue;
            }
            let value = text.map_or(Ok(Value::Null), serde_json::from_str).unwrap_or(Value::Null);
            if validator.is_valid(&value) {
                continue;
            }
            if let Some(error) = validator.iter_errors(&value).next() {
                violations.push(Violation { rule: index, pointer: error.instance_path().to_string(), message: message(&error) });
            }
        }
        violations
    }
}

/// Masked: a message that quoted the value, or named its properties, would carry them into the status.
fn message(error: &Violated<'_>) -> String {
    let words = match error.kind() {
        ValidationErrorKind::AdditionalProperties { unexpected } | ValidationErrorKind::UnevaluatedProperties { unexpected } => {
            format!("the value has {} properties that the schema does not know", unexpected.len())
        }
        ValidationErrorKind::PropertyNames { .. } => "a property has a name that the schema does not allow".into(),
        _ => error.masked_with("the value").to_string(),
    };
    words.chars().take(256).collect()
}

/// A rule, its count, and its places.
type Counted<'a> = ((&'a (Rule, Validator), &'a i64), &'a BTreeMap<(String, String), i64>);

/// So many places are told apart for each rule, and so many named.
const PLACES_KEPT: usize = 200;
const PLACES_NAMED: usize = 3;

/// A place in any row: whichever element of a list it is. The value itself is `/`.
fn of_any_row(pointer: &str) -> String {
    let any = |part: &str| if !part.is_empty() && part.bytes().all(|b| b.is_ascii_digit()) { "*".to_owned() } else { part.to_owned() };
    let place = pointer.split('/').map(any).collect::<Vec<_>>().join("/");
    if place.is_empty() { "/".into() } else { place }
}

/// How many rows are invalid by each rule, and the first of them.
#[derive(Debug)]
pub struct Tally {
    invalid: Vec<i64>,
    /// By rule: where, and what is wrong there.
    places: Vec<BTreeMap<(String, String), i64>>,
    sample: Vec<InvalidStatus>,
}

impl Tally {
    /// Nothing so far.
    #[must_use]
    pub fn of(rules: &Rules) -> Self {
        Self { invalid: vec![0; rules.rules.len()], places: vec![BTreeMap::new(); rules.rules.len()], sample: Vec::new() }
    }

    /// Counts a row.
    ///
    /// # Errors
    /// [`ValidationError::RowInvalid`] where a rule says that none may be invalid.
    pub fn add(&mut self, rules: &Rules, key: &Key, violations: Vec<Violation>) -> Result<(), ValidationError> {
        for Violation { rule: found_by, pointer, message } in violations {
            let (Some((rule, _)), Some(count)) = (rules.rules.get(found_by), self.invalid.get_mut(found_by)) else { continue };
            *count += 1;
            if let Some(places) = self.places.get_mut(found_by) {
                let place = (of_any_row(&pointer), message.clone());
                if places.len() < PLACES_KEPT || places.contains_key(&place) {
                    *places.entry(place).or_default() += 1;
                }
            }
            let found = InvalidStatus { key: show(key), rule: rule.name.clone(), pointer, message };
            if rule.on_invalid == OnInvalid::Fail {
                let InvalidStatus { key, rule, pointer, message } = found;
                return Err(ValidationError::RowInvalid { key, rule, pointer, message });
            }
            if *count <= i64::try_from(rule.sample).unwrap_or(0) {
                self.sample.push(found);
            }
        }
        Ok(())
    }

    /// Holds the counts to the rules' limits.
    ///
    /// # Errors
    /// [`ValidationError::TooManyInvalid`].
    pub fn within_limits(&self, rules: &Rules, matching: i64) -> Result<(), ValidationError> {
        for ((rule, _), invalid) in rules.rules.iter().zip(&self.invalid) {
            let max = rule.max_invalid_percent;
            if invalid.saturating_mul(100) > matching.saturating_mul(i64::from(max)) {
                return Err(ValidationError::TooManyInvalid { rule: rule.name.clone(), invalid: *invalid, matching, max });
            }
        }
        Ok(())
    }

    /// Counts by rule, with the places where most of it is, in words.
    #[must_use]
    pub fn remarks(&self, rules: &Rules) -> Vec<String> {
        let counted = rules.rules.iter().zip(&self.invalid).zip(&self.places).filter(|((_, invalid), _)| **invalid > 0);
        let remark = |(((rule, _), invalid), places): Counted<'_>| {
            let mut most: Vec<_> = places.iter().collect();
            most.sort_by_key(|(_, times)| std::cmp::Reverse(**times));
            let most = most.iter().take(PLACES_NAMED);
            let most: Vec<String> = most.map(|((pointer, message), times)| format!("{times} at {pointer} ({message})")).collect();
            format!("{invalid} rows are invalid by the rule {}: {}", rule.name, most.join("; "))
        };
        counted.map(remark).collect()
    }

    /// The invalid rows that may be named.
    #[must_use]
    pub fn into_sample(self) -> Vec<InvalidStatus> {
        self.sample
    }
}

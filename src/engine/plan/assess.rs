//! What becomes of each source row, as far as it can be said of the row alone: done for many rows side by side.

use super::PlanError;
use super::validate::{Rules, Violation};
use crate::api::spec::OnMatch;
use crate::engine::model::Model;
use crate::engine::query::Question;
use crate::engine::row::{self, Judged, Key};
use crate::engine::sensitive::{Found, Sensitive};
use sqlx::Row as _;
use sqlx::postgres::PgRow;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// What all rows are assessed with.
#[derive(Debug)]
pub(super) struct Assessor {
    pub(super) model: Model,
    pub(super) question: Question,
    pub(super) rules: Rules,
    pub(super) sensitive: Option<Sensitive>,
    /// True once the plan shows as many rows as it shall: values of others are needed no more.
    pub(super) shown: AtomicBool,
}

/// A source row, assessed.
#[derive(Debug)]
pub(super) struct Assessed {
    pub(super) key: Key,
    pub(super) winner: Key,
    pub(super) verdict: Verdict,
}

/// What becomes of a source row.
#[derive(Debug)]
pub(super) enum Verdict {
    /// Another one of its group counts.
    Lost,
    /// It fails validation.
    Invalid(Vec<Violation>),
    /// Something in it looks like a secret, and such rows are not written.
    Sensitive(Vec<Found>),
    /// It finds nothing to write to.
    NoMatch,
    /// What would be written is there.
    AlreadyDone,
    /// It would be written.
    Write(Box<Writing>),
}

/// What would be written for a source row.
#[derive(Debug)]
pub(super) struct Writing {
    pub(super) judged: Judged,
    pub(super) fingerprint: i64,
    /// Of each change, for the digest.
    pub(super) hashes: Vec<blake3::Hash>,
    /// Weight of old and new values.
    pub(super) bytes: usize,
    /// What was redacted in it.
    pub(super) found: Vec<Found>,
}

/// Assesses rows in key order; all rows of one source row are in one chunk.
pub(super) fn assess(with: &Arc<Assessor>, rows: &[PgRow]) -> Result<Vec<Assessed>, PlanError> {
    let question = &with.question;
    let mut assessed = Vec::with_capacity(rows.len());
    let mut rest = rows;
    while let Some(first) = rest.first() {
        let key = row::texts(first, &question.key)?;
        let mut same = 1;
        while let Some(next) = rest.get(same)
            && is_of(next, question, &key)?
        {
            same += 1;
        }
        let (own, others) = rest.split_at(same);
        rest = others;
        let winner = row::texts(first, &question.winner)?;
        let verdict = verdict(with, own, &key)?;
        assessed.push(Assessed { key, winner, verdict });
    }
    Ok(assessed)
}

/// True where a row is one of the source row with this key.
pub(super) fn is_of(row: &PgRow, question: &Question, key: &[String]) -> Result<bool, sqlx::Error> {
    for (at, part) in question.key.clone().zip(key) {
        if row.try_get::<&str, _>(at)? != part {
            return Ok(false);
        }
    }
    Ok(true)
}

fn verdict(with: &Assessor, rows: &[PgRow], key: &Key) -> Result<Verdict, PlanError> {
    let Assessor { model, question, rules, sensitive, shown } = with;
    let Some(first) = rows.first() else { return Ok(Verdict::NoMatch) };
    if !first.try_get::<bool, _>(question.counts)? {
        return Ok(Verdict::Lost);
    }
    if !model.rules.is_empty() {
        let mut values = Vec::with_capacity(question.judged.len());
        for at in question.judged.clone() {
            values.push(first.try_get::<Option<&str>, _>(at)?);
        }
        let violations = rules.judge(values);
        if !violations.is_empty() {
            return Ok(Verdict::Invalid(violations));
        }
    }
    let mut judged = Judged::default();
    for row in rows {
        judged.see(model, question, row)?;
    }
    let found = sensitive.as_ref().map(|sensitive| (sensitive.look(model, &mut judged), sensitive.on_match));
    let found = match found {
        Some((found, OnMatch::Skip | OnMatch::Fail)) if !found.is_empty() => return Ok(Verdict::Sensitive(found)),
        Some((found, _)) => found,
        None => Vec::new(),
    };
    if judged.changes.is_empty() {
        return Ok(if judged.applies { Verdict::AlreadyDone } else { Verdict::NoMatch });
    }
    judged.check(model, key)?;
    let (fingerprint, hashes) = judged.fingerprint(model, key);
    let bytes = judged.changes.iter().flat_map(|change| change.old.iter().chain(&change.new)).flatten().map(String::len).sum();
    if shown.load(Ordering::Relaxed) {
        // Let go here, side by side, and not by the one who takes the rows in order.
        for change in &mut judged.changes {
            (change.old, change.new) = (Vec::new(), Vec::new());
        }
    }
    Ok(Verdict::Write(Box::new(Writing { judged, fingerprint, hashes, bytes, found })))
}

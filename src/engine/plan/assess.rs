//! What becomes of each source row, as far as it can be said of the row alone: done for many rows side by side.

use super::PlanError;
use super::answers::Answers;
use super::once::{self, Mark};
use super::validate::{Rules, Violation};
use crate::api::spec::OnMatch;
use crate::engine::answer::Answer as _;
use crate::engine::model::Model;
use crate::engine::query::Question;
use crate::engine::row::{Change, Judged, Key, Kind};
use crate::engine::sensitive::{Found, Sensitive};
use std::ops::Range;
use std::sync::atomic::{AtomicBool, Ordering};

/// What all rows are assessed with.
#[derive(Debug)]
pub(super) struct Assessor {
    pub(super) model: Model,
    pub(super) question: Question,
    pub(super) rules: Rules,
    pub(super) sensitive: Option<Sensitive>,
    /// What each write takes of its row for itself; `None` where no row can be written twice.
    pub(super) taken: Option<Vec<Vec<String>>>,
    /// True once the plan shows as many rows as it shall: values of others are needed no more.
    pub(super) shown: AtomicBool,
}

/// Source rows, assessed, in key order. What is kept of those that would be written lies side by side, row after row: a
/// few large pieces cross from thread to thread, and not many small ones.
#[derive(Debug, Default)]
pub(super) struct Assessed {
    pub(super) verdicts: Vec<Verdict>,
    /// Of each row that would be written its key, then its winner's.
    pub(super) keys: Vec<String>,
    /// Of each change, for the digest.
    pub(super) hashes: Vec<blake3::Hash>,
    /// Of each change, what it takes of its row for itself.
    pub(super) marks: Vec<Mark>,
    /// Updates, inserts and deletes of each write.
    pub(super) writes: Vec<[i64; 3]>,
}

/// What becomes of a source row.
#[derive(Debug)]
pub(super) enum Verdict {
    /// Another one of its group counts.
    Lost,
    /// It fails validation.
    Invalid(Key, Vec<Violation>),
    /// Something in it looks like a secret, and such rows are not written.
    Sensitive(Key, Vec<Found>),
    /// It finds nothing to write to.
    NoMatch,
    /// What would be written is there.
    AlreadyDone,
    /// It would be written.
    Write(Writing),
}

/// What would be written for a source row.
#[derive(Debug)]
pub(super) struct Writing {
    pub(super) fingerprint: i64,
    /// How many changes, and so many hashes.
    pub(super) changes: usize,
    /// So many marks.
    pub(super) marks: usize,
    /// Weight of old and new values.
    pub(super) bytes: usize,
    /// What was redacted in it.
    pub(super) found: Vec<Found>,
    /// The changes, as long as they may be shown.
    pub(super) shown: Vec<Change>,
}

/// Assesses rows in key order; all rows of one source row are in one chunk.
pub(super) fn assess(with: &Assessor, answers: &Answers) -> Result<Assessed, PlanError> {
    let mut assessed = Assessed { writes: vec![[0; 3]; with.model.writes.len()], ..Assessed::default() };
    assessed.verdicts.reserve(answers.len());
    let mut at = 0;
    while at < answers.len() {
        let first = answers.row(at);
        let same = (at + 1..answers.len()).take_while(|next| answers.row(*next).equals(&first, &with.question.key)).count();
        let verdict = assessed.verdict(with, answers, at..at + 1 + same)?;
        assessed.verdicts.push(verdict);
        at += 1 + same;
    }
    Ok(assessed)
}

impl Assessed {
    fn verdict(&mut self, with: &Assessor, answers: &Answers, own: Range<usize>) -> Result<Verdict, PlanError> {
        let Assessor { model, question, rules, sensitive, .. } = with;
        let first = answers.row(own.start);
        if first.flag(question.counts)? != Some(true) {
            return Ok(Verdict::Lost);
        }
        let key = first.texts(&question.key)?;
        if !model.rules.is_empty() {
            let values = question.judged.clone().map(|at| first.borrowed(at)).collect::<Result<Vec<_>, _>>()?;
            let violations = rules.judge(values);
            if !violations.is_empty() {
                return Ok(Verdict::Invalid(key, violations));
            }
        }
        let mut judged = Judged::default();
        for at in own {
            judged.see(model, question, &answers.row(at))?;
        }
        let found = sensitive.as_ref().map(|sensitive| (sensitive.look(model, &mut judged), sensitive.on_match));
        let found = match found {
            Some((found, OnMatch::Skip | OnMatch::Fail)) if !found.is_empty() => return Ok(Verdict::Sensitive(key, found)),
            Some((found, _)) => found,
            None => Vec::new(),
        };
        if judged.changes.is_empty() {
            return Ok(if judged.applies { Verdict::AlreadyDone } else { Verdict::NoMatch });
        }
        judged.check(model, &key)?;
        let winner = first.texts(&question.winner)?;
        Ok(Verdict::Write(self.writing(with, judged, key, winner, found)))
    }

    fn writing(&mut self, with: &Assessor, judged: Judged, key: Key, winner: Key, found: Vec<Found>) -> Writing {
        let (fingerprint, hashes) = judged.fingerprint(&with.model, &key);
        self.hashes.extend(hashes);
        self.keys.extend(key.into_iter().chain(winner));
        let before = self.marks.len();
        for change in &judged.changes {
            let Some(write) = with.model.writes.get(change.write) else { continue };
            let parts = with.taken.as_ref().and_then(|taken| taken.get(change.write));
            self.marks.extend(parts.into_iter().flatten().map(|part| once::mark(write.table.oid, &change.key, part)));
            if let Some([updates, inserts, deletes]) = self.writes.get_mut(change.write) {
                match change.kind {
                    Kind::Update => *updates += 1,
                    Kind::Insert => *inserts += 1,
                    Kind::Delete => *deletes += 1,
                }
            }
        }
        let bytes = judged.changes.iter().flat_map(|change| change.old.iter().chain(&change.new)).flatten().map(String::len).sum();
        let (changes, marks) = (judged.changes.len(), self.marks.len() - before);
        let shown = if with.shown.load(Ordering::Relaxed) { Vec::new() } else { judged.changes };
        Writing { fingerprint, changes, marks, bytes, found, shown }
    }
}

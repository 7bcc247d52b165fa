//! What differs by sums alone: whole tables, by rows and digest. Tables that the run names are compared with what the run left,
//! all others with what the dump holds.

use crate::api::status::LossStatus;
use crate::postgres::table_sums::TableSum;
use crate::steps::backup_store::Manifest;
use std::collections::{BTreeMap, BTreeSet};

/// What tables held when nothing but the run had changed them.
pub(super) struct Baseline<'a> {
    dump: BTreeMap<&'a str, &'a TableSum>,
    applied: BTreeMap<&'a str, &'a TableSum>,
    own: Option<&'a BTreeSet<String>>,
}

impl<'a> Baseline<'a> {
    pub(super) fn new(manifest: &'a Manifest, applied: Option<&'a [TableSum]>, own: Option<&'a BTreeSet<String>>) -> Self {
        let by_name = |sums: &'a [TableSum]| sums.iter().map(|s| (s.table.as_str(), s)).collect();
        Self { dump: by_name(&manifest.tables), applied: by_name(applied.unwrap_or_default()), own }
    }

    /// True where a restore would put back what is there.
    pub(super) fn is_as_dumped(&self, now: &TableSum) -> bool {
        self.dump.get(now.table.as_str()).is_some_and(|dump| *dump == now)
    }

    /// What would be lost, with why more cannot be said.
    pub(super) fn loss(&self, now: &TableSum, why: Option<&str>) -> Option<LossStatus> {
        let message = self.differs(now).or_else(|| self.hidden(now))?;
        let message = why.map_or_else(|| message.clone(), |why| format!("{message} (by sums alone, for {why})"));
        Some(LossStatus { table: now.table.clone(), message, ..LossStatus::default() })
    }

    /// A table of the run is as the run left it; what others wrote before, the sums do not tell from the run's writes.
    fn hidden(&self, now: &TableSum) -> Option<String> {
        let of_run = self.own.is_some_and(|own| own.contains(&now.table));
        (of_run && self.dump.contains_key(now.table.as_str()) && !self.is_as_dumped(now))
            .then(|| "as the run left it; what others wrote between the snapshot and then cannot be told from what the run wrote".into())
    }

    fn differs(&self, now: &TableSum) -> Option<String> {
        let table = now.table.as_str();
        let (dump, applied) = (self.dump.get(table).copied(), self.applied.get(table).copied());
        let written_by_run = self.own.is_none_or(|own| own.contains(table));
        match (dump, applied) {
            (None, Some(left)) if left == now => None,
            (None, _) => Some(format!("made since the dump, with {} rows: it would be dropped", now.rows)),
            (Some(dump), Some(left)) if written_by_run => {
                if left != now {
                    return Some(difference(left, now, "after the run had written"));
                }
                // Declared runs update only: another number of rows is the application's doing.
                (self.own.is_some() && dump.rows != left.rows).then(|| difference(dump, now, "in the dump"))
            }
            (Some(dump), _) => (dump != now).then(|| difference(dump, now, "in the dump")),
        }
    }
}

fn difference(then: &TableSum, now: &TableSum, when: &str) -> String {
    if then.rows == now.rows {
        format!("{} rows {when} and now, but their content differs", now.rows)
    } else {
        format!("{} rows {when}, {} now", then.rows, now.rows)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sum(table: &str, rows: i64, digest: &str) -> TableSum {
        TableSum { table: table.into(), rows, digest: digest.into() }
    }

    fn losses(applied: Option<&[TableSum]>, own: Option<&[&str]>, now: &[TableSum]) -> Vec<String> {
        let manifest: Manifest = serde_json::from_value(serde_json::json!({
            "runUid": "u", "sha256": "", "takenAt": "2026-01-01T00:00:00Z",
            "tables": [sum("own", 10, "1"), sum("other", 5, "1")],
        }))
        .unwrap();
        let own: Option<BTreeSet<String>> = own.map(|names| names.iter().map(ToString::to_string).collect());
        let baseline = Baseline::new(&manifest, applied, own.as_ref());
        let changed = now.iter().filter(|sum| !baseline.is_as_dumped(sum));
        let mut lost: Vec<String> = changed.filter(|sum| baseline.differs(sum).is_some()).map(|sum| sum.table.clone()).collect();
        lost.sort();
        lost
    }

    #[test]
    fn only_what_the_run_did_not_do_is_a_loss() {
        let applied = [sum("own", 10, "2"), sum("other", 5, "1")];
        let own: Option<&[&str]> = Some(&["own"]);
        assert!(losses(Some(&applied), own, &applied).is_empty(), "nothing happened since");
        assert_eq!(losses(Some(&applied), own, &[sum("own", 10, "3"), sum("other", 5, "1")]), ["own"], "written since");
        assert_eq!(losses(Some(&applied), own, &[sum("own", 10, "2"), sum("new", 0, "0")]), ["new"], "made since");
        assert!(losses(Some(&applied), own, &[sum("own", 10, "2")]).is_empty(), "what was dropped since comes back");
    }

    #[test]
    fn what_the_sums_cannot_tell_is_a_loss_and_says_why() {
        let manifest: Manifest = serde_json::from_value(serde_json::json!({
            "runUid": "u", "sha256": "", "takenAt": "2026-01-01T00:00:00Z", "tables": [sum("own", 10, "1")],
        }))
        .unwrap();
        let (own, applied) = (BTreeSet::from(["own".to_owned()]), [sum("own", 10, "2")]);
        let baseline = Baseline::new(&manifest, Some(&applied), Some(&own));
        let loss = baseline.loss(&applied[0], Some("the server has been set back since")).unwrap();
        assert!(loss.message.starts_with("as the run left it; what others wrote"), "{}", loss.message);
        assert!(loss.message.ends_with("(by sums alone, for the server has been set back since)"), "{}", loss.message);
    }

    #[test]
    fn writes_of_the_application_before_the_run_had_applied_are_losses_too() {
        let applied = [sum("own", 11, "2"), sum("other", 6, "9")];
        assert_eq!(losses(Some(&applied), Some(&["own"]), &applied), ["other", "own"]);
        assert!(losses(Some(&applied), None, &applied).is_empty(), "in script mode they may be the script's");
    }

    #[test]
    fn without_applied_sums_everything_is_compared_with_the_dump() {
        assert_eq!(losses(None, Some(&["own"]), &[sum("own", 10, "2"), sum("other", 5, "1")]), ["own"]);
    }
}

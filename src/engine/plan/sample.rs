//! What of a planned row a person is shown.

use crate::api::spec::SampleShow;
use crate::api::status::{ChangeStatus, SampleStatus};
use crate::engine::model::{Model, Target};
use crate::engine::row::{Change, Kind, show};
use crate::engine::secrets::redact;

const VALUE_MAX_CHARS: usize = 256;
/// So many target rows of one source row are shown, where a join finds many: the status has an end.
const CHANGES_MAX: usize = 10;
/// So many columns of a deleted row are shown; as many as a write may set.
const COLUMNS_MAX: usize = 32;
/// What stands for a value of the moment.
const AT_APPLY: &str = "(set when it is applied)";

/// A row's changes as they may be shown, and whether something in them looks like a secret.
#[must_use]
pub fn sample(model: &Model, source_key: &[String], changes: &[Change], mode: SampleShow) -> (Vec<SampleStatus>, bool) {
    let mut sensitive = false;
    let shown = changes.iter().take(CHANGES_MAX).filter_map(|change| {
        let write = model.writes.get(change.write)?;
        let changes = columns(write, change, mode, &mut sensitive);
        Some(SampleStatus { key: cut(&show(source_key)), table: write.table.display(), changes })
    });
    let shown: Vec<SampleStatus> = shown.collect();
    (shown, sensitive)
}

fn columns(write: &Target, change: &Change, mode: SampleShow, sensitive: &mut bool) -> Vec<ChangeStatus> {
    let mut one = |value: Option<&Option<String>>, type_name: &str| shown(value.and_then(Option::as_deref)?, type_name, mode, sensitive);
    if change.kind == Kind::Delete {
        let kept = write.keeps.iter().enumerate().take(COLUMNS_MAX);
        return kept
            .map(|(n, column)| ChangeStatus { column: column.name.clone(), before: one(change.old.get(n), &column.base_type), after: None })
            .collect();
    }
    let values = write.sets.iter().enumerate().map(|(n, set)| {
        // Of an inserted row there is nothing before.
        let before = one(change.old.get(n), &set.column.base_type);
        let after = if set.value.is_at_apply() { Some(AT_APPLY.to_owned()) } else { one(change.new.get(n), &set.column.base_type) };
        ChangeStatus { column: set.column.name.clone(), before, after }
    });
    values.collect()
}

fn shown(text: &str, type_name: &str, mode: SampleShow, sensitive: &mut bool) -> Option<String> {
    // Before the cut: half a secret is one, too, but no rule would know it.
    let (redacted, found) = redact(text);
    *sensitive |= found;
    match mode {
        SampleShow::Full => Some(cut(&redacted)),
        SampleShow::Masked => Some(format!("<{type_name}, {} characters>", text.chars().count())),
        SampleShow::None => None,
    }
}

fn cut(text: &str) -> String {
    if text.chars().count() <= VALUE_MAX_CHARS {
        return text.to_owned();
    }
    text.chars().take(VALUE_MAX_CHARS - 1).chain(['…']).collect()
}

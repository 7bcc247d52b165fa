//! What of a planned row a person is shown.

use crate::api::spec::SampleShow;
use crate::api::status::{ChangeStatus, SampleStatus};
use crate::engine::model::{Model, Target};
use crate::engine::row::{Change, show};
use crate::engine::secrets::redact;

const VALUE_MAX_CHARS: usize = 256;
/// What stands for a value of the moment.
const AT_APPLY: &str = "(set when it is applied)";

/// A row's changes as they may be shown, and whether something in them looks like a secret.
#[must_use]
pub fn sample(model: &Model, source_key: &[String], changes: &[Change], mode: SampleShow) -> (Vec<SampleStatus>, bool) {
    let mut sensitive = false;
    let shown = changes.iter().filter_map(|change| {
        let write = model.writes.get(change.write)?;
        let changes = columns(write, change, mode, &mut sensitive);
        Some(SampleStatus { key: cut(&show(source_key)), table: write.table.display(), changes })
    });
    let shown: Vec<SampleStatus> = shown.collect();
    (shown, sensitive)
}

fn columns(write: &Target, change: &Change, mode: SampleShow, sensitive: &mut bool) -> Vec<ChangeStatus> {
    let values = write.sets.iter().zip(change.old.iter().zip(&change.new));
    values
        .map(|(set, (old, new))| {
            let mut one = |value: &Option<String>| value.as_ref().and_then(|text| shown(text, &set.column.base_type, mode, sensitive));
            let (before, after) = (one(old), one(new));
            let after = if set.value.is_at_apply() { Some(AT_APPLY.to_owned()) } else { after };
            ChangeStatus { column: set.column.name.clone(), before, after }
        })
        .collect()
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

//! Documents on stdout: `-o json` and `-o yaml`.

use super::arguments::Format;
use super::{PluginError, terminal};
use crate::api::BackfillRun;
use serde::Serialize;

/// Prints a document.
pub(super) fn document(value: &impl Serialize, format: Format) -> Result<(), PluginError> {
    let text = match format {
        Format::Json => serde_json::to_string_pretty(value).map(|text| text + "\n").map_err(|e| PluginError::Document(e.to_string())),
        Format::Yaml => serde_yaml_ng::to_string(value).map_err(|e| PluginError::Document(e.to_string())),
    }?;
    Ok(terminal::print(&text)?)
}

/// Prints the run as it is after a change, or one sentence.
pub(super) fn changed(run: &BackfillRun, format: Option<Format>, sentence: &str) -> Result<(), PluginError> {
    match format {
        Some(format) => document(run, format),
        None => Ok(terminal::print(&format!("{sentence}\n"))?),
    }
}

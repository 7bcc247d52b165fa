//! The cases. The name of a test is the sentence that it proves.

pub mod approvals;
mod backups;
mod decisions;
mod deletion;
mod full_volume;
mod gitops;
mod happy_path;
mod kills;
mod rehearsal;
mod script;
mod secrets;
mod spec_errors;
mod steering;
mod way_back;

//! The cases. The name of a test is the sentence that it proves.

mod approvals;
mod deletion;
mod happy_path;
mod kills;
mod script;
mod spec_errors;
mod way_back;

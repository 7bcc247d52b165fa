//! r
/// t
pub fn render(_: &crate::api::BackfillRun, _: jiff::Timestamp) -> String {
    String::new()
}

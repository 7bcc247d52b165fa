//! What people are asked, what they said, and what voids it.

use crate::api::spec::Approval;
use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// What people are asked for.
#[derive(JsonSchema, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct AwaitingStatus {
    /// Of what.
    pub subject: Subject,
    /// The digest that approvals must name.
    pub digest: String,
    /// What is asked, in a sentence.
    pub question: String,
    /// How many approvals are needed: the strictest of what the run and the platform ask.
    pub required: i32,
    /// Where that number comes from.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub floors: Vec<FloorStatus>,
    /// True where the platform lets the requester approve.
    #[serde(default, skip_serializing_if = "is_false")]
    pub requester_may_approve: bool,
    /// Since when.
    #[schemars(with = "String")]
    pub since: Timestamp,
    /// Until when.
    #[schemars(with = "String")]
    pub deadline: Timestamp,
    /// When people are reminded, once; absent where they have been.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>")]
    pub remind_at: Option<Timestamp>,
    /// The command to copy.
    pub command: String,
}

/// A floor that holds for what is asked.
#[derive(JsonSchema, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct FloorStatus {
    /// `spec.approval.required`, `approval.minimum`, or the name of a policy of the platform.
    pub name: String,
    /// At least so many people.
    pub minimum: i32,
    /// Why it holds.
    pub why: String,
}

/// What an approval is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum Subject {
    /// A plan.
    Plan,
    /// What a restore would lose.
    Restore,
    /// The rollback of a run that has succeeded.
    Rollback,
}

/// A decision.
#[derive(JsonSchema, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ApprovalStatus {
    /// Whose.
    pub user: String,
    /// Which.
    pub decision: Approval,
    /// About what.
    pub subject: Subject,
    /// About which digest.
    pub digest: String,
    /// When it was seen.
    #[schemars(with = "String")]
    pub at: Timestamp,
    /// Whether the API server held the name against who sent it.
    #[serde(default)]
    pub identity: Identity,
    /// Why; what looks like a secret is redacted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
}

/// An entry of `spec.approvals` as it was seen first.
#[derive(JsonSchema, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct EntryStatus {
    /// Whose.
    pub user: String,
    /// Which decision.
    pub decision: Approval,
    /// About which digest, whether it is asked about or not.
    pub digest: String,
    /// Whether the admission policies were in force then.
    pub identity: Identity,
}

/// Whether a name is proved.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum Identity {
    /// The admission policies were in force when the entry was seen first: the name is that of who was authenticated.
    Verified,
    /// They were not: anybody who may patch the run can have written the name.
    #[default]
    Unverified,
}

impl Identity {
    /// The name as the resource writes it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Verified => "Verified",
            Self::Unverified => "Unverified",
        }
    }
}

/// An approval that does not count any more.
#[derive(JsonSchema, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct VoidedStatus {
    /// When.
    #[schemars(with = "String")]
    pub at: Timestamp,
    /// By what, as one word.
    pub reason: String,
    /// By what, in a sentence.
    pub message: String,
    /// The digest that was approved.
    pub digest: String,
    /// Who had approved it.
    pub users: Vec<String>,
}

/// A ConfigMap that the run depends on.
#[derive(JsonSchema, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ConfigMapStatus {
    /// Its name.
    pub name: String,
    /// SHA-256 of its content; `absent` where it is not there.
    pub sha256: String,
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "the signature that serde calls")]
const fn is_false(value: &bool) -> bool {
    !*value
}

//! Approvals: asking, counting, and what voids them.

use super::observed::AdmissionObservation;
use super::pass::{Pass, later};
use super::requirement::{Requirement, knows_requester, requirement};
use crate::api::SERVICE_ACCOUNT_PREFIX;
use crate::api::conditions::{ConditionType, Truth};
use crate::api::spec::{Approval, ApprovalEntry, NotificationEvent};
use crate::api::status::{ApprovalStatus, AwaitingStatus, EntryStatus, Identity, Subject, VoidedStatus};

/// Where the decisions stand.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Standing {
    /// Enough people approved.
    Approved,
    /// Somebody said no.
    Denied { user: String },
    /// Nobody did in time.
    Expired,
    /// So many are missing.
    Waiting { missing: i32 },
}

/// Asks people, and says how to answer.
pub(super) fn ask(pass: &mut Pass<'_>, subject: Subject, digest: String, question: String) {
    let identity = &pass.run.meta.identity;
    let entry = format!(r#"{{"decision":"Approve","digest":"{digest}"}}"#);
    let command = format!(
        "kubectl -n {} patch backfillrun {} --type merge -p '{{\"spec\":{{\"approvals\":{{\"'\"$(kubectl auth whoami -o jsonpath='{{.status.userInfo.username}}')\"'\":{entry}}}}}}}'",
        identity.namespace, identity.name
    );
    // What was decided about another subject (the plan, when a rollback is asked for) stays in the record.
    pass.status.approvals.retain(|a| a.digest == digest || a.subject != subject);
    let Requirement { required, floors, requester_may_approve } = requirement(pass.run, pass.status.plan.as_ref());
    pass.status.message = format!("waits for {required} approval(s): {question}");
    pass.status.approvals_required = required;
    let text = question.clone();
    pass.status.awaiting = Some(AwaitingStatus {
        subject,
        digest,
        question,
        required,
        floors,
        requester_may_approve,
        since: pass.now,
        deadline: later(pass.now, pass.run.approval_timeout),
        remind_at: Some(later(pass.now, pass.run.remind_after)),
        command,
    });
    let message = pass.status.message.clone();
    pass.set(ConditionType::Approved, Truth::Unknown, "AwaitingApproval", &message);
    pass.tell(NotificationEvent::ApprovalNeeded, &text);
}

/// Counts what is said about the digest that is asked about now, by who may say it. A denial wins.
pub(super) fn standing(pass: &mut Pass<'_>) -> Option<Standing> {
    follow_policy(pass);
    note_admission(pass);
    let awaiting = pass.status.awaiting.clone()?;
    let (mut approved, mut denied) = (0, None);
    let mut counted = Vec::new();
    for (user, entry) in &pass.run.spec.approvals {
        let refusal = why_not(pass, &awaiting, user, entry);
        if refusal.as_ref().is_some_and(|refusal| !matches!(refusal, Refusal::Unproved(_))) {
            continue;
        }
        let known = recorded(pass, user, entry);
        counted.push(ApprovalStatus {
            user: user.clone(),
            decision: entry.decision,
            subject: awaiting.subject,
            digest: entry.digest.clone(),
            at: known.map_or(pass.now, |a| a.at),
            identity: identity(pass, user),
            message: pass.observed.messages.get(user).cloned(),
        });
        match entry.decision {
            Approval::Approve => approved += i32::from(refusal.is_none()),
            Approval::Deny => denied = Some(user.clone()),
        }
    }
    tell_decisions(pass, &counted, &awaiting);
    pass.status.approvals.retain(|a| a.subject != awaiting.subject);
    pass.status.approvals.extend(counted);
    Some(if let Some(user) = denied {
        Standing::Denied { user }
    } else if approved >= awaiting.required {
        Standing::Approved
    } else if pass.now >= awaiting.deadline {
        Standing::Expired
    } else {
        Standing::Waiting { missing: awaiting.required - approved }
    })
}

/// The platform's floors may have changed since people were asked: those of now hold.
fn follow_policy(pass: &mut Pass<'_>) {
    let now = requirement(pass.run, pass.status.plan.as_ref());
    if let Some(awaiting) = pass.status.awaiting.as_mut() {
        pass.status.approvals_required = now.required;
        awaiting.required = now.required;
        awaiting.floors = now.floors;
        awaiting.requester_may_approve = now.requester_may_approve;
    }
}

/// Says whether names are proved.
fn note_admission(pass: &mut Pass<'_>) {
    match pass.observed.admission.clone() {
        Some(AdmissionObservation::InForce) => {
            let message = "the API server holds the name of each approval against who sends it";
            pass.set(ConditionType::IdentityVerified, Truth::True, "PoliciesInForce", message);
        }
        Some(AdmissionObservation::Missing { why }) => {
            pass.set(ConditionType::IdentityVerified, Truth::False, "PoliciesMissing", &why);
        }
        None => {}
    }
}

/// The same entry as it was counted before.
fn recorded<'p>(pass: &'p Pass<'_>, user: &str, entry: &ApprovalEntry) -> Option<&'p ApprovalStatus> {
    pass.status.approvals.iter().find(|a| a.user == user && a.decision == entry.decision && a.digest == entry.digest)
}

/// Writes down what each entry's name is worth when the entry is seen first, whatever is asked then: policies that come
/// later say nothing about what was written before, and a digest may be asked about again.
pub(super) fn note_entries(pass: &mut Pass<'_>) {
    let said = &pass.run.spec.approvals;
    let still = |known: &EntryStatus| said.get(&known.user).is_some_and(|e| e.decision == known.decision && e.digest == known.digest);
    pass.status.entries.retain(still);
    let identity = match &pass.observed.admission {
        Some(AdmissionObservation::InForce) => Identity::Verified,
        Some(AdmissionObservation::Missing { .. }) => Identity::Unverified,
        None => return,
    };
    for (user, entry) in said {
        if !pass.status.entries.iter().any(|known| &known.user == user) {
            let (user, digest) = (user.clone(), entry.digest.clone());
            pass.status.entries.push(EntryStatus { user, decision: entry.decision, digest, identity });
        }
    }
}

fn identity(pass: &Pass<'_>, user: &str) -> Identity {
    pass.status.entries.iter().find(|known| known.user == user).map_or(Identity::Unverified, |known| known.identity)
}

/// Why an entry does not count, in a sentence.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Refusal {
    /// Whoever sent it, it would not count.
    Void(String),
    /// It would, if the name were proved.
    Unproved(String),
}

impl Refusal {
    fn sentence(self) -> String {
        match self {
            Self::Void(sentence) | Self::Unproved(sentence) => sentence,
        }
    }
}

/// Why an entry does not count. A denial counts whoever sends it: the run then changes nothing.
fn why_not(pass: &Pass<'_>, awaiting: &AwaitingStatus, user: &str, entry: &ApprovalEntry) -> Option<Refusal> {
    let void = |sentence: String| Some(Refusal::Void(sentence));
    let meta = &pass.run.meta;
    if entry.digest != awaiting.digest {
        return void(format!("the entry of {user} is about another digest and does not count"));
    }
    if entry.decision == Approval::Deny {
        return None;
    }
    if meta.requested_by.as_deref() == Some(user) && !awaiting.requester_may_approve {
        return void(format!("{user} asked for the run and cannot approve it"));
    }
    if meta.edited_by.as_deref() == Some(user) && !awaiting.requester_may_approve {
        return void(format!("{user} was the last to edit the run and cannot approve it"));
    }
    if user.starts_with(SERVICE_ACCOUNT_PREFIX) && !pass.run.policy.service_accounts.iter().any(|name| name == user) {
        return void(format!("{user} is a service account, which the operator's approval.serviceAccounts does not name"));
    }
    if pass.run.policy.require_admission && identity(pass, user) == Identity::Unverified {
        return Some(Refusal::Unproved(format!(
            "the name {user} is not proved, as the admission policies were not in force when the entry was written: take it back, and approve again once they are"
        )));
    }
    None
}

/// Each new decision, and each that was taken back, in an event and in one message to the channels.
fn tell_decisions(pass: &mut Pass<'_>, counted: &[ApprovalStatus], awaiting: &AwaitingStatus) {
    let required = awaiting.required;
    let mut said = Vec::new();
    let known = |decision: &ApprovalStatus| pass.status.approvals.iter().any(|a| same(a, decision));
    let mut approved = counted.iter().filter(|a| known(a) && proved_enough(pass, a)).count();
    for decision in counted.iter().filter(|decision| !known(decision)) {
        approved += usize::from(proved_enough(pass, decision));
        let verb = match decision.decision {
            Approval::Approve => format!("approves ({approved} of {required})"),
            Approval::Deny => "denies".into(),
        };
        let because = decision.message.as_ref().map(|message| format!(": {message}")).unwrap_or_default();
        let note = format!("{} {verb}, identity {}{because}", decision.user, decision.identity.as_str());
        said.push(("ApprovalCounted", note));
    }
    for gone in pass.status.approvals.iter().filter(|a| a.subject == awaiting.subject && !counted.iter().any(|d| d.user == a.user)) {
        said.push(("ApprovalWithdrawn", format!("{} has taken back: {:?}", gone.user, gone.decision)));
    }
    for (reason, note) in &said {
        pass.event(false, reason, note);
    }
    if !said.is_empty() {
        let all: Vec<String> = said.into_iter().map(|(_, note)| note).collect();
        pass.tell(NotificationEvent::Decided, &all.join("; "));
    }
}

/// True for an approval that counts.
pub(super) fn proved_enough(pass: &Pass<'_>, approval: &ApprovalStatus) -> bool {
    approval.decision == Approval::Approve && (approval.identity == Identity::Verified || !pass.run.policy.require_admission)
}

fn same(a: &ApprovalStatus, b: &ApprovalStatus) -> bool {
    a.user == b.user && a.decision == b.decision && a.digest == b.digest
}

/// Says how many are missing, and which entries do not count and why.
pub(super) fn explain_waiting(pass: &mut Pass<'_>, missing: i32) {
    let Some(awaiting) = pass.status.awaiting.clone() else { return };
    let mut parts = vec![format!("waits for {missing} more approval(s) of {}: {}", awaiting.digest, awaiting.question)];
    parts.extend(pass.run.spec.approvals.iter().filter_map(|(user, entry)| why_not(pass, &awaiting, user, entry)).map(Refusal::sentence));
    if !knows_requester(pass.run) && !awaiting.requester_may_approve {
        parts.push("who asked for the run is not known (annotation backfill.dev/requested-by), so one person more must approve".into());
    }
    let strict = awaiting.floors.iter().filter(|f| f.name != "spec.approval.required" && f.minimum > pass.run.spec.approval.required);
    parts.extend(strict.map(|f| format!("{} asks for {}: {}", f.name, f.minimum, f.why)));
    let message = parts.join("; ");
    pass.status.message.clone_from(&message);
    pass.set(ConditionType::Approved, Truth::Unknown, "AwaitingApproval", &message);
    pass.look_again_at(awaiting.deadline);
    remind(pass, &awaiting, missing);
    wait_for_policies(pass);
    // A release that changes meanwhile voids the plan: it is not watched, so it is looked at.
    pass.look_again(std::time::Duration::from_secs(10));
}

/// Once, while there is still time.
fn remind(pass: &mut Pass<'_>, awaiting: &AwaitingStatus, missing: i32) {
    let Some(at) = awaiting.remind_at.filter(|at| *at < awaiting.deadline) else { return };
    if at > pass.now {
        return pass.look_again_at(at);
    }
    if let Some(awaiting) = pass.status.awaiting.as_mut() {
        awaiting.remind_at = None;
    }
    let text = format!("{missing} approval(s) still missing, until {}: {}", awaiting.deadline, awaiting.question);
    pass.event(false, "ApprovalReminder", &text);
    pass.tell(NotificationEvent::ApprovalReminder, &text);
}

/// Without the policies no approval will count: that is for an administrator to see, and not for who approves.
fn wait_for_policies(pass: &mut Pass<'_>) {
    match pass.observed.admission.clone() {
        Some(AdmissionObservation::Missing { why }) if pass.run.policy.require_admission => {
            let message = format!(
                "no approval can count: {why}; install the chart's policies (admission.enabled), or allow approvals without them (approval.requireAdmission: false)"
            );
            pass.stall("AdmissionMissing", &message);
        }
        _ => pass.go_on(),
    }
}

/// What was approved is approved no more; who had, and why it is void, is kept and told.
pub(super) fn void(pass: &mut Pass<'_>, reason: &str, message: &str) {
    let users: Vec<String> = pass.status.approvals.iter().filter(|a| proved_enough(pass, a)).map(|a| a.user.clone()).collect();
    let digest = pass.status.approvals.first().map(|a| a.digest.clone());
    pass.status.approvals.clear();
    let Some(digest) = digest.filter(|_| !users.is_empty()) else { return };
    let note = format!("the approval of {} is void: {message}", users.join(", "));
    pass.event(true, "ApprovalVoided", &note);
    pass.tell(NotificationEvent::Decided, &note);
    pass.status.approval_voided = Some(VoidedStatus { at: pass.now, reason: reason.into(), message: message.into(), digest, users });
}

/// True where too few of those who approved still do. Asked until the first write.
pub(super) fn withdrawn(pass: &Pass<'_>) -> bool {
    let still = pass.status.approvals.iter().filter(|a| {
        let entry = pass.run.spec.approvals.get(&a.user);
        proved_enough(pass, a) && entry.is_some_and(|e| e.decision == Approval::Approve && e.digest == a.digest)
    });
    i32::try_from(still.count()).is_ok_and(|count| count < pass.status.approvals_required)
}

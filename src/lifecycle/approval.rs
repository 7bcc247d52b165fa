//! Approvals: asking, counting, and what voids them.

use super::pass::{Pass, later};
use crate::api::conditions::{ConditionType, Truth};
use crate::api::spec::{Approval, NotificationEvent};
use crate::api::status::{ApprovalStatus, AwaitingStatus, Subject};

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
    pass.status.approvals.retain(|a| a.digest == digest);
    pass.status.message = format!("waits for {} approval(s): {question}", pass.run.approvals_required);
    pass.status.approvals_required = pass.run.approvals_required;
    let text = question.clone();
    pass.status.awaiting = Some(AwaitingStatus {
        subject,
        digest,
        question,
        required: pass.run.approvals_required,
        since: pass.now,
        deadline: later(pass.now, pass.run.approval_timeout),
        command,
    });
    let message = pass.status.message.clone();
    pass.set(ConditionType::Approved, Truth::Unknown, "AwaitingApproval", &message);
    pass.tell(NotificationEvent::ApprovalNeeded, &text);
}

/// Counts what is said about the digest that is asked about now. Entries about another digest, and the requester's own,
/// do not count; a denial wins.
pub(super) fn standing(pass: &mut Pass<'_>) -> Option<Standing> {
    let awaiting = pass.status.awaiting.clone()?;
    let requester = pass.run.meta.requested_by.as_deref();
    let (mut approved, mut denied) = (0, None);
    let mut counted = Vec::new();
    for (user, entry) in &pass.run.spec.approvals {
        if entry.digest != awaiting.digest || (requester == Some(user.as_str()) && entry.decision == Approval::Approve) {
            continue;
        }
        let at = pass.status.approvals.iter().find(|a| &a.user == user && a.decision == entry.decision).map_or(pass.now, |a| a.at);
        counted.push(ApprovalStatus {
            user: user.clone(),
            decision: entry.decision,
            subject: awaiting.subject,
            digest: entry.digest.clone(),
            at,
            message: entry.message.clone(),
        });
        match entry.decision {
            Approval::Approve => approved += 1,
            Approval::Deny => denied = Some(user.clone()),
        }
    }
    for decision in &counted {
        if !pass.status.approvals.contains(decision) {
            pass.event(false, "ApprovalCounted", &format!("{}: {:?} of {}", decision.user, decision.decision, decision.digest));
        }
    }
    pass.status.approvals = counted;
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

/// Says how many are missing, and which entries do not count and why.
pub(super) fn explain_waiting(pass: &mut Pass<'_>, missing: i32) {
    let Some(awaiting) = pass.status.awaiting.clone() else { return };
    let requester = pass.run.meta.requested_by.as_deref();
    let mut parts = vec![format!("waits for {missing} more approval(s) of {}: {}", awaiting.digest, awaiting.question)];
    for (user, entry) in &pass.run.spec.approvals {
        if entry.digest != awaiting.digest {
            parts.push(format!("the entry of {user} is about another digest and does not count"));
        } else if requester == Some(user.as_str()) && entry.decision == Approval::Approve {
            parts.push(format!("{user} asked for the run and cannot approve it"));
        }
    }
    if requester.is_none() {
        parts.push("who asked for the run is not known (annotation backfill.dev/requested-by), so one person more must approve".into());
    }
    let message = parts.join("; ");
    pass.status.message.clone_from(&message);
    pass.set(ConditionType::Approved, Truth::Unknown, "AwaitingApproval", &message);
    pass.look_again_at(awaiting.deadline);
    // A release that changes meanwhile voids the plan: it is not watched, so it is looked at.
    pass.look_again(std::time::Duration::from_secs(10));
}

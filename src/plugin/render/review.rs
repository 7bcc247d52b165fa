//! What the approver sees.

use super::{Ink, Page, Style, between, difference, row, seconds, span, text, time};
use crate::api::spec::Approval;
use crate::api::status::{
    AwaitingStatus, BackupStatus, CheckResult, PlanStatus, PlannedWrites, RehearsalStatus, SampleStatus, Step, Subject,
};
use crate::api::{BackfillRun, BackfillRunStatus, EDITED_BY, REQUESTED_BY};
use crate::lifecycle::estimate;
use jiff::Timestamp;

/// All that a person needs to decide, as it stands at `now`.
#[must_use]
pub fn page(run: &BackfillRun, now: Timestamp, style: Style) -> String {
    let nothing = BackfillRunStatus::default();
    let status = run.status.as_ref().unwrap_or(&nothing);
    let mut page = Page::new(style);
    asked(&mut page, run, status, now);
    if let Some(plan) = &status.plan {
        counts(&mut page, plan);
        parameters(&mut page, plan);
        samples(&mut page, plan);
        findings(&mut page, plan);
        script(&mut page, plan);
        remarks(&mut page, plan);
    }
    losses(&mut page, status);
    surroundings(&mut page, run, status);
    decisions(&mut page, status);
    commands(&mut page, run, status);
    page.text
}

fn asked(page: &mut Page, run: &BackfillRun, status: &BackfillRunStatus, now: Timestamp) {
    let name = |part: &Option<String>| text::line(part.as_deref().unwrap_or_default());
    page.section(&format!("{}/{}", name(&run.metadata.namespace), name(&run.metadata.name)));
    page.fact("phase", &format!("{}: {}", status.phase, text::line(&status.message)));
    if let Some(since) = status.suspended_since {
        let words = page.style.paint(Ink::Care, &format!("suspended since {}: the clock stands", time(since)));
        page.fact("", &words);
    }
    match &status.awaiting {
        None => {
            let words = page.style.paint(Ink::Care, "nothing at this moment");
            page.fact("asked", &words);
        }
        Some(awaiting) => question(page, awaiting, now),
    }
    let annotation = |key: &str| run.metadata.annotations.as_ref().and_then(|all| all.get(key)).map(|name| text::line(name));
    match annotation(REQUESTED_BY) {
        Some(name) => page.fact("requested by", &name),
        None => page.fact("requested by", "not said: one person more must approve"),
    }
    if let Some(name) = annotation(EDITED_BY) {
        page.fact("edited by", &name);
    }
    if let Some(voided) = &status.approval_voided {
        let words = format!("{}: {} ({})", text::line(&voided.reason), text::line(&voided.message), time(voided.at));
        let words = page.style.paint(Ink::Care, &words);
        page.fact("voided", &words);
    }
}

fn question(page: &mut Page, awaiting: &AwaitingStatus, now: Timestamp) {
    let subject = match awaiting.subject {
        Subject::Plan => "the plan",
        Subject::Restore => "a restore, with what it loses",
        Subject::Rollback => "to take the run back",
    };
    page.fact("asked", &format!("{subject}: {}", text::line(&awaiting.question)));
    page.fact("digest", &text::line(&awaiting.digest));
    let left = between(now, awaiting.deadline);
    let left = if left.is_zero() { "over".into() } else { format!("{} left", span(left)) };
    page.fact("until", &format!("{} ({left})", time(awaiting.deadline)));
    let may = if awaiting.requester_may_approve { "; the requester may be one of them" } else { "" };
    page.fact("needed", &format!("{} approval(s){may}", awaiting.required));
    for floor in &awaiting.floors {
        page.fact("", &format!("{}: {}, as {}", text::line(&floor.name), floor.minimum, text::line(&floor.why)));
    }
}

fn counts(page: &mut Page, plan: &PlanStatus) {
    page.section("What changes");
    let mut rows = Vec::new();
    for PlannedWrites { table, updates, inserts, deletes } in &plan.writes {
        for (action, count) in [("update", updates), ("insert", inserts), ("delete", deletes)] {
            if *count > 0 {
                rows.push(row([table, action, &format!("{count} row(s)")]));
            }
        }
    }
    page.table(&rows);
    if plan.file.is_empty() && plan.writes.is_empty() && !plan.output.is_empty() {
        page.line("  a script: its rows are not counted");
        return;
    }
    let counted = [
        ("in the source", plan.scanned),
        ("match", plan.matching),
        ("will be written", plan.will_write),
        ("are so already", plan.already_done),
        ("have no target", plan.no_match),
        ("lost to the winner of their group", plan.lost),
        ("are invalid", plan.invalid),
        ("look like a secret", plan.sensitive),
        ("are left out for it", plan.skipped_sensitive),
    ];
    let always = 3;
    let source: Vec<String> = counted
        .iter()
        .enumerate()
        .filter(|(index, (_, count))| *index < always || *count > 0)
        .map(|(_, (what, count))| format!("{count} {what}"))
        .collect();
    for line in text::wrapped(&format!("source rows: {}", source.join(", ")), page.style.width.saturating_sub(2)) {
        page.line(&format!("  {line}"));
    }
    page.line(if plan.proved_read_only {
        "  planned by a role that can only SELECT"
    } else {
        "  planned in a read-only transaction, by a role that could write"
    });
}

fn parameters(page: &mut Page, plan: &PlanStatus) {
    if plan.parameters.is_empty() {
        return;
    }
    page.section("Parameters");
    let rows: Vec<_> =
        plan.parameters.iter().map(|p| row([p.name.as_str(), p.type_name.as_str(), p.value.as_deref().unwrap_or("NULL")])).collect();
    page.table(&rows);
}

fn samples(page: &mut Page, plan: &PlanStatus) {
    if plan.sample.is_empty() {
        return;
    }
    page.section(&format!("Sample ({} of {})", plan.sample.len(), plan.will_write));
    for SampleStatus { key, table, changes } in &plan.sample {
        page.line(&format!("  {}, source row {}", text::line(table), text::line(key)));
        for change in changes {
            let column = page.style.paint(Ink::Faint, &text::line(&change.column));
            page.line(&format!("    {column}"));
            for line in difference::lines(page.style, change.before.as_deref(), change.after.as_deref()) {
                page.line(&format!("      {line}"));
            }
        }
    }
}

fn findings(page: &mut Page, plan: &PlanStatus) {
    if plan.invalid > 0 {
        page.section(&format!("Invalid rows ({}; they are not written)", plan.invalid));
        let rows: Vec<_> = plan.invalid_sample.iter().map(|i| row([&i.key, &i.rule, &i.pointer, &i.message])).collect();
        page.table(&rows);
    }
    if plan.sensitive > 0 {
        page.section(&format!("What looks like a secret ({} row(s); values are not shown)", plan.sensitive));
        let rows: Vec<_> = plan.findings.iter().map(|f| row([&f.key, &format!("{}.{}", f.table, f.column), &f.rule])).collect();
        page.table(&rows);
    }
}

fn script(page: &mut Page, plan: &PlanStatus) {
    if plan.output.is_empty() {
        return;
    }
    page.section("The end of the dry run");
    for line in plan.output.lines() {
        page.line(&format!("  {}", text::line(line)));
    }
}

fn remarks(page: &mut Page, plan: &PlanStatus) {
    if plan.remarks.is_empty() {
        return;
    }
    page.section("Remarks");
    for remark in &plan.remarks {
        let mut sign = "-";
        for line in text::wrapped(&text::line(remark), page.style.width.saturating_sub(4)) {
            page.line(&format!("  {sign} {line}"));
            sign = " ";
        }
    }
}

fn losses(page: &mut Page, status: &BackfillRunStatus) {
    let Some(rollback) = status.rollback.as_ref().filter(|rollback| !rollback.losses.is_empty()) else { return };
    page.section("What a restore loses");
    let rows: Vec<_> = rollback.losses.iter().map(|loss| row([&loss.table, &loss.message])).collect();
    page.table(&rows);
}

fn surroundings(page: &mut Page, run: &BackfillRun, status: &BackfillRunStatus) {
    page.section("Around it");
    if let Some(database) = &status.database {
        page.fact("database", &format!("{}, PostgreSQL {}", text::line(&database.name), text::line(&database.server_version)));
    }
    if let Some(release) = &status.release {
        let commit = release.commit.as_ref().map_or_else(String::new, |commit| format!(", commit {}", text::line(commit)));
        page.fact("release", &format!("{}, {}{commit}", text::line(&release.workload), text::line(&release.image)));
    }
    match &status.backup {
        Some(backup) => {
            backed_up(page, backup);
            if let Some(rehearsal) = &status.rehearsal {
                rehearsed(page, rehearsal);
            }
        }
        None => page.fact("backup", "none yet"),
    }
    if !status.way_back.is_empty() {
        page.fact("way back", &text::line(&status.way_back.join(", ")));
    }
    let ahead = match status.awaiting.as_ref().map(|awaiting| awaiting.subject) {
        Some(Subject::Restore) => Step::Restore,
        Some(Subject::Rollback) => Step::Undo,
        Some(Subject::Plan) | None => Step::Apply,
    };
    // The step has no estimate of its own before it begins.
    let time = estimate(status, ahead).map_or_else(|| "not known".into(), |time| format!("{} about {}", ahead.slug(), seconds(time)));
    page.fact("time", &time);
    if let Some(flag) = &run.spec.feature_flag {
        page.fact("flag", &format!("{}, after verification", text::line(&flag.name)));
    }
    let open: Vec<_> = status.checks.iter().filter(|check| check.result != CheckResult::Passed).collect();
    let passed = status.checks.len() - open.len();
    page.fact("checks", &format!("{passed} passed, {} not", open.len()));
    for check in open {
        let (ink, word) = match check.result {
            CheckResult::Failed => (Ink::Bad, "failed"),
            CheckResult::Inconclusive => (Ink::Care, "inconclusive"),
            CheckResult::Passed => (Ink::Good, "passed"),
        };
        let word = page.style.paint(ink, word);
        page.fact("", &format!("{word} {}: {}", text::line(&check.name), text::line(&check.message)));
    }
}

fn backed_up(page: &mut Page, backup: &BackupStatus) {
    let taken = backup.taken_at.map_or_else(String::new, |at| format!(", taken {}", time(at)));
    page.fact("backup", &format!("{}, {} bytes{taken}", text::line(&backup.path), backup.size_bytes));
    let proof = match backup.proof.as_str() {
        "Read" => "Read: every block was read back, and every table of the run is in it".to_owned(),
        "Restore" => "Restore: it was restored into a scratch server, and every table is as it was dumped".to_owned(),
        "Reported" => "Reported: CloudNativePG says that it is completed; nobody has read it back".to_owned(),
        "" => "none".into(),
        other => text::line(other),
    };
    page.fact("proof", &proof);
    if !backup.scope.is_empty() {
        let tables = text::line(&backup.tables.join(", "));
        page.fact("scope", &format!("{}: a restore puts the rows of these back, and nothing else: {tables}", text::line(&backup.scope)));
    }
    for what in &backup.unproved {
        page.fact("", &format!("not proved: {}", text::line(what)));
    }
    if !backup.sha256.is_empty() {
        page.fact("", &format!("sha256 {}", text::line(&backup.sha256)));
    }
    if !backup.restore_with.is_empty() {
        page.fact("restore with", &text::line(&backup.restore_with));
    }
}

/// What was found on the restored copy.
fn rehearsed(page: &mut Page, rehearsal: &RehearsalStatus) {
    let restored = format!("restored into PostgreSQL {} in {}", text::line(&rehearsal.server_version), seconds(rehearsal.restore_seconds));
    let applied = rehearsal.apply_seconds.map_or_else(String::new, |took| format!(", the plan applied there in {}", seconds(took)));
    page.fact("rehearsal", &format!("{restored}{applied}"));
    for count in &rehearsal.counts {
        let real = count.real.map_or_else(String::new, |real| format!(", really {real}"));
        page.fact("", &format!("{}: {} predicted, {} on the copy{real}", text::line(&count.name), count.predicted, count.rehearsed));
    }
    for remark in &rehearsal.remarks {
        page.fact("", &text::line(remark));
    }
}

fn decisions(page: &mut Page, status: &BackfillRunStatus) {
    page.section("Decided so far");
    let asked = status.awaiting.as_ref().map(|awaiting| &awaiting.digest);
    let decided: Vec<_> = status.approvals.iter().filter(|approval| asked.is_none_or(|digest| *digest == approval.digest)).collect();
    if decided.is_empty() {
        page.line("  nobody has");
    }
    for approval in decided {
        let (ink, word) = match approval.decision {
            Approval::Approve => (Ink::Good, "approves"),
            Approval::Deny => (Ink::Bad, "denies"),
        };
        let why = approval.message.as_ref().map_or_else(String::new, |message| format!(": {}", text::line(message)));
        let word = page.style.paint(ink, word);
        let identity = approval.identity.as_str();
        page.line(&format!("  {} {word} ({identity}, {}){why}", text::line(&approval.user), time(approval.at)));
    }
}

fn commands(page: &mut Page, run: &BackfillRun, status: &BackfillRunStatus) {
    let Some(awaiting) = &status.awaiting else { return };
    let name = |part: &Option<String>| text::line(part.as_deref().unwrap_or_default());
    page.section("To decide");
    for word in ["approve", "deny"] {
        page.line(&format!(
            "  kubectl backfill {word} {} -n {} --digest {}",
            name(&run.metadata.name),
            name(&run.metadata.namespace),
            text::line(&awaiting.digest)
        ));
    }
    page.line("  or, without the plugin:");
    page.line(&format!("  {}", text::line(&awaiting.command)));
}

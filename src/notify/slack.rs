//! An incoming webhook of Slack.

use super::{AskedFacts, Facts, NotifyError, RowFacts, read_address};
use serde_json::{Value, json};
use std::path::Path;

/// Slack refuses longer texts in a section; a rest is left for the marks around it.
const SECTION_MAX_CHARS: usize = 2900;

pub(super) async fn request(http: &reqwest::Client, url_file: &Path, facts: &Facts) -> Result<reqwest::RequestBuilder, NotifyError> {
    Ok(http.post(read_address(url_file).await?).json(&message(facts)))
}

fn message(facts: &Facts) -> Value {
    let title = format!("*{}* `{}/{}` is {}", facts.event.as_str(), facts.run.namespace, facts.run.name, facts.phase);
    let mut blocks = vec![section(&format!("{title}\n{}", escape(&facts.text)))];
    let mut lines: Vec<String> = [
        facts.backup.as_ref().map(|path| format!("*Backup* `{}`", escape(path))),
        facts.commit.as_ref().map(|commit| format!("*Commit* `{}`", escape(commit))),
        facts.rows_changed.map(|rows| format!("*Rows changed* {rows}")),
    ]
    .into_iter()
    .flatten()
    .collect();
    if facts.incidents.is_empty() {
        lines.push("*Incidents* none".into());
    } else {
        lines.push("*Incidents*".into());
        lines.extend(facts.incidents.iter().map(|incident| format!("• {}", escape(incident))));
    }
    blocks.push(section(&lines.join("\n")));
    if let Some(asked) = &facts.asked {
        blocks.push(section(&before_one_answers(asked)));
    }
    for said in &facts.decisions {
        let why = said.message.as_ref().map_or_else(String::new, |message| format!(": {}", escape(message)));
        let who = escape(&said.user);
        blocks.push(section(&format!(
            "{who} *{:?}* {}, identity {}, of `{}`{why}",
            said.decision,
            said.at,
            said.identity.as_str(),
            said.digest
        )));
    }
    if let Some(command) = &facts.approval_command {
        blocks.push(section(&format!("To approve:\n```{}```", escape(command))));
    }
    // `text` is what a notification on a phone shows, and what clients without blocks show.
    json!({"text": escape(&format!("{} {}/{}: {}", facts.event.as_str(), facts.run.namespace, facts.run.name, facts.text)), "blocks": blocks})
}

/// The facts that `kubectl backfill review` shows, without the rows.
fn before_one_answers(asked: &AskedFacts) -> String {
    let mut lines: Vec<String> = asked.changes.iter().map(|change| format!("*Changes* {}", escape(change))).collect();
    if let Some(RowFacts { scanned, matching, will_write, invalid, sensitive }) = asked.rows {
        lines.push(format!("*Rows* {will_write} of {matching} that match will be written, {scanned} are in the source"));
        lines.push(format!("*Invalid* {invalid}, *looks like a secret* {sensitive}"));
    }
    lines.extend(asked.loses.iter().map(|table| format!("*Loses* what was written since in {}", escape(table))));
    if !asked.proof.is_empty() {
        lines.push(format!("*Proof of the backup* {}", escape(&asked.proof)));
    }
    if let Some(estimated) = &asked.estimated {
        lines.push(format!("*Will take* about {estimated}"));
    }
    lines.push(format!("*Needed* {} approval(s) until {}", asked.required, asked.until));
    lines.extend(asked.because.iter().map(|because| format!("• {}", escape(because))));
    lines.push(format!("*Digest* `{}`", escape(&asked.digest)));
    lines.join("\n")
}

fn section(text: &str) -> Value {
    let text: String = text.chars().take(SECTION_MAX_CHARS).collect();
    json!({"type": "section", "text": {"type": "mrkdwn", "text": text}})
}

/// The three characters that Slack reads as marks: without them no text can call people (`<!channel>`) or hide a link.
fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

#[cfg(test)]
mod tests {
    use super::super::facts::tests::facts;
    use super::*;

    #[test]
    fn the_message_has_the_facts_and_the_command() {
        insta::assert_snapshot!(serde_json::to_string_pretty(&message(&facts())).unwrap());
    }

    #[test]
    fn a_text_cannot_call_people() {
        let facts = Facts { text: "<!channel> & <https://example.org|here>".into(), ..facts() };
        let text = message(&facts).to_string();
        assert!(!text.contains("<!") && text.contains("&lt;!channel&gt; &amp; &lt;https"));
    }
}

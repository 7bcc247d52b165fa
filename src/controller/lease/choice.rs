//! What a candidate does about what it sees. Pure.

use super::LEASE;
use std::time::Duration;
use tokio::time::Instant;

/// What a candidate has seen of the Lease.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Seen {
    /// Who holds it; nobody where it was given back.
    pub holder: Option<String>,
    /// The version of the Lease.
    pub version: String,
    /// Since when, on our clock, it has had this version.
    pub since: Instant,
}

impl Seen {
    /// What is known after another look: the clock starts anew only where the Lease has changed.
    pub(super) fn look(before: Option<Self>, holder: Option<String>, version: String, now: Instant) -> Self {
        let since = before.filter(|before| before.version == version).map_or(now, |before| before.since);
        Self { holder: holder.filter(|holder| !holder.is_empty()), version, since }
    }
}

/// What to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Choice {
    /// Make the Lease: there is none.
    Create,
    /// Take it: nobody holds it, or its holder has not renewed it for as long as it lasts.
    Acquire,
    /// Renew it: it is ours.
    Renew,
    /// Look again, at the latest after this long: it is another's.
    Wait(Duration),
}

pub(super) fn choose(seen: Option<&Seen>, identity: &str, now: Instant) -> Choice {
    let Some(seen) = seen else { return Choice::Create };
    match &seen.holder {
        None => Choice::Acquire,
        Some(holder) if holder == identity => Choice::Renew,
        Some(_) => match LEASE.saturating_sub(now.saturating_duration_since(seen.since)) {
            Duration::ZERO => Choice::Acquire,
            left => Choice::Wait(left),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn look(before: Option<Seen>, holder: &str, version: &str, now: Instant) -> Seen {
        Seen::look(before, Some(holder.into()), version.into(), now)
    }

    #[tokio::test]
    async fn what_nobody_holds_is_taken_and_what_is_ours_renewed() {
        let now = Instant::now();
        assert_eq!(choose(None, "a", now), Choice::Create);
        assert_eq!(choose(Some(&look(None, "", "1", now)), "a", now), Choice::Acquire);
        assert_eq!(choose(Some(&look(None, "a", "1", now)), "a", now), Choice::Renew);
    }

    #[tokio::test]
    async fn anothers_lease_is_taken_only_when_we_saw_it_unchanged_for_as_long_as_it_lasts() {
        let start = Instant::now();
        let after = |seconds| start + Duration::from_secs(seconds);
        let seen = look(None, "b", "1", start);
        assert_eq!(choose(Some(&seen), "a", after(14)), Choice::Wait(Duration::from_secs(1)));
        let unchanged = look(Some(seen.clone()), "b", "1", after(14));
        assert_eq!(choose(Some(&unchanged), "a", after(15)), Choice::Acquire);
        let renewed = look(Some(seen), "b", "2", after(14));
        assert_eq!(choose(Some(&renewed), "a", after(15)), Choice::Wait(Duration::from_secs(14)));
    }
}

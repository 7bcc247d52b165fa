//! The outbox of a run, `status.notifications`: what is to be told, tried, told, given up. Pure.
//!
//! A message is written into the status together with what it speaks of, and delivered later: at least once, in spite of
//! restarts. A message that could not be delivered within [`GIVE_UP_AFTER`] stays in the status with its error.

use crate::api::spec::{Notification, NotificationEvent};
use crate::api::status::NotificationStatus;
use jiff::{SignedDuration, Timestamp};

/// No longer pause than this between two attempts.
pub const RETRY_MAX: SignedDuration = SignedDuration::from_mins(5);
/// No attempt after this, counted from the event.
pub const GIVE_UP_AFTER: SignedDuration = SignedDuration::from_hours(24);
/// At most so many messages are kept; the oldest settled ones go first.
pub const KEPT: usize = 64;
const RETRY_FIRST: SignedDuration = SignedDuration::from_secs(5);
const TEXT_MAX_CHARS: usize = 1024;

/// The messages for an event: one for each channel that asks for it. `id` tells two events of one kind apart (the digest
/// that is asked about, the attempt that stalled).
#[must_use]
pub fn enqueue(wanted: &[Notification], event: NotificationEvent, id: &str, text: &str, now: Timestamp) -> Vec<NotificationStatus> {
    let mut messages: Vec<NotificationStatus> = Vec::new();
    for wish in wanted.iter().filter(|wish| wish.events.contains(&event)) {
        if messages.iter().any(|message| message.channel == wish.channel) {
            continue;
        }
        messages.push(NotificationStatus {
            event,
            channel: wish.channel.clone(),
            id: id.into(),
            at: now,
            text: text.chars().take(TEXT_MAX_CHARS).collect(),
            delivered_at: None,
            attempts: 0,
            retry_at: None,
            error: String::new(),
        });
    }
    messages
}

/// Adds messages to the outbox, those that it has already left out, so that deciding twice tells once.
pub fn add(outbox: &mut Vec<NotificationStatus>, messages: Vec<NotificationStatus>) {
    for message in messages {
        if !outbox.iter().any(|known| is_same(known, &message)) {
            outbox.push(message);
        }
    }
    while outbox.len() > KEPT {
        let oldest = outbox.iter().position(is_settled).unwrap_or(0);
        outbox.remove(oldest);
    }
}

/// The messages to deliver now.
#[must_use]
pub fn due(outbox: &[NotificationStatus], now: Timestamp) -> Vec<&NotificationStatus> {
    outbox.iter().filter(|message| !is_settled(message) && message.retry_at.is_none_or(|at| at <= now)).collect()
}

/// How long until a message is due; `None` where nothing waits.
#[must_use]
pub fn next_due(outbox: &[NotificationStatus], now: Timestamp) -> Option<SignedDuration> {
    let waiting = outbox.iter().filter(|message| !is_settled(message));
    waiting.map(|message| message.retry_at.map_or(SignedDuration::ZERO, |at| at.duration_since(now).max(SignedDuration::ZERO))).min()
}

/// The message, delivered.
#[must_use]
pub fn delivered(message: &NotificationStatus, now: Timestamp) -> NotificationStatus {
    NotificationStatus {
        delivered_at: Some(now),
        attempts: message.attempts.saturating_add(1),
        retry_at: None,
        error: String::new(),
        ..message.clone()
    }
}

/// The message after an attempt that failed: tried again after a pause that doubles from 5 s to [`RETRY_MAX`], of which
/// `jitter` (from 0 to 1) leaves between a half and the whole; given up after [`GIVE_UP_AFTER`].
#[must_use]
pub fn failed(message: &NotificationStatus, error: &str, now: Timestamp, jitter: f64) -> NotificationStatus {
    let doublings = u32::try_from(message.attempts.clamp(0, 10)).unwrap_or(0);
    let whole = (RETRY_FIRST * 2_i32.pow(doublings)).min(RETRY_MAX);
    let pause = SignedDuration::from_secs_f64(whole.as_secs_f64() * (0.5 + jitter.clamp(0.0, 1.0) / 2.0));
    let retry_at = now.saturating_add(pause).unwrap_or(Timestamp::MAX);
    let gives_up = retry_at.duration_since(message.at) > GIVE_UP_AFTER;
    NotificationStatus {
        attempts: message.attempts.saturating_add(1),
        retry_at: (!gives_up).then_some(retry_at),
        error: if gives_up { format!("given up after {} h: {error}", GIVE_UP_AFTER.as_hours()) } else { error.into() },
        ..message.clone()
    }
}

/// Puts the new state of a message into the outbox; one that is no longer in it, or was settled meanwhile, is left as it is.
pub fn record(outbox: &mut [NotificationStatus], message: NotificationStatus) {
    if let Some(known) = outbox.iter_mut().find(|known| is_same(known, &message) && !is_settled(known)) {
        *known = message;
    }
}

fn is_same(a: &NotificationStatus, b: &NotificationStatus) -> bool {
    a.event == b.event && a.channel == b.channel && a.id == b.id
}

/// Delivered, or given up: tried, and not to be tried again.
fn is_settled(message: &NotificationStatus) -> bool {
    message.delivered_at.is_some() || (message.attempts > 0 && message.retry_at.is_none())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_second(1_800_000_000 + seconds).unwrap()
    }

    fn wish(channel: &str, events: &[NotificationEvent]) -> Notification {
        Notification { channel: channel.into(), events: events.to_vec() }
    }

    fn message() -> NotificationStatus {
        enqueue(&[wish("team", &[NotificationEvent::Failed])], NotificationEvent::Failed, "1", "it failed", at(0)).remove(0)
    }

    #[test]
    fn each_channel_that_asks_for_the_event_gets_one_message() {
        let wanted = [
            wish("a", &[NotificationEvent::Failed]),
            wish("b", &[NotificationEvent::Applied]),
            wish("a", &[NotificationEvent::Failed, NotificationEvent::Applied]),
        ];
        let channels = |event| enqueue(&wanted, event, "1", "t", at(0)).into_iter().map(|m| m.channel).collect::<Vec<_>>();
        assert_eq!(channels(NotificationEvent::Failed), ["a"]);
        assert_eq!(channels(NotificationEvent::Applied), ["b", "a"]);
        assert!(channels(NotificationEvent::Stalled).is_empty());
    }

    #[test]
    fn the_same_event_twice_is_told_once() {
        let mut outbox = vec![delivered(&message(), at(1))];
        add(&mut outbox, vec![message()]);
        add(&mut outbox, vec![NotificationStatus { id: "2".into(), ..message() }]);
        assert_eq!(outbox.len(), 2);
        assert!(outbox[0].delivered_at.is_some());
    }

    #[test]
    fn a_full_outbox_forgets_what_is_settled_first() {
        let mut outbox = vec![message()];
        for id in 0..KEPT {
            add(&mut outbox, vec![delivered(&NotificationStatus { id: format!("x{id}"), ..message() }, at(1))]);
        }
        assert_eq!(outbox.len(), KEPT);
        assert!(outbox[0].delivered_at.is_none());
    }

    #[test]
    fn a_message_is_due_at_once_then_after_its_pause_and_never_again_once_delivered() {
        let first = message();
        assert_eq!(due(std::slice::from_ref(&first), at(0)).len(), 1);
        let second = failed(&first, "the address answers 500", at(0), 1.0);
        assert_eq!(second.retry_at, Some(at(5)));
        assert!(due(std::slice::from_ref(&second), at(4)).is_empty());
        assert_eq!(next_due(std::slice::from_ref(&second), at(4)), Some(SignedDuration::from_secs(1)));
        assert_eq!(due(std::slice::from_ref(&second), at(5)).len(), 1);
        let last = delivered(&second, at(6));
        assert_eq!((last.attempts, last.error.as_str()), (2, ""));
        assert!(due(std::slice::from_ref(&last), at(1_000_000)).is_empty());
        assert_eq!(next_due(&[last], at(7)), None);
    }

    #[test]
    fn what_could_not_be_delivered_in_a_day_is_given_up_and_kept_with_its_error() {
        let late = failed(&message(), "the address answers 500", at(24 * 3600), 0.5);
        assert_eq!((late.retry_at, late.error.as_str()), (None, "given up after 24 h: the address answers 500"));
        assert!(due(&[late], at(48 * 3600)).is_empty());
    }

    #[test]
    fn a_message_that_waited_a_day_for_the_operator_is_tried_once_all_the_same() {
        assert_eq!(due(&[message()], at(30 * 3600)).len(), 1);
    }

    #[test]
    fn what_was_settled_meanwhile_is_not_unsettled() {
        let mut outbox = vec![delivered(&message(), at(1))];
        record(&mut outbox, failed(&message(), "late", at(2), 0.0));
        assert!(outbox[0].delivered_at.is_some());
    }

    proptest! {
        #[test]
        fn a_pause_is_between_2_5_s_and_5_min_whatever_happened(attempts in 0i32..1000, jitter in 0.0f64..1.0) {
            let tried = NotificationStatus { attempts, ..message() };
            let pause = failed(&tried, "e", at(0), jitter).retry_at.unwrap().duration_since(at(0));
            prop_assert!(pause >= RETRY_FIRST / 2 && pause <= RETRY_MAX);
        }
    }
}

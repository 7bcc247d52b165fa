//! Pages, as people see them.

use super::{Style, fixture, review, status};
use jiff::Timestamp;

const PLAIN: Style = Style { colour: false, width: 100 };
const COLOUR: Style = Style { colour: true, width: 100 };

fn now() -> Timestamp {
    "2026-11-01T12:00:00Z".parse().unwrap()
}

#[test]
fn a_review_has_all_that_a_person_needs_to_decide() {
    insta::assert_snapshot!(review::page(&fixture::awaiting(), now(), PLAIN));
}

#[test]
fn a_review_of_a_script_shows_the_end_of_its_dry_run() {
    insta::assert_snapshot!(review::page(&fixture::script(), now(), PLAIN));
}

#[test]
fn a_review_of_a_restore_shows_what_it_loses() {
    insta::assert_snapshot!(review::page(&fixture::restore(), now(), PLAIN));
}

#[test]
fn a_run_that_has_just_been_made_has_pages_too() {
    let mut run = fixture::awaiting();
    run.status = None;
    assert!(review::page(&run, now(), PLAIN).contains("nothing at this moment"));
    assert!(status::page(&run, now(), PLAIN).contains("Pending"));
    assert_eq!(status::line(&run), "Pending: ");
}

#[test]
fn colours_change_nothing_but_colours() {
    let sgr = regex::Regex::new("\x1b\\[[0-9;]+m").unwrap();
    for run in [fixture::awaiting, fixture::applying, fixture::script, fixture::restore].map(|made| Box::new(made())) {
        for (colour, plain) in [
            (review::page(&run, now(), COLOUR), review::page(&run, now(), PLAIN)),
            (status::page(&run, now(), COLOUR), status::page(&run, now(), PLAIN)),
        ] {
            assert!(sgr.is_match(&colour));
            assert_eq!(sgr.replace_all(&colour, ""), plain);
            assert!(!plain.contains('\x1b'));
        }
    }
}

#[test]
fn a_status_shows_how_far_how_fast_and_how_long_still() {
    insta::assert_snapshot!(status::page(&fixture::applying(), now(), PLAIN));
    assert_eq!(status::line(&fixture::applying()), "Applying [52000/117990 (44%), 3s left]: rows are written");
}

#[test]
fn a_bar_is_never_fuller_than_full_and_what_holds_the_worker_is_named() {
    let mut run = fixture::applying();
    let progress = run.status.as_mut().unwrap().progress.as_mut().unwrap();
    (progress.done, progress.total, progress.throttled_by) = (500, 100, "ReplicationLag".into());
    let page = status::page(&run, now(), PLAIN);
    assert!(
        page.contains("[########################################] 100%  500 of 100 rows, 21000 a second, held by ReplicationLag"),
        "{page}"
    );
    run.status.as_mut().unwrap().progress.as_mut().unwrap().total = 0;
    assert!(status::page(&run, now(), PLAIN).contains("progress      500 rows, 21000 a second"));
}

#[test]
fn what_the_run_says_does_not_reach_the_terminal_as_it_is() {
    let mut run = fixture::applying();
    run.status.as_mut().unwrap().message = "\x1b]0;title\x07 done".into();
    for text in [status::page(&run, now(), PLAIN), status::line(&run), review::page(&run, now(), PLAIN)] {
        assert!(!text.contains(['\x1b', '\x07']), "{text}");
    }
}

//! What a scan costs. Not part of the suite: figures belong to a machine.

use super::scanner::Scanner;
use std::time::Instant;

const PROSE: &str = "A scenario asks for a table of orders by month. The model answers with three paragraphs and a list, in plain words; \
nothing in it is out of the ordinary, and the risk of a wrong answer is small. Each row has a title, an author and a date. ";

#[test]
#[ignore = "a measurement"]
fn a_kibibyte_of_clean_text_takes_microseconds() {
    let scanner = Scanner::standard();
    let clean = PROSE.repeat(40);
    let worded = format!("{clean} the password of the key is a secret token");
    let json = serde_json::json!({"prompt": PROSE.repeat(10), "items": vec![PROSE; 20], "n": 12.5}).to_string();
    for (what, text) in [("clean", &clean), ("with words that rules know", &worded), ("json", &json)] {
        assert_eq!(scanner.rules_found(text), Vec::<&str>::new(), "{what}");
        let started = Instant::now();
        let rounds = 200_u32;
        for _ in 0..rounds {
            std::hint::black_box(scanner.redact(std::hint::black_box(text), what == "json"));
        }
        let micros = started.elapsed().as_secs_f64() * 1e6 / f64::from(rounds);
        let kib = f64::from(u32::try_from(text.len()).unwrap()) / 1024.0;
        println!("{what}: {:.1} us a KiB ({kib:.1} KiB)", micros / kib);
    }
    let started = Instant::now();
    std::hint::black_box(Scanner::of(&crate::api::spec::SensitiveData::default()).unwrap());
    println!("making a scanner: {:.1} ms", started.elapsed().as_secs_f64() * 1e3);
}

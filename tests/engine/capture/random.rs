//! Random scripts: whatever they do to their rows, in whatever order, goes back.

use super::{arm, back, bench, hash, of, run_script};
use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng as _};

const SETUP: &str = "
    CREATE TABLE a (id int PRIMARY KEY, u int UNIQUE, v text);
    CREATE TABLE b (id int PRIMARY KEY, a_id int REFERENCES a ON DELETE CASCADE, v text);
    CREATE TABLE c (x int, y int, b_id int REFERENCES b ON DELETE SET NULL, PRIMARY KEY (x, y));
    INSERT INTO a SELECT n, n, 'a' || n FROM generate_series(1, 30) n;
    INSERT INTO b SELECT n, 1 + n % 30, NULL FROM generate_series(1, 60) n;
    INSERT INTO c SELECT n % 7, n, 1 + n % 60 FROM generate_series(1, 60) n";

fn statement(random: &mut StdRng, n: i32) -> String {
    let id = random.random_range(1..40);
    let few = random.random_range(1..8);
    match random.random_range(0..12) {
        0 => format!("INSERT INTO a VALUES ({}, {}, 'new {n}') ON CONFLICT DO NOTHING", 100 + n, random.random_range(1..60)),
        1 => format!("INSERT INTO b SELECT {} + id, id, 'n{n}' FROM a WHERE id % {few} = 0", 1000 * (n + 1)),
        2 => format!("INSERT INTO c SELECT {}, id, id FROM b WHERE id % {few} = 1", 100 + n),
        3 => format!("UPDATE a SET v = 'u{n}' || id WHERE id % {few} = 0"),
        4 => format!("UPDATE a SET u = u + 1000 * {} WHERE id = {id}", n + 1),
        5 => format!("UPDATE b SET a_id = (SELECT min(id) FROM a WHERE id > {id}), v = 'moved' WHERE id % {few} = 0"),
        6 => format!("DELETE FROM a WHERE id = {id}"),
        7 => format!("DELETE FROM b WHERE id % 11 = {few}"),
        8 => format!("DELETE FROM c WHERE y % 13 = {few}"),
        9 => format!("UPDATE c SET x = x + 1000 * {}, b_id = NULL WHERE y % 5 = {few}", n + 1),
        10 => format!("INSERT INTO a VALUES ({id}, NULL, 'upserted') ON CONFLICT (id) DO UPDATE SET v = 'upserted {n}'"),
        _ => format!(
            "UPDATE a SET u = NULL WHERE id = {id}; UPDATE a SET u = {id} WHERE id = {id} AND NOT EXISTS (SELECT FROM a WHERE u = {id})"
        ),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn random_scripts_go_back_whatever_they_did() {
    let seeds = std::env::var("BACKFILL_FUZZ_SECONDS").ok().and_then(|s| s.parse().ok()).unwrap_or(8);
    for seed in 0..seeds {
        let mut random = StdRng::seed_from_u64(seed);
        let bench = bench(SETUP).await;
        let tables = ["a", "b", "c"];
        let before = hash(&bench, &tables).await;
        arm(&bench, &of(&tables)).await.unwrap();
        let statements: Vec<String> = (0..40).map(|n| statement(&mut random, n)).collect();
        let script = statements.chunks(5).map(|some| format!("BEGIN; {}; COMMIT", some.join("; "))).collect::<Vec<_>>().join("; ");
        run_script(&bench, &script);
        let undone = back(&bench).await;
        assert!(undone.skipped == 0 && hash(&bench, &tables).await == before, "seed {seed}: {undone:?}\n{script}");
    }
}

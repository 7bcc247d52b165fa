//! A definition that was just made, until the API server serves it.

use std::process::Command;
use std::time::{Duration, Instant};

/// Waits for it, as the administrator. At first a definition has no conditions at all, which `kubectl wait` takes for an
/// error instead of waiting.
pub fn is_served(name: &str) {
    let begun = Instant::now();
    loop {
        let wait = ["wait", "--for=condition=Established", "--timeout=10s", "crd", name];
        let end = Command::new("kubectl").args(wait).output().expect("kubectl");
        if end.status.success() {
            return;
        }
        assert!(begun.elapsed() < Duration::from_mins(1), "{name}: {}", String::from_utf8_lossy(&end.stderr));
        std::thread::sleep(Duration::from_millis(300));
    }
}

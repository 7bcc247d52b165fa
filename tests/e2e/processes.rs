//! What anybody on the node can read of the processes in pods: their arguments and their environment.

use regex::Regex;
use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

/// Between two looks at all processes.
const PAUSE: Duration = Duration::from_millis(20);

/// What was seen while it was looked.
#[derive(Debug, Default)]
pub struct Seen {
    /// Names of programs in pods.
    pub programs: BTreeSet<String>,
    /// Uid of a pod, the file of `/proc` and the name of what stood in it.
    pub findings: BTreeSet<(String, &'static str, String)>,
}

/// Looks until it is stopped. Only where pods are processes of this machine.
pub struct Lookout {
    stop: Arc<AtomicBool>,
    thread: JoinHandle<Seen>,
}

impl Lookout {
    /// Looks for texts, each with a name.
    pub fn begin(wanted: Vec<(String, String)>) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = stop.clone();
        let thread = std::thread::spawn(move || {
            let pod = Regex::new(r"pod([0-9a-f]{8}[-_][0-9a-f_-]{27})").expect("a pattern");
            let mut seen = Seen::default();
            while !stopped.load(Ordering::Relaxed) {
                look(&pod, &wanted, &mut seen);
                std::thread::sleep(PAUSE);
            }
            seen
        });
        Self { stop, thread }
    }

    /// Ends it.
    pub fn end(self) -> Seen {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.join().expect("the lookout's end")
    }
}

fn look(pod: &Regex, wanted: &[(String, String)], seen: &mut Seen) {
    let processes = std::fs::read_dir("/proc").expect("the list of processes");
    for process in processes.flatten().map(|entry| entry.path()) {
        let read = |file: &str| read(&process, file);
        let groups = read("cgroup");
        let Some(uid) = pod.captures(&groups).map(|found| found[1].replace('_', "-")) else { continue };
        let arguments = read("cmdline");
        if let Some(program) = arguments.split('\0').next().and_then(|path| path.rsplit('/').next()) {
            seen.programs.insert(program.to_owned());
        }
        for (file, text) in [("cmdline", arguments), ("environ", read("environ"))] {
            for (name, _) in wanted.iter().filter(|(_, secret)| text.contains(secret.as_str())) {
                seen.findings.insert((uid.clone(), file, name.clone()));
            }
        }
    }
}

/// A process that has ended meanwhile has nothing to say.
fn read(process: &Path, file: &str) -> String {
    std::fs::read(process.join(file)).map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).unwrap_or_default()
}

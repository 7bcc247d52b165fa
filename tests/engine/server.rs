//! A PostgreSQL server of the tests' own: started by the first test, gone when the test process is gone.

use std::io::{BufRead as _, BufReader};
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};

/// Serves until its standard input ends, which is when the test process does, however that ends. A line `restart` restarts it.
const SCRIPT: &str = r#"
set -e
as=""
if [ "$(id -u)" = 0 ]; then chown postgres "$1"; as="setpriv --reuid=postgres --regid=postgres --clear-groups"; fi
cd "$1"
$as "$2/initdb" -D "$1/data" -U postgres -A trust --no-sync -E UTF8 --locale=C.UTF-8 >"$1/initdb.log" 2>&1
serve() {
  $as "$2/pg_ctl" -D "$1/data" -w -l "$1/server.log" -o "-k $1 -p $3 -c listen_addresses=127.0.0.1 -c fsync=off -c full_page_writes=off \
    -c autovacuum=off -c max_connections=300 -c shared_buffers=64MB -c max_locks_per_transaction=256 $4" start >/dev/null
}
touch "$1/server.log"; if [ "$(id -u)" = 0 ]; then chown postgres "$1/server.log"; fi
serve "$@"
echo ready
while read -r _; do
  $as "$2/pg_ctl" -D "$1/data" -m immediate -w stop >/dev/null || true
  serve "$@"
  echo ready
done
$as "$2/pg_ctl" -D "$1/data" -m immediate stop >/dev/null || true
rm -rf "$1"
"#;

/// A running server.
pub struct Server {
    /// Its port.
    pub port: u16,
    keeper: Child,
    said: BufReader<std::process::ChildStdout>,
}

static SHARED: OnceLock<Server> = OnceLock::new();
static NEXT: AtomicU32 = AtomicU32::new(0);

impl Server {
    /// The server that all tests share.
    pub fn shared() -> &'static Self {
        SHARED.get_or_init(Self::start)
    }

    /// Another server, for a test that restarts it.
    pub fn start() -> Self {
        Self::start_with("")
    }

    /// Another server with other options than the shared one, as in `-c autovacuum=on`.
    pub fn start_with(options: &str) -> Self {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        drop(listener);
        let socket = tempfile::Builder::new().prefix("bfe").tempdir_in("/tmp").unwrap().keep();
        let bin = std::env::var("PG_BIN").unwrap_or_else(|_| "/usr/lib/postgresql/15/bin".into());
        let mut keeper = Command::new("sh")
            .args(["-c", SCRIPT, "sh", socket.to_str().unwrap(), &bin, &port.to_string(), options])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut said = BufReader::new(keeper.stdout.take().unwrap());
        let mut line = String::new();
        said.read_line(&mut line).unwrap();
        assert_eq!(line.trim(), "ready", "see {}/initdb.log", socket.display());
        Self { port, keeper, said }
    }

    /// Kills the server's processes and starts it again.
    pub fn restart(&mut self) {
        use std::io::Write as _;
        writeln!(self.keeper.stdin.as_mut().unwrap(), "restart").unwrap();
        let mut line = String::new();
        self.said.read_line(&mut line).unwrap();
    }

    /// A name for a database that no other test has.
    pub fn fresh_name(prefix: &str) -> String {
        format!("{prefix}_{}", NEXT.fetch_add(1, Ordering::Relaxed))
    }
}

//! A streaming standby of a test's server, made with `pg_basebackup`; gone when the test is.

use crate::server::Server;
use std::io::{BufRead as _, BufReader};
use std::process::{Child, Command, Stdio};

/// Serves until its standard input ends.
const SCRIPT: &str = r#"
set -e
as=""
if [ "$(id -u)" = 0 ]; then chown postgres "$1"; as="setpriv --reuid=postgres --regid=postgres --clear-groups"; fi
cd "$1"
# Not as the server's user, who may not read where this program lies.
"$8/pg_basebackup" -D "$1/data" -R -X stream -c fast --no-sync -S "$6" -C \
  -d "host=127.0.0.1 port=$4 user=postgres application_name=$5" >"$1/basebackup.log" 2>&1
# A newer client writes settings of the connection that an older server does not know; the last line counts.
echo "primary_conninfo = 'host=127.0.0.1 port=$4 user=postgres application_name=$5'" >>"$1/data/postgresql.auto.conf"
if [ "$(id -u)" = 0 ]; then chown -R postgres "$1/data"; fi
touch "$1/server.log"; if [ "$(id -u)" = 0 ]; then chown postgres "$1/server.log"; fi
$as "$2/pg_ctl" -D "$1/data" -w -l "$1/server.log" -o "-k $1 -p $3 -c listen_addresses=127.0.0.1 -c fsync=off -c max_connections=300 \
  -c max_locks_per_transaction=256 -c shared_buffers=32MB -c hot_standby=on -c cluster_name=$5 $7" start >/dev/null
echo ready
cat >/dev/null
$as "$2/pg_ctl" -D "$1/data" -m immediate -w stop >/dev/null || true
rm -rf "$1"
"#;

/// A running standby.
pub struct Standby {
    pub port: u16,
    keeper: Child,
}

impl Standby {
    /// Copies the primary and follows it, over a replication slot of the standby's name.
    pub fn of(primary: &Server, name: &str, options: &str) -> Self {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        drop(listener);
        let folder = tempfile::Builder::new().prefix("bfs").tempdir_in("/tmp").unwrap().keep();
        let bin = std::env::var("PG_BIN").unwrap_or_else(|_| "/usr/lib/postgresql/15/bin".into());
        // The servers of other majors come without it; a client that is not older has it.
        let clients = std::env::var("BACKFILL_TEST_CLIENT").unwrap_or_else(|_| bin.clone());
        let ports = [port.to_string(), primary.port.to_string()];
        let mut keeper = Command::new("sh")
            .args(["-c", SCRIPT, "sh", folder.to_str().unwrap(), &bin, &ports[0], &ports[1], name, name, options, &clients])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(keeper.stdout.take().unwrap()).read_line(&mut line).unwrap();
        assert_eq!(line.trim(), "ready", "see {}", folder.display());
        Self { port, keeper }
    }
}

impl Drop for Standby {
    fn drop(&mut self) {
        drop(self.keeper.stdin.take());
        let _ = self.keeper.wait();
    }
}

//! A PostgreSQL server for a test binary, a fresh database for a test.

use sqlx::postgres::{PgConnectOptions, PgConnection, PgSslMode};
use sqlx::{AssertSqlSafe, Connection as _};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicUsize, Ordering};

const SUPERUSER: &str = "postgres";
pub const SUPER_PASSWORD: &str = "super-s3cret";

pub struct Server {
    pub port: u16,
    pub folder: PathBuf,
    _reaper: Child,
}

/// Where the distribution's programs are: server and clients.
pub fn programs() -> PathBuf {
    let mut found: Vec<PathBuf> = std::fs::read_dir("/usr/lib/postgresql")
        .map(|entries| entries.flatten().map(|e| e.path().join("bin")).filter(|p| p.join("initdb").exists()).collect())
        .unwrap_or_default();
    found.sort();
    found.pop().expect("PostgreSQL's server programs below /usr/lib/postgresql")
}

/// Where the server's programs are: `PG_BIN` names those of another major (`tests/servers/servers bin 14`).
pub fn server_programs() -> PathBuf {
    std::env::var_os("PG_BIN").map_or_else(programs, PathBuf::from)
}

/// PATH for the steps. `BACKFILL_TEST_CLIENT` names a folder with other clients than the distribution's: the image has
/// those of PostgreSQL 17, whatever the server is.
pub fn path_with_programs() -> std::ffi::OsString {
    let mut path = std::env::var_os("BACKFILL_TEST_CLIENT").unwrap_or_else(|| programs().into_os_string());
    path.push(":");
    path.push(std::env::var_os("PATH").unwrap_or_default());
    path
}

/// A command as a user that PostgreSQL accepts: it refuses to run as root.
pub fn unprivileged(program: &Path) -> Command {
    if !is_root() {
        return Command::new(program);
    }
    let mut command = Command::new("setpriv");
    command.args(["--reuid=postgres", "--regid=postgres", "--clear-groups"]).arg(program);
    command
}

pub fn server() -> &'static Server {
    static SERVER: OnceLock<Server> = OnceLock::new();
    SERVER.get_or_init(start)
}

/// Another one, for tests that have standbys: what is looked at on the first has none.
pub fn replicated() -> &'static Server {
    static SERVER: OnceLock<Server> = OnceLock::new();
    SERVER.get_or_init(start)
}

/// One whose template has a collation of ICU; 14 knows of none for a whole database.
pub fn with_icu() -> &'static Server {
    static SERVER: OnceLock<Server> = OnceLock::new();
    SERVER.get_or_init(|| start_with(&["--locale-provider=icu", "--icu-locale=de"]))
}

fn start() -> Server {
    start_with(&[])
}

fn start_with(options: &[&str]) -> Server {
    let folder = tempfile::Builder::new().prefix("backfill-pg-").tempdir().unwrap().keep();
    let data = folder.join("data");
    std::fs::write(folder.join("password"), SUPER_PASSWORD).unwrap();
    if is_root() {
        run(Command::new("chown").args(["-R", "postgres:postgres"]).arg(&folder));
    }
    run(unprivileged(&server_programs().join("initdb"))
        .args(["--auth=scram-sha-256", "--encoding=UTF8", "--locale=C.UTF-8", "--no-sync", "--username", SUPERUSER])
        .args(options)
        .arg("--pwfile")
        .arg(folder.join("password"))
        .arg(&data)
        .current_dir("/"));
    certificates(&folder, &data);
    let port = serve(&folder, &data);
    Server { port, _reaper: reaper(&folder, &data), folder }
}

/// A standby of [`replicated`], which follows it until it is promoted.
pub fn standby() -> Server {
    let primary = replicated();
    let folder = tempfile::Builder::new().prefix("backfill-pg-").tempdir().unwrap().keep();
    let data = folder.join("data");
    // The servers of other majors come without it; a client that is not older has it, where the server's user may not read.
    let clients = std::env::var_os("BACKFILL_TEST_CLIENT").map_or_else(server_programs, PathBuf::from);
    run(Command::new(clients.join("pg_basebackup"))
        .args([
            "--write-recovery-conf",
            "--wal-method=stream",
            "--checkpoint=fast",
            "--no-sync",
            "--host=127.0.0.1",
            "--username",
            SUPERUSER,
        ])
        .args(["--port", &primary.port.to_string(), "--pgdata"])
        .arg(&data)
        .env("PGPASSWORD", SUPER_PASSWORD)
        .current_dir("/"));
    // A newer client writes settings of the connection that an older server does not know; the last line counts.
    let follows = format!("primary_conninfo = 'host=127.0.0.1 port={} user={SUPERUSER} password={SUPER_PASSWORD}'\n", primary.port);
    let mut settings = std::fs::OpenOptions::new().append(true).open(data.join("postgresql.auto.conf")).unwrap();
    std::io::Write::write_all(&mut settings, follows.as_bytes()).unwrap();
    if is_root() {
        run(Command::new("chown").args(["-R", "postgres:postgres"]).arg(&folder));
    }
    let port = serve(&folder, &data);
    Server { port, _reaper: reaper(&folder, &data), folder }
}

/// Starts a server on a port of its own.
fn serve(folder: &Path, data: &Path) -> u16 {
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let options = format!(
        "-c port={port} -c listen_addresses=127.0.0.1 -c unix_socket_directories={} -c fsync=off -c ssl=on -c max_connections=60 -c max_locks_per_transaction=1024 -c track_commit_timestamp=on -c wal_keep_size=1GB",
        folder.display()
    );
    run(unprivileged(&server_programs().join("pg_ctl"))
        .arg("--pgdata")
        .arg(data)
        .args(["--wait", "--silent", "--options", &options])
        .arg("--log")
        .arg(folder.join("log"))
        .arg("start")
        .current_dir("/"));
    port
}

/// Ends with our process, however that ends, and takes the server with it.
fn reaper(folder: &Path, data: &Path) -> Child {
    let pid = std::fs::read_to_string(data.join("postmaster.pid")).unwrap().lines().next().unwrap().to_owned();
    let script =
        format!("cat >/dev/null; kill -QUIT {pid}; while kill -0 {pid} 2>/dev/null; do sleep 0.1; done; rm -rf '{}'", folder.display());
    Command::new("sh").args(["-c", &script]).stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap()
}

/// A CA of the test's own, `ca.crt`, a certificate for 127.0.0.1 signed by it, and another CA, `other.crt`, that signed nothing.
fn certificates(folder: &Path, data: &Path) {
    let script = format!(
        "set -e; cd '{}'
         for ca in ca other; do openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 -keyout $ca.key -out $ca.crt -subj /CN=$ca; done
         openssl req -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout server.key -out server.csr -subj /CN=postgres
         printf 'subjectAltName=IP:127.0.0.1' > san
         openssl x509 -req -in server.csr -CA ca.crt -CAkey ca.key -CAcreateserial -days 2 -extfile san -out server.crt
         chmod 600 server.key; chown --reference='{data}' server.key server.crt; mv server.key server.crt '{data}'",
        folder.display(),
        data = data.display()
    );
    run(Command::new("sh").args(["-c", &script]));
}

fn run(command: &mut Command) {
    let output = command.stdin(Stdio::null()).output().unwrap();
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
}

/// A database with a role that owns it and one that can only SELECT.
#[derive(Clone)]
pub struct Database {
    /// Of the server that it is on.
    pub port: u16,
    pub name: String,
    pub owner: String,
    pub reader: String,
    pub password: String,
}

impl Database {
    /// Makes one and fills it with the SQL, as its owner.
    pub async fn new(sql: &str) -> Self {
        Self::of(server(), sql).await
    }

    /// The same on another server.
    pub async fn of(server: &Server, sql: &str) -> Self {
        static NEXT: AtomicUsize = AtomicUsize::new(1);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let (name, owner, reader) = (format!("shop_{number}"), format!("owner_{number}"), format!("reader_{number}"));
        let password = format!("p:a\\ss-{number}-w0rd");
        let port = server.port;
        let mut admin = connect(port, SUPERUSER, SUPER_PASSWORD, "postgres").await;
        for statement in [
            format!("CREATE ROLE {owner} LOGIN PASSWORD '{password}'"),
            format!("CREATE ROLE {reader} LOGIN PASSWORD '{password}'"),
            format!("CREATE DATABASE {name} OWNER {owner}"),
            format!("GRANT pg_read_all_data TO {reader}"),
        ] {
            sqlx::raw_sql(AssertSqlSafe(statement)).execute(&mut admin).await.unwrap();
        }
        admin.close().await.unwrap();
        let database = Self { port, name, owner, reader, password };
        database.execute(sql).await;
        database
    }

    pub async fn as_owner(&self) -> PgConnection {
        connect(self.port, &self.owner, &self.password, &self.name).await
    }

    /// The database of the same name on another server, with the same roles.
    pub fn on(&self, port: u16) -> Self {
        Self { port, ..self.clone() }
    }

    /// Another database of the server, with the same roles.
    pub fn beside(&self, name: &str) -> Self {
        Self { name: name.into(), ..self.clone() }
    }

    /// As the owner, where the server lets it in.
    pub async fn try_as_owner(&self) -> Result<PgConnection, sqlx::Error> {
        try_connect(self.port, &self.owner, &self.password, &self.name).await
    }

    pub async fn as_superuser(&self) -> PgConnection {
        connect(self.port, SUPERUSER, SUPER_PASSWORD, &self.name).await
    }

    pub async fn execute(&self, sql: &str) {
        let mut connection = self.as_owner().await;
        sqlx::raw_sql(AssertSqlSafe(sql.to_owned())).execute(&mut connection).await.unwrap();
        connection.close().await.unwrap();
    }

    pub async fn execute_as_superuser(&self, sql: &str) {
        let mut connection = self.as_superuser().await;
        sqlx::raw_sql(AssertSqlSafe(sql.to_owned())).execute(&mut connection).await.unwrap();
        connection.close().await.unwrap();
    }

    pub async fn text(&self, sql: &str) -> String {
        let mut connection = self.as_superuser().await;
        let text: Option<String> =
            sqlx::query_scalar(AssertSqlSafe(format!("SELECT ({sql})::text"))).fetch_one(&mut connection).await.unwrap();
        connection.close().await.unwrap();
        text.unwrap_or_else(|| "NULL".into())
    }
}

async fn connect(port: u16, role: &str, password: &str, database: &str) -> PgConnection {
    try_connect(port, role, password, database).await.unwrap()
}

async fn try_connect(port: u16, role: &str, password: &str, database: &str) -> Result<PgConnection, sqlx::Error> {
    let options = PgConnectOptions::new_without_pgpass()
        .host("127.0.0.1")
        .port(port)
        .username(role)
        .password(password)
        .database(database)
        .ssl_mode(PgSslMode::Disable);
    PgConnection::connect_with(&options).await
}

pub fn is_root() -> bool {
    use std::os::unix::fs::MetadataExt as _;
    std::fs::metadata("/proc/self").is_ok_and(|m| m.uid() == 0)
}

//! A real S3 server (rclone's, or `MinIO`) for a test, and a proxy before it that injects the faults of a bad day.

use axum::body::Bytes;
use axum::extract::{Request, State};
use axum::http::{HeaderMap, Method, StatusCode, Uri};
use axum::response::{IntoResponse, Response};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

pub const KEY_ID: &str = "AKIATESTTESTTEST";
pub const KEY_SECRET: &str = "s3cret+of/the=store";
pub const BUCKET: &str = "dumps";
/// The key of the encrypting server's key service.
pub const KMS_KEY: &str = "dumps-key";

/// The server, with one bucket.
pub struct Store {
    folder: tempfile::TempDir,
    address: String,
    pub port: u16,
    server: Child,
}

impl Drop for Store {
    fn drop(&mut self) {
        let _ = self.server.kill();
        let _ = self.server.wait();
    }
}

impl Store {
    pub fn start() -> Self {
        Self::on("127.0.0.1")
    }

    /// On an address of this machine: rclone's server, which has a file for each file, and does not encrypt.
    pub fn on(address: &str) -> Self {
        Self::serve("rclone", address, |command, folder, to| {
            command
                .args(["serve", "s3", "--addr", to, "--config", "", "--vfs-cache-mode", "off", "--dir-cache-time", "1ms"])
                .args(["--auth-key", &format!("{KEY_ID},{KEY_SECRET}")])
                .arg(folder);
        })
    }

    /// `MinIO`, which encrypts what it is asked to with a key of its own.
    pub fn encrypting() -> Self {
        Self::serve("minio", "127.0.0.1", |command, folder, to| {
            command
                .args(["server", "--quiet", "--address", to])
                .arg(folder)
                .env("MINIO_ROOT_USER", KEY_ID)
                .env("MINIO_ROOT_PASSWORD", KEY_SECRET)
                .env("MINIO_KMS_SECRET_KEY", format!("{KMS_KEY}:{}", "QmFja2ZpbGwga2V5IG9mIHRoZSB0ZXN0cyBvbmx5ISE="))
                .env("MINIO_CALLHOME_ENABLE", "off")
                .env("MINIO_UPDATE", "off")
                .env("MINIO_BROWSER", "off")
                .env("HOME", folder.parent().unwrap());
        })
    }

    fn serve(name: &str, address: &str, with: impl FnOnce(&mut Command, &Path, &str)) -> Self {
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir(folder.path().join(BUCKET)).unwrap();
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/s3/binary.sh");
        let output = Command::new(script).arg(name).stderr(Stdio::inherit()).output().unwrap();
        assert!(output.status.success(), "the S3 server {name} of the tests does not compile");
        let binary = PathBuf::from(String::from_utf8(output.stdout).unwrap().trim());
        let port = std::net::TcpListener::bind((address, 0)).unwrap().local_addr().unwrap().port();
        let mut command = Command::new(binary);
        with(&mut command, folder.path(), &format!("{address}:{port}"));
        let server = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        let store = Self { folder, address: address.into(), port, server };
        let started = Instant::now();
        while std::net::TcpStream::connect((address, port)).is_err() {
            assert!(started.elapsed() < Duration::from_secs(20), "the S3 server {name} starts");
            std::thread::sleep(Duration::from_millis(20));
        }
        store
    }

    pub fn endpoint(&self) -> String {
        format!("http://{}:{}", self.address, self.port)
    }

    /// Where the server keeps a file.
    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(BUCKET).join(name)
    }

    /// Names of all files of the bucket, those included that the server keeps for itself.
    pub fn files(&self) -> Vec<String> {
        fn walk(root: &Path, folder: &Path, found: &mut Vec<String>) {
            for entry in std::fs::read_dir(folder).unwrap().flatten() {
                if entry.path().is_dir() {
                    walk(root, &entry.path(), found);
                } else {
                    found.push(entry.path().strip_prefix(root).unwrap().display().to_string());
                }
            }
        }
        let root = self.folder.path().join(BUCKET);
        let mut found = Vec::new();
        walk(&root, &root, &mut found);
        found.sort();
        found
    }
}

/// What the proxy does with a request.
#[derive(Clone, Copy, Debug)]
pub enum Fault {
    /// Answers itself.
    Answer(u16, &'static str),
    /// Passes it on after a while.
    Slow(Duration),
    /// Passes half of the body on.
    Cut,
}

type Rule = Box<dyn FnMut(&Method, &str) -> Option<Fault> + Send>;

/// A proxy before a store. Signatures hold through it: it changes no header.
pub struct Proxy {
    pub port: u16,
    seen: Arc<Mutex<Vec<String>>>,
    encryption: Arc<Mutex<Vec<(String, String)>>>,
    _runtime: tokio::task::JoinHandle<()>,
}

#[derive(Clone)]
struct Behind {
    store: u16,
    rule: Arc<Mutex<Rule>>,
    seen: Arc<Mutex<Vec<String>>>,
    encryption: Arc<Mutex<Vec<(String, String)>>>,
    client: reqwest::Client,
}

impl Proxy {
    /// The rule is asked for each request, by method and by path with query.
    pub async fn before(store: &Store, rule: impl FnMut(&Method, &str) -> Option<Fault> + Send + 'static) -> Self {
        let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
        let seen = Arc::new(Mutex::new(Vec::new()));
        let encryption = Arc::new(Mutex::new(Vec::new()));
        let behind = Behind {
            store: store.port,
            rule: Arc::new(Mutex::new(Box::new(rule))),
            seen: Arc::clone(&seen),
            encryption: Arc::clone(&encryption),
            client: reqwest::Client::builder().no_proxy().build().unwrap(),
        };
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let app = axum::Router::new().fallback(pass).with_state(behind);
        let serving = tokio::spawn(async move { axum::serve(listener, app).await.unwrap() });
        Self { port, seen, encryption, _runtime: serving }
    }

    pub fn endpoint(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// The requests so far, as `METHOD path?query`.
    pub fn requests(&self) -> Vec<String> {
        self.seen.lock().unwrap().clone()
    }
}

impl Proxy {
    /// The requests that ask the store to encrypt, each with what it asks for.
    pub fn encryption(&self) -> Vec<(String, String)> {
        self.encryption.lock().unwrap().clone()
    }
}

async fn pass(State(behind): State<Behind>, request: Request) -> Response {
    let (parts, body) = request.into_parts();
    let target = parts.uri.path_and_query().map(ToString::to_string).unwrap_or_default();
    behind.seen.lock().unwrap().push(format!("{} {target}", parts.method));
    let asked: Vec<String> = ["x-amz-server-side-encryption", "x-amz-server-side-encryption-aws-kms-key-id"]
        .iter()
        .filter_map(|name| parts.headers.get(*name)?.to_str().ok().map(ToOwned::to_owned))
        .collect();
    if !asked.is_empty() {
        behind.encryption.lock().unwrap().push((format!("{} {target}", parts.method), asked.join(" ")));
    }
    let fault = (behind.rule.lock().unwrap())(&parts.method, &target);
    let body = axum::body::to_bytes(body, usize::MAX).await.unwrap_or_default();
    match fault {
        Some(Fault::Answer(status, text)) => return (StatusCode::from_u16(status).unwrap(), text).into_response(),
        Some(Fault::Slow(pause)) => tokio::time::sleep(pause).await,
        Some(Fault::Cut) => {
            let half = body.slice(..body.len() / 2);
            return forward(&behind, parts.method, &parts.uri, parts.headers, half).await;
        }
        None => {}
    }
    forward(&behind, parts.method, &parts.uri, parts.headers, body).await
}

async fn forward(behind: &Behind, method: Method, uri: &Uri, mut headers: HeaderMap, body: Bytes) -> Response {
    let url = format!("http://127.0.0.1:{}{}", behind.store, uri.path_and_query().unwrap());
    headers.remove("content-length");
    headers.remove("transfer-encoding");
    let sent = behind.client.request(method, url).headers(headers).body(body).send().await;
    let Ok(answer) = sent else { return StatusCode::BAD_GATEWAY.into_response() };
    let (status, mut headers) = (answer.status(), answer.headers().clone());
    headers.remove("transfer-encoding");
    (status, headers, answer.bytes().await.unwrap_or_default()).into_response()
}

//! The stage of the suite: the definition, the chart's policies for one namespace of its own, people with client certificates that the
//! cluster signed, and the real binary run as each of them. The test writes the status as the operator's account: no operator, no pods.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::io::Write as _;
use std::path::PathBuf;
use std::process::{Child, Command, Output, Stdio};
use std::sync::OnceLock;
use std::time::{Duration, Instant};

/// Makes and steers runs; approves none.
pub const DANA: &str = "dana@example.org";
/// Approves.
pub const MARIA: &str = "maria@example.org";
/// Approves, too.
pub const PAUL: &str = "paul@example.org";
/// May look.
pub const VERA: &str = "vera@example.org";
/// The operator's account.
const OPERATOR: &str = "plugin-backfill-operator";
/// The administrator of the cluster.
const ADMIN: &str = "admin";
const SMALLEST: &str = include_str!("../../examples/smallest/backfillrun.yaml");
const WITHIN: Duration = Duration::from_mins(1);

/// What all tests share.
pub struct Stage {
    namespace: String,
    folder: PathBuf,
    kubeconfigs: BTreeMap<&'static str, PathBuf>,
}

/// The stage; the first caller sets it up.
pub fn stage() -> &'static Stage {
    static STAGE: OnceLock<Stage> = OnceLock::new();
    STAGE.get_or_init(Stage::set_up)
}

impl Stage {
    fn set_up() -> Self {
        assert!(std::env::var_os("KUBECONFIG").is_some(), "set KUBECONFIG: `tests/cluster/cluster up` starts a cluster and prints it");
        let folder = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("plugin");
        std::fs::create_dir_all(&folder).unwrap();
        let namespace = format!("plugin-test-{}", std::process::id());
        let mut stage = Self { namespace, folder, kubeconfigs: BTreeMap::new() };
        stage.admin(&["delete", "namespaces", "--selector", "backfill.dev/plugin-test", "--wait=false", "--ignore-not-found"]);
        stage.apply(&backfill_operator::api::crd::definition().unwrap());
        crate::definition::is_served("backfillruns.backfill.dev");
        stage.apply(&json!({
            "apiVersion": "v1", "kind": "Namespace", "metadata": {"name": stage.namespace, "labels": {"backfill.dev/plugin-test": ""}},
        }));
        for user in [DANA, MARIA, PAUL, VERA] {
            let kubeconfig = stage.person(user);
            stage.kubeconfigs.insert(user, kubeconfig);
        }
        stage.apply(&json!({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": OPERATOR, "namespace": stage.namespace}}));
        let token = stage.admin(&["create", "token", OPERATOR]);
        let kubeconfig = stage.kubeconfig(OPERATOR, &json!({"token": token.trim()}));
        stage.kubeconfigs.insert(OPERATOR, kubeconfig);
        stage.rights();
        stage.policies();
        stage
    }

    /// The policies of the chart, in the namespace of the suite and in no other.
    fn policies(&self) {
        let chart = concat!(env!("CARGO_MANIFEST_DIR"), "/charts/backfill-operator");
        let values = json!({"watchNamespaces": [self.namespace]}).to_string();
        let mut helm = Command::new("helm");
        helm.args([
            "template",
            "plugin",
            chart,
            "--namespace",
            &self.namespace,
            "--show-only",
            "templates/admission.yaml",
            "--values",
            "-",
        ]);
        let rendered = said(run(&mut helm, &values));
        said(run(self.command(ADMIN).args(["apply", "--filename", "-"]), &rendered));
        self.apply(&json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": OPERATOR, "namespace": self.namespace}}));
        // A server takes a moment to have compiled a new policy.
        let mut early = manifest("early");
        early["spec"]["approvals"] = json!({DANA: {"decision": "Approve", "digest": format!("sha256:{:064}", 0)}});
        let begun = Instant::now();
        loop {
            let end = run(self.command(DANA).args(["create", "--dry-run=server", "--filename", "-"]), &early.to_string());
            if String::from_utf8_lossy(&end.stderr).contains("a run is created without approvals") {
                return;
            }
            assert!(begun.elapsed() < WITHIN, "the policies are not in force after {} s: {end:?}", WITHIN.as_secs());
            std::thread::sleep(Duration::from_millis(200));
        }
    }

    /// Those of the chart's roles, but of this namespace.
    fn rights(&self) {
        let runs = |verbs: &[&str]| json!({"apiGroups": ["backfill.dev"], "resources": ["backfillruns"], "verbs": verbs});
        let rule =
            |groups: &[&str], resources: &[&str], verbs: &[&str]| json!({"apiGroups": groups, "resources": resources, "verbs": verbs});
        let maker = json!([
            runs(&["get", "create", "update", "patch", "delete"]),
            rule(&["batch"], &["jobs"], &["create"]),
            rule(&[""], &["secrets"], &["get"]),
        ]);
        let user = |name: &str| json!({"kind": "User", "name": name, "apiGroup": "rbac.authorization.k8s.io"});
        let operator = json!([rule(&["backfill.dev"], &["backfillruns", "backfillruns/status"], &["get", "update", "patch"])]);
        let account = json!({"kind": "ServiceAccount", "name": OPERATOR, "namespace": self.namespace});
        for (name, rules, subjects) in [
            ("maker", maker, json!([user(DANA)])),
            ("approver", json!([runs(&["get", "list", "watch", "patch", "approve"])]), json!([user(MARIA), user(PAUL)])),
            ("viewer", json!([runs(&["get"])]), json!([user(VERA)])),
            ("operator", operator, json!([account])),
        ] {
            let metadata = json!({"name": name, "namespace": self.namespace});
            self.apply(&json!({"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "Role", "metadata": metadata, "rules": rules}));
            self.apply(&json!({
                "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "RoleBinding", "metadata": metadata, "subjects": subjects,
                "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": name},
            }));
        }
    }

    /// A person: a key, and a certificate of the cluster.
    fn person(&self, name: &str) -> PathBuf {
        let key = self.folder.join(format!("{name}.key"));
        let mut openssl = Command::new("openssl");
        let subject = format!("/CN={name}");
        openssl
            .args(["req", "-new", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-subj", &subject, "-keyout"])
            .arg(&key);
        let request = said(run(&mut openssl, ""));
        let object = format!("plugin-test-{}", name.replace('@', "."));
        self.admin(&["delete", "csr", &object, "--ignore-not-found"]);
        self.apply(&json!({
            "apiVersion": "certificates.k8s.io/v1", "kind": "CertificateSigningRequest", "metadata": {"name": object},
            "spec": {
                "request": STANDARD.encode(request), "signerName": "kubernetes.io/kube-apiserver-client",
                "expirationSeconds": 86_400, "usages": ["client auth"],
            },
        }));
        self.admin(&["certificate", "approve", &object]);
        let begun = Instant::now();
        let certificate = loop {
            let certificate = self.admin(&["get", "csr", &object, "--output", "jsonpath={.status.certificate}"]);
            if !certificate.is_empty() {
                break certificate;
            }
            assert!(begun.elapsed() < WITHIN, "the cluster did not sign the certificate of {name}");
            std::thread::sleep(Duration::from_millis(200));
        };
        let key = STANDARD.encode(std::fs::read(key).unwrap());
        self.kubeconfig(name, &json!({"client-certificate-data": certificate, "client-key-data": key}))
    }

    /// A kubeconfig whose context names the namespace of the suite.
    fn kubeconfig(&self, name: &str, user: &Value) -> PathBuf {
        let mut config: Value =
            serde_json::from_str(&self.admin(&["config", "view", "--raw", "--minify", "--flatten", "--output", "json"])).unwrap();
        config["users"][0]["user"] = user.clone();
        config["contexts"][0]["context"]["namespace"] = json!(self.namespace);
        let path = self.folder.join(format!("{name}.kubeconfig"));
        std::fs::write(&path, config.to_string()).unwrap();
        path
    }

    fn command(&self, who: &str) -> Command {
        let mut kubectl = Command::new("kubectl");
        if let Some(kubeconfig) = self.kubeconfigs.get(who) {
            kubectl.env("KUBECONFIG", kubeconfig);
        }
        kubectl.args(["--namespace", &self.namespace]);
        kubectl
    }

    fn admin(&self, arguments: &[&str]) -> String {
        said(run(self.command(ADMIN).args(arguments), ""))
    }

    fn apply(&self, object: &Value) {
        let mut apply = self.command(ADMIN);
        // What has no namespace, or its own.
        if object["kind"] == "Namespace" || object["kind"] == "CustomResourceDefinition" || object["kind"] == "CertificateSigningRequest" {
            apply = Command::new("kubectl");
        }
        said(run(apply.args(["apply", "--server-side", "--force-conflicts", "--filename", "-"]), &object.to_string()));
    }

    /// The plugin of somebody, not yet run: no terminal, no namespace but that of the context.
    pub fn plugin(&self, who: &str, arguments: &[&str]) -> Command {
        let mut plugin = Command::new(env!("CARGO_BIN_EXE_kubectl-backfill"));
        plugin.env("KUBECONFIG", &self.kubeconfigs[who]).args(arguments);
        plugin.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        plugin
    }

    /// The plugin of somebody, run to its end.
    pub fn backfill(&self, who: &str, arguments: &[&str]) -> End {
        End::of(self.plugin(who, arguments).output().unwrap())
    }

    /// The plugin of somebody in a terminal (util-linux's `script` gives it one), in which this is typed; and how it ended.
    pub fn in_terminal(&self, who: &str, arguments: &[&str], typed: &str) -> (i32, String) {
        let words: Vec<String> = arguments.iter().map(|word| format!("'{word}'")).collect();
        let line = format!("stty cols 120; exec '{}' {}", env!("CARGO_BIN_EXE_kubectl-backfill"), words.join(" "));
        let mut script = Command::new("script");
        script.args(["--quiet", "--return", "--command", &line, "/dev/null"]);
        script.env("KUBECONFIG", &self.kubeconfigs[who]).env("TERM", "xterm").env("SHELL", "/bin/sh").env_remove("NO_COLOR");
        let end = End::of(run(&mut script, typed));
        (end.code, end.stdout)
    }

    /// What a shell of somebody makes of a line, with the plugin and its completion on the PATH.
    pub fn shell(&self, who: &str, shell: &str, line: &str) -> End {
        let mut command = Command::new(shell);
        command.env("PATH", Self::path_with_the_plugin()).env("KUBECONFIG", &self.kubeconfigs[who]);
        End::of(run(command.args(["-c", line]), ""))
    }

    fn path_with_the_plugin() -> std::ffi::OsString {
        let mut path = PathBuf::from(env!("CARGO_BIN_EXE_kubectl-backfill")).parent().unwrap().to_owned().into_os_string();
        path.push(concat!(":", env!("CARGO_MANIFEST_DIR"), "/examples/plugin:"));
        path.push(std::env::var_os("PATH").unwrap_or_default());
        path
    }

    /// The plugin of somebody, by kubectl, which finds it on the PATH.
    pub fn kubectl_backfill(&self, who: &str, arguments: &[&str]) -> End {
        let mut kubectl = Command::new("kubectl");
        kubectl.env("PATH", Self::path_with_the_plugin()).env("KUBECONFIG", &self.kubeconfigs[who]).arg("backfill").args(arguments);
        End::of(run(&mut kubectl, ""))
    }
}

/// How the plugin ended.
#[derive(Debug)]
pub struct End {
    /// The exit code.
    pub code: i32,
    /// What it printed.
    pub stdout: String,
    /// What it complained about.
    pub stderr: String,
}

impl End {
    fn of(output: Output) -> Self {
        let [stdout, stderr] = [output.stdout, output.stderr].map(|bytes| String::from_utf8_lossy(&bytes).into_owned());
        Self { code: output.status.code().unwrap(), stdout, stderr }
    }

    /// Of a plugin that was started.
    pub fn after(child: Child) -> Self {
        Self::of(child.wait_with_output().unwrap())
    }

    /// It did what it was asked.
    #[track_caller]
    pub fn good(self) -> String {
        assert_eq!(self.code, 0, "{self:?}");
        self.stdout
    }

    /// It ended with this code and these words.
    #[track_caller]
    pub fn bad(&self, code: i32, words: &str) {
        assert_eq!(self.code, code, "{self:?}");
        assert!(self.stderr.contains(words), "should say: {words}\n{self:?}");
    }
}

fn manifest(name: &str) -> Value {
    let mut run: Value = serde_yaml_ng::from_str(SMALLEST).unwrap();
    run["metadata"] = json!({"name": name, "annotations": {"backfill.dev/requested-by": DANA}});
    run
}

/// A run of a test, created by Dana.
pub struct Run(pub &'static str);

impl Run {
    /// Creates it; the operator has not seen it yet.
    pub fn create(name: &'static str) -> Self {
        said(run(stage().command(DANA).args(["create", "--filename", "-"]), &manifest(name).to_string()));
        Self(name)
    }

    /// Creates it, and people are asked about this digest.
    pub fn asked(name: &'static str, digest: &str) -> Self {
        let run = Self::create(name);
        run.asks(digest);
        run
    }

    /// People are asked about this digest.
    pub fn asks(&self, digest: &str) {
        let awaiting = json!({
            "subject": "Plan", "digest": digest, "question": "949 rows will be written", "required": 1, "since": "2026-11-01T10:00:00Z",
            "deadline": "2099-11-04T10:00:00Z", "command": "kubectl patch",
        });
        let plan = json!({"digest": digest, "scanned": 1000, "matching": 960, "willWrite": 949, "sample": [
            {"key": "7", "table": "scenarios", "changes": [{"column": "accepted_prompt", "after": "Write a test"}]},
        ]});
        self.status(&json!({"phase": "AwaitingApproval", "message": "waits", "awaiting": awaiting, "approvalsRequired": 1, "plan": plan}));
        self.is_looked_at();
    }

    /// The operator has looked at the run as it is now.
    pub fn is_looked_at(&self) {
        let arguments = ["get", "backfillrun", self.0, "--output", "jsonpath={.metadata.generation}"];
        let generation: i64 = stage().admin(&arguments).parse().unwrap();
        self.status(&json!({"observedGeneration": generation}));
    }

    /// The operator writes into the status.
    pub fn status(&self, status: &Value) {
        let patch = json!({"status": status}).to_string();
        let arguments = ["patch", "backfillrun", self.0, "--subresource", "status", "--type", "merge", "--patch", &patch];
        said(run(stage().command(OPERATOR).args(arguments), ""));
    }

    /// Dana changes it.
    pub fn patch(&self, patch: &Value) {
        said(run(stage().command(DANA).args(["patch", "backfillrun", self.0, "--type", "merge", "--patch", &patch.to_string()]), ""));
    }

    /// Dana takes it away.
    pub fn delete(&self) {
        said(run(stage().command(DANA).args(["delete", "backfillrun", self.0]), ""));
    }

    /// Its spec as it is now.
    pub fn spec(&self) -> Value {
        let run: Value = serde_json::from_str(&stage().admin(&["get", "backfillrun", self.0, "--output", "json"])).unwrap();
        run["spec"].clone()
    }
}

fn run(command: &mut Command, stdin: &str) -> Output {
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    // A program that has read enough closes its end.
    drop(child.stdin.take().unwrap().write_all(stdin.as_bytes()));
    child.wait_with_output().unwrap()
}

#[track_caller]
fn said(output: Output) -> String {
    let Output { status, stdout, stderr } = output;
    assert!(status.success(), "{}", String::from_utf8_lossy(&stderr));
    String::from_utf8_lossy(&stdout).into_owned()
}

//! The stage of the suite: the definition and the policies under a group and names of their own, two namespaces, and people with client
//! certificates that the cluster signed.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::io::Write as _;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::OnceLock;
use std::time::{Duration, Instant};

/// Makes and edits runs; approves none.
pub const DANA: &str = "dana@example.org";
/// Approves.
pub const MARIA: &str = "maria@example.org";
/// Approves, too.
pub const PAUL: &str = "paul@example.org";
/// Approves one run, which is called `rita`.
pub const RITA: &str = "rita@example.org";
/// May do everything in the namespace.
pub const OLGA: &str = "olga@example.org";
/// May do everything with runs but approve, and nothing else.
pub const EVE: &str = "eve@example.org";
/// A `GitOps` controller's account, which may do everything in the namespace.
pub const ARGO: &str = "system:serviceaccount:NAMESPACE:argocd-application-controller";
/// An account that the operator's configuration names.
pub const ROBOT: &str = "system:serviceaccount:NAMESPACE:robot";
/// The operator's account.
pub const OPERATOR: &str = "system:serviceaccount:NAMESPACE:admission-backfill-operator";
/// The administrator of the cluster.
pub const ADMIN: &str = "admin";

const GROUP: &str = "admission.backfill.dev";
// Names of its own, too: what is left of the suite must not be what kubectl takes for a `backfillrun`.
const KIND: &str = "GuardedRun";
const PLURAL: &str = "guardedruns";
/// As kubectl names the resource.
pub const RESOURCE: &str = "guardedruns.admission.backfill.dev";
const SMALLEST: &str = include_str!("../../examples/smallest/backfillrun.yaml");
const WITHIN: Duration = Duration::from_mins(1);

/// What all tests share; service accounts have the name of its first namespace in theirs.
pub struct Stage {
    /// The namespace of most tests.
    pub namespace: String,
    /// One in which the requester may approve.
    pub lenient: String,
    /// Name of the policies and of the operator's ConfigMap.
    pub release: String,
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
        let number = std::process::id();
        let folder = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("admission");
        std::fs::create_dir_all(&folder).unwrap();
        let mut stage = Self {
            namespace: format!("admission-test-{number}"),
            lenient: format!("admission-test-lenient-{number}"),
            release: "admission-backfill-operator".into(),
            folder,
            kubeconfigs: BTreeMap::new(),
        };
        stage.admin(&["delete", "namespaces", "--selector", "backfill.dev/admission-test", "--wait=false", "--ignore-not-found"]);
        stage.definition();
        for namespace in [&stage.namespace, &stage.lenient] {
            stage.apply(&json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": namespace, "labels": {"backfill.dev/admission-test": ""}}}));
        }
        for user in [DANA, MARIA, PAUL, RITA, OLGA, EVE] {
            let kubeconfig = stage.person(user);
            stage.kubeconfigs.insert(user, kubeconfig);
        }
        for account in [ARGO, ROBOT, OPERATOR] {
            let kubeconfig = stage.account(account);
            stage.kubeconfigs.insert(account, kubeconfig);
        }
        stage.rights();
        stage.policies();
        stage
    }

    /// The definition under the group of the suite.
    fn definition(&self) {
        let mut definition = backfill_operator::api::crd::definition().unwrap();
        definition["metadata"]["name"] = json!(RESOURCE);
        definition["spec"]["group"] = json!(GROUP);
        definition["spec"]["names"] = json!({"kind": KIND, "plural": PLURAL, "singular": "guardedrun"});
        definition["spec"]["names"]["listKind"] = json!("GuardedRunList");
        self.apply(&definition);
        crate::definition::is_served(RESOURCE);
    }

    /// What the chart renders, for the group of the suite.
    fn policies(&self) {
        let values = json!({
            "watchNamespaces": [self.namespace, self.lenient],
            "approval": {
                "serviceAccounts": [self.full(ROBOT)],
                "policies": [{"name": "sandbox", "namespaces": [self.lenient], "requesterMayApprove": true}],
            },
        });
        let chart = concat!(env!("CARGO_MANIFEST_DIR"), "/charts/backfill-operator");
        let mut helm = Command::new("helm");
        helm.args([
            "template",
            "admission",
            chart,
            "--namespace",
            &self.namespace,
            "--show-only",
            "templates/admission.yaml",
            "--values",
            "-",
        ]);
        let rendered = run(&mut helm, &values.to_string()).unwrap();
        let ours = rendered
            .replace("'backfill.dev'", &format!("'{GROUP}'"))
            .replace("apiGroups: [backfill.dev]", &format!("apiGroups: [{GROUP}]"))
            .replace("resources: [backfillruns", &format!("resources: [{PLURAL}"))
            .replace(", backfillruns/status]", &format!(", {PLURAL}/status]"))
            .replace(".resource('backfillruns')", &format!(".resource('{PLURAL}')"));
        assert_ne!(ours, rendered);
        run(self.command(ADMIN).args(["apply", "--filename", "-"]), &ours).unwrap();
        self.apply(&json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": self.release, "namespace": self.namespace}}));
        let begun = Instant::now();
        // A server takes a moment to have compiled a new policy.
        for policy in ["a run is created without approvals", "may not create jobs"] {
            let (who, mut run) = if policy.contains("jobs") { (EVE, Run::manifest("early")) } else { (DANA, Run::manifest("early")) };
            if who == DANA {
                run["spec"]["approvals"] = json!({DANA: {"decision": "Approve", "digest": format!("sha256:{:064}", 0)}});
            }
            for namespace in [&self.namespace, &self.lenient] {
                run["metadata"]["namespace"] = json!(namespace);
                loop {
                    let answer = self.kubectl(who, &["create", "--dry-run=server", "--filename", "-"], &run);
                    if answer.as_ref().is_err_and(|said| said.contains(policy)) {
                        break;
                    }
                    assert!(begun.elapsed() < WITHIN, "the policies are not in force after {} s: {answer:?}", WITHIN.as_secs());
                }
            }
        }
    }

    fn rights(&self) {
        let rule =
            |groups: &[&str], resources: &[&str], verbs: &[&str]| json!({"apiGroups": groups, "resources": resources, "verbs": verbs});
        let named = |mut rule: Value, names: &[&str]| {
            rule["resourceNames"] = json!(names);
            rule
        };
        let read = rule(&[GROUP], &[PLURAL], &["get", "list", "watch"]);
        let write = rule(&[GROUP], &[PLURAL], &["get", "create", "update", "patch", "delete"]);
        let maker = json!([
            write,
            rule(&["batch"], &["jobs"], &["create"]),
            named(rule(&[""], &["secrets"], &["get"]), &["db", "ca"]),
            named(rule(&[""], &["configmaps"], &["update"]), &["flags"]),
        ]);
        let approver = json!([rule(&[GROUP], &[PLURAL], &["get", "list", "watch", "patch", "approve"])]);
        let one = json!([rule(&[GROUP], &[PLURAL], &["patch"]), named(rule(&[GROUP], &[PLURAL], &["approve"]), &["rita"]), read]);
        let all = json!([rule(&["*"], &["*"], &["*"])]);
        let operator = json!([rule(&[GROUP], &[PLURAL, "guardedruns/status"], &["get", "update", "patch"])]);
        self.role(&self.namespace, "maker", &maker, &[DANA]);
        self.role(&self.lenient, "maker", &json!([maker[0], maker[1], maker[2], maker[3], approver[0]]), &[DANA]);
        self.role(&self.namespace, "approver", &approver, &[MARIA, PAUL, ROBOT]);
        self.role(&self.namespace, "one", &one, &[RITA]);
        self.role(&self.namespace, "all", &all, &[OLGA, ARGO]);
        self.role(&self.namespace, "runs", &json!([write]), &[EVE]);
        self.role(&self.lenient, "runs", &json!([write]), &[EVE]);
        for namespace in [&self.namespace, &self.lenient] {
            self.role(namespace, "operator", &operator, &[OPERATOR]);
        }
    }

    fn role(&self, namespace: &str, name: &str, rules: &Value, who: &[&str]) {
        let subjects: Vec<Value> =
            who.iter().map(|name| json!({"kind": "User", "name": self.full(name), "apiGroup": "rbac.authorization.k8s.io"})).collect();
        let metadata = json!({"name": name, "namespace": namespace});
        self.apply(&json!({"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "Role", "metadata": metadata, "rules": rules}));
        self.apply(&json!({
            "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "RoleBinding", "metadata": metadata, "subjects": subjects,
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": name},
        }));
    }

    /// The name as the server writes it.
    pub fn full(&self, name: &str) -> String {
        name.replace("NAMESPACE", &self.namespace)
    }

    /// A person: a key, and a certificate of the cluster.
    fn person(&self, name: &str) -> PathBuf {
        let key = self.folder.join(format!("{name}.key"));
        let mut openssl = Command::new("openssl");
        let subject = format!("/CN={name}");
        openssl
            .args(["req", "-new", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-subj", &subject, "-keyout"])
            .arg(&key);
        let request = run(&mut openssl, "").unwrap();
        let object = format!("admission-test-{}", name.replace('@', "."));
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
        };
        self.kubeconfig(
            name,
            &json!({"client-certificate-data": certificate, "client-key-data": STANDARD.encode(std::fs::read(key).unwrap())}),
        )
    }

    /// A service account, with a token of the server.
    fn account(&self, name: &str) -> PathBuf {
        let short = name.rsplit(':').next().unwrap();
        self.apply(&json!({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": short, "namespace": self.namespace}}));
        let token = self.admin(&["create", "token", short]);
        self.kubeconfig(short, &json!({"token": token.trim()}))
    }

    fn kubeconfig(&self, name: &str, user: &Value) -> PathBuf {
        let mut config: Value =
            serde_json::from_str(&self.admin(&["config", "view", "--raw", "--minify", "--flatten", "--output", "json"])).unwrap();
        config["users"][0]["user"] = user.clone();
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

    /// kubectl of somebody, with an object on its input; service accounts by their full names.
    pub fn kubectl(&self, who: &str, arguments: &[&str], object: &Value) -> Result<String, String> {
        let arguments: Vec<String> = arguments.iter().map(|a| self.full(a)).collect();
        let mut command = self.command(who);
        // What is in a namespace of its own says so itself.
        if object["metadata"]["namespace"].is_string() {
            let mut kubectl = Command::new("kubectl");
            if let Some(kubeconfig) = self.kubeconfigs.get(who) {
                kubectl.env("KUBECONFIG", kubeconfig);
            }
            command = kubectl;
        }
        run(command.args(arguments), &self.full(&object.to_string()))
    }

    /// kubectl of the administrator, which works.
    pub fn admin(&self, arguments: &[&str]) -> String {
        self.kubectl(ADMIN, arguments, &Value::Null).unwrap_or_else(|said| panic!("{arguments:?}: {said}"))
    }

    fn apply(&self, object: &Value) {
        self.kubectl(ADMIN, &["apply", "--server-side", "--force-conflicts", "--filename", "-"], object)
            .unwrap_or_else(|said| panic!("{object}: {said}"));
    }

    /// Creates a run.
    pub fn create(&self, who: &str, manifest: &Value) -> Result<String, String> {
        self.kubectl(who, &["create", "--filename", "-"], manifest)
    }

    /// A merge patch of something else than a run.
    pub fn patch_as(&self, who: &str, kind: &str, name: &str, patch: &Value) -> Result<String, String> {
        self.kubectl(who, &["patch", kind, name, "--type", "merge", "--patch", &patch.to_string()], &Value::Null)
    }

    /// Deletes something.
    pub fn delete_as(&self, who: &str, kind: &str, name: &str) -> Result<String, String> {
        self.kubectl(who, &["delete", kind, name], &Value::Null)
    }
}

/// A run of a test.
pub struct Run {
    /// Its name.
    pub name: String,
    namespace: String,
}

impl Run {
    /// The smallest run, asked for by nobody.
    pub fn manifest(name: &str) -> Value {
        let mut run: Value = serde_yaml_ng::from_str(SMALLEST).unwrap();
        run["apiVersion"] = json!(format!("{GROUP}/v1alpha1"));
        run["kind"] = json!(KIND);
        run["metadata"] = json!({"name": name});
        run["spec"]["database"]["secretRef"]["name"] = json!("db");
        run["spec"]["preflight"] = json!({"minFreeSpace": "1"});
        run
    }

    /// Created by Dana, who is named as requester.
    pub fn create(name: &str) -> Self {
        Self::created_by(DANA, name, true)
    }

    /// Created by somebody, who is named as requester or not.
    pub fn created_by(who: &str, name: &str, named: bool) -> Self {
        Self::created_in(&stage().namespace, who, name, named)
    }

    fn created_in(namespace: &str, who: &str, name: &str, named: bool) -> Self {
        let mut manifest = Self::manifest(name);
        manifest["metadata"]["namespace"] = json!(namespace);
        if named {
            manifest["metadata"]["annotations"] = json!({"backfill.dev/requested-by": who});
        }
        stage().create(who, &manifest).unwrap_or_else(|said| panic!("{who} creates {name}: {said}"));
        Self { name: name.into(), namespace: namespace.into() }
    }

    /// One that is there.
    pub fn existing(name: &str) -> Self {
        Self { name: name.into(), namespace: stage().namespace.clone() }
    }

    /// Created by Dana, and people are asked about this digest.
    pub fn asked(name: &str, digest: &str) -> Self {
        Self::asked_in(&stage().namespace, name, digest)
    }

    /// The same in a namespace.
    pub fn asked_in(namespace: &str, name: &str, digest: &str) -> Self {
        let run = Self::created_in(namespace, DANA, name, true);
        run.asks(digest);
        run
    }

    /// The operator asks about a digest.
    pub fn asks(&self, digest: &str) {
        let awaiting = json!({
            "subject": "Plan", "digest": digest, "question": "?", "required": 1, "since": "2026-11-01T10:00:00Z",
            "deadline": "2026-11-04T10:00:00Z", "command": "kubectl",
        });
        let patch = json!({"status": {"awaiting": awaiting, "approvalsRequired": 1}});
        self.patch_status(OPERATOR, &patch).unwrap_or_else(|said| panic!("the operator writes the status of {}: {said}", self.name));
        self.is_looked_at();
    }

    /// The operator has looked at the run as it is now.
    pub fn is_looked_at(&self) {
        let generation = self.get()["metadata"]["generation"].clone();
        self.patch_status(OPERATOR, &json!({"status": {"observedGeneration": generation}})).unwrap();
    }

    /// The operator asks nothing any more.
    pub fn asks_nothing(&self) {
        self.patch_status(OPERATOR, &json!({"status": {"awaiting": null}})).unwrap();
    }

    /// Name and namespace alone.
    pub fn bare(&self) -> Value {
        json!({
            "apiVersion": format!("{GROUP}/v1alpha1"), "kind": KIND,
            "metadata": {"name": self.name, "namespace": self.namespace},
        })
    }

    /// As it is now.
    pub fn get(&self) -> Value {
        serde_json::from_str(&stage().admin(&["--namespace", &self.namespace, "get", RESOURCE, &self.name, "--output", "json"])).unwrap()
    }

    /// A merge patch of somebody. Where it decides, the operator has looked at all that was done before.
    pub fn patch(&self, who: &str, patch: &Value) -> Result<String, String> {
        if patch["spec"]["approvals"].is_object() {
            self.is_looked_at();
        }
        self.patch_at_once(who, patch)
    }

    /// A merge patch of somebody, whether the operator has looked or not.
    pub fn patch_at_once(&self, who: &str, patch: &Value) -> Result<String, String> {
        self.patched(who, &["--type", "merge", "--patch", &patch.to_string()])
    }

    /// A JSON patch of somebody.
    pub fn json_patch(&self, who: &str, patch: &Value) -> Result<String, String> {
        self.patched(who, &["--type", "json", "--patch", &patch.to_string()])
    }

    /// A merge patch of the status.
    pub fn patch_status(&self, who: &str, patch: &Value) -> Result<String, String> {
        self.patched(who, &["--subresource", "status", "--type", "merge", "--patch", &patch.to_string()])
    }

    fn patched(&self, who: &str, arguments: &[&str]) -> Result<String, String> {
        stage().kubectl(who, &[&["--namespace", &self.namespace, "patch", RESOURCE, &self.name], arguments].concat(), &Value::Null)
    }
}

fn run(command: &mut Command, stdin: &str) -> Result<String, String> {
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    // A program that has read enough closes its end.
    drop(child.stdin.take().unwrap().write_all(stdin.as_bytes()));
    let end = child.wait_with_output().unwrap();
    let said = [String::from_utf8_lossy(&end.stdout), String::from_utf8_lossy(&end.stderr)].concat();
    if end.status.success() { Ok(String::from_utf8_lossy(&end.stdout).into_owned()) } else { Err(said) }
}

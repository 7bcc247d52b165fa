//! What all cases share, set up once, by the first of them.

use crate::cluster::Cluster;
use crate::program::{output, root};
use crate::users::User;
use crate::{channel, database, operator, users};
use std::sync::OnceLock;

/// Namespace of the PostgreSQL server that cases share.
pub const SERVER: &str = "e2e-postgres";
/// Label of the namespaces of cases; its value is the suffix of the suite that made them.
pub const LABEL: &str = "backfill.dev/e2e";

/// The shared part of the stage.
pub struct Lab {
    /// The cluster.
    pub cluster: Cluster,
    /// Image of the scenarios application.
    pub app_image: String,
    /// Image of the PostgreSQL server.
    pub postgres_image: String,
    /// End of the names of this suite's namespaces.
    pub suffix: String,
    /// Makes runs and steers them.
    pub dana: User,
    /// May approve.
    pub maria: User,
    /// May approve, too.
    pub paul: User,
}

/// The lab; the first caller sets it up.
pub fn lab() -> &'static Lab {
    static LAB: OnceLock<Result<Lab, String>> = OnceLock::new();
    LAB.get_or_init(Lab::set_up).as_ref().unwrap_or_else(|complaint| panic!("the lab cannot be set up: {complaint}"))
}

impl Lab {
    fn set_up() -> Result<Self, String> {
        let cluster = Cluster::up()?;
        let (suffix, ours, databases) = match std::env::var("E2E_SUFFIX") {
            // Somebody else's suite may run beside this one.
            Ok(suffix) => (suffix.clone(), format!("{LABEL}={suffix}"), format!(r"e2e\_%\_{suffix}")),
            Err(_) => (suffix(), LABEL.to_owned(), r"e2e\_%".to_owned()),
        };
        // Nobody waits for namespaces to go: names are never used twice.
        cluster.try_kubectl(&["delete", "namespaces", "--selector", &ours, "--wait=false", "--ignore-not-found"], "")?;
        let build = |names: &[&str]| {
            let mut command = cluster.command("tests/cluster/image");
            command.current_dir(root()).env("BACKFILL_BINARY", env!("CARGO_BIN_EXE_backfill-operator")).args(names);
            output(&mut command, "").map(|text| text.lines().map(str::to_owned).collect::<Vec<_>>())
        };
        let images = build(&["operator", "rehearsal", "postgres", "scenarios-app"])?;
        let [operator_image, rehearsal_image, postgres_image, app_image] = images.as_slice() else {
            return Err(format!("images: {images:?}"));
        };
        channel::install(&cluster)?;
        operator::install(&cluster, operator_image, rehearsal_image, &suffix)?;
        let lab = Self {
            dana: User::make(&cluster, users::DANA)?,
            maria: User::make(&cluster, users::MARIA)?,
            paul: User::make(&cluster, users::PAUL)?,
            app_image: app_image.clone(),
            postgres_image: postgres_image.clone(),
            suffix,
            cluster,
        };
        lab.server(SERVER)?;
        database::drop_all(&lab.cluster, &databases)?;
        Ok(lab)
    }

    /// A PostgreSQL server in a namespace; one that is there already serves.
    pub fn server(&self, namespace: &str) -> Result<(), String> {
        self.script(&["server", namespace])
    }

    /// `tests/lab/lab`.
    pub fn script(&self, arguments: &[&str]) -> Result<(), String> {
        let mut command = self.cluster.command("tests/lab/lab");
        command.current_dir(root()).env("POSTGRES_IMAGE", &self.postgres_image).env("APP_IMAGE", &self.app_image);
        output(command.args(arguments), "").map(drop)
    }
}

/// Four letters that the suite before did not have.
fn suffix() -> String {
    let seconds = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).expect("a clock after 1970").as_secs();
    (0..4).map(|digit| char::from(b'a' + u8::try_from(seconds / 26_u64.pow(digit) % 26).expect("a letter"))).collect()
}

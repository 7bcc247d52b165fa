//! A backup that somebody else made.

use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// A backup that was made elsewhere: exactly one of `path` and `cnpgBackup`. The run takes none of its own, and never deletes this one.
#[derive(KubeSchema, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("has(self.path) != has(self.cnpgBackup)").message("backup.existing: set exactly one of path and cnpgBackup"))]
pub struct ExistingBackup {
    /// A dump of the whole database in the destination's folder, as `pg_dump -Fc` or `-Fd` writes it. It is read back to its last block.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253), regex(pattern = "^[A-Za-z0-9_][A-Za-z0-9._-]*(/[A-Za-z0-9_][A-Za-z0-9._-]*)*$"))]
    pub path: Option<String>,
    /// A Backup of CloudNativePG. What it says of itself is believed; nobody reads it back, and only CloudNativePG can restore it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cnpg_backup: Option<CnpgBackupRef>,
}

/// A Backup of CloudNativePG in the run's namespace.
#[derive(JsonSchema, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct CnpgBackupRef {
    /// Name of the resource.
    #[schemars(length(min = 1, max = 253))]
    pub name: String,
}

//! What a step's pod mounts to reach the backup: the claim, or the access key of the bucket; and the disk for what cannot
//! be streamed.

use crate::api::spec::{Backup, Place, Scratch};
use serde_json::{Value, json};

/// Pairs of a volume and its mount.
pub(super) fn volumes(backup: &Backup, read_only: bool) -> Vec<(Value, Value)> {
    let mut volumes = place(backup, read_only);
    if let Some(encryption) = &backup.encryption {
        let items = json!([{"key": encryption.secret_ref.key, "path": "identity"}]);
        volumes.push((
            json!({"name": "encryption", "secret": {"secretName": encryption.secret_ref.name, "items": items, "defaultMode": 0o440}}),
            json!({"name": "encryption", "mountPath": "/run/backfill/encryption", "readOnly": true}),
        ));
    }
    // `pg_restore` reads files, and these are none that it can read in their place.
    if backup.encryption.is_some() || backup.destination.s3.is_some() {
        volumes.push(workspace(backup.scratch.as_ref()));
    }
    volumes
}

fn place(backup: &Backup, read_only: bool) -> Vec<(Value, Value)> {
    match backup.destination.place() {
        Some(Place::Claim(claim)) => vec![(
            json!({"name": "backup", "persistentVolumeClaim": {"claimName": claim.claim_name}}),
            json!({"name": "backup", "mountPath": "/backup", "readOnly": read_only}),
        )],
        Some(Place::Bucket(bucket)) => {
            let mut volumes = vec![(
                json!({"name": "s3", "secret": {"secretName": bucket.secret_ref.name, "defaultMode": 0o440}}),
                json!({"name": "s3", "mountPath": "/run/backfill/s3", "readOnly": true}),
            )];
            if let Some(ca) = &bucket.ca_secret_ref {
                let items = json!([{"key": ca.key, "path": "ca.crt"}]);
                volumes.push((
                    json!({"name": "s3-ca", "secret": {"secretName": ca.name, "items": items, "defaultMode": 0o440}}),
                    json!({"name": "s3-ca", "mountPath": "/run/backfill/s3-ca", "readOnly": true}),
                ));
            }
            volumes
        }
        None => Vec::new(),
    }
}

fn workspace(scratch: Option<&Scratch>) -> (Value, Value) {
    let volume = match scratch.map(|scratch| (&scratch.size, &scratch.storage_class_name)) {
        None => json!({"name": "workspace", "emptyDir": {}}),
        Some((size, None)) => json!({"name": "workspace", "emptyDir": {"sizeLimit": size}}),
        Some((size, Some(class))) => json!({"name": "workspace", "ephemeral": {"volumeClaimTemplate": {"spec": {
            "accessModes": ["ReadWriteOnce"],
            "storageClassName": class,
            "resources": {"requests": {"storage": size}},
        }}}}),
    };
    (volume, json!({"name": "workspace", "mountPath": "/run/backfill/workspace"}))
}

#[cfg(test)]
mod tests {
    use super::volumes;
    use crate::api::spec::Backup;
    use serde_json::json;

    fn names(backup: &serde_json::Value) -> Vec<String> {
        let backup: Backup = serde_json::from_value(backup.clone()).unwrap();
        volumes(&backup, true).iter().map(|(volume, mount)| format!("{volume} {mount}")).collect()
    }

    #[test]
    fn a_bucket_brings_its_key_as_files_and_a_disk_of_the_stated_size() {
        let s3 = json!({"bucket": "dumps", "secretRef": {"name": "key"}, "caSecretRef": {"name": "ca"}});
        let all = names(&json!({"destination": {"s3": s3}, "scratch": {"size": "20Gi", "storageClassName": "fast"}}));
        assert_eq!(all.len(), 3, "key, disk, CA");
        assert!(
            all.iter().any(|v| v.contains(r#""secretName":"key""#) && v.contains("/run/backfill/s3\"") && v.contains(r#""readOnly":true"#))
        );
        assert!(all.iter().any(|v| v.contains("volumeClaimTemplate") && v.contains("20Gi") && v.contains("fast")), "{all:?}");
        let limited =
            names(&json!({"destination": {"s3": {"bucket": "dumps", "secretRef": {"name": "key"}}}, "scratch": {"size": "20Gi"}}));
        assert!(limited.iter().any(|v| v.contains(r#""sizeLimit":"20Gi""#)), "{limited:?}");
        assert_eq!(names(&json!({"destination": {"persistentVolumeClaim": {"claimName": "backups"}}})).len(), 1);
    }
}

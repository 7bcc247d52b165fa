//! A backup volume that is too small: seen before it is full where that is asked for, and no harm where not.

use crate::lab::lab;
use crate::manifest::small;
use crate::program::{output, scratch};
use crate::run::Run;
use crate::scene::Scene;
use serde_json::json;
use std::path::PathBuf;
use std::process::Command;

/// A volume in memory, as small as it is told to be, that a claim of the case's namespace is bound to.
struct Volume {
    folder: PathBuf,
    name: String,
}

impl Volume {
    fn new(scene: &Scene, claim: &str, size: &str) -> Self {
        let name = format!("{}-{claim}", scene.namespace);
        let folder = scratch().join(&name);
        std::fs::create_dir_all(&folder).expect("a folder to mount on");
        let volume = Self { folder, name };
        volume.mount(&format!("size={size},mode=0777"));
        let spec = json!({
            "capacity": {"storage": "1Gi"}, "accessModes": ["ReadWriteOnce"], "storageClassName": "", "persistentVolumeReclaimPolicy": "Retain",
            "hostPath": {"path": volume.folder, "type": "Directory"}, "claimRef": {"namespace": scene.namespace, "name": claim},
        });
        let object = json!({"apiVersion": "v1", "kind": "PersistentVolume", "metadata": {"name": volume.name}, "spec": spec});
        lab().cluster.kubectl(&["apply", "--filename", "-"], &object.to_string());
        let spec = json!({
            "accessModes": ["ReadWriteOnce"], "storageClassName": "", "volumeName": volume.name, "resources": {"requests": {"storage": "1Gi"}},
        });
        scene.apply(&json!({"apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": {"name": claim}, "spec": spec}));
        volume
    }

    fn mount(&self, options: &str) {
        let mounted = output(Command::new("mount").args(["-t", "tmpfs", "-o", options, "tmpfs"]).arg(&self.folder), "");
        assert!(mounted.is_ok(), "a volume in memory: {mounted:?}");
    }

    fn files(&self) -> Vec<String> {
        let names =
            std::fs::read_dir(&self.folder).expect("the volume").flatten().map(|entry| entry.file_name().to_string_lossy().into_owned());
        names.filter(|name| !name.starts_with('.')).collect()
    }
}

impl Drop for Volume {
    fn drop(&mut self) {
        drop(output(Command::new("umount").arg("--lazy").arg(&self.folder), ""));
        drop(lab().cluster.try_kubectl(&["delete", "persistentvolume", &self.name, "--wait=false"], ""));
    }
}

#[tokio::test]
async fn a_full_backup_volume_stalls_the_run_and_leaves_no_half_dump_until_there_is_room() {
    if lab().cluster.provider != "native" {
        eprintln!("skipped: only where the node is this machine can a test make a volume as small as it wants");
        return;
    }
    let scene = Scene::new("full", 4000).await;
    let volume = Volume::new(&scene, "tiny", "64k");
    let mut manifest = small("full-volume");
    manifest["spec"]["backup"]["destination"]["persistentVolumeClaim"]["claimName"] = json!("tiny");
    let run = Run::apply(&scene, &manifest);
    let message = run.stalls("NotEnoughSpace").await;
    for word in ["too little space on the backup volume", "free", "needed", "Enlarge the claim"] {
        assert!(message.contains(word), "the message should say {word:?}: {message}");
    }
    // Who knows better may say so, and finds out.
    run.patch(&json!({"spec": {"preflight": {"minFreeSpace": "1"}}}));
    let message = run.stalls("BackupVolumeFull").await;
    assert!(message.contains("full"), "{message}");
    assert_eq!(volume.files(), Vec::<String>::new(), "no half dump is left");

    volume.mount("remount,size=64m");
    run.asks().await;
    let backup = run.status().await.backup.expect("a backup");
    assert!(volume.files().contains(&backup.file), "{} should be among {:?}", backup.file, volume.files());
}

//! What the scratch server takes on its disk.

use std::path::Path;

/// Bytes of all files below a folder, as far as they are there: a server makes and removes files all the time.
pub(super) fn taken(folder: &Path) -> i64 {
    let Ok(entries) = std::fs::read_dir(folder) else { return 0 };
    entries
        .flatten()
        .map(|entry| match entry.metadata() {
            Ok(metadata) if metadata.is_dir() => taken(&entry.path()),
            Ok(metadata) => on_disk(&metadata),
            Err(_) => 0,
        })
        .sum()
}

/// Blocks, and not the length: a file may have holes.
fn on_disk(metadata: &std::fs::Metadata) -> i64 {
    use std::os::unix::fs::MetadataExt as _;
    i64::try_from(metadata.blocks().saturating_mul(512)).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    #[test]
    fn files_count_at_every_depth_and_what_is_gone_counts_nothing() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir_all(folder.path().join("a/b")).unwrap();
        std::fs::write(folder.path().join("a/b/c"), vec![1; 100_000]).unwrap();
        std::fs::write(folder.path().join("d"), vec![1; 50_000]).unwrap();
        let taken = super::taken(folder.path());
        assert!((150_000..200_000).contains(&taken), "{taken}");
        assert_eq!(super::taken(&folder.path().join("nowhere")), 0);
    }
}

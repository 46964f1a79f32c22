//! Watching: each way in which a file or a folder changes wakes the receiver.

use super::FileSource;
use crate::config::source::fingerprint;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::mpsc::Receiver;
use tokio::time::timeout;

const SOON: Duration = Duration::from_secs(2);

/// Waits until a wake-up finds the content that is expected: a file's text, or no file at all.
async fn becomes(source: &FileSource, wakes: &mut Receiver<()>, expected: Option<&str>) {
    let seen = async {
        loop {
            wakes.recv().await.unwrap();
            let files = source.read().ok();
            let text = files.and_then(|files| files.into_iter().next()).map(|file| file.bytes);
            if text.as_deref() == expected.map(str::as_bytes) {
                return;
            }
        }
    };
    timeout(SOON, seen).await.unwrap();
}

fn watched(path: &Path) -> (Arc<FileSource>, Receiver<()>) {
    let source = Arc::new(FileSource::new(path));
    let wakes = Arc::clone(&source).watch();
    (source, wakes)
}

#[tokio::test]
async fn a_file_written_in_place_wakes() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("serin.yaml");
    fs::write(&path, "a: 1").unwrap();
    let (source, mut wakes) = watched(&path);
    let before = fingerprint(&source.read().unwrap());
    for text in ["a: 2", "a: 3"] {
        fs::write(&path, text).unwrap();
        becomes(&source, &mut wakes, Some(text)).await;
    }
    assert_ne!(fingerprint(&source.read().unwrap()), before);
}

#[tokio::test]
async fn a_file_replaced_by_renaming_wakes() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("serin.yaml");
    fs::write(&path, "a: 1").unwrap();
    let (source, mut wakes) = watched(&path);
    for text in ["a: 2", "a: 3"] {
        fs::write(folder.path().join(".serin.yaml.swp"), text).unwrap();
        fs::rename(folder.path().join(".serin.yaml.swp"), &path).unwrap();
        becomes(&source, &mut wakes, Some(text)).await;
    }
    fs::remove_file(&path).unwrap();
    becomes(&source, &mut wakes, None).await;
    fs::write(&path, "a: 4").unwrap();
    becomes(&source, &mut wakes, Some("a: 4")).await;
}

/// Writes a version as the kubelet does: a new folder, then the `..data` link renamed over.
fn publish(folder: &Path, version: &str, text: &str) {
    fs::create_dir(folder.join(version)).unwrap();
    fs::write(folder.join(version).join("serin.yaml"), text).unwrap();
    let old = fs::read_link(folder.join("..data")).ok();
    symlink(version, folder.join("..data_tmp")).unwrap();
    fs::rename(folder.join("..data_tmp"), folder.join("..data")).unwrap();
    if !folder.join("serin.yaml").exists() {
        symlink("..data/serin.yaml", folder.join("serin.yaml")).unwrap();
    }
    if let Some(old) = old {
        fs::remove_dir_all(folder.join(old)).unwrap();
    }
}

#[tokio::test]
async fn a_mounted_config_map_that_is_swapped_wakes() {
    let folder = tempfile::tempdir().unwrap();
    publish(folder.path(), "..1", "a: 1");
    for path in [folder.path().to_owned(), folder.path().join("serin.yaml")] {
        let (source, mut wakes) = watched(&path);
        for number in 2..5 {
            let version = format!("..{number}-{}", path.as_os_str().len());
            let text = format!("version: {version}");
            publish(folder.path(), &version, &text);
            becomes(&source, &mut wakes, Some(&text)).await;
        }
    }
}

#[tokio::test]
async fn a_folder_that_vanishes_and_returns_wakes() {
    let above = tempfile::tempdir().unwrap();
    let folder = above.path().join("outer/conf");
    for path in [folder.clone(), folder.join("serin.yaml")] {
        fs::create_dir_all(&folder).unwrap();
        fs::write(folder.join("serin.yaml"), "a: 1").unwrap();
        let (source, mut wakes) = watched(&path);
        for text in ["a: 2", "a: 3"] {
            fs::remove_dir_all(above.path().join("outer")).unwrap();
            becomes(&source, &mut wakes, None).await;
            fs::create_dir_all(&folder).unwrap();
            fs::write(folder.join("serin.yaml"), text).unwrap();
            becomes(&source, &mut wakes, Some(text)).await;
            fs::write(folder.join("serin.yaml"), "a: again").unwrap();
            becomes(&source, &mut wakes, Some("a: again")).await;
        }
    }
}

#[tokio::test]
async fn a_linked_file_that_changes_elsewhere_wakes() {
    let (here, there) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    fs::write(there.path().join("real.yaml"), "a: 1").unwrap();
    symlink(there.path().join("real.yaml"), here.path().join("serin.yaml")).unwrap();
    let (source, mut wakes) = watched(&here.path().join("serin.yaml"));
    fs::write(there.path().join("real.yaml"), "a: 2").unwrap();
    becomes(&source, &mut wakes, Some("a: 2")).await;
}

#[tokio::test]
async fn neighbours_and_reading_do_not_wake() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("serin.yaml");
    fs::write(&path, "a: 1").unwrap();
    let (source, mut wakes) = watched(&path);
    fs::write(folder.path().join("other.log"), "x").unwrap();
    source.read().unwrap();
    assert!(timeout(Duration::from_millis(300), wakes.recv()).await.is_err());
}

#[tokio::test(start_paused = true)]
async fn receivers_are_woken_slowly_without_events() {
    let folder = tempfile::tempdir().unwrap();
    let (_source, mut wakes) = watched(&folder.path().join("none.yaml"));
    let begin = tokio::time::Instant::now();
    wakes.recv().await.unwrap();
    assert_eq!(begin.elapsed(), super::POLL);
}

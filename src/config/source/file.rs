//! The configuration in a file, or in a folder whose files are read as one document.

use super::RawFile;
use crate::config::diagnostic::Diagnostic;
use crate::config::tree::{DOCUMENT_BYTES_MAX, FILES_MAX, too_large};
use std::fs;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

/// How often a mounted folder is read again because it was swapped meanwhile.
const SWAPS_MAX: usize = 4;

/// A file or a folder on disk.
#[derive(Debug)]
pub struct FileSource {
    path: PathBuf,
}

impl FileSource {
    /// The source at a path as the user gave it.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self { path: path.into() }
    }

    /// The path as the user gave it.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Reads the file, or the `*.yaml` and `*.yml` of the folder in the order of their names;
    /// blocks, so not on a worker.
    pub fn read(&self) -> Result<Vec<RawFile>, Vec<Diagnostic>> {
        match fs::metadata(&self.path) {
            Ok(found) if found.is_dir() => self.read_folder(),
            Ok(_) => {
                let mut room = DOCUMENT_BYTES_MAX;
                read_file(&self.path, &mut room)
                    .map(|file| vec![file])
                    .map_err(|error| vec![*error])
            }
            Err(error) => Err(vec![failure(&self.path, &error)]),
        }
    }

    /// Reads the folder; a mounted ConfigMap that is swapped meanwhile is read again, so that no
    /// mixture of two versions is seen.
    fn read_folder(&self) -> Result<Vec<RawFile>, Vec<Diagnostic>> {
        let mut version = self.version();
        for _ in 0..SWAPS_MAX {
            let files = self.read_folder_once();
            let after = self.version();
            if version == after {
                return files;
            }
            version = after;
        }
        self.read_folder_once()
    }

    /// The target of the link by which a ConfigMap is swapped.
    fn version(&self) -> Option<PathBuf> {
        fs::read_link(self.path.join("..data")).ok()
    }

    fn read_folder_once(&self) -> Result<Vec<RawFile>, Vec<Diagnostic>> {
        let names = self.names().map_err(|error| vec![failure(&self.path, &error)])?;
        if names.is_empty() {
            let message = "the folder has no file that ends in .yaml or .yml";
            return Err(vec![Diagnostic::error(shown(&self.path), message)]);
        }
        if names.len() > FILES_MAX {
            let message = format!("the folder has more than {FILES_MAX} files");
            return Err(vec![Diagnostic::error(shown(&self.path), message)]);
        }
        let mut room = DOCUMENT_BYTES_MAX;
        let mut files = Vec::with_capacity(names.len());
        let mut failures = Vec::new();
        for path in names {
            match read_file(&path, &mut room) {
                Ok(file) => files.push(file),
                Err(failure) => failures.push(*failure),
            }
        }
        if failures.is_empty() { Ok(files) } else { Err(failures) }
    }

    /// The files that are to be read, as far as they can be seen.
    pub(super) fn files(&self) -> Vec<PathBuf> {
        if self.path.is_dir() { self.names().unwrap_or_default() } else { vec![self.path.clone()] }
    }

    /// The files to read, sorted; one more than allowed shows that there are too many.
    fn names(&self) -> io::Result<Vec<PathBuf>> {
        let mut names = Vec::new();
        for entry in fs::read_dir(&self.path)? {
            let entry = entry?;
            let name = entry.file_name();
            let path = entry.path();
            let ours = is_document(name.as_encoded_bytes())
                && fs::metadata(&path).map_or(true, |found| found.is_file());
            if ours {
                names.push(path);
                if names.len() > FILES_MAX {
                    break;
                }
            }
        }
        names.sort();
        Ok(names)
    }
}

/// Whether what has this name among others is part of the configuration.
pub(super) fn is_document(name: &[u8]) -> bool {
    !name.starts_with(b".") && (name.ends_with(b".yaml") || name.ends_with(b".yml"))
}

fn read_file(path: &Path, room: &mut usize) -> Result<RawFile, Box<Diagnostic>> {
    let mut bytes = Vec::new();
    let limit = u64::try_from(*room).unwrap_or(u64::MAX).saturating_add(1);
    fs::File::open(path)
        .and_then(|file| file.take(limit).read_to_end(&mut bytes))
        .map_err(|error| Box::new(failure(path, &error)))?;
    *room = room
        .checked_sub(bytes.len())
        .ok_or_else(|| Box::new(Diagnostic::error(shown(path), too_large())))?;
    Ok(RawFile { name: shown(path), bytes })
}

fn shown(path: &Path) -> String {
    path.to_string_lossy().into_owned()
}

fn failure(path: &Path, error: &io::Error) -> Diagnostic {
    let message = match error.kind() {
        io::ErrorKind::NotFound => "no such file or folder".to_owned(),
        io::ErrorKind::PermissionDenied => "no permission to read this".to_owned(),
        _ => format!("can not be read: {error}"),
    };
    Diagnostic::error(shown(path), message)
}

#[cfg(test)]
mod tests {
    use super::FileSource;
    use crate::config::tree::{DOCUMENT_BYTES_MAX, FILES_MAX};
    use std::fs;
    use std::os::unix::fs::symlink;

    fn message(source: &FileSource) -> String {
        source.read().unwrap_err()[0].to_string()
    }

    #[test]
    fn a_folder_is_read_in_the_order_of_its_names() {
        let folder = tempfile::tempdir().unwrap();
        let data = folder.path().join("..2026_11_23");
        fs::create_dir(&data).unwrap();
        symlink("..2026_11_23", folder.path().join("..data")).unwrap();
        for (name, text) in [("b.yaml", "b: 1"), ("a.yml", "a: 1")] {
            fs::write(data.join(name), text).unwrap();
            symlink(format!("..data/{name}"), folder.path().join(name)).unwrap();
        }
        fs::write(folder.path().join(".hidden.yaml"), "x").unwrap();
        fs::write(folder.path().join("notes.txt"), "x").unwrap();
        fs::create_dir(folder.path().join("folder.yaml")).unwrap();
        let files = FileSource::new(folder.path()).read().unwrap();
        let texts: Vec<&[u8]> = files.iter().map(|file| file.bytes.as_slice()).collect();
        assert_eq!(texts, [b"a: 1", b"b: 1"]);
        assert_eq!(files[0].name, folder.path().join("a.yml").to_str().unwrap());
    }

    #[test]
    fn what_can_not_be_read_is_a_diagnostic() {
        let folder = tempfile::tempdir().unwrap();
        let source = FileSource::new(folder.path().join("no.yaml"));
        assert!(message(&source).ends_with("no.yaml:1:1: error: no such file or folder"));
        assert!(message(&FileSource::new(folder.path())).contains("has no file that ends in"));
        symlink("nowhere", folder.path().join("dangling.yaml")).unwrap();
        let source = FileSource::new(folder.path());
        assert!(message(&source).contains("dangling.yaml:1:1: error: no such file"));
    }

    #[test]
    fn a_document_that_is_too_large_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        for name in ["a.yaml", "b.yaml"] {
            fs::write(folder.path().join(name), vec![b'#'; DOCUMENT_BYTES_MAX / 2 + 1]).unwrap();
        }
        let source = FileSource::new(folder.path());
        assert!(message(&source).contains("b.yaml:1:1: error: the configuration is larger than"));
        assert!(FileSource::new(folder.path().join("a.yaml")).read().is_ok());
    }

    #[test]
    fn too_many_files_are_refused() {
        let folder = tempfile::tempdir().unwrap();
        for number in 0..=FILES_MAX {
            fs::write(folder.path().join(format!("{number}.yaml")), "a: 1").unwrap();
        }
        assert!(message(&FileSource::new(folder.path())).contains("more than 256 files"));
    }
}

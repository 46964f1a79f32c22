//! Files that are mounted by themselves, as by `subPath`: they never change where they are.

use super::FileSource;
use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};

/// Where the kernel tells what is mounted where.
const MOUNTS: &str = "/proc/self/mountinfo";

impl FileSource {
    /// The file to read that is mounted by itself, if there is one: the kubelet never replaces it.
    /// Blocks.
    pub fn mounted_alone(&self) -> Option<PathBuf> {
        let mounts = std::fs::read(MOUNTS).ok()?;
        let points: Vec<_> = mount_points(&mounts).collect();
        self.files().into_iter().find(|file| {
            let is_point = std::fs::canonicalize(file).is_ok_and(|real| points.contains(&real));
            is_point && !is_swapped(file)
        })
    }
}

/// Whether a file is in a folder that the kubelet swaps as a whole.
fn is_swapped(file: &Path) -> bool {
    file.with_file_name("..data").symlink_metadata().is_ok()
}

/// The mount points of a text in the form of `/proc/self/mountinfo` (`proc_pid_mountinfo(5)`): the
/// fifth field of each line, with blanks and backslashes in octal.
fn mount_points(text: &[u8]) -> impl Iterator<Item = PathBuf> {
    let lines = text.split(|byte| *byte == b'\n');
    let fields = lines.filter_map(|line| line.split(|byte| *byte == b' ').nth(4));
    fields.map(|field| OsString::from_vec(unescape(field)).into())
}

/// A field with `\` and three octal digits as the byte that they stand for.
fn unescape(mut field: &[u8]) -> Vec<u8> {
    let mut plain = Vec::with_capacity(field.len());
    while let [first, rest @ ..] = field {
        let escaped = match (first, rest) {
            (b'\\', [a @ b'0'..=b'3', b @ b'0'..=b'7', c @ b'0'..=b'7', ..]) => {
                Some((a - b'0') << 6 | (b - b'0') << 3 | (c - b'0'))
            }
            _ => None,
        };
        plain.push(escaped.unwrap_or(*first));
        let length = if escaped.is_some() { 4 } else { 1 };
        field = field.get(length..).unwrap_or_default();
    }
    plain
}

#[cfg(test)]
mod tests {
    use super::{mount_points, unescape};
    use crate::config::FileSource;
    use std::path::PathBuf;

    #[test]
    fn mount_points_are_read_with_their_blanks() {
        let text = b"\
36 35 98:0 /mnt1 /mnt2 rw,noatime master:1 - ext3 /dev/root rw,errors=continue
815 798 8:1 /var/lib/kubelet/pods/1/volume-subpaths/rules/serin/0 /etc/serin/serin.yaml ro - ext4 x ro
816 798 8:1 / /etc/with\\040blank\\134\\011x ro - ext4 x ro
short
";
        let points: Vec<_> = mount_points(text).collect();
        let expected = ["/mnt2", "/etc/serin/serin.yaml", "/etc/with blank\\\tx"];
        assert_eq!(points, expected.map(PathBuf::from));
    }

    #[test]
    fn only_three_octal_digits_of_one_byte_are_an_escape() {
        for (field, plain) in [
            (r"\040", " "),
            (r"\04", r"\04"),
            (r"\", r"\"),
            (r"\400", r"\400"),
            (r"\189", r"\189"),
            (r"a\134040", r"a\040"),
        ] {
            assert_eq!(unescape(field.as_bytes()), plain.as_bytes(), "{field}");
        }
    }

    #[test]
    fn a_file_of_a_folder_is_not_mounted_alone() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("serin.yaml"), "a: 1").unwrap();
        for path in [folder.path().to_owned(), folder.path().join("serin.yaml"), "none".into()] {
            assert_eq!(FileSource::new(path).mounted_alone(), None);
        }
    }
}

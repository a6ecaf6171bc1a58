//! Finds files and opens them.

use std::fmt;
use std::fs::{self, File, OpenOptions};
use std::io;
use std::path::{Path, PathBuf};

/// The files to count, and what was skipped.
#[derive(Debug, Default)]
pub(crate) struct Found {
    /// Each file and its length when it was found, the longest first. If a long file were begun
    /// last, all workers but one would wait for its end.
    pub(crate) files: Vec<(PathBuf, u64)>,
    /// The paths that could not be read, and why.
    pub(crate) skipped: Vec<(PathBuf, io::Error)>,
    /// What was not tried.
    pub(crate) left_out: LeftOut,
}

/// The numbers of entries below directories that were left out on purpose.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct LeftOut {
    /// Directories whose name begins with a dot.
    hidden: u64,
    /// Directories called `target`, where Cargo puts its output.
    target: u64,
    /// Symbolic links: their targets may be elsewhere, or be counted already.
    links: u64,
    /// Pipes, sockets and devices.
    special: u64,
}

impl fmt::Display for LeftOut {
    /// Writes nothing if nothing was left out.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kinds = [
            ("hidden directories", self.hidden),
            ("directories called target", self.target),
            ("symbolic links", self.links),
            ("pipes, sockets and devices", self.special),
        ];
        let mut separator = "";
        for (kind, count) in kinds.into_iter().filter(|(_, count)| *count > 0) {
            write!(f, "{separator}{kind} ({count})")?;
            separator = ", ";
        }
        if self.hidden + self.target > 0 {
            f.write_str("; --all takes the directories")?;
        }
        Ok(())
    }
}

/// Finds each path that is a file, and the files below each path that is a directory. `watch` is
/// called with the number of files found so far. See [`LeftOut`] for what is left out unless `all`.
pub(crate) fn find(paths: &[PathBuf], all: bool, mut watch: impl FnMut(usize)) -> Found {
    let mut found = Found::default();
    let mut directories = Vec::new();
    for path in paths {
        match fs::metadata(path) {
            Ok(metadata) if metadata.is_dir() => directories.push(path.clone()),
            Ok(metadata) => found.files.push((path.clone(), metadata.len())),
            Err(error) => found.skipped.push((path.clone(), error)),
        }
    }
    while let Some(directory) = directories.pop() {
        if let Err(error) = list(&directory, all, &mut directories, &mut found, &mut watch) {
            found.skipped.push((directory, error));
        }
    }
    found.files.sort_by(|a, b| b.1.cmp(&a.1).then_with(|| a.0.cmp(&b.0)));
    found
}

fn list(
    directory: &Path,
    all: bool,
    directories: &mut Vec<PathBuf>,
    found: &mut Found,
    watch: &mut impl FnMut(usize),
) -> io::Result<()> {
    for entry in fs::read_dir(directory)? {
        let entry = entry?;
        let metadata = match entry.metadata() {
            Ok(metadata) => metadata,
            Err(error) => {
                found.skipped.push((entry.path(), error));
                continue;
            }
        };
        let name = entry.file_name();
        if metadata.is_symlink() {
            found.left_out.links += 1;
        } else if metadata.is_file() {
            found.files.push((entry.path(), metadata.len()));
            watch(found.files.len());
        } else if !metadata.is_dir() {
            found.left_out.special += 1;
        } else if all {
            directories.push(entry.path());
        } else if name == "target" {
            found.left_out.target += 1;
        } else if name.as_encoded_bytes().starts_with(b".") {
            found.left_out.hidden += 1;
        } else {
            directories.push(entry.path());
        }
    }
    Ok(())
}

/// Opens a file to be counted, and returns its length.
///
/// # Errors
///
/// Fails if the file cannot be opened, or is a pipe, a device or the like.
pub(crate) fn open(path: &Path) -> io::Result<(File, u64)> {
    let mut options = OpenOptions::new();
    options.read(true);
    // Without this, opening a pipe blocks until another process opens its other end.
    #[cfg(target_os = "linux")]
    std::os::unix::fs::OpenOptionsExt::custom_flags(&mut options, libc::O_NONBLOCK);
    let file = options.open(path)?;
    let metadata = file.metadata()?;
    if !metadata.is_file() {
        return Err(io::Error::other("not a regular file"));
    }
    Ok((file, metadata.len()))
}

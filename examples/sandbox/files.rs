//! Finds the files and opens them.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::path::{Path, PathBuf};

/// What there is to count.
#[derive(Debug, Default)]
pub(crate) struct Found {
    /// Each file and how long it was when it was found, the longest first: a long one that begins last would have all
    /// workers but one wait for its end.
    pub(crate) files: Vec<(PathBuf, u64)>,
    /// What could not be looked at, and why.
    pub(crate) skipped: Vec<(PathBuf, io::Error)>,
}

/// Takes each path that is a file, and the files below each path that is a directory.
///
/// Below a directory, hidden directories and those called `target` are left out, and symbolic links are not followed.
pub(crate) fn find(paths: &[PathBuf]) -> Found {
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
        if let Err(error) = list(&directory, &mut directories, &mut found) {
            found.skipped.push((directory, error));
        }
    }
    found.files.sort_by(|a, b| b.1.cmp(&a.1).then_with(|| a.0.cmp(&b.0)));
    found
}

fn list(directory: &Path, directories: &mut Vec<PathBuf>, found: &mut Found) -> io::Result<()> {
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
        if metadata.is_dir() {
            if name != "target" && !name.as_encoded_bytes().starts_with(b".") {
                directories.push(entry.path());
            }
        } else if metadata.is_file() {
            found.files.push((entry.path(), metadata.len()));
        }
    }
    Ok(())
}

/// Opens a file to be counted, and says how long it is.
///
/// # Errors
///
/// If it can't be opened, or is a pipe, a device or the like.
pub(crate) fn open(path: &Path) -> io::Result<(File, u64)> {
    let mut options = OpenOptions::new();
    options.read(true);
    // Without this, opening a pipe waits for somebody to open its other end.
    #[cfg(target_os = "linux")]
    std::os::unix::fs::OpenOptionsExt::custom_flags(&mut options, libc::O_NONBLOCK);
    let file = options.open(path)?;
    let metadata = file.metadata()?;
    if !metadata.is_file() {
        return Err(io::Error::other("not a regular file"));
    }
    Ok((file, metadata.len()))
}

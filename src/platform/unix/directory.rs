//! The directory of a user's own names, which nobody else can enter.
//!
//! Somebody else may have made one of that name first, where everybody may: then it is not used, and what is wrong with it is said.
//! Once it is this user's, nobody else can replace it, as directories for temporary files are sticky.

use std::env;
use std::fs::{self, DirBuilder};
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};

use rustix::net::SocketAddrUnix;

use super::rendezvous::SHORT_DIRECTORY;

/// What is to be done if there is no such directory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Missing {
    IsMade,
    IsAnError,
}

/// The path of the socket with this name. It depends on nothing but the environment and the user, so both sides come to the same.
pub(super) fn path_of(name: &str, missing: Missing) -> io::Result<PathBuf> {
    let user = rustix::process::geteuid().as_raw();
    let socket = format!("{name}.socket");
    let of_runtime = env::var_os("XDG_RUNTIME_DIR")
        .map(PathBuf::from)
        .filter(|runtime| runtime.is_absolute() && is_private(runtime, user).is_ok())
        .map(|runtime| runtime.join("strait"));
    let directory = match of_runtime {
        Some(directory) => directory,
        None => std::path::absolute(env::temp_dir())?.join(format!("strait-{user}")),
    };
    let directory = if SocketAddrUnix::new(directory.join(&socket)).is_ok() {
        directory
    } else {
        Path::new(SHORT_DIRECTORY).join(format!("strait-{user}"))
    };
    if missing == Missing::IsMade {
        match DirBuilder::new().mode(0o700).create(&directory) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => {
                return Err(about(&directory, &error));
            }
            _ => {}
        }
    }
    is_private(&directory, user).map_err(|error| about(&directory, &error))?;
    Ok(directory.join(socket))
}

fn about(directory: &Path, error: &io::Error) -> io::Error {
    io::Error::new(error.kind(), format!("{}: {error}", directory.display()))
}

/// Whether it is a directory, and this user's alone.
fn is_private(directory: &Path, user: u32) -> io::Result<()> {
    let there = fs::symlink_metadata(directory)?;
    let problem = if !there.is_dir() {
        "it is not a directory"
    } else if there.uid() != user {
        "it is somebody else's directory"
    } else if there.mode() & 0o077 != 0 {
        "others may enter the directory"
    } else {
        return Ok(());
    };
    Err(io::Error::new(io::ErrorKind::PermissionDenied, problem))
}

//! An open file is sent to another process, which may have no right to open it itself.
//!
//! A `Handle` can contain any object for which the operating system has a handle: files, sockets,
//! pipes.

use std::env;
use std::error::Error;
use std::fs::File;
use std::io::Read;
use std::process::Command;

use strait::handle::Handle;
use strait::process::{self, ChannelCommand};

fn main() -> Result<(), Box<dyn Error>> {
    if !process::is_supported() {
        return Err("channels do not leave the process on this platform".into());
    }
    match env::args().nth(1) {
        None => parent(),
        Some(_) => child(),
    }
}

fn parent() -> Result<(), Box<dyn Error>> {
    let mut command = Command::new(env::current_exe()?);
    let (mut child, files, _) = command.arg("child").spawn_with_channel::<Handle<File>, ()>()?;

    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/Cargo.toml");
    files.send(Handle(File::open(path)?))?;
    println!("parent: sent an open file, and no name");

    child.wait()?;
    Ok(())
}

fn child() -> Result<(), Box<dyn Error>> {
    let (_, files) = process::parent::<(), Handle<File>>()?;
    let mut file = files.recv()?.into_inner();
    let mut text = String::new();
    file.read_to_string(&mut text)?;
    println!("child: the file begins with {:?}", text.lines().next().unwrap_or_default());
    Ok(())
}

//! Two processes exchange messages.
//!
//! The parent starts this program again, as a child that has a channel in each direction from the
//! beginning.

use std::env;
use std::error::Error;
use std::process::Command;

use serde::{Deserialize, Serialize};
use strait::process::{self, ChannelCommand};

#[derive(Serialize, Deserialize)]
struct Hello {
    pid: u32,
}

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
    let (mut child, to_child, from_child) =
        command.arg("child").spawn_with_channel::<String, Hello>()?;

    // If the child ends without sending anything, this fails.
    let hello = from_child.recv()?;
    println!("parent: hello from another process: {}", hello.pid == child.id());
    to_child.send(String::from("hello yourself"))?;

    let status = child.wait()?;
    println!("parent: the child succeeded: {}", status.success());
    Ok(())
}

fn child() -> Result<(), Box<dyn Error>> {
    let (to_parent, from_parent) = process::parent::<Hello, String>()?;
    to_parent.send(Hello { pid: std::process::id() })?;
    println!("child: the parent says: {}", from_parent.recv()?);
    Ok(())
}

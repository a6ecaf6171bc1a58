//! A megabyte that two processes read, and nobody copies.
//!
//! What is sent is not the content but the right to look at it: the message has the same size whatever the memory's is.

use std::env;
use std::error::Error;
use std::process::Command;

use strait::ipc::IpcSharedMemory;
use strait::process::{self, ChannelCommand};

fn main() -> Result<(), Box<dyn Error>> {
    if cfg!(any(not(target_os = "linux"), feature = "force-inprocess")) {
        return Err("here channels do not leave the process".into());
    }
    match env::args().nth(1) {
        None => parent(),
        Some(_) => child(),
    }
}

fn parent() -> Result<(), Box<dyn Error>> {
    let mut command = Command::new(env::current_exe()?);
    let (mut child, tasks, sums) =
        command.arg("child").spawn_with_channel::<IpcSharedMemory, u64>()?;

    let numbers = IpcSharedMemory::try_from_byte(3, 1 << 20)?;
    tasks.send(numbers.clone())?;
    println!("parent: {} bytes add up to {}", numbers.len(), sums.recv()?);

    child.wait()?;
    Ok(())
}

fn child() -> Result<(), Box<dyn Error>> {
    let (sums, tasks) = process::parent::<u64, IpcSharedMemory>()?;
    let numbers = tasks.recv()?;
    sums.send(numbers.iter().map(|&byte| u64::from(byte)).sum())?;
    Ok(())
}

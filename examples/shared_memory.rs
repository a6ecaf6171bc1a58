//! A megabyte that two processes read, and nobody copies.
//!
//! What is sent is not the content but the right to look at it: the message has the same size whatever the memory's is.

use std::env;
use std::error::Error;
use std::process::Command;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use strait::ipc::{self, IpcOneShotServer, IpcSender, IpcSharedMemory};

#[derive(Serialize, Deserialize)]
struct Task {
    numbers: IpcSharedMemory,
    sum: IpcSender<u64>,
}

fn main() -> Result<(), Box<dyn Error>> {
    if cfg!(any(not(target_os = "linux"), feature = "force-inprocess")) {
        return Err("here channels do not leave the process".into());
    }
    match env::args().nth(1) {
        None => parent(),
        Some(server) => child(server),
    }
}

fn parent() -> Result<(), Box<dyn Error>> {
    let (server, name) = IpcOneShotServer::<IpcSender<Task>>::new()?;
    let mut child = Command::new(env::current_exe()?).arg(name).spawn()?;
    let (_, tasks) = server.accept_timeout(Duration::from_secs(10))?;

    let numbers = IpcSharedMemory::try_from_byte(3, 1 << 20)?;
    let (sum, sums) = ipc::channel()?;
    tasks.send(Task { numbers: numbers.clone(), sum })?;
    println!("parent: {} bytes add up to {}", numbers.len(), sums.recv()?);

    child.wait()?;
    Ok(())
}

fn child(server: String) -> Result<(), Box<dyn Error>> {
    let parent = IpcSender::connect(server)?;
    let (sender, tasks) = ipc::channel::<Task>()?;
    parent.send(sender)?;

    let Task { numbers, sum } = tasks.recv()?;
    sum.send(numbers.iter().map(|&byte| u64::from(byte)).sum())?;
    Ok(())
}

//! Two processes meet by name and talk.
//!
//! The parent makes a one-shot server and starts this program again, with the server's name as its argument. The first
//! message that the child sends there brings a sender with it, so that the parent can answer.

use std::env;
use std::error::Error;
use std::process::{self, Command};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use strait::ipc::{self, IpcOneShotServer, IpcSender};

#[derive(Serialize, Deserialize)]
struct Hello {
    pid: u32,
    answer: IpcSender<String>,
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
    let (server, name) = IpcOneShotServer::<Hello>::new()?;
    let mut child = Command::new(env::current_exe()?).arg(name).spawn()?;

    // Without a timeout, this would wait for ever for a child that died too early.
    let (_, hello) = server.accept_timeout(Duration::from_secs(10))?;
    println!("parent: hello from another process: {}", hello.pid != process::id());
    hello.answer.send(String::from("hello yourself"))?;

    let status = child.wait()?;
    println!("parent: the child succeeded: {}", status.success());
    Ok(())
}

fn child(server: String) -> Result<(), Box<dyn Error>> {
    let parent = IpcSender::connect(server)?;
    let (answer, answers) = ipc::channel()?;
    parent.send(Hello { pid: process::id(), answer })?;
    println!("child: the parent says: {}", answers.recv()?);
    Ok(())
}

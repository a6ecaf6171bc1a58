//! Two kinds of shared memory: a megabyte that two processes read and neither copies, and a counter
//! that one process writes while the other reads it.
//!
//! Messages contain handles of the memory, not its content: their size does not depend on it.

use std::env;
use std::error::Error;
use std::io;
use std::process::Command;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use strait::TryRecvError;
use strait::ipc::{IpcSharedMemory, SharedMemoryReader, SharedMemoryWriter};
use strait::process::{self, ChannelCommand};

/// The number of bytes that the child adds up before it updates the counter.
const STEP: usize = 1 << 16;

/// The messages of the child.
#[derive(Serialize, Deserialize)]
enum Answer {
    /// The number of bytes that the child has added up so far.
    Progress(SharedMemoryReader),
    Sum(u64),
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
    let (mut child, tasks, answers) =
        command.arg("child").spawn_with_channel::<IpcSharedMemory, Answer>()?;

    let numbers = IpcSharedMemory::try_from_byte(3, 1 << 20)?;
    tasks.send(numbers.clone())?;

    // The parent can read the counter at any time, and cannot write it.
    let Answer::Progress(progress) = answers.recv()? else {
        return Err("the sum came before the progress".into());
    };
    let bytes_done = || -> io::Result<u64> {
        let mut done = [0; 8];
        progress.read_at(0, &mut done)?;
        Ok(u64::from_ne_bytes(done))
    };
    let mut last = 0;
    let sum = loop {
        match answers.try_recv_timeout(Duration::from_millis(1)) {
            Ok(Answer::Sum(sum)) => break sum,
            Ok(Answer::Progress(_)) => return Err("the progress came twice".into()),
            Err(TryRecvError::Empty) => {
                let now = bytes_done()?;
                assert!((last..=1 << 20).contains(&now), "it only grows");
                last = now;
            }
            Err(error) => return Err(error.into()),
        }
    };
    // Reads after `recv` see all writes before `send`.
    assert_eq!(bytes_done()?, 1 << 20);
    println!("parent: {} bytes add up to {sum}", numbers.len());

    child.wait()?;
    Ok(())
}

fn child() -> Result<(), Box<dyn Error>> {
    let (answers, tasks) = process::parent::<Answer, IpcSharedMemory>()?;
    let numbers = tasks.recv()?;
    let progress = SharedMemoryWriter::new(8)?;
    answers.send(Answer::Progress(progress.reader()?))?;

    let mut sum = 0;
    for (step, part) in (1_u64..).zip(numbers.chunks(STEP)) {
        sum += part.iter().map(|&byte| u64::from(byte)).sum::<u64>();
        progress.write_at(0, &(step * STEP as u64).to_ne_bytes())?;
    }
    answers.send(Answer::Sum(sum))?;
    Ok(())
}

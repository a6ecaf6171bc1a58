//! Backpressure: a process sends jobs faster than another process does them. A bounded channel
//! keeps it from getting ahead, regardless of what the other process does meanwhile.

use std::env;
use std::error::Error;
use std::process::Command;

use strait::mpsc::{self, Receiver, Sender};
use strait::process::{ChannelCommand, parent};

/// The argument by which this program runs as the worker.
const WORKER: &str = "--worker";

/// The maximum number of jobs that were sent and not received.
const BOUND: usize = 4;

/// The endpoints that the worker receives: for jobs, for the signal to begin, and for its result.
type Ends = (Receiver<u64>, Receiver<()>, Sender<u64>);

fn main() -> Result<(), Box<dyn Error>> {
    if !strait::process::is_supported() {
        return Err("channels do not leave the process on this platform".into());
    }
    if env::args().nth(1).is_some_and(|argument| argument == WORKER) {
        let (_, from_parent) = parent::<(), Ends>()?;
        let (jobs, begin, result) = from_parent.recv()?;
        begin.recv()?;
        result.send(jobs.iter().sum())?;
        return Ok(());
    }

    let (jobs, inbox) = mpsc::sync_channel(BOUND);
    let (begin, may_begin) = mpsc::channel();
    let (to_parent, result) = mpsc::channel();
    let mut command = Command::new(env::current_exe()?);
    let (mut worker, to_worker, _) = command.arg(WORKER).spawn_with_channel::<Ends, ()>()?;
    to_worker.send((inbox, may_begin, to_parent))?;

    let waiting = (1..=100).take_while(|&number| jobs.try_send(number).is_ok()).count();
    println!("{waiting} jobs wait for the worker, and there is no room for another");

    begin.send(())?;
    for number in waiting as u64 + 1..=100 {
        // This blocks whenever the channel is full, because the worker is slower.
        jobs.send(number)?;
    }
    drop(jobs);
    println!("the worker has added up {}", result.recv()?);
    worker.wait()?;
    Ok(())
}

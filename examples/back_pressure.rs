//! A process that makes work faster than another does it: a bound keeps it from getting ahead, whatever the other does meanwhile.

use std::env;
use std::error::Error;
use std::process::Command;

use strait::mpsc::{self, Receiver, Sender};
use strait::process::{ChannelCommand, parent};

/// Tells this program that it is to be the worker.
const WORKER: &str = "--worker";

/// How many jobs wait at most.
const BOUND: usize = 4;

/// What the worker is given: jobs, when to begin, and where its result goes.
type Ends = (Receiver<u64>, Receiver<()>, Sender<u64>);

fn main() -> Result<(), Box<dyn Error>> {
    if cfg!(any(not(target_os = "linux"), feature = "force-inprocess")) {
        return Err("here channels do not leave the process".into());
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
        // This waits as often as the worker is slower.
        jobs.send(number)?;
    }
    drop(jobs);
    println!("the worker has added up {}", result.recv()?);
    worker.wait()?;
    Ok(())
}

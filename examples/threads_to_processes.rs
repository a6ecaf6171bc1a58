//! The same function on a thread, and then in another process.
//!
//! The thread's version is a program for `std::sync::mpsc` with another `use` line. For a process the ends of the channels are
//! sent there, through the channel that it is started with.

use std::env;
use std::error::Error;
use std::process::{self, Command};
use std::thread;

use strait::mpsc::{self, Receiver, Sender};
use strait::process::{ChannelCommand, parent};

/// Tells this program that it is to be the worker.
const WORKER: &str = "--worker";

/// What the worker is given.
type Ends = (Receiver<u64>, Sender<(u32, u64)>);

/// The worker: it does not know where it runs.
fn sum_up((numbers, sums): Ends) {
    let mut sum = 0;
    for number in numbers {
        sum += number;
        // Whoever wanted to know may be gone.
        if sums.send((process::id(), sum)).is_err() {
            return;
        }
    }
}

fn main() -> Result<(), Box<dyn Error>> {
    if cfg!(any(not(target_os = "linux"), feature = "force-inprocess")) {
        return Err("here channels do not leave the process".into());
    }
    if env::args().nth(1).is_some_and(|argument| argument == WORKER) {
        let (_, from_parent) = parent::<(), Ends>()?;
        sum_up(from_parent.recv()?);
        return Ok(());
    }

    use_worker(|ends| {
        let worker = thread::spawn(move || sum_up(ends));
        Ok(Box::new(move || worker.join().is_ok()))
    })?;
    use_worker(|ends| {
        let mut command = Command::new(env::current_exe()?);
        let (mut worker, to_worker, _) = command.arg(WORKER).spawn_with_channel::<Ends, ()>()?;
        to_worker.send(ends)?;
        Ok(Box::new(move || worker.wait().is_ok_and(|status| status.success())))
    })
}

/// Waits for a worker to end, and says whether it succeeded.
type Finish = Box<dyn FnOnce() -> bool>;

/// Has a worker do something; how it is started is all that differs.
fn use_worker(
    start: impl FnOnce(Ends) -> Result<Finish, Box<dyn Error>>,
) -> Result<(), Box<dyn Error>> {
    let (numbers, to_be_added) = mpsc::channel();
    let (to_parent, sums) = mpsc::channel();
    // It is received however the worker comes to it.
    numbers.send(1)?;
    let finish = start((to_be_added, to_parent))?;
    for number in 2..=4 {
        numbers.send(number)?;
    }
    drop(numbers);

    let results: Vec<(u32, u64)> = sums.iter().collect();
    let elsewhere = results.iter().all(|(pid, _)| *pid != process::id());
    let sums: Vec<u64> = results.iter().map(|(_, sum)| *sum).collect();
    let place = if elsewhere { "another process" } else { "a thread" };
    println!("{place} says: {sums:?}, and succeeded: {}", finish());
    Ok(())
}

//! The same function on a thread, and then in another process.
//!
//! The version with a thread is a program for `std::sync::mpsc` with another `use` line. In the
//! version with a process, the endpoints are sent to it, through the channel that it is started
//! with.

use std::env;
use std::error::Error;
use std::process::{self, Command};
use std::thread;

use strait::mpsc::{self, Receiver, Sender};
use strait::process::{ChannelCommand, parent};

/// The argument by which this program runs as the worker.
const WORKER: &str = "--worker";

/// The endpoints that the worker receives.
type Ends = (Receiver<u64>, Sender<(u32, u64)>);

/// The worker. It does not know whether it runs on a thread or in another process.
fn sum_up((numbers, sums): Ends) {
    let mut sum = 0;
    for number in numbers {
        sum += number;
        // The receiver may have been dropped.
        if sums.send((process::id(), sum)).is_err() {
            return;
        }
    }
}

fn main() -> Result<(), Box<dyn Error>> {
    if !strait::process::is_supported() {
        return Err("channels do not leave the process on this platform".into());
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

/// Blocks until the worker has ended, and returns whether it succeeded.
type Finish = Box<dyn FnOnce() -> bool>;

/// Uses a worker. Only `start` depends on whether it is a thread or a process.
fn use_worker(
    start: impl FnOnce(Ends) -> Result<Finish, Box<dyn Error>>,
) -> Result<(), Box<dyn Error>> {
    let (numbers, to_be_added) = mpsc::channel();
    let (to_parent, sums) = mpsc::channel();
    // The worker receives this message, although it is sent before the receiver moves.
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

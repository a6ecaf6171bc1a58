//! Bounds every wait in the program: work that does not report in time ends the whole run.

use std::process;
use std::sync::mpsc::{self, RecvTimeoutError, Sender};
use std::thread;
use std::time::Duration;

use crate::contender::Outcome;

pub struct Watchdog(Sender<String>);

impl Watchdog {
    /// Aborts the program when `patience` goes by without a call of [`begin`](Self::begin).
    pub fn start(patience: Duration) -> Outcome<Self> {
        let (sender, receiver) = mpsc::channel::<String>();
        thread::Builder::new().name("watchdog".to_owned()).spawn(move || {
            let mut stage = "nothing yet".to_owned();
            loop {
                match receiver.recv_timeout(patience) {
                    Ok(next) => stage = next,
                    Err(RecvTimeoutError::Disconnected) => return,
                    Err(RecvTimeoutError::Timeout) => {
                        eprintln!("stuck for {patience:?} in: {stage}");
                        // Far processes notice and end by themselves.
                        process::abort();
                    }
                }
            }
        })?;
        Ok(Self(sender))
    }

    pub fn begin(&self, stage: String) {
        // Fails only when the watchdog has ended, which ends with the program.
        let _ = self.0.send(stage);
    }
}

//! Starts and kills worker processes.

use std::env;
use std::error::Error;
use std::io;
use std::process::{Command, ExitStatus, Stdio};
use std::time::Duration;

use strait::TryRecvError;
use strait::ipc::{IpcReceiver, IpcSender, IpcSharedMemory};
use strait::process::{ChannelCommand, Child, Starting};

use crate::arguments::WORKER;
use crate::confine::Measure;
use crate::protocol::{self, Confined, Order};

/// The timeout of each of the first steps of a new process.
const PATIENCE: Duration = Duration::from_secs(20);

/// Returns the words that are too common to characterise a text, for [`Recruit::welcome`].
///
/// # Errors
///
/// Fails if the operating system has no memory or handles for it.
pub(crate) fn stop_words() -> io::Result<IpcSharedMemory> {
    IpcSharedMemory::try_from_bytes(include_bytes!("stop_words.txt"))
}

/// A worker that is confined and ready to count.
#[derive(Debug)]
pub(crate) struct Worker {
    process: Child,
    /// The sender of orders to the worker.
    pub(crate) orders: IpcSender<Order>,
    /// The outcome of its confinement.
    pub(crate) measures: Vec<Measure>,
}

impl Worker {
    /// Kills the worker, but does not wait for its end. When it has ended, its channels are
    /// disconnected.
    pub(crate) fn kill(&mut self) -> io::Result<()> {
        self.process.kill()
    }

    /// Returns the status with which it has ended, if it ends before `timeout`.
    pub(crate) fn end_within(&mut self, timeout: Duration) -> io::Result<Option<ExitStatus>> {
        self.process.wait_timeout(timeout)
    }
}

/// A process that was started and has not sent anything yet. Several can start at the same time.
#[derive(Debug)]
pub(crate) struct Recruit(Starting<Order, Confined>);

impl Recruit {
    /// Starts this program again, as a worker.
    pub(crate) fn start() -> io::Result<Recruit> {
        let mut command = Command::new(env::current_exe()?);
        command
            .arg(WORKER)
            // The worker inherits nothing that its input could use.
            .env_clear()
            .current_dir("/")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        command.start_with_channel().map(Recruit)
    }

    /// Waits until the process is confined, and prepares it for work. It sends nothing more over
    /// the channel of the returned receiver, which is disconnected when the process ends.
    pub(crate) fn welcome(
        self,
        stop_words: &IpcSharedMemory,
        drill: bool,
    ) -> Result<(Worker, IpcReceiver<Confined>), Box<dyn Error>> {
        let (mut process, orders, lifeline) = self.0.connect(PATIENCE)?;
        process.kill_on_drop(true);
        let Confined(measures) = match lifeline.try_recv_timeout(PATIENCE) {
            Ok(confined) => confined,
            Err(TryRecvError::Empty) => return Err("the worker sent no message in time".into()),
            Err(TryRecvError::IpcError(error)) => return Err(error.into()),
        };
        // Until now the process ran this program only. From its first file on it is not trusted.
        lifeline.set_options(&protocol::from_worker())?;
        // This shares the memory, and does not copy it.
        orders.send(Order::Prepare { stop_words: stop_words.clone(), drill })?;
        Ok((Worker { process, orders, measures }, lifeline))
    }
}

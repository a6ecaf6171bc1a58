//! Starts worker processes and ends them.

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

/// How long a new process may take for each of its first steps.
const PATIENCE: Duration = Duration::from_secs(20);

/// The words that are too common to tell anything about a text, for [`Recruit::welcome`].
///
/// # Errors
///
/// The operating system's, when it has no memory or handles for it.
pub(crate) fn stop_words() -> io::Result<IpcSharedMemory> {
    IpcSharedMemory::try_from_bytes(include_bytes!("stop_words.txt"))
}

/// A worker that is confined and ready to count.
#[derive(Debug)]
pub(crate) struct Worker {
    process: Child,
    /// Where it takes orders.
    pub(crate) orders: IpcSender<Order>,
    /// What became of its confinement.
    pub(crate) measures: Vec<Measure>,
}

impl Worker {
    /// Makes it end, but does not wait for that. When it has ended, its channels close.
    pub(crate) fn kill(&mut self) -> io::Result<()> {
        self.process.kill()
    }

    /// How it has ended, if it does before `timeout`.
    pub(crate) fn end_within(&mut self, timeout: Duration) -> io::Result<Option<ExitStatus>> {
        self.process.wait_timeout(timeout)
    }
}

/// A process that was started and has not said anything yet. Several can get ready at the same time.
#[derive(Debug)]
pub(crate) struct Recruit(Starting<Order, Confined>);

impl Recruit {
    /// Starts this program once more, as a worker.
    pub(crate) fn start() -> io::Result<Recruit> {
        let mut command = Command::new(env::current_exe()?);
        command
            .arg(WORKER)
            // Nothing is inherited that its input could make use of.
            .env_clear()
            .current_dir("/")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        command.start_with_channel().map(Recruit)
    }

    /// Waits until it is confined, and prepares it for work. It has nothing more to send over the returned receiver,
    /// which closes when it ends.
    pub(crate) fn welcome(
        self,
        stop_words: &IpcSharedMemory,
        drill: bool,
    ) -> Result<(Worker, IpcReceiver<Confined>), Box<dyn Error>> {
        let (mut process, orders, lifeline) = self.0.connect(PATIENCE)?;
        process.kill_on_drop(true);
        let Confined(measures) = match lifeline.try_recv_timeout(PATIENCE) {
            Ok(confined) => confined,
            Err(TryRecvError::Empty) => return Err("the worker said nothing for too long".into()),
            Err(TryRecvError::IpcError(error)) => return Err(error.into()),
        };
        // Until now it was this program. From its first file on it may be anything.
        lifeline.set_options(&protocol::from_worker())?;
        // This shares the memory, and does not copy it.
        orders.send(Order::Prepare { stop_words: stop_words.clone(), drill })?;
        Ok((Worker { process, orders, measures }, lifeline))
    }
}

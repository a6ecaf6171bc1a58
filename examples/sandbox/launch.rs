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
use crate::protocol::{Confined, Order};

/// How long a new process may take for each of its first steps.
const PATIENCE: Duration = Duration::from_secs(20);

/// The words that are too common to tell anything about a text.
const STOP_WORDS: &str = include_str!("stop_words.txt");

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
    /// Makes it die, but does not wait for that.
    pub(crate) fn strike(&mut self) -> io::Result<()> {
        self.process.kill()
    }

    /// Ends it, if it isn't dead, and says how it died.
    pub(crate) fn end(mut self) -> io::Result<ExitStatus> {
        self.process.kill()?;
        self.process.wait()
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

    /// Waits until it is confined, and prepares it for work. It never sends anything over the returned receiver,
    /// which is there to notice its death.
    pub(crate) fn welcome(
        self,
        drill: bool,
    ) -> Result<(Worker, IpcReceiver<Confined>), Box<dyn Error>> {
        let (mut process, orders, lifeline) = self.0.connect(PATIENCE)?;
        process.kill_on_drop(true);
        let Confined(measures) = match lifeline.try_recv_timeout(PATIENCE) {
            Ok(confined) => confined,
            Err(TryRecvError::Empty) => return Err("the worker said nothing for too long".into()),
            Err(TryRecvError::IpcError(error)) => return Err(error.into()),
        };
        // Whoever has shared memory can write to it. A worker that was taken over could change the table under the feet
        // of the others, so each has its own.
        let stop_words = IpcSharedMemory::try_from_bytes(STOP_WORDS.as_bytes())?;
        orders.send(Order::Prepare { stop_words, drill })?;
        Ok((Worker { process, orders, measures }, lifeline))
    }
}

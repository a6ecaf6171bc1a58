//! Starts worker processes and ends them.

use std::env;
use std::error::Error;
use std::io;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

use strait::TryRecvError;
use strait::ipc::{IpcOneShotServer, IpcReceiver, IpcSender, IpcSharedMemory};

use crate::arguments::WORKER;
use crate::confine::Measure;
use crate::protocol::{FromWorker, Order};

/// How long a new process may take for each of its first words.
const PATIENCE: Duration = Duration::from_secs(20);

/// The words that are too common to tell anything about a text.
const STOP_WORDS: &str = include_str!("stop_words.txt");

/// A worker that is confined and ready to count.
#[derive(Debug)]
pub(crate) struct Worker {
    process: Process,
    /// Where it takes orders.
    pub(crate) orders: IpcSender<Order>,
    /// What became of its confinement.
    pub(crate) measures: Vec<Measure>,
}

impl Worker {
    /// Makes it die, but does not wait for that.
    pub(crate) fn strike(&mut self) -> io::Result<()> {
        self.process.0.kill()
    }

    /// Ends it, if it isn't dead, and says how it died.
    pub(crate) fn end(mut self) -> io::Result<ExitStatus> {
        self.process.end()
    }
}

/// A process that was started and has not said anything yet. Several can get ready at the same time.
#[derive(Debug)]
pub(crate) struct Recruit {
    process: Process,
    server: IpcOneShotServer<FromWorker>,
}

impl Recruit {
    /// Starts this program once more, as a worker.
    pub(crate) fn start() -> io::Result<Recruit> {
        let (server, name) = IpcOneShotServer::new()?;
        let process = Command::new(env::current_exe()?)
            .arg(WORKER)
            .arg(name)
            // Nothing is inherited that its input could make use of.
            .env_clear()
            .current_dir("/")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()?;
        Ok(Recruit { process: Process(process), server })
    }

    /// Waits until it is confined, and prepares it for work. It never sends anything over the returned receiver,
    /// which is there to notice its death.
    pub(crate) fn welcome(
        self,
        drill: bool,
    ) -> Result<(Worker, IpcReceiver<FromWorker>), Box<dyn Error>> {
        let (lifeline, hello) = self.server.accept_timeout(PATIENCE).map_err(explain)?;
        let FromWorker::Hello(orders) = hello else {
            return Err("the worker did not introduce itself".into());
        };
        let FromWorker::Confined(measures) =
            lifeline.try_recv_timeout(PATIENCE).map_err(explain)?
        else {
            return Err("the worker introduced itself twice".into());
        };
        // Whoever has shared memory can write to it. A worker that was taken over could change the table under the feet
        // of the others, so each has its own.
        let stop_words = IpcSharedMemory::try_from_bytes(STOP_WORDS.as_bytes())?;
        orders.send(Order::Prepare { stop_words, drill })?;
        Ok((Worker { process: self.process, orders, measures }, lifeline))
    }
}

fn explain(error: TryRecvError) -> Box<dyn Error> {
    match error {
        TryRecvError::Empty => "the worker said nothing for too long".into(),
        TryRecvError::IpcError(error) => error.into(),
    }
}

/// A child that does not outlive its owner.
#[derive(Debug)]
struct Process(Child);

impl Process {
    fn end(&mut self) -> io::Result<ExitStatus> {
        self.0.kill()?;
        self.0.wait()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // It fails if the child is gone already, which is what was wanted.
        let _ = self.end();
    }
}

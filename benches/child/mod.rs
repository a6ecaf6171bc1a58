//! The other process of a bench: the bench's own executable, started again with a role and the
//! name of a server. Every child is waited for, no child outlives the bench, and no bench
//! hangs for ever.

// Each bench compiles this file for itself, and not all need all of it.
#![allow(dead_code)]

use std::env;
use std::error::Error;
use std::io::{self, Read};
use std::process::{self, ChildStdin, Command, ExitCode, Stdio};
use std::sync::mpsc::{self, RecvTimeoutError, Sender};
use std::sync::{LazyLock, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use criterion::{Bencher, Criterion};
use serde::Serialize;
use serde::de::DeserializeOwned;
use strait::ipc::{self, IpcOneShotServer, IpcSender};

pub(crate) type Outcome<T> = Result<T, Box<dyn Error>>;

/// The work of a child, and the name of its role. The function gets the name of the server to
/// connect to.
pub(crate) type Role = (&'static str, fn(&str) -> Outcome<()>);

const ROLE: &str = "STRAIT_BENCH_ROLE";
const SERVER: &str = "STRAIT_BENCH_SERVER";

/// Longer than any sample: only a hang lasts as long.
const PATIENCE: Duration = Duration::from_secs(300);

/// The `main` of a bench with criterion: plays the role asked for, or measures.
pub(crate) fn main(roles: &[Role], benches: fn(&mut Criterion)) -> ExitCode {
    run(roles, || {
        let mut criterion = Criterion::default().configure_from_args();
        benches(&mut criterion);
        criterion.final_summary();
        ExitCode::SUCCESS
    })
}

/// The `main` of every bench: plays the role asked for, or does `work`.
pub(crate) fn run(roles: &[Role], work: impl FnOnce() -> ExitCode) -> ExitCode {
    if !strait::process::is_supported() {
        eprintln!("not measured: this backend does not reach other processes");
        return ExitCode::SUCCESS;
    }
    allow_many_descriptors();
    let Ok(role) = env::var(ROLE) else {
        return work();
    };
    match play(roles, &role) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{role}: {error}");
            ExitCode::FAILURE
        }
    }
}

fn play(roles: &[Role], role: &str) -> Outcome<()> {
    let (_, play) = roles.iter().find(|(name, _)| *name == role).ok_or("no such role")?;
    thread::Builder::new().spawn(|| {
        let mut byte = [0];
        while let Err(error) = io::stdin().read(&mut byte) {
            if error.kind() != io::ErrorKind::Interrupted {
                break;
            }
        }
        process::exit(1);
    })?;
    play(&env::var(SERVER)?)
}

/// A child process at work. Drop all endpoints of its channels first: it ends when they are
/// disconnected.
pub(crate) struct Child {
    child: process::Child,
    /// The child ends when this pipe does, which is also when this process dies, however
    /// that happens.
    leash: Option<ChildStdin>,
}

impl Child {
    fn start(role: &str, server: &str) -> Outcome<Self> {
        let mut child = command(role, server)?.spawn()?;
        let leash = child.stdin.take();
        Ok(Self { child, leash })
    }

    /// Starts a child that [`join`]s, and gives this side's ends of a channel in each direction.
    pub(crate) fn typed<Up, Down>(
        role: &str,
    ) -> Outcome<(Self, ipc::IpcSender<Up>, ipc::IpcReceiver<Down>)>
    where
        Up: Serialize + DeserializeOwned,
        Down: Serialize + DeserializeOwned,
    {
        let (server, name) = IpcOneShotServer::new()?;
        let child = Self::start(role, &name)?;
        let (_, (sender, receiver)) = server.accept_timeout(PATIENCE)?;
        Ok((child, sender, receiver))
    }

    /// The same for byte strings: the child calls [`join_bytes`].
    pub(crate) fn bytes(role: &str) -> Outcome<(Self, ipc::IpcBytesSender, ipc::IpcBytesReceiver)> {
        let (server, name) = IpcOneShotServer::new()?;
        let child = Self::start(role, &name)?;
        let (_, (sender, receiver)) = server.accept_timeout(PATIENCE)?;
        Ok((child, sender, receiver))
    }

    /// Waits until the child has ended well.
    pub(crate) fn finish(mut self) -> Outcome<()> {
        feed_the_watchdog();
        let status = self.child.wait()?;
        if status.success() { Ok(()) } else { Err(format!("the child: {status}").into()) }
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        // A child that was waited for is not signalled again. Whether it has just ended makes
        // no difference.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The command for a child in this role. The child ends when its input does.
pub(crate) fn command(role: &str, server: &str) -> Outcome<Command> {
    let mut command = Command::new(env::current_exe()?);
    command.env(ROLE, role).env(SERVER, server).stdin(Stdio::piped());
    Ok(command)
}

/// The child's ends of a channel in each direction.
pub(crate) fn join<Up, Down>(server: &str) -> Outcome<(ipc::IpcSender<Down>, ipc::IpcReceiver<Up>)>
where
    Up: Serialize + DeserializeOwned,
    Down: Serialize + DeserializeOwned,
{
    let server = IpcSender::connect(server.to_owned())?;
    let (up_sender, up_receiver) = ipc::channel::<Up>()?;
    let (down_sender, down_receiver) = ipc::channel::<Down>()?;
    server.send((up_sender, down_receiver))?;
    Ok((down_sender, up_receiver))
}

/// The child's ends of a channel of byte strings in each direction.
pub(crate) fn join_bytes(server: &str) -> Outcome<(ipc::IpcBytesSender, ipc::IpcBytesReceiver)> {
    let server = IpcSender::connect(server.to_owned())?;
    let (up_sender, up_receiver) = ipc::bytes_channel()?;
    let (down_sender, down_receiver) = ipc::bytes_channel()?;
    server.send((up_sender, down_receiver))?;
    Ok((down_sender, up_receiver))
}

/// Measures `work`, which is told how many rounds to do. A failure ends the bench.
pub(crate) fn measure(bencher: &mut Bencher<'_>, mut work: impl FnMut(u64) -> Outcome<()>) {
    bencher.iter_custom(|rounds| {
        feed_the_watchdog();
        let begun = Instant::now();
        if let Err(error) = work(rounds) {
            panic!("{error}");
        }
        begun.elapsed()
    });
}

/// Unless this is called again in time, the process aborts.
pub(crate) fn feed_the_watchdog() {
    static FOOD: LazyLock<Mutex<Sender<()>>> = LazyLock::new(|| {
        let (sender, receiver) = mpsc::channel();
        thread::spawn(move || {
            loop {
                match receiver.recv_timeout(PATIENCE) {
                    Ok(()) => {}
                    Err(RecvTimeoutError::Disconnected) => return,
                    Err(RecvTimeoutError::Timeout) => {
                        eprintln!("stuck for {PATIENCE:?}");
                        // The children notice and end by themselves.
                        process::abort();
                    }
                }
            }
        });
        Mutex::new(sender)
    });
    // The send fails only when the watchdog has ended, which ends with the program.
    let _ = FOOD.lock().unwrap_or_else(PoisonError::into_inner).send(());
}

/// Raises the soft limit on descriptors to the hard one, for those with many channels. If that
/// fails, they will fail, too.
#[cfg(target_os = "linux")]
fn allow_many_descriptors() {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

    let limit = getrlimit(Resource::Nofile);
    let _ = setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, ..limit });
}

#[cfg(not(target_os = "linux"))]
fn allow_many_descriptors() {}

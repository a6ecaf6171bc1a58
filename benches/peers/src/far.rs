//! The far side of a row: a process or a thread that is always waited for.

use std::env;
use std::io::{self, Read};
use std::process::{self, Child, ChildStdin, Command, Stdio};
use std::thread::{self, JoinHandle};

use crate::contender::{Contender, Outcome};
use crate::processor;
use crate::row::Row;
use crate::work::Work;

/// The first argument of a far process. Row, contender and name follow, and the processor when
/// there is one for it.
pub const FLAG: &str = "--far-side";

pub enum Far {
    Process(Guarded),
    Thread(JoinHandle<Outcome<()>>),
}

impl Far {
    pub fn process(row: &str, contender: &str, name: &str) -> Outcome<Self> {
        let mut command = Command::new(env::current_exe()?);
        command.args([FLAG, row, contender, name]).stdin(Stdio::piped());
        if let Some(processor) = processor::far() {
            command.arg(processor.to_string());
        }
        let mut child = command.spawn()?;
        let leash = child.stdin.take();
        Ok(Self::Process(Guarded { child, _leash: leash, ended: false }))
    }

    pub fn thread<C: Contender, W: Work<C>>(work: W, name: &str) -> Outcome<Self> {
        let name = name.to_owned();
        let thread = thread::Builder::new().spawn(move || {
            if let Some(processor) = processor::far() {
                processor::keep_to(processor)?;
            }
            work.far(&name)
        })?;
        Ok(Self::Thread(thread))
    }

    /// Stops a process, or continues it. Has no effect on a thread.
    pub fn let_run(&self, run: bool) -> Outcome<()> {
        match self {
            Self::Process(guarded) => let_run(&guarded.child, run),
            Self::Thread(_) => Ok(()),
        }
    }

    pub fn finish(self) -> Outcome<()> {
        match self {
            Self::Process(guarded) => guarded.finish(),
            Self::Thread(thread) => thread.join().map_err(|_| "the far thread panicked")?,
        }
    }
}

/// A child process that is killed, unless its end was noticed.
pub struct Guarded {
    child: Child,
    /// The child ends when this pipe does, which is also when this process dies, however
    /// that happens.
    _leash: Option<ChildStdin>,
    ended: bool,
}

impl Guarded {
    fn finish(mut self) -> Outcome<()> {
        let status = self.child.wait()?;
        self.ended = true;
        if status.success() { Ok(()) } else { Err(format!("the far side: {status}").into()) }
    }
}

impl Drop for Guarded {
    fn drop(&mut self) {
        if !self.ended {
            // The child may have ended by itself. An error makes no difference.
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
    }
}

#[cfg(unix)]
fn let_run(child: &Child, run: bool) -> Outcome<()> {
    use rustix::process::{Pid, Signal, kill_process};

    kill_process(Pid::from_child(child), if run { Signal::CONT } else { Signal::STOP })?;
    Ok(())
}

#[cfg(not(unix))]
fn let_run(_: &Child, _: bool) -> Outcome<()> {
    Ok(())
}

/// A far process that is stopped cannot notice that its pipe was closed.
#[cfg(target_os = "linux")]
fn end_with_parent() -> Outcome<()> {
    use rustix::process::{Signal, set_parent_process_death_signal};

    set_parent_process_death_signal(Some(Signal::KILL))?;
    Ok(())
}

#[cfg(not(target_os = "linux"))]
fn end_with_parent() -> Outcome<()> {
    Ok(())
}

/// The main function of a far process.
pub fn main(arguments: &[String], rows: &[Row]) -> Outcome<()> {
    let [row, contender, name, processor @ ..] = arguments else {
        return Err("a far side needs a row, a contender and a name".into());
    };
    if let [processor] = processor {
        processor::keep_to(processor.parse()?)?;
    }
    end_with_parent()?;
    let entry = rows
        .iter()
        .filter(|candidate| candidate.name == *row)
        .flat_map(|row| &row.entries)
        .find(|entry| entry.contender == contender)
        .ok_or("no such row and contender")?;
    thread::Builder::new().spawn(|| {
        let mut byte = [0];
        while let Err(error) = io::stdin().read(&mut byte) {
            if error.kind() != io::ErrorKind::Interrupted {
                break;
            }
        }
        process::exit(1);
    })?;
    entry.far(name)
}

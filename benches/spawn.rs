//! From the start of a process to the answer to the first message that it was sent: with
//! a channel that it inherits, and by a one-shot server. The end of the process is not
//! part of it.

mod child;

use std::process::{Command, ExitCode};
use std::time::{Duration, Instant};

use criterion::Bencher;
use strait::ipc::{IpcOneShotServer, IpcReceiver, IpcSender};
use strait::process::{self, ChannelCommand, Child};

use crate::child::Outcome;

/// More than any process takes to start.
const PATIENCE: Duration = Duration::from_secs(60);

fn main() -> ExitCode {
    child::main(&[("inherit", inherit), ("connect", connect)], |criterion| {
        let mut group = criterion.benchmark_group("spawn");
        group.bench_function("with a channel", |bencher| measure(bencher, with_channel));
        group.bench_function("by a one-shot server", |bencher| measure(bencher, by_server));
        group.finish();
    })
}

fn inherit(_server: &str) -> Outcome<()> {
    let (answers, questions) = process::parent::<u64, u64>()?;
    Ok(answers.send(questions.recv()? + 1)?)
}

fn connect(server: &str) -> Outcome<()> {
    let (answers, questions) = child::join::<u64, u64>(server)?;
    Ok(answers.send(questions.recv()? + 1)?)
}

type Started = (Child, IpcSender<u64>, IpcReceiver<u64>);

fn with_channel() -> Outcome<Started> {
    let mut command: Command = child::command("inherit", "")?;
    Ok(command.start_with_channel()?.connect(PATIENCE)?)
}

fn by_server() -> Outcome<Started> {
    let (server, name) = IpcOneShotServer::new()?;
    let child = Child::from(child::command("connect", &name)?.spawn()?);
    let (_, (sender, receiver)) = server.accept_timeout(PATIENCE)?;
    Ok((child, sender, receiver))
}

fn measure(bencher: &mut Bencher<'_>, start: fn() -> Outcome<Started>) {
    let round = |number| -> Outcome<Duration> {
        let begun = Instant::now();
        let (mut child, sender, receiver) = start()?;
        child.kill_on_drop(true);
        sender.send(number)?;
        if receiver.recv()? != number + 1 {
            return Err("the answer to another question".into());
        }
        let time = begun.elapsed();
        // Otherwise the drop would kill the child, which is about to end.
        let _leash = child.stdin.take();
        let status = child.wait()?;
        if status.success() { Ok(time) } else { Err(format!("the child: {status}").into()) }
    };
    bencher.iter_custom(|rounds| {
        child::feed_the_watchdog();
        match (0..rounds).map(round).sum::<Outcome<Duration>>() {
            Ok(time) => time,
            Err(error) => panic!("{error}"),
        }
    });
}

//! Receiver sets with few and with many members, with a message for one of them, or for each.

mod child;

use std::process::ExitCode;

use criterion::measurement::WallTime;
use criterion::{BenchmarkGroup, Criterion, Throughput};
use serde::{Deserialize, Serialize};
use strait::ipc::{self, IpcReceiverSet, IpcSelectionResult, IpcSender};

use crate::child::{Child, Outcome};

/// How the far side, which has the set, is to be built.
#[derive(Clone, Copy, Serialize, Deserialize)]
struct Plan {
    members: usize,
    /// How many messages make a round, and are answered.
    active: usize,
}

/// The messages of the far side: first the senders, then an answer per round.
#[derive(Serialize, Deserialize)]
enum Down {
    Member(IpcSender<u64>),
    Answer,
}

fn main() -> ExitCode {
    child::main(&[("select", select)], |criterion| {
        if let Err(error) = set(criterion) {
            panic!("{error}");
        }
    })
}

fn select(server: &str) -> Outcome<()> {
    let (sender, receiver) = child::join::<Plan, Down>(server)?;
    let plan = receiver.recv()?;
    let mut set = IpcReceiverSet::new()?;
    for _ in 0..plan.members {
        let (member, receiver) = ipc::channel::<u64>()?;
        set.add(receiver)?;
        sender.send(Down::Member(member))?;
    }
    let mut received = 0;
    let mut open = plan.members;
    while open > 0 {
        for result in set.select()? {
            match result {
                IpcSelectionResult::MessageReceived(_, message) => {
                    message.to::<u64>()?;
                    received += 1;
                    if received == plan.active {
                        received = 0;
                        sender.send(Down::Answer)?;
                    }
                }
                IpcSelectionResult::ChannelClosed(_) => open -= 1,
            }
        }
    }
    Ok(())
}

fn set(criterion: &mut Criterion) -> Outcome<()> {
    let mut group = criterion.benchmark_group("set");
    for members in [1, 100, 1000] {
        across(&mut group, &format!("{members}, one active"), Plan { members, active: 1 })?;
    }
    for members in [100, 1000] {
        across(&mut group, &format!("{members}, all active"), Plan { members, active: members })?;
    }
    for members in [1, 100, 1000] {
        inside(&mut group, &format!("{members}, send + select in one thread"), members)?;
    }
    group.finish();
    Ok(())
}

fn across(group: &mut BenchmarkGroup<'_, WallTime>, name: &str, plan: Plan) -> Outcome<()> {
    let (child, sender, receiver) = Child::typed::<Plan, Down>("select")?;
    sender.send(plan)?;
    let mut senders = Vec::with_capacity(plan.members);
    while senders.len() < plan.members {
        match receiver.recv()? {
            Down::Member(sender) => senders.push(sender),
            Down::Answer => return Err("an answer to nothing".into()),
        }
    }
    // In the middle, so that neither the first nor the last member is favoured.
    let first = (plan.members - plan.active) / 2;
    let active = &senders[first..first + plan.active];
    group.throughput(Throughput::Elements(plan.active as u64));
    group.bench_function(name, |bencher| {
        child::measure(bencher, |rounds| {
            for round in 0..rounds {
                for sender in active {
                    sender.send(round)?;
                }
                receiver.recv()?;
            }
            Ok(())
        });
    });
    drop((senders, sender, receiver));
    child.finish()
}

fn inside(group: &mut BenchmarkGroup<'_, WallTime>, name: &str, members: usize) -> Outcome<()> {
    let mut set = IpcReceiverSet::new()?;
    let mut senders = Vec::with_capacity(members);
    for _ in 0..members {
        let (sender, receiver) = ipc::channel::<u64>()?;
        set.add(receiver)?;
        senders.push(sender);
    }
    let sender = &senders[members / 2];
    group.throughput(Throughput::Elements(1));
    group.bench_function(name, |bencher| {
        child::measure(bencher, |rounds| {
            let mut received = 0;
            for round in 1..=rounds {
                sender.send(round)?;
                while received < round {
                    received += set.select()?.len() as u64;
                }
            }
            Ok(())
        });
    });
    Ok(())
}

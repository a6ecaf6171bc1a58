//! A receiver receives all messages of busy senders on another processor, in their order, by
//! every way to receive.
//!
//! Senders are processes that only send. The receiver and its threads are on another processor,
//! so that both run at the same time.

#![cfg(all(target_os = "linux", not(feature = "force-inprocess")))]

mod harness;

use std::time::Duration;

use rustix::pipe::PipeFlags;
use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};
use strait::ipc::{self, IpcOneShotServer, IpcSender};

use harness::fork::{Fork, fork};
use harness::ways::{Next, Source, all_ways};

/// How many messages each way receives in a round.
const MESSAGES: u64 = if cfg!(debug_assertions) { 70_000 } else { 1_000_000 };

/// Rare interleavings need more than one round.
const ROUNDS: usize = 2;

/// The timeout for all ways together.
const PATIENCE: Duration = Duration::from_secs(300);

/// More than a receiver keeps rings for.
const MANY: u64 = 70;

/// Binds this thread, and those that it starts, to the first processor or to another one.
fn run_on(is_first: bool) {
    let all = sched_getaffinity(None).unwrap();
    let mut processors = (0..CpuSet::MAX_CPU).filter(|&cpu| all.is_set(cpu));
    let first = processors.next().unwrap();
    let chosen = if is_first { first } else { processors.next().unwrap_or(first) };
    let mut one = CpuSet::new();
    one.set(chosen);
    sched_setaffinity(None, &one).unwrap();
}

/// A sender's number and that of its message.
type Number = (u64, u64);

/// Sends numbers, when it is told to.
#[test]
fn sending_child() {
    harness::child_main(|arguments| {
        let boot = IpcSender::connect(arguments[0].clone()).unwrap();
        let (sender, receiver) = ipc::channel::<IpcSender<Number>>().unwrap();
        boot.send(sender).unwrap();
        let numbers = receiver.recv().unwrap();
        drop((boot, receiver));
        run_on(false);
        for number in 0..MESSAGES {
            numbers.send((0, number)).unwrap();
        }
    });
}

/// Receives all messages, and checks them.
fn receive_all(what: &str, next: &mut Source<Number>, senders: u64, messages: u64) {
    let mut expected = vec![0; senders as usize];
    loop {
        match next() {
            Next::Value((from, number)) => {
                let expected = &mut expected[from as usize];
                assert_eq!(number, *expected, "{what}, from {from}");
                *expected += 1;
            }
            Next::Refused => panic!("{what}: an error out of nothing"),
            Next::Closed => break,
        }
    }
    assert!(expected.iter().all(|&all| all == messages), "{what}: {expected:?}");
}

#[test]
fn every_way_receives_all_of_one_busy_sender() {
    let _watchdog = harness::watchdog_for(PATIENCE);
    let all = sched_getaffinity(None).unwrap();
    for round in 0..ROUNDS {
        for (way, receive) in all_ways::<Number>() {
            let (sender, receiver) = ipc::channel().unwrap();
            let (server, name) = IpcOneShotServer::<IpcSender<IpcSender<Number>>>::new().unwrap();
            // A new thread begins on the processor of this one.
            sched_setaffinity(None, &all).unwrap();
            let child = harness::child(harness::path_of(sending_child), &[&name]);
            let (_, to_child) = server.accept().unwrap();
            run_on(true);
            let mut next = receive(receiver);
            to_child.send(sender).unwrap();
            receive_all(&format!("{way}, round {round}"), &mut next, 1, MESSAGES);
            child.completed();
        }
    }
}

/// The senders are forked, which takes less time.
#[test]
fn every_way_receives_all_of_more_senders_than_there_are_rings() {
    harness::alone(
        harness::path_of(every_way_receives_all_of_more_senders_than_there_are_rings),
        || {
            let all = sched_getaffinity(None).unwrap();
            for (way, receive) in all_ways::<Number>() {
                let (sender, receiver) = ipc::channel().unwrap();
                let (gate, opened) = rustix::pipe::pipe_with(PipeFlags::CLOEXEC).unwrap();
                sched_setaffinity(None, &all).unwrap();
                let children: Vec<Fork> = (0..MANY)
                    .map(|from| {
                        fork(|| {
                            run_on(false);
                            assert_eq!(rustix::io::read(&gate, &mut [0]).unwrap(), 1);
                            for number in 0..MESSAGES / MANY {
                                sender.send((from, number)).unwrap();
                            }
                        })
                    })
                    .collect();
                drop(sender);
                run_on(true);
                let mut next = receive(receiver);
                assert_eq!(rustix::io::write(&opened, &[0; MANY as usize]).unwrap(), MANY as usize);
                receive_all(way, &mut next, MANY, MESSAGES / MANY);
                children.into_iter().for_each(Fork::completed);
            }
        },
    );
}

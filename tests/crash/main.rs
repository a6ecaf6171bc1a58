//! Processes that are killed, stopped and forked, at any moment: messages that were sent are
//! received, and no call hangs.
//!
//! # Safety
//!
//! `fork`: the child runs on the one thread that forked, and no other thread of the parent
//! holds a lock that the child needs; it ends by `_exit`.

#![cfg(all(target_os = "linux", not(feature = "force-inprocess")))]
#![allow(unsafe_code)]

#[path = "../harness/mod.rs"]
mod harness;

mod fork_during_call;
mod forks;

use std::os::fd::{AsFd, AsRawFd};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::process::{Pid, Signal, WaitOptions, kill_process, waitpid};
use serde::{Deserialize, Serialize};
use strait::internals::fork_generation;
use strait::ipc::{
    self, IpcError, IpcOneShotServer, IpcReceiver, IpcReceiverSet, IpcSelectionResult, IpcSender,
    IpcSharedMemory, SharedMemoryWriter,
};
use strait::router::ROUTER;

use harness::Child;
use harness::fork::{Fork, fork};
use harness::raw::Random;

/// What a sending child is to do.
#[derive(Debug, Serialize, Deserialize)]
struct Job {
    letters: IpcSender<Letter>,
    /// The file in which it counts the letters that were sent.
    sent: SharedMemoryWriter,
    seed: u64,
}

/// A message. The seed and the number determine its content.
#[derive(Debug, Serialize, Deserialize)]
struct Letter {
    seed: u64,
    number: u64,
    body: String,
    reply: Option<IpcSender<u64>>,
    /// With two messages queued.
    moved: Option<IpcReceiver<u64>>,
}

impl Letter {
    fn body_of(seed: u64, number: u64) -> String {
        let mut random = Random::new(seed ^ number);
        let len = match random.below(8) {
            0 => 50_000 + random.below(1_000_000),
            1 => 1000 + random.below(100_000),
            _ => random.below(50),
        };
        ((b'a' + random.below(26) as u8) as char).to_string().repeat(len)
    }

    fn new(seed: u64, number: u64, reply: &IpcSender<u64>) -> Letter {
        let moved = (number % 5 == 1).then(|| {
            let (sender, receiver) = ipc::channel().unwrap();
            sender.send(number).unwrap();
            sender.send(number + 1).unwrap();
            receiver
        });
        Letter {
            seed,
            number,
            body: Letter::body_of(seed, number),
            reply: (number % 3 == 1).then(|| reply.clone()),
            moved,
        }
    }

    /// Checks that it is complete and that it is letter `number`.
    fn check(self, seed: u64, number: u64) {
        assert_eq!((self.seed, self.number), (seed, number));
        assert!(self.body == Letter::body_of(seed, number), "letter {number} is damaged");
        assert_eq!(self.reply.is_some(), number % 3 == 1);
        assert_eq!(self.moved.is_some(), number % 5 == 1);
        if let Some(reply) = self.reply {
            match reply.send(number) {
                Ok(()) | Err(IpcError::Disconnected) => {}
                Err(error) => panic!("letter {number}: {error:?}"),
            }
        }
        if let Some(moved) = self.moved {
            assert_eq!(moved.recv().unwrap(), number);
            assert_eq!(moved.recv().unwrap(), number + 1);
            assert!(moved.recv().unwrap_err().is_disconnected());
        }
    }
}

#[test]
fn sending_child() {
    harness::child_main(|arguments| {
        let (job_sender, jobs) = ipc::channel::<Job>().unwrap();
        let boot = IpcSender::connect(arguments[0].clone()).unwrap();
        boot.send(job_sender).unwrap();
        let job = jobs.recv().unwrap();
        let (reply, replies) = ipc::channel().unwrap();
        for number in 0.. {
            // The parent receives until this process is dead, or has completed its job.
            if job.letters.send(Letter::new(job.seed, number, &reply)).is_err() {
                break;
            }
            job.sent.write_at(0, &(number + 1).to_ne_bytes()).unwrap();
            while replies.try_recv().is_ok() {}
        }
    });
}

/// A child that sends, and the file with its count.
struct Writer {
    process: Child,
    seed: u64,
    sent: SharedMemoryWriter,
    /// How many letters were received.
    received: u64,
}

impl Writer {
    fn start(letters: IpcSender<Letter>, seed: u64) -> Writer {
        let (server, name) = IpcOneShotServer::<IpcSender<Job>>::new().unwrap();
        let process = harness::child(harness::path_of(sending_child), &[&name]);
        let (_, jobs) = server.accept().unwrap();
        let sent = SharedMemoryWriter::new(8).unwrap();
        let job = Job { letters, sent: sent.clone(), seed };
        jobs.send(job).unwrap();
        Writer { process, seed, sent, received: 0 }
    }

    fn pid(&self) -> Pid {
        Pid::from_raw(self.process.id().try_into().unwrap()).unwrap()
    }

    fn take(&mut self, letter: Letter) {
        letter.check(self.seed, self.received);
        self.received += 1;
    }

    /// Checks the count after the child was killed and everything was received.
    fn check(self) {
        // It is reaped, so its writes are complete.
        self.process.killed();
        let mut sent = [0; 8];
        self.sent.read_at(0, &mut sent).unwrap();
        let sent = u64::from_ne_bytes(sent);
        assert!(self.received >= sent, "{sent} letters were sent, {} received", self.received);
        // The last letter may have been sent while its process was killed, before it
        // was counted.
        assert!(self.received <= sent + 1);
    }
}

/// Kills it after a moment.
fn kill_soon(random: &mut Random, victim: Pid) -> thread::JoinHandle<()> {
    let moment = Duration::from_micros(random.below(6000) as u64);
    thread::spawn(move || {
        thread::sleep(moment);
        kill_process(victim, Signal::KILL).unwrap();
    })
}

#[test]
fn c5_sent_messages_are_received_after_their_sender_is_killed() {
    let _watchdog = harness::watchdog();
    let mut random = Random::new(5);
    for round in 0..120 {
        let (letters, received) = ipc::channel().unwrap();
        let mut writer = Writer::start(letters, round);
        // Killed from the first letter on, after some letters, or while it waits for room.
        writer.take(received.recv().unwrap());
        let killing = kill_soon(&mut random, writer.pid());
        if round % 3 == 0 {
            killing.join().unwrap();
            received.iter().for_each(|letter| writer.take(letter));
        } else {
            loop {
                match received.recv() {
                    Ok(letter) => writer.take(letter),
                    Err(IpcError::Disconnected) => break,
                    Err(error) => panic!("{error:?}"),
                }
            }
            killing.join().unwrap();
        }
        writer.check();
    }
}

#[test]
fn c5_messages_to_a_set_are_received_after_their_senders_are_killed() {
    let _watchdog = harness::watchdog();
    let mut random = Random::new(6);
    for round in 0..20 {
        let mut set = IpcReceiverSet::new().unwrap();
        let mut writers: Vec<Writer> = (0..4)
            .map(|member| {
                let (letters, received) = ipc::channel().unwrap();
                assert_eq!(set.add(received).unwrap(), member);
                Writer::start(letters, round * 10 + member)
            })
            .collect();
        let killing: Vec<_> =
            writers.iter().map(|writer| kill_soon(&mut random, writer.pid())).collect();
        let mut closed = [false; 4];
        while !set.is_empty() {
            for result in set.select().unwrap() {
                match result {
                    IpcSelectionResult::MessageReceived(id, message) => {
                        writers[id as usize].take(message.to().unwrap());
                    }
                    IpcSelectionResult::ChannelClosed(id) => {
                        assert!(!std::mem::replace(&mut closed[id as usize], true));
                    }
                }
            }
        }
        assert_eq!(closed, [true; 4]);
        killing.into_iter().for_each(|killing| killing.join().unwrap());
        writers.into_iter().for_each(Writer::check);
    }
}

/// Many processes send into one channel and are killed one after another; the others are
/// not affected.
#[test]
fn c7_killed_sender_does_not_disturb_other_senders_of_the_channel() {
    let _watchdog = harness::watchdog();
    let mut random = Random::new(7);
    for round in 0..5 {
        let (letters, received) = ipc::channel::<Letter>().unwrap();
        let mut writers: Vec<Writer> =
            (0..4).map(|member| Writer::start(letters.clone(), round * 10 + member)).collect();
        drop(letters);
        let pids: Vec<_> = writers.iter().map(Writer::pid).collect();
        let mut moment = || Duration::from_micros(random.below(4000) as u64);
        let moments: Vec<_> = pids.iter().map(|_| moment()).collect();
        let killing = thread::spawn(move || {
            for (pid, moment) in pids.into_iter().zip(moments) {
                thread::sleep(moment);
                kill_process(pid, Signal::KILL).unwrap();
            }
        });
        loop {
            match received.recv() {
                Ok(letter) => writers[(letter.seed % 10) as usize].take(letter),
                Err(IpcError::Disconnected) => break,
                Err(error) => panic!("{error:?}"),
            }
        }
        killing.join().unwrap();
        writers.into_iter().for_each(Writer::check);
    }
}

#[test]
fn c7_stopped_sender_does_not_delay_other_senders() {
    let _watchdog = harness::watchdog();
    let mut random = Random::new(8);
    let (letters, received) = ipc::channel::<Letter>().unwrap();
    let mut writer = Writer::start(letters.clone(), 1);
    let (reply, _replies) = ipc::channel().unwrap();
    for round in 0..30 {
        let moment = Duration::from_micros(random.below(2000) as u64);
        let pid = writer.pid();
        let stopping = thread::spawn(move || {
            thread::sleep(moment);
            kill_process(pid, Signal::STOP).unwrap();
            let options = WaitOptions::UNTRACED;
            let (_, status) = waitpid(Some(pid), options).unwrap().unwrap();
            assert!(status.stopped());
        });
        while !stopping.is_finished() {
            match received.recv_timeout(Duration::from_millis(1)) {
                Ok(letter) => writer.take(letter),
                Err(error) => assert!(error.is_empty(), "{error:?}"),
            }
        }
        stopping.join().unwrap();
        // Whatever the stopped process was doing, timeouts hold, and messages of others are
        // received, also those in parts.
        while let Ok(letter) = received.recv_timeout(Duration::from_millis(1)) {
            writer.take(letter);
        }
        let sending = thread::spawn({
            let (letters, reply) = (letters.clone(), reply.clone());
            move || {
                for number in 0..10 {
                    letters.send(Letter::new(1000 + round, number, &reply)).unwrap();
                }
            }
        });
        for number in 0..10 {
            received.recv().unwrap().check(1000 + round, number);
        }
        sending.join().unwrap();
        kill_process(writer.pid(), Signal::CONT).unwrap();
        let before = writer.received;
        while writer.received < before + 3 {
            writer.take(received.recv().unwrap());
        }
    }
    kill_process(writer.pid(), Signal::KILL).unwrap();
    drop(letters);
    received.iter().for_each(|letter| writer.take(letter));
    writer.check();
}

#[test]
fn receiving_child() {
    harness::child_main(|arguments| {
        let (letters, received) = ipc::channel::<Letter>().unwrap();
        let (counter, boot) = {
            let (counter, counted) = ipc::channel::<u64>().unwrap();
            let boot = IpcSender::connect(arguments[0].clone()).unwrap();
            boot.send((letters, counted)).unwrap();
            (counter, boot)
        };
        for number in 0.. {
            match received.recv() {
                Ok(letter) => letter.check(9, number),
                Err(IpcError::Disconnected) => break,
                Err(error) => panic!("{error:?}"),
            }
            counter.send(number).unwrap();
        }
        drop(boot);
    });
}

/// Starts a child that receives. Returns a sender to it, and the numbers of the letters that it
/// has received.
fn start_reader() -> (Child, IpcSender<Letter>, IpcReceiver<u64>) {
    let (server, name) = IpcOneShotServer::<(IpcSender<Letter>, IpcReceiver<u64>)>::new().unwrap();
    let process = harness::child(harness::path_of(receiving_child), &[&name]);
    let (_, (letters, numbers)) = server.accept().unwrap();
    (process, letters, numbers)
}

#[test]
fn c6_senders_are_disconnected_when_the_receiver_is_killed() {
    let _watchdog = harness::watchdog();
    let mut random = Random::new(9);
    for _ in 0..40 {
        let (process, letters, numbers) = start_reader();
        let (reply, _replies) = ipc::channel().unwrap();
        let sending = thread::spawn(move || {
            for number in 0.. {
                match letters.send(Letter::new(9, number, &reply)) {
                    Ok(()) => {}
                    Err(IpcError::Disconnected) => break,
                    Err(error) => panic!("{error:?}"),
                }
            }
            // All further sends fail, too.
            assert!(letters.send(Letter::new(9, 0, &reply)).unwrap_err().is_disconnected());
        });
        assert_eq!(numbers.recv().unwrap(), 0);
        let counting = thread::spawn(move || {
            for (number, expected) in numbers.iter().zip(1..) {
                assert_eq!(number, expected);
            }
        });
        thread::sleep(Duration::from_micros(random.below(5000) as u64));
        process.killed();
        sending.join().unwrap();
        counting.join().unwrap();
    }
}

#[test]
fn c3_receiver_that_is_stopped_repeatedly_loses_nothing() {
    let _watchdog = harness::watchdog();
    let mut random = Random::new(10);
    let (process, letters, numbers) = start_reader();
    let pid = Pid::from_raw(process.id().try_into().unwrap()).unwrap();
    let (over, is_over) = mpsc::channel::<()>();
    let disturbing = thread::spawn(move || {
        loop {
            let pause = Duration::from_micros(random.below(3000) as u64);
            if is_over.recv_timeout(pause) != Err(mpsc::RecvTimeoutError::Timeout) {
                break;
            }
            kill_process(pid, Signal::STOP).unwrap();
            thread::sleep(Duration::from_micros(random.below(3000) as u64));
            kill_process(pid, Signal::CONT).unwrap();
        }
    });
    let counting = thread::spawn(move || numbers.iter().count());
    let (reply, replies) = ipc::channel().unwrap();
    let replying = thread::spawn(move || replies.iter().count());
    for number in 0..300 {
        letters.send(Letter::new(9, number, &reply)).unwrap();
    }
    drop((letters, reply));
    assert_eq!(counting.join().unwrap(), 300);
    assert_eq!(replying.join().unwrap(), 100);
    drop(over);
    disturbing.join().unwrap();
    process.completed();
}

/// Killed peers leave no handle open in this process.
#[test]
fn c11_killed_peers_leave_no_handles() {
    harness::alone(harness::path_of(c11_killed_peers_leave_no_handles), || {
        let mut random = Random::new(11);
        let mut before = None;
        for round in 0..6 {
            let (letters, received) = ipc::channel().unwrap();
            let mut writer = Writer::start(letters, round);
            let killing = kill_soon(&mut random, writer.pid());
            received.iter().for_each(|letter| writer.take(letter));
            killing.join().unwrap();
            writer.check();
            let (process, letters, numbers) = start_reader();
            let (reply, replies) = ipc::channel().unwrap();
            let killing = thread::spawn(move || process.killed());
            for number in 0.. {
                if letters.send(Letter::new(9, number, &reply)).is_err() {
                    break;
                }
            }
            killing.join().unwrap();
            drop((letters, numbers, reply, replies, received));
            let now = harness::handles();
            assert_eq!(before.get_or_insert_with(|| now.clone()), &now);
        }
    });
}

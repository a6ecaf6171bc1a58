//! Channels that are used become rings, by themselves: what is promised of channels is promised of those, too, whatever happens to the
//! processes on both sides.

#![cfg(all(target_os = "linux", not(feature = "force-inprocess")))]

#[path = "../harness/mod.rs"]
mod harness;

mod many_senders;
mod order_of_paths;
mod overwritten;
mod restricted;

use std::cell::RefCell;
use std::fs;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use rustix::io::Errno;
use rustix::process::{Pid, Resource, Signal, kill_process};
use serde::{Deserialize, Serialize};
use strait::ipc::{
    self, IpcError, IpcOneShotServer, IpcReceiver, IpcSender, SharedMemoryWriter, TryRecvError,
};

use harness::Child;
use harness::fork::{Fork, fork};
use harness::raw::Random;
use harness::sandbox::forbid;

/// What is sent. All of it follows from its number and plan.
#[derive(Debug, Serialize, Deserialize)]
struct Note {
    from: u32,
    number: u64,
    plan: Plan,
    text: String,
}

/// How long notes are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
enum Plan {
    Small,
    /// More than a packet takes, but not more than a socket.
    Medium,
    /// Several fragments each.
    Large,
    Mixed,
}

impl Plan {
    fn text(self, from: u32, number: u64) -> String {
        let len = match self {
            Plan::Small => number % 50,
            Plan::Medium => 80_000,
            Plan::Large => 250_000 + number * 10_007 % 500_000,
            Plan::Mixed if number % 97 == 13 => 300_000,
            Plan::Mixed if number % 19 == 3 => 17_000,
            Plan::Mixed => number % 300,
        };
        let letter = b'a' + ((number + u64::from(from)) % 26) as u8;
        char::from(letter).to_string().repeat(len as usize)
    }
}

impl Note {
    fn new(from: u32, number: u64, plan: Plan) -> Note {
        Note { from, number, plan, text: plan.text(from, number) }
    }

    /// Checks that it is whole, and the next of its sender.
    #[track_caller]
    fn check(&self, next: &mut u64) {
        assert_eq!(self.number, *next, "from {}", self.from);
        assert!(
            self.text == self.plan.text(self.from, self.number),
            "note {} is damaged",
            self.number
        );
        *next += 1;
    }
}

/// How many rings this process has.
fn rings() -> usize {
    harness::handles().iter().filter(|handle| handle.what.contains("memfd:strait-ring")).count()
}

/// Whether there is a ring that can be used, and not just one that is being tried.
fn has_mapped_rings() -> bool {
    fs::read_to_string("/proc/self/maps").unwrap().contains("strait-ring")
}

/// Sends until there is a ring that is read: with messages, which `receive` receives.
fn heat(sender: &IpcSender<Note>, from: u32, mut receive: impl FnMut()) -> u64 {
    let mut number = 0;
    // Offered, accepted, and used for a while.
    for _ in 0..5 {
        for _ in 0..100 {
            sender.send(Note::new(from, number, Plan::Small)).unwrap();
            number += 1;
        }
        receive();
    }
    number
}

// ---- C1: sending waits for nobody ----

#[test]
fn c1_a_thread_sends_what_nobody_receives() {
    harness::alone(harness::path_of(c1_a_thread_sends_what_nobody_receives), || {
        let (sender, receiver) = ipc::channel().unwrap();
        for number in 0..100_000 {
            sender.send(Note::new(0, number, Plan::Small)).unwrap();
        }
        assert_eq!(rings(), 1);
        for number in 0..50 {
            sender.send(Note::new(1, number, Plan::Large)).unwrap();
        }
        let mut next = [0; 2];
        for _ in 0..100_050 {
            let note: Note = receiver.recv().unwrap();
            // The large ones are last.
            assert!(note.from == 0 || next[0] == 100_000);
            note.check(&mut next[note.from as usize]);
        }
        assert!(receiver.try_recv().unwrap_err().is_empty());
        drop(sender);
        assert!(receiver.recv().unwrap_err().is_disconnected());
    });
}

/// Everything of the one, then everything of the other.
fn exchange(sender: &IpcSender<Note>, receiver: &IpcReceiver<Note>, plan: Plan) {
    let notes = if plan == Plan::Small { 30_000 } else { 25 };
    for number in 0..notes {
        sender.send(Note::new(0, number, plan)).unwrap();
    }
    let mut next = 0;
    for _ in 0..notes {
        receiver.recv().unwrap().check(&mut next);
    }
}

#[test]
fn exchanging_child() {
    harness::child_main(|arguments| {
        let (sender, received) = ipc::channel().unwrap();
        let (answers, answered) = ipc::channel().unwrap();
        IpcSender::connect(arguments[0].clone()).unwrap().send((sender, answered)).unwrap();
        exchange(&answers, &received, Plan::Small);
        exchange(&answers, &received, Plan::Large);
    });
}

#[test]
fn c1_two_that_send_much_before_they_receive_do_not_wait_for_each_other() {
    let _watchdog = harness::watchdog();
    let (server, name) = IpcOneShotServer::<(IpcSender<Note>, IpcReceiver<Note>)>::new().unwrap();
    let child = harness::child(harness::path_of(exchanging_child), &[&name]);
    let (_, (sender, received)) = server.accept().unwrap();
    exchange(&sender, &received, Plan::Small);
    exchange(&sender, &received, Plan::Large);
    child.completed();
}

// ---- C5: sent means received ----

/// Kills a sender whose ring is in use, at any moment.
fn kill_senders(rounds: u64, plan: Plan) {
    let mut random = Random::new(rounds);
    let mut most_sent = 0;
    for _ in 0..rounds {
        let (sender, receiver) = ipc::channel::<Note>().unwrap();
        let sent = SharedMemoryWriter::new(8).unwrap();
        let mut sender = Some(sender);
        let child = fork(|| {
            let sender = sender.take().unwrap();
            for number in 0.. {
                sender.send(Note::new(0, number, plan)).unwrap();
                sent.write_at(0, &(number + 1).to_ne_bytes()).unwrap();
            }
        });
        drop(sender);
        let mut received = 0;
        let before = if plan == Plan::Small { 150 + random.below(300) } else { random.below(10) };
        for _ in 0..before {
            receiver.recv().unwrap().check(&mut received);
        }
        for _ in 0..random.below(6000) {
            std::hint::spin_loop();
        }
        child.killed();
        loop {
            match receiver.recv() {
                Ok(note) => note.check(&mut received),
                Err(IpcError::Disconnected) => break,
                Err(error) => panic!("{error:?}"),
            }
        }
        let mut bytes = [0; 8];
        sent.read_at(0, &mut bytes).unwrap();
        let sent = u64::from_ne_bytes(bytes);
        // The last may have left while its sender died.
        assert!((sent..=sent + 1).contains(&received), "sent {sent}, received {received}");
        most_sent = most_sent.max(sent);
    }
    assert!(plan != Plan::Small || most_sent > 500);
}

#[test]
fn c5_what_is_in_a_ring_is_received_though_its_sender_is_killed() {
    harness::alone(
        harness::path_of(c5_what_is_in_a_ring_is_received_though_its_sender_is_killed),
        || {
            kill_senders(200, Plan::Small);
        },
    );
}

#[test]
fn c5_large_messages_in_a_ring_are_received_though_their_sender_is_killed() {
    let name =
        harness::path_of(c5_large_messages_in_a_ring_are_received_though_their_sender_is_killed);
    harness::alone(name, || {
        kill_senders(60, Plan::Large);
        kill_senders(60, Plan::Mixed);
    });
}

// ---- C3, C7: stopped, killed, forked, moved ----

/// What a writing child is to do.
#[derive(Debug, Serialize, Deserialize)]
struct Job {
    notes: IpcSender<Note>,
    from: u32,
    count: u64,
    plan: Plan,
}

#[test]
fn writing_child() {
    harness::child_main(|arguments| {
        let (job_sender, jobs) = ipc::channel::<Job>().unwrap();
        IpcSender::connect(arguments[0].clone()).unwrap().send(job_sender).unwrap();
        let Job { notes, from, count, plan } = jobs.recv().unwrap();
        for number in 0..count {
            notes.send(Note::new(from, number, plan)).unwrap();
        }
    });
}

fn start_writer(notes: IpcSender<Note>, from: u32, count: u64, plan: Plan) -> Child {
    let (server, name) = IpcOneShotServer::<IpcSender<Job>>::new().unwrap();
    let child = harness::child(harness::path_of(writing_child), &[&name]);
    server.accept().unwrap().1.send(Job { notes, from, count, plan }).unwrap();
    child
}

/// Who takes notes for a while, and passes on how far it has got.
#[derive(Debug, Serialize, Deserialize)]
struct Turn {
    notes: IpcReceiver<Note>,
    next: Vec<u64>,
    /// After so many, or at the end.
    count: usize,
    pass_on: IpcSender<Turn>,
}

impl Turn {
    /// Whether there may be more.
    fn take(&mut self) -> bool {
        for _ in 0..self.count {
            match self.notes.recv() {
                Ok(note) => note.check(&mut self.next[note.from as usize]),
                Err(IpcError::Disconnected) => return false,
                Err(error) => panic!("{error:?}"),
            }
        }
        true
    }
}

#[test]
fn taking_child() {
    harness::child_main(|arguments| {
        let (turn_sender, turns) = ipc::channel::<Turn>().unwrap();
        IpcSender::connect(arguments[0].clone()).unwrap().send(turn_sender).unwrap();
        for mut turn in turns.iter() {
            if !turn.take() {
                turn.count = 0;
            }
            turn.pass_on.clone().send(turn).unwrap();
        }
    });
}

fn start_taker() -> (Child, IpcSender<Turn>) {
    let (server, name) = IpcOneShotServer::<IpcSender<Turn>>::new().unwrap();
    let child = harness::child(harness::path_of(taking_child), &[&name]);
    (child, server.accept().unwrap().1)
}

fn pid_of(child: &Child) -> Pid {
    Pid::from_raw(child.id().try_into().unwrap()).unwrap()
}

#[test]
fn c3_stopped_senders_and_a_stopped_receiver_lose_nothing() {
    let _watchdog = harness::watchdog();
    let (notes, received) = ipc::channel().unwrap();
    let (taker, turns) = start_taker();
    let (pass_on, passed_on) = ipc::channel::<Turn>().unwrap();
    let writers: Vec<Child> =
        (0..3).map(|from| start_writer(notes.clone(), from, 8000, Plan::Mixed)).collect();
    drop(notes);
    turns.send(Turn { notes: received, next: vec![0; 3], count: usize::MAX, pass_on }).unwrap();
    let is_over = Arc::new(AtomicBool::new(false));
    let pids: Vec<Pid> = writers.iter().chain([&taker]).map(pid_of).collect();
    let disturbing = thread::spawn({
        let is_over = Arc::clone(&is_over);
        move || {
            let mut random = Random::new(3);
            while !is_over.load(Ordering::Relaxed) {
                let pid = pids[random.below(pids.len())];
                // A writer may have exited, and is not reaped yet.
                kill_process(pid, Signal::STOP).unwrap();
                thread::sleep(Duration::from_micros(random.below(1500) as u64));
                kill_process(pid, Signal::CONT).unwrap();
                thread::sleep(Duration::from_micros(random.below(500) as u64));
            }
        }
    });
    let turn = passed_on.recv().unwrap();
    is_over.store(true, Ordering::Relaxed);
    disturbing.join().unwrap();
    assert_eq!(turn.next, [8000; 3]);
    writers.into_iter().for_each(Child::completed);
    drop((turn, turns));
    taker.completed();
}

/// Nothing but a look at the socket tells who only sends, into memory, that nobody is there any more.
#[test]
fn c6_who_only_sends_notices_that_the_receiver_was_killed() {
    harness::alone(
        harness::path_of(c6_who_only_sends_notices_that_the_receiver_was_killed),
        || {
            let mut random = Random::new(6);
            for round in 0..40 {
                let (sender, receiver) = ipc::channel::<Note>().unwrap();
                let (progress, seen) = ipc::channel::<u64>().unwrap();
                let mut receiver = Some(receiver);
                let child = fork(|| {
                    let receiver = receiver.take().unwrap();
                    // Awake all the time.
                    let mut next = 0;
                    loop {
                        match receiver.try_recv() {
                            Ok(note) => note.check(&mut next),
                            Err(error) => assert!(error.is_empty(), "{error:?}"),
                        }
                        if next == 500 {
                            progress.send(next).unwrap();
                        }
                    }
                });
                drop((receiver, progress));
                let mut number = 0;
                let mut child = Some(child);
                let until = 1000 + random.below(3000) as u64;
                let error = loop {
                    match sender.send(Note::new(0, number, Plan::Small)) {
                        Ok(()) => number += 1,
                        Err(error) => break error,
                    }
                    if number == 600 {
                        assert_eq!(seen.recv().unwrap(), 500);
                    }
                    if number == until {
                        child.take().unwrap().killed();
                    }
                };
                assert!(error.is_disconnected(), "{error:?}");
                assert!(number >= until, "round {round}");
                // And so it stays.
                for _ in 0..3 {
                    let again = sender.send(Note::new(0, number, Plan::Mixed)).unwrap_err();
                    assert!(again.is_disconnected(), "{again:?}");
                }
            }
        },
    );
}

#[test]
fn c3_a_forked_sender_and_its_parent_go_on_side_by_side() {
    harness::alone(harness::path_of(c3_a_forked_sender_and_its_parent_go_on_side_by_side), || {
        let (sender, receiver) = ipc::channel::<Note>().unwrap();
        let mut sender = Some(sender);
        let receiving = fork(|| {
            drop(sender.take());
            let mut next = [0; 7];
            for note in receiver.iter() {
                note.check(&mut next[note.from as usize]);
            }
            assert_eq!(next, [8000, 2000, 2000, 2000, 2000, 2000, 2000]);
        });
        drop(receiver);
        let sender = sender.unwrap();
        let send = |from, numbers: std::ops::Range<u64>| {
            for number in numbers {
                sender.send(Note::new(from, number, Plan::Mixed)).unwrap();
            }
        };
        send(0, 0..1000);
        assert_eq!(rings(), 1);
        let mut children = Vec::new();
        for child in 1..=6 {
            children.push(fork(|| {
                if child % 2 == 0 {
                    // A child of a child has nothing of either.
                    send(child, 0..1000);
                    fork(|| send(child, 1000..2000)).completed();
                } else {
                    send(child, 0..2000);
                }
            }));
            let from = u64::from(child) * 1000;
            send(0, from..from + 1000);
        }
        send(0, 7000..8000);
        children.into_iter().for_each(Fork::completed);
        drop(sender);
        receiving.completed();
    });
}

#[test]
fn c3_a_receiver_moves_with_its_rings_again_and_again() {
    harness::alone(harness::path_of(c3_a_receiver_moves_with_its_rings_again_and_again), || {
        let before = harness::handles();
        let (notes, received) = ipc::channel().unwrap();
        let takers = [start_taker(), start_taker()];
        let (pass_on, passed_on) = ipc::channel::<Turn>().unwrap();
        let writers: Vec<Child> =
            (0..3).map(|from| start_writer(notes.clone(), from, 6000, Plan::Mixed)).collect();
        drop(notes);
        let mut random = Random::new(30);
        let mut turn = Turn { notes: received, next: vec![0; 3], count: 0, pass_on };
        let mut most_rings = 0;
        loop {
            turn.count = 1 + random.below(200);
            match random.below(3) {
                2 => {
                    let goes_on = turn.take();
                    most_rings = most_rings.max(rings());
                    if !goes_on {
                        break;
                    }
                }
                taker => {
                    takers[taker].1.send(turn).unwrap();
                    turn = passed_on.recv().unwrap();
                }
            }
        }
        assert_eq!(turn.next, [6000; 3]);
        // All of them, as a rule; but who has little to send is soon gone.
        assert!(most_rings > 0);
        writers.into_iter().for_each(Child::completed);
        drop((turn, passed_on));
        for (taker, turns) in takers {
            drop(turns);
            taker.completed();
        }
        assert_eq!(harness::handles_besides(&before), []);
    });
}

// ---- C7: what this process may not have ----

fn limit(resource: Resource, limit: u64) {
    let mut limits = rustix::process::getrlimit(resource);
    limits.current = Some(limit);
    rustix::process::setrlimit(resource, limits).unwrap();
}

/// Sends under a limit, and receives when it is lifted: whatever was said to be sent, one message of which is of the plan `one`. How many
/// errors there were, and whether there was a ring.
fn send_under(
    limit_it: impl FnOnce(),
    lift_it: impl FnOnce(),
    is_received: bool,
    one: Plan,
) -> (usize, bool) {
    let (sender, receiver) = ipc::channel::<Note>().unwrap();
    let mut sent = 0;
    let mut received = 0;
    let mut errors = 0;
    limit_it();
    for number in 0..400 {
        // Without a ring, the socket has to take all of them.
        if !is_received && number >= 80 {
            break;
        }
        let plan = if number == 79 { one } else { Plan::Small };
        match sender.send(Note::new(0, sent, plan)) {
            Ok(()) => sent += 1,
            Err(IpcError::Io(_)) => errors += 1,
            Err(error) => panic!("{error:?}"),
        }
        if is_received && number % 3 == 2 {
            match receiver.recv_timeout(Duration::from_millis(1)) {
                Ok(note) => note.check(&mut received),
                Err(TryRecvError::Empty | TryRecvError::IpcError(IpcError::Io(_))) => {}
                // A ring that cannot be read. There is nothing in it yet.
                Err(TryRecvError::IpcError(IpcError::SerializationError(_))) => {}
                Err(error) => panic!("{error:?}"),
            }
        }
    }
    lift_it();
    let has_ring = rings() > 0;
    let mut sender = Some(sender);
    while received < sent {
        match receiver.recv_timeout(Duration::from_millis(1)) {
            Ok(note) => note.check(&mut received),
            // Who sends offers its ring again.
            Err(TryRecvError::Empty) => {
                let sender = sender.as_ref().unwrap();
                sender.send(Note::new(0, sent, Plan::Small)).unwrap();
                sent += 1;
            }
            Err(error) => panic!("{error:?} after {received} of {sent}"),
        }
    }
    drop(sender.take());
    let mut end = receiver.recv().unwrap_err();
    if let IpcError::SerializationError(_) = end {
        // There was no handle left for a ring, and nobody is there to say that nothing was in it. Said once.
        end = receiver.recv().unwrap_err();
    }
    assert!(end.is_disconnected(), "{end:?}");
    (errors, has_ring)
}

/// The number that the next descriptor gets.
fn next_descriptor() -> u64 {
    use std::os::fd::AsRawFd;

    io::stdin().as_fd().try_clone_to_owned().unwrap().as_raw_fd() as u64
}

/// Takes all descriptors that are left, but for `spare`.
fn take_descriptors(spare: usize) -> Vec<OwnedFd> {
    limit(Resource::Nofile, next_descriptor() + 20);
    let mut taken = Vec::new();
    while let Ok(fd) = io::stdin().as_fd().try_clone_to_owned() {
        taken.push(fd);
    }
    taken.truncate(taken.len().saturating_sub(spare));
    taken
}

#[test]
fn c7_nothing_is_lost_at_any_limit_on_descriptors() {
    harness::alone(harness::path_of(c7_nothing_is_lost_at_any_limit_on_descriptors), || {
        let before = harness::handles();
        let mut had_ring = [false; 2];
        for spare in 0..8 {
            for is_received in [true, false] {
                let taken = RefCell::new(Vec::new());
                let (_, has_ring) = send_under(
                    || *taken.borrow_mut() = take_descriptors(spare),
                    || taken.borrow_mut().clear(),
                    is_received,
                    // Large enough to need a ring, whatever that leaves for others.
                    Plan::Medium,
                );
                had_ring[usize::from(has_ring)] = true;
                assert_eq!(harness::handles_besides(&before), [], "{spare}");
            }
        }
        assert_eq!(had_ring, [true; 2]);
    });
}

/// Takes so many of every four descriptors that this process may have.
fn take_quarters(quarters: u64) -> Vec<OwnedFd> {
    limit(Resource::Nofile, 400);
    let mut taken = Vec::new();
    while next_descriptor() < 100 * quarters {
        taken.push(io::stdin().as_fd().try_clone_to_owned().unwrap());
    }
    taken
}

/// Sends and receives what makes a channel hot.
fn exchange_much(sender: &IpcSender<Note>, receiver: &IpcReceiver<Note>) {
    let mut next = 0;
    heat(sender, 0, || (0..100).for_each(|_| receiver.recv().unwrap().check(&mut next)));
}

#[test]
fn c7_rings_leave_descriptors_for_others() {
    harness::alone(harness::path_of(c7_rings_leave_descriptors_for_others), || {
        let (sender, receiver) = ipc::channel::<Note>().unwrap();
        let taken = take_quarters(3);
        exchange_much(&sender, &receiver);
        assert_eq!(rings(), 0);
        drop(taken);
        // It is tried again, sooner or later.
        while rings() < 2 {
            exchange_much(&sender, &receiver);
        }
    });
}

#[test]
fn c1_a_sender_does_not_wait_for_a_receiver_without_descriptors_for_rings() {
    harness::alone(
        harness::path_of(c1_a_sender_does_not_wait_for_a_receiver_without_descriptors_for_rings),
        || {
            let before = harness::handles();
            // As often as it takes for a sender not to look meanwhile what becomes of its ring.
            for _ in 0..10 {
                let (sender, receiver) = ipc::channel::<Note>().unwrap();
                let mut received = 0;
                let send = |number, plan| sender.send(Note::new(0, number, plan)).unwrap();
                // Before the last of these, a ring is offered.
                (0..64).for_each(|number| send(number, Plan::Small));
                (0..63).for_each(|_| receiver.recv().unwrap().check(&mut received));
                let taken = take_quarters(3);
                receiver.recv().unwrap().check(&mut received);
                // It is refused by now. There has to be another: no socket takes as much as these.
                (64..70).for_each(|number| send(number, Plan::Large));
                drop((sender, taken));
                (64..70).for_each(|_| receiver.recv().unwrap().check(&mut received));
                assert!(receiver.recv().unwrap_err().is_disconnected());
            }
            assert_eq!(harness::handles_besides(&before), []);
        },
    );
}

/// How much address space this process has mapped, in bytes.
fn address_space() -> u64 {
    let pages = fs::read_to_string("/proc/self/statm").unwrap();
    pages.split(' ').next().unwrap().parse::<u64>().unwrap() * 4096
}

#[test]
fn c7_nothing_is_lost_at_any_limit_on_address_space() {
    harness::alone(harness::path_of(c7_nothing_is_lost_at_any_limit_on_address_space), || {
        // Buffers are made, and stay. There are small pieces of memory, which cannot become large ones: who fails to get a small one
        // is aborted by the standard library.
        send_under(|| {}, || {}, true, Plan::Small);
        let pieces: Vec<Vec<u8>> = (0..8000).map(|_| Vec::with_capacity(500)).collect();
        let _every_other: Vec<_> = pieces.into_iter().step_by(2).collect();
        let mut had_ring = [false; 2];
        for extra in (0..40).map(|pages| pages * 4096).chain([200 << 10, 400 << 10, 1 << 20]) {
            for is_received in [true, false] {
                let (_, has_ring) = send_under(
                    || limit(Resource::As, address_space() + extra),
                    || limit(Resource::As, u64::MAX),
                    is_received,
                    Plan::Small,
                );
                had_ring[usize::from(has_ring)] = true;
            }
        }
        assert_eq!(had_ring, [true; 2]);
    });
}

/// Sends many messages while a system call fails that sharing memory needs.
fn send_without(call: i64, plan: Plan) {
    let (sender, receiver) = ipc::channel::<Note>().unwrap();
    let count = if plan == Plan::Large { 30 } else { 3000 };
    let sending = thread::spawn(move || {
        forbid(call, Errno::PERM);
        for number in 0..count {
            sender.send(Note::new(0, number, plan)).unwrap();
        }
    });
    let mut next = 0;
    for note in receiver.iter() {
        note.check(&mut next);
        assert!(next % 1000 != 500 || !has_mapped_rings());
    }
    assert_eq!(next, count);
    sending.join().unwrap();
}

#[test]
fn c7_without_memory_to_share_the_socket_carries_everything() {
    harness::alone(
        harness::path_of(c7_without_memory_to_share_the_socket_carries_everything),
        || {
            send_without(libc::SYS_memfd_create, Plan::Small);
            send_without(libc::SYS_memfd_create, Plan::Mixed);
            send_without(libc::SYS_memfd_create, Plan::Large);
            send_without(libc::SYS_ftruncate, Plan::Mixed);
        },
    );
}

#[test]
fn c7_without_mappings_the_socket_carries_everything() {
    harness::alone(harness::path_of(c7_without_mappings_the_socket_carries_everything), || {
        send_without(libc::SYS_mmap, Plan::Small);
    });
}

// ---- C11: nothing is left ----

#[test]
fn c11_rings_leave_no_handles() {
    harness::alone(harness::path_of(c11_rings_leave_no_handles), || {
        let before = harness::handles();
        for round in 0..20 {
            let (sender, receiver) = ipc::channel::<Note>().unwrap();
            let mut next = 0;
            heat(&sender, 0, || {
                for _ in 0..100 {
                    receiver.recv().unwrap().check(&mut next);
                }
            });
            // One handle on each side.
            assert_eq!(rings(), 2);
            assert!(
                harness::handles()
                    .iter()
                    .all(|handle| handle.closes_on_exec || before.contains(handle))
            );
            match round % 4 {
                0 => drop((sender, receiver)),
                1 => drop((receiver, sender)),
                2 => {
                    // With something in it, large and small.
                    for number in 500..600 {
                        sender.send(Note::new(0, number, Plan::Mixed)).unwrap();
                    }
                    drop((sender, receiver));
                }
                _ => {
                    let (carrier, carried) = ipc::channel::<IpcReceiver<Note>>().unwrap();
                    carrier.send(receiver).unwrap();
                    // In a message that nobody receives.
                    drop((carrier, carried, sender));
                }
            }
            assert_eq!(harness::handles_besides(&before), []);
            assert!(!has_mapped_rings());
        }
    });
}

/// Whatever has filled the socket, and by how much: the last that it takes may be larger than the room for it.
#[test]
fn c1_messages_of_all_sizes_do_not_wait() {
    let _watchdog = harness::watchdog();
    for sizes in [&[100_000, 204_000, 1][..], &[60_000, 60_000, 60_000, 64_000, 65_000, 1, 1]] {
        let (sender, receiver) = ipc::bytes_channel().unwrap();
        for round in 0..20 {
            for size in sizes {
                sender.send(&vec![round; *size]).unwrap();
            }
        }
        for round in 0..20 {
            for size in sizes {
                assert_eq!(receiver.recv().unwrap(), vec![round; *size]);
            }
        }
    }
}

/// Also if it never looked at what was sent.
#[test]
fn c6_who_sends_notices_at_once_that_the_receiver_is_dropped() {
    let _watchdog = harness::watchdog();
    for received in [0, 1] {
        let (sender, receiver) = ipc::bytes_channel().unwrap();
        for _ in 0..3 {
            sender.send(&vec![1; 300_000]).unwrap();
        }
        for _ in 0..received {
            receiver.recv().unwrap();
        }
        drop(receiver);
        assert!(sender.send(b"more").is_err());
    }
}

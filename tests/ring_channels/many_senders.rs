//! Many honest senders of one channel: every message whose `send` returned `Ok` is received,
//! in its sender's order. That holds for every way to receive, and however few rings the
//! receiver accepts.

use std::os::fd::{AsFd, OwnedFd};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Barrier, mpsc};
use std::time::{Duration, Instant};
use std::{io, thread};

use rustix::process::{Resource, getrlimit, setrlimit};
use strait::internals::frame::{Head, Kind};
use strait::internals::now;
use strait::ipc::{self, IpcError, IpcOneShotServer, IpcReceiver, IpcSender, TryRecvError};

use crate::harness;
use crate::harness::Child;
use crate::harness::fork::{Fork, fork};
use crate::harness::raw;
use crate::harness::ring::{self, RawRing};
use crate::harness::ways::{self, Next};

/// The job of a child: the numbers that it sends, and the channel for its reports.
type Job = (IpcSender<u64>, u64, IpcSender<()>);

/// More messages than a socket has room for.
const MORE_THAN_A_SOCKET: u64 = 1000;

#[test]
fn counting_child() {
    harness::child_main(|arguments| {
        let (job_sender, jobs) = ipc::channel::<Job>().unwrap();
        IpcSender::connect(arguments[0].clone()).unwrap().send(job_sender).unwrap();
        for (numbers, count, progress) in jobs.iter() {
            for number in 0..count {
                numbers.send(number).unwrap();
                if number == MORE_THAN_A_SOCKET {
                    progress.send(()).unwrap();
                }
            }
        }
    });
}

fn start_counting() -> (Child, IpcSender<Job>) {
    let (server, name) = IpcOneShotServer::<IpcSender<Job>>::new().unwrap();
    let child = harness::child(harness::path_of(counting_child), &[&name]);
    (child, server.accept().unwrap().1)
}

/// Receives the messages that another process sends meanwhile. They are in a ring by the time
/// that the first is received.
fn count_by(way: ways::Way<u64>, jobs: &IpcSender<Job>, count: u64) {
    let (numbers, received) = ipc::channel().unwrap();
    let (progress, has_begun) = ipc::channel().unwrap();
    jobs.send((numbers, count, progress)).unwrap();
    has_begun.recv().unwrap();
    let mut next = way(received);
    for number in 0..count {
        assert_eq!(next(), Next::Value(number));
    }
    assert_eq!(next(), Next::Closed);
}

/// A ring is accepted while its sender uses it. The test repeats that, because it takes
/// only a moment.
#[test]
fn c5_no_way_of_receiving_loses_messages_of_a_busy_process() {
    let _watchdog = harness::watchdog();
    let (child, jobs) = start_counting();
    for (name, way) in ways::ways() {
        println!("{name}");
        for _ in 0..20 {
            count_by(way, &jobs, 5000);
        }
    }
    drop(jobs);
    child.completed();
}

#[cfg(feature = "async")]
#[test]
fn c5_a_stream_of_a_million_messages_of_another_process_is_complete() {
    let _watchdog = harness::watchdog();
    let (child, jobs) = start_counting();
    for _ in 0..2 {
        count_by(ways::by_stream, &jobs, 1_000_000);
    }
    drop(jobs);
    child.completed();
}

/// Receives all messages of so many senders, and checks the order of each.
#[track_caller]
fn receive_all<T>(receiver: &IpcReceiver<(u32, u32, T)>, senders: u32, each: u32)
where
    T: serde::Serialize + for<'de> serde::Deserialize<'de>,
{
    let mut next = vec![0; senders as usize];
    loop {
        match receiver.recv() {
            Ok((from, number, _)) => {
                assert_eq!(number, next[from as usize], "from {from}");
                next[from as usize] += 1;
            }
            Err(IpcError::Disconnected) => break,
            Err(error) => panic!("{error:?} after {}", next.iter().sum::<u32>()),
        }
    }
    assert_eq!(next, vec![each; senders as usize]);
}

#[test]
fn c5_processes_that_send_in_turn_lose_no_message() {
    let name = harness::path_of(c5_processes_that_send_in_turn_lose_no_message);
    harness::alone(name, || {
        let (sender, receiver) = ipc::channel().unwrap();
        for from in 0..200 {
            let sender = &sender;
            fork(|| (0..100).for_each(|number| sender.send((from, number, ())).unwrap()))
                .completed();
        }
        drop(sender);
        receive_all(&receiver, 200, 100);
    });
}

/// Starts so many processes at once. Each sends so many large messages, and then waits until
/// all are received.
fn send_from_many(
    sender: IpcSender<(u32, u32, Vec<u8>)>,
    senders: u32,
    each: u32,
    is_ready: &IpcSender<()>,
) -> Vec<Fork> {
    let mut sender = Some(sender);
    let start = |from| {
        fork(|| {
            let sender = sender.take().unwrap();
            for number in 0..each {
                sender.send((from, number, vec![1; 4000])).unwrap();
            }
            drop(sender);
            is_ready.send(()).unwrap();
        })
    };
    (0..senders).map(start).collect()
}

#[test]
fn c5_more_processes_than_there_are_places_for_rings_lose_nothing_while_nothing_is_received() {
    let name = harness::path_of(
        c5_more_processes_than_there_are_places_for_rings_lose_nothing_while_nothing_is_received,
    );
    harness::alone(name, || {
        let (sender, receiver) = ipc::channel().unwrap();
        let (is_ready, ready) = ipc::channel().unwrap();
        let children = send_from_many(sender, 100, 100, &is_ready);
        (0..100).for_each(|_| ready.recv().unwrap());
        receive_all(&receiver, 100, 100);
        children.into_iter().for_each(Fork::completed);
    });
}

#[test]
fn c5_more_processes_than_there_are_places_for_rings_lose_nothing_while_they_are_received_from() {
    let name = harness::path_of(
        c5_more_processes_than_there_are_places_for_rings_lose_nothing_while_they_are_received_from,
    );
    harness::alone(name, || {
        let (sender, receiver) = ipc::channel().unwrap();
        let (is_ready, _ready) = ipc::channel().unwrap();
        let children = send_from_many(sender, 100, 300, &is_ready);
        receive_all(&receiver, 100, 300);
        children.into_iter().for_each(Fork::completed);
    });
}

/// A sender notices the state of its ring at any time.
#[test]
fn c5_a_ring_that_is_accepted_is_not_refused_before() {
    const ROUNDS: usize = 200;

    let _watchdog = harness::watchdog();
    let (watch, watched) = mpsc::channel::<Arc<RawRing>>();
    let (saw, seen) = mpsc::channel();
    let looks = Arc::new(AtomicU64::new(0));
    let watcher = thread::spawn({
        let looks = Arc::clone(&looks);
        move || {
            for ring in watched {
                loop {
                    looks.fetch_add(1, Ordering::Relaxed);
                    match ring.state().load(Ordering::Acquire) {
                        0 => {}
                        state => break saw.send(state).unwrap(),
                    }
                }
            }
        }
    });
    for round in 0..ROUNDS {
        let (sender, receiver) = ipc::bytes_channel().unwrap();
        let ring = Arc::new(RawRing::new());
        ring.offer(&sender, true);
        watch.send(Arc::clone(&ring)).unwrap();
        // Both threads are running.
        let before = looks.load(Ordering::Relaxed);
        while looks.load(Ordering::Relaxed) < before + 100 {
            std::hint::spin_loop();
        }
        assert!(receiver.try_recv().unwrap_err().is_empty());
        assert_eq!(seen.recv().unwrap(), ring::ACCEPTED, "round {round}");
    }
    drop(watch);
    watcher.join().unwrap();
}

/// The kernel can find the socket empty, and then all senders closed, although a message
/// arrived in between.
#[test]
fn c5_disconnection_is_not_reported_as_malformed_message() {
    const CHANNELS: usize = 100;

    let _watchdog = harness::watchdog();
    let (hand_over, senders) = mpsc::channel::<Vec<IpcSender<u32>>>();
    let sending = thread::spawn(move || {
        for senders in senders {
            for sender in senders {
                sender.send(7).unwrap();
            }
        }
    });
    let begun = Instant::now();
    // Most of the time the sender is a moment too early or too late.
    while begun.elapsed() < Duration::from_secs(8) {
        let (senders, receivers): (Vec<_>, Vec<_>) =
            (0..CHANNELS).map(|_| ipc::channel().unwrap()).unzip();
        hand_over.send(senders).unwrap();
        for receiver in receivers {
            let mut received = 0;
            loop {
                match receiver.try_recv() {
                    Ok(7) => received += 1,
                    Err(TryRecvError::Empty) => {}
                    Err(TryRecvError::IpcError(IpcError::Disconnected)) => break,
                    other => panic!("{other:?} after {received}"),
                }
            }
            assert_eq!(received, 1);
        }
    }
    drop(hand_over);
    sending.join().unwrap();
}

/// As from a sender in another time namespace, which has stamps in the future and others in
/// one socket.
#[test]
fn c2_messages_of_a_sender_whose_clock_is_ahead_stay_in_order() {
    const SECOND: u64 = 1_000_000_000;

    let _watchdog = harness::watchdog();
    let (sender, receiver) = ipc::channel::<(u32, u32)>().unwrap();
    // Another sender, with a ring that is in use.
    for number in 0..1000 {
        sender.send((0, number)).unwrap();
        assert_eq!(receiver.recv().unwrap(), (0, number));
    }
    let begun = now();
    for number in 0..40 {
        // From a second ago to a second from now.
        let stamp = begun - SECOND + u64::from(number) * SECOND / 20;
        let body = [1_u32.to_le_bytes(), u32::to_le_bytes(number)].concat();
        let head = Head::new(Kind::Message, 0, body.len() as u32).stamped(stamp);
        raw::send(&sender, &[head.as_bytes(), &body].concat(), &[]).unwrap();
    }
    for number in 1000..1010 {
        sender.send((0, number)).unwrap();
    }
    let mut next = [1000, 0];
    for _ in 0..50 {
        let (from, number) = receiver.recv().unwrap();
        assert_eq!(number, next[from as usize], "from {from}");
        next[from as usize] += 1;
    }
}

/// Opens all file descriptors that this process may have, and at most so many.
fn take_descriptors() -> Vec<OwnedFd> {
    let mut limits = getrlimit(Resource::Nofile);
    limits.current = Some(limits.current.unwrap_or(1024).min(256));
    setrlimit(Resource::Nofile, limits).unwrap();
    let another = || io::stdin().as_fd().try_clone_to_owned();
    std::iter::from_fn(|| another().ok()).collect()
}

#[test]
fn c5_rings_that_are_announced_to_a_process_without_descriptors_are_read_later() {
    let name = harness::path_of(
        c5_rings_that_are_announced_to_a_process_without_descriptors_are_read_later,
    );
    harness::alone(name, || {
        // More than the receiver has file descriptors in reserve.
        let channels: Vec<_> = (0..3).map(|_| ipc::channel::<(u32, Vec<u8>)>().unwrap()).collect();
        let send = |number| {
            for (sender, _) in &channels {
                sender.send((number, vec![1; 4000])).unwrap();
            }
        };
        (0..300).for_each(send);
        let taken = take_descriptors();
        let mut next = [0; 3];
        for (index, (_, receiver)) in channels.iter().enumerate() {
            let mut errors = 0;
            // The senders exist, and send nothing more.
            while next[index] < 300 && errors < 10 {
                match receiver.recv_timeout(Duration::from_millis(10)) {
                    Ok((number, _)) => {
                        assert_eq!(number, next[index]);
                        next[index] += 1;
                    }
                    Err(TryRecvError::Empty | TryRecvError::IpcError(IpcError::Io(_))) => {
                        errors += 1
                    }
                    Err(error) => panic!("{error:?}"),
                }
            }
        }
        drop(taken);
        for (index, (_, receiver)) in channels.iter().enumerate() {
            while next[index] < 300 {
                assert_eq!(receiver.recv().unwrap().0, next[index]);
                next[index] += 1;
            }
        }
        // The channel stays usable.
        send(300);
        for (_, receiver) in &channels {
            assert_eq!(receiver.recv().unwrap().0, 300);
            assert!(receiver.try_recv().unwrap_err().is_empty());
        }
    });
}

/// How often the living threads of this process have blocked.
fn voluntary_switches() -> u64 {
    let threads = std::fs::read_dir("/proc/self/task").unwrap();
    let statuses = threads.map(|thread| thread.unwrap().path().join("status"));
    statuses
        .filter_map(|path| {
            let status = std::fs::read_to_string(path).ok()?;
            let count =
                status.lines().find_map(|line| line.strip_prefix("voluntary_ctxt_switches:"));
            count.expect("Linux counts them").trim().parse::<u64>().ok()
        })
        .sum()
}

/// Otherwise each permit would wake all waiting senders, and only one of them could send.
#[test]
fn c2_released_permit_wakes_one_of_many_senders() {
    const SENDERS: u64 = 64;
    const EACH: u64 = 20;

    harness::alone(harness::path_of(c2_released_permit_wakes_one_of_many_senders), || {
        let (sender, receiver) = ipc::sync_channel(1).unwrap();
        // Threads are counted only while they live.
        let counted = Barrier::new(SENDERS as usize + 1);
        thread::scope(|scope| {
            for _ in 0..SENDERS {
                scope.spawn(|| {
                    (0..EACH).for_each(|number| sender.send(number).unwrap());
                    counted.wait();
                });
            }
            let before = voluntary_switches();
            for _ in 0..SENDERS * EACH {
                receiver.recv().unwrap();
            }
            let switches = voluntary_switches() - before;
            counted.wait();
            assert!(switches < 30 * SENDERS * EACH, "{switches} for {} messages", SENDERS * EACH);
        });
    });
}

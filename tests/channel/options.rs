//! The options of a receiver: the order, the limits, how it waits, and whether memory
//! is shared.

use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, mpsc};
use std::thread;
use std::time::Duration;

use strait::ipc::{
    self, ChannelOptions, IpcError, IpcReceiver, IpcSharedMemory, Limits, MAX_MESSAGE_ATTACHMENTS,
    MAX_MESSAGE_BYTES, Ordering,
};

use crate::harness;

// ---- Limits ----

fn limited(change: impl FnOnce(&mut Limits)) -> ChannelOptions {
    let mut limits = Limits::default();
    change(&mut limits);
    ChannelOptions::new().limits(limits)
}

#[track_caller]
fn assert_refused<T: std::fmt::Debug>(received: Result<T, IpcError>) {
    match received {
        Err(IpcError::SerializationError(error)) => {
            assert!(error.to_string().contains("exceeds the limits"), "{error}");
        }
        other => panic!("{other:?}"),
    }
}

/// On every path: in one packet, in parts, in one record of a ring, or in fragments.
#[test]
fn messages_longer_than_the_limit_are_one_error_each() {
    let _watchdog = harness::watchdog();
    for limit in [100, 10_000, 100_000, 1_000_000] {
        let (sender, receiver) =
            limited(|limits| limits.message_bytes = limit).bytes_channel().unwrap();
        for round in 0..200 {
            // The first messages are sent by socket; then there are enough for a ring.
            sender.send(&vec![1; limit]).unwrap();
            sender.send(&vec![2; limit + 1]).unwrap();
            if round % 50 == 0 {
                sender.send(&vec![2; 2 * limit + 100_000]).unwrap();
            }
            sender.send(&[3]).unwrap();
            assert_eq!(receiver.recv().unwrap(), vec![1; limit]);
            assert_refused(receiver.recv());
            if round % 50 == 0 {
                assert_refused(receiver.recv());
            }
            assert_eq!(receiver.recv().unwrap(), [3]);
        }
        drop(sender);
        assert!(matches!(receiver.recv(), Err(IpcError::Disconnected)));
    }
}

#[test]
fn messages_with_more_handles_than_the_limit_are_one_error_each() {
    harness::alone(
        harness::path_of(messages_with_more_handles_than_the_limit_are_one_error_each),
        || {
            let handle = IpcSharedMemory::try_from_byte(1, 1).unwrap();
            #[cfg(target_os = "linux")]
            let before = harness::handles();
            for limit in [0, 1, 5] {
                let options = limited(|limits| limits.message_handles = limit);
                let (sender, receiver) = options.channel::<Vec<IpcSharedMemory>>().unwrap();
                // In one packet, and in several.
                for too_many in [limit + 1, 300] {
                    sender.send(vec![handle.clone(); too_many]).unwrap();
                    sender.send(vec![handle.clone(); limit]).unwrap();
                    assert_refused(receiver.recv());
                    assert_eq!(receiver.recv().unwrap().len(), limit);
                }
            }
            #[cfg(target_os = "linux")]
            assert_eq!(harness::handles_besides(&before), []);
        },
    );
}

#[test]
fn limits_can_be_lowered_while_messages_are_queued() {
    let _watchdog = harness::watchdog();
    for hot in [false, true] {
        let (sender, receiver) = ipc::bytes_channel().unwrap();
        for _ in 0..if hot { 300 } else { 0 } {
            sender.send(&[0; 100]).unwrap();
            receiver.recv().unwrap();
        }
        for size in [500, 700_000, 5] {
            sender.send(&vec![1; size]).unwrap();
        }
        receiver.set_options(&limited(|limits| limits.message_bytes = 100)).unwrap();
        assert_refused(receiver.recv());
        assert_refused(receiver.recv());
        assert_eq!(receiver.recv().unwrap(), [1; 5]);
        receiver.set_options(&ChannelOptions::new()).unwrap();
        sender.send(&[1; 500]).unwrap();
        assert_eq!(receiver.recv().unwrap(), [1; 500]);
    }
}

#[test]
fn receiver_that_accepts_no_parts_receives_messages_in_one_packet() {
    let _watchdog = harness::watchdog();
    let options = limited(|limits| limits.incomplete_messages = 0).shared_memory(false);
    let (sender, receiver) = options.bytes_channel().unwrap();
    let sending = thread::spawn(move || {
        for _ in 0..3000 {
            sender.send(&[1; 200_000]).unwrap();
            sender.send(&[2]).unwrap();
        }
    });
    for _ in 0..3000 {
        // The in-process backend has no parts.
        match receiver.recv() {
            Err(IpcError::SerializationError(_)) => {}
            received => assert_eq!(received.unwrap(), [1; 200_000]),
        }
        assert_eq!(receiver.recv().unwrap(), [2]);
    }
    sending.join().unwrap();
}

// ---- Options ----

#[test]
fn options_move_with_the_receiver() {
    let _watchdog = harness::watchdog();
    let options = limited(|limits| limits.message_bytes = 1000)
        .ordering(Ordering::PerSender)
        .spin(Duration::ZERO)
        .keep_memory(Duration::from_millis(5))
        .shared_memory(false);
    let (sender, receiver) = options.channel::<String>().unwrap();
    assert_eq!(receiver.options().unwrap(), options);
    let (carrier, carried) = ipc::channel().unwrap();
    carrier.send(receiver).unwrap();
    let receiver: IpcReceiver<String> = carried.recv().unwrap();
    assert_eq!(receiver.options().unwrap(), options);
    sender.send("x".repeat(1001)).unwrap();
    assert_refused(receiver.recv());
}

/// Any peer may send a receiver.
#[test]
fn peer_cannot_raise_a_limit() {
    let _watchdog = harness::watchdog();
    let generous = limited(|limits| {
        limits.message_bytes = usize::MAX;
        limits.shared_memories = 500;
    })
    .spin(Duration::from_secs(100))
    .keep_memory(Duration::MAX);
    let (_sender, receiver) = generous.channel::<String>().unwrap();
    let here = receiver.options().unwrap();
    let largest = limited(|limits| {
        limits.message_bytes = MAX_MESSAGE_BYTES;
        limits.shared_memories = 500;
    })
    .spin(Duration::from_millis(10))
    .keep_memory(Duration::MAX);
    assert_eq!(here, largest);
    assert_eq!(Limits::default().message_handles, MAX_MESSAGE_ATTACHMENTS);
    let (carrier, carried) = ipc::channel().unwrap();
    carrier.send(receiver).unwrap();
    let receiver: IpcReceiver<String> = carried.recv().unwrap();
    assert_eq!(receiver.options().unwrap(), ChannelOptions::new());
    receiver.set_options(&generous).unwrap();
    assert_eq!(receiver.options().unwrap(), here);
}

/// If its message is not sent, the receiver comes back unchanged.
#[test]
fn receiver_of_a_failed_send_keeps_its_options() {
    let _watchdog = harness::watchdog();
    let options = ChannelOptions::new().spin(Duration::from_millis(5));
    let (_sender, receiver) = options.channel::<String>().unwrap();
    let (carrier, carried) = ipc::channel().unwrap();
    drop(carried);
    carrier.send_ref(&receiver).unwrap_err();
    assert_eq!(receiver.options().unwrap(), options);
}

#[test]
fn moved_receiver_has_no_options() {
    let _watchdog = harness::watchdog();
    let (_sender, receiver) = ipc::channel::<String>().unwrap();
    let (carrier, _carried) = ipc::channel().unwrap();
    carrier.send_ref(&receiver).unwrap();
    receiver.options().unwrap_err();
    receiver.set_options(&ChannelOptions::new()).unwrap_err();
}

// ---- Order ----

/// A flood in one ring does not delay other senders, by socket or by ring.
#[test]
fn a_busy_sender_does_not_starve_others_in_either_ordering() {
    let _watchdog = harness::watchdog();
    for ordering in [Ordering::PerSender, Ordering::Causal] {
        let (sender, receiver) = ChannelOptions::new().ordering(ordering).channel().unwrap();
        let other = sender.clone();
        // The ring is never empty, and never very full.
        let (sent, received) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicU64::new(0)));
        let flood = thread::spawn({
            let (sent, received) = (Arc::clone(&sent), Arc::clone(&received));
            move || {
                while sender.send((0, None)).is_ok() {
                    let number = sent.fetch_add(1, Relaxed);
                    while number > received.load(Relaxed) + 1000 {
                        thread::yield_now();
                    }
                }
            }
        });
        // By socket.
        let (counts, count_then) = mpsc::channel();
        let sending = thread::spawn(move || {
            for number in 1..100 {
                let (handle, _nobody) = ipc::channel::<u8>().unwrap();
                other.send((number, Some(handle))).unwrap();
                counts.send(sent.load(Relaxed)).unwrap();
            }
        });
        for number in 1..100 {
            let mut count = 0;
            while receiver.recv().unwrap().0 != number {
                count = received.fetch_add(1, Relaxed);
            }
            assert!(count < count_then.recv().unwrap() + 2000, "{number} has waited");
        }
        sending.join().unwrap();
        drop(receiver);
        received.store(u64::MAX / 2, Relaxed);
        flood.join().unwrap();
    }
}

#[cfg(all(target_os = "linux", not(feature = "force-inprocess")))]
mod between_processes {
    use std::fs;
    use std::os::fd::OwnedFd;
    use std::os::unix::fs::MetadataExt;

    use serde::{Deserialize, Serialize};
    use strait::ipc::{IpcOneShotServer, IpcReceiverSet, IpcSelectionResult, IpcSender};

    use super::*;

    /// A message, with or without a handle: those with one go by socket.
    #[derive(Debug, Serialize, Deserialize)]
    struct Note {
        from: u32,
        number: u64,
        text: String,
        handle: Option<IpcSender<u8>>,
    }

    impl Note {
        fn new(from: u32, number: u64) -> Note {
            Note {
                from,
                number,
                text: "x".repeat((number + u64::from(from)) as usize % 200),
                handle: None,
            }
        }

        /// Checks that the note is complete, and the next of its sender.
        #[track_caller]
        fn check(&self, next: &mut [u64]) {
            let next = &mut next[self.from as usize];
            assert_eq!(self.number, *next, "from {}", self.from);
            assert_eq!(self.text, Note::new(self.from, self.number).text);
            *next += 1;
        }
    }

    /// Sends notes, small and large, with and without handles.
    fn send_notes(sender: &IpcSender<Note>, from: u32, count: u64) {
        let (handle, _nobody) = ipc::channel().unwrap();
        for number in 0..count {
            let mut note = Note::new(from, number);
            note.handle = (number % 61 == 7 || number % 500 == 8).then(|| handle.clone());
            sender.send(note).unwrap();
        }
    }

    /// Receives so many notes from each sender.
    #[track_caller]
    fn receive_notes(receiver: &IpcReceiver<Note>, next: &mut [u64], count: u64) {
        while next.iter().any(|next| *next < count) {
            receiver.recv().unwrap().check(next);
        }
    }

    #[test]
    fn noting_child() {
        harness::child_main(|arguments| {
            let (job_sender, jobs) = ipc::channel::<(IpcSender<Note>, u32, u64)>().unwrap();
            IpcSender::connect(arguments[0].clone()).unwrap().send(job_sender).unwrap();
            let (notes, from, count) = jobs.recv().unwrap();
            send_notes(&notes, from, count);
        });
    }

    fn start_writer(notes: &IpcSender<Note>, from: u32, count: u64) -> harness::Child {
        type Job = (IpcSender<Note>, u32, u64);
        let (server, name) = IpcOneShotServer::<IpcSender<Job>>::new().unwrap();
        let child = harness::child(harness::path_of(noting_child), &[&name]);
        server.accept().unwrap().1.send((notes.clone(), from, count)).unwrap();
        child
    }

    /// The senders are threads with clones, threads with received senders, and other processes,
    /// by ring and by socket.
    #[test]
    fn each_thread_keeps_its_own_order_in_either_ordering() {
        const COUNT: u64 = 20_000;

        let _watchdog = harness::watchdog();
        for ordering in [Ordering::PerSender, Ordering::Causal] {
            let (sender, receiver) = ChannelOptions::new().ordering(ordering).channel().unwrap();
            let children = [start_writer(&sender, 0, COUNT), start_writer(&sender, 1, COUNT)];
            let clone = sender.clone();
            // A sender made of a file descriptor shares no state with others.
            let other = IpcSender::try_from(OwnedFd::try_from(sender.clone()).unwrap()).unwrap();
            let threads = [
                thread::spawn(move || send_notes(&sender, 2, COUNT)),
                thread::spawn(move || send_notes(&clone, 3, COUNT)),
                thread::spawn(move || send_notes(&other, 4, COUNT)),
            ];
            let mut next = [0; 5];
            receive_notes(&receiver, &mut next, COUNT);
            assert!(matches!(receiver.recv(), Err(IpcError::Disconnected)));
            threads.into_iter().for_each(|thread| thread.join().unwrap());
            children.into_iter().for_each(harness::Child::completed);
        }
    }

    /// A message, by ring or by socket.
    type Numbered = (u32, Vec<IpcSharedMemory>);

    /// A further sender that shares nothing with this one.
    fn another(sender: &IpcSender<Numbered>) -> IpcSender<Numbered> {
        OwnedFd::try_from(sender.clone()).unwrap().try_into().unwrap()
    }

    /// Sends by ring until the sender knows the order that the receiver keeps.
    fn send_by_ring(sender: &IpcSender<Numbered>, receiver: &IpcReceiver<Numbered>) {
        for _ in 0..4 {
            for _ in 0..100 {
                sender.send((0, Vec::new())).unwrap();
                assert_eq!(receiver.recv().unwrap().0, 0);
            }
            thread::sleep(Duration::from_millis(2));
        }
    }

    /// A sender's message in the socket is behind more packets than a receiver reads at once.
    #[test]
    fn a_sender_keeps_its_order_behind_many_handles() {
        let _watchdog = harness::watchdog();
        let options = ChannelOptions::new().ordering(Ordering::PerSender);
        let (sender, receiver) = options.channel::<Numbered>().unwrap();
        let other = another(&sender);
        let handle = IpcSharedMemory::try_from_byte(1, 1).unwrap();
        for _ in 0..20 {
            send_by_ring(&sender, &receiver);
            other.send((1, vec![handle.clone(); 100])).unwrap();
            sender.send((2, vec![handle.clone()])).unwrap();
            sender.send((3, Vec::new())).unwrap();
            let mut received: Vec<u32> = (0..3).map(|_| receiver.recv().unwrap().0).collect();
            received.retain(|number| *number != 1);
            assert_eq!(received, [2, 3]);
        }
    }

    /// A sender that has not noticed the change of the option keeps the order as well.
    #[test]
    fn causal_order_holds_once_it_is_requested() {
        let _watchdog = harness::watchdog();
        let options = ChannelOptions::new().ordering(Ordering::PerSender);
        let (sender, receiver) = options.channel::<Numbered>().unwrap();
        let other = another(&sender);
        let handle = IpcSharedMemory::try_from_byte(1, 1).unwrap();
        send_by_ring(&sender, &receiver);
        receiver.set_options(&ChannelOptions::new()).unwrap();
        send_by_ring(&other, &receiver);
        for _ in 0..100 {
            other.send((1, Vec::new())).unwrap();
            sender.send((2, vec![handle.clone()])).unwrap();
            assert_eq!(receiver.recv().unwrap().0, 1);
            assert_eq!(receiver.recv().unwrap().0, 2);
        }
    }

    /// However often the options are changed, and in whichever process the receiver is.
    #[test]
    fn options_can_be_changed_between_messages() {
        const COUNT: u64 = 20_000;

        let _watchdog = harness::watchdog();
        let (sender, mut receiver) = ipc::channel().unwrap();
        let child = start_writer(&sender, 0, COUNT);
        let clone = sender.clone();
        let threads = [
            thread::spawn(move || send_notes(&sender, 1, COUNT)),
            thread::spawn(move || send_notes(&clone, 2, COUNT)),
        ];
        let (carrier, carried) = ipc::channel().unwrap();
        let mut next = [0; 3];
        let mut round = 0;
        while next.iter().any(|next| *next < COUNT) {
            for _ in 0..next[0] % 700 + 300 {
                if next.iter().all(|next| *next == COUNT) {
                    break;
                }
                receiver.recv().unwrap().check(&mut next);
            }
            round += 1;
            let ordering = [Ordering::PerSender, Ordering::Causal][round % 2];
            let options = limited(|limits| limits.shared_memories = [64, 1, 2][round % 3]);
            receiver.set_options(&options.ordering(ordering)).unwrap();
            if round % 5 == 0 {
                carrier.send(receiver).unwrap();
                receiver = carried.recv().unwrap();
            }
        }
        assert!(round > 10);
        assert!(matches!(receiver.recv(), Err(IpcError::Disconnected)));
        threads.into_iter().for_each(|thread| thread.join().unwrap());
        child.completed();
    }

    /// How many rings this process has, ...
    fn rings() -> usize {
        ring_numbers().len()
    }

    fn ring_numbers() -> Vec<i32> {
        let handles = harness::handles().into_iter();
        let rings = handles.filter(|handle| handle.what.contains("memfd:strait-ring"));
        rings.map(|handle| handle.number).collect()
    }

    /// ... and how much memory they have, in bytes.
    fn ring_memory() -> u64 {
        let blocks = |number| fs::metadata(format!("/proc/self/fd/{number}")).unwrap().blocks();
        ring_numbers().into_iter().map(blocks).sum::<u64>() * 512
    }

    fn heat(sender: &IpcSender<Note>, receiver: &IpcReceiver<Note>) {
        for number in 0..1000 {
            sender.send(Note::new(0, number)).unwrap();
            receiver.recv().unwrap();
        }
    }

    #[test]
    fn no_ring_is_used_if_shared_memory_is_off() {
        harness::alone(harness::path_of(no_ring_is_used_if_shared_memory_is_off), || {
            let unwanted = limited(|limits| limits.shared_memories = 0);
            for options in [ChannelOptions::new().shared_memory(false), unwanted] {
                let (sender, receiver) = options.channel().unwrap();
                heat(&sender, &receiver);
                assert_eq!(rings(), 0);
                // The sender waits for room instead.
                let sending = thread::spawn(move || send_notes(&sender, 0, 5000));
                receive_notes(&receiver, &mut [0], 5000);
                sending.join().unwrap();
                assert_eq!(rings(), 0);

                // Also on a new channel, on which no ring was refused before.
                let (sender, receiver) = options.channel().unwrap();
                let child = start_writer(&sender, 0, 5000);
                drop(sender);
                receive_notes(&receiver, &mut [0], 5000);
                child.completed();
                assert!(matches!(receiver.recv(), Err(IpcError::Disconnected)));
                assert_eq!(rings(), 0);
            }
        });
    }

    #[test]
    fn ring_is_abandoned_when_shared_memory_is_turned_off() {
        harness::alone(
            harness::path_of(ring_is_abandoned_when_shared_memory_is_turned_off),
            || {
                let (sender, receiver) = ipc::channel().unwrap();
                heat(&sender, &receiver);
                assert_eq!(rings(), 2);
                for number in 0..10 {
                    sender.send(Note::new(0, number)).unwrap();
                }
                receiver.set_options(&ChannelOptions::new().shared_memory(false)).unwrap();
                for number in 10..20 {
                    sender.send(Note::new(0, number)).unwrap();
                }
                receive_notes(&receiver, &mut [0], 20);
                heat(&sender, &receiver);
                assert_eq!(rings(), 0);
            },
        );
    }

    /// A receiver gives back the ring of an idle sender, and the sender gives its mapping back
    /// when it sends again.
    #[test]
    fn idle_rings_are_given_back() {
        harness::alone(harness::path_of(idle_rings_are_given_back), || {
            for in_a_set in [false, true] {
                let (sender, receiver) = ipc::channel().unwrap();
                heat(&sender, &receiver);
                for number in 0..100 {
                    let text = "x".repeat(300_000);
                    sender.send(Note { from: 0, number, text, handle: None }).unwrap();
                }
                assert!(ring_memory() > 30_000_000);
                let keeper = sender.clone();
                let waiting = thread::spawn(move || {
                    if in_a_set {
                        let mut set = IpcReceiverSet::new().unwrap();
                        set.add(receiver).unwrap();
                        let mut events = Vec::new();
                        while !matches!(events.last(), Some(IpcSelectionResult::ChannelClosed(_))) {
                            events.extend(set.select().unwrap());
                        }
                        assert_eq!(events.len(), 102);
                    } else {
                        for _ in 0..101 {
                            receiver.recv().unwrap();
                        }
                        assert!(matches!(receiver.recv(), Err(IpcError::Disconnected)));
                    }
                });
                // The receiver waits, and unmaps the ring; the sender does nothing.
                while rings() > 1 {
                    thread::sleep(Duration::from_millis(10));
                }
                keeper.send(Note::new(0, 100)).unwrap();
                // The new ring is small.
                assert!(rings() <= 1 && ring_memory() <= 128 << 10, "{}", ring_memory());
                drop((sender, keeper));
                waiting.join().unwrap();
            }
        });
    }

    #[test]
    fn ring_is_kept_for_the_idle_time_of_the_options() {
        harness::alone(harness::path_of(ring_is_kept_for_the_idle_time_of_the_options), || {
            // One ring is given back early, so that the test can wait for that.
            let [kept, given_back] = [Duration::MAX, Duration::ZERO].map(|duration| {
                let options = ChannelOptions::new().keep_memory(duration);
                let (sender, receiver) = options.channel().unwrap();
                heat(&sender, &receiver);
                let waiting = thread::spawn(move || while receiver.recv().is_ok() {});
                (sender, waiting)
            });
            // The receiver unmaps the ring, and the sender does when it sends again.
            while rings() > 3 {
                thread::sleep(Duration::from_millis(10));
            }
            thread::sleep(Duration::from_millis(2500));
            assert_eq!(rings(), 3);
            for (sender, waiting) in [kept, given_back] {
                drop(sender);
                waiting.join().unwrap();
            }
            assert_eq!(rings(), 0);
        });
    }

    #[test]
    fn new_ring_is_used_after_an_idle_one_was_given_back() {
        harness::alone(harness::path_of(new_ring_is_used_after_an_idle_one_was_given_back), || {
            let (sender, receiver) = ipc::channel().unwrap();
            let (answers, answered) = ipc::channel::<u64>().unwrap();
            let waiting = thread::spawn(move || {
                let mut next = [0];
                while let Ok(note) = receiver.recv() {
                    let note: Note = note;
                    note.check(&mut next);
                    answers.send(next[0]).unwrap();
                }
            });
            let mut number = 0;
            for _ in 0..3 {
                for _ in 0..300 {
                    sender.send(Note::new(0, number)).unwrap();
                    number += 1;
                    assert_eq!(answered.recv().unwrap(), number);
                }
                assert!(rings() >= 2);
                // Both mappings of one direction; in the other direction no receiver waits.
                while rings() > 3 {
                    thread::sleep(Duration::from_millis(10));
                }
            }
            drop(sender);
            waiting.join().unwrap();
        });
    }
}

//! Bounded channels, in one process and between several: C2.

#[path = "../harness/mod.rs"]
mod harness;

#[cfg(all(target_os = "linux", not(feature = "force-inprocess")))]
mod between_processes;

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Barrier, mpsc};
use std::thread;
use std::time::{Duration, Instant};

use strait::ipc::{
    self, ChannelOptions, IpcReceiver, IpcReceiverSet, IpcSelectionResult, IpcSyncSender, Limits,
};
use strait::router::ROUTER;
use strait::{IpcError, TryRecvError, TrySendError};

use harness::watchdog;

type Ends<T> = (IpcSyncSender<T>, IpcReceiver<T>);

/// Channels with this bound: of the operating system, in memory, and promoted by
/// either endpoint.
fn channels(bound: usize) -> [(&'static str, Ends<u64>); 4] {
    let lazy = || ChannelOptions::new().lazy(true).sync_channel(bound).unwrap();
    [
        ("the platform's", ipc::sync_channel(bound).unwrap()),
        ("local", lazy()),
        ("promoted by its sender", {
            let (sender, receiver) = lazy();
            (through_a_channel(&sender), receiver)
        }),
        ("promoted by its receiver", {
            let (sender, receiver) = lazy();
            let receiver = through_a_channel(&receiver);
            (sender, receiver)
        }),
    ]
}

fn through_a_channel<T>(value: &T) -> T
where
    T: serde::Serialize + serde::de::DeserializeOwned,
{
    let (sender, receiver) = ipc::channel::<T>().unwrap();
    sender.send_ref(value).unwrap();
    receiver.recv().unwrap()
}

#[track_caller]
fn expect_full(result: Result<(), TrySendError>, what: &str) {
    assert!(matches!(result, Err(TrySendError::Full)), "{what}: {result:?}");
}

#[test]
fn c2_queue_holds_no_more_than_the_bound() {
    let _watchdog = watchdog();
    for bound in [1, 2, 7, 300, 5000] {
        for (what, (sender, receiver)) in channels(bound) {
            for round in 0..3 {
                for number in 0..bound as u64 {
                    sender.try_send(&number).unwrap_or_else(|error| {
                        panic!("{what}, {bound}, round {round}, {number}: {error}")
                    });
                }
                expect_full(sender.try_send(&0), what);
                expect_full(sender.send_timeout(&0, Duration::from_millis(1)), what);
                assert_eq!(receiver.recv().unwrap(), 0, "{what}");
                // One message was received, so there is room for one.
                sender.try_send(&(bound as u64)).unwrap();
                expect_full(sender.send_deadline(&0, Instant::now()), what);
                for number in 1..=bound as u64 {
                    assert_eq!(receiver.try_recv().unwrap(), number, "{what}");
                }
                assert!(matches!(receiver.try_recv(), Err(TryRecvError::Empty)), "{what}");
            }
        }
    }
}

#[test]
fn c2_bound_is_shared_by_all_clones() {
    let _watchdog = watchdog();
    for (what, (sender, receiver)) in channels(3) {
        let clone = sender.clone();
        let copy: IpcSyncSender<u64> = through_a_channel(&sender);
        sender.try_send(&1).unwrap();
        clone.try_send(&2).unwrap();
        copy.try_send(&3).unwrap();
        for sender in [&sender, &clone, &copy] {
            expect_full(sender.try_send(&4), what);
        }
        assert_eq!(receiver.recv().unwrap(), 1);
        copy.try_send(&4).unwrap();
        expect_full(sender.try_send(&5), what);
        drop((sender, clone, copy));
        assert_eq!(receiver.into_iter().collect::<Vec<_>>(), [2, 3, 4], "{what}");
    }
}

#[test]
fn blocked_send_continues_when_there_is_room() {
    let _watchdog = watchdog();
    for bound in [1, 4] {
        for (what, (sender, receiver)) in channels(bound) {
            let threads: Vec<_> = (0..4)
                .map(|_| {
                    let sender = sender.clone();
                    thread::spawn(move || (0..500).for_each(|n| sender.send(n).unwrap()))
                })
                .collect();
            drop(sender);
            assert_eq!(receiver.iter().sum::<u64>(), 4 * 499 * 500 / 2, "{what}");
            threads.into_iter().for_each(|thread| thread.join().unwrap());
        }
    }
}

#[test]
fn blocked_send_is_disconnected_when_the_receiver_is_dropped() {
    let _watchdog = watchdog();
    for bound in [0, 1] {
        for (what, (sender, receiver)) in channels(bound) {
            if bound > 0 {
                sender.send(0).unwrap();
            }
            let is_about_to = Arc::new(Barrier::new(2));
            let waiting = {
                let (sender, is_about_to) = (sender.clone(), Arc::clone(&is_about_to));
                thread::spawn(move || {
                    is_about_to.wait();
                    sender.send(1)
                })
            };
            is_about_to.wait();
            // The outcome does not depend on whether the sender waits already.
            thread::yield_now();
            drop(receiver);
            let sent = waiting.join().unwrap();
            assert!(matches!(sent, Err(IpcError::Disconnected)), "{what}, {bound}: {sent:?}");
            let sent = sender.try_send(&2);
            assert!(sent.is_err_and(|error| error.is_disconnected()), "{what}, {bound}");
        }
    }
}

#[test]
fn c2_rendezvous_send_blocks_until_a_receiver_waits() {
    let _watchdog = watchdog();
    for (what, (sender, receiver)) in channels(0) {
        expect_full(sender.try_send(&0), what);
        expect_full(sender.send_timeout(&0, Duration::from_millis(20)), what);
        assert!(matches!(receiver.try_recv(), Err(TryRecvError::Empty)), "{what}");
        let timed_out = receiver.try_recv_timeout(Duration::from_millis(20));
        assert!(matches!(timed_out, Err(TryRecvError::Empty)), "{what}");
        // That a receiver waited a moment ago is not enough.
        expect_full(sender.try_send(&0), what);
        let is_sent = Arc::new(AtomicBool::new(false));
        let sending = {
            let is_sent = Arc::clone(&is_sent);
            thread::spawn(move || {
                for number in 1..=100 {
                    sender.send(number).unwrap();
                    is_sent.store(true, Ordering::SeqCst);
                }
                sender
            })
        };
        thread::sleep(Duration::from_millis(30));
        assert!(!is_sent.load(Ordering::SeqCst), "{what}: sent before it was received");
        for number in 1..=100 {
            assert_eq!(receiver.recv().unwrap(), number, "{what}");
        }
        let sender = sending.join().unwrap();
        expect_full(sender.try_send(&0), what);
    }
}

#[test]
fn try_recv_completes_a_rendezvous() {
    let _watchdog = watchdog();
    for (what, (sender, receiver)) in channels(0) {
        let sending = thread::spawn(move || (0..20).for_each(|n| sender.send(n).unwrap()));
        for number in 0..20 {
            let received = loop {
                match receiver.try_recv() {
                    Ok(received) => break received,
                    Err(TryRecvError::Empty) => thread::yield_now(),
                    Err(error) => panic!("{what}: {error}"),
                }
            };
            assert_eq!(received, number, "{what}");
        }
        sending.join().unwrap();
    }
}

#[test]
fn try_send_succeeds_while_a_receiver_waits() {
    let _watchdog = watchdog();
    for (what, (sender, receiver)) in channels(0) {
        let receiving = thread::spawn(move || {
            let received: Vec<u64> = receiver.iter().take(50).collect();
            (received, receiver)
        });
        let mut met = 0;
        while met < 50 {
            match sender.try_send(&met) {
                Ok(()) => met += 1,
                Err(TrySendError::Full) => thread::yield_now(),
                Err(error) => panic!("{what}: {error}"),
            }
        }
        let (received, receiver) = receiving.join().unwrap();
        assert_eq!(received, (0..50).collect::<Vec<_>>(), "{what}");
        assert!(matches!(receiver.try_recv(), Err(TryRecvError::Empty)), "{what}");
    }
}

#[test]
fn set_receives_from_bounded_channels() {
    let _watchdog = watchdog();
    for bound in [0, 1, 3] {
        let mut set = IpcReceiverSet::new().unwrap();
        let mut threads = Vec::new();
        let ends = channels(bound);
        let count = ends.len();
        for (_, (sender, receiver)) in ends {
            set.add(receiver).unwrap();
            threads.push(thread::spawn(move || (1..=50).for_each(|n| sender.send(n).unwrap())));
        }
        let mut sum = 0;
        while !set.is_empty() {
            for result in set.select().unwrap() {
                if let IpcSelectionResult::MessageReceived(_, message) = result {
                    sum += message.to::<u64>().unwrap();
                }
            }
        }
        assert_eq!(sum, count as u64 * 50 * 51 / 2);
        threads.into_iter().for_each(|thread| thread.join().unwrap());
    }
}

/// Starts so many threads that send one number each, from 1 on, all at once.
fn crowd(sender: &IpcSyncSender<u64>, many: u64) -> Vec<thread::JoinHandle<()>> {
    let is_about_to = Arc::new(Barrier::new(many as usize));
    let threads = (1..=many).map(|number| {
        let (sender, is_about_to) = (sender.clone(), Arc::clone(&is_about_to));
        thread::spawn(move || {
            is_about_to.wait();
            sender.send(number).unwrap();
        })
    });
    threads.collect()
}

#[test]
fn set_completes_the_rendezvous_of_every_sender() {
    let _watchdog = watchdog();
    // So many that the test would exceed its watchdog if each had to send its notification
    // again. Where Windows is emulated, each wake-up takes long.
    const MANY: u64 = if cfg!(windows) { 100 } else { 500 };
    for (what, (sender, receiver)) in channels(0) {
        let threads = crowd(&sender, MANY);
        drop(sender);
        let mut set = IpcReceiverSet::new().unwrap();
        set.add(receiver).unwrap();
        let mut sum = 0;
        while !set.is_empty() {
            for result in set.select().unwrap() {
                if let IpcSelectionResult::MessageReceived(_, message) = result {
                    sum += message.to::<u64>().unwrap();
                }
            }
        }
        assert_eq!(sum, MANY * (MANY + 1) / 2, "{what}");
        threads.into_iter().for_each(|thread| thread.join().unwrap());
    }
}

/// Receives all messages on a thread of its own, until the channel is disconnected.
type Consumer = fn(IpcReceiver<u64>, mpsc::Sender<u64>) -> thread::JoinHandle<()>;

fn consumers() -> Vec<(&'static str, Consumer)> {
    vec![
        ("recv", |receiver, received| {
            thread::spawn(move || receiver.iter().for_each(|number| received.send(number).unwrap()))
        }),
        ("a set", |receiver, received| {
            thread::spawn(move || {
                let mut set = IpcReceiverSet::new().unwrap();
                set.add(receiver).unwrap();
                while !set.is_empty() {
                    for result in set.select().unwrap() {
                        if let IpcSelectionResult::MessageReceived(_, message) = result {
                            received.send(message.to().unwrap()).unwrap();
                        }
                    }
                }
            })
        }),
        ("a router", |receiver, received| {
            let (ended, end) = mpsc::channel::<()>();
            ROUTER.add_typed_route(
                receiver,
                Box::new(move |number| {
                    let _ended = &ended;
                    received.send(number.unwrap()).unwrap();
                }),
            );
            thread::spawn(move || assert!(end.recv().is_err()))
        }),
        #[cfg(feature = "async")]
        ("a stream", |receiver, received| {
            thread::spawn(move || {
                let mut stream = receiver.to_stream();
                futures_lite::future::block_on(async {
                    while let Some(number) = futures_lite::StreamExt::next(&mut stream).await {
                        received.send(number.unwrap()).unwrap();
                    }
                });
            })
        }),
    ]
}

/// However seldom the receiver waits.
#[test]
fn try_send_succeeds_with_every_way_to_receive() {
    const ATTEMPTS: usize = 100;
    let _watchdog = watchdog();
    for pause in [0, 7, 50, 170].map(Duration::from_millis) {
        for (consumer, consume) in consumers() {
            for (what, (sender, receiver)) in channels(0) {
                let (received, check) = mpsc::channel();
                let consuming = consume(receiver, received);
                for number in 0..2 {
                    // Without pauses, all attempts may be over before the receiver waits.
                    let attempts = if pause.is_zero() { usize::MAX } else { ATTEMPTS };
                    let met = (0..attempts).any(|_| {
                        thread::sleep(pause);
                        match sender.try_send(&number) {
                            Ok(()) => true,
                            Err(TrySendError::Full) => false,
                            Err(error) => panic!("{what}, {consumer}: {error}"),
                        }
                    });
                    assert!(met, "{what}, {consumer}, tried every {pause:?}");
                    assert_eq!(check.recv().unwrap(), number);
                }
                drop(sender);
                consuming.join().unwrap();
            }
        }
    }
}

/// A rendezvous needs a set that waits; a set whose wait has ended takes part in none.
#[test]
fn c2_no_rendezvous_with_a_set_whose_select_has_returned() {
    let _watchdog = watchdog();
    for (what, (sender, receiver)) in channels(0) {
        let (other_sender, other) = ipc::channel::<u64>().unwrap();
        let mut set = IpcReceiverSet::new().unwrap();
        set.add(receiver).unwrap();
        set.add(other).unwrap();
        for round in 0..5 {
            // The set gets a notification that a sender waits.
            expect_full(sender.try_send(&0), what);
            expect_full(sender.send_timeout(&0, Duration::from_millis(1)), what);
            if round % 2 == 0 {
                other_sender.send(1).unwrap();
            }
            let wait = Duration::from_millis(if round < 3 { 0 } else { 30 });
            let selected = set.try_select_timeout(wait);
            let count = selected.map_or(0, |results| results.len());
            assert_eq!(count, usize::from(round % 2 == 0), "{what}, round {round}");
            expect_full(sender.try_send(&0), what);
        }
    }
}

#[test]
fn set_with_a_constant_flow_of_messages_completes_rendezvous() {
    let _watchdog = watchdog();
    for looks in [false, true] {
        let (flood, flooded) = ipc::channel::<u64>().unwrap();
        let mut set = IpcReceiverSet::new().unwrap();
        let flooded = set.add(flooded).unwrap();
        let threads: Vec<_> = channels(0)
            .into_iter()
            .map(|(_, (sender, receiver))| {
                set.add(receiver).unwrap();
                thread::spawn(move || (0..10).for_each(|n| sender.send(n).unwrap()))
            })
            .collect();
        let mut missing = threads.len() * 10;
        while missing > 0 {
            flood.send(1).unwrap();
            let results = if looks { set.try_select().unwrap() } else { set.select().unwrap() };
            for result in results {
                match result {
                    IpcSelectionResult::MessageReceived(id, _) if id != flooded => missing -= 1,
                    _ => {}
                }
            }
        }
        threads.into_iter().for_each(|thread| thread.join().unwrap());
    }
}

#[test]
fn receiver_moves_while_senders_are_blocked() {
    let _watchdog = watchdog();
    for bound in [0, 1, 3] {
        for (what, (sender, mut receiver)) in channels(bound) {
            let sending = thread::spawn(move || (0..60).for_each(|n| sender.send(n).unwrap()));
            for number in 0..60 {
                if number % 10 == 5 {
                    receiver = through_a_channel(&receiver);
                }
                assert_eq!(receiver.recv().unwrap(), number, "{what}, {bound}");
            }
            sending.join().unwrap();
        }
    }
}

#[test]
fn failed_encoding_releases_its_permit() {
    let _watchdog = watchdog();
    let (sender, receiver) = ipc::sync_channel::<Vec<OnlySometimes>>(1).unwrap();
    for _ in 0..10 {
        assert!(sender.send(vec![OnlySometimes(false)]).is_err());
    }
    sender.try_send(&vec![OnlySometimes(true)]).unwrap();
    assert!(matches!(sender.try_send(&vec![OnlySometimes(true)]), Err(TrySendError::Full)));
    assert_eq!(receiver.recv().unwrap().len(), 1);
    sender.try_send(&vec![OnlySometimes(true)]).unwrap();
}

#[derive(Debug, serde::Deserialize)]
struct OnlySometimes(bool);

impl serde::Serialize for OnlySometimes {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if self.0 {
            serializer.serialize_newtype_struct("OnlySometimes", &true)
        } else {
            Err(serde::ser::Error::custom("not this time"))
        }
    }
}

#[test]
fn large_message_takes_one_permit() {
    let _watchdog = watchdog();
    for lazy in [false, true] {
        let options = ChannelOptions::new().lazy(lazy);
        let (sender, receiver) = options.sync_channel::<Vec<u8>>(2).unwrap();
        let large = vec![7; 3_000_000];
        sender.try_send(&large).unwrap();
        sender.try_send(&large).unwrap();
        assert!(matches!(sender.try_send(&large), Err(TrySendError::Full)));
        assert_eq!(receiver.recv().unwrap(), large);
        sender.try_send(&large).unwrap();
    }
}

#[test]
fn message_beyond_the_limit_releases_its_permit() {
    let _watchdog = watchdog();
    let mut limits = Limits::default();
    limits.message_bytes = 100;
    for (lazy, leaves) in [(false, false), (true, false), (true, true)] {
        for bound in [1, 3] {
            let options = ChannelOptions::new().lazy(lazy).limits(limits);
            let (sender, mut receiver) = options.sync_channel::<Vec<u8>>(bound).unwrap();
            for round in 0..60 {
                let len = if round % 20 == 19 { 300_000 } else { 200 };
                (0..bound).for_each(|_| sender.try_send(&vec![1; len]).unwrap());
                assert!(matches!(sender.try_send(&vec![2]), Err(TrySendError::Full)));
                if leaves && round == 3 {
                    receiver = through_a_channel(&receiver);
                }
                for _ in 0..bound {
                    assert!(matches!(receiver.recv(), Err(IpcError::SerializationError(_))));
                }
                sender.try_send(&vec![3]).unwrap();
                assert_eq!(receiver.recv().unwrap(), [3]);
            }
        }
    }
}

#[test]
fn c2_bound_holds_between_threads() {
    let _watchdog = watchdog();
    for (what, (sender, receiver)) in channels(4) {
        let (sent, received) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
        let threads: Vec<_> = (0..3)
            .map(|_| {
                let (sender, sent) = (sender.clone(), Arc::clone(&sent));
                thread::spawn(move || {
                    for n in 0..400 {
                        sender.send(n).unwrap();
                        sent.fetch_add(1, Ordering::SeqCst);
                    }
                })
            })
            .collect();
        drop(sender);
        loop {
            // Every message that was counted as sent had been sent by then.
            let waiting =
                sent.load(Ordering::SeqCst) as isize - received.load(Ordering::SeqCst) as isize;
            assert!(waiting <= 4, "{what}: {waiting}");
            match receiver.recv() {
                Ok(_) => received.fetch_add(1, Ordering::SeqCst),
                Err(_) => break,
            };
        }
        assert_eq!(received.load(Ordering::SeqCst), 1200, "{what}");
        threads.into_iter().for_each(|thread| thread.join().unwrap());
    }
}

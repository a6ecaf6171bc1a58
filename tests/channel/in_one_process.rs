//! Channels in one process: values of all kinds, disconnection, blocking calls,
//! iterators, bytes.

use std::collections::{BTreeMap, HashMap};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};
use strait::ipc::{self, ChannelOptions, IpcBytesReceiver, IpcBytesSender, IpcReceiver, IpcSender};
use strait::{IpcError, TryRecvError, mpsc as strait_mpsc};

use crate::harness::watchdog_without_children as watchdog;

const LONG: Duration = Duration::from_secs(60);

/// More than fits into one packet.
const LARGE: usize = 1_000_000;

#[track_caller]
fn expect_disconnected<T: std::fmt::Debug>(result: Result<T, IpcError>) {
    assert!(matches!(result, Err(IpcError::Disconnected)), "{result:?}");
}

#[track_caller]
fn expect_empty<T: std::fmt::Debug>(result: Result<T, TryRecvError>) {
    assert!(matches!(result, Err(TryRecvError::Empty)), "{result:?}");
}

mod values {
    use super::*;

    #[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
    enum Shape {
        Point,
        Circle(f64),
        Line(i8, i128),
        Polygon { corners: Vec<(u16, i64)>, name: Option<String> },
        Group(Vec<Shape>),
    }

    fn round_trip<T>(value: T)
    where
        T: Serialize + for<'de> Deserialize<'de> + PartialEq + std::fmt::Debug,
    {
        let (sender, receiver) = ipc::channel().unwrap();
        sender.send_ref(&value).unwrap();
        assert_eq!(receiver.recv().unwrap(), value);
    }

    #[test]
    fn of_all_kinds_arrive() {
        let _watchdog = watchdog();
        round_trip(());
        round_trip((true, false, 'ß', '\u{10ffff}'));
        round_trip((u8::MAX, u16::MAX, u32::MAX, u64::MAX, u128::MAX, usize::MAX));
        round_trip((i8::MIN, i16::MIN, i32::MIN, i64::MIN, i128::MIN, isize::MIN));
        round_trip((f32::MIN_POSITIVE, f64::INFINITY, -0.0_f64));
        round_trip((String::new(), "grüße".to_string(), Some("x".to_string()), None::<u8>));
        round_trip((Vec::<u64>::new(), vec![vec![1_u8], vec![]], [1_u32; 5]));
        round_trip(vec![(); 1000]);
        round_trip(HashMap::from([("a".to_string(), vec![1]), ("b".to_string(), vec![])]));
        round_trip(BTreeMap::from([((1, 'x'), Ok::<u8, String>(3)), ((2, 'y'), Err("no".into()))]));
        round_trip((Duration::new(5, 7), std::path::PathBuf::from("a/b"), Box::new(3), 1..9));
        round_trip(Shape::Group(vec![
            Shape::Point,
            Shape::Circle(2.5),
            Shape::Line(-1, i128::MAX),
            Shape::Polygon { corners: vec![(1, -2), (3, -4)], name: Some("two".into()) },
            Shape::Group(vec![]),
        ]));
    }

    #[test]
    fn of_any_size_arrive() {
        let _watchdog = watchdog();
        let (sender, receiver) = ipc::channel::<Vec<u8>>().unwrap();
        let packet = 64 * 1024;
        let part = 64 * 1024;
        let sizes = [0, 1, part - 1, part, packet - 57, packet - 56, packet - 55, packet, LARGE];
        let sizes = sizes.into_iter().chain([3 * part, 3_000_001]);
        let thread = thread::spawn({
            let sizes = sizes.clone();
            move || {
                for size in sizes {
                    sender.send((0..size).map(|place| (place % 251) as u8).collect()).unwrap();
                }
            }
        });
        for size in sizes {
            let value = receiver.recv().unwrap();
            assert_eq!(value.len(), size);
            assert!((0..).zip(&value).all(|(place, byte)| (place % 251) as u8 == *byte));
        }
        thread.join().unwrap();
        expect_disconnected(receiver.recv());
    }

    #[test]
    fn sent_by_reference_remain_usable() {
        let _watchdog = watchdog();
        let (sender, receiver) = ipc::channel().unwrap();
        let value = vec!["a".to_string()];
        sender.send_ref(&value).unwrap();
        sender.send(value).unwrap();
        assert_eq!(receiver.recv().unwrap(), receiver.recv().unwrap());
    }

    #[test]
    fn of_the_wrong_type_are_one_error_each() {
        let _watchdog = watchdog();
        let (sender, receiver) = ipc::channel::<(u32, String)>().unwrap();
        let bytes = sender.clone().to_opaque().to_bytes();
        for garbage in [&b""[..], b"\x01", &[0xff; 12], &[0; 1000]] {
            bytes.send(garbage).unwrap();
            sender.send((1, "good".into())).unwrap();
            let result = receiver.recv();
            assert!(matches!(result, Err(IpcError::SerializationError(_))), "{result:?}");
            assert_eq!(receiver.recv().unwrap(), (1, "good".into()));
        }
    }
}

mod disconnection {
    use super::*;

    #[test]
    fn comes_after_the_last_message() {
        let _watchdog = watchdog();
        let (sender, receiver) = ipc::channel().unwrap();
        for number in 0..100 {
            sender.send(number).unwrap();
        }
        drop(sender);
        for number in 0..100 {
            assert_eq!(receiver.recv().unwrap(), number);
        }
        for _ in 0..3 {
            expect_disconnected(receiver.recv());
            assert!(receiver.try_recv().unwrap_err().is_disconnected());
            assert!(receiver.recv_timeout(LONG).unwrap_err().is_disconnected());
        }
    }

    #[test]
    fn comes_with_the_last_clone() {
        let _watchdog = watchdog();
        let (sender, receiver) = ipc::channel::<u8>().unwrap();
        let clones = vec![sender.clone(); 3];
        drop(sender);
        for (number, clone) in (0..).zip(clones) {
            expect_empty(receiver.try_recv());
            clone.send(number).unwrap();
            assert_eq!(receiver.recv().unwrap(), number);
        }
        expect_disconnected(receiver.recv());
    }

    #[test]
    fn of_the_receiver_reaches_all_senders() {
        let _watchdog = watchdog();
        let (sender, receiver) = ipc::channel().unwrap();
        let clone = sender.clone();
        sender.send(1).unwrap();
        drop(receiver);
        expect_disconnected(sender.send(2));
        expect_disconnected(clone.send(3));
        // Also of a message of several packets.
        let (sender, receiver) = ipc::channel().unwrap();
        drop(receiver);
        expect_disconnected(sender.send(vec![1_u8; LARGE]));
    }

    #[test]
    fn wakes_a_sender_that_waits_for_room() {
        let _watchdog = watchdog();
        let (sender, receiver) = ipc::channel().unwrap();
        let (started, is_started) = mpsc::channel();
        let thread = thread::spawn(move || {
            loop {
                // Far more than a channel with limited room holds.
                if let Err(error) = sender.send(vec![0_u8; LARGE]) {
                    return error;
                }
                let _ = started.send(());
            }
        });
        receiver.recv().unwrap();
        is_started.recv().unwrap();
        drop(receiver);
        assert!(thread.join().unwrap().is_disconnected());
    }

    #[test]
    fn wakes_a_receiver_that_waits() {
        let _watchdog = watchdog();
        let (sender, receiver) = ipc::channel::<u8>().unwrap();
        let (started, is_started) = mpsc::channel();
        let thread = thread::spawn(move || {
            started.send(()).unwrap();
            receiver.recv()
        });
        is_started.recv().unwrap();
        drop(sender);
        expect_disconnected(thread.join().unwrap());
    }
}

mod waiting {
    use super::*;

    /// No timeout is truncated to milliseconds, and no call returns early.
    #[test]
    fn lasts_for_the_timeout() {
        let _watchdog = watchdog();
        let (_sender, receiver) = ipc::channel::<u8>().unwrap();
        let (_bytes_sender, bytes_receiver) = ipc::bytes_channel().unwrap();
        for nanoseconds in [0, 1, 900_000, 1_900_001, 20_300_000] {
            let timeout = Duration::from_nanos(nanoseconds);
            let start = Instant::now();
            expect_empty(receiver.try_recv_timeout(timeout));
            assert!(start.elapsed() >= timeout);
            let start = Instant::now();
            expect_empty(receiver.recv_timeout(timeout));
            assert!(start.elapsed() >= timeout);
            let start = Instant::now();
            expect_empty(bytes_receiver.try_recv_timeout(timeout));
            assert!(start.elapsed() >= timeout);
            let deadline = Instant::now() + timeout;
            expect_empty(receiver.recv_deadline(deadline));
            assert!(Instant::now() >= deadline);
            let deadline = Instant::now() + timeout;
            expect_empty(bytes_receiver.recv_deadline(deadline));
            assert!(Instant::now() >= deadline);
        }
    }

    /// Durations that no clock can add to now, or that are more milliseconds than fit an `int`.
    #[test]
    fn has_no_maximum() {
        let _watchdog = watchdog();
        let (sender, receiver) = ipc::channel::<u8>().unwrap();
        let month = Duration::from_millis(u64::from(u32::MAX));
        for timeout in [LONG, month, Duration::from_secs(u64::MAX), Duration::MAX] {
            let (started, is_started) = mpsc::channel();
            thread::scope(|scope| {
                let sender = &sender;
                scope.spawn(move || {
                    is_started.recv().unwrap();
                    sender.send(1).unwrap();
                });
                started.send(()).unwrap();
                assert_eq!(receiver.recv_timeout(timeout).unwrap(), 1);
            });
        }
    }

    #[test]
    fn is_skipped_if_there_is_a_message() {
        let _watchdog = watchdog();
        let (sender, receiver) = ipc::channel::<u8>().unwrap();
        for number in 0..3 {
            sender.send(number).unwrap();
        }
        assert_eq!(receiver.try_recv().unwrap(), 0);
        assert_eq!(receiver.recv_timeout(Duration::ZERO).unwrap(), 1);
        assert_eq!(receiver.try_recv_timeout(Duration::MAX).unwrap(), 2);
        expect_empty(receiver.try_recv());
        let now = Instant::now();
        sender.send(3).unwrap();
        assert_eq!(receiver.recv_deadline(now).unwrap(), 3);
        drop(sender);
        assert!(receiver.recv_deadline(now + LONG).unwrap_err().is_disconnected());
    }

    #[test]
    fn of_both_endpoints_alternates() {
        let _watchdog = watchdog();
        let (question, questions) = ipc::channel::<u64>().unwrap();
        let (answer, answers) = ipc::channel::<u64>().unwrap();
        let thread = thread::spawn(move || {
            for question in questions {
                answer.send(question * 2).unwrap();
            }
        });
        for number in 0..1000 {
            question.send(number).unwrap();
            assert_eq!(answers.recv().unwrap(), number * 2);
        }
        drop(question);
        thread.join().unwrap();
    }
}

mod iterators {
    use super::*;

    fn three() -> IpcReceiver<u32> {
        let (sender, receiver) = ipc::channel().unwrap();
        for number in 0..3 {
            sender.send(number).unwrap();
            sender.clone().to_opaque().to::<u8>().send(0).unwrap();
        }
        receiver
    }

    #[test]
    fn end_at_disconnection_and_skip_undecodable_messages() {
        let _watchdog = watchdog();
        assert_eq!(three().iter().collect::<Vec<_>>(), [0, 1, 2]);
        assert_eq!(three().try_iter().collect::<Vec<_>>(), [0, 1, 2]);
        assert_eq!(three().into_iter().collect::<Vec<_>>(), [0, 1, 2]);
        let receiver = three();
        let mut sum = 0;
        for number in &receiver {
            sum += number;
        }
        for number in receiver {
            sum += number;
        }
        assert_eq!(sum, 3);
    }

    #[test]
    fn with_try_iter_do_not_block() {
        let _watchdog = watchdog();
        let (sender, receiver) = ipc::channel::<u8>().unwrap();
        assert_eq!(receiver.try_iter().next(), None);
        sender.send(4).unwrap();
        let mut there = receiver.try_iter();
        assert_eq!((there.next(), there.next()), (Some(4), None));
        // An iterator that has returned `None` may continue.
        sender.send(5).unwrap();
        assert_eq!(there.next(), Some(5));
    }

    #[test]
    fn of_a_receiver_that_was_moved_are_empty() {
        let _watchdog = watchdog();
        let (carrier, _carried) = ipc::channel().unwrap();
        let receiver = three();
        carrier.send_ref(&receiver).unwrap();
        assert_eq!(receiver.iter().count(), 0);
        assert_eq!(receiver.try_iter().count(), 0);
        assert_eq!(receiver.into_iter().count(), 0);
    }
}

mod bytes {
    use super::*;

    #[test]
    fn arrive_as_they_were_sent() {
        let _watchdog = watchdog();
        let (sender, receiver) = ipc::bytes_channel().unwrap();
        let sizes = [0, 1, 16, 65_536, 65_448, 65_449, LARGE];
        let thread = thread::spawn(move || {
            for size in sizes {
                sender.send(&vec![size as u8; size]).unwrap();
            }
        });
        for size in sizes {
            let bytes = receiver.recv().unwrap();
            assert!(bytes == vec![size as u8; size], "{size}");
        }
        thread.join().unwrap();
        expect_disconnected(receiver.recv());
    }

    #[test]
    fn are_waited_for() {
        let _watchdog = watchdog();
        let (sender, receiver) = ipc::bytes_channel().unwrap();
        expect_empty(receiver.try_recv());
        sender.clone().send(b"x").unwrap();
        assert_eq!(receiver.try_recv().unwrap(), b"x");
        sender.send(b"y").unwrap();
        assert_eq!(receiver.try_recv_timeout(LONG).unwrap(), b"y");
        drop(sender);
        assert!(receiver.try_recv().unwrap_err().is_disconnected());
        assert!(receiver.try_recv_timeout(LONG).unwrap_err().is_disconnected());
    }

    #[test]
    fn are_iterated_over() {
        let _watchdog = watchdog();
        let (sender, receiver) = ipc::bytes_channel().unwrap();
        expect_empty(receiver.recv_timeout(Duration::from_millis(1)));
        sender.send(b"a").unwrap();
        sender.send(b"").unwrap();
        assert_eq!(receiver.try_iter().collect::<Vec<_>>(), [&b"a"[..], b""]);
        assert_eq!(receiver.try_iter().next(), None);
        sender.send(b"b").unwrap();
        assert_eq!(receiver.recv_timeout(LONG).unwrap(), b"b");
        sender.send(b"c").unwrap();
        sender.send(b"d").unwrap();
        drop(sender);
        assert_eq!(receiver.iter().next().unwrap(), b"c");
        assert_eq!(receiver.into_iter().collect::<Vec<_>>(), [b"d"]);
    }

    #[test]
    fn endpoints_can_be_sent() {
        let _watchdog = watchdog();
        let (carrier, carried) = ipc::channel::<(IpcBytesSender, IpcBytesReceiver)>().unwrap();
        let (sender, receiver) = ipc::bytes_channel().unwrap();
        sender.send(b"before").unwrap();
        carrier.send_ref(&(sender, receiver)).unwrap();
        let (sender, receiver) = carried.recv().unwrap();
        sender.send(b"after").unwrap();
        assert_eq!(receiver.recv().unwrap(), b"before");
        assert_eq!(receiver.recv().unwrap(), b"after");
    }
}

/// What every sender has besides `send`.
mod senders {
    use super::*;

    /// Checks that each kind of sender reports its receiver as connected, and then as dropped.
    #[track_caller]
    fn expect_end<R>(kind: &str, receiver: R, is_closed: impl Fn() -> bool) {
        assert!(!is_closed(), "{kind}");
        drop(receiver);
        // Where there are descriptors, a child process that another test is just starting has
        // copies of everything until its `exec`.
        while !is_closed() {
            thread::yield_now();
        }
    }

    #[test]
    fn is_closed_after_the_receiver_is_dropped() {
        let _watchdog = watchdog();
        let (sender, receiver) = ipc::channel::<u32>().unwrap();
        let opaque = sender.clone().to_opaque();
        sender.send(1).unwrap();
        expect_end("IpcSender", receiver, || sender.is_closed());
        assert!(sender.clone().is_closed() && opaque.is_closed());
        expect_disconnected(sender.send(1));

        let (sender, receiver) = ipc::bytes_channel().unwrap();
        expect_end("IpcBytesSender", receiver, || sender.is_closed());
        let (sender, receiver) = ipc::sync_channel::<u32>(1).unwrap();
        let opaque = sender.clone().to_opaque();
        expect_end("IpcSyncSender", receiver, || sender.is_closed() && opaque.is_closed());
        let (sender, receiver) = strait_mpsc::try_channel::<u32>().unwrap();
        expect_end("mpsc::Sender", receiver, || sender.is_closed());
        let (sender, receiver) = strait_mpsc::try_sync_channel::<u32>(0).unwrap();
        expect_end("mpsc::SyncSender", receiver, || sender.is_closed());
    }

    /// In an in-memory channel, in one that is being promoted, and in another process.
    #[test]
    fn is_closed_wherever_the_receiver_was_dropped() {
        let _watchdog = watchdog();
        let (sender, receiver) = strait_mpsc::channel::<u32>();
        expect_end("in memory", receiver, || sender.is_closed());
        let (sender, receiver) = strait_mpsc::sync_channel::<u32>(0);
        expect_end("in memory, with a bound", receiver, || sender.is_closed());

        for uses_sender in [false, true] {
            let (sender, receiver) = ChannelOptions::new().lazy(true).channel::<u32>().unwrap();
            let (carrier, carried) = ipc::channel::<IpcReceiver<u32>>().unwrap();
            carrier.send(receiver).unwrap();
            if uses_sender {
                sender.send(1).unwrap();
            }
            expect_end("in a message", carried, || sender.is_closed());
            expect_disconnected(sender.send(2));
        }
        let (sender, receiver) = ChannelOptions::new().lazy(true).channel::<u32>().unwrap();
        let (carrier, carried) = ipc::channel::<IpcSender<u32>>().unwrap();
        carrier.send(sender.clone()).unwrap();
        let arrived = carried.recv().unwrap();
        expect_end("sent away", receiver, || sender.is_closed() && arrived.is_closed());
    }

    /// While there is room, none of them blocks, and all have the same result.
    #[test]
    fn send_without_waiting() {
        let _watchdog = watchdog();
        let later = Instant::now() + LONG;
        let (sender, receiver) = ipc::channel::<String>().unwrap();
        let text = |number: usize| format!("{number}{}", "x".repeat(LARGE * (number % 2)));
        sender.try_send(&text(0)).unwrap();
        sender.try_send(&text(1)).unwrap();
        sender.send_timeout(&text(2), Duration::ZERO).unwrap();
        sender.send_timeout(&text(3), Duration::MAX).unwrap();
        sender.send_deadline(&text(4), later).unwrap();
        sender.send_deadline(&text(5), Instant::now()).unwrap();
        (0..6).for_each(|number| assert_eq!(receiver.recv().unwrap(), text(number)));
        drop(receiver);
        assert!(sender.try_send(&text(0)).unwrap_err().is_disconnected());
        assert!(sender.send_timeout(&text(0), LONG).unwrap_err().is_disconnected());

        let (sender, receiver) = ipc::bytes_channel().unwrap();
        sender.try_send(b"0").unwrap();
        sender.send_timeout(b"1", LONG).unwrap();
        sender.send_deadline(b"2", later).unwrap();
        (b'0'..b'3').for_each(|byte| assert_eq!(receiver.recv().unwrap(), [byte]));

        for (sender, receiver) in [strait_mpsc::channel(), strait_mpsc::try_channel().unwrap()] {
            sender.try_send(0).unwrap();
            sender.send_timeout(1, LONG).unwrap();
            sender.send_deadline(2, later).unwrap();
            (0..3).for_each(|number| assert_eq!(receiver.recv(), Ok(number)));
            drop(receiver);
            assert_eq!(sender.try_send(3), Err(strait_mpsc::TrySendError::Disconnected(3)));
            let gone = strait_mpsc::SendTimeoutError::Disconnected(4);
            assert_eq!(sender.send_timeout(4, LONG), Err(gone));
        }
    }

    #[test]
    fn with_a_bound_can_become_opaque() {
        let _watchdog = watchdog();
        let (sender, receiver) = ipc::sync_channel::<String>(1).unwrap();
        let (carrier, carried) = ipc::channel().unwrap();
        carrier.send(sender.to_opaque()).unwrap();
        let opaque = carried.recv().unwrap();
        let sender: ipc::IpcSyncSender<String> = ipc::OpaqueIpcSyncSender::to(opaque);
        sender.try_send(&"one".to_string()).unwrap();
        // The bound was moved along.
        assert!(sender.try_send(&"two".to_string()).unwrap_err().is_full());
        assert_eq!(receiver.recv().unwrap(), "one");
        sender.try_send(&"two".to_string()).unwrap();
        assert_eq!(receiver.recv().unwrap(), "two");
    }
}

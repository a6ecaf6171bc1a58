//! Lazy channels: they stay in memory until one of their endpoints leaves the process.

use std::thread;
use std::time::Duration;

use strait::ipc::{
    self, ChannelOptions, IpcReceiver, IpcReceiverSet, IpcSelectionResult, IpcSender, Limits,
};
use strait::router::RouterProxy;
use strait::{IpcError, TryRecvError};

#[cfg(target_os = "linux")]
use crate::harness;
use crate::harness::watchdog;

fn lazy<T>() -> (IpcSender<T>, IpcReceiver<T>)
where
    T: serde::Serialize + serde::de::DeserializeOwned,
{
    ChannelOptions::new().lazy(true).channel().unwrap()
}

fn moved<T>(value: &T) -> T
where
    T: serde::Serialize + serde::de::DeserializeOwned + Send,
{
    let (sender, receiver) = ipc::channel::<T>().unwrap();
    thread::scope(|scope| {
        // The send of a large message with handles blocks until it is received.
        let received = scope.spawn(move || receiver.recv().unwrap());
        sender.send_ref(value).unwrap();
        received.join().unwrap()
    })
}

#[cfg(target_os = "linux")]
#[test]
fn c11_channel_in_memory_has_no_descriptor() {
    harness::alone(harness::path_of(c11_channel_in_memory_has_no_descriptor), || {
        let before = harness::handles();
        let channels: Vec<_> = (0..1000).map(|_| lazy::<String>()).collect();
        for (index, (sender, receiver)) in channels.iter().enumerate() {
            sender.send(index.to_string()).unwrap();
            sender.clone().send("more".to_string()).unwrap();
            assert_eq!(receiver.recv().unwrap(), index.to_string());
            assert_eq!(receiver.try_recv().unwrap(), "more");
            assert!(matches!(receiver.try_recv(), Err(TryRecvError::Empty)));
        }
        let bounded: (ipc::IpcSyncSender<u8>, IpcReceiver<u8>) =
            ChannelOptions::new().lazy(true).sync_channel(3).unwrap();
        bounded.0.send(1).unwrap();
        let bytes = ChannelOptions::new().lazy(true).bytes_channel().unwrap();
        bytes.0.send(&[1, 2, 3]).unwrap();
        assert_eq!(bytes.1.recv().unwrap(), [1, 2, 3]);
        assert!(harness::handles_besides(&before).is_empty());
    });
}

#[test]
fn c6_each_endpoint_is_disconnected_when_the_other_is_dropped() {
    let _watchdog = watchdog();
    let (sender, receiver) = lazy::<u32>();
    let clone = sender.clone();
    sender.send(1).unwrap();
    drop(sender);
    clone.send(2).unwrap();
    drop(clone);
    assert_eq!(receiver.recv().unwrap(), 1);
    assert_eq!(receiver.recv().unwrap(), 2);
    assert!(matches!(receiver.recv(), Err(IpcError::Disconnected)));
    assert!(receiver.try_recv().is_err_and(|error| error.is_disconnected()));

    let (sender, receiver) = lazy::<u32>();
    sender.send(1).unwrap();
    drop(receiver);
    assert!(matches!(sender.send(2), Err(IpcError::Disconnected)));
    // Also those that leave now.
    assert!(matches!(moved(&sender).send(2), Err(IpcError::Disconnected)));
    assert!(matches!(sender.send(2), Err(IpcError::Disconnected)));

    let (sender, receiver) = lazy::<u32>();
    sender.send(7).unwrap();
    drop(sender);
    let receiver = moved(&receiver);
    assert_eq!(receiver.recv().unwrap(), 7);
    assert!(matches!(receiver.recv(), Err(IpcError::Disconnected)));
}

#[test]
fn blocked_receiver_is_woken_by_every_event() {
    let _watchdog = watchdog();
    for round in 0..20 {
        let (sender, receiver) = lazy::<u32>();
        let receiving = thread::spawn(move || {
            let first = receiver.recv().unwrap();
            let second = receiver.recv();
            (first, second, receiver)
        });
        if round % 2 == 0 {
            thread::sleep(Duration::from_millis(1));
        }
        sender.send(1).unwrap();
        if round % 4 < 2 {
            thread::sleep(Duration::from_millis(1));
        }
        match round % 3 {
            0 => drop(sender),
            1 => moved(&sender).send(2).unwrap(),
            _ => {
                let copy = moved(&sender);
                drop(sender);
                copy.send(2).unwrap();
            }
        }
        let (first, second, _receiver) = receiving.join().unwrap();
        assert_eq!(first, 1);
        match round % 3 {
            0 => assert!(matches!(second, Err(IpcError::Disconnected)), "{second:?}"),
            _ => assert_eq!(second.unwrap(), 2),
        }
    }
}

#[test]
fn receive_timeouts_are_kept() {
    let _watchdog = watchdog();
    let (sender, receiver) = lazy::<u32>();
    for millis in [0, 1, 30] {
        let timed_out = receiver.try_recv_timeout(Duration::from_millis(millis));
        assert!(matches!(timed_out, Err(TryRecvError::Empty)), "{timed_out:?}");
    }
    let sending = thread::spawn(move || {
        thread::sleep(Duration::from_millis(5));
        sender.send(1).unwrap();
        sender
    });
    assert_eq!(receiver.try_recv_timeout(Duration::MAX).unwrap(), 1);
    drop(sending.join().unwrap());
}

/// How the receiver receives messages that were queued when the channel was promoted.
#[test]
fn c9_messages_before_promotion_precede_those_after_it() {
    let _watchdog = watchdog();
    for pending in [0_u32, 1, 3, 1000, 20_000] {
        for taken in [0, 1, 2, 1000] {
            let (sender, mut receiver) = lazy::<(u32, Vec<u8>)>();
            let message = |number: u32| {
                let len = if number % 100 == 99 { 100_000 } else { number as usize % 50 };
                (number, vec![number as u8; len])
            };
            (0..pending).for_each(|number| sender.send(message(number)).unwrap());
            let taken = taken.min(pending);
            for number in 0..taken {
                assert_eq!(receiver.recv().unwrap(), message(number));
            }
            let copy = match pending % 2 {
                0 => Some(moved(&sender)),
                _ => None,
            };
            if taken % 2 == 0 {
                receiver = moved(&receiver);
            }
            let other = copy.unwrap_or_else(|| sender.clone());
            for number in pending..pending + 10 {
                let sender = if number % 2 == 0 { &sender } else { &other };
                sender.send(message(number)).unwrap();
            }
            drop((sender, other));
            let rest: Vec<_> = receiver.into_iter().map(|(number, _)| number).collect();
            assert_eq!(rest, (taken..pending + 10).collect::<Vec<_>>());
        }
    }
}

#[test]
fn endpoints_in_queued_messages_are_received() {
    let _watchdog = watchdog();
    let (outer, outer_receiver) = lazy::<(IpcSender<u32>, IpcReceiver<u32>)>();
    for number in 0..100 {
        let (sender, receiver) = lazy::<u32>();
        sender.send(number).unwrap();
        outer.send((sender, receiver)).unwrap();
    }
    let outer_receiver = moved(&outer_receiver);
    drop(outer);
    for (number, (sender, receiver)) in outer_receiver.into_iter().enumerate() {
        sender.send(1000).unwrap();
        drop(sender);
        assert_eq!(receiver.into_iter().collect::<Vec<_>>(), [number as u32, 1000]);
    }
    // Endpoints in messages that are not received are closed.
    let (outer, outer_receiver) = lazy::<IpcSender<u32>>();
    let (sender, receiver) = lazy::<u32>();
    outer.send(sender).unwrap();
    drop(outer_receiver);
    assert!(matches!(receiver.recv(), Err(IpcError::Disconnected)));
    // Also a sender that is in its own channel.
    let (sender, receiver) = lazy::<Option<IpcSender<()>>>();
    drop(receiver);
    drop(sender);
}

#[test]
fn c3_order_holds_while_another_thread_promotes_the_channel() {
    let _watchdog = watchdog();
    for round in 0..60 {
        let (sender, mut receiver) = lazy::<u32>();
        let senders: Vec<_> = (0..2)
            .map(|index| {
                let sender = sender.clone();
                thread::spawn(move || {
                    (0..500).for_each(|number| sender.send(index * 1000 + number).unwrap());
                })
            })
            .collect();
        let mut next = [0, 0];
        for turn in 0..1000 {
            if turn == round * 7 {
                match round % 3 {
                    0 => receiver = moved(&receiver),
                    1 => drop(moved(&sender)),
                    _ => drop((moved(&sender), moved(&sender))),
                }
            }
            let number = receiver.recv().unwrap();
            let (index, number) = ((number / 1000) as usize, number % 1000);
            assert_eq!(number, next[index]);
            next[index] += 1;
        }
        senders.into_iter().for_each(|thread| thread.join().unwrap());
    }
}

#[test]
fn receivers_can_be_added_to_sets_and_routers() {
    let _watchdog = watchdog();
    let mut set = IpcReceiverSet::new().unwrap();
    let mut sum = 0;
    let senders: Vec<_> = (0..10)
        .map(|number| {
            let (sender, receiver) = lazy::<u32>();
            sender.send(number).unwrap();
            set.add(receiver).unwrap();
            sender.send(100 * number).unwrap();
            sender
        })
        .collect();
    drop(senders);
    while !set.is_empty() {
        for result in set.select().unwrap() {
            if let IpcSelectionResult::MessageReceived(_, message) = result {
                sum += message.to::<u32>().unwrap();
            }
        }
    }
    assert_eq!(sum, 45 + 4500);

    let router = RouterProxy::new();
    let (sender, receiver) = lazy::<u32>();
    sender.send(1).unwrap();
    let routed = router.route_ipc_receiver_to_new_crossbeam_receiver(receiver);
    sender.send(2).unwrap();
    assert_eq!([routed.recv().unwrap(), routed.recv().unwrap()], [1, 2]);
    router.shutdown();
}

#[test]
fn limits_apply_to_channels_in_memory() {
    let _watchdog = watchdog();
    for leaves in [false, true] {
        limits_hold_for(leaves);
    }
}

fn limits_hold_for(leaves: bool) {
    let mut limits = Limits::default();
    limits.message_bytes = 100;
    limits.message_handles = 1;
    let options = ChannelOptions::new().lazy(true).limits(limits);
    let (sender, receiver) = options.channel::<(Vec<u8>, Vec<IpcSender<()>>)>().unwrap();
    let (unit, _unit_receiver) = ipc::channel().unwrap();
    let (other, _other_receiver) = ipc::channel().unwrap();
    sender.send((vec![0; 200], vec![])).unwrap();
    sender.send((vec![1], vec![unit.clone(), other])).unwrap();
    sender.send((vec![2], vec![unit])).unwrap();
    let receiver = if leaves { moved(&receiver) } else { receiver };
    for _ in 0..2 {
        assert!(matches!(receiver.recv(), Err(IpcError::SerializationError(_))));
    }
    assert_eq!(receiver.recv().unwrap().0, [2]);
}

#[test]
fn large_messages_are_received() {
    let _watchdog = watchdog();
    let (sender, receiver) = lazy::<Vec<u8>>();
    for len in [0, 1, 65_000, 70_000, 100 << 20] {
        sender.send(vec![9; len]).unwrap();
        assert!(receiver.recv().unwrap() == vec![9; len]);
    }
    sender.send(vec![8; 100 << 20]).unwrap();
    let receiver = moved(&receiver);
    assert!(receiver.recv().unwrap() == vec![8; 100 << 20]);
}

#[cfg(all(target_os = "linux", not(feature = "force-inprocess")))]
mod unix {
    use std::io;
    use std::os::fd::{AsFd, OwnedFd};

    use rustix::event::{PollFd, PollFlags};

    use super::*;
    use crate::harness::fork::fork;

    fn is_readable(receiver: &IpcReceiver<u32>) -> bool {
        let mut fds = [PollFd::from_borrowed_fd(receiver.as_fd(), PollFlags::IN)];
        rustix::event::poll(&mut fds, Some(&rustix::event::Timespec { tv_sec: 0, tv_nsec: 0 }))
            .unwrap()
            == 1
    }

    #[test]
    fn c8_descriptor_is_readable_for_messages_before_promotion() {
        let _watchdog = watchdog();
        let (sender, receiver) = lazy::<u32>();
        sender.send(1).unwrap();
        sender.send(2).unwrap();
        assert!(is_readable(&receiver));
        assert_eq!(receiver.try_recv().unwrap(), 1);
        assert!(is_readable(&receiver));
        assert_eq!(receiver.try_recv().unwrap(), 2);
        assert!(matches!(receiver.try_recv(), Err(TryRecvError::Empty)));
        assert!(!is_readable(&receiver));
        sender.send(3).unwrap();
        assert!(is_readable(&receiver));
        assert_eq!(receiver.try_recv().unwrap(), 3);

        let (sender, receiver) = lazy::<u32>();
        assert!(!is_readable(&receiver));
        let _ = sender.as_fd();
        sender.send(4).unwrap();
        assert!(is_readable(&receiver));
    }

    #[test]
    fn socket_can_be_taken_out_unless_messages_are_queued() {
        let (sender, receiver) = lazy::<u32>();
        sender.send(1).unwrap();
        let receiver = OwnedFd::try_from(receiver).unwrap_err();
        assert_eq!(receiver.recv().unwrap(), 1);
        let socket = OwnedFd::try_from(receiver).unwrap();
        sender.send(2).unwrap();
        assert_eq!(IpcReceiver::<u32>::try_from(socket).unwrap().recv().unwrap(), 2);
        assert!(OwnedFd::try_from(sender).is_ok());

        // A socket alone would have no permits, and no sender could send.
        let options = ChannelOptions::new().lazy(true);
        let (sender, receiver) = options.sync_channel::<u32>(1).unwrap();
        let receiver = OwnedFd::try_from(receiver).unwrap_err();
        sender.send(1).unwrap();
        assert_eq!(receiver.recv().unwrap(), 1);
    }

    #[test]
    fn forked_child_gets_unsupported_from_a_channel_in_memory() {
        harness::alone(
            harness::path_of(forked_child_gets_unsupported_from_a_channel_in_memory),
            || {
                let (sender, receiver) = lazy::<u32>();
                sender.send(1).unwrap();
                let (bounded, bounded_receiver) =
                    ChannelOptions::new().lazy(true).sync_channel::<u32>(1).unwrap();
                let is_unsupported = |error: IpcError| match error {
                    IpcError::Io(error) => error.kind() == io::ErrorKind::Unsupported,
                    _ => false,
                };
                fork(|| {
                    assert!(is_unsupported(sender.send(2).unwrap_err()));
                    assert!(is_unsupported(sender.clone().send(2).unwrap_err()));
                    assert!(is_unsupported(receiver.recv().unwrap_err()));
                    assert!(is_unsupported(bounded.send(2).unwrap_err()));
                    let (carrier, _carried) = ipc::channel::<IpcSender<u32>>().unwrap();
                    assert!(carrier.send_ref(&sender).is_err());
                    let (carrier, _carried) = ipc::channel::<IpcReceiver<u32>>().unwrap();
                    assert!(carrier.send_ref(&receiver).is_err());
                    assert!(receiver.iter().next().is_none());
                    drop((sender.clone(), bounded.clone()));
                    // Channels that the child makes itself are usable.
                    let (own, own_receiver) = lazy::<u32>();
                    own.send(5).unwrap();
                    assert_eq!(own_receiver.recv().unwrap(), 5);
                })
                .completed();
                assert_eq!(receiver.recv().unwrap(), 1);
                assert!(matches!(receiver.try_recv(), Err(TryRecvError::Empty)));
                bounded.send(3).unwrap();
                assert_eq!(bounded_receiver.recv().unwrap(), 3);
            },
        );
    }

    #[test]
    fn channel_promoted_before_a_fork_is_shared_with_the_child() {
        harness::alone(
            harness::path_of(channel_promoted_before_a_fork_is_shared_with_the_child),
            || {
                let (sender, receiver) = lazy::<u32>();
                drop(moved(&sender));
                fork(|| sender.send(2).unwrap()).completed();
                assert_eq!(receiver.recv().unwrap(), 2);
            },
        );
    }

    #[test]
    fn failed_promotion_without_descriptors_loses_nothing() {
        harness::alone(
            harness::path_of(failed_promotion_without_descriptors_loses_nothing),
            || {
                let (sender, receiver) = lazy::<u32>();
                let (carrier, carried) =
                    ipc::channel::<(IpcSender<u32>, IpcReceiver<u32>)>().unwrap();
                sender.send(1).unwrap();
                let mut set = IpcReceiverSet::new().unwrap();
                let none_left: Vec<_> =
                    std::iter::from_fn(|| std::fs::File::open("/dev/null").ok()).collect();
                let pair = (sender, receiver);
                assert!(carrier.send_ref(&pair).is_err());
                let (another, another_receiver) = lazy::<u32>();
                another.send(9).unwrap();
                assert!(set.add(another_receiver).is_err());
                let (sender, receiver) = &pair;
                sender.send(2).unwrap();
                assert_eq!([receiver.recv().unwrap(), receiver.recv().unwrap()], [1, 2]);
                sender.send(3).unwrap();
                drop(none_left);
                carrier.send(pair).unwrap();
                let (sender, receiver) = carried.recv().unwrap();
                sender.send(4).unwrap();
                assert_eq!([receiver.recv().unwrap(), receiver.recv().unwrap()], [3, 4]);
            },
        );
    }
}

//! The same sender received more than once: one sender, one handle, one order.

use std::sync::Barrier;
use std::sync::mpsc;
use std::thread;

use strait::ipc::{self, IpcReceiver, IpcSender};
use strait::{IpcError, TryRecvError};

#[cfg(all(target_os = "linux", not(feature = "force-inprocess")))]
use crate::harness;
use crate::harness::watchdog;

/// Several times as many messages as a ring needs.
const MANY: u32 = 3000;

#[track_caller]
fn expect_empty(receiver: &IpcReceiver<u32>) {
    let result = receiver.try_recv();
    assert!(matches!(result, Err(TryRecvError::Empty)), "{result:?}");
}

#[track_caller]
fn expect_disconnected(receiver: &IpcReceiver<u32>) {
    let result = receiver.recv();
    assert!(matches!(result, Err(IpcError::Disconnected)), "{result:?}");
}

/// Sends with each of the senders in turn, while another thread receives.
#[track_caller]
fn expect_order(senders: &[IpcSender<u32>], receiver: &IpcReceiver<u32>) {
    thread::scope(|scope| {
        scope.spawn(|| {
            for (number, sender) in (0..MANY).zip(senders.iter().cycle()) {
                sender.send(number).unwrap();
            }
        });
        for number in 0..MANY {
            assert_eq!(receiver.recv().unwrap(), number);
        }
    });
}

#[test]
fn the_last_one_disconnects() {
    let _watchdog = watchdog();
    let (sender, receiver) = ipc::channel::<u32>().unwrap();
    let (carrier, carried) = ipc::channel().unwrap();
    let mut senders = Vec::new();
    for _ in 0..10 {
        carrier.send_ref(&sender).unwrap();
        senders.push(carried.recv().unwrap());
    }
    drop(sender);
    while let Some(sender) = senders.pop() {
        expect_empty(&receiver);
        sender.send(1).unwrap();
        assert_eq!(receiver.recv().unwrap(), 1);
    }
    expect_disconnected(&receiver);
    // Also if the last duplicate was in a message.
    let (sender, receiver) = ipc::channel::<u32>().unwrap();
    carrier.send_ref(&vec![sender.clone(), sender.clone()][0]).unwrap();
    drop(sender);
    expect_empty(&receiver);
    let sender = carried.recv().unwrap();
    sender.send(1).unwrap();
    drop(sender);
    assert_eq!(receiver.recv().unwrap(), 1);
    expect_disconnected(&receiver);
}

#[test]
fn keep_one_order() {
    let _watchdog = watchdog();
    let (sender, receiver) = ipc::channel::<u32>().unwrap();
    let (carrier, carried) = ipc::channel::<IpcSender<u32>>().unwrap();
    carrier.send_ref(&sender).unwrap();
    carrier.send(sender).unwrap();
    let senders = [carried.recv().unwrap(), carried.recv().unwrap()];
    expect_order(&senders, &receiver);
    drop(senders);
    expect_disconnected(&receiver);
}

#[test]
fn of_one_message_equal_the_sent_ones() {
    let _watchdog = watchdog();
    let (carrier, carried) = ipc::channel::<Vec<IpcSender<u32>>>().unwrap();
    let channels: Vec<_> = (0..50).map(|_| ipc::channel::<u32>().unwrap()).collect();
    // Each sender several times, side by side and far apart.
    let order: Vec<usize> = (0..400).map(|place| (place * place / 3) % channels.len()).collect();
    let senders = order.iter().map(|&index| channels[index].0.clone()).collect::<Vec<_>>();
    carrier.send(senders).unwrap();
    let (_, receivers): (Vec<_>, Vec<_>) = channels.into_iter().unzip();
    let senders = carried.recv().unwrap();
    for (place, sender) in senders.iter().enumerate() {
        sender.send(place as u32).unwrap();
    }
    drop(senders);
    for (index, receiver) in receivers.iter().enumerate() {
        for place in (0..order.len()).filter(|&place| order[place] == index) {
            assert_eq!(receiver.recv().unwrap(), place as u32);
        }
        expect_disconnected(receiver);
    }
}

/// Senders that are created and dropped while a message is encoded are told apart.
#[test]
fn differ_from_senders_received_earlier() {
    use serde::ser::SerializeTuple;
    use serde::{Deserialize, Serialize, Serializer};
    use std::cell::RefCell;

    thread_local! {
        static RECEIVERS: RefCell<Vec<IpcReceiver<u32>>> = const { RefCell::new(Vec::new()) };
    }

    #[derive(Debug, Deserialize)]
    struct Passing([IpcSender<u32>; 8]);

    impl Serialize for Passing {
        fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
            let mut tuple = serializer.serialize_tuple(8)?;
            for _ in 0..8 {
                let (sender, receiver) = ipc::channel::<u32>().unwrap();
                tuple.serialize_element(&sender)?;
                RECEIVERS.with_borrow_mut(|receivers| receivers.push(receiver));
            }
            tuple.end()
        }
    }

    let _watchdog = watchdog();
    let (carrier, carried) = ipc::channel::<Passing>().unwrap();
    let unused = [(); 8].map(|()| ipc::channel().unwrap().0);
    carrier.send(Passing(unused)).unwrap();
    let Passing(senders) = carried.recv().unwrap();
    for (number, sender) in senders.into_iter().enumerate() {
        sender.send(number as u32).unwrap();
    }
    for (number, receiver) in RECEIVERS.take().iter().enumerate() {
        assert_eq!(receiver.recv().unwrap(), number as u32);
        expect_disconnected(receiver);
    }
}

/// A message that is not sent gives its receivers back, whatever senders are in it.
#[test]
fn of_a_failed_send_stay() {
    type Message = (Vec<IpcSender<u32>>, IpcReceiver<u32>, Vec<IpcSender<u32>>);

    let _watchdog = watchdog();
    let (carrier, carried) = ipc::channel::<Message>().unwrap();
    drop(carried);
    let (sender, receiver) = ipc::channel::<u32>().unwrap();
    let message = (vec![sender.clone(); 3], receiver, vec![sender.clone(); 3]);
    carrier.send_ref(&message).unwrap_err();
    let (before, receiver, after) = message;
    expect_order(&[&before[..], &after[..]].concat(), &receiver);
    drop((sender, before, after));
    expect_disconnected(&receiver);
}

/// While a duplicate is dropped, others of the same channel are received.
#[test]
fn arrive_while_they_are_dropped() {
    let _watchdog = watchdog();
    const THREADS: usize = 4;
    const ROUNDS: u32 = 500;

    let (sender, receiver) = ipc::channel::<u32>().unwrap();
    let start = Barrier::new(THREADS);
    thread::scope(|scope| {
        for _ in 0..THREADS {
            scope.spawn(|| {
                let (carrier, carried) = ipc::channel::<IpcSender<u32>>().unwrap();
                let mut own = sender.clone();
                start.wait();
                for round in 0..ROUNDS {
                    carrier.send(own).unwrap();
                    own = carried.recv().unwrap();
                    own.send(round).unwrap();
                }
            });
        }
    });
    drop(sender);
    let mut received: Vec<u32> = receiver.iter().collect();
    received.sort_unstable();
    let expected: Vec<u32> =
        (0..ROUNDS).flat_map(|round| std::iter::repeat_n(round, THREADS)).collect();
    assert_eq!(received, expected);
}

/// The last sender of this process is dropped at the moment in which another is received.
#[test]
fn arrive_when_the_last_one_is_dropped() {
    let _watchdog = watchdog();
    let (drops, to_drop) = mpsc::channel::<IpcSender<u32>>();
    let (carrier, carried) = ipc::channel::<IpcSender<u32>>().unwrap();
    thread::scope(|scope| {
        scope.spawn(move || to_drop.into_iter().for_each(drop));
        for _ in 0..2000 {
            let (sender, receiver) = ipc::channel::<u32>().unwrap();
            carrier.send_ref(&sender).unwrap();
            carrier.send_ref(&sender).unwrap();
            drops.send(sender).unwrap();
            let first = carried.recv().unwrap();
            first.send(1).unwrap();
            drops.send(first).unwrap();
            let second = carried.recv().unwrap();
            second.send(2).unwrap();
            assert_eq!((receiver.recv().unwrap(), receiver.recv().unwrap()), (1, 2));
            drop(second);
            expect_disconnected(&receiver);
        }
        drop(drops);
    });
}

/// What file descriptors alone can show.
#[cfg(all(target_os = "linux", not(feature = "force-inprocess")))]
mod descriptors {
    use std::mem::MaybeUninit;
    use std::os::fd::{AsFd, OwnedFd};

    use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags};

    use strait::ipc::IpcSyncSender;

    use super::*;
    use crate::harness::fork::fork;
    use crate::harness::{alone, handles, handles_besides};

    /// A process that sends senders of one channel, and receives from it until it is
    /// disconnected.
    fn sends(
        send: impl FnOnce(IpcSender<u32>, IpcSender<Vec<IpcSender<u32>>>),
        receive: impl FnOnce(Vec<Vec<IpcSender<u32>>>),
    ) {
        let (carrier, carried) = ipc::channel().unwrap();
        // Parent and child each drop their own.
        let mut carrier = Some(carrier);
        let child = fork(|| {
            let (sender, receiver) = ipc::channel().unwrap();
            send(sender, carrier.take().unwrap());
            let received: Vec<u32> = receiver.iter().collect();
            assert_eq!(received, (0..MANY).collect::<Vec<_>>());
        });
        drop(carrier);
        receive(carried.iter().collect());
        child.completed();
    }

    #[test]
    fn of_a_thousand_messages_have_one_handle() {
        alone(harness::path_of(of_a_thousand_messages_have_one_handle), || {
            let before = handles();
            let send = |sender: IpcSender<u32>, carrier: IpcSender<_>| {
                for _ in 0..1000 {
                    carrier.send(vec![sender.clone()]).unwrap();
                }
            };
            sends(send, |arrived| {
                let senders = arrived.concat();
                assert_eq!(senders.len(), 1000);
                let new = handles_besides(&before);
                // Theirs, and the receiver that they came by.
                assert_eq!(new.len(), 2, "{new:#?}");
                assert!(new.iter().all(|handle| handle.closes_on_exec));
                for (number, sender) in (0..MANY).zip(senders.iter().cycle()) {
                    sender.send(number).unwrap();
                }
            });
            assert_eq!(handles(), before);
        });
    }

    #[test]
    fn of_one_message_have_one_handle() {
        alone(harness::path_of(of_one_message_have_one_handle), || {
            let before = handles();
            let send = |sender: IpcSender<u32>, carrier: IpcSender<_>| {
                carrier.send(vec![sender; 10_000]).unwrap();
            };
            sends(send, |arrived| {
                assert_eq!(arrived[0].len(), 10_000);
                let new = handles_besides(&before);
                assert_eq!(new.len(), 2, "{new:#?}");
                for (number, sender) in (0..MANY).zip(arrived[0].iter().rev()) {
                    sender.send(number).unwrap();
                }
            });
            assert_eq!(handles(), before);
        });
    }

    /// Senders of a bounded channel have a second handle, for their permits.
    #[test]
    fn of_a_bounded_channel_have_two_handles() {
        alone(harness::path_of(of_a_bounded_channel_have_two_handles), || {
            let before = handles();
            type Senders = Vec<IpcSyncSender<u32>>;
            let (carrier, carried) = ipc::channel::<Senders>().unwrap();
            let mut carrier = Some(carrier);
            let child = fork(|| {
                let carrier = carrier.take().unwrap();
                let (sender, receiver) = ipc::sync_channel(10).unwrap();
                for _ in 0..20 {
                    carrier.send(vec![sender.clone(); 10_000]).unwrap();
                }
                drop((carrier, sender));
                assert_eq!(receiver.into_iter().count(), 20);
            });
            drop(carrier);
            let arrived: Vec<Senders> = carried.iter().collect();
            assert_eq!(arrived.len(), 20);
            // The channel that they came by, and theirs.
            let new = handles_besides(&before);
            assert_eq!(new.len(), 3, "{new:#?}");
            for senders in &arrived {
                assert_eq!(senders.len(), 10_000);
                senders[9_999].send(1).unwrap();
            }
            drop((arrived, carried));
            child.completed();
            assert_eq!(handles(), before);
        });
    }

    /// Senders of many channels, each several times, in several messages.
    #[test]
    fn of_many_channels_have_one_handle_each() {
        alone(harness::path_of(of_many_channels_have_one_handle_each), || {
            let before = handles();
            let (carrier, carried) = ipc::channel::<Vec<IpcSender<u32>>>().unwrap();
            let mut carrier = Some(carrier);
            let child = fork(|| {
                let carrier = carrier.take().unwrap();
                let channels: Vec<_> = (0..30).map(|_| ipc::channel().unwrap()).collect();
                for turn in 0..20 {
                    let senders = (0..100).map(|place| channels[place * turn % 30].0.clone());
                    carrier.send(senders.collect()).unwrap();
                }
                drop(carrier);
                for (sender, receiver) in channels {
                    drop(sender);
                    while receiver.recv().is_ok() {}
                }
            });
            drop(carrier);
            let arrived: Vec<_> = carried.iter().collect();
            assert_eq!(handles_besides(&before).len(), 30 + 1);
            // One duplicate keeps a channel connected, and the drop of the last one
            // disconnects it.
            let kept: Vec<_> = arrived.iter().flatten().step_by(7).cloned().collect();
            drop(arrived);
            assert_eq!(handles_besides(&before).len(), 30 + 1);
            drop(kept);
            drop(carried);
            child.completed();
            assert_eq!(handles(), before);
        });
    }

    /// One file descriptor in one packet.
    #[test]
    fn of_one_message_are_one_handle_in_flight() {
        let _watchdog = watchdog();
        let (carrier, carried) = ipc::channel::<Vec<IpcSender<u32>>>().unwrap();
        let (sender, receiver) = ipc::channel::<u32>().unwrap();
        carrier.send(vec![sender; 10_000]).unwrap();
        let socket: OwnedFd = carried.try_into().unwrap();
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(253))];
        let mut control = RecvAncillaryBuffer::new(&mut space);
        let mut bytes = vec![0; 100_000];
        let packet = &mut [std::io::IoSliceMut::new(&mut bytes)];
        let received =
            rustix::net::recvmsg(&socket, packet, &mut control, RecvFlags::empty()).unwrap();
        // A header, the numbers of the senders, and a table of one.
        assert_eq!(received.bytes, 16 + 8 + 4 * 10_000 + 24);
        let fds: Vec<OwnedFd> = control
            .drain()
            .flat_map(|message| match message {
                RecvAncillaryMessage::ScmRights(fds) => fds.collect(),
                _ => Vec::new(),
            })
            .collect();
        assert_eq!(fds.len(), 1);
        drop(fds);
        expect_disconnected(&receiver);
    }

    #[test]
    fn returned_to_their_process_share_the_handle() {
        alone(harness::path_of(returned_to_their_process_share_the_handle), || {
            let (there, here) = ipc::channel::<IpcSender<u32>>().unwrap();
            let (away, elsewhere) = ipc::channel::<IpcSender<u32>>().unwrap();
            let mut away = Some(away);
            let child = fork(|| {
                away = None;
                for sender in elsewhere.iter() {
                    there.send(sender).unwrap();
                }
            });
            drop((there, elsewhere));
            let away = away.unwrap();
            let (sender, receiver) = ipc::channel::<u32>().unwrap();
            let before = handles();
            let mut senders = vec![sender];
            for _ in 0..100 {
                away.send_ref(senders.last().unwrap()).unwrap();
                senders.push(here.recv().unwrap());
            }
            assert_eq!(handles(), before);
            assert!(senders.iter().all(|sender| {
                use std::os::fd::AsRawFd;
                sender.as_raw_fd() == senders[0].as_raw_fd()
            }));
            drop(away);
            child.completed();
            expect_order(&senders, &receiver);
            drop(senders);
            expect_disconnected(&receiver);
        });
    }

    /// A sender made of a file descriptor keeps that file descriptor.
    #[test]
    fn made_of_a_descriptor_keep_it() {
        use std::os::fd::AsRawFd;

        let _watchdog = watchdog();
        let (sender, receiver) = ipc::channel::<u32>().unwrap();
        let (carrier, carried) = ipc::channel().unwrap();
        carrier.send_ref(&sender).unwrap();
        let fd: OwnedFd = sender.clone().try_into().unwrap();
        let number = fd.as_raw_fd();
        let made = IpcSender::<u32>::try_from(fd).unwrap();
        assert_eq!(made.as_fd().as_raw_fd(), number);
        // It is not the sender that is known already, which is dropped first.
        carrier.send_ref(&made).unwrap();
        drop(sender);
        let arrived: [IpcSender<u32>; 2] = [carried.recv().unwrap(), carried.recv().unwrap()];
        expect_order(&arrived, &receiver);
        drop((arrived, made));
        expect_disconnected(&receiver);
    }

    /// A forked child has its parent's senders, and recognises only those that it has
    /// received itself.
    #[test]
    fn are_known_anew_after_a_fork() {
        alone(harness::path_of(are_known_anew_after_a_fork), || {
            let (sender, receiver) = ipc::channel::<u32>().unwrap();
            let (carrier, carried) = ipc::channel::<IpcSender<u32>>().unwrap();
            carrier.send_ref(&sender).unwrap();
            let arrived = carried.recv().unwrap();
            for _ in 0..3 {
                carrier.send_ref(&arrived).unwrap();
            }
            let child = fork(|| {
                let before = handles().len();
                let senders = [carried.recv().unwrap(), carried.recv().unwrap()];
                assert_eq!(handles().len(), before + 1);
                // The parent's senders are dropped first, which does not affect those of
                // the child.
                drop((sender.clone(), arrived.clone()));
                let third = carried.recv().unwrap();
                assert_eq!(handles().len(), before + 1);
                third.send(1).unwrap();
                drop(senders);
                third.send(2).unwrap();
                drop(third);
                assert_eq!(handles().len(), before);
                // From here it is known as the one that is here.
                carrier.send_ref(&sender).unwrap();
                let home = carried.recv().unwrap();
                assert_eq!(handles().len(), before);
                home.send(3).unwrap();
            });
            child.completed();
            for number in 1..=3 {
                assert_eq!(receiver.recv().unwrap(), number);
            }
            let before = handles();
            carrier.send_ref(&sender).unwrap();
            let home = carried.recv().unwrap();
            assert_eq!(handles(), before);
            drop((sender, arrived, home));
            expect_disconnected(&receiver);
        });
    }

    /// Many threads that receive the same sender share one file descriptor.
    #[test]
    fn of_many_threads_have_one_handle() {
        const THREADS: usize = 4;

        alone(harness::path_of(of_many_threads_have_one_handle), || {
            let (sender, receiver) = ipc::channel::<u32>().unwrap();
            let carriers: Vec<_> =
                (0..THREADS).map(|_| ipc::channel::<IpcSender<u32>>().unwrap()).collect();
            // So that this process does not know it when it arrives.
            let child = fork(|| {
                for (carrier, _) in &carriers {
                    for _ in 0..100 {
                        carrier.send_ref(&sender).unwrap();
                    }
                }
            });
            child.completed();
            drop(sender);
            let before = handles();
            let start = Barrier::new(THREADS);
            let (kept, senders): (Vec<_>, Vec<_>) = thread::scope(|scope| {
                let start = &start;
                let receive = |(carrier, carried): (_, IpcReceiver<_>)| {
                    scope.spawn(move || {
                        start.wait();
                        let senders: Vec<_> = (0..100).map(|_| carried.recv().unwrap()).collect();
                        ((carrier, carried), senders)
                    })
                };
                let threads: Vec<_> = carriers.into_iter().map(receive).collect();
                threads.into_iter().map(|thread| thread.join().unwrap()).unzip()
            });
            assert_eq!(handles().len(), before.len() + 1);
            drop(kept);
            let senders: Vec<_> = senders.into_iter().flatten().collect();
            expect_order(&senders, &receiver);
            drop(senders);
            expect_disconnected(&receiver);
        });
    }
}

//! Forked children that use, poll or drop what they have inherited.

use super::*;

/// Runs `body` in a forked child and waits for it.
fn in_a_fork(body: impl FnOnce()) {
    fork(body).completed();
}

#[test]
fn a_forked_child_uses_inherited_endpoints() {
    harness::alone(harness::path_of(a_forked_child_uses_inherited_endpoints), || {
        let (to_child, from_parent) = ipc::channel::<String>().unwrap();
        let (to_parent, from_child) = ipc::channel::<(u32, String, IpcSender<u32>)>().unwrap();
        let memory = IpcSharedMemory::try_from_bytes(b"inherited").unwrap();
        // From here on, both processes use buffers for a second time.
        to_child.send("before".to_string()).unwrap();
        let child = fork(|| {
            assert_eq!(from_parent.recv().unwrap(), "before");
            assert_eq!(from_parent.recv().unwrap(), "after");
            assert_eq!(&*memory, b"inherited");
            let (sender, receiver) = ipc::channel().unwrap();
            for number in 0..20 {
                to_parent.send((number, "child".repeat(100_000), sender.clone())).unwrap();
            }
            drop(sender);
            assert_eq!(receiver.iter().sum::<u32>(), 190);
        });
        to_child.send("after".to_string()).unwrap();
        drop(to_parent);
        for expected in 0..20 {
            let (number, text, reply) = from_child.recv().unwrap();
            assert_eq!(number, expected);
            assert!(text == "child".repeat(100_000));
            reply.send(number).unwrap();
        }
        assert!(from_child.recv().unwrap_err().is_disconnected());
        child.completed();
    });
}

/// The child continues with the receiver that its parent polled, as a daemon does; or it
/// drops its copy.
#[test]
fn a_forked_child_polls_an_inherited_receiver() {
    harness::alone(harness::path_of(a_forked_child_polls_an_inherited_receiver), || {
        let is_readable = |receiver: &IpcReceiver<u32>| {
            let mut fds = [PollFd::from_borrowed_fd(receiver.as_fd(), PollFlags::IN)];
            rustix::event::poll(&mut fds, Some(&Timespec::default())).unwrap() > 0
        };
        let (sender, receiver) = ipc::channel::<u32>().unwrap();
        let receive_all = |receiver: &IpcReceiver<u32>| {
            for round in 0..20 {
                (0..100).for_each(|number| sender.send(number).unwrap());
                for expected in 0..100 {
                    assert!(is_readable(receiver), "{expected} in round {round}");
                    assert_eq!(receiver.try_recv().unwrap(), expected);
                }
                let in_vain = (0..9).take_while(|_| is_readable(receiver));
                let in_vain = in_vain.filter(|_| receiver.try_recv().is_err()).count();
                assert!(in_vain <= 1, "{in_vain}");
            }
        };
        receiver.as_fd();
        in_a_fork(|| receive_all(&receiver));
        let (sender, receiver) = ipc::channel::<u32>().unwrap();
        let number = receiver.as_raw_fd();
        let mut receiver = Some(receiver);
        in_a_fork(|| drop(receiver.take()));
        let receiver = receiver.unwrap();
        for number in 0..1000 {
            sender.send(number).unwrap();
            assert!(is_readable(&receiver));
            assert_eq!(receiver.try_recv().unwrap(), number);
        }
        in_a_fork(|| assert_eq!(receiver.as_raw_fd(), number));
        sender.send(7).unwrap();
        assert!(is_readable(&receiver));
        assert_eq!(receiver.try_recv().unwrap(), 7);
    });
}

/// Large messages of a parent and its children interleave; no part of one gets into another.
#[test]
fn large_messages_of_parent_and_forked_children_do_not_mix() {
    harness::alone(
        harness::path_of(large_messages_of_parent_and_forked_children_do_not_mix),
        || {
            let (sender, receiver) = ipc::channel::<String>().unwrap();
            // Uses the source of message ids before the fork.
            let (warm_up, warmed_up) = ipc::channel::<String>().unwrap();
            let warming_up = fork(|| assert_eq!(warmed_up.recv().unwrap().len(), 300_000));
            warm_up.send("w".repeat(300_000)).unwrap();
            warming_up.completed();
            let send = |name: &str| {
                for _ in 0..10 {
                    sender.send(name.repeat(1_000_000)).unwrap();
                }
            };
            let children = [fork(|| send("a")), fork(|| send("b"))];
            let receiving = fork(|| {
                let mut counts = [0; 3];
                for _ in 0..30 {
                    let text = receiver.recv().unwrap();
                    let name = text.as_bytes()[0];
                    assert!(text == (name as char).to_string().repeat(1_000_000));
                    counts[usize::from(name - b'a')] += 1;
                }
                assert_eq!(counts, [10; 3]);
            });
            send("c");
            children.into_iter().for_each(Fork::completed);
            receiving.completed();
        },
    );
}

#[test]
fn the_router_works_anew_in_a_forked_child() {
    harness::alone(harness::path_of(the_router_works_anew_in_a_forked_child), || {
        let (sender, receiver) = ipc::channel::<u32>().unwrap();
        let routed = ROUTER.route_ipc_receiver_to_new_crossbeam_receiver(receiver);
        sender.send(1).unwrap();
        assert_eq!(routed.recv().unwrap(), 1);
        in_a_fork(|| {
            for number in 0..3 {
                let (sender, receiver) = ipc::channel::<u32>().unwrap();
                let routed = ROUTER.route_ipc_receiver_to_new_crossbeam_receiver(receiver);
                sender.send(number).unwrap();
                assert_eq!(routed.recv().unwrap(), number);
            }
            // Into the parent's route.
            sender.send(2).unwrap();
            ROUTER.shutdown();
        });
        assert_eq!(routed.recv().unwrap(), 2);
        sender.send(3).unwrap();
        assert_eq!(routed.recv().unwrap(), 3);
        // A child that shuts its router down does not affect the parent's.
        in_a_fork(|| ROUTER.shutdown());
        sender.send(4).unwrap();
        assert_eq!(routed.recv().unwrap(), 4);
    });
}

#[test]
fn a_forked_child_leaves_the_name_of_a_server_alone() {
    harness::alone(harness::path_of(a_forked_child_leaves_the_name_of_a_server_alone), || {
        let (server, name) = IpcOneShotServer::<u32>::new().unwrap();
        let mut inherited = Some(server);
        in_a_fork(|| drop(inherited.take()));
        let server = inherited.unwrap();
        IpcSender::connect(name.clone()).unwrap().send(1).unwrap();
        assert_eq!(server.accept().unwrap().1, 1);
        assert!(IpcSender::<u32>::connect(name).is_err());
    });
}

/// Whichever process forked it, and whatever its process id is.
#[test]
fn a_forked_child_is_known_to_be_another_process() {
    harness::alone(harness::path_of(a_forked_child_is_known_to_be_another_process), || {
        let mark = fork_generation();
        assert_eq!(fork_generation(), mark);
        assert_eq!(thread::spawn(fork_generation).join().unwrap(), mark);
        in_a_fork(|| {
            let child = fork_generation();
            assert_ne!(child, mark);
            assert_eq!(fork_generation(), child);
            in_a_fork(|| assert!(![mark, child].contains(&fork_generation())));
            assert_eq!(fork_generation(), child);
        });
        // By a system call that libc knows nothing of.
        // SAFETY: as for `fork`, which this is with other arguments; the child ends by `_exit`.
        let pid = unsafe { libc::syscall(libc::SYS_clone, libc::SIGCHLD, 0, 0, 0, 0) };
        assert!(pid >= 0);
        if pid == 0 {
            let code = if fork_generation() == mark { 1 } else { 7 };
            // SAFETY: it has no conditions.
            unsafe { libc::_exit(code) };
        }
        Fork(Pid::from_raw(pid as i32).unwrap()).completed();
        assert_eq!(fork_generation(), mark);
    });
}

/// The thread that polls streams does not exist in the child, and may have held a lock.
#[cfg(feature = "async")]
#[test]
fn a_forked_child_drops_the_streams_of_its_parent() {
    use std::pin::Pin;
    use std::task::{Context, Poll, Waker};

    use futures_core::Stream;

    harness::alone(harness::path_of(a_forked_child_drops_the_streams_of_its_parent), || {
        let (busy_sender, busy_receiver) = ipc::channel::<u32>().unwrap();
        let mut busy = busy_receiver.to_stream();
        let mut cx = Context::from_waker(Waker::noop());
        // Keeps the thread busy.
        thread::spawn(move || while busy_sender.send(1).is_ok() {});
        for _ in 0..100 {
            let (sender, receiver) = ipc::channel::<u32>().unwrap();
            let mut stream = receiver.to_stream();
            assert!(Pin::new(&mut stream).poll_next(&mut cx).is_pending());
            let mut inherited = Some(stream);
            let child = fork(|| drop(inherited.take()));
            // Does not receive until the channel is empty: messages arrive faster than they
            // are received.
            for _ in 0..300 {
                if let Poll::Ready(Some(item)) = Pin::new(&mut busy).poll_next(&mut cx) {
                    assert_eq!(item.unwrap(), 1);
                }
            }
            child.completed();
            // The parent's stream still works.
            sender.send(2).unwrap();
            let mut stream = inherited.unwrap();
            let item = Pin::new(&mut stream).poll_next(&mut cx);
            assert!(matches!(item, Poll::Ready(Some(Ok(2)))));
        }
    });
}

#[test]
fn a_set_of_the_parent_is_not_disturbed_by_a_forked_child() {
    harness::alone(
        harness::path_of(a_set_of_the_parent_is_not_disturbed_by_a_forked_child),
        || {
            let mut set = IpcReceiverSet::new().unwrap();
            let (sender, receiver) = ipc::channel::<u32>().unwrap();
            let id = set.add(receiver).unwrap();
            let mut inherited = Some(set);
            in_a_fork(|| drop(inherited.take()));
            let mut set = inherited.unwrap();
            sender.send(1).unwrap();
            let (from, message) = set.select().unwrap().remove(0).unwrap();
            assert_eq!((from, message.to::<u32>().unwrap()), (id, 1));
            drop(sender);
            set.select().unwrap();
            assert!(set.is_empty());
        },
    );
}

#[cfg(feature = "async")]
#[test]
fn streams_work_anew_in_a_forked_child() {
    use futures_lite::StreamExt;
    use futures_lite::future::block_on;

    harness::alone(harness::path_of(streams_work_anew_in_a_forked_child), || {
        let (sender, receiver) = ipc::channel::<u32>().unwrap();
        let mut stream = Some(receiver.to_stream());
        sender.send(1).unwrap();
        assert_eq!(block_on(stream.as_mut().unwrap().next()).unwrap().unwrap(), 1);
        in_a_fork(|| {
            // The child drops its copy, which does not affect the parent's.
            drop(stream.take());
            let (sender, receiver) = ipc::channel::<u32>().unwrap();
            let mut stream = receiver.to_stream();
            let sending = thread::spawn(move || {
                for number in 0..10 {
                    sender.send(number).unwrap();
                    thread::yield_now();
                }
            });
            for number in 0..10 {
                assert_eq!(block_on(stream.next()).unwrap().unwrap(), number);
            }
            assert!(block_on(stream.next()).is_none());
            sending.join().unwrap();
        });
        let mut stream = stream.unwrap();
        let sending = thread::spawn(move || sender.send(2).unwrap());
        assert_eq!(block_on(stream.next()).unwrap().unwrap(), 2);
        assert!(block_on(stream.next()).is_none());
        sending.join().unwrap();
    });
}

/// The child has copies of all endpoints, so disconnection comes when it has dropped them, too.
#[test]
fn c6_channel_stays_connected_while_a_forked_child_has_a_sender() {
    harness::alone(
        harness::path_of(c6_channel_stays_connected_while_a_forked_child_has_a_sender),
        || {
            let (sender, receiver) = ipc::channel::<u32>().unwrap();
            let (go, wait_for_go) = ipc::channel::<()>().unwrap();
            let child = fork(|| {
                wait_for_go.recv().unwrap();
                sender.send(1).unwrap();
            });
            drop(sender);
            assert!(receiver.recv_timeout(Duration::from_millis(20)).unwrap_err().is_empty());
            go.send(()).unwrap();
            assert_eq!(receiver.recv().unwrap(), 1);
            assert!(receiver.recv().unwrap_err().is_disconnected());
            child.completed();
        },
    );
}

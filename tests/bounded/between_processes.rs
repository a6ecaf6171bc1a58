//! Bounded channels between processes: C2.

use std::os::fd::OwnedFd;

use rustix::event::{PollFd, PollFlags};
use rustix::io::Errno;
use strait::ipc::{IpcOneShotServer, IpcSender};

use super::*;
use harness::sandbox::forbid;
use harness::{child, child_main, raw};

const LONG: Duration = Duration::from_secs(60);

/// Connects to the parent process and receives a value from it.
fn from_parent<T>(name: &str) -> T
where
    T: serde::Serialize + serde::de::DeserializeOwned,
{
    let (to_me, receiver) = ipc::channel().unwrap();
    IpcSender::connect(name.to_string()).unwrap().send(to_me).unwrap();
    receiver.recv().unwrap()
}

/// Starts a child that runs `function`, and sends it a value.
fn with_child<T>(function: &str, value: T) -> harness::Child
where
    T: serde::Serialize + serde::de::DeserializeOwned,
{
    let (server, name) = IpcOneShotServer::<IpcSender<T>>::new().unwrap();
    let child = child(function, &[&name]);
    let (_, to_child) = server.accept().unwrap();
    to_child.send(value).unwrap();
    child
}

#[test]
fn sending_child() {
    child_main(|arguments| {
        let sender: IpcSyncSender<u64> = from_parent(&arguments[0]);
        for number in 0..2000 {
            sender.send(number).unwrap();
        }
    });
}

#[test]
fn c2_bound_holds_for_senders_in_several_processes() {
    let _watchdog = watchdog();
    for bound in [0, 1, 5] {
        let (sender, receiver) = ipc::sync_channel::<u64>(bound).unwrap();
        let children =
            [(); 2].map(|()| with_child(harness::path_of(sending_child), sender.clone()));
        drop(sender);
        assert_eq!(receiver.iter().sum::<u64>(), 2 * 1999 * 2000 / 2, "{bound}");
        children.into_iter().for_each(harness::Child::completed);
    }
}

#[test]
fn filling_child() {
    child_main(|arguments| {
        let (sender, told): (IpcSyncSender<u64>, IpcSender<u64>) = from_parent(&arguments[0]);
        let mut sent = 0;
        while sender.try_send(&sent).is_ok() {
            sent += 1;
        }
        told.send(sent).unwrap();
    });
}

#[test]
fn c2_messages_of_other_processes_count_towards_the_bound() {
    let _watchdog = watchdog();
    let (sender, receiver) = ipc::sync_channel::<u64>(10).unwrap();
    sender.send(0).unwrap();
    sender.send(0).unwrap();
    let (told, tell) = ipc::channel::<u64>().unwrap();
    with_child(harness::path_of(filling_child), (sender.clone(), told)).completed();
    assert_eq!(tell.recv().unwrap(), 8);
    expect_full(sender.try_send(&0), "after the child");
    assert_eq!(receiver.try_iter().count(), 10);
}

/// Returns the file descriptor that a sender takes permits from.
fn permits_of(sender: &IpcSyncSender<u64>) -> OwnedFd {
    let (carrier, carried) = ipc::channel::<IpcSyncSender<u64>>().unwrap();
    carrier.send_ref(sender).unwrap();
    raw::received_fds(OwnedFd::try_from(carried).unwrap()).remove(1)
}

/// Takes permits as a sender does, and sends nothing.
fn hoard(sender: &IpcSyncSender<u64>) {
    let permits = permits_of(sender);
    while rustix::io::read(&permits, &mut [0; 8]).is_ok() {}
}

#[test]
fn c2_rendezvous_succeeds_although_another_sender_accepts_and_sends_nothing() {
    let _watchdog = watchdog();
    for wait in [None, Some(LONG)] {
        let (sender, receiver) = ipc::sync_channel::<u64>(0).unwrap();
        let permits = permits_of(&sender);
        let receiving = thread::spawn(move || match wait {
            None => receiver.recv().unwrap(),
            Some(wait) => receiver.recv_timeout(wait).unwrap(),
        });
        let mut fds = [PollFd::new(&permits, PollFlags::IN)];
        rustix::event::poll(&mut fds, None).unwrap();
        rustix::io::read(&permits, &mut [0; 8]).unwrap();
        // The receiver waits already, for a sender that does not send.
        sender.send(1).unwrap();
        assert_eq!(receiving.join().unwrap(), 1);
    }
}

#[test]
fn c2_hoarded_permits_are_reissued_to_send() {
    let _watchdog = watchdog();
    for bound in [1, 3] {
        let (sender, receiver) = ipc::sync_channel(bound).unwrap();
        hoard(&sender);
        expect_full(sender.try_send(&0), "all are taken");
        let sending = {
            let sender = sender.clone();
            thread::spawn(move || (0..20).for_each(|n| sender.send(n).unwrap()))
        };
        for number in 0..20 {
            assert_eq!(receiver.recv_timeout(LONG).unwrap(), number);
        }
        sending.join().unwrap();
        // A sender with a short timeout fails with `Full`.
        hoard(&sender);
        expect_full(sender.send_timeout(&0, Duration::from_millis(10)), "all are taken again");
    }
}

/// Also if no sender ever blocks, so that `try_send` alone can notice.
#[test]
fn c2_hoarded_permits_are_reissued_to_try_send() {
    let _watchdog = watchdog();
    for polls in [false, true] {
        let (sender, receiver) = ipc::sync_channel(2).unwrap();
        hoard(&sender);
        let trying = thread::spawn(move || {
            for number in 0..20 {
                while let Err(error) = sender.try_send(&number) {
                    assert!(error.is_full(), "{error}");
                    thread::sleep(Duration::from_millis(1));
                }
            }
        });
        for number in 0..20 {
            let received = loop {
                let patience = if polls { Duration::ZERO } else { LONG };
                match receiver.recv_timeout(patience) {
                    Err(error) if polls && error.is_empty() => {
                        thread::sleep(Duration::from_millis(1));
                    }
                    received => break received.unwrap(),
                }
            };
            assert_eq!(received, number);
        }
        trying.join().unwrap();
    }
}

#[test]
fn c2_hoarded_permits_are_reissued_by_a_polling_receiver() {
    let _watchdog = watchdog();
    let (sender, receiver) = ipc::sync_channel(2).unwrap();
    hoard(&sender);
    let sending = thread::spawn(move || (0..20).for_each(|n| sender.send(n).unwrap()));
    let mut set = IpcReceiverSet::new().unwrap();
    set.add(receiver).unwrap();
    let mut received = Vec::new();
    while !set.is_empty() {
        for result in set.select().unwrap() {
            if let IpcSelectionResult::MessageReceived(_, message) = result {
                received.push(message.to::<u64>().unwrap());
            }
        }
    }
    assert_eq!(received, (0..20).collect::<Vec<_>>());
    sending.join().unwrap();
}

/// Also by a receiver that takes one message per event.
#[test]
fn c8_polling_receiver_completes_every_rendezvous_one_at_a_time() {
    const MANY: u64 = 1000;
    let _watchdog = watchdog();
    let (sender, receiver) = ipc::sync_channel(0).unwrap();
    let threads = crowd(&sender, MANY);
    let mut sum = 0;
    while sum < MANY * (MANY + 1) / 2 {
        let mut fds = [PollFd::new(&receiver, PollFlags::IN)];
        rustix::event::poll(&mut fds, None).unwrap();
        match receiver.try_recv() {
            Ok(number) => sum += number,
            Err(TryRecvError::Empty) => {}
            Err(error) => panic!("{error}"),
        }
    }
    threads.into_iter().for_each(|thread| thread.join().unwrap());
    // Readiness without a message stops.
    while rustix::event::poll(
        &mut [PollFd::new(&receiver, PollFlags::IN)],
        Some(&rustix::event::Timespec { tv_sec: 0, tv_nsec: 0 }),
    ) == Ok(1)
    {
        assert!(matches!(receiver.try_recv(), Err(TryRecvError::Empty)));
    }
}

#[test]
fn c2_bound_holds_in_a_sandbox() {
    let _watchdog = watchdog();
    let calls = [
        libc::SYS_preadv2,
        libc::SYS_io_setup,
        libc::SYS_io_submit,
        libc::SYS_epoll_create1,
        libc::SYS_epoll_ctl,
        libc::SYS_epoll_pwait,
        libc::SYS_readlinkat,
        #[cfg(target_arch = "x86_64")]
        libc::SYS_readlink,
    ];
    for call in calls {
        for errno in [Errno::PERM, Errno::NOSYS] {
            let in_sandbox = thread::spawn(move || {
                forbid(call, errno);
                let (sender, receiver) = ipc::sync_channel(2).unwrap();
                let (sender, receiver) = (through_a_channel(&sender), through_a_channel(&receiver));
                for number in 0..10 {
                    sender.try_send(&number).unwrap();
                    sender.try_send(&number).unwrap();
                    expect_full(sender.try_send(&0), "in a sandbox");
                    assert_eq!(receiver.try_iter().collect::<Vec<_>>(), [number; 2]);
                }
                let (sender, receiver) = ipc::sync_channel(0).unwrap();
                expect_full(sender.try_send(&0), "in a sandbox");
                // The thread inherits the sandbox.
                let sending = [(); 3].map(|()| {
                    let sender = sender.clone();
                    thread::spawn(move || (0..10).for_each(|n| sender.send(n).unwrap()))
                });
                drop(sender);
                assert_eq!(receiver.iter().sum::<u64>(), 3 * 45);
                sending.into_iter().for_each(|sending| sending.join().unwrap());
            });
            in_sandbox.join().unwrap();
        }
    }
}

#[test]
fn c2_permit_of_a_failed_send_is_used_once_after_a_fork() {
    harness::alone(harness::path_of(c2_permit_of_a_failed_send_is_used_once_after_a_fork), || {
        let (sender, receiver) = ipc::sync_channel(1).unwrap();
        let unsent = {
            let sender = sender.clone();
            thread::spawn(move || {
                forbid(libc::SYS_sendmsg, Errno::PERM);
                sender.send(0).unwrap_err()
            })
        };
        assert!(matches!(unsent.join().unwrap(), IpcError::Io(_)));
        harness::fork::fork(|| expect_full(sender.try_send(&1), "in the child")).completed();
        sender.try_send(&2).unwrap();
        expect_full(sender.try_send(&3), "in the parent");
        assert_eq!(receiver.recv().unwrap(), 2);
    });
}

#[test]
fn endless_child() {
    child_main(|arguments| {
        let sender: IpcSyncSender<u64> = from_parent(&arguments[0]);
        while sender.send(1).is_ok() {}
    });
}

#[test]
fn c2_killed_senders_leave_their_permits_to_others() {
    let _watchdog = watchdog();
    for bound in [0, 1, 2] {
        let (sender, receiver) = ipc::sync_channel::<u64>(bound).unwrap();
        for _ in 0..10 {
            let mut child = with_child(harness::path_of(endless_child), sender.clone());
            for _ in 0..50 {
                receiver.recv_timeout(LONG).unwrap();
            }
            child.kill().unwrap();
            child.wait().unwrap();
        }
        while receiver.try_recv().is_ok() {}
        let sending = thread::spawn(move || (0..100).for_each(|_| sender.send(2).unwrap()));
        let mut own = 0;
        while own < 100 {
            own += u64::from(receiver.recv_timeout(LONG).unwrap() == 2);
        }
        sending.join().unwrap();
    }
}

#[test]
fn receiving_child() {
    child_main(|arguments| {
        let receiver: IpcReceiver<u64> = from_parent(&arguments[0]);
        let _ = receiver.recv();
        loop {
            thread::park();
        }
    });
}

#[test]
fn c6_blocked_send_is_disconnected_when_the_receiver_is_killed() {
    let _watchdog = watchdog();
    for bound in [0, 1] {
        let (sender, receiver) = ipc::sync_channel::<u64>(bound).unwrap();
        let mut child = with_child(harness::path_of(receiving_child), receiver);
        sender.send(1).unwrap();
        if bound > 0 {
            sender.send(2).unwrap();
        }
        let waiting = thread::spawn(move || sender.send(3));
        thread::sleep(Duration::from_millis(20));
        child.kill().unwrap();
        child.wait().unwrap();
        assert!(matches!(waiting.join().unwrap(), Err(IpcError::Disconnected)));
    }
}

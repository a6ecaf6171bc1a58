//! Messages for which neither the socket nor shared memory has room: `send` blocks until its
//! timeout, and then returns an error. The caller keeps the contents of the message.

#![cfg(all(target_os = "linux", not(feature = "force-inprocess")))]

mod harness;

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::{PoisonError, RwLock, RwLockReadGuard, mpsc as std_mpsc};
use std::thread;
use std::time::{Duration, Instant};

use rustix::io::Errno;
use rustix::net::sockopt;
use rustix::process::{Gid, Resource, Rlimit, Uid, setrlimit};
use strait::IpcError;
use strait::ipc::{
    self, ChannelOptions, IpcOneShotServer, IpcReceiver, IpcSender, IpcServer, TrySendError,
};
use strait::mpsc::{self, SendTimeoutError};

use harness::raw;

const LONG: Duration = Duration::from_secs(60);
const SHORT: Duration = Duration::from_millis(20);

/// Locked for writing by tests that use up the user's file descriptors in flight: without
/// privileges, all tests share that limit.
static IN_FLIGHT: RwLock<()> = RwLock::new(());

/// Keeps other tests from using up the user's file descriptors in flight.
fn with_handles() -> RwLockReadGuard<'static, ()> {
    IN_FLIGHT.read().unwrap_or_else(PoisonError::into_inner)
}

#[track_caller]
fn expect_full(result: Result<(), TrySendError>) {
    assert!(matches!(result, Err(TrySendError::Full)), "{result:?}");
}

/// Checks that `send` has blocked for its timeout.
#[track_caller]
fn expect_timed_out(result: Result<(), IpcError>, reason: &str) {
    match result {
        Err(IpcError::Io(error)) if error.kind() == io::ErrorKind::TimedOut => {
            assert!(error.to_string().contains(reason), "{error}");
        }
        other => panic!("{other:?}"),
    }
}

/// A channel whose receiver accepts no shared memory.
fn without_memory<T>() -> (IpcSender<T>, IpcReceiver<T>)
where
    T: serde::Serialize + serde::de::DeserializeOwned,
{
    ChannelOptions::new().shared_memory(false).channel().unwrap()
}

mod with_a_full_socket {
    use super::*;

    /// How many answers the client receives before it stops receiving for a while.
    const ANSWERS: usize = 200;

    fn answer(number: usize) -> (usize, Vec<u8>) {
        (number, vec![0; 100])
    }

    /// A client that accepts no shared memory, and stops receiving the answers to its requests.
    #[test]
    fn client() {
        harness::child_main(|arguments| {
            type Requests = (IpcSender<(usize, Vec<u8>)>, IpcSender<()>);
            let service = IpcSender::<Requests>::connect(arguments[0].clone()).unwrap();
            let (reply, answers) = without_memory();
            let (go_on, is_to_go_on) = ipc::channel().unwrap();
            service.send((reply, go_on)).unwrap();
            for number in 0..ANSWERS {
                assert_eq!(answers.recv().unwrap(), answer(number));
            }
            // Until the send of the service times out.
            is_to_go_on.recv().unwrap();
            let mut received = ANSWERS;
            loop {
                match answers.recv() {
                    Ok((number, _)) => assert_eq!(number, received),
                    Err(error) => {
                        assert!(error.is_disconnected(), "{error}");
                        break;
                    }
                }
                received += 1;
            }
            println!("received: {received}");
        });
    }

    #[test]
    fn send_to_a_client_that_does_not_receive_times_out() {
        let _in_flight = with_handles();
        let _watchdog = harness::watchdog();
        let (server, name) = IpcOneShotServer::new().unwrap();
        let mut client = harness::child_with_pipes(harness::path_of(client), &[&name]);
        let (_, (reply, go_on)) =
            server.accept_timeout(LONG).unwrap() as (_, (IpcSender<_>, IpcSender<()>));
        let mut sent = 0;
        let error = loop {
            match reply.send(answer(sent)) {
                Ok(()) => sent += 1,
                Err(error) => break error,
            }
            assert!(sent < 100_000, "it takes shared memory all the same");
        };
        assert!(sent >= ANSWERS);
        expect_timed_out(Err(error), "has not made room");
        // `try_send` returns at once, and `send_timeout` after its own timeout.
        expect_full(reply.try_send(&answer(0)));
        let deadline = Instant::now() + SHORT;
        expect_full(reply.send_deadline(&answer(0), deadline));
        assert!(Instant::now() >= deadline);
        let reply = mpsc::Sender::from(reply);
        let unsent = reply.send_timeout(answer(0), SHORT);
        assert_eq!(unsent, Err(SendTimeoutError::Timeout(answer(0))));
        assert_eq!(reply.try_send(answer(1)), Err(mpsc::TrySendError::Full(answer(1))));
        // The channel stays usable: the next message is sent as soon as the client receives.
        assert!(!go_on.is_closed());
        go_on.send(()).unwrap();
        assert_eq!(reply.send_timeout(answer(sent), LONG), Ok(()));
        drop(reply);
        let mut output = String::new();
        io::Read::read_to_string(client.stdout.as_mut().unwrap(), &mut output).unwrap();
        client.completed();
        assert!(go_on.is_closed());
        // The client has received the messages whose send returned `Ok`, and no others.
        assert!(output.contains(&format!("received: {}\n", sent + 1)), "{sent}: {output}");
    }

    #[test]
    fn contents_of_a_message_without_room_come_back() {
        let _in_flight = with_handles();
        let _watchdog = harness::watchdog();
        let (carrier, carried) = ipc::channel::<IpcReceiver<usize>>().unwrap();
        let mut kept = Vec::new();
        let (sender, unsent) = loop {
            let (sender, receiver) = ipc::channel().unwrap();
            match carrier.try_send(&receiver) {
                Ok(()) => kept.push(sender),
                Err(TrySendError::Full) => break (sender, receiver),
                Err(error) => panic!("{error}"),
            }
        };
        assert!(kept.len() > 10);
        expect_full(carrier.send_timeout(&unsent, SHORT));
        sender.send(5).unwrap();
        assert_eq!(unsent.recv().unwrap(), 5);
        // It is sent as soon as there is room.
        let sending = thread::spawn(move || carrier.send_timeout(&unsent, LONG));
        for (number, sender) in kept.iter().enumerate() {
            sender.send(number).unwrap();
            assert_eq!(carried.recv().unwrap().recv().unwrap(), number);
        }
        let arrived = carried.recv().unwrap();
        sending.join().unwrap().unwrap();
        sender.send(6).unwrap();
        assert_eq!(arrived.recv().unwrap(), 6);
    }

    #[test]
    fn large_message_is_aborted_at_its_timeout() {
        let _watchdog = harness::watchdog();
        let (sender, receiver) = without_memory::<Vec<u8>>();
        let large = vec![1; 10 << 20];
        for _ in 0..3 {
            expect_full(sender.try_send(&large));
            expect_full(sender.send_timeout(&large, SHORT));
            let last = thread::spawn({
                let sender = sender.clone();
                move || sender.send(vec![2; 3]).unwrap()
            });
            assert_eq!(receiver.recv().unwrap(), [2; 3]);
            last.join().unwrap();
        }
        drop(sender);
        assert!(receiver.recv().unwrap_err().is_disconnected());
    }

    /// The deadline is that of the whole message, however slowly the receiver receives its
    /// parts. A receiver that has parts of it is notified that the message is aborted.
    #[test]
    fn large_message_that_makes_progress_times_out_at_its_deadline() {
        let _watchdog = harness::watchdog();
        let (sender, receiver) = without_memory::<Vec<u8>>();
        let socket = OwnedFd::try_from(receiver).unwrap();
        let sending = thread::spawn(move || {
            let deadline = Instant::now() + 10 * SHORT;
            expect_full(sender.send_deadline(&vec![1; 10 << 20], deadline));
            assert!(Instant::now() >= deadline);
        });
        let mut packet = vec![0; 1 << 20];
        let mut last_kind = None;
        // At this rate the message would take several times its timeout.
        loop {
            let len = rustix::io::read(&socket, &mut packet).unwrap();
            if len == 0 {
                break;
            }
            last_kind = Some(packet[1]);
            thread::sleep(SHORT / 2);
        }
        assert_eq!(last_kind, Some(raw::abort(0)[1]));
        sending.join().unwrap();
    }

    /// Another process with the same sender can give the socket the maximum of room that the
    /// system allows, and fill it.
    #[test]
    fn another_clone_of_the_sender_cannot_block_send_forever() {
        let _watchdog = harness::watchdog();
        let (sender, receiver) = ipc::bytes_channel().unwrap();
        let holder: OwnedFd = sender.as_fd().try_clone_to_owned().unwrap();
        sockopt::set_socket_send_buffer_size(&holder, i32::MAX as usize).unwrap();
        let mut theirs = 0;
        let full = loop {
            match raw::try_send(&holder, &raw::message(0, &[0; 4000]), &[]) {
                Ok(()) => theirs += 1,
                Err(error) => break error,
            }
        };
        assert_eq!(full.kind(), io::ErrorKind::WouldBlock);
        expect_full(sender.try_send(&[1; 10]));
        expect_full(sender.send_timeout(&[1; 10], SHORT));
        expect_timed_out(sender.send(&[1; 10]).map_err(IpcError::from), "has not made room");
        // No part of it has arrived, and once the receiver has made room, messages do.
        for _ in 0..theirs {
            assert_eq!(receiver.recv().unwrap().len(), 4000);
        }
        sender.send(&[2; 10]).unwrap();
        assert_eq!(receiver.recv().unwrap(), [2; 10]);
    }

    /// In a bounded channel, `send` waits for the receiver, also if the socket is full before
    /// the bound is reached.
    #[test]
    fn bounded_send_waits_for_its_receiver() {
        let _watchdog = harness::watchdog();
        let options = ChannelOptions::new().shared_memory(false);
        let (sender, receiver) = options.sync_channel::<Vec<u8>>(1000).unwrap();
        let message = vec![0; 10_000];
        let mut sent = 0;
        while sender.try_send(&message).is_ok() {
            sent += 1;
        }
        assert!((1..1000).contains(&sent));
        expect_full(sender.send_timeout(&message, SHORT));
        let waiting = thread::spawn(move || sender.send(message));
        // Longer than the timeout in an unbounded channel.
        thread::sleep(ipc::SEND_TIMEOUT + Duration::from_secs(1));
        assert!(!waiting.is_finished());
        // The send that failed has given its permit back, so all permits are there.
        for _ in 0..=sent {
            assert_eq!(receiver.recv().unwrap().len(), 10_000);
        }
        waiting.join().unwrap().unwrap();
        assert!(receiver.recv().unwrap_err().is_disconnected());
    }
}

mod with_too_many_handles_in_flight {
    use super::*;

    /// Runs `body` in a process of its own, while nothing else here sends handles.
    fn alone(function: &str, body: impl FnOnce()) {
        let _in_flight = IN_FLIGHT.write().unwrap_or_else(PoisonError::into_inner);
        harness::alone(function, || {
            become_unprivileged();
            body();
        });
    }

    /// Makes this thread a user of its own without privileges: with at most 256 file
    /// descriptors in the process, and as many in flight.
    fn become_unprivileged() {
        setrlimit(Resource::Nofile, Rlimit { current: Some(256), maximum: Some(256) }).unwrap();
        let id = 55_000 + std::process::id() % 5000;
        let (uid, gid) = (Uid::from_raw(id), Gid::from_raw(id));
        // A process that may not do this has no privileges either.
        let _ = rustix::thread::set_thread_res_gid(gid, gid, gid);
        let _ = rustix::thread::set_thread_res_uid(uid, uid, uid);
    }

    /// Sends as many file descriptors as this user may, and returns the sockets that they are
    /// in. They refer to a file: the kernel frees those with the sockets, but sockets that hold
    /// each other only at its next garbage collection.
    fn use_up() -> (OwnedFd, OwnedFd) {
        let file = std::fs::File::open("/dev/null").unwrap();
        let (sender, receiver) = rustix::net::socketpair(
            rustix::net::AddressFamily::UNIX,
            rustix::net::SocketType::SEQPACKET,
            rustix::net::SocketFlags::CLOEXEC,
            None,
        )
        .unwrap();
        for size in [100, 1] {
            for attempt in 0.. {
                match raw::try_send(&sender, b"x", &vec![file.as_fd(); size]) {
                    Ok(()) => assert!(attempt < 300, "this user has privileges"),
                    Err(error) => {
                        let errno = Some(Errno::TOOMANYREFS.raw_os_error());
                        assert_eq!(error.raw_os_error(), errno);
                        break;
                    }
                }
            }
        }
        (sender, receiver)
    }

    /// A ring is only an optimisation, so no send blocks for its offer.
    #[test]
    fn messages_without_handles_are_sent_at_once() {
        alone(harness::path_of(messages_without_handles_are_sent_at_once), || {
            let hoard = use_up();
            // If each send waited ten seconds for its offer, the watchdog would end the test.
            for _ in 0..20 {
                let (sender, receiver) = ipc::channel::<u32>().unwrap();
                let receiving = thread::spawn(move || {
                    (0..300).for_each(|number| assert_eq!(receiver.recv().unwrap(), number));
                });
                (0..300).for_each(|number| sender.send(number).unwrap());
                receiving.join().unwrap();
            }
            drop(hoard);
        });
    }

    #[test]
    fn sends_that_do_not_wait_return_full() {
        alone(harness::path_of(sends_that_do_not_wait_return_full), || {
            let server_name = format!("strait-patience-{}", std::process::id());
            let mut server = IpcServer::<u32, u32>::bind(server_name.as_str()).unwrap();
            let hoard = use_up();
            let (one, _kept) = ipc::channel::<u32>().unwrap();

            let (sender, receiver) = ipc::channel().unwrap();
            expect_full(sender.try_send(&one));
            let deadline = Instant::now() + SHORT;
            expect_full(sender.send_deadline(&one, deadline));
            assert!(Instant::now() >= deadline);
            let (bounded, bounded_receiver) = ipc::sync_channel(1).unwrap();
            expect_full(bounded.try_send(&one));
            expect_full(bounded.send_timeout(&one, SHORT));
            let (std_sender, _std_receiver) = mpsc::try_channel().unwrap();
            let unsent = std_sender.try_send(one.clone());
            assert!(matches!(unsent, Err(mpsc::TrySendError::Full(_))), "{unsent:?}");
            let connected = ipc::connect_timeout::<u32, u32>(server_name.as_str(), SHORT);
            assert_eq!(connected.unwrap_err().kind(), io::ErrorKind::TimedOut);
            // Nor does a bounded send wait for other channels for ever.
            expect_timed_out(bounded.send(one.clone()), "as many handles");

            drop(hoard);
            // The kernel may close its file descriptors a moment later.
            sender.send_timeout(&one, LONG).unwrap();
            receiver.recv().unwrap();
            // The permit of the failed send is there.
            bounded.send_timeout(&one, LONG).unwrap();
            bounded_receiver.recv().unwrap();
            let (to_server, _from_server) = ipc::connect::<u32, u32>(server_name.as_str()).unwrap();
            to_server.send(1).unwrap();
            let client = server.accept_timeout(LONG).unwrap();
            assert_eq!(client.split().1.recv().unwrap(), 1);
        });
    }

    /// A blocked `send` notices that handles of another channel were received.
    #[test]
    fn a_send_that_waits_returns_ok_once_there_is_room() {
        alone(harness::path_of(a_send_that_waits_returns_ok_once_there_is_room), || {
            let hoard = use_up();
            let (one, _kept) = ipc::channel::<u32>().unwrap();
            let (sender, receiver) = ipc::channel().unwrap();
            let (waits, is_waiting) = std_mpsc::channel();
            let waiting = thread::spawn(move || {
                waits.send(()).unwrap();
                sender.send(one)
            });
            is_waiting.recv().unwrap();
            drop(hoard);
            receiver.recv().unwrap();
            waiting.join().unwrap().unwrap();
        });
    }
}

/// A task that sends to another task of the same thread must not block that thread.
#[cfg(feature = "async")]
#[test]
fn a_task_sends_more_requests_than_the_socket_takes() {
    use futures_lite::StreamExt;

    let _in_flight = with_handles();
    let _watchdog = harness::watchdog();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let (requests, inbox) = ipc::channel::<IpcSender<u32>>().unwrap();
        let reader = tokio::spawn(async move {
            let mut stream = inbox.to_stream();
            let mut received = 0;
            while let Some(request) = stream.next().await {
                request.unwrap().send(received).unwrap();
                received += 1;
            }
            received
        });
        tokio::task::yield_now().await;
        let (reply, answers) = ipc::channel::<u32>().unwrap();
        let mut was_full = false;
        for _ in 0..1000 {
            loop {
                match requests.try_send(&reply) {
                    Ok(()) => break,
                    Err(TrySendError::Full) => {
                        was_full = true;
                        tokio::task::yield_now().await;
                    }
                    Err(error) => panic!("{error}"),
                }
            }
        }
        assert!(was_full, "the socket has taken them all");
        drop(requests);
        assert_eq!(reader.await.unwrap(), 1000);
        drop(reply);
        assert!(answers.iter().eq(0..1000));
    });
}

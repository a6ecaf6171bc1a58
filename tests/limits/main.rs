//! What this process may not have: descriptors, memory, system calls, /proc. Every call works or returns an error, and
//! once there is enough again it is business as usual.

#![cfg(all(target_os = "linux", not(feature = "force-inprocess")))]

#[path = "../harness/mod.rs"]
mod harness;

use std::error::Error;
use std::fs;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use rustix::io::Errno;
use rustix::process::{Gid, Resource, Uid};
use strait::handle::Handle;
use strait::ipc::{
    self, IpcError, IpcOneShotServer, IpcReceiver, IpcReceiverSet, IpcSender, IpcServer,
    IpcSharedMemory, ServerName, SharedMemoryReader, SharedMemoryWriter, TryRecvError,
};
use strait::router::{ROUTER, RouterProxy};

use harness::raw;
use harness::sandbox::forbid;
use harness::table;
use harness::ways::{Next, ways};

type Outcome = Result<(), Box<dyn Error>>;

/// Something that can be done, and its name.
type Call = (&'static str, fn() -> Outcome);

/// What can be done with strait, each with objects of its own. Wrong results panic, refusals are errors.
const CALLS: &[Call] = &[
    ("a message", || {
        let (sender, receiver) = ipc::channel::<String>()?;
        sender.send("small".to_string())?;
        assert_eq!(receiver.recv()?, "small");
        Ok(())
    }),
    ("a large message", || {
        let (sender, receiver) = ipc::channel::<String>()?;
        let large = "large".repeat(100_000);
        let sending = thread::spawn({
            let large = large.clone();
            move || sender.send(large)
        });
        let received = receiver.recv();
        drop(receiver);
        let sent = sending.join().expect("sending does not panic");
        assert_eq!(received?, large);
        Ok(sent?)
    }),
    ("a timeout", || {
        let (_sender, receiver) = ipc::bytes_channel()?;
        match receiver.try_recv_timeout(Duration::from_millis(1)) {
            Err(TryRecvError::Empty) => Ok(()),
            Err(error) => Err(error.into()),
            Ok(_) => panic!("there is no message"),
        }
    }),
    ("endpoints", || {
        let (sender, receiver) = ipc::channel::<(IpcSender<u32>, IpcReceiver<u32>)>()?;
        let (tx, rx) = ipc::channel()?;
        sender.send((tx, rx))?;
        let (tx, rx) = receiver.recv()?;
        tx.send(5)?;
        assert_eq!(rx.recv()?, 5);
        Ok(())
    }),
    ("an exposed receiver", || {
        let (sender, receiver) = ipc::channel::<IpcReceiver<u32>>()?;
        let (tx, rx) = ipc::channel()?;
        rx.as_fd();
        if let Err(error) = sender.send_ref(&rx) {
            // It stays what it was.
            tx.send(4)?;
            assert_eq!(rx.recv()?, 4);
            return Err(error.into());
        }
        let rx = receiver.recv()?;
        tx.send(5)?;
        assert_eq!(rx.recv()?, 5);
        Ok(())
    }),
    ("a handle", || {
        let (sender, receiver) = ipc::channel::<Handle<UnixStream>>()?;
        let (one, other) = UnixStream::pair()?;
        sender.send(Handle(one))?;
        let one = receiver.recv()?;
        rustix::io::write(&*one, b"x")?;
        assert_eq!(rustix::io::read(&other, &mut [0; 9])?, 1);
        Ok(())
    }),
    ("memory", || {
        let (sender, receiver) = ipc::channel::<IpcSharedMemory>()?;
        sender.send(IpcSharedMemory::try_from_bytes(b"memory")?)?;
        assert_eq!(&*receiver.recv()?, b"memory");
        Ok(())
    }),
    ("written memory", || {
        let (sender, receiver) = ipc::channel::<SharedMemoryReader>()?;
        let writer = SharedMemoryWriter::new(100_000)?;
        sender.send(writer.reader()?)?;
        writer.write_at(99_994, b"memory")?;
        assert_eq!(&receiver.recv()?.to_vec()?[99_993..], b"\0memory");
        Ok(())
    }),
    ("a set", || {
        let mut set = IpcReceiverSet::new()?;
        let (sender, receiver) = ipc::channel::<u32>()?;
        let id = set.add(receiver)?;
        set.as_fd();
        sender.send(5)?;
        let (from, message) = set.select()?.remove(0).unwrap();
        assert_eq!((from, message.to::<u32>()?), (id, 5));
        drop(sender);
        set.try_select_timeout(Duration::from_secs(60))?;
        assert!(set.is_empty());
        Ok(())
    }),
    ("a server", || {
        let (server, name) = IpcOneShotServer::<String>::new()?;
        let client = IpcSender::connect(name)?;
        client.send("hello".to_string())?;
        let (receiver, greeting) = match server.accept_timeout(Duration::from_secs(60)) {
            Err(TryRecvError::Empty) => panic!("the client is not heard"),
            accepted => accepted?,
        };
        assert_eq!(greeting, "hello");
        client.send("again".to_string())?;
        assert_eq!(receiver.recv()?, "again");
        Ok(())
    }),
    ("a server of many", || {
        let name = ServerName::Abstract(format!("strait-limits-{}", std::process::id()));
        let mut server = IpcServer::<u32, u32>::bind(&name)?;
        let (sender, receiver) = ipc::connect::<u32, u32>(&name)?;
        sender.send(1)?;
        let client = match server.accept_timeout(Duration::from_secs(60)) {
            Err(TryRecvError::Empty) => panic!("the client is not heard"),
            accepted => accepted?,
        };
        assert_eq!(client.receiver.recv()?, 1);
        client.sender.send(2)?;
        assert_eq!(receiver.recv()?, 2);
        Ok(())
    }),
    ("conversions", || {
        let (sender, receiver) = ipc::channel::<u32>()?;
        let sender: OwnedFd = sender.try_into()?;
        let sender = IpcSender::<u32>::try_from(sender)?;
        let receiver: OwnedFd = receiver.try_into().map_err(|_| "the receiver is idle")?;
        let receiver = IpcReceiver::<u32>::try_from(receiver)?;
        sender.send(5)?;
        assert_eq!(receiver.recv()?, 5);
        Ok(())
    }),
    #[cfg(feature = "async")]
    ("a stream", || {
        use futures_lite::StreamExt;

        let (sender, receiver) = ipc::channel::<u32>()?;
        sender.send(5)?;
        let mut stream = receiver.to_stream();
        let item = futures_lite::future::block_on(stream.next());
        assert_eq!(item.expect("it goes on")?, 5);
        Ok(())
    }),
];

#[track_caller]
fn assert_business_as_usual() {
    for (what, call) in CALLS {
        if let Err(error) = call() {
            panic!("{what}: {error:?}");
        }
    }
}

fn limit(resource: Resource, limit: u64) {
    let mut limits = rustix::process::getrlimit(resource);
    limits.current = Some(limit);
    rustix::process::setrlimit(resource, limits).unwrap();
}

/// Raises the limit on descriptors as far as it goes.
fn raise_descriptor_limit() -> u64 {
    let mut limits = rustix::process::getrlimit(Resource::Nofile);
    limits.current = limits.maximum;
    rustix::process::setrlimit(Resource::Nofile, limits).unwrap();
    limits.current.unwrap_or(u64::MAX)
}

/// The number that the next descriptor gets.
fn next_descriptor() -> u64 {
    use std::os::fd::AsRawFd;

    io::stdin().as_fd().try_clone_to_owned().unwrap().as_raw_fd() as u64
}

/// Takes all descriptors that are left, but for `spare`.
fn take_descriptors(spare: usize) -> Vec<OwnedFd> {
    limit(Resource::Nofile, next_descriptor() + 100);
    let mut taken = Vec::new();
    while let Ok(fd) = io::stdin().as_fd().try_clone_to_owned() {
        taken.push(fd);
    }
    taken.truncate(taken.len() - spare);
    taken
}

#[test]
fn c7_every_call_works_or_fails_at_every_descriptor_limit() {
    harness::alone(
        harness::path_of(c7_every_call_works_or_fails_at_every_descriptor_limit),
        || {
            assert_business_as_usual();
            let before = harness::handles();
            let lowest = next_descriptor();
            let mut failures = 0;
            let mut successes = 0;
            for spare in 0..16 {
                limit(Resource::Nofile, lowest + spare);
                for (_, call) in CALLS {
                    match call() {
                        Ok(()) => successes += 1,
                        Err(_) => failures += 1,
                    }
                }
                raise_descriptor_limit();
                assert_eq!(harness::handles(), before, "with {spare} descriptors");
                assert_business_as_usual();
            }
            assert!(failures > 20 && successes > 20, "{failures} and {successes}");
        },
    );
}

/// Whatever is used for the first time while there is nothing left.
#[test]
fn c7_what_begins_without_descriptors_works_later() {
    harness::alone(harness::path_of(c7_what_begins_without_descriptors_works_later), || {
        let (sender, receiver) = ipc::channel::<u32>().unwrap();
        let (late_sender, late_receiver) = ipc::channel::<u32>().unwrap();
        let (carrier, carried) = ipc::channel::<IpcReceiver<u32>>().unwrap();
        let taken = take_descriptors(0);
        for (_, call) in CALLS {
            assert!(call().is_err());
        }
        receiver.as_fd();
        assert!(carrier.send_ref(&receiver).is_err());
        ROUTER.add_typed_route(late_receiver, Box::new(|_| {}));
        drop(taken);
        raise_descriptor_limit();
        // The route that could not be is gone, and whoever sends knows.
        assert!(late_sender.send(1).unwrap_err().is_disconnected());
        assert_business_as_usual();
        carrier.send_ref(&receiver).unwrap();
        let receiver = carried.recv().unwrap();
        let routed = ROUTER.route_ipc_receiver_to_new_crossbeam_receiver(receiver);
        sender.send(5).unwrap();
        assert_eq!(routed.recv().unwrap(), 5);
    });
}

/// A router that exists goes on routing.
#[test]
fn c7_routes_outlive_a_full_descriptor_table() {
    harness::alone(harness::path_of(c7_routes_outlive_a_full_descriptor_table), || {
        let router = RouterProxy::new();
        let (sender, receiver) = ipc::channel::<u32>().unwrap();
        let routed = router.route_ipc_receiver_to_new_crossbeam_receiver(receiver);
        sender.send(1).unwrap();
        assert_eq!(routed.recv().unwrap(), 1);
        let (late_sender, late_receiver) = ipc::channel::<u32>().unwrap();
        let taken = take_descriptors(0);
        sender.send(2).unwrap();
        assert_eq!(routed.recv().unwrap(), 2);
        let late = router.route_ipc_receiver_to_new_crossbeam_receiver(late_receiver);
        late_sender.send(3).unwrap();
        assert_eq!(late.recv().unwrap(), 3);
        drop(taken);
    });
}

#[test]
fn c7_a_message_for_whose_handles_there_is_no_room_is_one_error() {
    harness::alone(
        harness::path_of(c7_a_message_for_whose_handles_there_is_no_room_is_one_error),
        || {
            for (way, receive) in ways::<(u32, Vec<Handle<OwnedFd>>)>() {
                raise_descriptor_limit();
                let (sender, receiver) = ipc::channel().unwrap();
                let handle = || Handle(io::stdin().as_fd().try_clone_to_owned().unwrap());
                let handles = |count| (0..count).map(|_| handle()).collect::<Vec<_>>();
                let mut next = receive(receiver);
                sender.send((0, handles(3))).unwrap();
                assert_eq!(next().value().1.len(), 3, "{way}");
                let messages: Vec<_> = [1, 3, 253, 510].map(handles).into();
                let taken = take_descriptors(0);
                for (number, handles) in messages.iter().enumerate() {
                    // The sender's copies are made before the table is full, the receiver's are not there yet.
                    let fds: Vec<_> = handles.iter().map(|handle| handle.as_fd()).collect();
                    send_in_parts(&sender, number as u32, &fds);
                    sender.send((9, Vec::new())).unwrap();
                    assert!(matches!(next(), Next::Refused), "{way}: {number}");
                    assert_eq!(next().value().0, 9, "{way}: {number}");
                }
                drop((taken, messages));
                raise_descriptor_limit();
                sender.send((10, handles(300))).unwrap();
                assert_eq!(next().value().1.len(), 300, "{way}");
                drop(next);
            }
            // One of them fits and two do not: none stays.
            let (sender, receiver) = ipc::channel::<Vec<Handle<OwnedFd>>>().unwrap();
            let fd = io::stdin().as_fd().try_clone_to_owned().unwrap();
            let body =
                [&3_u64.to_le_bytes()[..], &[0; 4], &1_u32.to_le_bytes(), &2_u32.to_le_bytes()];
            let before = harness::handles().len();
            let taken = take_descriptors(1);
            let body = table::with_handles(&body.concat(), 3);
            raw::send(&sender, &raw::message(3, &body), &[fd.as_fd(); 3]).unwrap();
            assert!(matches!(receiver.recv(), Err(IpcError::SerializationError(_))));
            drop(taken);
            assert_eq!(harness::handles().len(), before);
        },
    );
}

/// As strait sends it, but without duplicates of the descriptors.
fn send_in_parts(socket: impl AsFd, number: u32, fds: &[std::os::fd::BorrowedFd<'_>]) {
    use strait::internals::frame::{Kind, Position};

    let mut body = number.to_le_bytes().to_vec();
    body.extend((fds.len() as u64).to_le_bytes());
    body.extend((0..fds.len() as u32).flat_map(u32::to_le_bytes));
    let body = table::with_handles(&body, fds.len());
    if fds.len() <= raw::MAX_FDS {
        return raw::send(&socket, &raw::message(fds.len() as u8, &body), fds).unwrap();
    }
    let id = u128::from(number);
    let mut position = Position::First { bytes: body.len() as u64, attachments: fds.len() as u32 };
    let mut chunks = fds.chunks(raw::MAX_FDS).peekable();
    while let Some(chunk) = chunks.next() {
        let body: &[u8] = if matches!(position, Position::First { .. }) { &body } else { &[] };
        let kind = Kind::Part { id, position };
        raw::send(&socket, &raw::packet(kind, chunk.len() as u8, body), chunk).unwrap();
        position = match chunks.peek() {
            Some(next) if next.len() < raw::MAX_FDS => Position::Last,
            _ => Position::Middle,
        };
    }
}

/// The descriptor that a connection takes is kept in reserve.
#[test]
fn c7_a_server_accepts_with_a_full_descriptor_table() {
    harness::alone(harness::path_of(c7_a_server_accepts_with_a_full_descriptor_table), || {
        let (server, name) = IpcOneShotServer::<String>::new().unwrap();
        let client = IpcSender::connect(name).unwrap();
        client.send("hello".to_string()).unwrap();
        let taken = take_descriptors(0);
        let (receiver, greeting) = server.accept().unwrap();
        assert_eq!(greeting, "hello");
        client.send("again".to_string()).unwrap();
        assert_eq!(receiver.recv().unwrap(), "again");
        drop(taken);
    });
}

/// Nothing of a client is lost that there were no descriptors for.
#[test]
fn c7_a_server_of_many_waits_for_descriptors() {
    harness::alone(harness::path_of(c7_a_server_of_many_waits_for_descriptors), || {
        let name = ServerName::Abstract(format!("strait-waits-{}", std::process::id()));
        let mut server = IpcServer::<u32, u32>::bind(&name).unwrap();
        for spare in 0..4 {
            let clients: Vec<_> =
                (0..5).map(|_| ipc::connect::<u32, u32>(&name).unwrap()).collect();
            for (number, (sender, _)) in (0..).zip(&clients) {
                sender.send(number).unwrap();
            }
            let taken = take_descriptors(spare);
            let mut accepted = Vec::new();
            for _ in 0..10 {
                match server.try_accept() {
                    Ok(client) => accepted.push(client),
                    Err(TryRecvError::IpcError(IpcError::Io(error))) => {
                        assert_eq!(error.raw_os_error(), Some(libc::EMFILE), "{error}");
                    }
                    Err(error) => panic!("{error:?}"),
                }
            }
            // One has the place of the reserve and one of the spare ones, and so on.
            assert_eq!(accepted.len(), spare.div_ceil(2), "with {spare}");
            drop(taken);
            while accepted.len() < clients.len() {
                accepted.push(server.accept().unwrap());
            }
            for (number, client) in (0..).zip(&accepted) {
                assert_eq!(client.receiver.recv().unwrap(), number);
                client.sender.send(number).unwrap();
            }
            for (number, (_, receiver)) in (0..).zip(&clients) {
                assert_eq!(receiver.recv().unwrap(), number);
            }
        }
    });
}

/// A descriptor for a set's own needs that was not to be had is to be had later.
#[test]
fn c7_a_set_can_be_polled_once_there_are_descriptors_again() {
    harness::alone(
        harness::path_of(c7_a_set_can_be_polled_once_there_are_descriptors_again),
        || {
            let mut set = IpcReceiverSet::new().unwrap();
            let (sender, receiver) = ipc::channel::<u32>().unwrap();
            set.add(receiver).unwrap();
            let before = harness::handles();
            let taken = take_descriptors(0);
            let _ = set.as_fd();
            let _ = set.as_fd();
            drop(taken);
            assert_eq!(harness::handles_besides(&before).len(), 0);
            let _ = set.as_fd();
            assert_eq!(harness::handles_besides(&before).len(), 1);
            sender.send(1).unwrap();
            assert_eq!(set.select().unwrap().len(), 1);
        },
    );
}

/// Clients that only stay connected cost descriptors, and so give way when there are none left.
#[test]
fn c7_silent_clients_of_a_server_do_not_use_up_the_descriptors() {
    harness::alone(
        harness::path_of(c7_silent_clients_of_a_server_do_not_use_up_the_descriptors),
        || {
            let (server, name) = IpcOneShotServer::<String>::new().unwrap();
            let silent: Vec<_> =
                (0..40).map(|_| IpcSender::<String>::connect(name.clone()).unwrap()).collect();
            let client = IpcSender::connect(name).unwrap();
            client.send("hello".to_string()).unwrap();
            let taken = take_descriptors(4);
            assert_eq!(server.accept().unwrap().1, "hello");
            drop((taken, silent));
        },
    );
}

#[test]
fn c7_silent_clients_of_a_server_of_many_do_not_use_up_the_descriptors() {
    harness::alone(
        harness::path_of(c7_silent_clients_of_a_server_of_many_do_not_use_up_the_descriptors),
        || {
            let path = std::env::temp_dir().join(format!("strait-silent-{}", std::process::id()));
            let mut server = IpcServer::<u32, u32>::bind(path.as_path()).unwrap();
            let connect = || IpcSender::<u32>::connect(path.to_str().unwrap().to_string()).unwrap();
            for spare in [1, 4, 20] {
                let silent: Vec<_> = (0..40).map(|_| connect()).collect();
                let (sender, _receiver) = ipc::connect::<u32, u32>(path.as_path()).unwrap();
                sender.send(5).unwrap();
                let taken = take_descriptors(spare);
                let client = server.accept().unwrap();
                assert_eq!(client.receiver.recv().unwrap(), 5);
                drop((taken, silent));
            }
        },
    );
}

#[test]
fn c7_thousands_of_handles_in_one_message() {
    harness::alone(harness::path_of(c7_thousands_of_handles_in_one_message), || {
        let limit = raise_descriptor_limit();
        for count in [253, 254, 300, 1000, 5000] {
            // The unfinished message may have three in four of all.
            if count * 4 / 3 + 200 > limit {
                continue;
            }
            let (sender, receiver) = ipc::channel::<Vec<(u64, IpcSharedMemory)>>().unwrap();
            let memory = IpcSharedMemory::try_from_bytes(b"shared").unwrap();
            let before = harness::handles().len() as u64;
            let sending = thread::spawn(move || {
                let memories = (0..count).map(|number| (number, memory.clone())).collect();
                sender.send(memories).unwrap();
            });
            let memories = receiver.recv().unwrap();
            sending.join().unwrap();
            // But for the sender and its memory.
            assert_eq!(harness::handles().len() as u64, before - 2 + count);
            assert_eq!(memories.len() as u64, count);
            for (expected, (number, memory)) in memories.into_iter().enumerate() {
                assert_eq!((number, &*memory), (expected as u64, &b"shared"[..]));
            }
            assert_eq!(harness::handles().len() as u64, before - 2);
        }
    });
}

/// Each handle in a message of many is the one that it was.
#[test]
fn c7_hundreds_of_different_endpoints_in_one_message() {
    harness::alone(harness::path_of(c7_hundreds_of_different_endpoints_in_one_message), || {
        let count = if raise_descriptor_limit() > 4000 { 600 } else { 100 };
        let (carrier, carried) =
            ipc::channel::<Vec<(IpcSender<usize>, IpcReceiver<usize>)>>().unwrap();
        let mut kept = Vec::new();
        let mut sent = Vec::new();
        for _ in 0..count {
            let (sender, their_receiver) = ipc::channel().unwrap();
            let (their_sender, receiver) = ipc::channel().unwrap();
            kept.push((sender, receiver));
            sent.push((their_sender, their_receiver));
        }
        let sending = thread::spawn(move || carrier.send(sent).unwrap());
        let received = carried.recv().unwrap();
        sending.join().unwrap();
        assert_eq!(received.len(), count);
        for (number, (sender, _)) in kept.iter().enumerate() {
            sender.send(number).unwrap();
        }
        for (number, (sender, receiver)) in received.into_iter().enumerate() {
            assert_eq!(receiver.recv().unwrap(), number);
            sender.send(number).unwrap();
        }
        for (number, (_, receiver)) in kept.iter().enumerate() {
            assert_eq!(receiver.recv().unwrap(), number);
            assert!(receiver.recv().unwrap_err().is_disconnected());
        }
    });
}

#[test]
fn c7_more_handles_than_a_message_may_have_are_an_error() {
    let _watchdog = harness::watchdog();
    let (sender, receiver) = ipc::channel::<Vec<IpcSharedMemory>>().unwrap();
    let one = IpcSharedMemory::try_from_byte(1, 1).unwrap();
    let too_many = vec![one; strait::internals::limits::MAX_MESSAGE_ATTACHMENTS + 1];
    assert!(matches!(sender.send(too_many), Err(IpcError::SerializationError(_))));
    sender.send(Vec::new()).unwrap();
    assert!(receiver.recv().unwrap().is_empty());
}

// The kernel limits how many descriptors a user without privileges has in messages that nobody received, to as many as the
// process may have open.

/// Lets this thread be a user without privileges and with few descriptors; one that nobody else is, since all of a user's
/// descriptors in flight count.
fn become_unprivileged() {
    limit(Resource::Nofile, 64);
    let id = 60_000 + std::process::id() % 5000;
    let (uid, gid) = (Uid::from_raw(id), Gid::from_raw(id));
    // Who may not do this has no privileges either.
    let _ = rustix::thread::set_thread_res_gid(gid, gid, gid);
    let _ = rustix::thread::set_thread_res_uid(uid, uid, uid);
}

/// Sends until the kernel refuses; how many messages that took.
fn fill_with_handles(sender: &IpcSender<(u32, Vec<IpcSender<u32>>)>, one: &IpcSender<u32>) -> u32 {
    let fds = vec![one.as_fd(); 10];
    let mut body = [&[0; 4][..], &10_u64.to_le_bytes()].concat();
    body.extend((0..10_u32).flat_map(u32::to_le_bytes));
    let mut sent: u32 = 0;
    loop {
        body[..4].copy_from_slice(&sent.to_le_bytes());
        let body = table::with(&body, &vec![table::sender(); 10]);
        match raw::try_send(sender, &raw::message(10, &body), &fds) {
            Ok(()) => sent += 1,
            Err(error) => {
                assert_eq!(error.raw_os_error(), Some(Errno::TOOMANYREFS.raw_os_error()));
                return sent;
            }
        }
        assert!(sent < 100, "this user has privileges");
    }
}

#[test]
fn c7_too_many_handles_in_flight_are_waited_for() {
    harness::alone(harness::path_of(c7_too_many_handles_in_flight_are_waited_for), || {
        let (sender, receiver) = ipc::channel().unwrap();
        let (ready, is_ready) = mpsc::channel();
        let sending = thread::spawn(move || {
            become_unprivileged();
            let (one, _kept) = ipc::channel().unwrap();
            let sent = fill_with_handles(&sender, &one);
            ready.send(()).unwrap();
            for number in sent..40 {
                sender.send((number, vec![one.clone(); 10])).unwrap();
            }
        });
        is_ready.recv().unwrap();
        for number in 0..40 {
            let (received, senders) = receiver.recv().unwrap();
            assert_eq!((received, senders.len()), (number, 10));
        }
        sending.join().unwrap();
    });
}

#[test]
fn c7_too_many_handles_in_flight_are_an_error_in_the_end() {
    harness::alone(harness::path_of(c7_too_many_handles_in_flight_are_an_error_in_the_end), || {
        become_unprivileged();
        let (sender, receiver) = ipc::channel().unwrap();
        let (one, _kept) = ipc::channel().unwrap();
        let sent = fill_with_handles(&sender, &one);
        let (carrier, carried) = ipc::channel::<IpcReceiver<u32>>().unwrap();
        let (to_moved, moved) = ipc::channel().unwrap();
        match carrier.send_ref(&moved) {
            Err(IpcError::Io(error)) => {
                assert_eq!(error.kind(), io::ErrorKind::TimedOut);
                assert!(error.to_string().contains("as many handles"), "{error}");
            }
            other => panic!("it was not refused: {other:?}"),
        }
        // It came back.
        to_moved.send(6).unwrap();
        assert_eq!(moved.recv().unwrap(), 6);
        // Without handles one can always send.
        sender.send((1000, Vec::new())).unwrap();
        for number in 0..sent {
            assert_eq!(receiver.recv().unwrap().0, number);
        }
        assert_eq!(receiver.recv().unwrap().0, 1000);
        carrier.send_ref(&moved).unwrap();
        let moved = carried.recv().unwrap();
        to_moved.send(7).unwrap();
        assert_eq!(moved.recv().unwrap(), 7);
    });
}

#[test]
fn c7_a_receiver_that_leaves_is_noticed_while_handles_wait() {
    harness::alone(
        harness::path_of(c7_a_receiver_that_leaves_is_noticed_while_handles_wait),
        || {
            let (sender, receiver) = ipc::channel().unwrap();
            let (elsewhere, kept_elsewhere) = ipc::channel().unwrap();
            let (ready, is_ready) = mpsc::channel();
            let sending = thread::spawn(move || {
                become_unprivileged();
                let (one, _kept) = ipc::channel().unwrap();
                fill_with_handles(&elsewhere, &one);
                ready.send(()).unwrap();
                sender.send((0, vec![one])).unwrap_err().is_disconnected()
            });
            is_ready.recv().unwrap();
            drop(receiver);
            assert!(sending.join().unwrap());
            drop(kept_elsewhere);
        },
    );
}

#[test]
fn c7_everything_works_without_proc() {
    if !rustix::process::geteuid().is_root() {
        // Nobody else can take it away.
        return;
    }
    harness::alone(harness::path_of(c7_everything_works_without_proc), || {
        let root = std::env::temp_dir().join(format!("strait-root-{}", std::process::id()));
        let temporary = std::env::temp_dir();
        fs::create_dir_all(root.join(temporary.strip_prefix("/").unwrap())).unwrap();
        let old_root = fs::File::open("/").unwrap();
        rustix::process::chroot(&root).unwrap();
        std::env::set_current_dir("/").unwrap();
        assert!(!fs::exists("/proc").unwrap());
        assert_business_as_usual();
        rustix::process::fchdir(&old_root).unwrap();
        rustix::process::chroot(".").unwrap();
        fs::remove_dir_all(&root).unwrap();
    });
}

#[test]
fn c7_memory_that_there_is_none_of_is_an_error() {
    harness::alone(harness::path_of(c7_memory_that_there_is_none_of_is_an_error), || {
        assert_business_as_usual();
        let (sender, receiver) = ipc::channel::<IpcSharedMemory>().unwrap();
        let large = IpcSharedMemory::try_from_byte(0, 1 << 30).unwrap();
        let (bytes_sender, bytes_receiver) = ipc::bytes_channel().unwrap();
        limit(Resource::As, address_space() + (200 << 20));
        assert!(IpcSharedMemory::try_from_byte(1, 1 << 30).is_err());
        assert!(IpcSharedMemory::try_from_byte(1, usize::MAX).is_err());
        assert!(IpcSharedMemory::try_from_byte(1, 1 << 62).is_err());
        sender.send(large.clone()).unwrap();
        assert!(matches!(receiver.recv(), Err(IpcError::SerializationError(_))));
        // A peer can send more than there is room for.
        let sending = thread::spawn(move || {
            let part = vec![7; 100_000];
            raw::send(&bytes_sender, &raw::first(1, 600_000_000, &part), &[]).unwrap();
            for _ in 1..5_999 {
                raw::send(&bytes_sender, &raw::middle(1, &part), &[]).unwrap();
            }
            raw::send(&bytes_sender, &raw::last(1, &part), &[]).unwrap();
            bytes_sender.send(b"small").unwrap();
        });
        assert!(matches!(bytes_receiver.recv(), Err(IpcError::SerializationError(_))));
        assert_eq!(bytes_receiver.recv().unwrap(), b"small");
        sending.join().unwrap();
        drop(large);
        assert_business_as_usual();
    });
}

fn address_space() -> u64 {
    let status = fs::read_to_string("/proc/self/statm").unwrap();
    let pages: u64 = status.split(' ').next().unwrap().parse().unwrap();
    pages * 4096
}

/// Sandboxes forbid writing files this way. The kernel's answer to who tries is a signal that kills.
#[test]
fn c7_memory_beyond_the_limit_on_files_is_an_error() {
    harness::alone(harness::path_of(c7_memory_beyond_the_limit_on_files_is_an_error), || {
        assert_business_as_usual();
        limit(Resource::Fsize, 4096);
        assert!(IpcSharedMemory::try_from_byte(1, 4097).is_err());
        assert_eq!(IpcSharedMemory::try_from_byte(1, 4096).unwrap().len(), 4096);
        limit(Resource::Fsize, 0);
        assert!(IpcSharedMemory::try_from_byte(1, 1).is_err());
        assert!(IpcSharedMemory::try_from_byte(1, 0).unwrap().is_empty());
        assert!(SharedMemoryWriter::new(1).is_err());
    });
}

#[test]
fn c7_every_call_works_or_fails_whatever_a_sandbox_forbids() {
    harness::alone(
        harness::path_of(c7_every_call_works_or_fails_whatever_a_sandbox_forbids),
        || {
            assert_business_as_usual();
            let handles = || {
                let mut handles = harness::handles();
                // Where std gets random numbers from when it has to; it keeps it.
                handles.retain(|handle| handle.what != "/dev/urandom");
                handles
            };
            let before = handles();
            for (name, forbidden) in [
                ("memfd_create", libc::SYS_memfd_create),
                ("ftruncate", libc::SYS_ftruncate),
                ("fcntl", libc::SYS_fcntl),
                ("fstatfs", libc::SYS_fstatfs),
                ("fallocate", libc::SYS_fallocate),
                ("pwrite", libc::SYS_pwrite64),
                ("eventfd", libc::SYS_eventfd2),
                ("epoll_create", libc::SYS_epoll_create1),
                ("epoll_ctl", libc::SYS_epoll_ctl),
                ("socketpair", libc::SYS_socketpair),
                ("socket", libc::SYS_socket),
                ("bind", libc::SYS_bind),
                ("sendmsg", libc::SYS_sendmsg),
                ("recvmsg", libc::SYS_recvmsg),
                ("ppoll", libc::SYS_ppoll),
                ("ioctl", libc::SYS_ioctl),
                ("getsockopt", libc::SYS_getsockopt),
                ("dup3", libc::SYS_dup3),
                ("prlimit", libc::SYS_prlimit64),
                ("getrandom", libc::SYS_getrandom),
            ] {
                for error in [Errno::NOSYS, Errno::PERM] {
                    // A filter is for the thread that installs it, and for good.
                    let failed = thread::spawn(move || {
                        forbid(forbidden, error);
                        let failed = |call: &Call| call.1().is_err();
                        CALLS
                            .iter()
                            .filter(|call| failed(call))
                            .map(|call| call.0)
                            .collect::<Vec<_>>()
                    })
                    .join()
                    .unwrap_or_else(|_| panic!("without {name} something panics"));
                    println!("without {name}: {failed:?}");
                    if name == "memfd_create" {
                        assert_eq!(failed, ["memory", "written memory"]);
                    }
                    if name == "fallocate" {
                        assert_eq!(failed, [""; 0]);
                    }
                    assert_eq!(handles(), before, "without {name}");
                }
            }
            assert_business_as_usual();
        },
    );
}

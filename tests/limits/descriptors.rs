//! A descriptor table that is full, or that fills up in the middle of a call.

use super::*;

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

/// Objects that are used for the first time while the descriptor table is full.
#[test]
fn c7_objects_made_without_descriptors_work_once_there_are_some() {
    harness::alone(
        harness::path_of(c7_objects_made_without_descriptors_work_once_there_are_some),
        || {
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
            // The route that could not be added was dropped, and its sender is disconnected.
            assert!(late_sender.send(1).unwrap_err().is_disconnected());
            assert_business_as_usual();
            carrier.send_ref(&receiver).unwrap();
            let receiver = carried.recv().unwrap();
            let routed = ROUTER.route_ipc_receiver_to_new_crossbeam_receiver(receiver);
            sender.send(5).unwrap();
            assert_eq!(routed.recv().unwrap(), 5);
        },
    );
}

/// A router that exists continues.
#[test]
fn c7_routes_survive_a_full_descriptor_table() {
    harness::alone(harness::path_of(c7_routes_survive_a_full_descriptor_table), || {
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
fn c7_message_with_more_handles_than_free_descriptors_is_one_error() {
    harness::alone(
        harness::path_of(c7_message_with_more_handles_than_free_descriptors_is_one_error),
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
                    // The sender's copies are made before the table is full, the receiver's are
                    // not there yet.
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
            // One of the handles fits and two do not: none is kept.
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

/// A server keeps a file descriptor in reserve for a connection.
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

/// No message is lost of a client that could not be accepted for lack of file descriptors.
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
            // One client uses the reserve and one a spare file descriptor, and so on.
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

/// A set that could not open a file descriptor of its own opens it later.
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

/// Clients that send no hello are dropped when there are no file descriptors left.
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

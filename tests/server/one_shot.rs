//! One-shot servers, between two threads.

use std::io;
use std::thread;
use std::time::{Duration, Instant};

use strait::ipc::{IpcBytesSender, IpcOneShotServer, IpcReceiver, IpcSender};
use strait::{IpcError, TryRecvError};

use crate::harness::watchdog_without_children as watchdog;

const LONG: Duration = Duration::from_secs(60);

#[test]
fn accept_returns_the_first_message_and_a_receiver() {
    let _watchdog = watchdog();
    let (server, name) = IpcOneShotServer::<String>::new().unwrap();
    let client = thread::spawn(move || {
        let sender = IpcSender::connect(name).unwrap();
        for word in ["first", "second", "third"] {
            sender.send(word.to_string()).unwrap();
        }
    });
    let (receiver, first) = server.accept().unwrap();
    assert_eq!(first, "first");
    client.join().unwrap();
    assert_eq!(receiver.into_iter().collect::<Vec<_>>(), ["second", "third"]);
}

#[test]
fn the_first_message_may_be_large_and_carry_endpoints() {
    type First = (Vec<u8>, IpcSender<u8>, IpcReceiver<u8>);

    let _watchdog = watchdog();
    let (server, name) = IpcOneShotServer::<First>::new().unwrap();
    let client = thread::spawn(move || {
        let (to_us, from_them) = strait::ipc::channel().unwrap();
        let (to_them, from_us) = strait::ipc::channel().unwrap();
        let sender = IpcSender::<First>::connect(name).unwrap();
        sender.send((vec![5; 1_000_000], to_us, from_us)).unwrap();
        to_them.send(from_them.recv().unwrap() + 1).unwrap();
    });
    let (_, (large, to_client, from_client)) = server.accept().unwrap();
    assert_eq!(large, vec![5; 1_000_000]);
    to_client.send(1).unwrap();
    assert_eq!(from_client.recv().unwrap(), 2);
    client.join().unwrap();
}

#[test]
fn server_receives_bytes_through_an_opaque_receiver() {
    let _watchdog = watchdog();
    let (server, name) = IpcOneShotServer::<u32>::new().unwrap();
    let client = thread::spawn(move || {
        let sender = IpcBytesSender::connect(name).unwrap();
        sender.send(&7_u32.to_le_bytes()).unwrap();
        sender.send(b"bytes").unwrap();
    });
    let (receiver, first) = server.accept().unwrap();
    assert_eq!(first, 7);
    assert_eq!(receiver.to_opaque().to_bytes().recv().unwrap(), b"bytes");
    client.join().unwrap();
}

#[test]
fn client_that_connects_before_accept_is_accepted() {
    let _watchdog = watchdog();
    let (server, name) = IpcOneShotServer::<u8>::new().unwrap();
    let sender = IpcSender::<u8>::connect(name).unwrap();
    sender.send(1).unwrap();
    drop(sender);
    let (receiver, first) = server.accept().unwrap();
    assert_eq!(first, 1);
    assert!(receiver.recv().unwrap_err().is_disconnected());
}

#[test]
fn clients_that_disconnect_or_send_nothing_are_skipped() {
    let _watchdog = watchdog();
    let (server, name) = IpcOneShotServer::<u8>::new().unwrap();
    for _ in 0..20 {
        drop(IpcSender::<u8>::connect(name.clone()).unwrap());
    }
    let silent: Vec<_> = (0..20).map(|_| IpcSender::<u8>::connect(name.clone()).unwrap()).collect();
    let sender = IpcSender::<u8>::connect(name).unwrap();
    sender.send(1).unwrap();
    assert_eq!(server.accept().unwrap().1, 1);
    // Once it has accepted a client, all others are disconnected.
    for sender in silent {
        assert!(sender.send(2).unwrap_err().is_disconnected());
    }
}

#[test]
fn a_first_message_of_another_type_is_an_error() {
    let _watchdog = watchdog();
    let (server, name) = IpcOneShotServer::<String>::new().unwrap();
    IpcSender::connect(name).unwrap().send(1_u8).unwrap();
    let error = server.accept().unwrap_err();
    assert!(matches!(error, IpcError::SerializationError(_)), "{error:?}");
}

#[test]
fn accept_without_client_times_out() {
    let _watchdog = watchdog();
    for nanoseconds in [0, 900_000, 20_300_000] {
        let (server, _) = IpcOneShotServer::<u8>::new().unwrap();
        let timeout = Duration::from_nanos(nanoseconds);
        let start = Instant::now();
        let error = server.accept_timeout(timeout).unwrap_err();
        assert!(matches!(error, TryRecvError::Empty), "{error:?}");
        assert!(start.elapsed() >= timeout);
    }
}

#[test]
fn a_silent_client_does_not_prolong_the_wait() {
    let _watchdog = watchdog();
    let (server, name) = IpcOneShotServer::<u8>::new().unwrap();
    let _silent = IpcSender::<u8>::connect(name).unwrap();
    let error = server.accept_timeout(Duration::from_millis(20)).unwrap_err();
    assert!(error.is_empty(), "{error:?}");
}

#[test]
fn client_within_the_timeout_is_accepted() {
    let _watchdog = watchdog();
    for timeout in [LONG, Duration::MAX] {
        let (server, name) = IpcOneShotServer::<u8>::new().unwrap();
        let client =
            thread::spawn(move || IpcSender::<u8>::connect(name).unwrap().send(1).unwrap());
        assert_eq!(server.accept_timeout(timeout).unwrap().1, 1);
        client.join().unwrap();
    }
}

#[test]
fn name_is_removed_with_the_server() {
    let _watchdog = watchdog();
    let connect = |name: &str| IpcSender::<u8>::connect(name.to_string());
    let (server, dropped) = IpcOneShotServer::<u8>::new().unwrap();
    drop(server);
    let (server, accepted) = IpcOneShotServer::<u8>::new().unwrap();
    connect(&accepted).unwrap().send(1).unwrap();
    let (_receiver, _) = server.accept().unwrap();
    for name in [&dropped, &accepted] {
        assert_eq!(connect(name).unwrap_err().kind(), io::ErrorKind::NotFound);
    }
}

#[test]
fn connect_to_an_unknown_name_is_an_error() {
    let _watchdog = watchdog();
    let connect = |name: &str| {
        let bytes = IpcBytesSender::connect(name.to_string()).map(drop);
        let typed = IpcSender::<u8>::connect(name.to_string()).map(drop);
        assert_eq!(bytes.as_ref().unwrap_err().kind(), typed.as_ref().unwrap_err().kind());
        typed.unwrap_err()
    };
    for name in ["nobody", "/nowhere/at/all", "6c3ac1ab-0f4d-4a51-9a39-2f1c83a0a3b6"] {
        assert_eq!(connect(name).kind(), io::ErrorKind::NotFound, "{name}");
    }
    for name in ["", "\0", "a\0b", &"long/".repeat(1000), "/dev/null", "."] {
        connect(name);
    }
}

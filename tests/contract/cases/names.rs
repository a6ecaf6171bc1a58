//! Listeners, and connections by name.

use std::io;
use std::sync::atomic::{AtomicU32, Ordering};

use strait::internals::ServerName;
#[allow(unused_imports, reason = "some backends' `Peer` has these methods itself")]
use strait::internals::contract::Peer as _;
use strait::internals::contract::{
    Attachment as _, Listener as _, PacketReceiver as _, PacketSender as _,
};

use super::*;

#[track_caller]
fn expect_unknown(name: &str) {
    let error = backend::connect(name).expect_err("no such name");
    assert_eq!(error.kind(), io::ErrorKind::NotFound, "{name:?}: {error}");
}

#[test]
fn each_connection_is_a_channel() {
    let _watchdog = watchdog();
    let (listener, name) = Listener::bind().unwrap();
    let first = backend::connect(&name).unwrap();
    send(&first, b"first");
    let second = backend::connect(&name).unwrap();
    let (first_end, peer) = listener.accept(soon()).unwrap();
    assert!(peer.is_same_user());
    let (second_end, _) = listener.accept(soon()).unwrap();
    expect(&first_end, b"first");
    send(&second, b"second");
    expect_empty(&first_end);
    expect(&second_end, b"second");
    drop(first);
    expect_closed(&first_end);
    expect_empty(&second_end);
}

#[test]
fn a_connection_carries_attachments() {
    let _watchdog = watchdog();
    let (listener, name) = Listener::bind().unwrap();
    let client = backend::connect(&name).unwrap();
    let (server_end, _) = listener.accept(soon()).unwrap();
    let (answer, answers) = backend::channel().unwrap();
    send_with(&client, b"x", Attachment::from_sender(Arc::new(answer)));
    let answer = expect_one(&server_end, b"x").into_sender().unwrap();
    send(&answer, b"yes");
    expect(&answers, b"yes");
}

#[test]
fn packets_of_a_disconnected_client_are_received() {
    let _watchdog = watchdog();
    let (listener, name) = Listener::bind().unwrap();
    let client = backend::connect(&name).unwrap();
    send(&client, b"bye");
    drop(client);
    let (receiver, _) = listener.accept(soon()).unwrap();
    expect(&receiver, b"bye");
    expect_closed(&receiver);
}

#[test]
fn accept_waits_until_its_deadline() {
    let _watchdog = watchdog();
    let (listener, name) = Listener::bind().unwrap();
    assert!(matches!(listener.accept(Wait::Never), Err(RecvError::Empty)));
    let deadline = Instant::now() + Duration::from_micros(1900);
    let result = listener.accept(Wait::Until(deadline));
    assert!(matches!(result, Err(RecvError::Empty)));
    assert!(Instant::now() >= deadline);
    let barrier = Arc::new(Barrier::new(2));
    let thread = thread::spawn({
        let barrier = Arc::clone(&barrier);
        move || {
            barrier.wait();
            backend::connect(&name).unwrap()
        }
    });
    barrier.wait();
    listener.accept(Wait::Forever).unwrap();
    drop(thread.join().unwrap());
}

#[test]
fn unknown_ones_are_not_found() {
    let _watchdog = watchdog();
    expect_unknown("strait-there-is-no-such-server");
    let (_listener, name) = Listener::bind().unwrap();
    expect_unknown(&format!("{name}x"));
}

#[test]
fn impossible_ones_are_an_error() {
    let _watchdog = watchdog();
    for name in ["", "\0", "a\0b", &"x".repeat(200), &"/y".repeat(5000)] {
        assert!(backend::connect(name).is_err(), "{name:?}");
    }
}

#[test]
fn are_removed_with_their_listener() {
    let _watchdog = watchdog();
    let (listener, name) = Listener::bind().unwrap();
    let waiting = backend::connect(&name).unwrap();
    drop(listener);
    expect_unknown(&name);
    let result = waiting.send(b"x", b"", Vec::new(), Wait::Never);
    assert!(matches!(result, Err((SendError::Closed, _))));
}

#[test]
fn are_all_different() {
    let _watchdog = watchdog();
    let listeners: Vec<_> = (0..50).map(|_| Listener::bind().unwrap()).collect();
    let names: HashSet<_> = listeners.iter().map(|(_, name)| name).collect();
    assert_eq!(names.len(), listeners.len());
}

/// An unused name of each kind.
fn chosen_names() -> [ServerName; 3] {
    static LAST: AtomicU32 = AtomicU32::new(0);
    let number = LAST.fetch_add(1, Ordering::Relaxed);
    let name = format!("strait-contract-{}-{number}", std::process::id());
    let path = std::env::temp_dir().join(&name);
    [ServerName::Private(name.clone()), ServerName::Path(path), ServerName::Abstract(name)]
}

/// Repeats the call until it returns a value.
fn eventually<R>(mut attempt: impl FnMut() -> Option<R>) -> R {
    loop {
        if let Some(result) = attempt() {
            return result;
        }
        thread::yield_now();
    }
}

#[test]
fn chosen_ones_connect_to_their_listener() {
    let _watchdog = watchdog();
    for name in chosen_names() {
        let listener = Listener::bind_named(&name).unwrap();
        let client = backend::connect_named(&name, soon()).unwrap();
        assert!(client.peer().unwrap().is_same_user());
        send(&client, b"x");
        drop(client);
        let (receiver, peer) = listener.accept(soon()).unwrap();
        assert!(peer.is_same_user());
        expect(&receiver, b"x");
        expect_closed(&receiver);
    }
}

#[test]
fn chosen_ones_have_one_listener_at_a_time() {
    let _watchdog = watchdog();
    for name in chosen_names() {
        let missing = backend::connect_named(&name, Wait::Never).unwrap_err();
        let listener = Listener::bind_named(&name).unwrap();
        for _ in 0..3 {
            let error = Listener::bind_named(&name).unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::AddrInUse, "{error}");
        }
        // The listener still works.
        let waiting = backend::connect_named(&name, Wait::Forever).unwrap();
        send(&waiting, b"x");
        let (receiver, _) = listener.accept(soon()).unwrap();
        expect(&receiver, b"x");
        drop((receiver, listener));
        // Not at once: a child process that another test starts has copies of everything until
        // its `exec`.
        let gone = eventually(|| backend::connect_named(&name, Wait::Never).err());
        assert_eq!(gone.kind(), missing.kind(), "{gone}");
        let (error, _) = eventually(|| waiting.send(b"x", b"", Vec::new(), Wait::Never).err());
        assert!(matches!(error, SendError::Closed), "{error:?}");
        drop(eventually(|| Listener::bind_named(&name).ok()));
    }
}

#[test]
fn chosen_ones_are_validated() {
    let _watchdog = watchdog();
    let names = ["", "..", "a/b", "a b"].map(|name| ServerName::Private(name.to_string()));
    for name in [&names[..], &[ServerName::Path("/".into()), ServerName::Abstract("".into())]] {
        for name in name {
            let error = Listener::bind_named(name).unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::InvalidInput, "{error}");
            let error = backend::connect_named(name, Wait::Forever).unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::InvalidInput, "{error}");
        }
    }
}

#[test]
fn handle_can_be_reserved_and_released() {
    let _watchdog = watchdog();
    let (listener, name) = Listener::bind().unwrap();
    for _ in 0..3 {
        listener.reserve().unwrap();
        listener.reserve().unwrap();
        let _client = backend::connect(&name).unwrap();
        listener.release();
        listener.release();
        listener.accept(soon()).unwrap();
    }
}

/// A sender whose connection was closed gets an error, and no packet that it reports as
/// sent is lost.
#[test]
fn send_into_a_refused_channel_is_closed() {
    let _watchdog = watchdog();
    for _ in 0..200 {
        let (sender, receiver) = backend::channel().unwrap();
        let (began, has_begun) = mpsc::channel();
        let thread = thread::spawn(move || {
            let mut sent = 0;
            loop {
                match sender.send(b"x", b"", Vec::new(), Wait::Forever) {
                    Ok(()) => sent += 1,
                    Err((error, _)) => {
                        assert!(matches!(error, SendError::Closed), "{error:?}");
                        return sent;
                    }
                }
                let _ = began.send(());
            }
        });
        has_begun.recv().unwrap();
        receiver.refuse();
        let mut received = 0;
        while packet_from(&receiver, Wait::Never).is_ok() {
            received += 1;
        }
        // Nothing comes later.
        let sent = thread.join().unwrap();
        assert!(packet_from(&receiver, Wait::Never).is_err());
        assert_eq!(sent, received);
    }
}

//! Names lead to channels.

use std::io;

use super::*;

#[track_caller]
fn expect_unknown(name: &str) {
    let error = PacketSender::connect(name).expect_err("no such name");
    assert_eq!(error.kind(), io::ErrorKind::NotFound, "{name:?}: {error}");
}

#[test]
fn each_connection_is_a_channel() {
    let _watchdog = watchdog();
    let (listener, name) = Listener::bind().unwrap();
    let first = PacketSender::connect(&name).unwrap();
    send(&first, b"first");
    let second = PacketSender::connect(&name).unwrap();
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
    let client = PacketSender::connect(&name).unwrap();
    let (server_end, _) = listener.accept(soon()).unwrap();
    let (answer, answers) = backend::channel().unwrap();
    send_with(&client, b"x", Attachment::from_sender(Arc::new(answer)));
    let answer = expect_one(&server_end, b"x").into_sender().unwrap();
    send(&answer, b"yes");
    expect(&answers, b"yes");
}

#[test]
fn a_client_that_left_is_heard_to_the_end() {
    let _watchdog = watchdog();
    let (listener, name) = Listener::bind().unwrap();
    let client = PacketSender::connect(&name).unwrap();
    send(&client, b"bye");
    drop(client);
    let (receiver, _) = listener.accept(soon()).unwrap();
    expect(&receiver, b"bye");
    expect_closed(&receiver);
}

#[test]
fn accept_waits_as_it_is_told() {
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
            PacketSender::connect(&name).unwrap()
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
        assert!(PacketSender::connect(name).is_err(), "{name:?}");
    }
}

#[test]
fn disappear_with_their_listener() {
    let _watchdog = watchdog();
    let (listener, name) = Listener::bind().unwrap();
    let waiting = PacketSender::connect(&name).unwrap();
    drop(listener);
    expect_unknown(&name);
    let result = waiting.send(b"x", b"", Vec::new());
    assert!(matches!(result, Err((SendError::Closed, _))));
}

#[test]
fn are_all_different() {
    let _watchdog = watchdog();
    let listeners: Vec<_> = (0..50).map(|_| Listener::bind().unwrap()).collect();
    let names: HashSet<_> = listeners.iter().map(|(_, name)| name).collect();
    assert_eq!(names.len(), listeners.len());
}

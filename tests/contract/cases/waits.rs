//! Blocking and timeouts of `recv`.

use super::*;

#[test]
fn never_does_not_wait() {
    let _watchdog = watchdog();
    let (sender, receiver) = backend::channel().unwrap();
    expect_empty(&receiver);
    send(&sender, b"x");
    assert!(packet_from(&receiver, Wait::Never).is_ok());
    expect_empty(&receiver);
    drop(sender);
    let result = packet_from(&receiver, Wait::Never);
    assert!(matches!(result, Err(RecvError::Closed)));
}

/// Below, at and beside whole milliseconds: no timeout is truncated.
#[test]
fn until_is_not_early() {
    let _watchdog = watchdog();
    let (_sender, receiver) = backend::channel().unwrap();
    for nanoseconds in [1, 900_000, 1_000_000, 1_900_001, 20_300_000] {
        let deadline = Instant::now() + Duration::from_nanos(nanoseconds);
        let result = packet_from(&receiver, Wait::Until(deadline));
        assert!(matches!(result, Err(RecvError::Empty)));
        assert!(Instant::now() >= deadline, "{nanoseconds} ns");
    }
}

#[test]
fn until_the_past_takes_what_is_there() {
    let _watchdog = watchdog();
    let (sender, receiver) = backend::channel().unwrap();
    let past = Wait::Until(Instant::now());
    assert!(matches!(packet_from(&receiver, past), Err(RecvError::Empty)));
    send(&sender, b"x");
    assert!(packet_from(&receiver, past).is_ok());
}

#[test]
fn until_ends_with_the_packet() {
    let _watchdog = watchdog();
    let (sender, receiver) = backend::channel().unwrap();
    for far in [LONG, Duration::from_secs(u64::from(u32::MAX)), Duration::MAX] {
        let (ready, is_ready) = mpsc::channel();
        thread::scope(|scope| {
            let sender = &sender;
            scope.spawn(move || {
                is_ready.recv().unwrap();
                send(sender, b"x");
            });
            ready.send(()).unwrap();
            packet_from(&receiver, Wait::at_most(far)).unwrap();
        });
    }
}

#[test]
fn forever_ends_with_the_packet() {
    let _watchdog = watchdog();
    let (sender, receiver) = backend::channel().unwrap();
    let (answer, answers) = backend::channel().unwrap();
    let thread = thread::spawn(move || {
        while let Ok((bytes, _)) = packet_from(&receiver, Wait::Forever) {
            send(&answer, &bytes);
        }
    });
    for number in 0..200_u32 {
        send(&sender, &number.to_le_bytes());
        let (bytes, _) = packet_from(&answers, Wait::Forever).unwrap();
        assert_eq!(bytes, number.to_le_bytes());
    }
    drop(sender);
    thread.join().unwrap();
}

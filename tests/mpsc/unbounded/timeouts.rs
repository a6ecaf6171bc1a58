//! Receiving with timeouts.

use std::thread;
use std::time::{Duration, Instant};

use super::mpsc::{RecvTimeoutError, channel};
use super::{LONG, watchdog};

const SHORT: Duration = Duration::from_millis(2);

#[test]
fn late_value_is_received_by_the_next_call() {
    let _watchdog = watchdog();
    let (sender, receiver) = channel();
    for timeout in [Duration::ZERO, Duration::from_nanos(1), SHORT] {
        let begun = Instant::now();
        assert_eq!(receiver.recv_timeout(timeout), Err(RecvTimeoutError::Timeout));
        assert!(begun.elapsed() >= timeout);
    }
    sender.send(1).unwrap();
    assert_eq!(receiver.recv_timeout(SHORT), Ok(1));
    assert_eq!(receiver.recv_timeout(SHORT), Err(RecvTimeoutError::Timeout));
}

#[test]
fn queued_value_is_received_with_zero_timeout() {
    let _watchdog = watchdog();
    let (sender, receiver) = channel();
    sender.send(1).unwrap();
    assert_eq!(receiver.recv_timeout(Duration::ZERO), Ok(1));
    sender.send(2).unwrap();
    drop(sender);
    assert_eq!(receiver.recv_timeout(Duration::ZERO), Ok(2));
    assert_eq!(receiver.recv_timeout(Duration::ZERO), Err(RecvTimeoutError::Disconnected));
}

#[test]
fn maximum_timeout_is_accepted() {
    let _watchdog = watchdog();
    for timeout in [Duration::MAX, Duration::from_secs(u64::MAX), Duration::from_secs(1 << 40)] {
        let (sender, receiver) = channel();
        let receiving =
            thread::spawn(move || [receiver.recv_timeout(timeout), receiver.recv_timeout(timeout)]);
        sender.send(1).unwrap();
        drop(sender);
        assert_eq!(receiving.join().unwrap(), [Ok(1), Err(RecvTimeoutError::Disconnected)]);
    }
}

#[test]
fn disconnection_ends_the_wait() {
    let _watchdog = watchdog();
    let (sender, receiver) = channel::<u8>();
    let receiving = thread::spawn(move || receiver.recv_timeout(LONG));
    drop(sender);
    assert_eq!(receiving.join().unwrap(), Err(RecvTimeoutError::Disconnected));
}

/// A timeout has no effect on clones that are made later.
#[test]
fn expired_timeout_leaves_no_trace() {
    let _watchdog = watchdog();
    let (sender, receiver) = channel();
    assert_eq!(receiver.recv_timeout(SHORT), Err(RecvTimeoutError::Timeout));
    let clone = sender.clone();
    assert_eq!(receiver.recv_timeout(SHORT), Err(RecvTimeoutError::Timeout));
    clone.send(1).unwrap();
    drop(clone);
    assert_eq!(receiver.recv_timeout(LONG), Ok(1));
    assert_eq!(receiver.recv_timeout(SHORT), Err(RecvTimeoutError::Timeout));
    drop(sender);
    assert_eq!(receiver.recv_timeout(LONG), Err(RecvTimeoutError::Disconnected));
}

/// Repeated short timeouts lose no message.
#[test]
fn short_waits_lose_nothing() {
    let _watchdog = watchdog();
    for senders in [1, 6] {
        let (sender, receiver) = channel();
        for _ in 0..senders {
            let sender = sender.clone();
            thread::spawn(move || {
                for number in 0..200 {
                    sender.send(number).unwrap();
                    if number % 20 == 0 {
                        thread::park_timeout(SHORT);
                    }
                }
            });
        }
        drop(sender);
        let mut received = 0;
        loop {
            match receiver.recv_timeout(Duration::from_micros(100)) {
                Ok(_) => received += 1,
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => break,
            }
        }
        assert_eq!(received, senders * 200);
    }
}

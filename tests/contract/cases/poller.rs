//! Pollers report what became ready, in time and often enough.

use super::*;
use strait::internals::contract::{Listener as _, PollWaker as _, Poller as _, Registry as _};

/// Waits until `id` is reported.
#[track_caller]
fn expect_report(poller: &mut Poller, id: u64) {
    let mut ready = VecDeque::new();
    while !ready.contains(&id) {
        ready.clear();
        poller.wait(soon(), &mut ready).unwrap();
        assert!(!ready.is_empty(), "{id} was not reported");
    }
}

#[test]
fn reports_what_becomes_ready() {
    let _watchdog = watchdog();
    let mut poller = Poller::new().unwrap();
    let (sender, receiver) = backend::channel().unwrap();
    poller.add(&receiver, 7).unwrap();
    for _ in 0..3 {
        send(&sender, b"x");
        expect_report(&mut poller, 7);
        expect(&receiver, b"x");
        // Only after this is another report certain.
        expect_empty(&receiver);
    }
    drop(sender);
    expect_report(&mut poller, 7);
    expect_closed(&receiver);
}

#[test]
fn reports_what_was_ready_before_it_was_added() {
    let _watchdog = watchdog();
    let mut poller = Poller::new().unwrap();
    let (sender, with_packet) = backend::channel().unwrap();
    send(&sender, b"x");
    poller.add(&with_packet, 1).unwrap();
    expect_report(&mut poller, 1);
    let (sender, closed) = backend::channel().unwrap();
    drop(sender);
    poller.add(&closed, 2).unwrap();
    expect_report(&mut poller, 2);
}

#[test]
fn waits_until_its_deadline() {
    let _watchdog = watchdog();
    let mut poller = Poller::new().unwrap();
    let mut ready = VecDeque::new();
    poller.wait(Wait::Never, &mut ready).unwrap();
    for nanoseconds in [1, 900_000, 1_900_001, 20_300_000] {
        let deadline = Instant::now() + Duration::from_nanos(nanoseconds);
        poller.wait(Wait::Until(deadline), &mut ready).unwrap();
        assert!(Instant::now() >= deadline, "{nanoseconds} ns");
    }
    assert!(ready.is_empty());
}

#[test]
fn appends_what_it_reports() {
    let _watchdog = watchdog();
    let mut poller = Poller::new().unwrap();
    let (sender, receiver) = backend::channel().unwrap();
    poller.add(&receiver, 3).unwrap();
    send(&sender, b"x");
    let mut ready = VecDeque::from([77]);
    while ready.len() == 1 {
        poller.wait(soon(), &mut ready).unwrap();
    }
    assert_eq!((ready[0], ready[1]), (77, 3));
}

/// Packets that arrive while the receiver is being emptied are reported.
#[test]
fn loses_no_packet_between_empty_and_wait() {
    const PACKETS: u32 = 20_000;

    let _watchdog = watchdog();
    let mut poller = Poller::new().unwrap();
    let (sender, receiver) = backend::channel().unwrap();
    poller.add(&receiver, 0).unwrap();
    let thread = thread::spawn(move || {
        for number in 0..PACKETS {
            send(&sender, &number.to_le_bytes());
        }
    });
    let (mut next, mut ready) = (0, VecDeque::new());
    loop {
        poller.wait(Wait::Forever, &mut ready).unwrap();
        ready.clear();
        let end = loop {
            match packet_from(&receiver, Wait::Never) {
                Ok((bytes, _)) => {
                    assert_eq!(bytes, u32::to_le_bytes(next));
                    next += 1;
                }
                Err(error) => break error,
            }
        };
        match end {
            RecvError::Empty => {}
            RecvError::Closed => break,
            RecvError::Io(error) | RecvError::Broken(error) => panic!("{error}"),
        }
    }
    assert_eq!(next, PACKETS);
    thread.join().unwrap();
}

/// However many receivers there are, and however fast they become ready again.
#[test]
fn reports_a_bounded_number_at_once() {
    // Room for the file descriptors of so many receivers.
    alone_in(module_path!(), "reports_a_bounded_number_at_once", report_a_bounded_number_at_once);
}

fn report_a_bounded_number_at_once() {
    let mut poller = Poller::new().unwrap();
    let channels: Vec<_> = (0..1000.min(harness::room_for_handles() / 3))
        .map(|_| backend::channel().unwrap())
        .collect();
    for (id, (sender, receiver)) in (0..).zip(&channels) {
        poller.add(receiver, id).unwrap();
        send(sender, b"x");
    }
    let (mut reported, mut ready) = (HashSet::new(), VecDeque::new());
    while reported.len() < channels.len() {
        ready.clear();
        poller.wait(Wait::Forever, &mut ready).unwrap();
        assert!(ready.len() <= 256, "{}", ready.len());
        reported.extend(ready.iter().copied());
    }
}

#[test]
fn reports_the_ready_ones_of_many() {
    alone_in(module_path!(), "reports_the_ready_ones_of_many", report_the_ready_ones_of_many);
}

fn report_the_ready_ones_of_many() {
    let mut poller = Poller::new().unwrap();
    let channels: Vec<_> = (0..300).map(|_| backend::channel().unwrap()).collect();
    for (id, (_, receiver)) in (0..).zip(&channels) {
        poller.add(receiver, id).unwrap();
    }
    // A spurious report comes at most once.
    let mut ready = VecDeque::new();
    loop {
        ready.clear();
        poller.wait(Wait::Never, &mut ready).unwrap();
        if ready.is_empty() {
            break;
        }
    }
    for round in 0..3 {
        let expected: HashSet<u64> = (0..300).filter(|id| (id + round) % 97 == 5).collect();
        for id in &expected {
            send(&channels[*id as usize].0, b"x");
        }
        let mut reported = HashSet::new();
        while reported.len() < expected.len() {
            ready.clear();
            poller.wait(soon(), &mut ready).unwrap();
            reported.extend(ready.iter().copied());
        }
        assert_eq!(reported, expected);
        for id in expected {
            expect(&channels[id as usize].1, b"x");
            expect_empty(&channels[id as usize].1);
        }
    }
}

#[test]
fn reports_no_removed_receiver() {
    let _watchdog = watchdog();
    let mut poller = Poller::new().unwrap();
    let waker = poller.waker().unwrap();
    let (sender, receiver) = backend::channel().unwrap();
    let (other_sender, other) = backend::channel().unwrap();
    poller.add(&receiver, 1).unwrap();
    poller.add(&other, 2).unwrap();
    let mut ready = VecDeque::new();
    poller.wait(Wait::Never, &mut ready).unwrap();
    poller.remove(&receiver).unwrap();
    ready.clear();
    poller.wait(Wait::Never, &mut ready).unwrap();
    ready.clear();
    send(&sender, b"x");
    send(&other_sender, b"x");
    waker.wake().unwrap();
    let mut reported = HashSet::new();
    while reported.len() < 2 {
        poller.wait(soon(), &mut ready).unwrap();
        reported.extend(ready.drain(..));
    }
    assert_eq!(reported, HashSet::from([2, WAKE_ID]));
    expect(&receiver, b"x");
    // And it can be added again, under another id.
    poller.add(&receiver, 4).unwrap();
    send(&sender, b"x");
    expect_report(&mut poller, 4);
}

#[test]
fn a_removed_receiver_may_join_another_poller() {
    let _watchdog = watchdog();
    let (mut first, mut second) = (Poller::new().unwrap(), Poller::new().unwrap());
    let (sender, receiver) = backend::channel().unwrap();
    first.add(&receiver, 1).unwrap();
    send(&sender, b"x");
    expect_report(&mut first, 1);
    first.remove(&receiver).unwrap();
    drop(first);
    second.add(&receiver, 2).unwrap();
    expect_report(&mut second, 2);
    expect(&receiver, b"x");
}

#[test]
fn registries_add_and_remove_from_any_thread() {
    let _watchdog = watchdog();
    let mut poller = Poller::new().unwrap();
    let registry = poller.registry().unwrap();
    let (waiting, is_waiting) = mpsc::channel();
    let thread = thread::spawn(move || {
        is_waiting.recv().unwrap();
        let (sender, receiver) = backend::channel().unwrap();
        registry.add(&receiver, 9).unwrap();
        send(&sender, b"x");
        (registry, sender, receiver)
    });
    waiting.send(()).unwrap();
    expect_report(&mut poller, 9);
    let (registry, sender, receiver) = thread.join().unwrap();
    expect(&receiver, b"x");
    expect_empty(&receiver);
    registry.remove(&receiver).unwrap();
    let mut ready = VecDeque::new();
    poller.wait(Wait::Never, &mut ready).unwrap();
    ready.clear();
    send(&sender, b"x");
    poller.wait(Wait::Never, &mut ready).unwrap();
    assert!(ready.is_empty());
}

#[test]
fn a_waker_interrupts_the_current_and_the_next_wait() {
    let _watchdog = watchdog();
    let mut poller = Poller::new().unwrap();
    let waker = poller.waker().unwrap();
    waker.wake().unwrap();
    expect_report(&mut poller, WAKE_ID);
    let thread = thread::spawn({
        let waker = waker.clone();
        move || waker.wake().unwrap()
    });
    let mut ready = VecDeque::new();
    while ready.is_empty() {
        poller.wait(Wait::Forever, &mut ready).unwrap();
    }
    assert_eq!(ready, [WAKE_ID]);
    thread.join().unwrap();
}

/// Wakes more often than any queue or socket buffer has room for, while no thread waits.
#[test]
fn a_waker_never_blocks() {
    let _watchdog = watchdog();
    let mut poller = Poller::new().unwrap();
    let waker = poller.waker().unwrap();
    for _ in 0..100_000 {
        waker.wake().unwrap();
    }
    expect_report(&mut poller, WAKE_ID);
    drop(poller);
    // No thread is left to be woken; `wake` must not panic.
    let _ = waker.wake();
}

#[test]
fn reports_a_listener_with_a_connection() {
    let _watchdog = watchdog();
    let mut poller = Poller::new().unwrap();
    let (listener, name) = Listener::bind().unwrap();
    poller.add_listener(&listener, 5).unwrap();
    let sender = backend::connect(&name).unwrap();
    expect_report(&mut poller, 5);
    let (receiver, _) = listener.accept(Wait::Never).unwrap();
    poller.add(&receiver, 6).unwrap();
    send(&sender, b"x");
    expect_report(&mut poller, 6);
}

#[test]
fn reports_another_poller() {
    let _watchdog = watchdog();
    let (mut outer, mut inner) = (Poller::new().unwrap(), Poller::new().unwrap());
    let (sender, receiver) = backend::channel().unwrap();
    inner.add(&receiver, 3).unwrap();
    outer.add_poller(&inner, 8).unwrap();
    let mut ready = VecDeque::new();
    for _ in 0..3 {
        send(&sender, b"x");
        expect_report(&mut outer, 8);
        expect_report(&mut inner, 3);
        expect(&receiver, b"x");
        expect_empty(&receiver);
        // A report is certain only after an empty `try_recv`.
        loop {
            ready.clear();
            inner.wait(Wait::Never, &mut ready).unwrap();
            if ready.is_empty() {
                break;
            }
        }
    }
    outer.remove_poller(&inner).unwrap();
    outer.wait(Wait::Never, &mut ready).unwrap();
    ready.clear();
    send(&sender, b"x");
    outer.wait(Wait::Never, &mut ready).unwrap();
    assert!(ready.is_empty());
    // From any thread, and what was there before.
    let registry = outer.registry().unwrap();
    let inner = thread::spawn(move || {
        registry.add_poller(&inner, 9).unwrap();
        (registry, inner)
    });
    expect_report(&mut outer, 9);
    let (registry, mut inner) = inner.join().unwrap();
    expect_report(&mut inner, 3);
    registry.remove_poller(&inner).unwrap();
}

/// Packets that arrive while the inner poller is being served are reported.
#[test]
fn loses_no_packet_behind_another_poller() {
    const PACKETS: u32 = 20_000;

    let _watchdog = watchdog();
    let (mut outer, mut inner) = (Poller::new().unwrap(), Poller::new().unwrap());
    let (sender, receiver) = backend::channel().unwrap();
    inner.add(&receiver, 0).unwrap();
    outer.add_poller(&inner, 0).unwrap();
    let thread = thread::spawn(move || {
        for number in 0..PACKETS {
            send(&sender, &number.to_le_bytes());
        }
    });
    let (mut next, mut ready) = (0, VecDeque::new());
    'open: loop {
        outer.wait(Wait::Forever, &mut ready).unwrap();
        ready.clear();
        loop {
            inner.wait(Wait::Never, &mut ready).unwrap();
            if ready.is_empty() {
                break;
            }
            ready.clear();
            let end = loop {
                match packet_from(&receiver, Wait::Never) {
                    Ok(_) => next += 1,
                    Err(error) => break error,
                }
            };
            if let RecvError::Closed = end {
                break 'open;
            }
        }
    }
    assert_eq!(next, PACKETS);
    thread.join().unwrap();
}

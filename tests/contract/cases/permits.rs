//! Permits: each is taken once, `issue` does not block, and waits end when the issuer
//! is dropped.

use super::*;
use backend::{PermitIssuer, PermitTaker, permits};
use strait::internals::Permit;
use strait::internals::contract::{
    Attachment as _, PacketSender as _, PermitIssuer as _, PermitTaker as _,
};

#[track_caller]
fn expect_none(taker: &PermitTaker) {
    assert!(!taker.is_any());
    assert_eq!(taker.take().unwrap(), Permit::None);
}

#[track_caller]
fn take(taker: &PermitTaker, count: usize) {
    for taken in 0..count {
        assert!(taker.is_any(), "{taken} of {count}");
        assert_eq!(taker.take().unwrap(), Permit::Taken, "{taken} of {count}");
    }
}

/// Returns a sender to wait with, and its receiver, which keeps the channel connected.
fn channel() -> (PacketSender, PacketReceiver) {
    backend::channel().unwrap()
}

#[test]
fn each_is_taken_once() {
    let _watchdog = watchdog();
    let (taker, issuer) = permits(0).unwrap();
    expect_none(&taker);
    assert_eq!(issuer.issue(0), 0);
    expect_none(&taker);
    assert_eq!(issuer.issue(3), 0);
    assert_eq!(issuer.issue(2), 0);
    assert_eq!(issuer.unclaimed(), Some(5));
    take(&taker, 4);
    assert_eq!(issuer.unclaimed(), Some(1));
    assert!(issuer.take_back());
    assert!(!issuer.take_back());
    expect_none(&taker);
    assert_eq!(issuer.unclaimed(), Some(0));
}

#[test]
fn there_is_room_for_the_announced_number() {
    let _watchdog = watchdog();
    for most in [0, 1, 100, 4096, 5000, 500_000] {
        let (taker, issuer) = permits(most).unwrap();
        assert!(issuer.capacity() >= most, "{most}");
        assert_eq!(issuer.unclaimed(), Some(most));
        // However many were taken before.
        for taken in [1, 7, 4095, 4097] {
            let taken = taken.min(most);
            take(&taker, taken);
            (0..taken).for_each(|_| assert_eq!(issuer.issue(1), 0, "{most}"));
            assert_eq!(issuer.unclaimed(), Some(most));
        }
    }
}

#[test]
fn permits_beyond_the_room_are_issued_later() {
    let _watchdog = watchdog();
    let (taker, issuer) = permits(0).unwrap();
    let mut left = 10_000;
    while left > 0 {
        let later = issuer.issue(left);
        assert!(later < left);
        left = later;
    }
    assert_eq!(issuer.unclaimed(), Some(10_000));
    take(&taker, 10_000);
    expect_none(&taker);
}

#[test]
fn several_threads_take_and_issue() {
    let _watchdog = watchdog();
    let (taker, issuer) = permits(0).unwrap();
    let (sender, _receiver) = channel();
    thread::scope(|scope| {
        let taking: Vec<_> = (0..3)
            .map(|_| {
                scope.spawn(|| {
                    let mut taken = 0;
                    while taken < 1000 {
                        match taker.take().unwrap() {
                            Permit::Taken => taken += 1,
                            Permit::None => taker.wait(&sender, soon(), false).unwrap(),
                            Permit::Closed => panic!("its issuer lives"),
                        }
                    }
                })
            })
            .collect();
        for _ in 0..1500 {
            while issuer.unclaimed() > Some(900) {
                thread::yield_now();
            }
            assert_eq!(issuer.issue(2), 0);
        }
        taking.into_iter().for_each(|thread| thread.join().unwrap());
    });
    expect_none(&taker);
}

#[test]
fn waiting_sender_is_woken_by_permits_and_by_the_end() {
    let _watchdog = watchdog();
    let (taker, issuer) = permits(0).unwrap();
    let (sender, receiver) = channel();
    for is_in_queue in [false, true] {
        let started = Instant::now();
        taker.wait(&sender, Wait::at_most(Duration::from_millis(20)), is_in_queue).unwrap();
        assert!(started.elapsed() >= Duration::from_millis(20));
        thread::scope(|scope| {
            scope.spawn(|| {
                while taker.take().unwrap() != Permit::Taken {
                    taker.wait(&sender, Wait::Forever, is_in_queue).unwrap();
                }
            });
            issuer.issue(1);
        });
    }
    // A backend need not report that no more permits will be issued, because the channel is
    // disconnected at the same time.
    let is_over = |taker: &PermitTaker| match taker.take().unwrap() {
        Permit::Closed => true,
        Permit::None => sender.is_closed(),
        Permit::Taken => panic!("none was issued"),
    };
    thread::scope(|scope| {
        for is_in_queue in [false, true, true] {
            let (taker, sender, is_over) = (&taker, &sender, &is_over);
            scope.spawn(move || {
                while !is_over(taker) {
                    taker.wait(sender, Wait::Forever, is_in_queue).unwrap();
                }
            });
        }
        drop((receiver, issuer));
    });
    // The taker must notice the end, so that the channel is not taken for a full one.
    assert!(taker.is_any() || sender.is_closed());
    assert!(is_over(&taker));
}

#[test]
fn permits_that_are_issued_at_once_wake_one_sender_each() {
    let _watchdog = watchdog();
    let (taker, issuer) = permits(0).unwrap();
    let (sender, _receiver) = channel();
    for _ in 0..20 {
        thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| {
                    while taker.take().unwrap() != Permit::Taken {
                        taker.wait(&sender, Wait::Forever, true).unwrap();
                    }
                });
            }
            thread::sleep(Duration::from_millis(5));
            assert_eq!(issuer.issue(8), 0);
        });
    }
}

#[test]
fn issuer_and_taker_can_be_moved() {
    let _watchdog = watchdog();
    let (taker, issuer) = permits(0).unwrap();
    assert_eq!(issuer.issue(3), 0);
    let (carrier, carrier_end) = channel();
    let taker = Arc::new(taker);
    send_with(&carrier, b"x", Attachment::from_taker(Arc::clone(&taker)));
    let arrived = expect_one(&carrier_end, b"x").into_taker().unwrap();
    take(&arrived, 1);
    take(&taker, 1);
    carrier.send(b"y", &[], Attachment::from_issuer(issuer), Wait::Never).unwrap();
    let issuer: PermitIssuer = Attachment::into_issuer(expect(&carrier_end, b"y")).unwrap();
    assert_eq!(issuer.unclaimed(), Some(1));
    assert_eq!(issuer.issue(1), 0);
    take(&taker, 2);
    expect_none(&arrived);
    let (other, _issuer) = permits(0).unwrap();
    assert!(arrived.is_same(&taker));
    assert!(!arrived.is_same(&other));
}

#[test]
fn issuer_without_taker_does_not_block() {
    let _watchdog = watchdog();
    let (taker, issuer) = permits(0).unwrap();
    drop(taker);
    assert_eq!(issuer.issue(2), 0);
    assert!(issuer.take_back());
    assert_eq!(issuer.unclaimed(), Some(1));
}

//! C1: `send` does not wait for the receiver.

use super::*;

#[test]
fn c1_send_returns_although_no_thread_receives() {
    let _watchdog = harness::watchdog();
    let (items, received) = ipc::channel::<Item>().unwrap();
    for number in 0..20_000 {
        items.send(Item::new(0, number)).unwrap();
    }
    for number in 0..20_000 {
        received.recv().unwrap().check(number);
    }
    assert!(received.try_recv().unwrap_err().is_empty());
}

#[test]
fn c1_processes_that_send_before_they_receive_do_not_deadlock() {
    let _watchdog = harness::watchdog();
    let (to_helper, from_here) = ipc::channel::<Item>().unwrap();
    let (to_here, from_helper) = ipc::channel::<Item>().unwrap();
    let (next, passed_on) = ipc::channel().unwrap();
    let helper = Helper::start();
    helper.order(Order::Count { to: to_here, from: 1, numbers: 5000 });
    helper.order(Order::Take { items: from_here, first: 0, count: 5000, next });
    for number in 0..5000 {
        to_helper.send(Item::new(0, number)).unwrap();
    }
    for number in 0..5000 {
        from_helper.recv().unwrap().check(number);
    }
    passed_on.recv().unwrap();
    helper.order(Order::Exit);
    assert!(from_helper.recv().unwrap_err().is_disconnected());
}

/// A message that the socket has no room for, because other senders have used their share, is
/// sent by ring, and in order.
#[test]
fn c1_send_does_not_block_on_a_full_socket() {
    let _watchdog = harness::watchdog();
    for before in [0, 1, 100] {
        let (items, received) = ipc::channel::<Item>().unwrap();
        for number in 0..before {
            items.send(Item::new(0, number)).unwrap();
        }
        let mut packets = 0;
        while raw::is_writable(&items) {
            raw::try_send(&items, &raw::message(0, b"x"), &[]).unwrap();
            packets += 1;
        }
        for number in before..before + 100 {
            items.send(Item::new(0, number)).unwrap();
        }
        let mut next = 0;
        let mut errors = 0;
        while next < before + 100 {
            match received.recv() {
                Ok(item) => {
                    item.check(next);
                    next += 1;
                }
                Err(error) => {
                    assert!(!error.is_disconnected());
                    errors += 1;
                }
            }
        }
        assert_eq!(errors, packets);
    }
}

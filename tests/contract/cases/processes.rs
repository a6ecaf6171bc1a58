//! Child processes that are started with a receiver.

use std::io;

use super::*;
use strait::internals::contract::{Bequest as _, PacketSender as _};

/// Starts a child with the receiver; `None` where channels do not leave the process.
fn start(
    function: &str,
    receiver: PacketReceiver,
) -> Option<(std::process::Child, backend::Bequest)> {
    let mut command = harness::command(function, &[]);
    let started = {
        let _starting = harness::starting();
        backend::spawn_with(&mut command, receiver)
    };
    assert_eq!(started.is_ok(), backend::CROSSES_PROCESSES);
    let is_unsupported = |error: &io::Error| error.kind() == io::ErrorKind::Unsupported;
    started.inspect_err(|error| assert!(is_unsupported(error), "{error}")).ok()
}

/// Drops it, whether or not that does anything on this backend.
fn take_back(_: backend::Bequest) {}

#[test]
fn heir() {
    harness::child_main(|_| {
        let receiver = backend::inherited().unwrap();
        expect(&receiver, b"sent before");
        expect(&receiver, b"sent after");
        expect_closed(&receiver);
        // It is taken once.
        backend::inherited().unwrap_err();
    });
}

#[test]
fn a_child_takes_the_receiver_that_it_was_started_with() {
    let _watchdog = watchdog();
    let (sender, receiver) = backend::channel().unwrap();
    send(&sender, b"sent before");
    let Some((mut child, mut bequest)) = start(harness::path_of(heir), receiver) else {
        assert!(sender.is_closed(), "the receiver is dropped if no child is started");
        return;
    };
    assert!(bequest.hand_over(&mut child, soon()).unwrap());
    // Nothing is left to do.
    assert!(bequest.hand_over(&mut child, Wait::Never).unwrap());
    take_back(bequest);
    send(&sender, b"sent after");
    drop(sender);
    assert_eq!(child.wait().unwrap().code(), Some(harness::COMPLETED));
}

#[test]
fn child_that_does_not_take_it() {
    harness::child_main(|_| {});
}

#[test]
fn the_receiver_of_a_child_that_ended_without_taking_it_is_dropped() {
    let _watchdog = watchdog();
    let (sender, receiver) = backend::channel().unwrap();
    let function = harness::path_of(child_that_does_not_take_it);
    let Some((mut child, mut bequest)) = start(function, receiver) else { return };
    assert!(bequest.hand_over(&mut child, soon()).unwrap());
    assert_eq!(child.wait().unwrap().code(), Some(harness::COMPLETED));
    assert!(sender.is_closed());
    // A child that was reaped has ended, too.
    assert!(bequest.hand_over(&mut child, Wait::Never).unwrap());
}

#[test]
fn a_dropped_bequest_leaves_the_receiver_to_no_other_process() {
    let _watchdog = watchdog();
    let (sender, receiver) = backend::channel().unwrap();
    let function = harness::path_of(child_that_does_not_take_it);
    let Some((mut child, bequest)) = start(function, receiver) else { return };
    take_back(bequest);
    child.wait().unwrap();
    assert!(sender.is_closed());
}

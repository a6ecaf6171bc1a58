//! The in-process backend: the common cases, and guarantees of this backend alone.

use strait::internals::Wait;
use strait::internals::contract::{Attachment as _, PacketSender as _};
use strait::internals::inprocess as backend;

#[path = "cases/mod.rs"]
mod cases;

use crate::harness;

/// Receivers in messages of receivers in messages.
#[test]
fn a_long_chain_of_receivers_is_dropped() {
    let _watchdog = harness::watchdog();
    let (_, mut innermost) = backend::channel().unwrap();
    for _ in 0..100_000 {
        let (sender, receiver) = backend::channel().unwrap();
        let attachments = vec![backend::Attachment::from_receiver(innermost)];
        sender.send(b"x", b"", attachments, Wait::Never).unwrap();
        innermost = receiver;
    }
    drop(innermost);
}

/// Objects keep their types, so an attachment is exactly what was sent.
#[test]
fn a_channel_end_is_neither_a_handle_nor_the_other_end() {
    let _watchdog = harness::watchdog();
    let (sender, receiver) = backend::channel().unwrap();
    let (end, other_end) = backend::channel().unwrap();
    let attach = |attachment| {
        sender.send(&[], b"x", vec![attachment], Wait::Never).unwrap();
        let mut attachments = Vec::new();
        cases::receive(&receiver, &mut attachments, Wait::Forever).unwrap();
        attachments.remove(0)
    };
    let end = std::sync::Arc::new(end);
    let sent_end = attach(backend::Attachment::from_sender(end.clone()));
    assert!(sent_end.into_receiver().is_err());
    let sent_end = attach(backend::Attachment::from_sender(end));
    assert!(sent_end.into_handle().is_err());
    let sent_end = attach(backend::Attachment::from_receiver(other_end));
    assert!(sent_end.into_sender().is_err());
}

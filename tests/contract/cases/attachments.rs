//! An attachment is received as the type that it was sent as; any other type is an error.

use super::*;
use strait::internals::contract::{
    Attachment as _, Memory as _, MemoryReader as _, MemoryWriter as _, PacketSender as _,
};

/// Sends an attachment and receives it.
fn pass(attachment: Attachment) -> Attachment {
    let (sender, receiver) = backend::channel().unwrap();
    send_with(&sender, b"x", attachment);
    expect_one(&receiver, b"x")
}

fn a_sender() -> (Attachment, PacketReceiver) {
    let (sender, receiver) = backend::channel().unwrap();
    (Attachment::from_sender(Arc::new(sender)), receiver)
}

fn a_receiver() -> (Attachment, PacketSender) {
    let (sender, receiver) = backend::channel().unwrap();
    (Attachment::from_receiver(receiver), sender)
}

fn a_handle() -> Attachment {
    let file = File::open(std::env::current_exe().unwrap()).unwrap();
    Attachment::from_handle(OsHandle::from(file))
}

fn a_memory() -> Attachment {
    Attachment::from_memory(&Memory::new(100).unwrap())
}

fn a_memory_writer() -> Attachment {
    Attachment::from_memory_writer(&MemoryWriter::new(100).unwrap()).unwrap()
}

fn a_memory_reader() -> Attachment {
    Attachment::from_memory_reader(&MemoryWriter::new(100).unwrap().reader().unwrap())
}

#[test]
fn senders_work() {
    let _watchdog = watchdog();
    let (attachment, receiver) = a_sender();
    let sender = pass(pass(attachment)).into_sender().unwrap();
    send(&sender, b"x");
    expect(&receiver, b"x");
    drop(sender);
    expect_closed(&receiver);
}

#[test]
fn receivers_work() {
    let _watchdog = watchdog();
    let (attachment, sender) = a_receiver();
    let receiver = pass(pass(attachment)).into_receiver().unwrap();
    send(&sender, b"x");
    expect(&receiver, b"x");
}

#[test]
fn handles_work() {
    let _watchdog = watchdog();
    let handle = pass(pass(a_handle())).into_handle().unwrap();
    let here = std::fs::metadata(std::env::current_exe().unwrap()).unwrap();
    assert_eq!(File::from(handle).metadata().unwrap().len(), here.len());
}

#[test]
fn of_another_kind_are_an_error() {
    let _watchdog = watchdog();
    assert!(pass(a_memory()).into_sender().is_err());
    assert!(pass(a_handle()).into_sender().is_err());
    assert!(pass(a_memory()).into_receiver().is_err());
    assert!(pass(a_handle()).into_receiver().is_err());
    assert!(pass(a_sender().0).into_memory(1).is_err());
    assert!(pass(a_receiver().0).into_memory(1).is_err());
    assert!(pass(a_handle()).into_memory(1).is_err());
    // Memory that can still be written is never borrowed, a reader does not become a writer, and
    // memory that could get another writer has no readers.
    assert!(pass(a_memory_writer()).into_memory(100).is_err());
    assert!(pass(a_memory_reader()).into_memory(100).is_err());
    assert!(pass(a_memory_writer()).into_memory_reader(100).is_err());
    assert!(pass(a_memory_reader()).into_memory_writer(100).is_err());
    assert!(pass(a_memory()).into_memory_writer(100).is_err());
    assert!(pass(a_memory()).into_memory_reader(100).is_err());
    assert!(pass(a_sender().0).into_memory_writer(1).is_err());
    assert!(pass(a_handle()).into_memory_reader(1).is_err());
}

#[test]
fn memory_is_as_long_as_announced() {
    let _watchdog = watchdog();
    assert_eq!(pass(a_memory()).into_memory(100).unwrap().size(), 100);
    assert_eq!(pass(a_memory_writer()).into_memory_writer(100).unwrap().size(), 100);
    assert_eq!(pass(a_memory_reader()).into_memory_reader(100).unwrap().size(), 100);
    for lie in [0, 101, 4097, 1 << 40, u64::MAX] {
        assert!(pass(a_memory()).into_memory(lie).is_err(), "{lie}");
        // Byte 101 is in the last word.
        let lie = if lie == 101 { 105 } else { lie };
        assert!(pass(a_memory_writer()).into_memory_writer(lie).is_err(), "{lie}");
        assert!(pass(a_memory_reader()).into_memory_reader(lie).is_err(), "{lie}");
    }
}

#[test]
fn are_closed_when_dropped() {
    let _watchdog = watchdog();
    let (attachment, receiver) = a_sender();
    drop(pass(attachment));
    expect_closed(&receiver);
    let (attachment, sender) = a_receiver();
    drop(pass(attachment));
    let result = sender.send(b"x", b"", Vec::new(), Wait::Never);
    assert!(matches!(result, Err((SendError::Closed, _))));
    // Unsent ones, too.
    let (attachment, receiver) = a_sender();
    drop(attachment);
    expect_closed(&receiver);
}

#[test]
fn may_wait_in_some_number() {
    assert!(backend::max_kept_attachments() >= MAX_PACKET_ATTACHMENTS.min(253));
}

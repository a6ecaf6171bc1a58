//! The cases that every backend runs. `backend` is the one that is tested.

mod attachments;
mod ends;
mod memory;
mod names;
mod packets;
mod permits;
mod poller;
mod processes;
mod waits;

use std::cell::RefCell;
use std::collections::{HashSet, VecDeque};
use std::fs::File;
use std::sync::{Arc, Barrier, mpsc};
use std::thread;
use std::time::{Duration, Instant};

use strait::internals::contract::{PacketReceiver as _, PacketSender as _};
use strait::internals::{
    OsHandle, ReceiveBuffers, ReceivedPacket, RecvError, SendError, WAKE_ID, Wait,
};

use super::backend::{
    self, Attachment, Listener, MAX_PACKET_ATTACHMENTS, MAX_RECEIVED_PACKET_BYTES, Memory,
    MemoryWriter, PacketReceiver, PacketSender, Poller,
};
use crate::harness::{self, watchdog};

/// Long enough for anything that happens at all.
const LONG: Duration = Duration::from_secs(60);

/// Runs `body` in a process of its own. The same test is in several modules, one for each backend.
fn alone_in(module: &str, test: &str, body: impl FnOnce()) {
    let (_crate, module) = module.split_once("::").unwrap();
    harness::alone(&format!("{module}::{test}"), body);
}

fn soon() -> Wait {
    Wait::at_most(LONG)
}

thread_local! {
    /// Used again, as the core does it.
    static REST: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

/// Receives one packet into three buffers, and joins them.
pub(super) fn receive(
    receiver: &PacketReceiver,
    attachments: &mut Vec<Attachment>,
    wait: Wait,
) -> Result<(ReceivedPacket, Vec<u8>), RecvError> {
    REST.with_borrow_mut(|rest| {
        rest.clear();
        let mut head = [0; 16];
        let mut body = Vec::with_capacity(100);
        let buffers = ReceiveBuffers { head: &mut head, body: &mut body, rest };
        let arrival = receiver.recv(buffers, attachments, wait, |_| false)?;
        let head = &head[..arrival.len.min(head.len())];
        Ok((arrival, [head, &body, rest].concat()))
    })
}

fn packet_from(
    receiver: &PacketReceiver,
    wait: Wait,
) -> Result<(Vec<u8>, Vec<Attachment>), RecvError> {
    let mut attachments = Vec::new();
    let (arrival, packet) = receive(receiver, &mut attachments, wait)?;
    assert!(!arrival.truncated && !arrival.attachments_lost);
    assert_eq!(packet.len(), arrival.len);
    Ok((packet, attachments))
}

#[track_caller]
fn expect(receiver: &PacketReceiver, bytes: &[u8]) -> Vec<Attachment> {
    let (received, attachments) = packet_from(receiver, soon()).expect("a packet");
    assert_eq!(received.len(), bytes.len());
    assert!(received == bytes, "the packet has other content");
    attachments
}

#[track_caller]
fn expect_one(receiver: &PacketReceiver, bytes: &[u8]) -> Attachment {
    let mut attachments = expect(receiver, bytes);
    assert_eq!(attachments.len(), 1);
    attachments.remove(0)
}

#[track_caller]
fn expect_empty(receiver: &PacketReceiver) {
    let result = packet_from(receiver, Wait::Never);
    assert!(matches!(result, Err(RecvError::Empty)), "{result:?}");
}

#[track_caller]
fn expect_closed(receiver: &PacketReceiver) {
    let result = packet_from(receiver, soon());
    assert!(matches!(result, Err(RecvError::Closed)), "{result:?}");
}

fn send(sender: &PacketSender, bytes: &[u8]) {
    send_all(sender, bytes, &[]);
}

/// Sends a packet, and waits for room if there is none.
fn send_all(sender: &PacketSender, head: &[u8], body: &[u8]) {
    sender.send(head, body, Vec::new(), Wait::Forever).expect("it is sent");
}

fn send_with(sender: &PacketSender, bytes: &[u8], attachment: Attachment) {
    sender.send(bytes, &[], vec![attachment], Wait::Never).expect("it is sent");
}

/// Bytes that depend on their positions.
fn pattern(len: usize) -> Vec<u8> {
    (0..len).map(|place| (place % 251) as u8).collect()
}

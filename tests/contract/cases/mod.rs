//! The cases that every backend runs. `backend` is the one that is tested.

#![allow(unsafe_code, reason = "the bytes of shared memory are behind a raw pointer")]

mod attachments;
mod ends;
mod memory;
mod names;
mod packets;
mod permits;
mod poller;
mod waits;

use std::cell::RefCell;
use std::collections::{HashSet, VecDeque};
use std::fs::File;
use std::sync::{Arc, Barrier, mpsc};
use std::thread;
use std::time::{Duration, Instant};

use strait::internals::{Arrival, Landing, OsHandle, RecvError, SendError, WAKE_ID, Wait};

use super::backend::{
    self, Attachment, Listener, MAX_PACKET_ATTACHMENTS, MAX_PACKET_BYTES, Memory, PacketReceiver,
    PacketSender, Poller,
};
use crate::harness::watchdog;

/// Long enough for anything that happens at all.
const LONG: Duration = Duration::from_secs(60);

fn soon() -> Wait {
    Wait::at_most(LONG)
}

thread_local! {
    /// Used again, as the core does it.
    static REST: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

/// Receives one packet, which lands in three pieces, and puts it together.
pub(super) fn receive(
    receiver: &PacketReceiver,
    attachments: &mut Vec<Attachment>,
    wait: Wait,
) -> Result<(Arrival, Vec<u8>), RecvError> {
    REST.with_borrow_mut(|rest| {
        rest.clear();
        let mut head = [0; 16];
        let mut body = Vec::with_capacity(100);
        let landing = Landing { head: &mut head, body: &mut body, rest };
        let arrival = receiver.recv(landing, attachments, wait)?;
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
    while let Err((error, _)) = sender.send(head, body, Vec::new()) {
        assert!(matches!(error, SendError::Full), "{error:?}");
        sender.wait_for_room().expect("it can be waited for");
    }
}

fn send_with(sender: &PacketSender, bytes: &[u8], attachment: Attachment) {
    sender.send(bytes, &[], vec![attachment]).expect("it is sent");
}

/// Bytes of which each tells its place.
fn pattern(len: usize) -> Vec<u8> {
    (0..len).map(|place| (place % 251) as u8).collect()
}

fn write(memory: &Memory, bytes: &[u8]) {
    assert!(bytes.len() <= memory.size());
    // SAFETY: the pointer is valid for that many bytes, and no test writes while another thread reads.
    unsafe { std::ptr::copy_nonoverlapping(bytes.as_ptr(), memory.as_ptr(), bytes.len()) }
}

fn read(memory: &Memory) -> Vec<u8> {
    // SAFETY: the pointer is valid for that many bytes, and no test writes while another thread reads.
    unsafe { std::slice::from_raw_parts(memory.as_ptr(), memory.size()) }.to_vec()
}

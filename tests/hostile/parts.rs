//! Large messages that are never completed, and announced lengths that are never sent.

use std::fs;
use std::os::fd::{AsFd, OwnedFd};
use std::thread;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};
use strait::handle::Handle;
use strait::internals::assembly::SILENCE;
use strait::internals::frame::{Kind, Position};
use strait::internals::limits;
use strait::ipc;

use crate::harness::raw::{self, Canary, Random, encoded};
use crate::harness::table;
use crate::harness::ways::{Next, ways};
use crate::{assert_refused, harness};

/// One message that is never completed, one that is aborted, and one that continues
/// after its end.
#[test]
fn c7_incomplete_message_does_not_delay_other_senders() {
    let _watchdog = harness::watchdog();
    let (sender, receiver) = ipc::channel::<String>().unwrap();
    let timeout = Duration::from_millis(20);
    raw::send(&sender, &raw::first(1, 100_000, &[b'x'; 1000]), &[]).unwrap();
    let start = Instant::now();
    assert!(receiver.recv_timeout(timeout).unwrap_err().is_empty());
    assert!(start.elapsed() >= timeout);
    assert!(receiver.try_recv().unwrap_err().is_empty());
    sender.send("small".to_string()).unwrap();
    assert_eq!(receiver.recv().unwrap(), "small");
    let large = "large".repeat(200_000);
    let sending = thread::spawn({
        let (sender, large) = (sender.clone(), large.clone());
        move || sender.send(large).unwrap()
    });
    assert_eq!(receiver.recv().unwrap(), large);
    sending.join().unwrap();
    // A further part is no error; a part beyond the announced length is one.
    raw::send(&sender, &raw::middle(1, &[b'x'; 1000]), &[]).unwrap();
    assert!(receiver.try_recv().unwrap_err().is_empty());
    raw::send(&sender, &raw::middle(1, &[b'x'; 100_000]), &[]).unwrap();
    raw::send(&sender, &raw::middle(1, &[b'x'; 1000]), &[]).unwrap();
    raw::send(&sender, &raw::last(1, &[b'x'; 1000]), &[]).unwrap();
    sender.send("after".to_string()).unwrap();
    assert_refused(receiver.recv());
    assert_eq!(receiver.recv().unwrap(), "after");
    // Disconnection does not wait for missing parts.
    raw::send(&sender, &raw::first(2, 100, b"x"), &[]).unwrap();
    drop(sender);
    assert!(receiver.recv().unwrap_err().is_disconnected());
}

#[test]
fn c7_aborted_message_leaves_nothing() {
    let _watchdog = harness::watchdog();
    let (sender, receiver) = ipc::channel::<String>().unwrap();
    let position = Position::First { bytes: 100, attachments: 3 };
    let (canary, fd) = Canary::new();
    let first = raw::packet(Kind::Part { id: 1, position }, 2, b"abc");
    raw::send(&sender, &first, &[fd.as_fd(), fd.as_fd()]).unwrap();
    drop(fd);
    raw::send(&sender, &raw::abort(1), &[]).unwrap();
    sender.send("next".to_string()).unwrap();
    assert_eq!(receiver.recv().unwrap(), "next");
    canary.wait_until_closed();
    // The id is free again.
    let text = encoded("a text in two parts");
    raw::send(&sender, &raw::first(1, text.len() as u64, &text[..10]), &[]).unwrap();
    raw::send(&sender, &raw::last(1, &text[10..]), &[]).unwrap();
    assert_eq!(receiver.recv().unwrap(), "a text in two parts");
}

/// A message that was discarded or refused is one error, not one for each of its parts.
#[test]
fn c7_message_refused_for_lack_of_room_is_one_error() {
    let _watchdog = harness::watchdog();
    let (sender, receiver) = ipc::channel::<String>().unwrap();
    let others = limits::MAX_INCOMPLETE_MESSAGES as u128;
    for id in 1..=others {
        raw::send(&sender, &raw::first(id, 100, b"x"), &[]).unwrap();
        assert!(receiver.try_recv().unwrap_err().is_empty());
    }
    raw::send(&sender, &raw::first(0, 100, b"x"), &[]).unwrap();
    for _ in 0..10 {
        raw::send(&sender, &raw::middle(0, b"x"), &[]).unwrap();
    }
    raw::send(&sender, &raw::last(0, &[b'x'; 89]), &[]).unwrap();
    sender.send("small".to_string()).unwrap();
    assert_refused(receiver.recv());
    assert_eq!(receiver.recv().unwrap(), "small");
}

/// As soon as no part of the older messages has arrived for a while.
#[test]
fn c7_oldest_incomplete_messages_are_discarded_beyond_the_quota() {
    let _watchdog = harness::watchdog();
    let (sender, receiver) = ipc::channel::<String>().unwrap();
    for id in 0..limits::MAX_INCOMPLETE_MESSAGES as u128 {
        raw::send(&sender, &raw::first(id, 100, b"x"), &[]).unwrap();
        assert!(receiver.try_recv().unwrap_err().is_empty());
    }
    let large = "large".repeat(100_000);
    assert!(receiver.recv_timeout(SILENCE).unwrap_err().is_empty());
    let sending = thread::spawn({
        let (sender, large) = (sender.clone(), large.clone());
        move || sender.send(large).unwrap()
    });
    assert_eq!(receiver.recv().unwrap(), large);
    sending.join().unwrap();
}

#[test]
fn c7_announced_lengths_cost_nothing() {
    harness::alone(harness::path_of(c7_announced_lengths_cost_nothing), || {
        let (sender, receiver) = ipc::bytes_channel().unwrap();
        // Even if large messages are usual.
        let sending = thread::spawn({
            let sender = sender.clone();
            move || sender.send(&vec![7; 64 << 20]).unwrap()
        });
        assert_eq!(receiver.recv().unwrap().len(), 64 << 20);
        sending.join().unwrap();
        let (reserved_before, resident_before) = memory_in_use();
        for id in 0..limits::MAX_INCOMPLETE_MESSAGES as u128 {
            raw::send(&sender, &raw::first(id, 1 << 30, b"x"), &[]).unwrap();
            assert!(receiver.try_recv().unwrap_err().is_empty());
        }
        let (reserved, resident) = memory_in_use();
        let (reserved, resident) =
            (reserved.saturating_sub(reserved_before), resident.saturating_sub(resident_before));
        assert!(resident < 32 << 20, "{resident} bytes for messages of one byte");
        assert!(reserved < 1 << 30, "{reserved} bytes of address space for messages of one byte");

        let (sender, receiver) = ipc::channel::<Vec<String>>().unwrap();
        for announced in [1 << 16, 1 << 40, u64::MAX] {
            raw::send(&sender, &raw::message(0, &announced.to_le_bytes()), &[]).unwrap();
            assert_refused(receiver.recv());
        }
        assert!(memory_in_use().1 < resident_before + (64 << 20));
    });
}

/// Parts of many messages in random order, with whole messages and malformed packets between
/// them: each message is received when it is complete.
#[test]
fn c7_parts_of_many_messages_mix_with_anything() {
    let _watchdog = harness::watchdog();
    for (way, receive) in ways::<(String, Vec<Handle<OwnedFd>>)>() {
        for seed in 0..6 {
            let (sender, receiver) = ipc::channel().unwrap();
            let mut random = Random::new(seed);
            let (packets, expected) = a_mix(&mut random);
            let (_canary, fd) = Canary::new();
            let sending = thread::spawn(move || {
                for (packet, fds) in packets {
                    raw::send(&sender, &packet, &vec![fd.as_fd(); fds]).unwrap();
                }
            });
            let mut next = receive(receiver);
            for (number, expected) in expected.into_iter().enumerate() {
                match (next(), expected) {
                    (Next::Refused, None) => {}
                    (Next::Value((text, handles)), Some((expected, expected_handles))) => {
                        assert!(text == expected, "{way}, seed {seed}: message {number}");
                        assert_eq!(handles.len(), expected_handles, "{way}, seed {seed}");
                    }
                    (received, expected) => panic!(
                        "{way}, seed {seed}: {:?} instead of {:?}",
                        matches!(received, Next::Value(_)),
                        expected.is_some()
                    ),
                }
            }
            assert!(matches!(next(), Next::Closed), "{way}, seed {seed}");
            sending.join().unwrap();
        }
    }
}

/// A packet and how many descriptors go with it.
type Packet = (Vec<u8>, usize);

/// A text and how many handles go with it, or an error.
type Expected = Option<(String, usize)>;

fn a_mix(random: &mut Random) -> (Vec<Packet>, Vec<Expected>) {
    struct Part {
        id: u128,
        rest: Vec<u8>,
        handles: usize,
        total: (u64, u32),
        expected: Expected,
        is_new: bool,
    }
    let mut packets = Vec::new();
    let mut expected = Vec::new();
    let mut open: Vec<Part> = Vec::new();
    let mut begun = 0;
    while begun < 40 || !open.is_empty() {
        let handles = [0, 0, 0, 1, 5][random.below(5)];
        let len = [0, 10, 1000, 70_000, 190_000][random.below(5)];
        let text = ((b'a' + random.below(26) as u8) as char).to_string().repeat(len);
        let body = |handles: usize| {
            let mut body = [encoded(&text), (handles as u64).to_le_bytes().to_vec()].concat();
            body.extend((0..handles as u32).flat_map(u32::to_le_bytes));
            table::with_handles(&body, handles)
        };
        match random.below(10) {
            // Another one begins.
            0 | 1 if begun < 40 => {
                begun += 1;
                let rest = body(handles);
                open.push(Part {
                    id: random.next().into(),
                    total: (rest.len() as u64, handles as u32),
                    rest,
                    handles,
                    expected: Some((text, handles)),
                    is_new: true,
                });
            }
            2 if begun < 40 => {
                packets.push((raw::message(handles as u8, &body(handles)), handles));
                expected.push(Some((text, handles)));
            }
            3 if begun < 40 => {
                packets.push(([b"noise", &random.bytes(60)[..]].concat(), handles));
                expected.push(None);
            }
            4 if begun < 40 => {
                packets.push((raw::middle(random.next().into(), b"unknown"), 0));
                expected.push(None);
            }
            // One of the open ones goes on.
            _ if !open.is_empty() => {
                let chosen = random.below(open.len());
                let message = &mut open[chosen];
                let at_most = message.rest.len().min(150_000);
                let len = random.below(at_most + 1);
                let mut handles = random.below(message.handles + 1);
                let mut part: Vec<u8> = message.rest.drain(..len).collect();
                message.handles -= handles;
                let is_last = message.rest.len() < 1000 && !message.is_new;
                if is_last {
                    part.append(&mut message.rest);
                    handles += std::mem::take(&mut message.handles);
                } else if message.rest.is_empty() {
                    // The last part is never the first.
                    message.rest.push(part.pop().unwrap());
                }
                let position = match (message.is_new, is_last) {
                    (true, _) => {
                        let (bytes, attachments) = message.total;
                        Position::First { bytes, attachments }
                    }
                    (false, true) => Position::Last,
                    (false, false) => Position::Middle,
                };
                message.is_new = false;
                let kind = Kind::Part { id: message.id, position };
                packets.push((raw::packet(kind, handles as u8, &part), handles));
                if is_last {
                    expected.push(open.remove(chosen).expected);
                }
            }
            _ => {}
        }
    }
    (packets, expected)
}

/// How many bytes of address space and of memory this process has.
fn memory_in_use() -> (u64, u64) {
    let status = fs::read_to_string("/proc/self/statm").unwrap();
    let mut pages = status.split(' ').map(|pages| pages.parse::<u64>().unwrap_or(0) * 4096);
    (pages.next().unwrap(), pages.next().unwrap())
}

#[derive(Debug, Serialize, Deserialize)]
enum Nested {
    End,
    Deeper(Box<Nested>),
}

#[test]
fn c7_excessive_nesting_and_empty_elements_are_refused() {
    let _watchdog = harness::watchdog();
    let (sender, receiver) = ipc::channel::<Nested>().unwrap();
    let bomb: Vec<u8> = 1_u32.to_le_bytes().repeat(40_000);
    raw::send(&sender, &raw::message(0, &bomb), &[]).unwrap();
    assert_refused(receiver.recv());
    sender.send(Nested::Deeper(Box::new(Nested::End))).unwrap();
    assert!(matches!(receiver.recv().unwrap(), Nested::Deeper(_)));

    let (sender, receiver) = ipc::channel::<Vec<()>>().unwrap();
    raw::send(&sender, &raw::message(0, &u64::MAX.to_le_bytes()), &[]).unwrap();
    assert_refused(receiver.recv());
    sender.send(vec![(); 1000]).unwrap();
    assert_eq!(receiver.recv().unwrap().len(), 1000);
}

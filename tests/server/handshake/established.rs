//! Other packets in an established channel: HELLOs at any time, and packets of other versions
//! and codecs.

use std::os::fd::AsFd;
use std::thread;
use std::time::{Duration, Instant};

use strait::TryRecvError;
use strait::internals::frame::{CODEC, Dialect, Kind, Position};
use strait::internals::hello::MAX_HELLO_BYTES;
use strait::ipc::{self, IpcReceiverSet, IpcSelectionResult};

use super::foreign::{check_dialects, foreigners};
use crate::harness::raw::{self, Canary, encoded, field};
use crate::harness::watchdog;
use crate::harness::ways::{Next, all_ways, ways};

const OWN: Dialect = Dialect::OWN;

#[test]
fn a_hello_is_no_message_whenever_it_comes() {
    let _watchdog = watchdog();
    for (way, receive) in all_ways::<String>() {
        let (sender, receiver) = ipc::channel::<String>().unwrap();
        let mut next = receive(receiver);
        let (canary, fd) = Canary::new();
        for fields in [vec![], field(2, b"a type"), field(77, &[0xff; 1000])] {
            raw::send(&sender, &raw::hello(OWN, 0, &fields), &[]).unwrap();
            sender.send("one".to_string()).unwrap();
            // Handles of such a packet are closed.
            raw::send(&sender, &raw::hello(OWN, 2, &fields), &[fd.as_fd(); 2]).unwrap();
            // Between the parts of a large message.
            let body = encoded("two");
            raw::send(&sender, &raw::first(1, body.len() as u64, &body[..1]), &[]).unwrap();
            raw::send(&sender, &raw::hello(OWN, 0, &fields), &[]).unwrap();
            raw::send(&sender, &raw::last(1, &body[1..]), &[]).unwrap();
            raw::send(&sender, &raw::hello(OWN, 0, &fields), &[]).unwrap();
            assert_eq!(next(), Next::Value("one".to_string()), "{way}");
            assert_eq!(next(), Next::Value("two".to_string()), "{way}");
        }
        drop((sender, fd));
        assert_eq!(next(), Next::Closed, "{way}");
        canary.wait_until_closed();
    }
}

#[test]
fn the_latest_hello_names_the_type() {
    let _watchdog = watchdog();
    let (sender, receiver) = ipc::channel::<String>().unwrap();
    for (fields, expected) in [
        (field(2, b"first"), "sent as `first`, received as"),
        (field(2, b"second\n\x1b[2J"), "sent as `second\u{fffd}\u{fffd}[2J`, received as"),
        (field(2, "a\u{200f}\u{e0041}b".as_bytes()), "sent as `a\u{fffd}\u{fffd}b`, received as"),
        (field(2, b""), "a message is not a valid"),
        (field(3, b"expected"), "a message is not a valid"),
    ] {
        raw::send(&sender, &raw::hello(OWN, 0, &fields), &[]).unwrap();
        raw::send(&sender, &raw::message(0, b"abc"), &[]).unwrap();
        let error = receiver.recv().unwrap_err().to_string();
        assert!(error.contains(expected), "{error}");
    }
}

#[test]
fn a_malformed_hello_is_one_error() {
    let _watchdog = watchdog();
    let cut_short = field(2, b"a type");
    let mut bad: Vec<Vec<u8>> =
        (1..cut_short.len()).map(|len| raw::hello(OWN, 1, &cut_short[..len])).collect();
    bad.push(raw::hello(OWN, 1, b"\x02\0\xff\xff"));
    bad.push(raw::hello(OWN, 1, &field(9, &[0; MAX_HELLO_BYTES])));
    bad.push(raw::hello(Dialect { version: 9, codec: 9 }, 1, b"\x02"));
    // Another number of handles, another length.
    bad.push(raw::hello(OWN, 0, &[]));
    bad.push(raw::hello(OWN, 1, &cut_short)[..18].to_vec());
    for (way, receive) in ways::<String>() {
        let (sender, receiver) = ipc::channel::<String>().unwrap();
        let mut next = receive(receiver);
        for packet in &bad {
            let (canary, fd) = Canary::new();
            raw::send(&sender, packet, &[fd.as_fd()]).unwrap();
            drop(fd);
            sender.send("good".to_string()).unwrap();
            assert_eq!(next(), Next::Refused, "{way}");
            assert_eq!(next(), Next::Value("good".to_string()), "{way}");
            canary.wait_until_closed();
        }
    }
}

/// A peer that sends them without end neither delays other senders nor prolongs a timeout.
#[test]
fn flood_of_hellos_delays_no_other_sender() {
    let _watchdog = watchdog();
    let (flooding, receiver) = ipc::channel::<u32>().unwrap();
    let (honest, other) = ipc::channel::<u32>().unwrap();
    let mut set = IpcReceiverSet::new().unwrap();
    set.add(receiver).unwrap();
    let id = set.add(other).unwrap();
    let flood = thread::spawn(move || {
        let hello = raw::hello(OWN, 0, &field(2, &[b'x'; 200]));
        while raw::send(&flooding, &hello, &[]).is_ok() {}
    });
    for number in 0..100 {
        honest.send(number).unwrap();
        match set.select().unwrap().remove(0) {
            IpcSelectionResult::MessageReceived(from, message) => {
                assert_eq!((from, message.to::<u32>().unwrap()), (id, number));
            }
            other => panic!("{other:?}"),
        }
    }
    assert!(set.try_select_timeout(Duration::from_millis(20)).unwrap_err().is_empty());
    drop(set);
    flood.join().unwrap();

    let (flooding, receiver) = ipc::channel::<u32>().unwrap();
    let flood = thread::spawn(move || {
        let hello = raw::hello(OWN, 0, &[]);
        while raw::send(&flooding, &hello, &[]).is_ok() {}
    });
    let start = Instant::now();
    let timeout = Duration::from_millis(20);
    assert!(receiver.try_recv_timeout(timeout).unwrap_err().is_empty());
    assert!(start.elapsed() >= timeout);
    assert!(matches!(receiver.try_recv(), Err(TryRecvError::Empty)));
    drop(receiver);
    flood.join().unwrap();
}

/// A blocked call continues to wait, whatever other packets arrive.
#[test]
fn a_flood_of_hellos_is_no_error_of_a_channel_with_a_bound() {
    let _watchdog = watchdog();
    for bound in [0, 1] {
        let (sender, receiver) = ipc::sync_channel::<u32>(bound).unwrap();
        let flooding = sender.as_fd().try_clone_to_owned().unwrap();
        let flood = thread::spawn(move || {
            let hello = raw::hello(OWN, 0, &[]);
            while raw::send(&flooding, &hello, &[]).is_ok() {}
        });
        let sending = thread::spawn(move || {
            for number in 0..10 {
                sender.send(number).unwrap();
            }
        });
        for number in 0..10 {
            assert_eq!(receiver.recv().unwrap(), number);
        }
        sending.join().unwrap();
        drop(receiver);
        flood.join().unwrap();
    }
}

#[test]
fn a_packet_of_another_dialect_is_an_error_that_names_both() {
    let _watchdog = watchdog();
    let (sender, receiver) = ipc::channel::<String>().unwrap();
    let (canary, fd) = Canary::new();
    let whole = raw::message(1, &encoded("text"));
    let position = Position::First { bytes: 1000, attachments: 1 };
    let part = raw::packet(Kind::Part { id: 1, position }, 1, b"part");
    let clock_domain = strait::internals::clock_domain().unwrap();
    // The memory of a ring, which is ignored.
    let ring = |has_messages| raw::packet(Kind::RingOffer { clock_domain, has_messages }, 1, &[]);
    for packet in [whole, part, ring(false), ring(true)] {
        // The dialects that have a name without a HELLO.
        for (dialect, _, name) in foreigners().into_iter().take(3) {
            let mut packet = packet.clone();
            (packet[0], packet[2]) = (dialect.version, dialect.codec);
            raw::send(&sender, &packet, &[fd.as_fd()]).unwrap();
            check_dialects(receiver.recv().unwrap_err(), name);
            sender.send("good".to_string()).unwrap();
            assert_eq!(receiver.recv().unwrap(), "good");
        }
    }
    drop(fd);
    canary.wait_until_closed();

    let mut unknown = raw::message(0, &encoded("text"));
    unknown[2] = CODEC + 100;
    raw::send(&sender, &unknown, &[]).unwrap();
    check_dialects(receiver.recv().unwrap_err(), "protocol 2 with codec 101");
}

//! Packets that are not what strait sends.

use std::os::fd::AsFd;
use std::thread;

use strait::internals::MAX_RECEIVED_PACKET_BYTES;
use strait::internals::frame::{CODEC, Head, Kind, Position, VERSION};
use strait::ipc::{self, IpcSender};

use crate::harness;
use crate::harness::raw::{self, Canary, Random, encoded};
use crate::harness::table;
use crate::harness::ways::{Next, ways};

/// Packets of no valid form, with the number of file descriptors that each is sent with.
fn bad_packets() -> Vec<(&'static str, Vec<u8>, usize)> {
    let good = raw::message(1, &table::with_handles(&encoded("good"), 1));
    let with = |at: usize, byte: u8| {
        let mut packet = good.clone();
        packet[at] = byte;
        packet
    };
    let part = |kind: Kind, body: &[u8]| raw::packet(kind, 1, body);
    let first = |bytes: u64, attachments: u32| Kind::Part {
        id: 7,
        position: Position::First { bytes, attachments },
    };
    let mut short_id = raw::middle(7, b"")[..20].to_vec();
    short_id[4] = 4;
    let mut short_first = raw::first(7, 9, b"")[..40].to_vec();
    short_first[4] = 24;
    let mut longer = good.clone();
    longer.push(0);
    vec![
        ("one byte", vec![1], 1),
        ("less than a header", good[..15].to_vec(), 1),
        ("a header that announces more", good[..16].to_vec(), 1),
        ("cut short", good[..good.len() - 1].to_vec(), 1),
        ("too long", longer, 1),
        ("a later version", with(0, VERSION + 1), 1),
        ("an earlier version", with(0, VERSION - 1), 1),
        ("version zero", with(0, 0), 1),
        ("another codec", with(2, CODEC + 1), 1),
        ("codec zero", with(2, 0), 1),
        ("kind zero", with(1, 0), 1),
        ("an unknown kind", with(1, 6), 1),
        ("the last kind", with(1, 255), 1),
        ("announced one handle, sent none", good.clone(), 0),
        ("announced one handle, sent two", good.clone(), 2),
        ("announced one handle, sent as many as can be", good.clone(), raw::MAX_FDS),
        ("announced none, sent one", raw::message(0, &encoded("good")), 1),
        ("announced 255 handles", raw::message(u8::MAX, b""), 1),
        ("a length of 4 GiB", [&with(7, 255)[..], b""].concat(), 1),
        ("a part without an id", short_id, 0),
        ("a first part without totals", short_first, 0),
        ("the middle of nothing", raw::middle(8, b"abc"), 0),
        ("the end of nothing", raw::last(8, b"abc"), 0),
        ("the end of nothing, empty", raw::last(8, b""), 0),
        ("nothing is given up", raw::abort(8), 0),
        ("a first part that is all", part(first(3, 1), b"abc"), 1),
        ("a first part that is more than all", part(first(2, 1), b"abc"), 1),
        ("a first part of more than may be", part(first(u64::MAX, 1), b"abc"), 1),
        ("a first part of 1 GiB and one byte", raw::packet(first((1 << 30) + 1, 0), 0, b"abc"), 0),
        ("a first part of 1 GiB and 2 MiB", part(first((1 << 30) + (2 << 20), 1), b"abc"), 1),
        ("a first part of too many handles", part(first(9, 65537), b"abc"), 1),
        ("a first part of 4 billion handles", part(first(9, u32::MAX), b"abc"), 1),
        ("a first part of fewer handles than it has", part(first(9, 0), b"abc"), 1),
        ("not a string", raw::message(0, b"abc"), 0),
        ("nothing where a string should be", raw::message(0, b""), 0),
        ("more than a string", raw::message(0, &[&encoded("good")[..], b"x"].concat()), 0),
        ("a string longer than its message", raw::message(0, &u64::MAX.to_le_bytes()), 0),
        ("a string of 1 GiB", raw::message(0, &(1_u64 << 30).to_le_bytes()), 0),
        ("not Unicode", raw::message(0, &[&1_u64.to_le_bytes()[..], &[0xff]].concat()), 0),
    ]
}

#[test]
fn c7_a_bad_packet_is_one_error_and_its_handles_are_closed() {
    let _watchdog = harness::watchdog();
    for (way, receive) in ways::<String>() {
        let (sender, receiver) = ipc::channel::<String>().unwrap();
        let mut next = receive(receiver);
        for (what, packet, fds) in bad_packets() {
            let (canary, fd) = Canary::new();
            raw::send(&sender, &packet, &vec![fd.as_fd(); fds]).unwrap();
            drop(fd);
            sender.send("good".to_string()).unwrap();
            assert_eq!(next(), Next::Refused, "{way}: {what}");
            assert_eq!(next(), Next::Value("good".to_string()), "{way}: {what}");
            canary.wait_until_closed();
            // An incomplete message of this id may exist; ends it before the next packet.
            raw::send(&sender, &raw::abort(7), &[]).unwrap();
            if what.starts_with("a first part of") || what.starts_with("a first part that") {
                sender.send("cleared".to_string()).unwrap();
                assert_eq!(next(), Next::Value("cleared".to_string()), "{way}: {what}");
            } else {
                assert_eq!(next(), Next::Refused, "{way}: {what}, clearing");
            }
        }
        drop(sender);
        assert_eq!(next(), Next::Closed, "{way}");
    }
}

#[test]
fn c7_empty_packet_is_not_disconnection() {
    let _watchdog = harness::watchdog();
    for (way, receive) in ways::<String>() {
        let (sender, receiver) = ipc::channel::<String>().unwrap();
        let (canary, fd) = Canary::new();
        // Before, between and after valid messages, alone and with a handle.
        raw::send(&sender, &[], &[]).unwrap();
        sender.send("one".to_string()).unwrap();
        raw::send(&sender, &[], &[]).unwrap();
        raw::send(&sender, &[], &[fd.as_fd()]).unwrap();
        sender.send("two".to_string()).unwrap();
        raw::send(&sender, &[], &[fd.as_fd()]).unwrap();
        raw::send(&sender, &[], &[]).unwrap();
        drop((sender, fd));
        let mut next = receive(receiver);
        let mut values = Vec::new();
        loop {
            match next() {
                Next::Value(value) => values.push(value),
                Next::Refused => {}
                Next::Closed => break,
            }
        }
        assert_eq!(values, ["one", "two"], "{way}");
        canary.wait_until_closed();
    }
}

#[test]
fn c7_empty_packet_of_a_living_sender_is_not_disconnection() {
    let _watchdog = harness::watchdog();
    for (way, receive) in ways::<String>() {
        let (sender, receiver) = ipc::channel::<String>().unwrap();
        let mut next = receive(receiver);
        for _ in 0..3 {
            raw::send(&sender, &[], &[]).unwrap();
            assert_eq!(next(), Next::Refused, "{way}");
        }
        sender.send("alive".to_string()).unwrap();
        assert_eq!(next(), Next::Value("alive".to_string()), "{way}");
    }
}

#[test]
fn c7_packets_beyond_the_maximum_length_are_one_error() {
    let _watchdog = harness::watchdog();
    for (way, receive) in ways::<String>() {
        let (sender, receiver) = ipc::channel::<String>().unwrap();
        rustix::net::sockopt::set_socket_send_buffer_size(&sender, 8 << 20).unwrap();
        let mut next = receive(receiver);
        let text = |len: usize| "x".repeat(len - 16 - 8);
        // The length of the longest valid packet.
        let longest = text(MAX_RECEIVED_PACKET_BYTES);
        raw::send(&sender, &raw::message(0, &encoded(&longest)), &[]).unwrap();
        assert_eq!(next(), Next::Value(longest), "{way}");
        for len in [MAX_RECEIVED_PACKET_BYTES + 1, MAX_RECEIVED_PACKET_BYTES + 4096, 1 << 20] {
            let (canary, fd) = Canary::new();
            let packet = raw::message(1, &encoded(&text(len)));
            raw::send(&sender, &packet, &[fd.as_fd()]).unwrap();
            drop(fd);
            sender.send("good".to_string()).unwrap();
            assert_eq!(next(), Next::Refused, "{way}: {len}");
            assert_eq!(next(), Next::Value("good".to_string()), "{way}: {len}");
            canary.wait_until_closed();
        }
    }
}

#[test]
fn c7_random_bytes_are_errors_and_disturb_no_honest_sender() {
    let _watchdog = harness::watchdog();
    // A socket holds a hundred packets or two.
    let is_room = harness::room_for_handles_in_flight() > 300 * raw::MAX_FDS;
    let many = if is_room { raw::MAX_FDS } else { 3 };
    for (way, receive) in ways::<u64>() {
        let (sender, receiver) = ipc::channel::<u64>().unwrap();
        let noisy = sender.clone();
        let noise = thread::spawn(move || {
            let mut random = Random::new(1);
            let (_, fd) = Canary::new();
            for _ in 0..1000 {
                let len = match random.below(4) {
                    0 => random.below(64),
                    1 => 16,
                    _ => random.below(2000),
                };
                let mut packet = random.bytes(len);
                // The more fields are valid, the more code the packet reaches.
                if len >= 16 && random.below(4) != 0 {
                    packet[0] = 1;
                    packet[1] = random.below(8) as u8;
                    packet[2..4].fill(0);
                    packet[4..8].copy_from_slice(&(len as u32 - 16).to_le_bytes());
                }
                if random.below(8) == 0 && len >= 24 {
                    packet[16..24].fill(0);
                }
                let fds = [0, 0, 0, 1, 2, many][random.below(6)];
                raw::send(&noisy, &packet, &vec![fd.as_fd(); fds]).unwrap();
            }
        });
        let healthy = thread::spawn(move || {
            for number in 0..1000 {
                sender.send(number | 1 << 63).unwrap();
            }
        });
        let mut next = receive(receiver);
        let mut numbers = Vec::new();
        loop {
            match next() {
                // Random bytes may decode as a number.
                Next::Value(number) if number >> 32 == 1 << 31 => numbers.push(number & 0xffff),
                Next::Value(_) | Next::Refused => {}
                Next::Closed => break,
            }
        }
        assert!(numbers.into_iter().eq(0..1000), "{way}");
        noise.join().unwrap();
        healthy.join().unwrap();
    }
}

/// A stamp in the future does not delay the messages behind it, however busy other senders are.
/// The number of messages read ahead is limited, by handles among other things.
#[test]
fn c7_stamp_in_the_future_does_not_delay_other_senders() {
    let _watchdog = harness::watchdog();
    let (honest, receiver) = ipc::channel::<(u32, Option<IpcSender<u32>>)>().unwrap();
    let (reply, _replies) = ipc::channel().unwrap();
    // Gives the sender shared memory.
    for number in 0..1000 {
        honest.send((number, None)).unwrap();
        assert_eq!(receiver.recv().unwrap().0, number);
    }
    let (canary, fd) = Canary::new();
    for _ in 0..3 {
        let lie = Head::new(Kind::Message, 64, 0).stamped(u64::MAX);
        raw::send(&honest, lie.as_bytes(), &[fd.as_fd(); 64]).unwrap();
        honest.send((0, Some(reply.clone()))).unwrap();
        let mut errors = 0;
        let mut next = 0;
        for number in 1..100 {
            honest.send((number, None)).unwrap();
            match receiver.recv() {
                Ok((received, _)) => {
                    assert_eq!(received, next);
                    next += 1;
                }
                Err(_) => errors += 1,
            }
        }
        assert_eq!((errors, next), (1, 98));
        (98..100).for_each(|number| assert_eq!(receiver.recv().unwrap().0, number));
    }
    drop(fd);
    canary.wait_until_closed();
}

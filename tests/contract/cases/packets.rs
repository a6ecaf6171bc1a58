//! Packets arrive as they were sent.

use super::*;
use strait::internals::contract::{
    Attachment as _, Memory as _, PacketReceiver as _, PacketSender as _,
};

#[test]
fn arrive_whole_and_in_order() {
    let _watchdog = watchdog();
    let (sender, receiver) = backend::channel().unwrap();
    #[allow(clippy::unnecessary_min_or_max, reason = "some backends have no limit")]
    let largest = MAX_RECEIVED_PACKET_BYTES.min(200 * 1024);
    let sizes = [1, 2, 15, 16, 17, 4095, 4096, 4097, 65_536, largest - 1, largest];
    let sender = thread::spawn(move || {
        for size in sizes {
            send(&sender, &pattern(size));
        }
        for number in 0..2000_u32 {
            send(&sender, &number.to_le_bytes());
        }
    });
    for size in sizes {
        expect(&receiver, &pattern(size));
    }
    for number in 0..2000_u32 {
        expect(&receiver, &number.to_le_bytes());
    }
    sender.join().unwrap();
    expect_closed(&receiver);
}

#[test]
fn are_head_and_body_in_one() {
    let _watchdog = watchdog();
    let (sender, receiver) = backend::channel().unwrap();
    sender.send(b"head ", b"and body", Vec::new(), Wait::Never).unwrap();
    sender.send(b"", b"body", Vec::new(), Wait::Never).unwrap();
    expect(&receiver, b"head and body");
    expect(&receiver, b"body");
}

/// The head is filled first, then the body, then the rest.
#[test]
fn fill_the_buffers_in_order() {
    let _watchdog = watchdog();
    let (sender, receiver) = backend::channel().unwrap();
    for size in [1, 9, 10, 11, 500, 60_000, 200_000] {
        for room in [0, 1, 100, 300_000] {
            let packet = pattern(size);
            send(&sender, &packet);
            let mut head = [0xff; 10];
            let mut body = b"body:".to_vec();
            body.reserve_exact(room);
            let mut rest = b"rest:".to_vec();
            let buffers = ReceiveBuffers { head: &mut head, body: &mut body, rest: &mut rest };
            let arrival = receiver.recv(buffers, &mut Vec::new(), soon(), |_| false).unwrap();
            assert_eq!(arrival.len, size);
            let (in_head, after) = packet.split_at(size.min(10));
            assert_eq!(&head[..in_head.len()], in_head);
            assert!(head[in_head.len()..].iter().all(|byte| *byte == 0xff));
            let body = body.strip_prefix(b"body:").unwrap();
            let rest = rest.strip_prefix(b"rest:").unwrap();
            assert!(body.len() >= after.len().min(room), "there was room for more");
            assert!([body, rest].concat() == after);
        }
    }
}

#[test]
fn of_concurrent_senders_do_not_mix() {
    const SENDERS: u8 = 4;
    const PACKETS: u32 = 200;

    let _watchdog = watchdog();
    let (sender, receiver) = backend::channel().unwrap();
    let sender = Arc::new(sender);
    let threads: Vec<_> = (0..SENDERS)
        .map(|name| {
            let sender = Arc::clone(&sender);
            thread::spawn(move || {
                for number in 0..PACKETS {
                    let body = vec![name; 1 + (number as usize * 37) % 9000];
                    send_all(&sender, &number.to_le_bytes(), &body);
                }
            })
        })
        .collect();
    drop(sender);
    let mut next = [0; SENDERS as usize];
    for _ in 0..u32::from(SENDERS) * PACKETS {
        let (bytes, _) = packet_from(&receiver, soon()).unwrap();
        let (number, body) = bytes.split_first_chunk::<4>().unwrap();
        let number = u32::from_le_bytes(*number);
        let name = body[0];
        assert_eq!(body, vec![name; 1 + (number as usize * 37) % 9000]);
        assert_eq!(number, next[usize::from(name)], "order of sender {name}");
        next[usize::from(name)] += 1;
    }
    for thread in threads {
        thread.join().unwrap();
    }
    expect_closed(&receiver);
}

/// Two senders, duplicates in different threads, that notify each other after each send.
#[test]
fn arrive_in_causal_order() {
    const ROUNDS: u32 = 500;

    let _watchdog = watchdog();
    let (sender, receiver) = backend::channel().unwrap();
    let other = {
        // The duplicate is received from a packet, so that it is another object where the
        // backend makes one.
        let sender = Arc::new(sender);
        send_with(&sender, b"x", Attachment::from_sender(Arc::clone(&sender)));
        let other = expect_one(&receiver, b"x").into_sender().unwrap();
        [sender, other]
    };
    let (turn, turns): (Vec<_>, Vec<_>) = (0..2).map(|_| mpsc::channel::<u32>()).unzip();
    turn[0].send(0).unwrap();
    let threads: Vec<_> = other
        .into_iter()
        .zip(turns)
        .zip(turn.into_iter().rev())
        .map(|((sender, my_turn), your_turn)| {
            thread::spawn(move || {
                while let Ok(number) = my_turn.recv() {
                    if number == ROUNDS {
                        // The other thread may have ended already.
                        let _ = your_turn.send(number);
                        return;
                    }
                    send(&sender, &number.to_le_bytes());
                    your_turn.send(number + 1).unwrap();
                }
            })
        })
        .collect();
    for number in 0..ROUNDS {
        expect(&receiver, &number.to_le_bytes());
    }
    for thread in threads {
        thread.join().unwrap();
    }
}

#[test]
fn survive_their_sender() {
    let _watchdog = watchdog();
    let (sender, receiver) = backend::channel().unwrap();
    send(&sender, b"last words");
    drop(sender);
    expect(&receiver, b"last words");
    expect_closed(&receiver);
    expect_closed(&receiver);
}

#[test]
fn append_their_attachments() {
    let _watchdog = watchdog();
    let (sender, receiver) = backend::channel().unwrap();
    let most = MAX_PACKET_ATTACHMENTS.min(253);
    let memory = Memory::new(1).unwrap();
    for count in [0, 1, 2, most] {
        let attachments = (0..count).map(|_| Attachment::from_memory(&memory));
        sender.send(b"h", b"b", attachments.collect(), Wait::Never).unwrap();
    }
    let mut attachments = Vec::new();
    for total in [0, 1, 3, 3 + most] {
        receive(&receiver, &mut attachments, soon()).unwrap();
        assert_eq!(attachments.len(), total);
    }
}

#[test]
fn keep_the_order_of_their_attachments() {
    let _watchdog = watchdog();
    let (sender, receiver) = backend::channel().unwrap();
    let memories = (1..=20).map(|len| Memory::new(len).unwrap());
    let attachments = memories.map(|memory| Attachment::from_memory(&memory));
    sender.send(b"x", b"", attachments.collect(), Wait::Never).unwrap();
    for (attachment, len) in expect(&receiver, b"x").into_iter().zip(1_u64..) {
        assert_eq!(attachment.into_memory(len).unwrap().size() as u64, len);
    }
}

/// Sends packets of 1000 bytes until there is no room. A backend that always has some gets a
/// few thousand.
fn fill(sender: &PacketSender) -> (usize, bool) {
    for sent in 0..5000 {
        match sender.send(&[0; 1000], b"", Vec::new(), Wait::Never) {
            Ok(()) => {}
            Err((SendError::Full, _)) => return (sent, true),
            Err((error, _)) => panic!("{error:?}"),
        }
    }
    (5000, false)
}

#[test]
fn without_room_in_time_come_back_with_their_attachments() {
    let _watchdog = watchdog();
    let (sender, receiver) = backend::channel().unwrap();
    let (sent, is_full) = fill(&sender);
    let memory = Memory::new(3).unwrap();
    let mut attachments = vec![Attachment::from_memory(&memory)];
    if is_full {
        let soon = Instant::now() + Duration::from_millis(20);
        for wait in [Wait::Never, Wait::Until(Instant::now()), Wait::Until(soon), Wait::Never] {
            let result = sender.send(b"x", b"", attachments, wait);
            let Err((SendError::Full, unsent)) = result else { panic!("{wait:?}: {result:?}") };
            attachments = unsent;
            assert_eq!(attachments.len(), 1);
        }
        // The wait lasted for its timeout.
        assert!(Instant::now() >= soon);
    }
    for _ in 0..sent {
        assert_eq!(packet_from(&receiver, soon()).unwrap().0.len(), 1000);
    }
    sender.send(b"x", b"", attachments, Wait::Never).unwrap();
    assert!(expect_one(&receiver, b"x").into_memory(3).is_ok());
}

#[test]
fn are_sent_as_soon_as_there_is_room() {
    let _watchdog = watchdog();
    for wait in [Wait::Forever, Wait::at_most(LONG)] {
        let (sender, receiver) = backend::channel().unwrap();
        let (sent, _) = fill(&sender);
        let waiting = thread::spawn(move || {
            let sent = sender.send(b"last", b"", Vec::new(), wait).map_err(|(error, _)| error);
            (sender, sent)
        });
        for _ in 0..sent {
            assert_eq!(packet_from(&receiver, soon()).unwrap().0.len(), 1000);
        }
        expect(&receiver, b"last");
        waiting.join().unwrap().1.unwrap();
    }
}

/// Several rounds: the faster of the two threads varies.
#[test]
fn a_receiver_is_dropped_while_a_sender_keeps_sending() {
    let _watchdog = watchdog();
    for _ in 0..20 {
        let (sender, receiver) = backend::channel().unwrap();
        assert!(!sender.is_closed());
        fill(&sender);
        let (sends, is_sending) = mpsc::channel();
        let sending = thread::spawn(move || {
            sends.send(()).unwrap();
            // A backend that always has room sends it.
            while sender.send(b"x", b"", Vec::new(), Wait::Forever).is_ok() {}
            sender
        });
        is_sending.recv().unwrap();
        drop(receiver);
        let sender = sending.join().unwrap();
        assert!(sender.is_closed());
        let result = sender.send(b"x", b"", Vec::new(), Wait::Never);
        assert!(matches!(result, Err((SendError::Closed, _))), "{result:?}");
    }
}

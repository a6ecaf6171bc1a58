//! C3: FIFO for each sender. C4: causal order between senders.

use super::*;

#[test]
fn c3_fifo_per_sender_across_processes() {
    let _watchdog = harness::watchdog();
    let (sender, receiver) = ipc::channel::<Item>().unwrap();
    let helpers: Vec<Helper> = (0..3).map(|_| Helper::start()).collect();
    for (from, helper) in (0..).zip(&helpers) {
        helper.order(Order::Count { to: sender.clone(), from, numbers: 1000 });
    }
    // And a thread of this process.
    let counting = thread::spawn(move || {
        (0..1000).for_each(|number| sender.send(Item::new(3, number)).unwrap());
    });
    let mut expected = [0; 4];
    for item in receiver.iter().take(4000) {
        item.check(expected[item.from as usize]);
        expected[item.from as usize] += 1;
    }
    assert_eq!(expected, [1000; 4]);
    counting.join().unwrap();
    assert!(receiver.recv_timeout(Duration::from_secs(60)).unwrap_err().is_disconnected());
}

/// Clones, senders that were moved away and back, and senders made of a file descriptor are one
/// sender, if they are used one after another.
#[test]
fn c3_fifo_across_all_copies_of_one_sender() {
    let _watchdog = harness::watchdog();
    let (sender, receiver) = ipc::channel::<u32>().unwrap();
    let (carrier, carried) = ipc::channel::<IpcSender<u32>>().unwrap();
    let mut senders = vec![sender];
    for number in 0..200 {
        senders[number as usize % senders.len()].send(number).unwrap();
        if number % 40 == 0 {
            carrier.send_ref(&senders[0]).unwrap();
            senders.push(carried.recv().unwrap());
            senders.push(senders[0].clone());
            senders.push(OwnedFd::try_from(senders[0].clone()).unwrap().try_into().unwrap());
        }
    }
    drop(senders);
    assert!(receiver.iter().eq(0..200));
}

/// One process sends, another is notified and then sends, too.
#[test]
fn c4_message_sent_earlier_arrives_earlier() {
    let _watchdog = harness::watchdog();
    let (items, received) = ipc::channel::<Item>().unwrap();
    let receiving = thread::spawn(move || {
        // Of every size, since large ones are sent in parts.
        for number in 0..150 {
            for from in [1, 2] {
                let item = received.recv().unwrap();
                assert_eq!(item.from, from);
                item.check(number);
            }
        }
    });
    let first = Helper::start();
    let (hint, hinted) = ipc::channel::<()>().unwrap();
    let (stream, mut streamed) = UnixStream::pair().unwrap();
    for number in 0..150 {
        let by_channel = number % 2 == 0;
        let signal = if by_channel {
            Signal::Channel(hint.clone())
        } else {
            Signal::Stream(Handle(stream.try_clone().unwrap()))
        };
        first.order(Order::Tell { to: items.clone(), item: Item::new(1, number), signal });
        if by_channel {
            hinted.recv().unwrap();
        } else {
            streamed.read_exact(&mut [0]).unwrap();
        }
        items.send(Item::new(2, number)).unwrap();
    }
    receiving.join().unwrap();
}

/// Three processes whose channels are busy or not, so that messages are sent by shared memory
/// or by socket. Some have handles, which are always sent by socket. Each process sends when it
/// knows that the one before has sent.
#[test]
fn c4_busy_senders_and_others_are_in_causal_order() {
    const ROUNDS: u64 = 300;

    let _watchdog = harness::watchdog();
    let (items, received) = ipc::channel::<Item>().unwrap();
    let receiving = thread::spawn(move || {
        let (mut next, mut from_busy) = (0, 0);
        while next < 3 * ROUNDS {
            let item = received.recv().unwrap();
            if item.from == 9 {
                item.check(from_busy);
                from_busy += 1;
            } else {
                assert_eq!((item.from, item.number), (next % 3, next / 3));
                next += 1;
            }
        }
        assert_eq!(received.iter().count() as u64, 3 * 2000 - from_busy);
    });
    let (hint, hinted) = ipc::channel::<()>().unwrap();
    let helpers = [Helper::start(), Helper::start()];
    let (reply, _replies) = ipc::channel().unwrap();
    let mut busy = 0;
    for round in 0..ROUNDS {
        for (from, helper) in (0..).zip(&helpers) {
            let item = Item {
                reply: (round % 7 == from).then(|| reply.clone()),
                ..Item::new(from, round)
            };
            let signal = Signal::Channel(hint.clone());
            helper.order(Order::Tell { to: items.clone(), item, signal });
            hinted.recv().unwrap();
        }
        let item = Item { reply: (round % 5 == 0).then(|| reply.clone()), ..Item::new(2, round) };
        items.send(item).unwrap();
        if round % 100 == 50 {
            // From now on this channel is busy.
            for number in busy..busy + 2000 {
                items
                    .send(Item { from: 9, number, text: Item::text(number), reply: None })
                    .unwrap();
            }
            busy += 2000;
        }
    }
    drop(items);
    helpers.iter().for_each(|helper| helper.order(Order::Exit));
    receiving.join().unwrap();
}

/// The same while no thread receives: every message is in the queue before the first
/// is received.
#[test]
fn c4_the_queue_is_in_causal_order() {
    let _watchdog = harness::watchdog();
    let (items, received) = ipc::channel::<Item>().unwrap();
    let helpers = [Helper::start(), Helper::start(), Helper::start()];
    let (hint, hinted) = ipc::channel::<()>().unwrap();
    let mut random = Random::new(4);
    for _ in 0..20 {
        for number in 0..9 {
            // Any of the helpers, or this process.
            match random.below(4) {
                3 => items.send(Item::new(3, number)).unwrap(),
                chosen => {
                    let signal = Signal::Channel(hint.clone());
                    let item = Item::new(chosen as u64, number);
                    helpers[chosen].order(Order::Tell { to: items.clone(), item, signal });
                    hinted.recv().unwrap();
                }
            }
        }
        for number in 0..9 {
            received.recv().unwrap().check(number);
        }
    }
}

#[test]
fn c4_messages_precede_those_sent_after_the_exit_of_their_sender() {
    let _watchdog = harness::watchdog();
    let (items, received) = ipc::channel::<Item>().unwrap();
    for number in 0..5 {
        let helper = Helper::start();
        let item = Item::new(1, number);
        helper.order(Order::Tell { to: items.clone(), item, signal: Signal::Exit });
        helper.exited();
        items.send(Item::new(2, number)).unwrap();
        assert_eq!(received.recv().unwrap().from, 1);
        assert_eq!(received.recv().unwrap().from, 2);
    }
}

//! Receiver sets: membership, what a selection returns, and when.

use std::collections::HashMap;
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use strait::TrySelectError;
use strait::ipc::{self, IpcMessage, IpcReceiver, IpcReceiverSet, IpcSelectionResult, IpcSender};

use crate::harness::{self, watchdog};

const LONG: Duration = Duration::from_secs(60);

/// The results of a set so far.
#[derive(Default)]
struct Log {
    values: HashMap<u64, Vec<u32>>,
    closed: Vec<u64>,
}

impl Log {
    fn add(&mut self, results: Vec<IpcSelectionResult>) {
        assert!(!results.is_empty(), "a selection that returns has something");
        for result in results {
            match result {
                IpcSelectionResult::MessageReceived(id, message) => {
                    assert!(!self.closed.contains(&id), "a message after the closing");
                    self.values.entry(id).or_default().push(message.to().unwrap());
                }
                IpcSelectionResult::ChannelClosed(id) => {
                    assert!(!self.closed.contains(&id), "closed twice");
                    self.closed.push(id);
                }
            }
        }
    }

    /// Selects until the set is empty.
    fn of(set: &mut IpcReceiverSet) -> Log {
        let mut log = Log::default();
        while !set.is_empty() {
            log.add(set.select().unwrap());
        }
        log
    }
}

fn set_of(count: usize) -> (IpcReceiverSet, Vec<(u64, IpcSender<u32>)>) {
    let mut set = IpcReceiverSet::new().unwrap();
    let members = (0..count).map(|_| {
        let (sender, receiver) = ipc::channel().unwrap();
        (set.add(receiver).unwrap(), sender)
    });
    let members = members.collect();
    (set, members)
}

#[track_caller]
fn the_only(results: Vec<IpcSelectionResult>) -> (u64, IpcMessage) {
    assert_eq!(results.len(), 1, "{results:?}");
    results.into_iter().next().unwrap().unwrap()
}

#[test]
fn ids_count_from_zero_and_are_never_used_again() {
    let _watchdog = watchdog();
    let (mut set, members) = set_of(3);
    assert_eq!(members.iter().map(|(id, _)| *id).collect::<Vec<_>>(), [0, 1, 2]);
    assert_eq!(set.len(), 3);
    drop(set.remove(1).unwrap());
    drop(members);
    let log = Log::of(&mut set);
    assert_eq!(log.closed.len(), 2);
    let (_sender, receiver) = ipc::channel::<u32>().unwrap();
    assert_eq!(set.add(receiver).unwrap(), 3);
}

#[test]
fn messages_are_returned_in_order_and_each_disconnection_once() {
    let _watchdog = watchdog();
    let (mut set, members) = set_of(10);
    let thread = thread::spawn(move || {
        for number in 0..200 {
            for (id, sender) in &members {
                sender.send(number * 10 + *id as u32).unwrap();
            }
        }
    });
    let log = Log::of(&mut set);
    thread.join().unwrap();
    assert_eq!(log.values.len(), 10);
    for (id, values) in &log.values {
        let expected: Vec<u32> = (0..200).map(|number| number * 10 + *id as u32).collect();
        assert_eq!(values, &expected);
    }
    assert_eq!(log.closed.len(), 10);
}

#[test]
fn message_sent_before_add_is_selected() {
    let _watchdog = watchdog();
    let mut set = IpcReceiverSet::new().unwrap();
    let (sender, receiver) = ipc::channel::<u32>().unwrap();
    sender.send(1).unwrap();
    sender.send(2).unwrap();
    drop(sender);
    let id = set.add(receiver).unwrap();
    let log = Log::of(&mut set);
    assert_eq!(log.values[&id], [1, 2]);
    assert_eq!(log.closed, [id]);
}

#[test]
fn members_of_all_types_share_a_set() {
    let _watchdog = watchdog();
    let mut set = IpcReceiverSet::new().unwrap();
    let (words, word_receiver) = ipc::channel::<String>().unwrap();
    let (numbers, number_receiver) = ipc::channel::<u64>().unwrap();
    let (bytes, bytes_receiver) = ipc::bytes_channel().unwrap();
    let word_id = set.add(word_receiver).unwrap();
    let number_id = set.add_opaque(number_receiver.to_opaque()).unwrap();
    let bytes_id = set.add_bytes(bytes_receiver).unwrap();
    words.send("word".into()).unwrap();
    let (id, message) = the_only(set.select().unwrap());
    assert_eq!((id, message.to::<String>().unwrap()), (word_id, "word".into()));
    numbers.send(5).unwrap();
    let (id, message) = the_only(set.select().unwrap());
    assert_eq!((id, message.to::<u64>().unwrap()), (number_id, 5));
    bytes.send(b"bytes").unwrap();
    let (id, message) = the_only(set.select().unwrap());
    assert_eq!((id, message.into_bytes().unwrap()), (bytes_id, b"bytes".to_vec()));
}

#[test]
fn select_blocks_until_the_first_event() {
    let _watchdog = watchdog();
    let (mut set, members) = set_of(3);
    let (waiting, is_waiting) = mpsc::channel();
    let thread = thread::spawn(move || {
        is_waiting.recv().unwrap();
        members[1].1.send(4).unwrap();
        members
    });
    waiting.send(()).unwrap();
    let (id, message) = the_only(set.select().unwrap());
    assert_eq!((id, message.to::<u32>().unwrap()), (1, 4));
    drop(thread.join().unwrap());
    assert_eq!(Log::of(&mut set).closed.len(), 3);
}

#[test]
fn try_select_returns_results_or_empty() {
    let _watchdog = watchdog();
    let (mut set, members) = set_of(3);
    assert!(matches!(set.try_select(), Err(TrySelectError::Empty)));
    for nanoseconds in [1, 900_000, 1_900_001, 20_300_000] {
        let timeout = Duration::from_nanos(nanoseconds);
        let start = Instant::now();
        let result = set.try_select_timeout(timeout);
        assert!(matches!(result, Err(TrySelectError::Empty)));
        assert!(start.elapsed() >= timeout);
    }
    members[2].1.send(7).unwrap();
    let (id, message) = the_only(set.try_select().unwrap());
    assert_eq!((id, message.to::<u32>().unwrap()), (2, 7));
    for timeout in [Duration::ZERO, LONG, Duration::MAX] {
        members[0].1.send(8).unwrap();
        let (id, message) = the_only(set.try_select_timeout(timeout).unwrap());
        assert_eq!((id, message.to::<u32>().unwrap()), (0, 8));
    }
    let mut empty = IpcReceiverSet::new().unwrap();
    assert!(matches!(empty.try_select(), Err(TrySelectError::Empty)));
    let result = empty.try_select_timeout(Duration::from_micros(10));
    assert!(matches!(result, Err(TrySelectError::Empty)));
}

#[test]
fn large_messages_are_assembled() {
    let _watchdog = watchdog();
    let mut set = IpcReceiverSet::new().unwrap();
    let threads: Vec<_> = (0..4_u8)
        .map(|name| {
            let (sender, receiver) = ipc::channel().unwrap();
            assert_eq!(set.add(receiver).unwrap(), u64::from(name));
            thread::spawn(move || {
                for _ in 0..3 {
                    sender.send(vec![name; 400_000]).unwrap();
                }
            })
        })
        .collect();
    let mut messages = 0;
    while !set.is_empty() {
        for result in set.select().unwrap() {
            if let IpcSelectionResult::MessageReceived(id, message) = result {
                assert!(message.to::<Vec<u8>>().unwrap() == vec![id as u8; 400_000]);
                messages += 1;
            }
        }
    }
    assert_eq!(messages, 12);
    for thread in threads {
        thread.join().unwrap();
    }
}

#[test]
fn messages_keep_their_endpoints_until_they_are_taken() {
    let _watchdog = watchdog();
    let mut set = IpcReceiverSet::new().unwrap();
    let (carrier, carried) = ipc::channel::<IpcSender<u32>>().unwrap();
    set.add(carried).unwrap();
    let (sender, receiver) = ipc::channel().unwrap();
    carrier.send(sender).unwrap();
    let (_, message) = the_only(set.select().unwrap());
    assert!(receiver.try_recv().unwrap_err().is_empty());
    message.to::<IpcSender<u32>>().unwrap().send(1).unwrap();
    assert_eq!(receiver.recv().unwrap(), 1);
    assert!(receiver.recv().unwrap_err().is_disconnected());
    // A message that is dropped closes its endpoints.
    let (sender, receiver) = ipc::channel().unwrap();
    carrier.send(sender).unwrap();
    drop(set.select().unwrap());
    assert!(receiver.recv().unwrap_err().is_disconnected());
}

#[test]
fn a_message_of_another_type_is_its_own_error() {
    let _watchdog = watchdog();
    let (mut set, members) = set_of(2);
    members[0].1.clone().to_opaque().to_bytes().send(b"?").unwrap();
    let (id, message) = the_only(set.select().unwrap());
    assert_eq!(id, 0);
    assert!(message.to::<u32>().is_err());
    members[0].1.send(1).unwrap();
    assert_eq!(the_only(set.select().unwrap()).1.to::<u32>().unwrap(), 1);
}

mod removal {
    use super::*;

    #[test]
    fn returns_the_receiver_with_its_messages() {
        let _watchdog = watchdog();
        let (mut set, members) = set_of(3);
        for number in 0..5 {
            members[1].1.send(number).unwrap();
        }
        let receiver = set.remove(1).unwrap().to::<u32>();
        assert_eq!(set.len(), 2);
        assert!(set.try_select().unwrap_err().is_empty());
        members[1].1.send(5).unwrap();
        for number in 0..6 {
            assert_eq!(receiver.recv().unwrap(), number);
        }
        members[0].1.send(9).unwrap();
        assert_eq!(the_only(set.select().unwrap()).0, 0);
        drop(members);
        assert!(receiver.recv().unwrap_err().is_disconnected());
        let mut closed = Log::of(&mut set).closed;
        closed.sort_unstable();
        assert_eq!(closed, [0, 2]);
    }

    #[test]
    fn of_an_unknown_id_is_none() {
        let _watchdog = watchdog();
        let (mut set, members) = set_of(2);
        assert!(set.remove(2).is_none());
        assert!(set.remove(u64::MAX).is_none());
        assert!(set.remove(0).is_some());
        assert!(set.remove(0).is_none());
        drop(members);
        assert_eq!(Log::of(&mut set).closed, [1]);
        assert!(set.remove(1).is_none());
    }

    /// Events of the member that the operating system had already reported are not returned.
    #[test]
    fn in_the_middle_of_a_flood_loses_nothing() {
        const COUNT: u32 = 5000;

        let _watchdog = watchdog();
        let (mut set, mut members) = set_of(2);
        let (_, quiet) = members.pop().unwrap();
        let (_, loud) = members.pop().unwrap();
        let thread = thread::spawn(move || {
            for number in 0..COUNT {
                loud.send(number).unwrap();
            }
        });
        let mut log = Log::default();
        while log.values.get(&0).is_none_or(|values| values.len() < 1000) {
            log.add(set.select().unwrap());
        }
        let receiver: IpcReceiver<u32> = set.remove(0).unwrap().to();
        let id = set.add(receiver).unwrap();
        assert_eq!(id, 2);
        while !log.closed.contains(&id) {
            log.add(set.select().unwrap());
        }
        let values = [&log.values[&0][..], &log.values[&id][..]].concat();
        assert_eq!(values, (0..COUNT).collect::<Vec<_>>());
        thread.join().unwrap();
        drop(quiet);
        assert_eq!(Log::of(&mut set).closed, [1]);
    }

    #[test]
    fn allows_the_receiver_to_be_sent() {
        let _watchdog = watchdog();
        let (mut set, members) = set_of(1);
        members[0].1.send(1).unwrap();
        let (carrier, carried) = ipc::channel().unwrap();
        carrier.send(set.remove(0).unwrap()).unwrap();
        let receiver = carried.recv().unwrap().to::<u32>();
        members[0].1.send(2).unwrap();
        assert_eq!((receiver.recv().unwrap(), receiver.recv().unwrap()), (1, 2));
    }

    #[test]
    fn of_an_incomplete_message_keeps_its_parts() {
        let _watchdog = watchdog();
        let mut set = IpcReceiverSet::new().unwrap();
        let (sender, receiver) = ipc::channel::<Vec<u8>>().unwrap();
        let mut id = set.add(receiver).unwrap();
        let thread = thread::spawn(move || {
            sender.send(vec![3; 3_000_000]).unwrap();
            sender
        });
        let value = loop {
            match set.try_select() {
                Ok(results) => break the_only(results).1.to::<Vec<u8>>().unwrap(),
                Err(error) => assert!(error.is_empty(), "{error}"),
            }
            let receiver = set.remove(id).unwrap();
            id = set.add_opaque(receiver).unwrap();
        };
        assert!(value == vec![3; 3_000_000]);
        thread.join().unwrap();
    }
}

mod fairness {
    use super::*;

    /// A member that alone has messages does not wait for the others.
    #[test]
    fn only_busy_member_is_emptied() {
        let _watchdog = watchdog();
        let mut set = IpcReceiverSet::new().unwrap();
        let (sender, receiver) = ipc::channel::<u32>().unwrap();
        let (_quiet, quiet_receiver) = ipc::channel::<u32>().unwrap();
        set.add(quiet_receiver).unwrap();
        set.add(receiver).unwrap();
        for number in 0..200 {
            sender.send(number).unwrap();
        }
        let results = set.select().unwrap();
        let numbers = results.into_iter().map(|result| result.unwrap().1.to::<u32>().unwrap());
        assert!(numbers.eq(0..200));
    }

    /// A flooded member delays neither the others nor a deadline, and the results of one
    /// selection are limited.
    #[test]
    fn flooded_member_does_not_delay_others() {
        let _watchdog = watchdog();
        let mut set = IpcReceiverSet::new().unwrap();
        let (flood, flooded) = ipc::channel::<u32>().unwrap();
        let (quiet, quiet_receiver) = ipc::channel::<u32>().unwrap();
        let flood_id = set.add(flooded).unwrap();
        let quiet_id = set.add(quiet_receiver).unwrap();
        let threads: Vec<_> = (0..2)
            .map(|_| {
                let flood = flood.clone();
                thread::spawn(move || while flood.send(0).is_ok() {})
            })
            .collect();
        for round in 0..50 {
            quiet.send(round).unwrap();
            loop {
                let results = set.select().unwrap();
                assert!(results.len() <= 1024, "{}", results.len());
                let from_quiet = results.iter().any(|result| {
                    matches!(result, IpcSelectionResult::MessageReceived(id, _) if *id == quiet_id)
                });
                if from_quiet {
                    break;
                }
            }
        }
        drop(set.remove(flood_id));
        for thread in threads {
            thread.join().unwrap();
        }
    }

    #[test]
    fn one_selection_is_limited_and_the_next_continues() {
        const MEMBERS: usize = 40;
        const EACH: u32 = 100;

        let _watchdog = watchdog();
        let (mut set, members) = set_of(MEMBERS);
        for number in 0..EACH {
            for (_, sender) in &members {
                sender.send(number).unwrap();
            }
        }
        let mut log = Log::default();
        let mut selections = 0;
        while log.values.values().map(Vec::len).sum::<usize>() < MEMBERS * EACH as usize {
            let results = set.try_select().unwrap();
            assert!(results.len() <= 1024);
            log.add(results);
            selections += 1;
        }
        assert!(selections >= 4);
        for values in log.values.values() {
            assert_eq!(values, &(0..EACH).collect::<Vec<_>>());
        }
    }
}

/// Many members, of which few have messages.
#[test]
fn a_thousand_members() {
    harness::alone(harness::path_of(a_thousand_members), || {
        let (mut set, members) = set_of(1000.min(harness::room_for_handles() / 3));
        for number in 0..500 {
            let (id, sender) = &members[(number as usize * 37) % members.len()];
            sender.send(number).unwrap();
            let (selected, message) = the_only(set.select().unwrap());
            assert_eq!((selected, message.to::<u32>().unwrap()), (*id, number));
        }
        let count = members.len();
        drop(members);
        assert_eq!(Log::of(&mut set).closed.len(), count);
    });
}

/// Also messages that the receiver has read ahead, to put them in order.
#[test]
fn messages_before_add_are_selected() {
    let _watchdog = watchdog();
    let (sender, receiver) = ipc::channel::<(u32, Option<IpcSender<u32>>)>().unwrap();
    let (reply, _replies) = ipc::channel().unwrap();
    // Some messages have handles: on Linux they are sent by socket, the others by ring. They
    // are so few that the socket has room for all, if there is no ring on a slow machine.
    for number in 0..400 {
        sender.send((number, (number % 3 == 0).then(|| reply.clone()))).unwrap();
        if number % 2 == 0 {
            assert_eq!(receiver.recv().unwrap().0, number / 2);
        }
    }
    let mut set = IpcReceiverSet::new().unwrap();
    set.add(receiver).unwrap();
    let mut next = 200;
    while next < 400 {
        for result in set.select().unwrap() {
            let (number, _) = result.unwrap().1.to::<(u32, Option<IpcSender<u32>>)>().unwrap();
            assert_eq!(number, next);
            next += 1;
        }
    }
}

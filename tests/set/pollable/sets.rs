//! Receiver sets in pollers.

use super::*;

#[test]
fn c8_sets_in_level_and_edge_triggered_pollers_miss_nothing() {
    let _watchdog = harness::watchdog();
    for mode in [EventFlags::empty(), EventFlags::ET] {
        let mut set = IpcReceiverSet::new().unwrap();
        let epoll = Epoll::of(&set, mode);
        for member in 0..8 {
            let (sender, receiver) = ipc::channel::<u64>().unwrap();
            assert_eq!(set.add(receiver).unwrap(), member);
            send_in_bursts(member, 300, move |number| sender.send(number).unwrap());
        }
        let mut expected = [0; 8];
        select_all(
            &mut set,
            || epoll.wait(),
            |id, number| {
                assert_eq!(number, expected[id as usize]);
                expected[id as usize] += 1;
            },
        );
        assert_eq!(expected, [300; 8]);
    }
}

/// For a program that calls `select` once per event: messages that are left over are the
/// next event.
#[test]
fn c8_set_stays_readable_while_a_selection_leaves_messages() {
    let _watchdog = harness::watchdog();
    for mode in [EventFlags::empty(), EventFlags::ET] {
        let mut set = IpcReceiverSet::new().unwrap();
        let epoll = Epoll::of(&set, mode);
        let senders = fill(&mut set);
        let mut received = 0;
        while received < senders.len() * 200 {
            epoll.wait();
            received += count(&mut set);
        }
        drop(senders);
        while !set.is_empty() {
            epoll.wait();
            count(&mut set);
        }
    }
}

/// For a program that asks for the file descriptor only after messages were left over.
#[test]
fn c8_set_with_remaining_messages_is_readable_when_registered() {
    let _watchdog = harness::watchdog();
    for mode in [EventFlags::empty(), EventFlags::ET] {
        let mut set = IpcReceiverSet::new().unwrap();
        let senders = fill(&mut set);
        let mut received = count(&mut set);
        assert!(received < senders.len() * 200, "nothing is left over");
        let epoll = Epoll::of(&set, mode);
        while received < senders.len() * 200 {
            assert!(epoll.has_event(Some(Duration::from_secs(10))), "{received} were received");
            received += count(&mut set);
        }
    }
}

/// More messages than one selection returns.
fn fill(set: &mut IpcReceiverSet) -> Vec<IpcSender<u64>> {
    let member = |_| {
        let (sender, receiver) = ipc::channel::<u64>().unwrap();
        set.add(receiver).unwrap();
        for number in 0..200 {
            sender.send(number).unwrap();
        }
        sender
    };
    (0..12).map(member).collect()
}

fn count(set: &mut IpcReceiverSet) -> usize {
    match set.try_select() {
        Ok(results) => results
            .iter()
            .filter(|result| matches!(result, IpcSelectionResult::MessageReceived(..)))
            .count(),
        Err(TrySelectError::Empty) => 0,
        Err(TrySelectError::IoError(error)) => panic!("{error:?}"),
    }
}

#[test]
fn c8_an_idle_set_is_not_readable() {
    let _watchdog = harness::watchdog();
    let mut set = IpcReceiverSet::new().unwrap();
    let (sender, receiver) = ipc::channel::<u64>().unwrap();
    let id = set.add(receiver).unwrap();
    assert!(!is_readable(&set));
    sender.send(1).unwrap();
    assert!(is_readable(&set));
    assert_eq!(count(&mut set), 1);
    // It may be readable once without a reason, but not for ever.
    while is_readable(&set) {
        assert_eq!(count(&mut set), 0);
    }
    let receiver = set.remove(id).unwrap();
    sender.send(2).unwrap();
    assert!(!is_readable(&set));
    assert_eq!(receiver.to::<u64>().recv().unwrap(), 2);
}

/// A received handle can be a file descriptor for a poller.
#[test]
fn c8_a_descriptor_can_itself_be_sent() {
    let _watchdog = harness::watchdog();
    let (carrier, carried) = ipc::channel::<Handle<OwnedFd>>().unwrap();
    let (sender, receiver) = ipc::channel::<u32>().unwrap();
    carrier.send(Handle(receiver.try_into().unwrap())).unwrap();
    let receiver = IpcReceiver::<u32>::try_from(carried.recv().unwrap().into_inner()).unwrap();
    sender.send(1).unwrap();
    assert!(is_readable(&receiver));
    assert_eq!(receiver.recv().unwrap(), 1);
}

//! Messages with as many handles as there may be, and with more.

use super::*;

#[test]
fn c7_thousands_of_handles_in_one_message() {
    harness::alone(harness::path_of(c7_thousands_of_handles_in_one_message), || {
        let limit = raise_descriptor_limit();
        for count in [253, 254, 300, 1000, 5000] {
            // The incomplete message may have three quarters of all file descriptors.
            if count * 4 / 3 + 200 > limit {
                continue;
            }
            let (sender, receiver) = ipc::channel::<Vec<(u64, IpcSharedMemory)>>().unwrap();
            let memory = IpcSharedMemory::try_from_bytes(b"shared").unwrap();
            let before = harness::handles().len() as u64;
            let sending = thread::spawn(move || {
                let memories = (0..count).map(|number| (number, memory.clone())).collect();
                sender.send(memories).unwrap();
            });
            let memories = receiver.recv().unwrap();
            sending.join().unwrap();
            // Except those of the sender and its memory.
            assert_eq!(harness::handles().len() as u64, before - 2 + count);
            assert_eq!(memories.len() as u64, count);
            for (expected, (number, memory)) in memories.into_iter().enumerate() {
                assert_eq!((number, &*memory), (expected as u64, &b"shared"[..]));
            }
            assert_eq!(harness::handles().len() as u64, before - 2);
        }
    });
}

/// Each endpoint in a large message is received at its own place.
#[test]
fn c7_hundreds_of_different_endpoints_in_one_message() {
    harness::alone(harness::path_of(c7_hundreds_of_different_endpoints_in_one_message), || {
        let count = if raise_descriptor_limit() > 4000 { 600 } else { 100 };
        let (carrier, carried) =
            ipc::channel::<Vec<(IpcSender<usize>, IpcReceiver<usize>)>>().unwrap();
        let mut kept = Vec::new();
        let mut sent = Vec::new();
        for _ in 0..count {
            let (sender, their_receiver) = ipc::channel().unwrap();
            let (their_sender, receiver) = ipc::channel().unwrap();
            kept.push((sender, receiver));
            sent.push((their_sender, their_receiver));
        }
        let sending = thread::spawn(move || carrier.send(sent).unwrap());
        let received = carried.recv().unwrap();
        sending.join().unwrap();
        assert_eq!(received.len(), count);
        for (number, (sender, _)) in kept.iter().enumerate() {
            sender.send(number).unwrap();
        }
        for (number, (sender, receiver)) in received.into_iter().enumerate() {
            assert_eq!(receiver.recv().unwrap(), number);
            sender.send(number).unwrap();
        }
        for (number, (_, receiver)) in kept.iter().enumerate() {
            assert_eq!(receiver.recv().unwrap(), number);
            assert!(receiver.recv().unwrap_err().is_disconnected());
        }
    });
}

#[test]
fn c7_more_handles_than_a_message_may_have_are_an_error() {
    let _watchdog = harness::watchdog();
    let (sender, receiver) = ipc::channel::<Vec<IpcSharedMemory>>().unwrap();
    let one = IpcSharedMemory::try_from_byte(1, 1).unwrap();
    let too_many = vec![one; strait::internals::limits::MAX_MESSAGE_ATTACHMENTS + 1];
    assert!(matches!(sender.send(too_many), Err(IpcError::SerializationError(_))));
    sender.send(Vec::new()).unwrap();
    assert!(receiver.recv().unwrap().is_empty());
}

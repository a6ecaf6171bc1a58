//! Rings that a hostile peer makes, fills and locks: messages of other senders are received,
//! and the receiver's memory is not used up.

use std::os::fd::{AsFd, OwnedFd};
use std::time::Duration;

use rustix::fs::{MemfdFlags, SealFlags};
use strait::internals::now;
use strait::internals::ring::Place;
use strait::ipc::{
    self, ChannelOptions, IpcBytesReceiver, IpcBytesSender, IpcReceiverSet, IpcSelectionResult,
    IpcSharedMemory,
};

use crate::harness::ring::{self, RawRing};
use crate::harness::sandbox::kill_for;
use crate::harness::stuck::StuckWriter;
use crate::harness::table;
use crate::harness::{self, alone, watchdog};
use crate::send_one_of;

#[test]
fn c7_places_that_are_taken_by_many_rings_lose_no_honest_message() {
    let _watchdog = watchdog();
    let (sender, receiver) = ipc::channel::<(u32, Vec<u8>)>().unwrap();
    let rings: Vec<RawRing> = (0..80)
        .map(|_| {
            let mut ring = RawRing::new();
            let body = [&7_u32.to_le_bytes()[..], &0_u64.to_le_bytes()].concat();
            ring.write(ring::MESSAGE, 1, &body);
            ring.publish();
            ring.offer(&sender, true);
            ring
        })
        .collect();
    for number in 0..300 {
        sender.send((100 + number, vec![1; 4000])).unwrap();
    }
    let (mut hostile, mut honest) = (0, 0);
    while honest < 300 {
        match receiver.recv().unwrap() {
            (7, _) => hostile += 1,
            (number, _) => {
                assert_eq!(number, 100 + honest);
                honest += 1;
            }
        }
    }
    assert_eq!(hostile, 80);
    drop(rings);
}

/// A read of a missing page of a file allocates it, and is charged for it as long as the peer
/// keeps the file.
#[test]
fn c7_holes_of_a_ring_are_read_without_making_pages() {
    const SEGMENT: u32 = 1 << 20;

    let _watchdog = watchdog();
    let mut ring = RawRing::sparse(1 << 30, 1 << 28);
    let (sender, receiver) = ipc::bytes_channel().unwrap();
    ring.offer(&sender, true);
    for number in 1..=100_u64 {
        ring.jump(Place { offset: number * u64::from(SEGMENT), len: SEGMENT });
        ring.write_sparse(ring::MESSAGE, now(), SEGMENT - 64);
        ring.publish();
        let message = receiver.recv().unwrap();
        assert_eq!(message.len(), SEGMENT as usize - 64);
        assert!(message.iter().all(|byte| *byte == 0));
    }
    // The pages that this process wrote.
    let resident = ring.resident();
    assert!(resident < 4 << 20, "{resident}");
}

/// Sparse memory is only address space, which is limited by the processor.
#[test]
fn c7_sparse_memory_that_is_kept_leaves_room_for_rings() {
    let _watchdog = watchdog();
    const BYTES: u64 = 1 << 44;

    let flags = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING;
    let memory = rustix::fs::memfd_create("sparse", flags).unwrap();
    rustix::fs::ftruncate(&memory, BYTES).unwrap();
    let seals = SealFlags::SHRINK | SealFlags::GROW | SealFlags::WRITE | SealFlags::SEAL;
    rustix::fs::fcntl_add_seals(&memory, seals).unwrap();
    let body = table::with(&table::memory_number(0), &[table::memory(BYTES, table::FIXED)]);
    let kept = send_one_of::<IpcSharedMemory>(&body, &[memory.as_fd()]);
    let (sender, receiver) = ipc::channel::<(u32, Vec<u8>)>().unwrap();
    for number in 0..200 {
        sender.send((number, vec![1; 4000])).unwrap();
    }
    for number in 0..200 {
        assert_eq!(receiver.recv().unwrap().0, number);
    }
    assert!(kept.is_ok());
}

/// The numbers of this process's rings.
fn rings() -> Vec<i32> {
    let is_ring = |what: &str| what.contains("memfd:strait-ring");
    let handles = harness::handles().into_iter().filter(|handle| is_ring(&handle.what));
    handles.map(|handle| handle.number).collect()
}

/// A channel with a ring that both endpoints use. The receiver gives it back when it is idle
/// for a moment.
fn with_ring() -> (IpcBytesSender, IpcBytesReceiver) {
    let options = ChannelOptions::new().keep_memory(Duration::from_millis(100));
    let (sender, receiver) = options.bytes_channel().unwrap();
    while rings().len() < 2 {
        for _ in 0..100 {
            sender.send(b"hot").unwrap();
        }
        for _ in 0..100 {
            receiver.recv().unwrap();
        }
    }
    // Both endpoints use the ring.
    for _ in 0..100 {
        sender.send(b"hot").unwrap();
        receiver.recv().unwrap();
    }
    (sender, receiver)
}

/// A peer that holds the lock of the memory of the only ring.
fn lock_ring() -> Option<StuckWriter> {
    StuckWriter::new(OwnedFd::from(ring::opened_again(rings()[0])))
}

#[test]
fn c7_drop_of_a_receiver_returns_while_a_peer_keeps_the_lock_of_its_ring() {
    alone(
        harness::path_of(c7_drop_of_a_receiver_returns_while_a_peer_keeps_the_lock_of_its_ring),
        || {
            let (sender, receiver) = with_ring();
            let stuck = lock_ring();
            sender.send(b"more").unwrap();
            assert_eq!(receiver.recv().unwrap(), b"more");
            drop(receiver);
            assert!(sender.send(b"more").is_err());
            assert!(stuck.is_none_or(|stuck| stuck.is_stuck()));
        },
    );
}

#[test]
fn c7_set_serves_its_members_while_a_peer_keeps_the_lock_of_a_ring() {
    alone(
        harness::path_of(c7_set_serves_its_members_while_a_peer_keeps_the_lock_of_a_ring),
        || {
            let (_sender, receiver) = with_ring();
            let stuck = lock_ring();
            // This channel has no ring, so that there is one only.
            let without = ChannelOptions::new().shared_memory(false);
            let (honest, honest_receiver) = without.bytes_channel().unwrap();
            let mut set = IpcReceiverSet::new().unwrap();
            set.add_bytes(receiver).unwrap();
            let id = set.add_bytes(honest_receiver).unwrap();
            // The sender's mapping, and that of the writer. The set unmaps its own.
            let others = 1 + usize::from(stuck.is_some());
            while rings().len() > others {
                honest.send(b"honest").unwrap();
                let events = set.select().unwrap();
                assert_eq!(events.len(), 1);
                assert!(
                    matches!(events[0], IpcSelectionResult::MessageReceived(from, _) if from == id)
                );
            }
            assert!(stuck.is_none_or(|stuck| stuck.is_stuck()));
        },
    );
}

#[test]
fn c7_sender_continues_while_a_peer_keeps_the_lock_of_its_ring() {
    alone(harness::path_of(c7_sender_continues_while_a_peer_keeps_the_lock_of_its_ring), || {
        let (sender, receiver) = with_ring();
        let stuck = lock_ring();
        for number in 0..100 {
            sender.send(&vec![number; 300_000]).unwrap();
        }
        for number in 0..100 {
            assert_eq!(receiver.recv().unwrap(), vec![number; 300_000]);
        }
        assert!(stuck.is_none_or(|stuck| stuck.is_stuck()));
    });
}

/// A peer can hold the locks that those calls take for as long as it likes, also where a test
/// cannot show it.
#[test]
fn c7_no_call_that_locks_the_memory_of_a_ring_is_made_while_a_peer_has_it() {
    alone(
        harness::path_of(c7_no_call_that_locks_the_memory_of_a_ring_is_made_while_a_peer_has_it),
        || {
            let (sender, receiver) = with_ring();
            for call in [
                libc::SYS_fallocate,
                libc::SYS_ftruncate,
                libc::SYS_write,
                libc::SYS_pwrite64,
                libc::SYS_pwritev,
                libc::SYS_pwritev2,
            ] {
                kill_for(call);
            }
            for number in 0..100 {
                sender.send(&vec![number; 300_000]).unwrap();
            }
            for number in 0..100 {
                assert_eq!(receiver.recv().unwrap(), vec![number; 300_000]);
            }
            assert!(receiver.try_recv_timeout(Duration::from_millis(300)).unwrap_err().is_empty());
            drop(receiver);
        },
    );
}

//! The memory that messages cost: nothing per message in steady state, and no more than its
//! content for a message that is kept. Lengths that a message only announces cost little.
//!
//! # Safety
//!
//! The allocator of this test binary is the system's, with counters for each thread.

#![allow(unsafe_code)]

mod harness;

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::collections::{BTreeMap, HashMap};
use std::hint::black_box;

use proptest::prelude::*;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use strait::internals::decode_bytes;
use strait::ipc;

use harness::watchdog;

struct Counting;

#[global_allocator]
static ALLOCATOR: Counting = Counting;

thread_local! {
    static CALLS: Cell<usize> = const { Cell::new(0) };
    static LIVE: Cell<isize> = const { Cell::new(0) };
    static PEAK: Cell<isize> = const { Cell::new(0) };
}

fn count(calls: usize, bytes: isize) {
    // A thread that is ending has no counters any more, and no test reads them.
    let _ = CALLS.try_with(|count| count.set(count.get() + calls));
    let live = LIVE.try_with(|live| {
        live.set(live.get() + bytes);
        live.get()
    });
    let _ = PEAK.try_with(|peak| peak.set(peak.get().max(live.unwrap_or(0))));
}

// SAFETY: it does what `System` does.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count(1, layout.size() as isize);
        // SAFETY: the caller's promises are those that `System` asks for.
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        count(1, layout.size() as isize);
        // SAFETY: the caller's promises are those that `System` asks for.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn realloc(&self, start: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        count(1, size as isize - layout.size() as isize);
        // SAFETY: the caller's promises are those that `System` asks for.
        unsafe { System.realloc(start, layout, size) }
    }

    unsafe fn dealloc(&self, start: *mut u8, layout: Layout) {
        count(0, -(layout.size() as isize));
        // SAFETY: the caller's promises are those that `System` asks for.
        unsafe { System.dealloc(start, layout) }
    }
}

/// Returns the maximum of memory that this thread allocates in `f`, beyond what it had before.
fn peak<R>(f: impl FnOnce() -> R) -> (usize, R) {
    let before = LIVE.get();
    PEAK.set(before);
    let result = f();
    ((PEAK.get() - before) as usize, result)
}

/// The in-process backend keeps its packets on the heap.
#[cfg(all(target_os = "linux", not(feature = "force-inprocess")))]
mod steady_state {
    use std::os::fd::AsFd;
    use std::thread;
    use std::time::Duration;

    use rustix::event::{PollFd, PollFlags, Timespec};
    use strait::ipc::IpcSharedMemory;

    use super::*;

    #[test]
    fn reused_command_does_not_grow() {
        use std::process::Command;

        use strait::process::ChannelCommand;

        let _watchdog = watchdog();
        let mut command = Command::new("/nonexistent/program");
        let mut live = [0; 100];
        for live in &mut live {
            command.start_with_channel::<(), ()>().unwrap_err();
            *live = LIVE.get();
        }
        assert_eq!(live[1], live[99], "{live:?}");
    }

    /// Returns how often this thread allocates in `f`.
    fn allocations(f: impl FnOnce()) -> usize {
        let before = CALLS.get();
        f();
        CALLS.get() - before
    }

    #[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
    struct Plain {
        id: u64,
        position: (f32, f32),
        kind: Option<Kind>,
        bytes: [u8; 16],
    }

    #[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
    enum Kind {
        Small(u8),
        Large { size: u128 },
    }

    /// The number of messages before the steady state.
    const WARM_UP: usize = 1000;

    const PLAIN: Plain = Plain {
        id: 7,
        position: (1.5, -2.5),
        kind: Some(Kind::Large { size: 1 << 100 }),
        bytes: [3; 16],
    };

    /// Channels in memory and of the operating system, with and without a bound.
    #[test]
    fn channels_in_memory_and_with_a_bound_allocate_nothing() {
        let _watchdog = watchdog();
        let (sender, receiver) = strait::mpsc::channel::<Plain>();
        expect_none(|| {
            sender.send(PLAIN).unwrap();
            assert_eq!(receiver.recv().unwrap(), PLAIN);
        });
        let lazy = strait::mpsc::sync_channel::<Plain>(10);
        let eager = strait::mpsc::try_sync_channel::<Plain>(10).unwrap();
        for (sender, receiver) in [lazy, eager] {
            expect_none(|| {
                (0..10).for_each(|_| sender.try_send(PLAIN).unwrap());
                assert!(sender.try_send(PLAIN).is_err());
                (0..10).for_each(|_| assert_eq!(receiver.recv().unwrap(), PLAIN));
            });
        }
    }

    #[track_caller]
    fn expect_none(turn: impl Fn()) {
        (0..WARM_UP).for_each(|_| turn());
        assert_eq!(allocations(|| (0..1000).for_each(|_| turn())), 0);
    }

    #[test]
    fn sending_and_receiving_allocate_nothing() {
        let _watchdog = watchdog();
        let (sender, receiver) = ipc::channel::<Plain>().unwrap();
        let turn = || {
            sender.send(PLAIN).unwrap();
            assert_eq!(receiver.recv().unwrap(), PLAIN);
            sender.send_ref(&Plain { kind: Some(Kind::Small(1)), ..PLAIN }).unwrap();
            assert_ne!(receiver.try_recv().unwrap(), PLAIN);
            assert!(receiver.try_recv().is_err());
            sender.send(PLAIN).unwrap();
            assert_eq!(receiver.recv_timeout(Duration::from_secs(60)).unwrap(), PLAIN);
        };
        // The buffers of this thread come with the first message, shared memory with the first
        // many that come quickly.
        let is_steady = || allocations(|| (0..WARM_UP).for_each(|_| turn())) == 0;
        assert!((0..100).any(|_| is_steady()));
    }

    #[test]
    fn both_sides_of_a_round_trip_allocate_nothing() {
        let _watchdog = watchdog();
        let (question, questions) = ipc::channel::<Plain>().unwrap();
        let (answer, answers) = ipc::channel::<Plain>().unwrap();
        let thread = thread::spawn(move || {
            // The longest run of turns without an allocation.
            let (mut run, mut longest) = (0, 0);
            let mut is_over = false;
            while !is_over {
                let cost = allocations(|| match questions.recv() {
                    Ok(value) => answer.send(value).unwrap(),
                    Err(_) => is_over = true,
                });
                run = if cost == 0 { run + 1 } else { 0 };
                longest = longest.max(run);
            }
            longest
        });
        let turn = || {
            question.send(PLAIN).unwrap();
            assert_eq!(answers.recv().unwrap(), PLAIN);
        };
        // On a busy machine it takes longer until the channels are busy enough to share memory,
        // which is allocated then.
        let is_steady = || allocations(|| (0..WARM_UP).for_each(|_| turn())) == 0;
        assert!((0..100).any(|_| is_steady()));
        drop(question);
        assert!(thread.join().unwrap() >= WARM_UP - 1);
    }

    /// Receives one message per event of a poller, and then all messages per event.
    #[test]
    fn a_polled_receiver_allocates_nothing() {
        let _watchdog = watchdog();
        let (sender, receiver) = ipc::channel::<Plain>().unwrap();
        let is_readable = || {
            let mut fds = [PollFd::from_borrowed_fd(receiver.as_fd(), PollFlags::IN)];
            rustix::event::poll(&mut fds, Some(&Timespec::default())).unwrap() > 0
        };
        let turn = || {
            (0..4).for_each(|_| sender.send(PLAIN).unwrap());
            for _ in 0..4 {
                assert!(is_readable());
                assert_eq!(receiver.try_recv().unwrap(), PLAIN);
            }
            assert!(receiver.try_recv().unwrap_err().is_empty());
            assert!(!is_readable());
        };
        (0..WARM_UP).for_each(|_| turn());
        assert_eq!(allocations(|| (0..100).for_each(|_| turn())), 0);
    }

    /// A large message by reference is one that is encoded in a buffer that is used again, and
    /// decoded from another.
    #[test]
    fn messages_of_any_size_allocate_nothing() {
        let _watchdog = watchdog();
        let (sender, receiver) = ipc::channel::<[[u64; 32]; 32]>().unwrap();
        let value = [[9; 32]; 32];
        let turn = || {
            sender.send_ref(&value).unwrap();
            assert_eq!(receiver.recv().unwrap(), value);
        };
        turn();
        assert_eq!(allocations(|| (0..20).for_each(|_| turn())), 0);
    }

    /// Decoding allocates what `T` itself owns, once.
    #[test]
    fn decoded_value_allocates_what_it_owns() {
        let _watchdog = watchdog();
        let (sender, receiver) = ipc::channel::<(Vec<u8>, String)>().unwrap();
        let value = (vec![1; 1000], "x".repeat(1000));
        let turn = || {
            sender.send_ref(&value).unwrap();
            assert_eq!(receiver.recv().unwrap(), value);
        };
        turn();
        assert_eq!(allocations(|| (0..20).for_each(|_| turn())), 2 * 20);
    }

    /// Clones of shared memory allocate nothing.
    #[test]
    fn clones_of_memory_allocate_nothing() {
        let memory = IpcSharedMemory::from_byte(1, 100_000);
        let cost = allocations(|| (0..100).for_each(|_| drop(black_box(memory.clone()))));
        assert_eq!(cost, 0);
    }
}

mod what_is_kept {
    use std::thread;

    use super::*;

    /// Small, large and in parts, in an order in which no length predicts the next.
    const SIZES: [usize; 20] = [
        3, 0, 100, 10_000, 9_999, 10_001, 5, 60_000, 1, 65_488, 65_489, 20_000, 3_000_000, 7,
        65_536, 70_000, 300_000, 300_000, 2, 0,
    ];

    #[test]
    fn is_as_large_as_its_content() {
        let _watchdog = watchdog();
        let (sender, receiver) = ipc::bytes_channel().unwrap();
        let thread = thread::spawn(move || {
            for size in SIZES {
                sender.send(&vec![5; size]).unwrap();
            }
        });
        for size in SIZES {
            let bytes = receiver.recv().unwrap();
            assert_eq!((bytes.len(), bytes.capacity()), (size, size));
        }
        thread.join().unwrap();
    }

    #[test]
    fn is_as_large_as_its_content_in_sets_too() {
        let _watchdog = watchdog();
        let (sender, receiver) = ipc::bytes_channel().unwrap();
        let mut set = ipc::IpcReceiverSet::new().unwrap();
        set.add_bytes(receiver).unwrap();
        let thread = thread::spawn(move || {
            for size in SIZES {
                sender.send(&vec![5; size]).unwrap();
            }
        });
        let mut sizes = SIZES.into_iter();
        while !set.is_empty() {
            for result in set.select().unwrap() {
                if let ipc::IpcSelectionResult::MessageReceived(_, message) = result {
                    let bytes = message.into_bytes().unwrap();
                    assert_eq!(Some(bytes.len()), sizes.next());
                    assert_eq!(bytes.capacity(), bytes.len());
                }
            }
        }
        assert_eq!(sizes.next(), None);
        thread.join().unwrap();
    }

    /// The message is assembled in place, not first in parts and then as a whole.
    #[test]
    fn takes_little_more_than_its_size_while_it_arrives() {
        const SIZE: usize = 8 << 20;

        let _watchdog = watchdog();
        let (sender, receiver) = ipc::bytes_channel().unwrap();
        let thread = thread::spawn(move || {
            let bytes = vec![5; SIZE];
            let (peak, result) = peak(|| sender.send(&bytes));
            result.unwrap();
            peak
        });
        let (receiving, bytes) = peak(|| receiver.recv().unwrap());
        assert_eq!(bytes.len(), SIZE);
        let sending = thread.join().unwrap();
        // The in-process backend keeps the packets themselves in memory. They count for the
        // sender until they are received.
        if cfg!(all(target_os = "linux", not(feature = "force-inprocess"))) {
            assert!(sending < 1 << 20, "{sending}");
            assert!(receiving < SIZE + (1 << 20), "{receiving}");
        }
    }
}

mod what_is_only_announced {
    use super::*;

    /// The memory reserved for announced elements is in proportion to the message, or less than
    /// this. Some ten thousand elements without bytes are allowed, and serde reserves at most 1
    /// MiB ahead.
    const ALLOWANCE: usize = 4 << 20;

    #[allow(clippy::large_enum_variant, reason = "that is what it is for")]
    #[derive(Debug, Serialize, Deserialize)]
    enum Tree {
        Leaf(String),
        Bytes(Vec<u8>),
        Branches(Vec<Tree>),
        Named(HashMap<String, Tree>),
        Sorted(BTreeMap<u64, Tree>),
        Wide([u64; 32]),
        Numbers(Vec<u64>),
        Boxed(Option<Box<Tree>>),
        Text(Box<str>),
    }

    /// Returns the maximum of memory while decoding, and the memory of the result.
    fn cost<T: DeserializeOwned>(message: &[u8]) -> usize {
        peak(|| drop(black_box(decode_bytes::<T>(message)))).0
    }

    /// The maximum size of an element in a value, in proportion to its bytes in the message. An
    /// element of a `Vec<Tree>` that has four bytes has the size of the largest variant, and so
    /// has one in a map; vectors double.
    fn limit(message: &[u8]) -> usize {
        let largest = size_of::<Tree>().div_ceil(4);
        ALLOWANCE + 8 * largest * message.len()
    }

    #[test]
    fn costs_nothing_by_itself() {
        for announced in [1_u64 << 20, 1 << 30, 1 << 40, u64::MAX, i64::MAX as u64] {
            let message = [&announced.to_le_bytes()[..], &[0; 100]].concat();
            assert!(cost::<String>(&message) < 10_000);
            assert!(cost::<Box<str>>(&message) < 10_000);
            assert!(cost::<Vec<u8>>(&message) < 10_000);
            assert!(cost::<Vec<u64>>(&message) < 10_000);
            assert!(cost::<Vec<()>>(&message) < 10_000);
            assert!(cost::<Vec<[u64; 32]>>(&message) < 10_000);
            assert!(cost::<HashMap<u64, u64>>(&message) < 10_000);
            assert!(cost::<HashMap<(), ()>>(&message) < 10_000);
            assert!(cost::<BTreeMap<u8, Vec<u8>>>(&message) < 10_000);
            assert!(cost::<std::ffi::CString>(&message) < 10_000);
            assert!(cost::<std::path::PathBuf>(&message) < 10_000);
        }
    }

    /// Nests the maximum of elements without bytes at several levels.
    #[test]
    fn costs_no_more_when_it_is_nested() {
        let announced = 60_000_u64.to_le_bytes();
        let branches = 2_u32.to_le_bytes();
        let message = [&branches[..], &announced].concat().repeat(200);
        let cost = cost::<Tree>(&message);
        assert!(cost <= limit(&message), "{cost} bytes for {} bytes", message.len());
    }

    proptest! {
        #![proptest_config(ProptestConfig {
            failure_persistence: None,
            ..ProptestConfig::default()
        })]

        #[test]
        fn random_bytes_cost_in_proportion_to_their_length(
            words in proptest::collection::vec(
                prop_oneof![
                    (0..9_u32).prop_map(|word| word.to_le_bytes().to_vec()),
                    (0..9_u64).prop_map(|word| word.to_le_bytes().to_vec()),
                    (0..100_000_u64).prop_map(|word| word.to_le_bytes().to_vec()),
                    any::<u64>().prop_map(|word| word.to_le_bytes().to_vec()),
                    proptest::collection::vec(any::<u8>(), 0..9),
                ],
                0..100,
            ),
        ) {
            let message = words.concat();
            let limit = limit(&message);
            prop_assert!(cost::<Tree>(&message) <= limit);
            prop_assert!(cost::<Vec<Tree>>(&message) <= limit);
            prop_assert!(cost::<Vec<Vec<String>>>(&message) <= limit);
            prop_assert!(cost::<HashMap<u8, Vec<Tree>>>(&message) <= limit);
            prop_assert!(cost::<(String, Vec<[u64; 32]>)>(&message) <= limit);
        }
    }
}

//! Shared memory: who sees what, and what it costs.

#![allow(
    unsafe_code,
    reason = "`deref_mut` is unsafe; no test has a second thread touch the memory"
)]

mod harness;

use serde::{Deserialize, Serialize};
use strait::ipc::{self, IpcSharedMemory};

use harness::watchdog;

/// Writes at the beginning.
fn write(memory: &mut IpcSharedMemory, bytes: &[u8]) {
    // SAFETY: nothing else in the test reads or writes it now.
    let content = unsafe { memory.deref_mut() };
    content[..bytes.len()].copy_from_slice(bytes);
}

fn pass(memory: &IpcSharedMemory) -> IpcSharedMemory {
    let (sender, receiver) = ipc::channel().unwrap();
    sender.send_ref(memory).unwrap();
    receiver.recv().unwrap()
}

#[test]
fn it_is_what_it_was_made_of() {
    let _watchdog = watchdog();
    for len in [1, 2, 4095, 4096, 4097, 1_000_000] {
        let bytes: Vec<u8> = (0..len).map(|place| (place % 251) as u8).collect();
        assert_eq!(&*IpcSharedMemory::from_bytes(&bytes), bytes);
        assert_eq!(&*IpcSharedMemory::try_from_bytes(&bytes).unwrap(), bytes);
        for byte in [0, 7] {
            assert_eq!(&*IpcSharedMemory::from_byte(byte, len), vec![byte; len]);
            assert_eq!(&*IpcSharedMemory::try_from_byte(byte, len).unwrap(), vec![byte; len]);
        }
    }
}

#[test]
fn it_is_a_slice() {
    let _watchdog = watchdog();
    let memory = IpcSharedMemory::from_bytes(b"a slice");
    assert_eq!(memory.len(), 7);
    assert_eq!(memory[2], b's');
    assert_eq!(memory.to_vec(), b"a slice");
    assert!(memory.starts_with(b"a "));
    assert_eq!(memory.take(), Some(b"a slice".to_vec()));
}

#[test]
fn equality_is_of_the_bytes() {
    let _watchdog = watchdog();
    let memory = IpcSharedMemory::from_bytes(b"xxx");
    assert!(memory == IpcSharedMemory::from_byte(b'x', 3));
    assert!(memory == memory.clone());
    assert!(memory == pass(&memory));
    assert!(memory != IpcSharedMemory::from_byte(b'x', 4));
    assert!(memory != IpcSharedMemory::from_bytes(b"xxy"));
    assert!(IpcSharedMemory::from_byte(1, 0) == IpcSharedMemory::from_bytes(&[]));
}

#[test]
fn clones_and_received_copies_are_the_same_memory() {
    let _watchdog = watchdog();
    let mut memory = IpcSharedMemory::from_byte(b'.', 5000);
    let mut clone = memory.clone();
    let mut there = pass(&memory);
    write(&mut memory, b"first");
    assert_eq!(&clone[..6], b"first.");
    assert_eq!(&there[..6], b"first.");
    write(&mut there, b"there");
    assert_eq!(&memory[..6], b"there.");
    write(&mut clone, b"clone");
    assert_eq!(&there[..6], b"clone.");
    drop((memory, clone));
    assert_eq!(&there[..6], b"clone.");
    assert_eq!(there.len(), 5000);
}

#[test]
fn what_was_taken_out_is_a_copy() {
    let _watchdog = watchdog();
    let mut memory = IpcSharedMemory::from_bytes(b"before");
    let taken = memory.clone().take().unwrap();
    write(&mut memory, b"after!");
    assert_eq!(taken, b"before");
}

#[test]
fn none_at_all_works_as_well() {
    let _watchdog = watchdog();
    for mut empty in [
        IpcSharedMemory::from_bytes(&[]),
        IpcSharedMemory::from_byte(9, 0),
        pass(&IpcSharedMemory::from_bytes(&[])),
    ] {
        assert!(empty.is_empty());
        write(&mut empty, &[]);
        assert_eq!(empty.clone().take(), Some(vec![]));
    }
}

#[test]
fn what_cannot_be_had_is_an_error() {
    let _watchdog = watchdog();
    assert!(IpcSharedMemory::try_from_byte(0, usize::MAX).is_err());
    assert!(IpcSharedMemory::try_from_byte(0, isize::MAX as usize).is_err());
    assert!(std::panic::catch_unwind(|| IpcSharedMemory::from_byte(0, usize::MAX)).is_err());
}

#[test]
fn it_travels_with_other_things_and_on() {
    #[derive(Serialize, Deserialize)]
    struct Picture {
        name: String,
        planes: Vec<IpcSharedMemory>,
        done: ipc::IpcSender<usize>,
    }

    let _watchdog = watchdog();
    let (first, first_end) = ipc::channel::<Picture>().unwrap();
    let (second, second_end) = ipc::channel::<Picture>().unwrap();
    let (done, is_done) = ipc::channel().unwrap();
    let planes = (0..5).map(|plane| IpcSharedMemory::from_byte(plane, plane.into()));
    let planes = planes.collect();
    first.send(Picture { name: "p".into(), planes, done }).unwrap();
    second.send(first_end.recv().unwrap()).unwrap();
    let picture = second_end.recv().unwrap();
    assert_eq!(picture.name, "p");
    for (number, plane) in (0_u8..).zip(&picture.planes) {
        assert_eq!(**plane, vec![number; number.into()]);
    }
    picture.done.send(picture.planes.len()).unwrap();
    assert_eq!(is_done.recv().unwrap(), 5);
}

#[test]
fn the_same_memory_twice_in_one_message_is_the_same_there() {
    let _watchdog = watchdog();
    let (sender, receiver) = ipc::channel().unwrap();
    let memory = IpcSharedMemory::from_bytes(b"twice");
    sender.send((memory.clone(), memory)).unwrap();
    let (mut first, second): (IpcSharedMemory, IpcSharedMemory) = receiver.recv().unwrap();
    write(&mut first, b"there");
    assert_eq!(&*second, b"there");
}

/// One descriptor and one mapping, however often it is cloned; none when it is empty.
#[cfg(all(target_os = "linux", not(feature = "force-inprocess")))]
#[test]
fn it_costs_one_handle_and_one_mapping() {
    fn mappings() -> usize {
        let maps = std::fs::read_to_string("/proc/self/maps").unwrap();
        maps.lines().filter(|line| line.contains("memfd:strait")).count()
    }

    harness::alone("it_costs_one_handle_and_one_mapping", || {
        let before = harness::handles();
        let memory = IpcSharedMemory::from_byte(1, 10_000);
        let clones = vec![memory.clone(); 10];
        assert_eq!(harness::handles().len(), before.len() + 1);
        assert_eq!(mappings(), 1);
        drop(memory);
        assert_eq!(&*clones[3], vec![1; 10_000]);
        drop(clones);
        assert_eq!(harness::handles(), before);
        assert_eq!(mappings(), 0);
        let empty = vec![IpcSharedMemory::from_byte(1, 0); 10];
        let (sender, receiver) = ipc::channel().unwrap();
        let with_channel = harness::handles();
        sender.send(empty.clone()).unwrap();
        assert_eq!(receiver.recv().unwrap(), empty);
        assert_eq!(harness::handles(), with_channel);
        assert_eq!(mappings(), 0);
    });
}

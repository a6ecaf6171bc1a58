//! Shared memory: which process sees which bytes, and what it costs.

#![allow(unsafe_code, reason = "`deref_mut` is declared unsafe, as in ipc-channel")]

use std::io::ErrorKind;
use std::thread;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use strait::ipc::{self, IpcError, IpcSharedMemory, SharedMemoryReader, SharedMemoryWriter};

#[cfg(all(target_os = "linux", not(feature = "force-inprocess")))]
use crate::harness;
use crate::harness::watchdog;

/// Writes at the beginning.
fn write(memory: &mut IpcSharedMemory, bytes: &[u8]) {
    // SAFETY: there are no conditions.
    let content = unsafe { memory.deref_mut() };
    content[..bytes.len()].copy_from_slice(bytes);
}

fn pass<T: Serialize + DeserializeOwned>(memory: &T) -> T {
    let (sender, receiver) = ipc::channel().unwrap();
    sender.send_ref(memory).unwrap();
    receiver.recv().unwrap()
}

#[test]
fn contents_equal_the_source() {
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
fn dereferences_to_a_slice() {
    let _watchdog = watchdog();
    let memory = IpcSharedMemory::from_bytes(b"a slice");
    assert_eq!(memory.len(), 7);
    assert_eq!(memory[2], b's');
    assert_eq!(memory.to_vec(), b"a slice");
    assert!(memory.starts_with(b"a "));
    assert_eq!(memory.take(), Some(b"a slice".to_vec()));
}

#[test]
fn equality_compares_bytes() {
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
fn deref_mut_changes_no_clone_and_no_sent_copy() {
    let _watchdog = watchdog();
    let mut memory = IpcSharedMemory::from_byte(b'.', 5000);
    let mut clone = memory.clone();
    let mut there = pass(&memory);
    let lent = &clone[..6];
    write(&mut memory, b"first");
    assert_eq!(lent, b"......");
    let lent = &memory[..6];
    write(&mut there, b"there");
    assert_eq!(lent, b"first.");
    write(&mut clone, b"clone");
    assert_eq!([&memory[..6], &clone[..6], &there[..6]], [b"first.", b"clone.", b"there."]);
    // A clone of changed bytes keeps them when the original is changed again.
    let other = there.clone();
    write(&mut there, b"other");
    assert_eq!([&other[..6], &there[..6]], [b"there.", b"other."]);
    drop((memory, clone));
    assert_eq!(there.len(), 5000);
}

/// The use that ipc-channel documents: one owner at a time.
#[test]
fn deref_mut_changes_are_sent_with_the_next_message() {
    let _watchdog = watchdog();
    let mut memory = IpcSharedMemory::from_bytes(b"0123456789");
    for round in 0..3_u8 {
        write(&mut memory, &[round]);
        assert_eq!(pass(&memory)[..2], [round, b'1']);
        memory = pass(&memory);
        assert_eq!(memory[..2], [round, b'1']);
        // A value that was not changed is sent again as it is.
        write(&mut memory, b"xx");
        let sent = [pass(&memory), pass(&memory)];
        write(&mut memory, &[round, b'1']);
        assert!(sent.iter().all(|there| there.starts_with(b"xx2")));
    }
    assert_eq!(memory.make_mut().unwrap(), b"\x02123456789");
}

/// A concurrently forked child must not inherit a writable mapping: sealing would fail.
#[cfg(all(target_os = "linux", not(feature = "force-inprocess")))]
#[test]
fn creation_succeeds_while_the_process_forks() {
    harness::alone(harness::path_of(creation_succeeds_while_the_process_forks), || {
        thread::scope(|scope| {
            let making = scope.spawn(|| {
                for _ in 0..2000 {
                    assert_eq!(*IpcSharedMemory::from_bytes(&[1; 100]), [1; 100]);
                    assert_eq!(*IpcSharedMemory::from_byte(2, 100), [2; 100]);
                }
            });
            while !making.is_finished() {
                harness::fork::fork(thread::yield_now).completed();
            }
        });
    });
}

#[test]
fn taken_bytes_are_a_copy() {
    let _watchdog = watchdog();
    let mut memory = IpcSharedMemory::from_bytes(b"before");
    let taken = memory.clone().take().unwrap();
    write(&mut memory, b"after!");
    assert_eq!(taken, b"before");
}

#[test]
fn empty_memory_is_sent_and_received() {
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
fn impossible_size_is_an_error() {
    let _watchdog = watchdog();
    assert!(IpcSharedMemory::try_from_byte(0, usize::MAX).is_err());
    assert!(IpcSharedMemory::try_from_byte(0, isize::MAX as usize).is_err());
    assert!(std::panic::catch_unwind(|| IpcSharedMemory::from_byte(0, usize::MAX)).is_err());
}

#[test]
fn memory_is_sent_with_endpoints_and_passed_on() {
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
fn memory_twice_in_one_message_is_one_mapping() {
    let _watchdog = watchdog();
    let (sender, receiver) = ipc::channel().unwrap();
    let memory = IpcSharedMemory::from_bytes(b"twice");
    sender.send((memory.clone(), memory)).unwrap();
    let (mut first, second): (IpcSharedMemory, IpcSharedMemory) = receiver.recv().unwrap();
    assert_eq!((&*first, &*second), (&b"twice"[..], &b"twice"[..]));
    write(&mut first, b"there");
    assert_eq!((&*first, &*second), (&b"there"[..], &b"twice"[..]));
}

// ---- Memory that is written while it is read ----

#[test]
fn reader_reads_written_bytes() {
    let _watchdog = watchdog();
    let writer = SharedMemoryWriter::new(10_001).unwrap();
    let reader = writer.reader().unwrap();
    let there = pass(&reader);
    assert_eq!(there.to_vec().unwrap(), vec![0; 10_001]);
    for (offset, bytes) in [(0, &b"at the start"[..]), (777, b"inside"), (9_990, b"at the end.")] {
        writer.write_at(offset, bytes).unwrap();
        for reader in [&reader, &there, &pass(&there), &there.clone()] {
            let mut out = vec![0; bytes.len()];
            reader.read_at(offset, &mut out).unwrap();
            assert_eq!(out, bytes);
        }
        let mut out = vec![0; bytes.len()];
        writer.read_at(offset, &mut out).unwrap();
        assert_eq!(out, bytes);
    }
    let all = there.to_vec().unwrap();
    assert_eq!(
        (all.len(), &all[..12], &all[9_990..]),
        (10_001, &b"at the start"[..], &b"at the end."[..])
    );
    assert_eq!(all.iter().filter(|&&byte| byte != 0).count(), 12 + 6 + 11);
    drop((writer, reader));
    assert_eq!(there.to_vec().unwrap(), all);
}

#[test]
fn reader_is_copied_in_chunks() {
    let _watchdog = watchdog();
    for len in [0, 1, 65_535, 65_536, 65_537, 5_000_001] {
        let writer = SharedMemoryWriter::new(len).unwrap();
        let content: Vec<u8> = (0..len).map(|place| (place % 251) as u8).collect();
        writer.write_at(0, &content).unwrap();
        let mut out = Vec::new();
        pass(&writer.reader().unwrap()).copy_to(&mut out).unwrap();
        assert!(out == content, "{len}");
    }
    let reader = SharedMemoryWriter::new(10).unwrap().reader().unwrap();
    let full: &mut [u8] = &mut [0; 9];
    assert_eq!(reader.copy_to(&mut { full }).unwrap_err().kind(), ErrorKind::WriteZero);
}

#[test]
fn access_out_of_bounds_is_an_error_and_writes_nothing() {
    let _watchdog = watchdog();
    let writer = SharedMemoryWriter::new(10).unwrap();
    let there = pass(&writer.reader().unwrap());
    let mut out = [7; 3];
    for offset in [8, 10, 11, 16, 4096, usize::MAX - 2, usize::MAX] {
        let errors = [
            writer.write_at(offset, b"new").unwrap_err(),
            writer.read_at(offset, &mut out).unwrap_err(),
            there.read_at(offset, &mut out).unwrap_err(),
        ];
        assert!(errors.iter().all(|error| error.kind() == ErrorKind::InvalidInput), "{errors:?}");
    }
    assert_eq!((there.to_vec().unwrap(), out), (vec![0; 10], [7; 3]));
    for (offset, is_right) in [(0, true), (10, true), (11, false), (usize::MAX, false)] {
        assert_eq!(writer.write_at(offset, &[]).is_ok(), is_right);
        assert_eq!(there.read_at(offset, &mut []).is_ok(), is_right);
    }
}

#[test]
fn writer_can_be_sent_until_there_is_a_reader() {
    let _watchdog = watchdog();
    let here = SharedMemoryWriter::new(100).unwrap();
    let there = pass(&pass(&here));
    here.write_at(0, b"here").unwrap();
    there.write_at(5, b"there").unwrap();
    let reader = pass(&there.reader().unwrap());
    assert_eq!(&reader.to_vec().unwrap()[..10], b"here\0there");
    // Existing writers keep working, but cannot be sent.
    let (sender, receiver) = ipc::channel().unwrap();
    for writer in [&here, &there] {
        let error = sender.send_ref(writer).unwrap_err();
        assert!(matches!(error, IpcError::SerializationError(_)), "{error:?}");
        assert!(error.to_string().contains("reader"), "{error}");
    }
    sender.send(SharedMemoryWriter::new(1).unwrap()).unwrap();
    assert_eq!(receiver.recv().unwrap().len(), 1);
    here.write_at(0, b"HERE").unwrap();
    there.write_at(5, b"THERE").unwrap();
    assert_eq!(&reader.to_vec().unwrap()[..10], b"HERE\0THERE");
    assert_eq!(here.reader().unwrap().to_vec().unwrap(), reader.to_vec().unwrap());
}

#[test]
fn writer_of_empty_memory_is_sent_and_received() {
    let _watchdog = watchdog();
    let writer = pass(&SharedMemoryWriter::new(0).unwrap());
    assert!(writer.is_empty());
    writer.write_at(0, &[]).unwrap();
    assert!(writer.write_at(0, b"x").is_err());
    let reader = pass(&writer.reader().unwrap());
    assert!(reader.is_empty());
    assert_eq!(reader.to_vec().unwrap(), []);
}

#[test]
fn writer_of_impossible_size_is_an_error() {
    let _watchdog = watchdog();
    for len in [usize::MAX, usize::MAX - 7, isize::MAX as usize] {
        assert!(SharedMemoryWriter::new(len).is_err());
    }
}

/// A reader that sees a count also sees the value that was written before the count.
#[test]
fn reads_after_a_read_see_all_earlier_writes() {
    let _watchdog = watchdog();
    let writer = SharedMemoryWriter::new(4096).unwrap();
    let reader = pass(&writer.reader().unwrap());
    let read = |reader: &SharedMemoryReader, offset| {
        let mut out = [0; 4];
        reader.read_at(offset, &mut out).unwrap();
        u32::from_ne_bytes(out)
    };
    thread::scope(|scope| {
        scope.spawn(|| {
            for count in 1..=200_000_u32 {
                // Each lies within a word, so neither is torn.
                writer.write_at(1000, &count.to_ne_bytes()).unwrap();
                writer.write_at(8, &count.to_ne_bytes()).unwrap();
            }
        });
        loop {
            let count = read(&reader, 8);
            assert!(read(&reader, 1000) >= count);
            if count == 200_000 {
                break;
            }
        }
    });
}

/// One descriptor and one mapping for all clones, none if it is empty. A received value maps the
/// same file.
#[cfg(all(target_os = "linux", not(feature = "force-inprocess")))]
#[test]
fn memory_has_one_descriptor_and_one_mapping() {
    /// The file behind each mapping.
    fn mappings() -> Vec<String> {
        let maps = std::fs::read_to_string("/proc/self/maps").unwrap();
        let ours = maps.lines().filter(|line| line.contains("memfd:strait"));
        ours.map(|line| line.split_whitespace().nth(4).unwrap().to_owned()).collect()
    }

    harness::alone(harness::path_of(memory_has_one_descriptor_and_one_mapping), || {
        let before = harness::handles();
        let memory = IpcSharedMemory::from_byte(1, 10_000);
        let clones = vec![memory.clone(); 10];
        assert_eq!(harness::handles().len(), before.len() + 1);
        assert_eq!(mappings().len(), 1);
        drop(memory);
        assert_eq!(&*clones[3], vec![1; 10_000]);
        drop(clones);
        assert_eq!(harness::handles(), before);
        assert_eq!(mappings().len(), 0);
        let memory = IpcSharedMemory::from_bytes(&[1; 10_000]);
        let writer = SharedMemoryWriter::new(10_000).unwrap();
        let others = (writer.reader().unwrap(), writer.clone(), writer);
        assert_eq!(harness::handles().len(), before.len() + 2);
        assert_eq!(mappings().len(), 2);
        let there = (pass(&memory), pass(&others.0));
        let files = mappings();
        assert_eq!((files.len(), files.iter().filter(|file| **file == files[0]).count()), (4, 2));
        drop((memory, others, there));
        let empty = vec![IpcSharedMemory::from_byte(1, 0); 10];
        let (sender, receiver) = ipc::channel().unwrap();
        let with_channel = harness::handles();
        sender.send(empty.clone()).unwrap();
        assert_eq!(receiver.recv().unwrap(), empty);
        assert_eq!(harness::handles(), with_channel);
        assert_eq!(mappings().len(), 0);
    });
}

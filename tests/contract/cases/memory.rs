//! Shared memory that never changes, and shared memory that is written while it is read.

use super::*;
use strait::internals::contract::{
    Attachment as _, Memory as _, MemoryReader as _, MemoryWriter as _,
};

const LENGTHS: [usize; 6] = [1, 2, 4095, 4096, 4097, 1_000_000];

#[test]
fn is_zeroed_and_as_long_as_asked_for() {
    let _watchdog = watchdog();
    for len in LENGTHS {
        let memory = Memory::new(len).unwrap();
        assert_eq!(memory.size(), len);
        assert_eq!(memory.as_slice(), vec![0; len]);
        let writer = MemoryWriter::new(len).unwrap();
        assert_eq!(writer.size(), len);
        let mut out = vec![1; len];
        writer.read(0, &mut out);
        assert_eq!(out, vec![0; len]);
    }
}

#[test]
fn has_the_content_it_was_made_with() {
    let _watchdog = watchdog();
    for len in LENGTHS {
        let content = pattern(len);
        assert_eq!(Memory::from_bytes(&content).unwrap().as_slice(), content);
        assert_eq!(Memory::from_byte(7, len).unwrap().as_slice(), vec![7; len]);
        assert_eq!(Memory::from_byte(0, len).unwrap().as_slice(), vec![0; len]);
    }
}

#[test]
fn that_cannot_be_allocated_is_an_error() {
    let _watchdog = watchdog();
    for len in [usize::MAX, usize::MAX - 7, isize::MAX as usize] {
        assert!(Memory::new(len).is_err());
        assert!(Memory::from_byte(1, len).is_err());
        assert!(MemoryWriter::new(len).is_err());
    }
}

/// Also after the sender has dropped the memory.
#[test]
fn arrives_with_its_content() {
    let _watchdog = watchdog();
    let (sender, receiver) = backend::channel().unwrap();
    let memory = Memory::from_bytes(&pattern(5000)).unwrap();
    send_with(&sender, b"x", Attachment::from_memory(&memory));
    let there = expect_one(&receiver, b"x").into_memory(5000).unwrap();
    assert_eq!(there.as_slice(), pattern(5000));
    send_with(&sender, b"y", Attachment::from_memory(&there));
    let clone = memory.clone();
    drop((memory, there));
    assert_eq!(clone.as_slice(), pattern(5000));
    let on = expect_one(&receiver, b"y").into_memory(5000).unwrap();
    drop(clone);
    assert_eq!(on.as_slice(), pattern(5000));
}

#[test]
fn in_flight_survives_its_creator() {
    let _watchdog = watchdog();
    let (sender, receiver) = backend::channel().unwrap();
    let memory = Memory::from_bytes(b"on my way").unwrap();
    send_with(&sender, b"x", Attachment::from_memory(&memory));
    drop((memory, sender));
    let memory = expect_one(&receiver, b"x").into_memory(9).unwrap();
    assert_eq!(memory.as_slice(), b"on my way");
}

#[test]
fn that_is_written_is_seen_by_all_mappings() {
    let _watchdog = watchdog();
    let (sender, receiver) = backend::channel().unwrap();
    let writer = MemoryWriter::new(5001).unwrap();
    writer.write(0, b"before");
    send_with(&sender, b"x", Attachment::from_memory_writer(&writer).unwrap());
    let other = expect_one(&receiver, b"x").into_memory_writer(5001).unwrap();
    let reader = other.reader().unwrap();
    send_with(&sender, b"x", Attachment::from_memory_reader(&reader));
    let there = expect_one(&receiver, b"x").into_memory_reader(5001).unwrap();
    assert_eq!((there.size(), other.size(), reader.size()), (5001, 5001, 5001));
    let mut out = [0; 6];
    for (text, place) in [(b"after!", 0), (b"inside", 2222), (b"at end", 4995)] {
        for from in [&writer, &other] {
            from.write(place, &[0; 6]);
            from.write(place, text);
            for reader in [&reader, &there] {
                reader.read(place, &mut out);
                assert_eq!(&out, text);
            }
            for writer in [&writer, &other] {
                writer.read(place, &mut out);
                assert_eq!(&out, text);
            }
        }
    }
    drop((writer, other, reader));
    there.read(4995, &mut out);
    assert_eq!(&out, b"at end");
}

#[test]
fn that_has_a_reader_gets_no_other_writer() {
    let _watchdog = watchdog();
    let writer = MemoryWriter::new(10).unwrap();
    let clone = writer.clone();
    drop(Attachment::from_memory_writer(&writer).unwrap());
    drop(writer.reader().unwrap());
    for writer in [writer, clone] {
        let error = Attachment::from_memory_writer(&writer).unwrap_err();
        assert_eq!(error.kind(), std::io::ErrorKind::Unsupported);
        // Existing writers keep working.
        writer.write(3, b"x");
        let mut out = [0; 2];
        writer.reader().unwrap().read(2, &mut out);
        assert_eq!(&out, b"\0x");
    }
}

/// All bytes of a word come from the same write.
#[test]
fn that_is_written_while_it_is_read_is_torn_between_words_only() {
    let _watchdog = watchdog();
    let writer = MemoryWriter::new(4096).unwrap();
    let reader = writer.reader().unwrap();
    let word = size_of::<usize>();
    thread::scope(|scope| {
        let writing =
            scope.spawn(|| (0..2000).for_each(|round| writer.write(0, &[round as u8; 4096])));
        let mut out = [0; 4096];
        while !writing.is_finished() {
            reader.read(0, &mut out);
            for word in out.chunks(word) {
                assert!(word.iter().all(|byte| byte == &word[0]), "{word:?}");
            }
        }
    });
}

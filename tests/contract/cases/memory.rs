//! Shared memory is shared.

use super::*;

#[test]
fn is_zeroed_and_as_long_as_asked_for() {
    let _watchdog = watchdog();
    for len in [1, 2, 4095, 4096, 4097, 1_000_000] {
        let memory = Memory::new(len).unwrap();
        assert_eq!(memory.size(), len);
        assert!(read(&memory).iter().all(|byte| *byte == 0));
    }
}

#[test]
fn that_cannot_be_had_is_an_error() {
    let _watchdog = watchdog();
    assert!(Memory::new(usize::MAX).is_err());
    assert!(Memory::new(isize::MAX as usize).is_err());
}

#[test]
fn is_seen_by_all_who_have_it() {
    let _watchdog = watchdog();
    let (sender, receiver) = backend::channel().unwrap();
    let memory = Memory::new(5000).unwrap();
    write(&memory, b"before");
    send_with(&sender, b"x", Attachment::from_memory(&memory));
    let clone = memory.clone();
    let there = expect_one(&receiver, b"x").into_memory(5000).unwrap();
    assert_eq!(&read(&there)[..6], b"before");
    write(&memory, b"after!");
    assert_eq!(&read(&there)[..6], b"after!");
    assert_eq!(&read(&clone)[..6], b"after!");
    write(&there, b"and back");
    assert_eq!(&read(&memory)[..8], b"and back");
    drop(memory);
    drop(clone);
    assert_eq!(&read(&there)[..8], b"and back");
}

#[test]
fn survives_who_made_it_while_it_is_on_its_way() {
    let _watchdog = watchdog();
    let (sender, receiver) = backend::channel().unwrap();
    let memory = Memory::new(9).unwrap();
    write(&memory, b"on my way");
    send_with(&sender, b"x", Attachment::from_memory(&memory));
    drop((memory, sender));
    let memory = expect_one(&receiver, b"x").into_memory(9).unwrap();
    assert_eq!(read(&memory), b"on my way");
}

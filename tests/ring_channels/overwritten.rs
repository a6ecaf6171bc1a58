//! A peer that overwrites the memory it shares, with any bytes and at any time, loses its own
//! messages and no others (C7).
//!
//! # Safety
//!
//! Each mapping here is as long as its file, whose length does not change. It is accessed as
//! atomic words only, and is never unmapped.

#![allow(unsafe_code)]

use std::fs::{self, File};
use std::os::fd::{AsFd, OwnedFd};
use std::ptr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;

use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::fs::{MemfdFlags, SealFlags};
use rustix::mm::{MapFlags, ProtFlags};
use rustix::pipe::PipeFlags;
use serde::{Deserialize, Serialize};
use strait::internals::clock_domain;
use strait::internals::frame::Kind;
use strait::internals::ring::{CLOSED, FIRST_LEN, MAX_POSITION, SLEEPING, UNIT};
use strait::ipc::{self, IpcError, IpcOneShotServer, IpcReceiver, IpcSender, TryRecvError};

use crate::harness;
use crate::harness::Child;
use crate::harness::raw::{self, Random};

/// What honest senders send. Random bytes do not decode as a note.
#[derive(Debug, Serialize, Deserialize)]
struct Note {
    magic: [u64; 2],
    from: u32,
    number: u64,
    text: String,
}

const MAGIC: [u64; 2] = [0x5b1d_9f3e_77c2_a684, 0x0e6a_d2b9_41f8_3c57];

impl Note {
    fn new(from: u32, number: u64) -> Note {
        Note { magic: MAGIC, from, number, text: Note::text(number) }
    }

    fn text(number: u64) -> String {
        let len = match number % 100 {
            40 => 250_000,
            20 => 17_000,
            short => short,
        };
        "n".repeat(len as usize)
    }
}

/// The messages that an honest receiver has received.
#[derive(Debug, Default)]
struct Tally {
    honest: [u64; 4],
    /// Errors, and messages that no honest sender has sent.
    others: u64,
}

impl Tally {
    /// Receives the next message. Returns whether there may be more.
    fn receive(&mut self, receiver: &IpcReceiver<Note>) -> bool {
        match receiver.recv() {
            Ok(note) if note.magic == MAGIC => {
                let next = &mut self.honest[note.from as usize];
                assert_eq!(note.number, *next, "from {}", note.from);
                assert!(note.text == Note::text(note.number), "note {} is damaged", note.number);
                *next += 1;
            }
            Ok(_) | Err(IpcError::SerializationError(_)) => self.others += 1,
            Err(IpcError::Disconnected) => return false,
            Err(IpcError::Io(error)) => panic!("{error:?}"),
        }
        true
    }
}

#[test]
fn honest_child() {
    harness::child_main(|arguments| {
        let (sender, receiver) = ipc::channel::<(IpcSender<Note>, u32, u64)>().unwrap();
        IpcSender::connect(arguments[0].clone()).unwrap().send(sender).unwrap();
        let (notes, from, count) = receiver.recv().unwrap();
        for number in 0..count {
            notes.send(Note::new(from, number)).unwrap();
        }
    });
}

fn start_honest(notes: IpcSender<Note>, from: u32, count: u64) -> Child {
    let (server, name) = IpcOneShotServer::<IpcSender<(IpcSender<Note>, u32, u64)>>::new().unwrap();
    let child = harness::child(harness::path_of(honest_child), &[&name]);
    server.accept().unwrap().1.send((notes, from, count)).unwrap();
    child
}

// ---- Memory that is offered ----

/// The indices of the words.
const TAIL: usize = 0;
const HEAD: usize = 128 / 8;
const STATE: usize = 256 / 8;

/// The start of the first segment, in words.
const SEGMENT: usize = UNIT as usize / 8;

const BYTES: usize = UNIT as usize + FIRST_LEN as usize;

fn memory(bytes: usize, seals: SealFlags) -> OwnedFd {
    let flags = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING;
    let file = rustix::fs::memfd_create("hostile", flags).unwrap();
    rustix::fs::ftruncate(&file, bytes as u64).unwrap();
    rustix::fs::fcntl_add_seals(&file, seals).unwrap();
    file
}

/// Memory that is valid for a ring.
fn ring_memory() -> OwnedFd {
    memory(BYTES, SealFlags::SHRINK | SealFlags::SEAL)
}

fn attach(to: &IpcSender<Note>, file: impl AsFd, clock_domain: u64) {
    let packet = raw::packet(Kind::RingOffer { clock_domain, has_messages: true }, 1, &[]);
    raw::send(to, &packet, &[file.as_fd()]).unwrap();
}

/// The words of such memory, mapped until the process ends.
fn words(file: impl AsFd) -> &'static [AtomicU64] {
    let protection = ProtFlags::READ | ProtFlags::WRITE;
    // SAFETY: a new mapping at an address of the kernel's choice touches no existing memory.
    let start = unsafe {
        rustix::mm::mmap(ptr::null_mut(), BYTES, protection, MapFlags::SHARED, file, 0).unwrap()
    };
    // SAFETY: as long as the file, aligned to a page, never unmapped, and any bytes are numbers.
    unsafe { std::slice::from_raw_parts(start.cast::<AtomicU64>(), BYTES / 8) }
}

/// The header of a record.
fn header(len: u32, kind: u8, stamp: u64) -> [u64; 2] {
    [u64::from(len) | u64::from(kind) << 32, stamp]
}

/// Writes a message into the empty ring.
fn publish(words: &[AtomicU64], body: &[u64]) {
    let record = header(8 * body.len() as u32, 1, 1);
    for (word, value) in words[SEGMENT..].iter().zip(record.iter().chain(body)) {
        word.store(*value, Ordering::Relaxed);
    }
    words[TAIL].store((16 + 8 * body.len() as u64).next_multiple_of(16), Ordering::Release);
}

/// Each is an error of its own, and the receiver is readable until it has returned it.
#[test]
fn c7_rings_poisoned_at_once_are_one_error_each() {
    let _watchdog = harness::watchdog();
    let (sender, receiver) = ipc::channel::<Note>().unwrap();
    let lent = receiver.as_fd();
    let is_readable = || {
        let mut fds = [PollFd::from_borrowed_fd(lent, PollFlags::IN)];
        rustix::event::poll(&mut fds, Some(&Timespec::default())).unwrap() > 0
    };
    let rings: Vec<_> = (0..3)
        .map(|_| {
            let memory = ring_memory();
            attach(&sender, &memory, clock_domain().unwrap());
            words(&memory)
        })
        .collect();
    assert!(receiver.try_recv().unwrap_err().is_empty());
    for words in &rings {
        // No record is ever published at this position.
        words[TAIL].store(8, Ordering::Relaxed);
    }
    // The wake-up that the receiver waits for.
    raw::send(&sender, &raw::packet(Kind::WakeUp, 0, &[]), &[]).unwrap();
    for _ in &rings {
        assert!(is_readable());
        let error = receiver.try_recv().unwrap_err();
        assert!(
            matches!(error, TryRecvError::IpcError(IpcError::SerializationError(_))),
            "{error:?}"
        );
    }
    while is_readable() {
        assert!(receiver.try_recv().unwrap_err().is_empty());
    }
    sender.send(Note::new(0, 0)).unwrap();
    assert!(is_readable());
    assert_eq!(receiver.try_recv().unwrap().number, 0);
}

/// Overwrites memory that a consumer reads.
fn scribble(words: &[AtomicU64], random: &mut Random) {
    let tail = words[TAIL].load(Ordering::Relaxed);
    let position = tail & !(SLEEPING | CLOSED | 15);
    let here = SEGMENT + (position as usize % FIRST_LEN as usize) / 8;
    let there = SEGMENT + 2 * random.below(FIRST_LEN as usize / 16);
    let ways = if random.below(20) == 0 { 16 } else { 10 };
    match random.below(ways) {
        // A valid record, which is rewritten while it is read.
        0..=4 => {
            let len = match random.below(8) {
                0 => random.below(70_000),
                _ => random.below(100),
            } as u32;
            let kind = [1, 1, 1, 1, 2, 3, 4][random.below(7)];
            let stamp = if random.below(2) == 0 { random.next() } else { 1 };
            let [first, second] = header(len, kind, stamp);
            words[here].store(first, Ordering::Relaxed);
            words[here + 1].store(second, Ordering::Relaxed);
            let end = position + u64::from(len).next_multiple_of(16) + 16;
            words[TAIL].store(end, Ordering::Release);
        }
        5 => words[here].store(random.next() & 0x5_0000_ffff, Ordering::Relaxed),
        6 => words[there].store(random.next() & 0x7_0000_00ff, Ordering::Relaxed),
        7 => words[HEAD].store(random.next() & 0xf_fff0, Ordering::Relaxed),
        8 => words[STATE].store(random.next() % 4, Ordering::Relaxed),
        9 => {
            words[TAIL].fetch_or(SLEEPING, Ordering::Relaxed);
        }
        // A JUMP to any place, of any length.
        10..=11 => {
            let [first, second] = header(16, 5, 1);
            let offset = random.below(4) as u64 * UNIT + if random.below(4) == 0 { 8 } else { 0 };
            let len = 1 << random.below(34);
            let jump = [first, second, offset, len];
            for (word, value) in words[here..].iter().zip(jump) {
                word.store(value, Ordering::Relaxed);
            }
            words[TAIL].store(position + 32, Ordering::Release);
        }
        12 => words[TAIL].store(random.next(), Ordering::Relaxed),
        13 => words[TAIL].store(MAX_POSITION - 16 * random.below(3) as u64, Ordering::Relaxed),
        14 => words[TAIL].store(position.wrapping_sub(16), Ordering::Relaxed),
        _ => {
            words[TAIL].fetch_or(CLOSED, Ordering::Relaxed);
        }
    }
}

#[test]
fn c7_ring_rewritten_while_it_is_read_loses_only_its_own_messages() {
    harness::alone(
        harness::path_of(c7_ring_rewritten_while_it_is_read_loses_only_its_own_messages),
        || {
            const COUNT: u64 = 3000;

            let (notes, received) = ipc::channel::<Note>().unwrap();
            let honest: Vec<Child> =
                (0..2).map(|from| start_honest(notes.clone(), from, COUNT)).collect();
            let is_over = Arc::new(AtomicBool::new(false));
            let hostile = thread::spawn({
                let (notes, is_over) = (notes.clone(), Arc::clone(&is_over));
                move || {
                    let mut random = Random::new(1);
                    let mut rings = 0;
                    while rings < 40 || !is_over.load(Ordering::Relaxed) {
                        let file = ring_memory();
                        let words = words(&file);
                        if rings % 4 > 0 {
                            publish(words, &[7; 3]);
                        }
                        attach(&notes, &file, clock_domain().unwrap());
                        drop(file);
                        rings += 1;
                        // In most rounds, overwrites it only once it is being read.
                        while rings % 5 > 0 && words[STATE].load(Ordering::Relaxed) == 0 {
                            thread::yield_now();
                        }
                        for _ in 0..random.below(3000) {
                            scribble(words, &mut random);
                        }
                        // A consumer may still read it; only other senders wake a consumer that
                        // waits for it.
                        for word in words {
                            word.store(random.next(), Ordering::Relaxed);
                        }
                    }
                }
            });
            // This process sends honestly, too.
            let sending = thread::spawn({
                let notes = notes.clone();
                move || {
                    for number in 0..COUNT {
                        notes.send(Note::new(2, number)).unwrap();
                    }
                }
            });
            drop(notes);
            let mut tally = Tally::default();
            while tally.honest[..3] != [COUNT; 3] {
                assert!(tally.receive(&received));
            }
            is_over.store(true, Ordering::Relaxed);
            while tally.receive(&received) {}
            assert_eq!(tally.honest, [COUNT, COUNT, COUNT, 0]);
            assert!(tally.others > 0);
            hostile.join().unwrap();
            sending.join().unwrap();
            honest.into_iter().for_each(Child::completed);
        },
    );
}

/// A file descriptor that is no memory of a ring is at most one error, and is closed.
#[test]
fn c7_invalid_ring_memory_is_not_read() {
    harness::alone(harness::path_of(c7_invalid_ring_memory_is_not_read), || {
        let (notes, received) = ipc::channel::<Note>().unwrap();
        let domain = clock_domain().unwrap();
        // Opens what a process opens once: clock, buffers, and a ring of its own.
        let mut tally = Tally::default();
        let mut number = 0;
        let mut exchange = |tally: &mut Tally| {
            for _ in 0..20 {
                notes.send(Note::new(0, number)).unwrap();
                number += 1;
                while tally.honest[0] < number {
                    assert!(tally.receive(&received));
                }
            }
        };
        (0..20).for_each(|_| exchange(&mut tally));
        let before = harness::handles();
        let unsealed = memory(BYTES, SealFlags::empty());
        let short = memory(100, SealFlags::SHRINK);
        let empty = memory(0, SealFlags::SHRINK);
        // Long enough for the words, but not for the first segment.
        let no_segment = memory(UNIT as usize, SealFlags::SHRINK);
        let unwritable = memory(BYTES, SealFlags::SHRINK | SealFlags::WRITE);
        let (reader, writer) = rustix::pipe::pipe_with(PipeFlags::CLOEXEC).unwrap();
        let directory = OwnedFd::from(File::open("/proc").unwrap());
        let file = OwnedFd::from(File::open("/proc/self/exe").unwrap());
        let device = OwnedFd::from(File::open("/dev/zero").unwrap());
        let socket = notes.as_fd().try_clone_to_owned().unwrap();
        let wrong = [
            &unsealed,
            &short,
            &empty,
            &no_segment,
            &unwritable,
            &reader,
            &writer,
            &directory,
            &file,
            &device,
            &socket,
        ];
        for wrong in wrong {
            let others = tally.others;
            attach(&notes, wrong, domain);
            exchange(&mut tally);
            // Said once.
            assert_eq!(tally.others, others + 1);
        }
        drop((unsealed, short, empty, no_segment, unwritable));
        drop((reader, writer, directory, file, device, socket));
        assert_eq!(harness::handles_besides(&before), []);

        // With stamps of another clock, only the records that it has already are received.
        let foreign = ring_memory();
        publish(words(&foreign), &[7; 3]);
        let others = tally.others;
        attach(&notes, &foreign, domain ^ 1);
        exchange(&mut tally);
        assert_eq!(tally.others, others + 1);
        assert_eq!(words(&foreign)[STATE].load(Ordering::Relaxed), 2);
        assert!(words(&foreign)[TAIL].load(Ordering::Relaxed) & CLOSED != 0);
        drop(foreign);
        // The receiver closes it when it has no message.
        assert!(received.try_recv().unwrap_err().is_empty());
        assert_eq!(harness::handles_besides(&before), []);

        // The same memory twice: it is read once.
        let twice = ring_memory();
        publish(words(&twice), &[7; 3]);
        attach(&notes, &twice, domain);
        attach(&notes, &twice, domain);
        exchange(&mut tally);
        assert_eq!(tally.others, others + 2);
        // If a peer resets the state to attach it once more, only its own messages
        // are affected.
        let again = ring_memory();
        publish(words(&again), &[7; 3]);
        attach(&notes, &again, domain);
        exchange(&mut tally);
        words(&again)[STATE].store(0, Ordering::Relaxed);
        attach(&notes, &again, domain);
        exchange(&mut tally);
        drop((twice, again));
        drop((notes, received));
        assert!(!harness::handles().iter().any(|handle| handle.what.contains("hostile")));
    });
}

#[test]
fn c7_peer_that_offers_thousands_of_rings_gets_a_few() {
    harness::alone(harness::path_of(c7_peer_that_offers_thousands_of_rings_gets_a_few), || {
        let before = harness::handles();
        let (notes, received) = ipc::channel::<Note>().unwrap();
        let mut tally = Tally::default();
        let mut most = 0;
        for number in 0..2000 {
            let file = ring_memory();
            attach(&notes, &file, clock_domain().unwrap());
            drop(file);
            notes.send(Note::new(0, number)).unwrap();
            while tally.honest[0] <= number {
                assert!(tally.receive(&received));
            }
            if number % 50 == 0 {
                most = most.max(harness::handles().len() - before.len());
            }
        }
        assert!((10..200).contains(&most), "{most}");
        let maps = fs::read_to_string("/proc/self/maps").unwrap();
        let mapped = maps.lines().filter(|line| line.contains("hostile")).count();
        assert!(mapped < 400, "{mapped}");
        drop((notes, received));
        assert_eq!(harness::handles_besides(&before), []);
        assert!(!fs::read_to_string("/proc/self/maps").unwrap().contains("hostile"));
    });
}

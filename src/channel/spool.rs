//! The spool of a receiver that moves to another process: the messages that it has received and not
//! delivered.
//!
//! It is sent beside the message that the receiver moves in, as sealed memory, and so outside of
//! all limits on messages. Messages that peers have piled up neither keep a receiver from moving
//! nor make it fail to arrive. A short spool is sent in the message itself.
//!
//! ```text
//! record    kind u32, attachments u32, a u128, b u64, c u64, len u64    48 bytes, little-endian
//!   LOST        a: message id  c: whether an error was reported
//!   INCOMPLETE  a: message id  b: its length  c: its attachments        and the bytes so far
//!   WAITING     a: its stamp   b: whether it was too long               and the bytes of a message
//!   PARTIAL     a: its stamp   b: its length  c: how much was skipped   and the bytes so far
//! ```
//!
//! `attachments` counts those of this record; all are in order beside the spool. A PARTIAL belongs
//! to a ring that moves along, in the order of the rings. There is an empty one for a ring without
//! an incomplete message.

use std::io;

use super::assembly::{Incomplete, Lost};
use super::limits::MAX_INCOMPLETE_MESSAGES;
use super::receive::QueuedMessage;
use super::ring::Partial;

const HEAD_BYTES: usize = 48;

const LOST: u32 = 1;
const INCOMPLETE: u32 = 2;
const WAITING: u32 = 3;
const PARTIAL: u32 = 4;

/// Nothing was skipped: all bytes are kept.
const KEPT: u64 = u64::MAX;

/// The maximum number of incomplete or lost messages of a receiver: no honest one has more of
/// either.
const MAX_REMEMBERED: usize = 2 * MAX_INCOMPLETE_MESSAGES;

/// How much is read at a time of bytes of which only the length is known.
const CHUNK_BYTES: usize = 1 << 20;

/// How much is read at a time of short records.
const AHEAD_BYTES: usize = 64 << 10;

/// The content of a spool, with attachments of type `A`.
#[derive(Debug)]
pub(crate) struct Contents<A> {
    /// Messages that will not be completed.
    pub(crate) lost: Vec<Lost>,
    /// Messages of which parts came by socket.
    pub(crate) incomplete: Vec<Incomplete<A>>,
    /// Whole messages.
    pub(crate) waiting: Vec<QueuedMessage<A>>,
    /// For each ring that moves along, the message of which fragments were taken in.
    pub(crate) partials: Vec<Option<Partial>>,
}

impl<A> Default for Contents<A> {
    fn default() -> Contents<A> {
        let (lost, incomplete) = (Vec::new(), Vec::new());
        Contents { lost, incomplete, waiting: Vec::new(), partials: Vec::new() }
    }
}

/// The numbers of one record.
struct Head {
    kind: u32,
    attachments: u32,
    a: u128,
    b: u64,
    c: u64,
    len: u64,
}

impl Head {
    fn to_bytes(&self) -> [u8; HEAD_BYTES] {
        let mut bytes = [0; HEAD_BYTES];
        bytes[..4].copy_from_slice(&self.kind.to_le_bytes());
        bytes[4..8].copy_from_slice(&self.attachments.to_le_bytes());
        bytes[8..24].copy_from_slice(&self.a.to_le_bytes());
        bytes[24..32].copy_from_slice(&self.b.to_le_bytes());
        bytes[32..40].copy_from_slice(&self.c.to_le_bytes());
        bytes[40..].copy_from_slice(&self.len.to_le_bytes());
        bytes
    }

    fn from_bytes(bytes: &[u8; HEAD_BYTES]) -> Head {
        let number = |at: usize| {
            let mut number = [0; 8];
            number.copy_from_slice(&bytes[at..at + 8]);
            u64::from_le_bytes(number)
        };
        Head {
            kind: number(0) as u32,
            attachments: (number(0) >> 32) as u32,
            a: u128::from(number(8)) | u128::from(number(16)) << 64,
            b: number(24),
            c: number(32),
            len: number(40),
        }
    }
}

impl<A> Contents<A> {
    /// Returns the length of the spool.
    pub(crate) fn len(&self) -> usize {
        let incomplete = self.incomplete.iter().map(|message| message.bytes.len());
        let waiting = self.waiting.iter().map(|message| message.bytes.len());
        let partials = self.partials.iter().map(|p| p.as_ref().map_or(0, |p| p.bytes.len()));
        let bytes = incomplete.chain(waiting).chain(partials);
        bytes.map(|len| HEAD_BYTES + len).sum::<usize>() + HEAD_BYTES * self.lost.len()
    }

    /// Returns the number of its records.
    pub(crate) fn records(&self) -> usize {
        self.lost.len() + self.incomplete.len() + self.waiting.len() + self.partials.len()
    }

    /// Returns the attachments in their order.
    pub(crate) fn into_attachments(self) -> Vec<A> {
        let incomplete = self.incomplete.into_iter().flat_map(|m| m.attachments);
        incomplete.chain(self.waiting.into_iter().flat_map(|m| m.attachments)).collect()
    }

    /// Writes everything but the attachments by `write`.
    ///
    /// # Errors
    ///
    /// The first error of `write`.
    pub(crate) fn write(&self, mut write: impl FnMut(&[u8]) -> io::Result<()>) -> io::Result<()> {
        let mut record = |head: Head, bytes: &[u8]| {
            write(&Head { len: bytes.len() as u64, ..head }.to_bytes())?;
            write(bytes)
        };
        for lost in &self.lost {
            let c = lost.is_told.into();
            record(Head { kind: LOST, attachments: 0, a: lost.id, b: 0, c, len: 0 }, &[])?;
        }
        for message in &self.incomplete {
            let attachments = message.attachments.len() as u32;
            let (b, c) = (message.total_bytes, message.total_attachments.into());
            let head = Head { kind: INCOMPLETE, attachments, a: message.id, b, c, len: 0 };
            record(head, &message.bytes)?;
        }
        for message in &self.waiting {
            let (attachments, a) = (message.attachments.len() as u32, message.stamp.into());
            let b = message.is_too_long.into();
            record(Head { kind: WAITING, attachments, a, b, c: 0, len: 0 }, &message.bytes)?;
        }
        for partial in &self.partials {
            let none = Head { kind: PARTIAL, attachments: 0, a: 0, b: 0, c: 0, len: 0 };
            match partial {
                None => record(none, &[])?,
                Some(partial) => {
                    let (a, c) = (partial.stamp.into(), partial.skipped.unwrap_or(KEPT));
                    record(Head { a, b: partial.total, c, ..none }, &partial.bytes)?;
                }
            }
        }
        Ok(())
    }

    /// Reads a spool of `len` bytes by `read`, which fills a slice. Attachments are taken in their
    /// order.
    ///
    /// # Errors
    ///
    /// [`InvalidData`](io::ErrorKind::InvalidData) if the spool is not valid or has more than
    /// `max_records`, and the errors of `read`.
    pub(crate) fn read(
        mut len: u64,
        max_records: usize,
        read: impl FnMut(&mut [u8]) -> io::Result<()>,
        attachments: Vec<A>,
    ) -> io::Result<Contents<A>> {
        let mut contents = Contents::default();
        let mut attachments = attachments.into_iter();
        let mut ahead = Ahead { bytes: Vec::new(), position: 0, left: len, read };
        let mut read = |to: &mut [u8]| ahead.read(to);
        let mut left_records = max_records;
        while len > 0 {
            left_records = left_records.checked_sub(1).ok_or_else(malformed)?;
            let mut head = [0; HEAD_BYTES];
            len = len.checked_sub(HEAD_BYTES as u64).ok_or_else(malformed)?;
            read(&mut head)?;
            let Head { kind, attachments: count, a, b, c, len: body_len } = Head::from_bytes(&head);
            len = len.checked_sub(body_len).ok_or_else(malformed)?;
            let bytes = read_bytes(body_len, &mut read)?;
            let count = count as usize;
            if count > attachments.len() {
                return Err(malformed());
            }
            let here: Vec<A> = attachments.by_ref().take(count).collect();
            match kind {
                LOST => contents.lost.push(Lost { id: a, is_told: c != 0 }),
                INCOMPLETE => contents.incomplete.push(Incomplete {
                    id: a,
                    total_bytes: b,
                    total_attachments: u32::try_from(c).map_err(|_| malformed())?,
                    bytes,
                    attachments: here,
                }),
                WAITING => {
                    let stamp = u64::try_from(a).map_err(|_| malformed())?;
                    let message = QueuedMessage::new(stamp, bytes, here);
                    contents.waiting.push(QueuedMessage { is_too_long: b != 0, ..message });
                }
                PARTIAL if b == 0 => contents.partials.push(None),
                PARTIAL => {
                    let stamp = u64::try_from(a).map_err(|_| malformed())?;
                    let skipped = (c != KEPT).then_some(c);
                    contents.partials.push(Some(Partial { total: b, stamp, bytes, skipped }));
                }
                _ => return Err(malformed()),
            }
            if contents.lost.len().max(contents.incomplete.len()) > MAX_REMEMBERED {
                return Err(malformed());
            }
        }
        Ok(contents)
    }
}

/// Reads ahead in long pieces: a spool may have very many short records, and each read costs a
/// system call.
struct Ahead<R> {
    bytes: Vec<u8>,
    /// How many of them were used.
    position: usize,
    /// How many bytes were not read.
    left: u64,
    read: R,
}

impl<R: FnMut(&mut [u8]) -> io::Result<()>> Ahead<R> {
    fn read(&mut self, to: &mut [u8]) -> io::Result<()> {
        let here = &self.bytes[self.position..];
        let (now, later) = to.split_at_mut(to.len().min(here.len()));
        now.copy_from_slice(&here[..now.len()]);
        self.position += now.len();
        if later.is_empty() {
            return Ok(());
        }
        self.left = self.left.checked_sub(later.len() as u64).ok_or_else(malformed)?;
        if later.len() >= AHEAD_BYTES {
            return (self.read)(later);
        }
        let more = (AHEAD_BYTES - later.len()) as u64;
        let more = self.left.min(more) as usize;
        self.left -= more as u64;
        self.bytes.resize(later.len() + more, 0);
        (self.read)(&mut self.bytes)?;
        self.position = later.len();
        later.copy_from_slice(&self.bytes[..later.len()]);
        Ok(())
    }
}

/// Reads `len` bytes. Memory grows with what was read, not with what was announced.
fn read_bytes(len: u64, read: &mut impl FnMut(&mut [u8]) -> io::Result<()>) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    let mut left = len;
    while left > 0 {
        let now = left.min(CHUNK_BYTES as u64) as usize;
        let before = bytes.len();
        bytes.try_reserve(now).map_err(|_| io::Error::from(io::ErrorKind::OutOfMemory))?;
        bytes.resize(before + now, 0);
        read(&mut bytes[before..])?;
        left -= now as u64;
    }
    bytes.shrink_to_fit();
    Ok(bytes)
}

fn malformed() -> io::Error {
    let text = "the undelivered messages of a moved receiver are malformed";
    io::Error::new(io::ErrorKind::InvalidData, text)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn contents() -> Contents<char> {
        let lost = vec![Lost { id: 7, is_told: true }, Lost { id: u128::MAX, is_told: false }];
        let incomplete = vec![Incomplete {
            id: 8,
            total_bytes: 1 << 40,
            total_attachments: 3,
            bytes: vec![1; 100],
            attachments: vec!['a', 'b'],
        }];
        let waiting = vec![
            QueuedMessage::new(0, Vec::new(), Vec::new()),
            QueuedMessage { is_too_long: true, ..QueuedMessage::new(3, Vec::new(), Vec::new()) },
            QueuedMessage::new(9, vec![2; 3 * CHUNK_BYTES / 2], vec!['c']),
        ];
        let partial = Partial { total: 50, stamp: 4, bytes: vec![3; 20], skipped: None };
        let skipped = Partial { bytes: Vec::new(), skipped: Some(0), ..partial_like(&partial) };
        Contents { lost, incomplete, waiting, partials: vec![None, Some(partial), Some(skipped)] }
    }

    fn partial_like(partial: &Partial) -> Partial {
        Partial { total: partial.total, stamp: 5, bytes: Vec::new(), skipped: None }
    }

    fn written(contents: Contents<char>) -> (Vec<u8>, Vec<char>) {
        let mut bytes = Vec::new();
        let len = contents.len();
        let written = contents.write(|part| {
            bytes.extend_from_slice(part);
            Ok(())
        });
        written.unwrap();
        assert_eq!(bytes.len(), len);
        (bytes, contents.into_attachments())
    }

    fn read(bytes: &[u8], attachments: Vec<char>) -> io::Result<Contents<char>> {
        read_at_most(usize::MAX, bytes, attachments)
    }

    fn read_at_most(
        max_records: usize,
        bytes: &[u8],
        attachments: Vec<char>,
    ) -> io::Result<Contents<char>> {
        let mut rest = bytes;
        let take = |to: &mut [u8]| {
            let (now, after) = rest.split_at_checked(to.len()).ok_or_else(malformed)?;
            to.copy_from_slice(now);
            rest = after;
            Ok(())
        };
        Contents::read(bytes.len() as u64, max_records, take, attachments)
    }

    #[test]
    fn written_spool_is_read_back() {
        let (bytes, attachments) = written(contents());
        assert_eq!(attachments, ['a', 'b', 'c']);
        let (read, original) = (read(&bytes, attachments).unwrap(), contents());
        assert_eq!(read.lost, original.lost);
        assert!(read.incomplete == original.incomplete);
        assert!(read.partials == original.partials);
        let all = |contents: Contents<char>| -> Vec<_> {
            let numbers = |m: QueuedMessage<char>| (m.stamp, m.is_too_long, m.bytes, m.attachments);
            contents.waiting.into_iter().map(numbers).collect()
        };
        assert!(all(read) == all(original));
    }

    #[test]
    fn truncated_spool_is_refused_or_has_fewer_messages() {
        let (bytes, attachments) = written(contents());
        let whole = read(&bytes, attachments.clone()).unwrap().waiting.len();
        for len in 0..bytes.len().min(1000) {
            if let Ok(less) = read(&bytes[..len], attachments.clone()) {
                assert!(less.waiting.len() < whole);
            }
        }
    }

    #[test]
    fn malformed_spools_are_refused() {
        let (bytes, attachments) = written(contents());
        assert!(read(&bytes, attachments[..2].to_vec()).is_err());
        for (at, value) in [(0, 9), (0, 0), (7, 1), (47, 1)] {
            let mut lie = bytes.clone();
            lie[at] = value;
            assert!(read(&lie, attachments.clone()).is_err(), "{at}");
        }
    }

    #[test]
    fn too_many_discarded_messages_are_refused() {
        let lost = |count| Contents::<char> {
            lost: (0..count as u128).map(|id| Lost { id, is_told: true }).collect(),
            ..Contents::default()
        };
        assert!(read(&written(lost(MAX_REMEMBERED)).0, Vec::new()).is_ok());
        assert!(read(&written(lost(MAX_REMEMBERED + 1)).0, Vec::new()).is_err());
    }

    #[test]
    fn more_records_than_expected_are_refused() {
        let (bytes, attachments) = written(contents());
        let count = contents().records();
        assert!(read_at_most(count, &bytes, attachments.clone()).is_ok());
        assert!(read_at_most(count - 1, &bytes, attachments).is_err());
    }

    #[test]
    fn records_of_every_length_are_read_in_few_pieces() {
        let lengths = [0, 1, 100, AHEAD_BYTES - 1, AHEAD_BYTES, AHEAD_BYTES + 1, 3 * CHUNK_BYTES];
        let waiting: Vec<_> = (0..7000_usize)
            .map(|number| {
                let len = if number % 1000 == 0 { lengths[number / 1000] } else { number % 50 };
                QueuedMessage::new(number as u64, vec![number as u8; len], Vec::<char>::new())
            })
            .collect();
        let (bytes, _) = written(Contents { waiting, ..Contents::default() });
        let mut rest = &bytes[..];
        let mut calls = 0;
        let read = |to: &mut [u8]| {
            calls += 1;
            io::Read::read_exact(&mut rest, to)
        };
        let len = bytes.len() as u64;
        let contents = Contents::<char>::read(len, usize::MAX, read, Vec::new()).unwrap();
        assert_eq!(contents.waiting.len(), 7000);
        for (number, message) in contents.waiting.iter().enumerate() {
            assert_eq!(message.stamp, number as u64);
            assert!(message.bytes.iter().all(|byte| *byte == number as u8));
        }
        assert!(rest.is_empty());
        assert!(calls < 30, "{calls}");
    }

    #[test]
    fn the_error_of_a_write_is_returned() {
        let failed = contents().write(|_| Err(io::ErrorKind::StorageFull.into())).unwrap_err();
        assert_eq!(failed.kind(), io::ErrorKind::StorageFull);
    }
}

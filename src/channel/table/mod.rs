//! The endpoint table of a message: the attachments that are sent with the user's bytes.
//!
//! A message with endpoints, shared memory or handles has a table after the user's bytes, with an
//! entry for each of them. The user's bytes refer to an entry by its number. So the attachments of
//! a message can be counted, checked and passed on without knowing the type of the message. A
//! message without attachments has no table.
//!
//! ```text
//! body     the user's bytes, entries, trailer
//! trailer  8 bytes, little-endian: entries u32, bytes of all of them u32
//! entry    12 bytes, and `len` bytes of its kind:
//!          kind u8, version u8, codec u8, zero u8, attachments u32, len u32
//!   SENDER          capabilities u32
//!   BOUNDED SENDER  capabilities u32
//!   RECEIVER        see below
//!   MEMORY          bytes u64, access u32
//!   HANDLE          nothing
//! RECEIVER
//!   head     flags u32, rings u32, issuer's attachments u32, undelivered attachments u32
//!   options  flags u32, zero u32, spin ns u64, idle ns u64, limits 9 x u64      if HAS_OPTIONS
//!   issuer   bound u64, surplus u64                                             if IS_BOUNDED
//!   ring     position u64, base u64, offset u64, visible u64, len u32, retired u32    for each
//!   spool    messages that were received and not delivered          unless SPOOL_IS_BESIDE
//! ```
//!
//! `version` and `codec` are those of the channel, as in the [head of a packet](super::frame). The
//! attachments of the message are those of the entries, in their order:
//!
//! - of a sender, the channel and, if it is bounded, the permits
//! - of a receiver, the channel, the spool if it is beside, the rings, the issuer and the
//!   attachments of undelivered messages
//! - of the others, one
//!
//! The numbers of all entries are checked against what is there and against the limits of the
//! receiver. Before that, nothing is allocated for what a table announces. The code is generic over
//! the attachments, and makes no system calls.

mod entry;

use std::fmt;

pub(crate) use entry::{
    Access, Capabilities, Entry, EntryKind, MovedIssuer, MovedMemory, MovedReceiver, MovedRing,
    MovedSender, SpoolPlace,
};

use super::frame::Dialect;
use super::limits::{Limits, MAX_MESSAGE_ATTACHMENTS};
use super::options::{Options, Ordering};
use super::ring::{ConsumerState, Place};

const TRAILER_BYTES: usize = 8;
const ENTRY_BYTES: usize = 12;
const RECEIVER_BYTES: usize = 16;
const OPTION_BYTES: usize = 24 + 8 * Limits::COUNT;
const ISSUER_BYTES: usize = 16;
const RING_BYTES: usize = 40;
const MEMORY_BYTES: usize = 12;

/// The maximum number of bytes of a table for each attachment: an entry has at least one
/// attachment, and fewer bytes for each.
const MAX_BYTES_PER_ATTACHMENT: usize = 2 << 10;

/// The maximum length of a spool that goes into the table rather than beside the message, ...
pub(crate) const MAX_INLINE_BYTES: usize = 1 << 10;

/// ... and of all spools in a message, where there is no memory that could go beside it. A process
/// that cannot make such memory has no rings, and the messages in a socket are shorter.
pub(crate) const MAX_INLINE_BYTES_IN_ALL: usize = 1 << 20;

const SENDER: u8 = 1;
const BOUNDED_SENDER: u8 = 2;
const RECEIVER: u8 = 3;
const MEMORY: u8 = 4;
const HANDLE: u8 = 5;

const HAS_OPTIONS: u32 = 1;
const IS_BOUNDED: u32 = 2;
const SPOOL_IS_BESIDE: u32 = 4;

const IS_PER_SENDER: u32 = 1;
const SHARES_MEMORY: u32 = 2;

/// Returns the maximum length of the table of a message with so many attachments. Without receivers
/// it is much shorter.
pub(crate) fn max_bytes(attachments: usize, has_receivers: bool) -> usize {
    let (each, all) = if has_receivers {
        (MAX_BYTES_PER_ATTACHMENT, MAX_INLINE_BYTES_IN_ALL)
    } else {
        (ENTRY_BYTES + MEMORY_BYTES, TRAILER_BYTES)
    };
    attachments.saturating_mul(each).saturating_add(all)
}

/// Why the bytes after the user's are not a table, or not one that the receiver accepts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum TableError {
    /// It is shorter or longer than it says.
    Length,
    /// An entry is of no known kind.
    Kind(u8),
    /// An entry is of a channel with another protocol version or codec.
    Foreign(Dialect),
    /// The numbers in it contradict each other or the attachments that arrived.
    Counts,
    /// There are more entries than the receiver accepts.
    TooMany,
    /// There are more entries of that kind than the receiver accepts.
    TooManyOf(EntryKind),
    /// The user's bytes are more than the receiver accepts.
    TooLong,
}

impl fmt::Display for TableError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            TableError::Length => {
                "the endpoint table of a message does not have the length that it announces"
            }
            TableError::Kind(kind) => {
                return write!(
                    f,
                    "the endpoint table of a message has an entry of the unknown kind {kind}"
                );
            }
            TableError::Foreign(_) => {
                "a message has an endpoint of a channel with another protocol version or codec"
            }
            TableError::Counts => {
                "the endpoint table of a message does not match the handles of the message"
            }
            TableError::TooMany => {
                "a message exceeds the limits: \
                 it has too many endpoints, shared memories and handles"
            }
            TableError::TooManyOf(kind) => {
                return write!(
                    f,
                    "a message exceeds the limits: it has too many {}",
                    kind.plural()
                );
            }
            TableError::TooLong => "a message exceeds the limits",
        })
    }
}

impl std::error::Error for TableError {}

/// Appends the table of `entries` to the user's bytes, unless there are none, and returns the
/// attachments.
pub(crate) fn write<A>(entries: Vec<Entry<A>>, body: &mut Vec<u8>) -> Vec<A> {
    if entries.is_empty() {
        return Vec::new();
    }
    let begin = body.len();
    let count = entries.len() as u32;
    let mut attachments = Vec::with_capacity(entries.len());
    for entry in entries {
        write_entry(entry, body, &mut attachments);
    }
    let len = (body.len() - begin) as u32;
    put_u32(body, count);
    put_u32(body, len);
    attachments
}

fn write_entry<A>(entry: Entry<A>, body: &mut Vec<u8>, attachments: &mut Vec<A>) {
    let kind = match &entry {
        Entry::Sender(MovedSender { permits: None, .. }) => SENDER,
        Entry::Sender(_) => BOUNDED_SENDER,
        Entry::Receiver(_) => RECEIVER,
        Entry::Memory(_) => MEMORY,
        Entry::Handle(_) => HANDLE,
    };
    let Dialect { version, codec } = Dialect::OWN;
    body.extend_from_slice(&[kind, version, codec, 0]);
    put_u32(body, entry.attachments() as u32);
    let begin = body.len();
    put_u32(body, 0);
    match entry {
        Entry::Sender(MovedSender { channel, permits, capabilities }) => {
            put_u32(body, capabilities.0);
            attachments.push(channel);
            attachments.extend(permits);
        }
        Entry::Receiver(receiver) => write_receiver(*receiver, body, attachments),
        Entry::Memory(MovedMemory { memory, bytes, access }) => {
            put_u64(body, bytes);
            put_u32(body, access as u32);
            attachments.push(memory);
        }
        Entry::Handle(handle) => attachments.push(handle),
    }
    let len = (body.len() - begin - 4) as u32;
    body[begin..begin + 4].copy_from_slice(&len.to_le_bytes());
}

fn write_receiver<A>(receiver: MovedReceiver<A>, body: &mut Vec<u8>, attachments: &mut Vec<A>) {
    let MovedReceiver { channel, spool, undelivered, rings, options, issuer, .. } = receiver;
    let has_options = options != Options::default();
    let flag = |is_set, flag| if is_set { flag } else { 0 };
    put_u32(
        body,
        flag(has_options, HAS_OPTIONS)
            | flag(issuer.is_some(), IS_BOUNDED)
            | flag(matches!(spool, SpoolPlace::Beside(_)), SPOOL_IS_BESIDE),
    );
    put_u32(body, rings.len() as u32);
    put_u32(body, issuer.as_ref().map_or(0, |issuer| issuer.attachments.len() as u32));
    put_u32(body, undelivered.len() as u32);
    attachments.push(channel);
    if has_options {
        let Options { ordering, limits, spin_nanos, shares_memory, idle_nanos } = options;
        let is_per_sender = ordering == Ordering::PerSender;
        put_u32(body, flag(is_per_sender, IS_PER_SENDER) | flag(shares_memory, SHARES_MEMORY));
        put_u32(body, 0);
        put_u64(body, spin_nanos);
        put_u64(body, idle_nanos);
        let mut limits = limits;
        for limit in limits.fields() {
            put_u64(body, *limit as u64);
        }
    }
    if let Some(MovedIssuer { bound, surplus, .. }) = &issuer {
        put_u64(body, *bound);
        put_u64(body, *surplus);
    }
    let inline = match spool {
        SpoolPlace::Inline(bytes) => bytes,
        SpoolPlace::Beside(spool) => {
            attachments.push(spool);
            Vec::new()
        }
    };
    for MovedRing { memory, state } in rings {
        let ConsumerState { position, base, place, visible, is_retired, .. } = state;
        for number in [position, base, place.offset, visible] {
            put_u64(body, number);
        }
        put_u32(body, place.len);
        put_u32(body, is_retired.into());
        attachments.push(memory);
    }
    attachments.extend(issuer.into_iter().flat_map(|issuer| issuer.attachments));
    attachments.extend(undelivered);
    body.extend_from_slice(&inline);
}

/// Reads the table at the end of a message, and returns how many of its bytes are the user's, and
/// the entries.
///
/// # Errors
///
/// [`TableError`] if there is no table, it contradicts itself or `attachments`, or it exceeds the
/// `limits`.
pub(crate) fn read<A>(
    body: &[u8],
    attachments: Vec<A>,
    limits: &Limits,
) -> Result<(usize, Vec<Entry<A>>), TableError> {
    if attachments.is_empty() {
        return Ok((body.len(), Vec::new()));
    }
    let (rest, trailer) = body.split_last_chunk::<TRAILER_BYTES>().ok_or(TableError::Length)?;
    let mut trailer = Numbers(trailer);
    let (count, len) = (trailer.u32()? as usize, trailer.u32()? as usize);
    let user_len = rest.len().checked_sub(len).ok_or(TableError::Length)?;
    if user_len > limits.message_bytes {
        return Err(TableError::TooLong);
    }
    // Each entry has at least one attachment.
    if count > attachments.len() {
        return Err(TableError::Counts);
    }
    check(&rest[user_len..], count, attachments.len(), limits)?;
    let mut table = Numbers(&rest[user_len..]);
    let mut attachments = attachments.into_iter();
    let mut entries = Vec::with_capacity(count);
    for _ in 0..count {
        let head = EntryHead::read(&mut table)?;
        entries.push(read_entry(head, table.bytes(head.len)?, &mut attachments)?);
    }
    Ok((user_len, entries))
}

/// Checks the numbers of all entries.
fn check(
    table: &[u8],
    count: usize,
    attachments: usize,
    limits: &Limits,
) -> Result<(), TableError> {
    if count > limits.message_handles {
        return Err(TableError::TooMany);
    }
    let mut table = Numbers(table);
    let mut left = attachments;
    let (mut senders, mut receivers) = (limits.message_senders, limits.message_receivers);
    let (mut memories, mut handles) = (limits.message_memories, limits.message_os_handles);
    for _ in 0..count {
        let head = EntryHead::read(&mut table)?;
        let kind = kind_of(head.kind)?;
        if !head.dialect.is_own() {
            return Err(TableError::Foreign(head.dialect));
        }
        let room = match kind {
            EntryKind::Sender => &mut senders,
            EntryKind::Receiver => &mut receivers,
            EntryKind::Memory => &mut memories,
            EntryKind::Handle => &mut handles,
        };
        *room = room.checked_sub(1).ok_or(TableError::TooManyOf(kind))?;
        left = left.checked_sub(head.attachments).ok_or(TableError::Counts)?;
        table.bytes(head.len)?;
    }
    match (left, table.0.len()) {
        (0, 0) => Ok(()),
        (0, _) => Err(TableError::Length),
        _ => Err(TableError::Counts),
    }
}

/// The head of every entry.
#[derive(Clone, Copy)]
struct EntryHead {
    kind: u8,
    dialect: Dialect,
    attachments: usize,
    len: usize,
}

impl EntryHead {
    fn read(table: &mut Numbers<'_>) -> Result<EntryHead, TableError> {
        let &[kind, version, codec, _] = table.chunk::<4>()?;
        let (attachments, len) = (table.u32()? as usize, table.u32()? as usize);
        Ok(EntryHead { kind, dialect: Dialect { version, codec }, attachments, len })
    }
}

fn read_entry<A>(
    head: EntryHead,
    said: &[u8],
    attachments: &mut impl Iterator<Item = A>,
) -> Result<Entry<A>, TableError> {
    let mut said = Numbers(said);
    let mut next = || attachments.next().ok_or(TableError::Counts);
    let has =
        |expected| if head.attachments == expected { Ok(()) } else { Err(TableError::Counts) };
    let entry = match head.kind {
        SENDER | BOUNDED_SENDER => {
            let is_bounded = head.kind == BOUNDED_SENDER;
            has(1 + usize::from(is_bounded))?;
            let capabilities = Capabilities(said.u32()?);
            let channel = next()?;
            let permits = if is_bounded { Some(next()?) } else { None };
            Entry::Sender(MovedSender { channel, permits, capabilities })
        }
        RECEIVER => {
            return read_receiver(head.attachments, said, next).map(Box::new).map(Entry::Receiver);
        }
        MEMORY => {
            has(1)?;
            let (bytes, access) = (said.u64()?, said.u32()?);
            let access = [Access::Fixed, Access::Write, Access::Read]
                .into_iter()
                .find(|&known| known as u32 == access);
            let access = access.ok_or(TableError::Counts)?;
            Entry::Memory(MovedMemory { memory: next()?, bytes, access })
        }
        HANDLE => {
            has(1)?;
            Entry::Handle(next()?)
        }
        kind => return Err(TableError::Kind(kind)),
    };
    if said.0.is_empty() { Ok(entry) } else { Err(TableError::Length) }
}

/// Reads a receiver of `count` attachments, which `next` returns.
fn read_receiver<A>(
    count: usize,
    mut said: Numbers<'_>,
    mut next: impl FnMut() -> Result<A, TableError>,
) -> Result<MovedReceiver<A>, TableError> {
    let flags = said.u32()?;
    let (rings, of_issuer) = (said.u32()? as usize, said.u32()? as usize);
    let undelivered = said.u32()? as usize;
    let is_set = |flag| flags & flag != 0;
    let is_beside = is_set(SPOOL_IS_BESIDE);
    let sum = [1, usize::from(is_beside), rings, of_issuer, undelivered]
        .into_iter()
        .try_fold(0_usize, |sum, part| sum.checked_add(part));
    if sum != Some(count) || (of_issuer > 0) != is_set(IS_BOUNDED) {
        return Err(TableError::Counts);
    }
    let options = if is_set(HAS_OPTIONS) { read_options(&mut said)? } else { Options::default() };
    let issuer = if is_set(IS_BOUNDED) { Some((said.u64()?, said.u64()?)) } else { None };
    let states = said.bytes(rings.checked_mul(RING_BYTES).ok_or(TableError::Length)?)?;
    let inline = said.0;
    if is_beside && !inline.is_empty() {
        return Err(TableError::Length);
    }
    let channel = next()?;
    let spool =
        if is_beside { SpoolPlace::Beside(next()?) } else { SpoolPlace::Inline(inline.to_vec()) };
    let rings = states.chunks_exact(RING_BYTES).map(|state| {
        let mut state = Numbers(state);
        let (position, base, offset) = (state.u64()?, state.u64()?, state.u64()?);
        let (visible, len, is_retired) = (state.u64()?, state.u32()?, state.u32()? != 0);
        let place = Place { offset, len };
        let state = ConsumerState { position, base, place, visible, partial: None, is_retired };
        Ok(MovedRing { memory: next()?, state })
    });
    let rings = rings.collect::<Result<_, _>>()?;
    let issuer = issuer.map(|(bound, surplus)| {
        let attachments = (0..of_issuer).map(|_| next()).collect::<Result<_, _>>()?;
        Ok(MovedIssuer { attachments, bound, surplus })
    });
    let issuer = issuer.transpose()?;
    let undelivered = (0..undelivered).map(|_| next()).collect::<Result<_, _>>()?;
    let sent_type = None;
    Ok(MovedReceiver { channel, spool, undelivered, rings, options, issuer, sent_type })
}

fn read_options(said: &mut Numbers<'_>) -> Result<Options, TableError> {
    let flags = said.u32()?;
    said.u32()?;
    let (spin_nanos, idle_nanos) = (said.u64()?, said.u64()?);
    let mut limits = Limits::default();
    for limit in limits.fields() {
        *limit = usize::try_from(said.u64()?).unwrap_or(usize::MAX);
    }
    let is_per_sender = flags & IS_PER_SENDER != 0;
    Ok(Options {
        ordering: if is_per_sender { Ordering::PerSender } else { Ordering::Causal },
        limits,
        spin_nanos,
        shares_memory: flags & SHARES_MEMORY != 0,
        idle_nanos,
    })
}

/// The rest of a table that is still to be read.
struct Numbers<'a>(&'a [u8]);

impl<'a> Numbers<'a> {
    fn bytes(&mut self, len: usize) -> Result<&'a [u8], TableError> {
        let (bytes, rest) = self.0.split_at_checked(len).ok_or(TableError::Length)?;
        self.0 = rest;
        Ok(bytes)
    }

    fn chunk<const LEN: usize>(&mut self) -> Result<&'a [u8; LEN], TableError> {
        let (chunk, rest) = self.0.split_first_chunk().ok_or(TableError::Length)?;
        self.0 = rest;
        Ok(chunk)
    }

    fn u32(&mut self) -> Result<u32, TableError> {
        self.chunk().map(|bytes| u32::from_le_bytes(*bytes))
    }

    fn u64(&mut self) -> Result<u64, TableError> {
        self.chunk().map(|bytes| u64::from_le_bytes(*bytes))
    }
}

fn put_u32(body: &mut Vec<u8>, number: u32) {
    body.extend_from_slice(&number.to_le_bytes());
}

fn put_u64(body: &mut Vec<u8>, number: u64) {
    body.extend_from_slice(&number.to_le_bytes());
}

const _: () = {
    // What an entry says of an attachment is never more than there is room for.
    let receiver = ENTRY_BYTES + RECEIVER_BYTES + OPTION_BYTES + ISSUER_BYTES + MAX_INLINE_BYTES;
    assert!(
        receiver + TRAILER_BYTES <= MAX_BYTES_PER_ATTACHMENT
            && RING_BYTES <= MAX_BYTES_PER_ATTACHMENT
    );
    // Their lengths are written with 32 bits.
    let most = MAX_MESSAGE_ATTACHMENTS * MAX_BYTES_PER_ATTACHMENT + MAX_INLINE_BYTES_IN_ALL;
    assert!(most <= u32::MAX as usize);
};

/// Returns the kind that a code stands for.
fn kind_of(code: u8) -> Result<EntryKind, TableError> {
    Ok(match code {
        SENDER | BOUNDED_SENDER => EntryKind::Sender,
        RECEIVER => EntryKind::Receiver,
        MEMORY => EntryKind::Memory,
        HANDLE => EntryKind::Handle,
        code => return Err(TableError::Kind(code)),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ring(memory: char, position: u64) -> MovedRing<char> {
        let place = Place { offset: 3 << 16, len: 65_536 };
        let (base, visible) = (position - 1, position + 1);
        let state =
            ConsumerState { position, base, place, visible, partial: None, is_retired: true };
        MovedRing { memory, state }
    }

    fn receiver(spool: SpoolPlace<char>) -> Entry<char> {
        let limits = Limits { message_bytes: 5, incomplete_messages: 6, ..Limits::default() };
        let options = Options { limits, spin_nanos: 7, shares_memory: false, ..Options::default() };
        Entry::Receiver(Box::new(MovedReceiver {
            channel: 'c',
            spool,
            undelivered: vec!['u', 'v'],
            rings: vec![ring('r', 10), ring('s', 20)],
            options: Options { ordering: Ordering::PerSender, ..options },
            issuer: Some(MovedIssuer { attachments: vec!['i', 'j'], bound: 8, surplus: 9 }),
            sent_type: None,
        }))
    }

    fn plain_receiver() -> Entry<char> {
        Entry::Receiver(Box::new(MovedReceiver {
            channel: 'p',
            spool: SpoolPlace::Inline(Vec::new()),
            undelivered: Vec::new(),
            rings: Vec::new(),
            options: Options::default(),
            issuer: None,
            sent_type: None,
        }))
    }

    fn sender(channel: char, permits: Option<char>) -> Entry<char> {
        let capabilities = Capabilities::ALL.of_rendezvous(permits.is_some());
        Entry::Sender(MovedSender { channel, permits, capabilities })
    }

    fn entries() -> Vec<Entry<char>> {
        vec![
            sender('a', None),
            sender('b', Some('t')),
            receiver(SpoolPlace::Inline(vec![1, 2, 3])),
            receiver(SpoolPlace::Beside('o')),
            plain_receiver(),
            Entry::Memory(MovedMemory { memory: 'm', bytes: 1 << 40, access: Access::Write }),
            Entry::Handle('h'),
        ]
    }

    fn written(entries: Vec<Entry<char>>) -> (Vec<u8>, Vec<char>) {
        let mut body = b"user".to_vec();
        let count = entries.iter().map(Entry::attachments).sum::<usize>();
        let attachments = write(entries, &mut body);
        assert_eq!(attachments.len(), count);
        assert!(body.len() - 4 <= max_bytes(count, true));
        (body, attachments)
    }

    fn read_all(body: &[u8], attachments: Vec<char>) -> Result<Vec<Entry<char>>, TableError> {
        let (len, entries) = read(body, attachments, &Limits::LARGEST)?;
        assert!(len <= body.len());
        Ok(entries)
    }

    #[test]
    fn written_table_is_parsed_back() {
        let (body, attachments) = written(entries());
        assert_eq!(attachments.iter().collect::<String>(), "abtcrsijuvcorsijuvpmh");
        let (len, read) = read(&body, attachments, &Limits::LARGEST).unwrap();
        assert_eq!(&body[..len], b"user");
        assert_eq!(format!("{read:?}"), format!("{:?}", entries()));
    }

    #[test]
    fn length_of_a_table_without_receivers_is_bounded() {
        let memory = || MovedMemory { memory: 'm', bytes: u64::MAX, access: Access::Read };
        let entries: Vec<_> = (0..9).map(|_| Entry::Memory(memory())).collect();
        assert_eq!(written(entries).0.len() - 4, max_bytes(9, false));
        for entry in [sender('a', None), sender('b', Some('t')), Entry::Handle('h')] {
            let count = entry.attachments();
            assert!(written(vec![entry]).0.len() - 4 < max_bytes(count, false));
        }
    }

    #[test]
    fn a_message_without_entries_has_no_table() {
        let mut body = b"user".to_vec();
        assert!(write(Vec::<Entry<char>>::new(), &mut body).is_empty());
        assert_eq!(body, b"user");
        assert!(matches!(read::<char>(b"user", Vec::new(), &Limits::LARGEST), Ok((4, _))));
    }

    #[test]
    fn truncated_tables_are_refused() {
        let (body, attachments) = written(entries());
        for len in 0..body.len() {
            assert!(read_all(&body[..len], attachments.clone()).is_err(), "{len}");
        }
        for begin in 5..body.len() {
            assert!(read_all(&body[begin..], attachments.clone()).is_err(), "{begin}");
        }
    }

    /// Whatever a peer writes, each attachment is in one entry or closed.
    #[test]
    fn table_with_a_changed_byte_is_refused_or_complete() {
        let (body, attachments) = written(entries());
        for at in 4..body.len() {
            for value in [0, 1, 2, 0x7f, 0xff] {
                let mut lie = body.clone();
                lie[at] = value;
                if let Ok(entries) = read_all(&lie, attachments.clone()) {
                    let count = entries.iter().map(Entry::attachments).sum::<usize>();
                    assert_eq!(count, attachments.len(), "{at} {value}");
                }
            }
        }
    }

    #[test]
    fn attachments_that_do_not_fit_are_refused() {
        let (body, attachments) = written(entries());
        let fewer = attachments[1..].to_vec();
        assert_eq!(read_all(&body, fewer).unwrap_err(), TableError::Counts);
        let more = [&attachments[..], &['x']].concat();
        assert_eq!(read_all(&body, more).unwrap_err(), TableError::Counts);
        assert_eq!(read_all(b"no table at all", vec!['x']).unwrap_err(), TableError::Length);
        assert_eq!(read_all(&[0; 8], vec!['x']).unwrap_err(), TableError::Counts);
    }

    #[test]
    fn an_entry_of_another_kind_or_dialect_is_refused() {
        let (mut body, attachments) = written(vec![Entry::Handle('h')]);
        for (at, dialect) in
            [(5, Dialect { version: 9, ..Dialect::OWN }), (6, Dialect { codec: 9, ..Dialect::OWN })]
        {
            let mut body = body.clone();
            body[at] = 9;
            let error = read_all(&body, attachments.clone()).unwrap_err();
            assert_eq!(error, TableError::Foreign(dialect));
        }
        body[4] = 200;
        assert_eq!(read_all(&body, attachments).unwrap_err(), TableError::Kind(200));
    }

    #[test]
    fn each_limit_is_enforced() {
        let limited = |set: fn(&mut Limits)| {
            let mut limits = Limits::LARGEST;
            set(&mut limits);
            let (body, attachments) = written(entries());
            read(&body, attachments, &limits).map(drop)
        };
        let too_many = |kind| Err(TableError::TooManyOf(kind));
        assert_eq!(limited(|limits| limits.message_senders = 1), too_many(EntryKind::Sender));
        assert_eq!(limited(|limits| limits.message_senders = 2), Ok(()));
        assert_eq!(limited(|limits| limits.message_receivers = 2), too_many(EntryKind::Receiver));
        assert_eq!(limited(|limits| limits.message_receivers = 3), Ok(()));
        assert_eq!(limited(|limits| limits.message_memories = 0), too_many(EntryKind::Memory));
        assert_eq!(limited(|limits| limits.message_os_handles = 0), too_many(EntryKind::Handle));
        assert_eq!(limited(|limits| limits.message_handles = 6), Err(TableError::TooMany));
        assert_eq!(limited(|limits| limits.message_handles = 7), Ok(()));
        assert_eq!(limited(|limits| limits.message_bytes = 3), Err(TableError::TooLong));
        assert_eq!(limited(|limits| limits.message_bytes = 4), Ok(()));
    }

    #[test]
    fn channel_admits_the_entries_of_its_capabilities() {
        let only = |bits| Capabilities(bits);
        let memory = |access| Entry::Memory(MovedMemory { memory: 'm', bytes: 1, access });
        assert!(entries().iter().all(|entry| Capabilities::ALL.admit(entry)));
        assert!(!entries().iter().any(|entry| only(1 << 30).admit(entry)));
        assert!(only(Capabilities::HANDLES).admit(&Entry::Handle('h')));
        assert!(only(Capabilities::ENDPOINTS).admit(&sender('a', None)));
        assert!(only(Capabilities::ENDPOINTS).admit(&plain_receiver()));
        assert!(only(Capabilities::MEMORY).admit(&memory(Access::Fixed)));
        assert!(!only(Capabilities::MEMORY).admit(&memory(Access::Read)));
        assert!(only(Capabilities::SHARED_MEMORY).admit(&memory(Access::Write)));
    }
}

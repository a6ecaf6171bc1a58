//! Reassembly of large messages from their parts.
//!
//! Parts of several messages may be held here at the same time. So a sender that stops in the
//! middle of a message does not block others. The amount that is held is limited. When the limit is
//! reached, the message that has been idle longest is discarded, if it has been idle for
//! [`SILENCE`]. Otherwise the new message is refused. In both cases one error is reported for the
//! discarded message, and its further parts are dropped without another.
//!
//! Memory is allocated only for what has arrived, never for what a part announces.
//!
//! A separate index orders the messages by their last progress, so that the one to discard is the
//! first of it. A peer can fill all places, and a search through them for each new message would be
//! work that the peer multiplies. The map and the index are trees, which need no randomness; a
//! sandbox may forbid it.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use super::frame::{Malformed, Position};
use super::limits::Limits;

/// How long an incomplete message may be idle before it may be discarded in favour of others.
pub const SILENCE: Duration = Duration::from_secs(1);

/// How much memory is reserved ahead of what has arrived: this multiple of it. For a message that
/// is the only one, it is as much as the last one had, up to a limit. A peer pays for it in
/// proportion, and reserved memory costs nothing before it is used.
const AHEAD: usize = 16;
const MAX_RESERVE: usize = 64 << 20;

/// The incomplete messages of one receiver, with attachments of type `A`.
pub struct Assembly<A> {
    messages: BTreeMap<u128, Entry<A>>,
    /// The same messages, ordered by class and last progress.
    order: BTreeSet<Place>,
    /// How many of them can still be completed.
    open: usize,
    /// The turn of the next progress.
    next_turn: u64,
    /// The sums over all messages.
    bytes: usize,
    attachments: usize,
    /// How many attachments are held in all assemblies that share this counter.
    waiting: &'static AtomicUsize,
    limits: Limits,
    /// The size of the last completed message, within limits: as much is reserved for the next.
    usual: usize,
}

/// The bytes and attachments of a complete message.
pub type Whole<A> = (Vec<u8>, Vec<A>);

/// The content of an assembly that was taken apart.
#[derive(Debug)]
pub struct Contents<A> {
    /// Messages that can still be completed.
    pub incomplete: Vec<Incomplete<A>>,
    /// Messages that cannot, so that their further parts are recognised.
    pub lost: Vec<Lost>,
}

/// A message that will not be completed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lost {
    /// The id of the message.
    pub id: u128,
    /// Whether an error was reported for it.
    pub is_told: bool,
}

/// A message of which parts are missing.
#[derive(PartialEq, Eq)]
pub struct Incomplete<A> {
    /// The id of the message.
    pub id: u128,
    /// Its announced number of bytes.
    pub total_bytes: u64,
    /// Its announced number of attachments.
    pub total_attachments: u32,
    /// Its bytes so far.
    pub bytes: Vec<u8>,
    /// Its attachments so far.
    pub attachments: Vec<A>,
}

struct Entry<A> {
    message: Incomplete<A>,
    /// How many of its bytes are accounted for.
    bytes: usize,
    fate: Fate,
    progress: Instant,
    /// The turn of its last progress, a number that no other message has.
    turn: u64,
}

impl<A> Entry<A> {
    fn place(&self) -> Place {
        let class = match self.fate {
            Fate::Open if self.message.attachments.is_empty() => Class::Open,
            Fate::Open => Class::OpenWithAttachments,
            Fate::GaveWay | Fate::Lost => Class::Over,
        };
        Place { class, turn: self.turn, id: self.message.id }
    }
}

/// The position of a message in the index.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Place {
    class: Class,
    turn: u64,
    id: u128,
}

/// What is gained by discarding a message: a place, bytes, or attachments as well.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Class {
    Over,
    Open,
    OpenWithAttachments,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fate {
    /// It can still be completed.
    Open,
    /// It was discarded in favour of others, and no error was reported yet.
    GaveWay,
    /// It was discarded, and an error was reported.
    Lost,
}

/// Prints numbers only: messages of a peer may be long, and are confidential.
impl<A> fmt::Debug for Assembly<A> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Assembly")
            .field("messages", &self.messages.len())
            .field("bytes", &self.bytes)
            .field("attachments", &self.attachments)
            .finish()
    }
}

impl<A> fmt::Debug for Incomplete<A> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Incomplete")
            .field("bytes", &self.bytes.len())
            .field("of_bytes", &self.total_bytes)
            .field("attachments", &self.attachments.len())
            .field("of_attachments", &self.total_attachments)
            .finish()
    }
}

impl<A> Drop for Assembly<A> {
    fn drop(&mut self) {
        self.waiting.fetch_sub(self.attachments, Ordering::Relaxed);
    }
}

impl<A> Assembly<A> {
    /// Makes an empty assembly. `waiting` counts the attachments of all assemblies that share it.
    pub fn new(waiting: &'static AtomicUsize) -> Assembly<A> {
        Assembly {
            messages: BTreeMap::new(),
            order: BTreeSet::new(),
            open: 0,
            next_turn: 0,
            bytes: 0,
            attachments: 0,
            waiting,
            limits: Limits::default(),
            usual: 0,
        }
    }

    /// Sets the limits for what is added from now on. What is held already may exceed them.
    pub fn limit(&mut self, limits: Limits) {
        self.limits = limits;
    }

    /// Adds a part, and returns the message if that completes it. At most `max_attachments` may be
    /// held in all assemblies that share a counter.
    ///
    /// # Errors
    ///
    /// [`Malformed`] if the part fits no message or its message was discarded, once for each
    /// message.
    pub fn add(
        &mut self,
        id: u128,
        position: Position,
        body: &[u8],
        attachments: Vec<A>,
        max_attachments: usize,
    ) -> Result<Option<Whole<A>>, Malformed> {
        if let Position::First { bytes, attachments } = position {
            self.begin(id, bytes, attachments)?;
        }
        let is_last = position == Position::Last;
        if !self.admit(id, is_last, body.len(), attachments.len(), max_attachments)? {
            return Ok(None);
        }
        let usual = self.usual();
        let entry = self.messages.get_mut(&id).ok_or(Malformed::Unknown)?;
        if !entry.message.reserve(body.len(), usual) {
            self.lose(id, is_last);
            return Err(Malformed::NoMemory);
        }
        self.take_in(id, is_last, attachments, |message| message.bytes.extend_from_slice(body))
    }

    /// Lends the bytes of a message, so that its next part is received in its place. The caller
    /// gives them back with [`give_back`](Assembly::give_back) or
    /// [`add_in_place`](Assembly::add_in_place).
    pub fn lend(&mut self, id: u128) -> Option<Vec<u8>> {
        let usual = self.usual();
        let entry = self.messages.get_mut(&id).filter(|entry| entry.fate == Fate::Open)?;
        // If only attachments of a message are missing, no more bytes are received.
        let is_short = (entry.message.bytes.len() as u64) < entry.message.total_bytes;
        let has_room = entry.message.reserve(usize::from(is_short), usual);
        has_room.then(|| std::mem::take(&mut entry.message.bytes))
    }

    /// Returns how much to reserve for a message, if it is the only one.
    fn usual(&self) -> usize {
        if self.messages.len() == 1 { self.usual } else { 0 }
    }

    /// Takes lent bytes back unchanged.
    pub fn give_back(&mut self, id: u128, bytes: Vec<u8>) {
        if let Some(entry) = self.messages.get_mut(&id) {
            entry.message.bytes = bytes;
        }
    }

    /// Takes lent bytes back with a part of the message appended, and adds that part like
    /// [`add`](Assembly::add).
    ///
    /// # Errors
    ///
    /// The errors of [`add`](Assembly::add).
    pub fn add_in_place(
        &mut self,
        id: u128,
        position: Position,
        bytes: Vec<u8>,
        attachments: Vec<A>,
        max_attachments: usize,
    ) -> Result<Option<Whole<A>>, Malformed> {
        let is_last = position == Position::Last;
        let before = self.messages.get(&id).map_or(0, |entry| entry.bytes);
        let new = bytes.len().saturating_sub(before);
        if !self.admit(id, is_last, new, attachments.len(), max_attachments)? {
            return Ok(None);
        }
        self.take_in(id, is_last, attachments, |message| message.bytes = bytes)
    }

    /// Returns whether a part may be added; `false` if its message was discarded and an error was
    /// reported.
    fn admit(
        &mut self,
        id: u128,
        is_last: bool,
        bytes: usize,
        attachments: usize,
        max_attachments: usize,
    ) -> Result<bool, Malformed> {
        let entry = self.messages.get_mut(&id).ok_or(Malformed::Unknown)?;
        if entry.fate != Fate::Open {
            // Both are in the same class, so this changes no order.
            let fate = std::mem::replace(&mut entry.fate, Fate::Lost);
            if is_last {
                self.remove(id);
            }
            return if fate == Fate::GaveWay { Err(Malformed::Quota) } else { Ok(false) };
        }
        if entry.message.fits(entry.bytes + bytes, attachments) != Some(is_last) {
            self.lose(id, is_last);
            return Err(Malformed::Part);
        }
        if !is_last && !self.make_room(id, bytes, attachments, max_attachments) {
            self.lose(id, is_last);
            return Err(Malformed::Quota);
        }
        Ok(true)
    }

    fn take_in(
        &mut self,
        id: u128,
        is_last: bool,
        attachments: Vec<A>,
        append: impl FnOnce(&mut Incomplete<A>),
    ) -> Result<Option<Whole<A>>, Malformed> {
        if is_last {
            let mut message = self.remove(id).ok_or(Malformed::Unknown)?;
            append(&mut message);
            message.attachments.extend(attachments);
            message.bytes.shrink_to_fit();
            self.usual = message.bytes.len().min(MAX_RESERVE);
            return Ok(Some((message.bytes, message.attachments)));
        }
        let turn = self.next_turn();
        let entry = self.messages.get_mut(&id).ok_or(Malformed::Unknown)?;
        self.order.remove(&entry.place());
        append(&mut entry.message);
        self.bytes += entry.message.bytes.len() - entry.bytes;
        entry.bytes = entry.message.bytes.len();
        self.attachments += attachments.len();
        self.waiting.fetch_add(attachments.len(), Ordering::Relaxed);
        entry.message.attachments.extend(attachments);
        entry.progress = Instant::now();
        entry.turn = turn;
        self.order.insert(entry.place());
        Ok(None)
    }

    /// Discards a message of which a part was not received whole. Returns whether it has to be
    /// reported.
    pub fn damage(&mut self, id: u128, position: Position) -> bool {
        let was_open = self.messages.get(&id).is_none_or(|entry| entry.fate != Fate::Lost);
        if let Position::First { bytes, attachments } = position {
            // So that further parts are recognised as its own.
            let _ = self.begin(id, bytes, attachments);
        }
        self.lose(id, position == Position::Last);
        was_open
    }

    /// Forgets a message that its sender aborted.
    ///
    /// # Errors
    ///
    /// [`Malformed::Unknown`] if there is no such message.
    pub fn abort(&mut self, id: u128) -> Result<(), Malformed> {
        self.remove(id).map(drop).ok_or(Malformed::Unknown)
    }

    /// Returns whether no message is held that can still be completed.
    pub fn is_empty(&self) -> bool {
        self.open == 0
    }

    /// Takes all messages out, so that they can be added to another assembly.
    pub fn into_contents(mut self) -> Contents<A> {
        let mut contents = Contents { incomplete: Vec::new(), lost: Vec::new() };
        for (id, entry) in std::mem::take(&mut self.messages) {
            match entry.fate {
                Fate::Open => contents.incomplete.push(entry.message),
                fate => contents.lost.push(Lost { id, is_told: fate == Fate::Lost }),
            }
        }
        contents
    }

    /// Adds a message that another assembly discarded.
    pub fn remember(&mut self, lost: Lost) {
        if self.begin(lost.id, 0, 0).is_ok() {
            self.empty(lost.id, if lost.is_told { Fate::Lost } else { Fate::GaveWay });
        }
    }

    /// Adds a message of which another assembly has parts. It is discarded if it exceeds the limits
    /// or contradicts itself.
    pub fn resume(&mut self, message: Incomplete<A>, max_attachments: usize) {
        let id = message.id;
        if self.begin(id, message.total_bytes, message.total_attachments).is_err() {
            return;
        }
        let (bytes, attachments) = (message.bytes.len(), message.attachments.len());
        let Some(entry) = self.messages.get_mut(&id) else {
            return;
        };
        if entry.message.fits(bytes, attachments) != Some(false)
            || !self.make_room(id, bytes, attachments, max_attachments)
        {
            return self.empty(id, Fate::GaveWay);
        }
        if let Some(entry) = self.messages.get_mut(&id) {
            self.order.remove(&entry.place());
            entry.message = message;
            self.order.insert(entry.place());
            entry.bytes = bytes;
            self.bytes += bytes;
            self.attachments += attachments;
            self.waiting.fetch_add(attachments, Ordering::Relaxed);
        }
    }

    fn begin(
        &mut self,
        id: u128,
        total_bytes: u64,
        total_attachments: u32,
    ) -> Result<(), Malformed> {
        if self.messages.contains_key(&id) {
            self.lose(id, false);
            return Err(Malformed::Part);
        }
        let message = Incomplete {
            id,
            total_bytes,
            total_attachments,
            bytes: Vec::new(),
            attachments: Vec::new(),
        };
        let refused = if !self.limits.admit(total_bytes, total_attachments as usize) {
            Some(Malformed::TooLarge)
        } else if !self.make_place() {
            Some(Malformed::Quota)
        } else {
            None
        };
        // A refused message is remembered, so that its further parts are recognised.
        let fate = if refused.is_some() { Fate::Lost } else { Fate::Open };
        let turn = self.next_turn();
        let entry = Entry { message, bytes: 0, fate, progress: Instant::now(), turn };
        self.open += usize::from(fate == Fate::Open);
        self.order.insert(entry.place());
        self.messages.insert(id, entry);
        refused.map_or(Ok(()), Err)
    }

    fn next_turn(&mut self) -> u64 {
        self.next_turn += 1;
        self.next_turn
    }

    /// Makes a place for one more message, by discarding an idle one.
    fn make_place(&mut self) -> bool {
        let most = self.limits.incomplete_messages;
        if self.messages.len() >= 2 * most {
            let over = self.first_of(Class::Over, None);
            over.and_then(|place| self.remove(place.id));
        }
        self.open < most || self.give_way(Class::Open, None)
    }

    /// Makes room for more of message `id`, by discarding idle ones. Two receivers that do so at
    /// the same time may exceed the limit on attachments by those of one packet.
    fn make_room(
        &mut self,
        id: u128,
        bytes: usize,
        attachments: usize,
        max_attachments: usize,
    ) -> bool {
        let total_attachments =
            self.messages.get(&id).map_or(0, |entry| entry.message.total_attachments);
        let most_bytes = self.limits.max_incomplete_bytes(total_attachments as usize);
        loop {
            let too_many_bytes = self.bytes + bytes > most_bytes;
            let waiting = self.waiting.load(Ordering::Relaxed);
            let too_many_attachments =
                attachments > 0 && waiting.saturating_add(attachments) > max_attachments;
            if !too_many_bytes && !too_many_attachments {
                return true;
            }
            let class = if too_many_bytes { Class::Open } else { Class::OpenWithAttachments };
            if !self.give_way(class, Some(id)) {
                return false;
            }
        }
    }

    /// Discards the open message that has been idle longest, other than `newcomer`. It has to be of
    /// this class or one that gains more, and has to have been idle long enough.
    fn give_way(&mut self, class: Class, newcomer: Option<u128>) -> bool {
        let candidates = [class, Class::OpenWithAttachments];
        let candidates = candidates.into_iter().filter_map(|class| self.first_of(class, newcomer));
        let Some(place) = candidates.min_by_key(|place| place.turn) else { return false };
        let is_silent =
            self.messages.get(&place.id).is_some_and(|entry| entry.progress.elapsed() >= SILENCE);
        if is_silent {
            self.empty(place.id, Fate::GaveWay);
        }
        is_silent
    }

    /// Returns the message of a class whose last progress is longest ago, other than `newcomer`.
    fn first_of(&self, class: Class, newcomer: Option<u128>) -> Option<Place> {
        let first = Place { class, turn: 0, id: 0 };
        let mut places = self.order.range(first..).take_while(|place| place.class == class);
        places.find(|place| Some(place.id) != newcomer).copied()
    }

    fn lose(&mut self, id: u128, is_over: bool) {
        self.empty(id, Fate::Lost);
        if is_over {
            self.remove(id);
        }
    }

    fn empty(&mut self, id: u128, fate: Fate) {
        if let Some(entry) = self.messages.get_mut(&id) {
            self.order.remove(&entry.place());
            self.open -= usize::from(entry.fate == Fate::Open);
            self.bytes -= std::mem::take(&mut entry.bytes);
            self.attachments -= entry.message.attachments.len();
            self.waiting.fetch_sub(entry.message.attachments.len(), Ordering::Relaxed);
            entry.message.bytes = Vec::new();
            entry.message.attachments = Vec::new();
            entry.fate = fate;
            self.order.insert(entry.place());
        }
    }

    fn remove(&mut self, id: u128) -> Option<Incomplete<A>> {
        let entry = self.messages.remove(&id)?;
        self.order.remove(&entry.place());
        self.open -= usize::from(entry.fate == Fate::Open);
        self.bytes -= entry.bytes;
        self.attachments -= entry.message.attachments.len();
        self.waiting.fetch_sub(entry.message.attachments.len(), Ordering::Relaxed);
        Some(entry.message)
    }
}

impl<A> Incomplete<A> {
    /// Returns whether the message would be complete with so many more bytes and attachments;
    /// `None` if that would be too much.
    fn fits(&self, bytes: usize, attachments: usize) -> Option<bool> {
        let bytes = bytes as u64;
        let attachments = self.attachments.len() + attachments;
        let total_attachments = self.total_attachments as usize;
        let fits = bytes <= self.total_bytes && attachments <= total_attachments;
        fits.then_some(bytes == self.total_bytes && attachments == total_attachments)
    }

    /// Makes room for `len` more bytes, and ahead of that for a multiple of the present ones or for
    /// `usual`, so that little is moved. Never reserves more than announced, so that the finished
    /// message is exactly as large as its content. Returns `false` if there is no memory.
    fn reserve(&mut self, len: usize, usual: usize) -> bool {
        if self.bytes.capacity() - self.bytes.len() >= len {
            return true;
        }
        let missing = self.total_bytes.saturating_sub(self.bytes.len() as u64);
        let ahead = (self.bytes.len() + len).saturating_mul(AHEAD).max(usual);
        let ahead = usize::try_from(missing).map_or(ahead, |all| all.min(ahead));
        self.bytes.try_reserve_exact(ahead.max(len)).is_ok()
            || self.bytes.try_reserve_exact(len).is_ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::channel::limits::{MAX_INCOMPLETE_MESSAGES, MAX_MESSAGE_BYTES};

    const NO_LIMIT: usize = usize::MAX;

    fn first(bytes: u64, attachments: u32) -> Position {
        Position::First { bytes, attachments }
    }

    /// A counter that no other test shares.
    macro_rules! own_counter {
        () => {{
            static WAITING: AtomicUsize = AtomicUsize::new(0);
            &WAITING
        }};
    }

    #[test]
    fn parts_of_several_messages_interleave() {
        let mut assembly = Assembly::new(own_counter!());
        assert_eq!(assembly.add(1, first(6, 1), b"ab", vec![], NO_LIMIT), Ok(None));
        assert_eq!(assembly.add(2, first(3, 0), b"x", vec![], NO_LIMIT), Ok(None));
        assert_eq!(assembly.add(1, Position::Middle, b"cd", vec!['h'], NO_LIMIT), Ok(None));
        let second = assembly.add(2, Position::Last, b"yz", vec![], NO_LIMIT);
        assert_eq!(second, Ok(Some((b"xyz".to_vec(), vec![]))));
        let first = assembly.add(1, Position::Last, b"ef", vec![], NO_LIMIT);
        let (bytes, attachments) = first.unwrap().unwrap();
        assert_eq!((&bytes[..], attachments), (&b"abcdef"[..], vec!['h']));
        assert_eq!(bytes.capacity(), bytes.len());
        assert_eq!((assembly.bytes, assembly.attachments), (0, 0));
    }

    #[test]
    fn malformed_part_is_one_error() {
        let mut assembly = Assembly::<char>::new(own_counter!());
        assembly.add(1, first(4, 0), b"ab", vec![], NO_LIMIT).unwrap();
        let too_much = assembly.add(1, Position::Middle, b"cdef", vec![], NO_LIMIT);
        assert_eq!(too_much, Err(Malformed::Part));
        assert_eq!(assembly.add(1, Position::Middle, b"c", vec![], NO_LIMIT), Ok(None));
        assert_eq!(assembly.add(1, Position::Last, b"d", vec![], NO_LIMIT), Ok(None));
        let after_the_end = assembly.add(1, Position::Last, b"d", vec![], NO_LIMIT);
        assert_eq!(after_the_end, Err(Malformed::Unknown));
        assert_eq!(assembly.bytes, 0);
    }

    #[test]
    fn announced_lengths_reserve_no_memory() {
        let mut assembly = Assembly::<char>::new(own_counter!());
        let bomb = assembly.add(1, first(u64::MAX, 0), b"", vec![], NO_LIMIT);
        assert_eq!(bomb, Err(Malformed::TooLarge));
        let bomb = assembly.add(2, first(1, u32::MAX), b"", vec![], NO_LIMIT);
        assert_eq!(bomb, Err(Malformed::TooLarge));
        assembly.add(3, first(MAX_MESSAGE_BYTES as u64, 0), b"x", vec![], NO_LIMIT).unwrap();
        assert!(assembly.messages[&3].message.bytes.capacity() <= 64);
    }

    #[test]
    fn silent_message_is_discarded_with_one_error() {
        let mut assembly = Assembly::new(own_counter!());
        assembly.add(1, first(9, 3), b"a", vec!['a', 'b'], 3).unwrap();
        assembly.add(2, first(9, 3), b"b", vec!['c'], 3).unwrap();
        // Neither has been silent for long: the newcomer is refused.
        let refused = assembly.add(3, first(9, 3), b"c", vec!['d'], 3);
        assert_eq!(refused, Err(Malformed::Quota));
        assembly.messages.get_mut(&1).unwrap().progress -= SILENCE;
        assembly.add(4, first(9, 3), b"d", vec!['e'], 3).unwrap();
        let silent = assembly.add(1, Position::Middle, b"a", vec![], 3);
        assert_eq!(silent, Err(Malformed::Quota));
        assert_eq!(assembly.add(1, Position::Last, b"a", vec![], 3), Ok(None));
        assert_eq!(assembly.attachments, 2);
    }

    #[test]
    fn moved_messages_are_completed_in_another_assembly() {
        let waiting = own_counter!();
        let mut here = Assembly::new(waiting);
        here.add(1, first(4, 1), b"ab", vec!['a'], NO_LIMIT).unwrap();
        here.add(2, first(1, 0), b"abc", vec![], NO_LIMIT).unwrap_err();
        assert_eq!(waiting.load(Ordering::Relaxed), 1);
        let Contents { mut incomplete, lost } = here.into_contents();
        assert_eq!(waiting.load(Ordering::Relaxed), 0);
        assert_eq!(lost, [Lost { id: 2, is_told: true }]);
        let mut there = Assembly::new(waiting);
        there.resume(incomplete.remove(0), NO_LIMIT);
        there.remember(lost[0]);
        there.remember(Lost { id: 3, is_told: false });
        let whole = there.add(1, Position::Last, b"cd", vec![], NO_LIMIT);
        assert_eq!(whole, Ok(Some((b"abcd".to_vec(), vec!['a']))));
        // Of what was lost there is one error in all.
        assert_eq!(there.add(2, Position::Middle, b"a", vec![], NO_LIMIT), Ok(None));
        assert_eq!(there.add(2, Position::Last, b"a", vec![], NO_LIMIT), Ok(None));
        let untold = there.add(3, Position::Middle, b"a", vec![], NO_LIMIT);
        assert_eq!(untold, Err(Malformed::Quota));
        assert_eq!(there.add(3, Position::Last, b"a", vec![], NO_LIMIT), Ok(None));
        assert_eq!(there.messages.len(), 0);
    }

    #[test]
    fn moved_message_without_room_is_discarded_alone() {
        let waiting = own_counter!();
        let mut here = Assembly::new(waiting);
        here.add(1, first(4, 2), b"ab", vec!['a', 'b'], NO_LIMIT).unwrap();
        here.add(2, first(2, 1), b"a", vec!['c'], NO_LIMIT).unwrap();
        let mut contents = here.into_contents();
        contents.incomplete.sort_by_key(|message| message.id);
        let mut there = Assembly::new(waiting);
        contents.incomplete.into_iter().for_each(|message| there.resume(message, 2));
        assert_eq!(waiting.load(Ordering::Relaxed), 2);
        assert_eq!(there.add(2, Position::Last, b"b", vec![], 2), Err(Malformed::Quota));
        let whole = there.add(1, Position::Last, b"cd", vec![], 2);
        assert_eq!(whole, Ok(Some((b"abcd".to_vec(), vec!['a', 'b']))));
    }

    #[test]
    fn attachments_are_counted_over_all_receivers() {
        let waiting = own_counter!();
        let mut first_of_two = Assembly::new(waiting);
        let mut second = Assembly::new(waiting);
        first_of_two.add(1, first(9, 3), b"a", vec!['a', 'b'], 3).unwrap();
        let refused = second.add(1, first(9, 3), b"a", vec!['c', 'd'], 3);
        assert_eq!(refused, Err(Malformed::Quota));
        // Bytes alone are no matter of handles.
        second.add(2, first(9, 3), b"a", vec![], 3).unwrap();
        drop(first_of_two);
        second.add(2, Position::Middle, b"a", vec!['c', 'd'], 3).unwrap();
        assert_eq!(waiting.load(Ordering::Relaxed), 2);
        second.abort(2).unwrap();
        assert_eq!(waiting.load(Ordering::Relaxed), 0);
    }

    /// Checks that the index contains the same as a search through all messages.
    fn assert_in_order(assembly: &Assembly<char>) {
        let places: BTreeSet<Place> = assembly.messages.values().map(Entry::place).collect();
        assert_eq!(assembly.order, places);
        let is_open = |entry: &&Entry<char>| entry.fate == Fate::Open;
        assert_eq!(assembly.open, assembly.messages.values().filter(is_open).count());
        for class in [Class::Over, Class::Open, Class::OpenWithAttachments] {
            let searched = assembly.messages.values().filter(|entry| entry.place().class == class);
            let searched = searched.min_by_key(|entry| (entry.progress, entry.turn));
            assert_eq!(assembly.first_of(class, None), searched.map(Entry::place));
        }
    }

    #[test]
    fn next_message_to_discard_is_first_in_order() {
        let mut assembly = Assembly::new(own_counter!());
        assembly.limit(Limits { incomplete_messages: 8, incomplete_bytes: 60, ..Limits::LARGEST });
        let mut ids = 0..;
        for round in 0..2000_u32 {
            // Steps without a common divisor with each other, so that all combinations come.
            let (id, attachments) = (u128::from(round * 7 % 31), round % 3 / 2);
            let handles = vec!['h'; attachments as usize];
            match round % 11 {
                0..4 => {
                    drop(assembly.add(ids.next().unwrap() % 31, first(9, 2), b"ab", handles, 5))
                }
                4..8 => drop(assembly.add(id, Position::Middle, b"c", handles, 5)),
                8 => drop(assembly.add(id, Position::Last, b"cdefghi", vec![], 5)),
                9 => drop(assembly.damage(id, Position::Middle)),
                _ => assembly.remember(Lost { id: id + 40, is_told: attachments == 0 }),
            }
            if round % 13 == 0 {
                assembly.messages.values_mut().for_each(|entry| entry.progress -= SILENCE);
            }
            if round % 50 == 0 {
                let _ = assembly.abort(id);
            }
            assert_in_order(&assembly);
        }
        assert!(assembly.messages.len() <= 16);
    }

    #[test]
    fn oldest_discarded_message_is_forgotten_first() {
        let mut assembly = Assembly::<char>::new(own_counter!());
        let most = 2 * MAX_INCOMPLETE_MESSAGES as u128;
        for id in 0..100_000 {
            assembly.remember(Lost { id, is_told: true });
        }
        assert_in_order(&assembly);
        let ids: Vec<u128> = assembly.messages.keys().copied().collect();
        assert_eq!(ids, (100_000 - most..100_000).collect::<Vec<_>>());
    }

    #[test]
    fn number_of_incomplete_messages_is_limited() {
        let mut assembly = Assembly::<char>::new(own_counter!());
        for id in 0..MAX_INCOMPLETE_MESSAGES as u128 {
            assembly.add(id, first(9, 0), b"", vec![], NO_LIMIT).unwrap();
        }
        // However slow this machine is, none of them has been silent for long.
        assembly.messages.values_mut().for_each(|entry| entry.progress += SILENCE * 3600);
        for id in 5000..6100 {
            let refused = assembly.add(id, first(9, 0), b"", vec![], NO_LIMIT);
            assert_eq!(refused, Err(Malformed::Quota));
            assert_eq!(assembly.add(id, Position::Middle, b"x", vec![], NO_LIMIT), Ok(None));
        }
        assert!(assembly.messages.len() <= 2 * MAX_INCOMPLETE_MESSAGES);
    }
}

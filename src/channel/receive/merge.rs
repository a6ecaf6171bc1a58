//! Rings and a socket as one channel: decides which message is next.
//!
//! Each of them is an ordered queue. Between them, the stamps tell what was sent first, as far as
//! that can be known. If one `send` returned before another was called, its stamp is less. The
//! least visible stamp need not be the next message: an earlier message may have become visible
//! meanwhile in a place that was checked before. Therefore:
//!
//! 1. check the rings: what is published, is *before*;
//! 2. read the socket, until nothing more is there;
//! 3. check the rings again: what is published, is *visible*;
//! 4. of what is visible and what came by socket, take the least. If it came by socket or was
//!    before, it is next. If not, it may be later than something that was missed: what is visible
//!    now becomes what was before, and continue with 2.
//!
//! As long as step 4 finds a message, nothing is checked again: a batch of messages costs one
//! check. Of the messages by socket, too, the least is next and not the first. So a false stamp
//! only reorders the messages of the sender that wrote it. If the socket has too much to be read
//! completely, it has to be read again after each message.
//!
//! A receiver that wants [no more than each sender's own order](Ordering::PerSender) takes what is
//! visible without reading the socket, and need not confirm it. The exception is a record whose
//! flag says that its sender has sent something by socket since the record before. If there is
//! something to be read from the socket, stamps order that and the rings as above: those of one
//! sender always grow.
//!
//! This file is pure: it knows the socket and the rings as a [`PacketSource`] and a [`RingSource`].
//! `tests/ordering.rs` implements these on a model of processes that send, and executes the
//! [steps](Merge::step) with everything that processes can do between two of them. It shows that
//! the algorithm is enough, and that no step of it can be left out.

use std::collections::VecDeque;

use crate::channel::options::Ordering;

/// After so many messages in a row from rings, the socket has its turn.
pub const MAX_WITHOUT_SOCKET: u32 = 64;

/// A message that came by socket.
pub trait Stamped {
    /// Returns the time when it was sent.
    fn stamp(&self) -> u64;

    /// Sets the time that it counts as sent at.
    fn set_stamp(&mut self, stamp: u64);
}

/// The socket of a channel.
pub trait PacketSource {
    /// A message that comes by socket.
    type Queued: Stamped;
    /// Why the socket cannot be read.
    type Error;

    /// Reads one packet, without blocking, unless enough messages are in `queue`.
    fn read(&mut self, queue: QueueState) -> Result<Read<Self::Queued>, Self::Error>;

    /// Returns the greatest stamp that can be true now.
    fn latest_stamp(&self) -> u64;
}

/// The queue of messages that came by socket.
#[derive(Clone, Copy, Debug)]
pub struct QueueState {
    /// How many there are.
    pub len: usize,
    /// More has to be read before any record can be taken.
    pub must_read: bool,
}

/// The result of reading one packet.
#[derive(Debug)]
pub enum Read<Q> {
    /// It completes a message.
    Message(Q),
    /// It does not.
    Nothing,
    /// Nothing is left in the socket.
    Empty,
    /// Nothing is left in the socket, and nothing more will come.
    Disconnected,
    /// No packet was read, because enough messages are in the queue.
    Full,
    /// No packet was read, because many were. There may be more.
    Busy,
    /// A packet could not be read for now.
    Refused,
}

/// The rings of a channel.
pub trait RingSource {
    /// A message that comes by ring.
    type Record;
    /// What is wrong with a ring.
    type Fault;

    /// Returns whether records may be taken without reading the socket, if their sender has sent
    /// nothing by socket meanwhile.
    fn may_look_ahead(&self) -> bool;

    /// Checks the rings: what is published now, is before. Returns `false` if there are more to
    /// check, so that it has to be called again.
    fn look_before(&mut self) -> bool;

    /// Checks the rings: what is published now, is visible. Returns `false` if there are more to
    /// check, so that it has to be called again.
    fn look(&mut self) -> bool;

    /// Returns whether anything is visible.
    fn has_more(&self) -> bool;

    /// What is visible now becomes what was before.
    fn confirm(&mut self);

    /// Calls `visit` for each ring that has something visible, with its number.
    fn fronts(&mut self, visit: impl FnMut(usize, Front)) -> Result<(), Self::Fault>;

    /// Returns whether the front of a ring was before.
    fn was_before(&mut self, ring: usize) -> Result<bool, Self::Fault>;

    /// Takes the front of a ring.
    fn take(&mut self, ring: usize) -> Result<Self::Record, Self::Fault>;
}

/// What is first in a ring.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Front {
    /// A message.
    Record {
        /// Its stamp.
        stamp: u64,
        /// Its sender has sent something by socket since the record before.
        is_after_socket: bool,
        /// A message was taken from the ring before. The first was sent after the ring was
        /// announced by socket, and the announcement was read.
        was_read: bool,
    },
    /// A message with this stamp that one check has not taken in completely.
    Stopped(u64),
}

/// Rings and a socket as one channel.
#[derive(Debug)]
pub struct Merge<Q> {
    /// The messages from the socket, the earliest first.
    pub queue: VecDeque<Q>,
    /// Messages that moved here with the receiver, the earliest first. They may be from rings, and
    /// so be later than messages that are still in the socket: they do not keep it from being read.
    moved: VecDeque<Q>,
    /// The latest stamp of what came by socket.
    last_arrival: u64,
    ordering: Ordering,
    /// How much of the algorithm is done.
    pub state: MergeState,
}

/// How much of the algorithm is done, and what was found.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct MergeState {
    /// The steps that are done.
    pub progress: Progress,
    /// The result of step 2, if it was done in this call.
    pub socket: Option<SocketRead>,
    /// The socket had nothing more.
    pub is_all_read: bool,
    /// The socket was not read to its end, and there may be anything in it. A record that was sent
    /// after something by socket waits.
    pub is_cut_short: bool,
    /// Only such records are left, so more has to be read.
    pub must_read: bool,
    /// How many messages came from rings since the socket was read.
    pub without_socket: u32,
    /// Step 3 alone has found something in this call. If it is not a message yet, the socket has to
    /// be read: it must not wait for the rest of that message.
    pub has_looked_ahead: bool,
}

/// Which steps are done.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Progress {
    /// None.
    Nothing,
    /// Step 3 alone, in the hope that it is enough. It found nothing.
    LookedAhead,
    /// Step 1.
    Before,
    /// Steps 1 and 2.
    Read,
    /// Steps 1 to 3, or step 3 alone.
    Visible,
}

/// The result of step 2.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum SocketRead {
    /// Nothing is left in it, or no more may be read ahead.
    Drained,
    /// There may be more packets in it.
    MaybeMore,
    /// The channel is disconnected.
    Disconnected,
}

/// The result of step 4.
#[derive(Debug)]
pub enum Next<Q, R, F> {
    /// The next message is from a ring.
    Record(R),
    /// The next message came by socket.
    Queued(Q),
    /// The next message moved here with the receiver.
    Moved(Q),
    /// A ring has more of an earlier message than one check takes in: check again.
    MoreToScan,
    /// Something is wrong with a ring.
    Fault(F),
    /// There is no message.
    Nothing(SocketRead),
}

/// The result of step 4, for a source of packets and rings.
pub type NextOf<S> =
    Next<<S as PacketSource>::Queued, <S as RingSource>::Record, <S as RingSource>::Fault>;

impl<Q: Stamped> Merge<Q> {
    /// Makes a value without messages.
    pub fn new(ordering: Ordering) -> Merge<Q> {
        let state = MergeState {
            progress: Progress::Nothing,
            socket: None,
            is_all_read: false,
            is_cut_short: false,
            must_read: false,
            without_socket: 0,
            has_looked_ahead: false,
        };
        Merge { queue: VecDeque::new(), moved: VecDeque::new(), last_arrival: 0, ordering, state }
    }

    /// Sets which order is kept.
    pub fn set_ordering(&mut self, ordering: Ordering) {
        self.ordering = ordering;
        self.restart();
    }

    /// Begins with step 1 again, unless only that is done. After a message of a socket that was not
    /// read to its end, the socket has to be read before anything else.
    pub fn restart(&mut self) {
        if self.state.progress != Progress::Before {
            self.state.progress = Progress::Nothing;
        }
    }

    /// Begins a call, or goes on with one that has waited. What was found in the socket before does
    /// not tell whether there is something now.
    #[inline]
    pub fn begin(&mut self) {
        self.state.socket = None;
        self.state.has_looked_ahead = false;
    }

    /// Returns the next message, or why there is none. [`begin`](Merge::begin) was called.
    #[inline]
    pub fn next<S>(&mut self, sources: &mut S) -> Result<NextOf<S>, S::Error>
    where
        S: PacketSource<Queued = Q> + RingSource,
    {
        loop {
            if let Some(next) = self.step(sources)? {
                return Ok(next);
            }
        }
    }

    /// Goes on with the algorithm, up to and with one look at the rings or the socket. Returns
    /// `None` if there is more to do.
    #[inline]
    pub fn step<S>(&mut self, sources: &mut S) -> Result<Option<NextOf<S>>, S::Error>
    where
        S: PacketSource<Queued = Q> + RingSource,
    {
        match self.state.progress {
            // 3. Alone, if that is enough.
            Progress::Nothing if self.may_look_ahead(sources) => {
                if sources.look() {
                    self.state.has_looked_ahead = sources.has_more();
                    self.state.progress = if self.state.has_looked_ahead {
                        Progress::Visible
                    } else {
                        Progress::LookedAhead
                    };
                }
            }
            // 1. Check the rings.
            Progress::Nothing | Progress::LookedAhead => {
                if sources.look_before() {
                    self.state.progress = Progress::Before;
                }
            }
            // 2. Read the socket.
            Progress::Before => self.read(sources)?,
            // 3. Check the rings again.
            Progress::Read => {
                if sources.look() {
                    self.state.progress = Progress::Visible;
                }
            }
            // 4. Take the least.
            Progress::Visible => return Ok(self.pick(sources)),
        }
        Ok(None)
    }

    fn may_look_ahead(&self, rings: &impl RingSource) -> bool {
        self.ordering == Ordering::PerSender
            && !self.state.has_looked_ahead
            && self.state.without_socket < MAX_WITHOUT_SOCKET
            && self.is_empty()
            && rings.may_look_ahead()
    }

    /// Does a part of step 2: reads one packet.
    #[inline]
    fn read<S: PacketSource<Queued = Q>>(&mut self, socket: &mut S) -> Result<(), S::Error> {
        let queue = QueueState { len: self.queue.len(), must_read: self.state.must_read };
        match socket.read(queue)? {
            Read::Message(message) => self.add(message, socket.latest_stamp()),
            Read::Nothing => {}
            Read::Empty => self.end_reading(SocketRead::Drained, true),
            Read::Disconnected => self.end_reading(SocketRead::Disconnected, true),
            // The order needs one message of the socket, and has it: what is behind it was put
            // there after it was stamped.
            Read::Full if !self.queue.is_empty() => self.end_reading(SocketRead::Drained, false),
            Read::Full => self.cut_reading_short(SocketRead::MaybeMore),
            Read::Busy => self.end_reading(SocketRead::MaybeMore, false),
            Read::Refused => self.cut_reading_short(SocketRead::Drained),
        }
        Ok(())
    }

    /// Ends step 2. `is_all_read` says whether the socket has nothing more.
    fn end_reading(&mut self, socket: SocketRead, is_all_read: bool) {
        self.state = MergeState {
            progress: Progress::Read,
            socket: Some(socket),
            is_all_read,
            is_cut_short: false,
            must_read: false,
            without_socket: 0,
            ..self.state
        };
    }

    /// Ends step 2 if the socket could not be read as far as the order needs.
    fn cut_reading_short(&mut self, socket: SocketRead) {
        self.end_reading(socket, false);
        self.state.is_cut_short = true;
    }

    /// Does step 4.
    #[inline]
    fn pick<S>(&mut self, sources: &mut S) -> Option<NextOf<S>>
    where
        S: PacketSource<Queued = Q> + RingSource,
    {
        // 4.1. Find the least stamp in the rings, and the earliest message that one check has not
        //      taken in completely.
        let mut least: Option<(u64, bool, usize)> = None;
        let mut stopped: Option<u64> = None;
        let mut has_held = false;
        let is_cut_short = self.state.is_cut_short;
        let visited = sources.fronts(|ring, front| match front {
            Front::Record { is_after_socket: true, was_read: true, .. } if is_cut_short => {
                has_held = true;
            }
            Front::Record { stamp, is_after_socket, .. } => {
                if least.is_none_or(|(other, ..)| stamp < other) {
                    least = Some((stamp, is_after_socket, ring));
                }
            }
            Front::Stopped(stamp) => {
                stopped = Some(stopped.map_or(stamp, |other| other.min(stamp)));
            }
        });
        if let Err(fault) = visited {
            return Some(self.fault(fault));
        }
        // 4.2. Compare with what came by socket.
        let queued = self.first_stamp();
        if let Some(stopped) = stopped {
            let first = least.map(|(stamp, ..)| stamp).into_iter().chain(queued).min();
            if first.is_some_and(|first| stopped <= first) {
                return Some(Next::MoreToScan);
            }
        }
        if let Some(queued) = queued {
            if least.is_none_or(|(stamp, ..)| queued <= stamp) {
                return self.take_queued(queued, sources);
            }
        }
        let Some((_, is_after_socket, ring)) = least else {
            self.state.must_read = has_held;
            self.state.progress = Progress::Nothing;
            // Without a result, the socket was read in an earlier call, or not at all.
            return self.state.socket.take().map(Next::Nothing);
        };
        // 4.3. Something before it may have been missed, unless it was there before.
        if self.ordering == Ordering::Causal || is_after_socket {
            match sources.was_before(ring) {
                Ok(true) => {}
                Ok(false) => {
                    self.confirm(sources);
                    return None;
                }
                Err(fault) => return Some(self.fault(fault)),
            }
        }
        self.state.without_socket = self.state.without_socket.saturating_add(1);
        match sources.take(ring) {
            Ok(record) => Some(Next::Record(record)),
            Err(fault) => Some(self.fault(fault)),
        }
    }

    #[cold]
    fn fault<R, F>(&mut self, fault: F) -> Next<Q, R, F> {
        self.restart();
        Next::Fault(fault)
    }

    /// What is visible now becomes what was before.
    fn confirm(&mut self, rings: &mut impl RingSource) {
        rings.confirm();
        self.state.progress = Progress::Before;
    }

    /// Takes the message that has the stamp [`first_stamp`](Merge::first_stamp).
    fn take_queued<S>(&mut self, first: u64, sources: &mut S) -> Option<NextOf<S>>
    where
        S: PacketSource<Queued = Q> + RingSource,
    {
        // What is behind it in the socket is not known, and may be before what is visible.
        if !self.state.is_all_read {
            self.confirm(sources);
        }
        if self.moved.front().is_some_and(|message| message.stamp() == first) {
            return self.moved.pop_front().map(Next::Moved);
        }
        self.queue.pop_front().map(Next::Queued)
    }

    /// Returns the stamp of the earliest message that is not in a ring.
    #[inline]
    fn first_stamp(&self) -> Option<u64> {
        let fronts = [self.queue.front(), self.moved.front()];
        fronts.into_iter().flatten().map(Stamped::stamp).min()
    }

    /// Adds a message that came by socket. `latest` is the greatest stamp that can be true.
    pub fn add(&mut self, mut message: Q, latest: u64) {
        self.state.is_all_read = false;
        self.correct_stamp(&mut message, latest);
        // In most cases that is the end.
        let place = self.queue.iter().rposition(|other| other.stamp() <= message.stamp());
        self.queue.insert(place.map_or(0, |before| before + 1), message);
    }

    /// Sets the stamp that a message by socket counts as. A stamp in the future is false, or of
    /// another clock. It must not delay other messages if no more is read before it. Nor may it
    /// overtake earlier ones, which may be of the same sender. So it counts as the latest so far.
    fn correct_stamp(&mut self, message: &mut Q, latest: u64) {
        let stamp = message.stamp();
        let stamp = if stamp > latest { self.last_arrival } else { stamp };
        self.last_arrival = self.last_arrival.max(stamp);
        message.set_stamp(stamp);
    }

    /// Adds the messages that had been received and not delivered when the receiver moved. They may
    /// be in any order, and as many as fit beside a message.
    pub fn resume(&mut self, mut messages: Vec<Q>, latest: u64) {
        messages.sort_by_key(Stamped::stamp);
        for message in &mut messages {
            self.correct_stamp(message, latest);
        }
        // There may be very many. In most cases there are no others, and they stay in place.
        if self.moved.is_empty() {
            self.moved = messages.into();
        } else {
            self.moved.extend(messages);
        }
    }

    /// Returns whether no message waits that came by socket or moved here.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.queue.is_empty() && self.moved.is_empty()
    }

    /// Takes the messages that wait.
    pub fn take_messages(&mut self) -> Vec<Q> {
        let mut messages = Vec::from(std::mem::take(&mut self.moved));
        messages.extend(std::mem::take(&mut self.queue));
        messages
    }
}

//! Which sender sends which messages, and what may happen to the senders.

/// Which sender sends which messages.
#[derive(Clone, Debug)]
pub(crate) struct Scenario {
    pub(crate) name: &'static str,
    pub(crate) threads: Vec<Thread>,
    /// The rings that were announced long ago.
    pub(crate) attached: &'static [usize],
    /// The rings that the receiver may retire whenever it likes.
    pub(crate) retired: &'static [usize],
    /// The processes that may die at any time.
    pub(crate) mortal: &'static [usize],
    pub(crate) clock: Clock,
}

/// A thread of a process, and what it sends one after the other.
#[derive(Clone, Debug)]
pub(crate) struct Thread {
    pub(crate) process: usize,
    pub(crate) sends: Vec<Send>,
}

#[derive(Clone, Debug)]
pub(crate) struct Send {
    /// Which ring of its process, or none for the socket.
    pub(crate) ring: Option<usize>,
    /// Begins only when these sends have returned: the number of the thread, and of the send in it.
    pub(crate) after: &'static [(usize, usize)],
    /// The stamp, if the sender does not read the clock for it. There are no guarantees for
    /// such a sender.
    pub(crate) false_stamp: Option<u8>,
    /// There is no room for it in the ring.
    pub(crate) too_large: bool,
}

/// The relation of two readings of the clock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Clock {
    /// As `Ties`, and no two are equal.
    Distinct,
    /// They may be equal. But a process that reads the clock after a send has returned reads
    /// more than the stamps of all messages published before that one. If the process has sent
    /// the message itself, this is assumed only of messages that others put into the socket
    /// before it.
    Ties,
    /// They may be equal.
    Coarse,
    /// In two processes, nothing. In one, none is less than those before.
    Apart,
    /// As `Ties` for records with the mark, if that is known when the clock is read. For all
    /// else it may be behind, but never ahead.
    Rough,
}

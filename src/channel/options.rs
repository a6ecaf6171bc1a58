//! What a receiver decides about its channel.

use std::time::Duration;

use super::limits::Limits;
use super::spin::SPIN_NANOS;

/// The longest that a receiver may be told to wait without going to sleep, in nanoseconds.
pub(crate) const MAX_SPIN_NANOS: u64 = 10_000_000;

/// How long shared memory is kept that nothing comes through, in nanoseconds: what it holds can be used for something else, and its
/// sender may be gone, which does not show.
pub(super) const IDLE_NANOS: u64 = 1_000_000_000;

/// The shortest time that it is kept, so that nobody looks more often than that.
const MIN_IDLE_NANOS: u64 = 1_000_000;

/// The order in which a receiver delivers messages from different senders.
///
/// # Examples
///
/// See [`ChannelOptions`](crate::ipc::ChannelOptions).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Ordering {
    /// The order in which they were sent: if one `send` returned before another was called, in
    /// whatever process and on whichever sender of the channel, its message arrives first.
    #[default]
    Causal,
    /// Any order, except that messages of one sender and its clones in the same process arrive in
    /// the order in which they were sent. A sender that came in a message is another one, even if it
    /// came from this process.
    ///
    /// This takes less time where a channel is busy: senders read a cheaper clock, and the receiver
    /// makes fewer system calls.
    PerSender,
}

/// How a receiver is to behave.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Options {
    /// Which order it keeps.
    pub(crate) ordering: Ordering,
    /// What it takes.
    pub(crate) limits: Limits,
    /// How long it waits without going to sleep.
    pub(crate) spin_nanos: u64,
    /// Whether it shares memory with senders.
    pub(crate) shares_memory: bool,
    /// For how long it does with one that sends nothing; the largest number is for ever.
    pub(crate) idle_nanos: u64,
}

impl Default for Options {
    fn default() -> Options {
        Options {
            ordering: Ordering::Causal,
            limits: Limits::default(),
            spin_nanos: SPIN_NANOS,
            shares_memory: true,
            idle_nanos: IDLE_NANOS,
        }
    }
}

impl Options {
    /// After how long shared memory is not used any more; `None` is never.
    pub(super) fn idle(&self) -> Option<Duration> {
        (self.idle_nanos < u64::MAX).then(|| Duration::from_nanos(self.idle_nanos))
    }

    /// Whether senders may share memory.
    pub(super) fn wants_memory(&self) -> bool {
        self.shares_memory && self.limits.shared_memories > 0
    }

    /// With what is beyond what can be brought down to that.
    pub(super) fn clamped(self) -> Options {
        Options {
            limits: self.limits.at_most(Limits::LARGEST),
            spin_nanos: self.spin_nanos.min(MAX_SPIN_NANOS),
            idle_nanos: self.idle_nanos.max(MIN_IDLE_NANOS),
            ..self
        }
    }

    /// As a peer may set them, who shall not make this process do more than it does of itself.
    pub(crate) fn of_peer(self) -> Options {
        Options {
            limits: self.limits.at_most(Limits::default()),
            spin_nanos: self.spin_nanos.min(SPIN_NANOS),
            idle_nanos: self.idle_nanos.min(IDLE_NANOS),
            ..self
        }
    }
}

//! The options of a channel that its receiver sets.

use std::time::Duration;

use super::limits::Limits;
use super::spin::SPIN_NANOS;

/// The longest time that a receiver may be told to spin, in nanoseconds.
pub(crate) const MAX_SPIN_NANOS: u64 = 10_000_000;

/// How long an idle ring is kept, in nanoseconds. Its memory can be used for something else, and
/// its sender may have died, which does not show.
pub(super) const IDLE_NANOS: u64 = 1_000_000_000;

/// The shortest time that an idle ring is kept, so that rings are not checked more often than that.
const MIN_IDLE_NANOS: u64 = 1_000_000;

/// The order in which a receiver delivers messages from different senders.
///
/// # Examples
///
/// See [`ChannelOptions`](crate::ipc::ChannelOptions).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Ordering {
    /// The order in which they were sent. If one `send` returned before another was called, in
    /// whatever process and on whichever sender of the channel, its message arrives first.
    #[default]
    Causal,
    /// Any order, except that messages of one sender and its clones in the same process arrive in
    /// the order in which they were sent. A sender that came in a message is another one, even if
    /// it came from this process.
    ///
    /// This takes less time where a channel is busy: senders read a cheaper clock, and the receiver
    /// makes fewer system calls.
    PerSender,
}

/// The options of a receiver.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Options {
    /// Which order it keeps.
    pub(crate) ordering: Ordering,
    /// The limits on messages.
    pub(crate) limits: Limits,
    /// How long it spins before it sleeps.
    pub(crate) spin_nanos: u64,
    /// Whether it shares memory with senders.
    pub(crate) shares_memory: bool,
    /// How long an idle ring is kept; the largest number is for ever.
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
    /// Returns how long an idle ring is kept; `None` is for ever.
    pub(super) fn idle(&self) -> Option<Duration> {
        (self.idle_nanos < u64::MAX).then(|| Duration::from_nanos(self.idle_nanos))
    }

    /// Returns whether senders may share memory.
    pub(super) fn wants_memory(&self) -> bool {
        self.shares_memory && self.limits.shared_memories > 0
    }

    /// Returns the options with each value within its bounds.
    pub(super) fn clamped(self) -> Options {
        Options {
            limits: self.limits.at_most(Limits::LARGEST),
            spin_nanos: self.spin_nanos.min(MAX_SPIN_NANOS),
            idle_nanos: self.idle_nanos.max(MIN_IDLE_NANOS),
            ..self
        }
    }

    /// Returns the options as far as a peer may set them: a peer must not make this process do more
    /// than it does by default.
    pub(crate) fn of_peer(self) -> Options {
        Options {
            limits: self.limits.at_most(Limits::default()),
            spin_nanos: self.spin_nanos.min(SPIN_NANOS),
            idle_nanos: self.idle_nanos.min(IDLE_NANOS),
            ..self
        }
    }
}

//! How long an operation may block.

use std::time::{Duration, Instant};

/// How long an operation may block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wait {
    /// Does not block.
    Never,
    /// Blocks until this deadline at most.
    Until(Instant),
    /// Blocks without a limit.
    Forever,
}

impl Wait {
    /// Blocks for `timeout` from now; a timeout that no clock can express is no limit.
    pub fn at_most(timeout: Duration) -> Wait {
        if timeout.is_zero() {
            return Wait::Never;
        }
        Instant::now().checked_add(timeout).map_or(Wait::Forever, Wait::Until)
    }

    /// Returns the time that is left: zero once it is over, `None` if there is no limit.
    pub fn remaining(self) -> Option<Duration> {
        match self {
            Wait::Never => Some(Duration::ZERO),
            Wait::Until(deadline) => Some(deadline.saturating_duration_since(Instant::now())),
            Wait::Forever => None,
        }
    }

    /// Returns whether this deadline is earlier than the other.
    pub fn is_before(self, other: Wait) -> bool {
        match (self, other) {
            (Wait::Until(at), Wait::Until(other)) => at < other,
            (Wait::Never, other) => other != Wait::Never,
            (Wait::Until(_), other) => other == Wait::Forever,
            (Wait::Forever, _) => false,
        }
    }

    /// Returns whether the deadline has passed.
    pub fn is_over(self) -> bool {
        self.remaining() == Some(Duration::ZERO)
    }
}

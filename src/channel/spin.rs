//! Spinning before sleeping. Waking up takes longer than many messages take to arrive, and costs
//! the waking thread as much.

use std::num::NonZeroUsize;
use std::ops::RangeInclusive;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::{hint, thread};

use crate::platform::{self, Wait};

/// How many nanoseconds a receiver spins: longer than a wake-up takes, which is some 30 us. If
/// both peers sleep, and neither spins until the other is awake and has answered, both continue
/// to sleep in every round trip.
pub(super) const SPIN_NANOS: u64 = 50_000;

/// How often spinning may be in vain in a row before there is a pause.
const CREDIT: u8 = 4;

/// After how many waits spinning is tried again, at first and at most.
const PAUSES: RangeInclusive<u32> = 16..=4096;

/// How many checks are made between two readings of the clock.
const ROUNDS_PER_CLOCK: u32 = 16;

/// Returns whether the peer can run meanwhile.
pub(super) fn is_worthwhile() -> bool {
    /// The number of processors, zero if not known yet. No lock: a forked child could find it
    /// locked.
    static PROCESSORS: AtomicUsize = AtomicUsize::new(0);

    let mut processors = PROCESSORS.load(Ordering::Relaxed);
    if processors == 0 {
        processors = thread::available_parallelism().map_or(1, NonZeroUsize::get);
        PROCESSORS.store(processors, Ordering::Relaxed);
    }
    processors > 1
}

/// Decides whether to spin, from how often that has helped lately. Where there are more threads
/// than processors, a spinning thread keeps the peer from running.
#[derive(Debug)]
pub(super) struct Spin {
    /// For how long, in nanoseconds.
    nanos: u64,
    credit: u8,
    /// How many waits are left of the pause, ...
    pause: u32,
    /// ... and how many the last one had, if spinning has not helped since.
    last_pause: u32,
}

impl Spin {
    /// Makes one that spins for at most so many nanoseconds.
    pub(super) fn new(nanos: u64) -> Spin {
        Spin { nanos, credit: CREDIT, pause: 0, last_pause: 0 }
    }

    /// Sets the limit to so many nanoseconds.
    pub(super) fn limit(&mut self, nanos: u64) {
        self.nanos = nanos;
    }

    /// Calls `look` until there is something, or it is better to sleep, or to check other sources.
    /// Nothing that a peer does prolongs it, nor does it last longer than `wait`.
    #[inline]
    pub(super) fn spin(&mut self, wait: Wait, mut look: impl FnMut() -> Seen) -> Spun {
        if self.pause > 0 {
            self.pause -= 1;
            return Spun::InVain;
        }
        if self.nanos == 0 || !is_worthwhile() {
            return Spun::InVain;
        }
        let since = platform::now();
        let mut has_progress = false;
        loop {
            for _ in 0..ROUNDS_PER_CLOCK {
                match look() {
                    Seen::Something => {
                        self.credit = CREDIT;
                        self.last_pause = 0;
                        return Spun::Found;
                    }
                    // Taking that in may have taken time.
                    Seen::Progress => {
                        has_progress = true;
                        break;
                    }
                    Seen::Nothing => hint::spin_loop(),
                }
            }
            let is_over = platform::now().saturating_sub(since) > self.nanos || wait.is_over();
            if is_over && has_progress {
                return Spun::Progress;
            }
            if is_over {
                self.was_in_vain();
                return Spun::InVain;
            }
        }
    }

    #[cold]
    fn was_in_vain(&mut self) {
        self.credit -= 1;
        if self.credit == 0 {
            self.credit = 1;
            self.last_pause = (2 * self.last_pause).clamp(*PAUSES.start(), *PAUSES.end());
            self.pause = self.last_pause;
        }
    }
}

/// How spinning ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Spun {
    /// There is what was waited for.
    Found,
    /// Part of it came, and more is to be expected. It is time to check other sources.
    Progress,
    /// Nothing came.
    InVain,
}

/// The result of one check.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Seen {
    /// There is what is waited for.
    Something,
    /// There is part of it.
    Progress,
    /// There is nothing.
    Nothing,
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    /// How often of a thousand times something was looked at that never came.
    fn looks(spin: &mut Spin) -> usize {
        (0..1000)
            .filter(|_| {
                let mut looked = false;
                let spun = spin.spin(Wait::Forever, || {
                    looked = true;
                    Seen::Nothing
                });
                assert_eq!(spun, Spun::InVain);
                looked
            })
            .count()
    }

    #[test]
    fn spinning_without_success_becomes_rare() {
        let mut spin = Spin::new(1000);
        let first = looks(&mut spin);
        assert!(first < 12, "{first}");
        assert!(looks(&mut spin) <= 1);
    }

    #[test]
    fn zero_spin_time_never_spins() {
        let mut spin = Spin::new(1000);
        spin.limit(0);
        assert_eq!(looks(&mut spin), 0);
    }

    #[test]
    fn spinning_with_success_is_repeated() {
        if !is_worthwhile() {
            return;
        }
        let mut spin = Spin::new(1000);
        looks(&mut spin);
        while spin.spin(Wait::Forever, || Seen::Something) != Spun::Found {}
        for _ in 0..3 {
            assert_eq!(spin.spin(Wait::Forever, || Seen::Nothing), Spun::InVain);
            assert_eq!(spin.spin(Wait::Forever, || Seen::Something), Spun::Found);
        }
    }

    #[test]
    fn progress_without_end_ends_with_the_budget() {
        if is_worthwhile() {
            assert_eq!(Spin::new(1000).spin(Wait::Forever, || Seen::Progress), Spun::Progress);
        }
    }

    #[test]
    fn spinning_ends_with_the_wait() {
        if is_worthwhile() {
            let mut spin = Spin::new(u64::MAX);
            let wait = Wait::at_most(Duration::from_millis(1));
            assert_eq!(spin.spin(wait, || Seen::Nothing), Spun::InVain);
            assert_eq!(spin.spin(wait, || Seen::Progress), Spun::Progress);
        }
    }
}

//! Waiting without going to sleep: to be woken takes longer than what comes within that time, and costs whoever wakes as much.

use std::num::NonZeroUsize;
use std::ops::RangeInclusive;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::{hint, thread};

use crate::platform::{self, Wait};

/// For how many nanoseconds a receiver waits without going to sleep: longer than a wake-up takes, which is some 30 us. If both sides sleep, and
/// neither waits until the other is awake and has answered, they go on like that.
pub(super) const SPIN_NANOS: u64 = 50_000;

/// How often it may be in vain in a row before there is a pause.
const CREDIT: u8 = 4;

/// After how many waits it is tried again, at first and at most.
const PAUSES: RangeInclusive<u32> = 16..=4096;

/// How often somebody who spins looks before looking at the clock.
const ROUNDS_PER_CLOCK: u32 = 16;

/// Whether the other side can do anything meanwhile.
pub(super) fn is_worthwhile() -> bool {
    /// How many processors there are, zero if that was not asked yet. No lock: a forked child could find it locked.
    static PROCESSORS: AtomicUsize = AtomicUsize::new(0);

    let mut processors = PROCESSORS.load(Ordering::Relaxed);
    if processors == 0 {
        processors = thread::available_parallelism().map_or(1, NonZeroUsize::get);
        PROCESSORS.store(processors, Ordering::Relaxed);
    }
    processors > 1
}

/// Whether it has been worth while lately. Where there are more threads than processors, whoever spins keeps the other side from
/// running.
#[derive(Debug)]
pub(super) struct Spin {
    /// For how long, in nanoseconds.
    nanos: u64,
    credit: u8,
    /// How many waits are left of the pause, ...
    pause: u32,
    /// ... and how many the last one had, if it has not been worth while since.
    last_pause: u32,
}

impl Spin {
    /// For at most so many nanoseconds.
    pub(super) fn new(nanos: u64) -> Spin {
        Spin { nanos, credit: CREDIT, pause: 0, last_pause: 0 }
    }

    /// From now on, for at most so many nanoseconds.
    pub(super) fn limit(&mut self, nanos: u64) {
        self.nanos = nanos;
    }

    /// Looks until there is something, or it is better to go to sleep, or to look elsewhere. Nothing that a peer does prolongs it, nor does
    /// it last longer than `wait`.
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
                    // To take that in may have taken its time.
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
    /// What is waited for is there.
    Found,
    /// Part of it came, and more is to be expected. It is time to look at other sources.
    Progress,
    /// Nothing came.
    InVain,
}

/// What somebody who spins has seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Seen {
    /// What is waited for.
    Something,
    /// Part of it.
    Progress,
    /// Nothing.
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
    fn what_is_in_vain_becomes_rare() {
        let mut spin = Spin::new(1000);
        let first = looks(&mut spin);
        assert!(first < 12, "{first}");
        assert!(looks(&mut spin) <= 1);
    }

    #[test]
    fn who_is_given_no_time_does_not_look() {
        let mut spin = Spin::new(1000);
        spin.limit(0);
        assert_eq!(looks(&mut spin), 0);
    }

    #[test]
    fn what_is_worth_while_is_done_again() {
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

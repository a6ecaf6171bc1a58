//! Waiting without going to sleep: to be woken takes longer than what comes within that time, and costs whoever wakes as much.

use std::ops::RangeInclusive;
use std::sync::OnceLock;
use std::{hint, thread};

use crate::platform;

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
    static HAS_COMPANY: OnceLock<bool> = OnceLock::new();
    *HAS_COMPANY.get_or_init(|| thread::available_parallelism().is_ok_and(|cpus| cpus.get() > 1))
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

    /// Looks until there is something, or it is better to go to sleep.
    #[inline]
    pub(super) fn spin(&mut self, mut look: impl FnMut() -> Seen) -> bool {
        if self.pause > 0 {
            self.pause -= 1;
            return false;
        }
        if self.nanos == 0 || !is_worthwhile() {
            return false;
        }
        let mut since = platform::now();
        loop {
            for _ in 0..ROUNDS_PER_CLOCK {
                match look() {
                    Seen::Something => {
                        self.credit = CREDIT;
                        self.last_pause = 0;
                        return true;
                    }
                    Seen::Progress => since = platform::now(),
                    Seen::Nothing => hint::spin_loop(),
                }
            }
            if platform::now() - since > self.nanos {
                self.was_in_vain();
                return false;
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
    use super::*;

    /// How often of a thousand times something was looked at that never came.
    fn looks(spin: &mut Spin) -> usize {
        (0..1000)
            .filter(|_| {
                let mut looked = false;
                assert!(!spin.spin(|| {
                    looked = true;
                    Seen::Nothing
                }));
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
        while !spin.spin(|| Seen::Something) {}
        for _ in 0..3 {
            assert!(!spin.spin(|| Seen::Nothing));
            assert!(spin.spin(|| Seen::Something));
        }
    }
}

//! How long the clock by which messages are ordered stands still at a time.

use std::sync::atomic::{AtomicU64, Ordering};

use super::now;

/// Steps up to this many nanoseconds are shorter than what it takes to send a message and then another one elsewhere.
const NEGLIGIBLE: u64 = 200;

/// How many steps are looked at: the process may not run all the time.
const STEPS: u32 = 8;

/// How often the clock is read at most.
const MAX_READS: u32 = 1_000_000;

/// It has not been found out.
const UNKNOWN: u64 = u64::MAX;

/// For how many nanoseconds [`now`] may stand still, so that two messages of which one was sent after the other have the same time.
/// Zero if that does not matter. It is found out once.
#[inline]
pub fn clock_tick() -> u64 {
    static TICK: AtomicU64 = AtomicU64::new(UNKNOWN);

    match TICK.load(Ordering::Relaxed) {
        UNKNOWN => {
            let tick = shortest_step(now);
            TICK.store(tick, Ordering::Relaxed);
            tick
        }
        tick => tick,
    }
}

#[cold]
fn shortest_step(mut now: impl FnMut() -> u64) -> u64 {
    let (mut shortest, mut steps, mut last) = (UNKNOWN, 0, now());
    for _ in 0..MAX_READS {
        let time = now();
        if time > last {
            shortest = shortest.min(time - last);
            steps += 1;
            last = time;
        }
        if steps == STEPS {
            break;
        }
    }
    if shortest <= NEGLIGIBLE || shortest == UNKNOWN { 0 } else { shortest }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A clock that is read every 25 ns and steps by `tick`.
    fn clock(tick: u64) -> impl FnMut() -> u64 {
        let mut time = 0;
        move || {
            time += 25;
            time / tick * tick
        }
    }

    #[test]
    fn a_fine_clock_has_no_tick() {
        assert_eq!(shortest_step(clock(1)), 0);
        assert_eq!(shortest_step(clock(42)), 0);
    }

    #[test]
    fn the_tick_of_a_coarse_clock_is_found() {
        assert_eq!(shortest_step(clock(1_000)), 1_000);
        assert_eq!(shortest_step(clock(1_000_000)), 1_000_000);
    }

    #[test]
    fn a_pause_is_no_tick() {
        let mut fine = clock(1);
        let mut reads = 0;
        let read = move || {
            reads += 1;
            fine() + if reads > 3 { 5_000_000 } else { 0 }
        };
        assert_eq!(shortest_step(read), 0);
    }

    #[test]
    fn a_clock_that_stands_still_is_given_up() {
        assert_eq!(shortest_step(|| 7), 0);
    }
}

//! The resolution of the clock by which messages are ordered.

use std::sync::atomic::{AtomicU64, Ordering};

use super::now;

/// The number of nanoseconds up to which a step does not matter: it is shorter than the time that
/// it takes to send a message and then another one elsewhere.
const NEGLIGIBLE: u64 = 200;

/// The number of steps that are measured: the process may not run all the time.
const STEPS: u32 = 8;

/// The maximum number of times that the clock is read.
const MAX_READS: u32 = 1_000_000;

/// The tick has not been measured.
const UNKNOWN: u64 = u64::MAX;

/// Returns the number of nanoseconds for which [`now`] may return the same time. Then two messages
/// have the same time although one was sent after the other. Zero if that does not matter. It is
/// measured once.
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

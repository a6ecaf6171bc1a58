//! How much of the processors other programs had. A figure that was taken while other programs
//! ran says little, above all about contenders that poll. The table does not show it.

use std::fs;

/// Time as the system counts it, since it started and since this program did.
pub struct Clock {
    /// Of all processors.
    passed: u64,
    busy: u64,
    /// Of this program, and of those it started that have ended.
    own: u64,
}

impl Clock {
    /// `None` where the system has no such counts.
    pub fn read() -> Option<Self> {
        Self::parse(
            &fs::read_to_string("/proc/stat").ok()?,
            &fs::read_to_string("/proc/self/stat").ok()?,
        )
    }

    fn parse(system: &str, own: &str) -> Option<Self> {
        // user, nice, system, idle, iowait, irq, softirq, and steal. Guests are part of user.
        let system = numbers(system.lines().next()?.strip_prefix("cpu ")?, 8)?;
        let passed = system.iter().sum();
        // The name of the program comes in parentheses and may contain any of them. After it
        // and the state, user and system time of this process, and of its children, are the
        // 11th to the 14th.
        let (_, after_name) = own.rsplit_once(')')?;
        let own = numbers(after_name.trim_start().split_once(' ')?.1, 14)?;
        Some(Self { passed, busy: passed - system[3] - system[4], own: own[10..].iter().sum() })
    }

    /// The share of the processors that others had since `earlier`, in percent.
    pub fn others_since(&self, earlier: &Self) -> u64 {
        let passed = self.passed.saturating_sub(earlier.passed);
        let busy = self.busy.saturating_sub(earlier.busy);
        let own = self.own.saturating_sub(earlier.own);
        (busy.saturating_sub(own) * 100).checked_div(passed).unwrap_or(0)
    }
}

/// The first of some numbers. A number that is not positive counts as none.
fn numbers(text: &str, count: usize) -> Option<Vec<u64>> {
    let numbers: Vec<u64> =
        text.split_whitespace().take(count).map(|number| number.parse().unwrap_or(0)).collect();
    (numbers.len() == count).then_some(numbers)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn time_of_others_is_neither_idle_nor_own() {
        let read = |cpu: &str, own: &str| Clock::parse(cpu, own).expect("in the form of proc(5)");
        let before = read(
            "cpu  100 0 100 700 50 0 0 50 9 9\ncpu0 1 2 3\n",
            "7 (a ) b) S 1 7 7 0 -1 4194560 1 2 3 4 10 10 20 20 20 0 1 0",
        );
        let after = read(
            "cpu  160 0 120 790 60 0 0 70 9 9\ncpu0 1 2 3\n",
            "7 (a ) b) R 1 7 7 0 -1 4194560 1 2 3 4 30 20 30 20 20 0 1 0",
        );
        assert_eq!(after.others_since(&before), 30);
    }

    #[test]
    fn system_without_these_counts_has_no_clock() {
        assert!(Clock::parse("", "").is_none());
        assert!(Clock::parse("cpu  1 2 3\n", "7 (a) S 1").is_none());
    }
}

//! Takes turns: in each turn every contender does one short sample, and the order is reversed
//! from turn to turn. So other load affects all contenders, and the ratio of two samples of one
//! turn is more reliable than either figure. Every few turns both processes are started anew,
//! because a process keeps its processor and its memory layout.

use std::time::Duration;

use crate::contender::Outcome;
use crate::row::{Entry, Row, Running};
use crate::watchdog::Watchdog;

pub struct Plan {
    pub turns: usize,
    pub per_set_up: usize,
    /// How long a sample should take. Without it, a sample is two rounds.
    pub length: Option<Duration>,
}

/// One contender's nanoseconds per message, a figure per turn.
pub struct Series {
    pub contender: &'static str,
    pub nanoseconds: Vec<f64>,
}

struct Player<'a> {
    row: &'a str,
    entry: &'a Entry,
    rounds: u64,
    series: Series,
}

/// Does one row with all its contenders.
pub fn measure(row: &Row, plan: &Plan, watchdog: &Watchdog) -> Outcome<Vec<Series>> {
    let mut players: Vec<_> = row
        .entries
        .iter()
        .map(|entry| Player {
            row: &row.name,
            entry,
            rounds: 0,
            series: Series { contender: entry.contender, nanoseconds: Vec::new() },
        })
        .collect();
    let mut turn = 0;
    while turn < plan.turns {
        let mut field = Vec::new();
        for player in &mut players {
            let running = player.set_up(plan, watchdog)?;
            field.push((player, running));
        }
        let until = usize::min(turn + plan.per_set_up, plan.turns);
        while turn < until {
            let mut order: Vec<_> = field.iter_mut().collect();
            if turn % 2 == 1 {
                order.reverse();
            }
            for (player, running) in order {
                player.take_turn(running, watchdog)?;
            }
            turn += 1;
        }
        for (player, running) in field {
            player.named("end", watchdog, || running.finish())?;
        }
    }
    Ok(players.into_iter().map(|player| player.series).collect())
}

impl Player<'_> {
    fn set_up(&mut self, plan: &Plan, watchdog: &Watchdog) -> Outcome<Running> {
        let mut running = self.named("start", watchdog, || self.entry.start(self.row))?;
        let warm_up = |running: &mut Running| match plan.length {
            Some(length) => calibrate(running, length),
            None => Ok(2),
        };
        let rounds = self.named("warm up", watchdog, || warm_up(&mut running))?;
        self.rounds = rounds;
        Ok(running)
    }

    fn take_turn(&mut self, running: &mut Running, watchdog: &Watchdog) -> Outcome<()> {
        let elapsed = self.named("sample", watchdog, || running.sample(self.rounds))?;
        let messages = self.rounds * running.messages();
        self.series.nanoseconds.push(elapsed.as_secs_f64() * 1e9 / messages as f64);
        Ok(())
    }

    /// Adds to an error which contender failed, or hung, and where.
    fn named<T>(
        &self,
        stage: &str,
        watchdog: &Watchdog,
        work: impl FnOnce() -> Outcome<T>,
    ) -> Outcome<T> {
        let place = format!("{}, {}, {stage}", self.row, self.entry.contender);
        watchdog.begin(place.clone());
        work().map_err(|error| format!("{place}: {error}").into())
    }
}

/// Finds how many rounds fill a sample. Warms both sides up on the way.
fn calibrate(running: &mut Running, length: Duration) -> Outcome<u64> {
    let mut rounds = 1;
    loop {
        let elapsed = running.sample(rounds)?;
        if elapsed >= length / 4 {
            let fit = length.as_secs_f64() / elapsed.as_secs_f64() * rounds as f64;
            return Ok((fit.round() as u64).max(1));
        }
        rounds *= 2;
    }
}

/// The middle of some figures, and how far the middle half of them reaches.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Summary {
    pub low: f64,
    pub median: f64,
    pub high: f64,
}

impl Summary {
    /// `None` without figures.
    pub fn of(figures: impl IntoIterator<Item = f64>) -> Option<Self> {
        let mut sorted: Vec<f64> = figures.into_iter().collect();
        sorted.sort_by(f64::total_cmp);
        let last = sorted.len().checked_sub(1)?;
        let at = |share: f64| {
            let place = share * last as f64;
            let (below, above) = (sorted[place.floor() as usize], sorted[place.ceil() as usize]);
            below + (above - below) * place.fract()
        };
        Some(Self { low: at(0.25), median: at(0.5), high: at(0.75) })
    }
}

impl Series {
    pub fn summary(&self) -> Option<Summary> {
        Summary::of(self.nanoseconds.iter().copied())
    }

    /// How many times as long as `other` this takes, turn by turn.
    pub fn over(&self, other: &Self) -> Option<Summary> {
        Summary::of(self.nanoseconds.iter().zip(&other.nanoseconds).map(|(own, other)| own / other))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn median_of_an_even_count_lies_between_two() {
        let summary = Summary::of([4.0, 1.0, 3.0, 2.0]);
        assert_eq!(summary, Some(Summary { low: 1.75, median: 2.5, high: 3.25 }));
    }

    #[test]
    fn no_figures_have_no_summary() {
        assert_eq!(Summary::of([]), None);
    }
}

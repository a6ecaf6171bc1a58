//! The rows of the table. A row is a piece of work written once, against the traits of [`contender`](crate::contender).

mod create;
mod record;
mod reply;
mod round_trip;
mod set;
mod stream;

use std::time::Duration;

use crate::contender::{Contender, Outcome, Start};
use crate::contenders::{IpcChannel, Strait, Threads};
use crate::row::Row;

/// One piece of work, done by two sides that are connected through the contender `C`.
pub trait Work<C: Contender>: Copy + Send + Sync + 'static {
    /// What the near side keeps between samples.
    type Near;

    /// Sets up the near side. Work that needs nobody else leaves `start` alone.
    fn near(&self, start: Start<'_>) -> Outcome<Self::Near>;

    /// Does the work `rounds` times and says how long that took.
    fn sample(&self, near: &mut Self::Near, rounds: u64) -> Outcome<Duration>;

    /// The far side: serves the near side until it disconnects.
    fn far(&self, name: &str) -> Outcome<()>;

    /// How many messages one round is, when the figure is to be per message.
    fn messages(&self) -> u64 {
        1
    }
}

/// Every row, in the order of the table.
pub fn rows() -> Vec<Row> {
    use record::{Record, Small, Wide};

    const KIB: usize = 1024;
    const MIB: usize = 1024 * KIB;

    let mut rows = vec![
        everyone("round trip, 60 B struct", round_trip::RoundTrip),
        everyone("stream, 16 B struct", stream::Values::<Small>::new()),
        everyone("stream, 64 B struct", stream::Values::<Wide>::new()),
        everyone("stream, Vec<u8> of 64 KiB", stream::Values::<Vec<u8>>::new()),
        everyone("stream, bytes 1 KiB", stream::Chunks(KIB)),
        everyone("stream, bytes 64 KiB", stream::Chunks(64 * KIB)),
        everyone("stream, bytes 1 MiB", stream::Chunks(MIB)),
        everyone("stream, bytes 16 MiB", stream::Chunks(16 * MIB)),
        everyone("request with fresh reply channel", reply::Replies),
        everyone("create + drop", create::Create),
        everyone("create + one message + drop", create::OneShot::<Record>::new()),
    ];
    for members in [1, 100, 1000] {
        rows.push(processes(
            &format!("set of {members}, one active: round trip"),
            set::Across { members, active: 1 },
        ));
    }
    for members in [1, 100, 1000] {
        rows.push(processes(
            &format!("set of {members}, one active: send + select"),
            set::Inside { members },
        ));
    }
    for members in [100, 1000] {
        rows.push(processes(
            &format!("set of {members}, all active"),
            set::Across { members, active: members },
        ));
    }
    rows
}

fn everyone<W>(name: &str, work: W) -> Row
where
    W: Work<Strait> + Work<IpcChannel> + Work<Threads>,
{
    Row::new(name).on::<Strait, W>(work).on::<IpcChannel, W>(work).on::<Threads, W>(work)
}

/// For what std's channels cannot do at all.
fn processes<W>(name: &str, work: W) -> Row
where
    W: Work<Strait> + Work<IpcChannel>,
{
    Row::new(name).on::<Strait, W>(work).on::<IpcChannel, W>(work)
}

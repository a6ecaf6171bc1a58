//! The rows of the table. A row is a piece of work written once, against the traits of
//! [`contender`](crate::contender).

mod cold;
pub mod copy;
mod create;
mod meet;
pub mod record;
mod reply;
mod round_trip;
mod set;
mod stream;

use std::time::Duration;

use crate::contender::{Contender, Outcome, Start};
#[cfg(target_os = "linux")]
use crate::contenders::{Events, Floor, Iceoryx2, Interprocess, Polling};
use crate::contenders::{
    IpcChannel, Memcpy, Strait, StraitBounded, StraitPerSender, StraitThreads,
    StraitThreadsBounded, Threads, ThreadsBounded,
};
use crate::row::Row;

/// One piece of work, done by two sides that are connected through the contender `C`.
pub trait Work<C: Contender>: Copy + Send + Sync + 'static {
    /// The state of the near side between samples.
    type Near;

    /// Sets up the near side. Work that needs no other process or thread ignores `start`.
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

/// A row and the contenders that can do its work: everywhere, and on Linux.
macro_rules! row {
    ($name:expr, $work:expr, [$($contender:ty),*] $(, linux [$($on_linux:ty),*])?) => {{
        let work = $work;
        let row = Row::new($name)$(.on::<$contender, _>(work))*;
        $(
            #[cfg(target_os = "linux")]
            let row = row$(.on::<$on_linux, _>(work))*;
        )?
        row
    }};
}

/// Every row, in the order of the table. The file of a contender says why it is
/// missing in a row.
pub fn rows() -> Vec<Row> {
    use record::{Record, Small};

    const KIB: usize = 1024;
    const MIB: usize = 1024 * KIB;

    let mut rows = vec![
        row!(
            "round trip, 60 B struct",
            round_trip::RoundTrip,
            [Strait, StraitPerSender, IpcChannel, Threads],
            linux [Interprocess, Iceoryx2<Events>, Iceoryx2<Polling>, Floor]
        ),
        row!(
            "stream, 16 B struct",
            stream::Values::<Small>::new(),
            [Strait, StraitPerSender, IpcChannel, Threads],
            linux [Interprocess, Iceoryx2<Events>, Iceoryx2<Polling>, Floor]
        ),
        row!(
            "stream, 60 B struct",
            stream::Values::<Record>::new(),
            [Strait, StraitPerSender, IpcChannel, Threads],
            linux [Interprocess, Iceoryx2<Events>, Iceoryx2<Polling>, Floor]
        ),
        row!(
            "stream, typed Vec<u8> of 64 KiB",
            stream::Values::<Vec<u8>>::new(),
            [Strait, IpcChannel, Threads],
            linux [Interprocess, Floor]
        )
        .on::<Memcpy, _>(copy::Copies(64 * KIB)),
    ];
    for (name, length) in [
        ("1 KiB", KIB),
        ("4 KiB", 4 * KIB),
        ("64 KiB", 64 * KIB),
        ("1 MiB", MIB),
        ("16 MiB", 16 * MIB),
    ] {
        let row = row!(
            &format!("stream, bytes {name}"),
            stream::Chunks(length),
            [Strait, IpcChannel, Threads],
            linux [Interprocess, Iceoryx2<Events>, Iceoryx2<Polling>, Floor]
        );
        rows.push(row.on::<Memcpy, _>(copy::Copies(length)));
    }
    rows.extend([
        row!("request with fresh reply channel", reply::Replies, [Strait, IpcChannel, Threads]),
        row!("cold channel for one message", cold::Cold, [Strait, IpcChannel, Threads]),
        row!(
            "create + drop",
            create::Create,
            [Strait, IpcChannel, Threads],
            linux [Interprocess, Iceoryx2<Events>, Iceoryx2<Polling>]
        ),
        row!(
            "create + one message + drop",
            create::OneMessage,
            [Strait, IpcChannel, Threads],
            linux [Interprocess, Iceoryx2<Events>, Iceoryx2<Polling>]
        ),
    ]);
    rows.extend([
        row!("one more client of a named server", meet::Meet, [Strait, IpcChannel]),
        row!(
            "strait::mpsc: round trip, 60 B struct",
            round_trip::RoundTrip,
            [StraitThreads, Threads]
        ),
        row!(
            "strait::mpsc: stream, 60 B struct",
            stream::Values::<Record>::new(),
            [StraitThreads, Threads]
        ),
        row!("strait::mpsc: create + drop", create::Create, [StraitThreads, IpcChannel, Threads]),
        row!(
            "strait::mpsc: create + one message + drop",
            create::OneMessage,
            [StraitThreads, IpcChannel, Threads]
        ),
        row!(
            "strait::mpsc: stream, bound of 100",
            stream::Values::<Record>::new(),
            [StraitThreadsBounded<100>, ThreadsBounded<100>]
        ),
        row!(
            "strait::mpsc: stream, rendezvous",
            stream::Values::<Record>::new(),
            [StraitThreadsBounded<0>, ThreadsBounded<0>]
        ),
        row!(
            "stream, 60 B struct, bound of 100",
            stream::Values::<Record>::new(),
            [StraitBounded<100>, ThreadsBounded<100>]
        ),
        row!(
            "stream, 60 B struct, rendezvous",
            stream::Values::<Record>::new(),
            [StraitBounded<0>, ThreadsBounded<0>]
        ),
    ]);
    for members in [1, 100, 1000] {
        rows.push(row!(
            &format!("set of {members}, one active: round trip"),
            set::Across { members, active: 1 },
            [Strait, IpcChannel]
        ));
    }
    for members in [1, 100, 1000] {
        rows.push(row!(
            &format!("set of {members}, one active: send + select"),
            set::Inside { members },
            [Strait, IpcChannel]
        ));
    }
    for members in [100, 1000] {
        rows.push(row!(
            &format!("set of {members}, all active"),
            set::Across { members, active: members },
            [Strait, IpcChannel]
        ));
    }
    rows
}

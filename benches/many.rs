//! The cost of each of ten thousand channels: file descriptors, memory and time, in both
//! processes, cold and hot.
//!
//! One process has all senders, another all receivers, in one set. The numbers are those of one
//! run, divided by the number of channels. They are measured for a tenth of the channels as
//! well, to show costs that grow faster than the number of channels.
//! `cargo bench --bench many -- 1000` uses another number.

mod child;
mod usage;

use std::env;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};
use strait::ipc::{
    self, ChannelOptions, IpcReceiver, IpcReceiverSet, IpcSelectionResult, IpcSender,
    TrySelectError,
};

use crate::child::{Child, Outcome};
use crate::usage::{SystemUsage, Usage};

/// The default number of channels.
const CHANNELS: usize = 10_000;

/// The number of channels that is enough to see that this works.
const FEW: usize = 20;

/// The number of messages that make a channel hot if they are sent at once.
const HEAT: usize = 64;

/// How many channels are heated together: their messages fit into their sockets, and are
/// received before the next channels are heated.
const HEATED_TOGETHER: usize = 100;

/// How often that is tried, because heating depends on the clock.
const HEATINGS: usize = 20;

/// How many round trips there are.
const ROUND_TRIPS: u32 = 1000;

/// Descriptors that a process has besides those of the channels.
const SPARE_DESCRIPTORS: usize = 64;

/// How many channels have both their ends in one process at the same time.
const MOVED_TOGETHER: usize = 500;

/// The orders of the first process to the one with the receivers.
#[derive(Clone, Copy, Serialize, Deserialize)]
struct Plan {
    channels: usize,
    is_hot: bool,
}

/// The orders of the process with the receivers to the one with the senders.
#[derive(Clone, Copy, Serialize, Deserialize)]
enum Order {
    /// Makes so many channels.
    Make(usize),
    /// Sends the receivers.
    Move,
    /// Sends so many messages into each of the `many` channels from `first` on.
    Send { first: usize, many: usize, messages: usize },
    /// Sends one message into one channel, without a report.
    Ping(usize),
    /// Drops the senders.
    Close,
}

/// The reports of the process with the senders.
#[derive(Serialize, Deserialize)]
enum Report {
    Receiver(IpcReceiver<u64>),
    /// How long it took, and what the process uses now.
    Done(Duration, Usage),
}

/// A column of the table.
#[derive(Serialize, Deserialize)]
struct Column(Vec<(String, Cell)>);

#[derive(Clone, Copy, Serialize, Deserialize)]
enum Cell {
    Count(f64),
    Bytes(f64),
    Nanos(f64),
}

fn main() -> ExitCode {
    child::run(&[("receivers", receivers), ("senders", senders)], || match many() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    })
}

fn many() -> Outcome<()> {
    // As in the other benches: only `cargo bench` asks for a measurement. Otherwise one short
    // run shows that the bench works.
    let is_bench =
        env::args().any(|arg| arg == "--bench") && env::args().all(|arg| arg != "--test");
    let mut channels = if is_bench { CHANNELS } else { FEW };
    for word in env::args().skip(1).filter(|arg| !arg.starts_with('-')) {
        match word.parse() {
            Ok(number) => channels = number,
            Err(_) if "many".contains(&word) => {}
            // The argument is for another bench.
            Err(_) => return Ok(()),
        }
    }
    let mut columns = Vec::new();
    // The small number first: the kernel keeps freed objects, which would hide the cost of
    // later ones.
    for channels in [channels / 10, channels] {
        for is_hot in [false, true] {
            let channels = that_fit(channels, is_hot);
            if channels > 0 {
                let temperature = if is_hot { "hot" } else { "cold" };
                let column = column(Plan { channels, is_hot })?;
                columns.push((format!("{channels} {temperature}"), column));
            }
        }
    }
    print(&columns);
    Ok(())
}

/// As many of the channels as a process may have.
fn that_fit(channels: usize, is_hot: bool) -> usize {
    let Some(limit) = usage::max_descriptors() else { return channels };
    let room = if is_hot {
        // Each has a ring, and there are no more rings when three quarters of the descriptors
        // are in use.
        (limit / 4 * 3).saturating_sub(SPARE_DESCRIPTORS) / 2
    } else {
        limit.saturating_sub(SPARE_DESCRIPTORS + MOVED_TOGETHER)
    };
    if room < channels {
        let hot = if is_hot { "hot " } else { "" };
        eprintln!(
            "RLIMIT_NOFILE is {limit}: measured with {room} {hot}channels instead of {channels}"
        );
    }
    channels.min(room)
}

/// Measures in new processes, so that earlier measurements have no effect.
fn column(plan: Plan) -> Outcome<Column> {
    let (child, sender, receiver) = Child::typed::<Plan, Column>("receivers")?;
    sender.send(plan)?;
    let column = receiver.recv();
    drop((sender, receiver));
    child.finish()?;
    Ok(column?)
}

fn senders(server: &str) -> Outcome<()> {
    let (reports, orders) = child::join::<Order, Report>(server)?;
    let mut senders = Vec::new();
    let mut receivers = Vec::new();
    while let Ok(order) = orders.recv() {
        let begun = Instant::now();
        match order {
            Order::Make(channels) => {
                for _ in 0..channels {
                    let (sender, receiver) = ipc::channel::<u64>()?;
                    senders.push(sender);
                    receivers.push(receiver);
                }
            }
            Order::Move => {
                for receiver in receivers.drain(..) {
                    reports.send(Report::Receiver(receiver))?;
                }
            }
            Order::Send { first, many, messages } => {
                for sender in &senders[first..first + many] {
                    for number in 0..messages {
                        sender.send(number as u64)?;
                    }
                }
            }
            Order::Ping(index) => {
                senders[index].send(0)?;
                continue;
            }
            Order::Close => senders.clear(),
        }
        reports.send(Report::Done(begun.elapsed(), Usage::now()))?;
    }
    Ok(())
}

fn receivers(server: &str) -> Outcome<()> {
    let (up, down) = child::join::<Plan, Column>(server)?;
    let plan = down.recv()?;
    up.send(measure(plan)?)?;
    Ok(())
}

/// Both processes, and their usage at the beginning.
struct Sides {
    orders: IpcSender<Order>,
    reports: IpcReceiver<Report>,
    set: IpcReceiverSet,
    far_before: Usage,
    near_before: Usage,
    system_before: SystemUsage,
    /// The usage of the far process.
    far: Usage,
}

fn measure(plan: Plan) -> Outcome<Column> {
    let Plan { channels, is_hot } = plan;
    let (child, orders, reports) = Child::typed::<Order, Report>("senders")?;
    let set = IpcReceiverSet::new()?;
    let mut sides = Sides {
        orders,
        reports,
        set,
        far_before: Usage::default(),
        near_before: Usage::default(),
        system_before: SystemUsage::now(),
        far: Usage::default(),
    };
    sides.order(Order::Make(0))?;
    sides.far_before = sides.far;
    sides.near_before = Usage::now();
    sides.system_before = SystemUsage::now();

    let per = channels as f64;
    let mut times = Vec::new();
    let mut time = |name: &str, time: Duration| {
        times.push((name.to_owned(), Cell::Nanos(time.as_nanos() as f64 / per)));
    };

    let mut receivers = Vec::with_capacity(channels);
    let mut made = Duration::ZERO;
    let mut moved = Duration::ZERO;
    while receivers.len() < channels {
        let many = MOVED_TOGETHER.min(channels - receivers.len());
        made += sides.order(Order::Make(many))?;
        let begun = Instant::now();
        sides.fetch_receivers(many, &mut receivers)?;
        moved += begun.elapsed();
    }
    time("make", made);
    time("move the receiver to the other process", moved);
    // By the time that the last one is hot, the first would be cold again.
    let keep = ChannelOptions::new().keep_memory(Duration::MAX);
    let begun = Instant::now();
    for receiver in receivers {
        receiver.set_options(&keep)?;
        sides.set.add(receiver)?;
    }
    time("add it to a set", begun.elapsed());

    let all = |messages| Order::Send { first: 0, many: channels, messages };
    time("send the first message", sides.order(all(1))?);
    time("receive it from the set", sides.receive(channels)?);
    if is_hot {
        let (sent, received) = sides.heat(channels)?;
        time("send 64, which make it hot", sent);
        time("receive them", received);
        time("send the first message by ring", sides.order(all(1))?);
        time("receive it by ring", sides.receive(channels)?);
    }
    time("send another message", sides.order(all(1))?);
    time("receive another", sides.receive(channels)?);

    let mut column = sides.memory(per);
    let begun = Instant::now();
    for _ in 0..ROUND_TRIPS {
        sides.orders.send(Order::Ping(channels / 2))?;
        sides.receive(1)?;
    }
    let round_trip = begun.elapsed() / ROUND_TRIPS;

    time("drop the sender", sides.order(Order::Close)?);
    let begun = Instant::now();
    while !sides.set.is_empty() {
        child::feed_the_watchdog();
        sides.set.select()?;
    }
    time("learn of it, and drop the receiver", begun.elapsed());
    sides.check_that_nothing_is_left()?;

    column.append(&mut times);
    // Not for each channel, but for one among all.
    let name = "round trip through one, all others idle".to_owned();
    column.push((name, Cell::Nanos(round_trip.as_nanos() as f64)));
    drop(sides);
    child.finish()?;
    Ok(Column(column))
}

impl Sides {
    /// Gives the far process an order, and returns how long that took there.
    fn order(&mut self, order: Order) -> Outcome<Duration> {
        child::feed_the_watchdog();
        self.orders.send(order)?;
        match self.reports.recv()? {
            Report::Done(elapsed, far) => {
                self.far = far;
                Ok(elapsed)
            }
            Report::Receiver(_) => Err("a receiver that was not asked for".into()),
        }
    }

    fn fetch_receivers(
        &mut self,
        many: usize,
        receivers: &mut Vec<IpcReceiver<u64>>,
    ) -> Outcome<()> {
        self.orders.send(Order::Move)?;
        for _ in 0..many {
            match self.reports.recv()? {
                Report::Receiver(receiver) => receivers.push(receiver),
                Report::Done(..) => return Err("receivers are missing".into()),
            }
        }
        match self.reports.recv()? {
            Report::Done(_, far) => self.far = far,
            Report::Receiver(_) => return Err("a receiver that was not asked for".into()),
        }
        Ok(())
    }

    /// Receives so many messages, and returns how long that took.
    fn receive(&mut self, messages: usize) -> Outcome<Duration> {
        let begun = Instant::now();
        let mut received = 0;
        while received < messages {
            received += messages_in(self.set.select()?)?;
        }
        if received == messages { Ok(begun.elapsed()) } else { Err("a message twice".into()) }
    }

    /// Sends until each channel has a ring, and returns how long the first batch took the
    /// sender and the receiver.
    fn heat(&mut self, channels: usize) -> Outcome<(Duration, Duration)> {
        let mut first_time = None;
        for _ in 0..HEATINGS {
            let mut sent = Duration::ZERO;
            let mut received = Duration::ZERO;
            for first in (0..channels).step_by(HEATED_TOGETHER) {
                let many = HEATED_TOGETHER.min(channels - first);
                sent += self.order(Order::Send { first, many, messages: HEAT })?;
                received += self.receive(many * HEAT)?;
                // The memory comes last.
                let begun = Instant::now();
                match self.set.try_select() {
                    Err(TrySelectError::Empty) => {}
                    Err(error) => return Err(error.into()),
                    Ok(_) => return Err("more messages than were sent".into()),
                }
                received += begun.elapsed();
            }
            let times = *first_time.get_or_insert((sent, received));
            let far = self.far.since(self.far_before).descriptors;
            let near = Usage::now().since(self.near_before).descriptors;
            if far.min(near) >= 2.0 * channels as f64 {
                return Ok(times);
            }
        }
        Err("not every channel has become hot".into())
    }

    /// The usage of each channel.
    fn memory(&self, per: f64) -> Vec<(String, Cell)> {
        let far = self.far.since(self.far_before);
        let near = Usage::now().since(self.near_before);
        let system = SystemUsage::now().since(self.system_before);
        let cells = [
            ("descriptors, sender's side", Cell::Count(far.descriptors / per)),
            ("descriptors, receiver's side", Cell::Count(near.descriptors / per)),
            ("mappings, sender's side", Cell::Count(far.mappings / per)),
            ("mappings, receiver's side", Cell::Count(near.mappings / per)),
            ("heap, sender's side", Cell::Bytes(far.heap / per)),
            ("heap, receiver's side", Cell::Bytes(near.heap / per)),
            ("page tables, sender's side", Cell::Bytes(far.page_tables / per)),
            ("page tables, receiver's side", Cell::Bytes(near.page_tables / per)),
            ("shared memory", Cell::Bytes(system.shared / per)),
            ("objects in the kernel", Cell::Bytes(system.kernel / per)),
        ];
        cells.map(|(name, cell)| (name.to_owned(), cell)).into()
    }

    fn check_that_nothing_is_left(&self) -> Outcome<()> {
        let far = self.far.since(self.far_before).descriptors;
        let near = Usage::now().since(self.near_before).descriptors;
        // The channels between these processes have become hot meanwhile, one in each direction.
        if far.max(near) > 2.0 {
            return Err(format!("descriptors left after all is closed: {far} and {near}").into());
        }
        Ok(())
    }
}

fn messages_in(results: Vec<IpcSelectionResult>) -> Outcome<usize> {
    let mut messages = 0;
    for result in results {
        match result {
            IpcSelectionResult::MessageReceived(_, message) => {
                message.to::<u64>()?;
                messages += 1;
            }
            IpcSelectionResult::ChannelClosed(_) => return Err("closed too early".into()),
        }
    }
    Ok(messages)
}

/// Prints the table, in the order of the column that has the most rows.
fn print(columns: &[(String, Column)]) {
    let Some((_, longest)) = columns.iter().max_by_key(|(_, column)| column.0.len()) else {
        return;
    };
    let width = longest.0.iter().map(|(name, _)| name.len()).max().unwrap_or(0);
    print!("| {:width$} |", "for each channel");
    columns.iter().for_each(|(name, _)| print!(" {name:>12} |"));
    print!("\n|-{:-<width$}-|", "");
    columns.iter().for_each(|_| print!("-------------:|"));
    println!();
    for (name, _) in &longest.0 {
        print!("| {name:width$} |");
        for (_, column) in columns {
            let cell = column.0.iter().find(|(other, _)| other == name);
            print!(" {:>12} |", cell.map_or(String::new(), |(_, cell)| cell.to_text()));
        }
        println!();
    }
}

impl Cell {
    fn to_text(self) -> String {
        match self {
            Cell::Count(count) => format!("{count:.2}"),
            Cell::Bytes(bytes) if bytes.abs() < 1024.0 => format!("{bytes:.0} B"),
            Cell::Bytes(bytes) => format!("{:.1} KiB", bytes / 1024.0),
            Cell::Nanos(nanos) if nanos < 1000.0 => format!("{nanos:.0} ns"),
            Cell::Nanos(nanos) => format!("{:.1} us", nanos / 1000.0),
        }
    }
}

//! Instructions for each message, counted by valgrind: the same on a busy machine as on
//! an idle one.
//!
//! This program runs itself under callgrind, once for each figure and length, and counts only
//! what happens within [`measured`]. A figure is the difference of two lengths, so that work
//! that is done once is not counted. One thread sends a batch and receives it, so that nothing
//! depends on the order in which threads run; the kernel's instructions are not counted.
//!
//! `cargo bench --bench instructions` compares with figures.txt; `-- --check` also fails if a
//! figure is more than [`TOLERANCE`] percent larger, and `-- --write` writes the file anew.

use std::collections::BTreeMap;
use std::env;
use std::error::Error;
use std::fmt::Write as _;
use std::fs;
use std::hint::black_box;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use strait::ipc::ChannelOptions;

/// The maximum growth of a figure, in percent.
const TOLERANCE: u64 = 3;

/// How many messages are sent before any is received: more than one, and fewer than a socket holds.
const BATCH: u64 = 64;

/// The lengths of the two runs, in batches.
const LENGTHS: [u64; 2] = [64, 320];

const FIGURES: &str = "benches/instructions/figures.txt";

type Outcome<T> = Result<T, Box<dyn Error>>;

/// 60 bytes once it is encoded.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
struct Record {
    id: u64,
    time: u64,
    position: [f64; 3],
    key: (u64, u64),
    flags: u32,
}

const RECORD: Record = Record {
    id: 7_000_001,
    time: 1_700_000_000_000_000_000,
    position: [48.2, 16.4, 171.0],
    key: (1 << 40, 5),
    flags: 5,
};

/// Its encoded form.
fn encoded() -> Vec<u8> {
    let Record { id, time, position, key, flags } = RECORD;
    let mut bytes = Vec::new();
    bytes.extend(id.to_le_bytes());
    bytes.extend(time.to_le_bytes());
    bytes.extend(position.iter().flat_map(|coordinate| coordinate.to_le_bytes()));
    bytes.extend(key.0.to_le_bytes());
    bytes.extend(key.1.to_le_bytes());
    bytes.extend(flags.to_le_bytes());
    bytes
}

/// Callgrind counts only the instructions of `work`: it finds this function by its name.
#[inline(never)]
fn measured<T>(work: impl FnOnce() -> T) -> T {
    // Because of `black_box`, the call is not the last expression here, and does not
    // become a jump.
    black_box(work())
}

/// Which half of the work is counted.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Half {
    Send,
    Receive,
}

/// Sends and receives that many batches.
fn batches(
    count: u64,
    half: Half,
    mut send: impl FnMut() -> Outcome<()>,
    mut receive: impl FnMut() -> Outcome<()>,
) -> Outcome<()> {
    let many = |work: &mut dyn FnMut() -> Outcome<()>, is_measured| {
        let mut all = || (0..BATCH).try_for_each(|_| work());
        if is_measured { measured(all) } else { all() }
    };
    for _ in 0..count {
        many(&mut send, half == Half::Send)?;
        many(&mut receive, half == Half::Receive)?;
    }
    Ok(())
}

/// Channels that go through a ring, or never do.
fn options(by_ring: bool) -> ChannelOptions {
    ChannelOptions::new().shared_memory(by_ring).keep_memory(Duration::MAX)
}

/// Warms a channel up until it has its ring, if it may have one: sends more than a socket
/// holds, and receives it.
fn warm_up(
    by_ring: bool,
    mut send: impl FnMut() -> Outcome<()>,
    mut receive: impl FnMut() -> Outcome<()>,
) -> Outcome<()> {
    if by_ring {
        // Less than a ring holds. The longest socket buffer that is usual holds 5,000.
        (0..10_000).try_for_each(|_| send())?;
        (0..10_000).try_for_each(|_| receive())?;
    }
    let maps = fs::read_to_string("/proc/self/maps")?;
    if maps.contains("memfd:strait") != by_ring {
        return Err("it goes another way than it should".into());
    }
    Ok(())
}

fn typed(count: u64, half: Half, by_ring: bool) -> Outcome<()> {
    let (sender, receiver) = options(by_ring).channel::<Record>()?;
    let send = || Ok(sender.send(black_box(RECORD))?);
    let receive = || {
        black_box(receiver.recv()?);
        Ok(())
    };
    warm_up(by_ring, send, receive)?;
    batches(count, half, send, receive)
}

fn bytes(count: u64, half: Half, by_ring: bool) -> Outcome<()> {
    let (sender, receiver) = options(by_ring).bytes_channel()?;
    let encoded = encoded();
    let send = || Ok(sender.send(black_box(&encoded))?);
    let receive = || {
        black_box(receiver.recv()?);
        Ok(())
    };
    warm_up(by_ring, send, receive)?;
    batches(count, half, send, receive)
}

fn in_memory(count: u64, half: Half) -> Outcome<()> {
    let (sender, receiver) = strait::mpsc::channel::<Record>();
    let send = || Ok(sender.send(black_box(RECORD))?);
    let receive = || {
        black_box(receiver.recv()?);
        Ok(())
    };
    batches(count, half, send, receive)
}

fn of_std(count: u64, half: Half) -> Outcome<()> {
    let (sender, receiver) = std::sync::mpsc::channel::<Record>();
    let send = || Ok(sender.send(black_box(RECORD))?);
    let receive = || {
        black_box(receiver.recv()?);
        Ok(())
    };
    batches(count, half, send, receive)
}

fn decode(count: u64) -> Outcome<()> {
    let encoded = encoded();
    let decode = || {
        let record: Record = strait::internals::decode_bytes(black_box(&encoded))?;
        black_box(record);
        Ok(())
    };
    batches(count, Half::Receive, || Ok(()), decode)
}

/// The kinds of work that are counted.
type Work = fn(u64) -> Outcome<()>;

const WORK: &[(&str, Work)] = &[
    ("ring, send", |count| typed(count, Half::Send, true)),
    ("ring, receive", |count| typed(count, Half::Receive, true)),
    ("ring, send bytes", |count| bytes(count, Half::Send, true)),
    ("ring, receive bytes", |count| bytes(count, Half::Receive, true)),
    ("socket, send", |count| typed(count, Half::Send, false)),
    ("socket, receive", |count| typed(count, Half::Receive, false)),
    ("in memory, send", |count| in_memory(count, Half::Send)),
    ("in memory, receive", |count| in_memory(count, Half::Receive)),
    ("std, send", |count| of_std(count, Half::Send)),
    ("std, receive", |count| of_std(count, Half::Receive)),
    ("decode", decode),
];

/// Instructions for each message, by name.
type Figures = BTreeMap<String, u64>;

fn main() -> ExitCode {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let is_given = |option: &str| arguments.iter().any(|argument| argument == option);
    let outcome = if is_given("--work") {
        work(&arguments)
    } else if is_given("--write") {
        count_all().and_then(|figures| write(&figures)).map(|()| true)
    } else if !is_given("--check") && Command::new("valgrind").arg("--version").output().is_err() {
        // Run among all benchmarks.
        println!("not counted: there is no valgrind");
        Ok(true)
    } else {
        count_all()
            .and_then(|figures| compare(&figures))
            .map(|is_good| is_good || !is_given("--check"))
    };
    match outcome {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

/// Does the work, under callgrind or not.
fn work(arguments: &[String]) -> Outcome<bool> {
    let [_, name, count] = arguments else { return Err("--work NAME COUNT".into()) };
    // `decode` determines the type of a value, so that all rows use the same one.
    let record: Record = strait::internals::decode_bytes(&encoded())?;
    assert_eq!(record, RECORD);
    let (_, work) = WORK.iter().find(|work| work.0 == name).ok_or("there is no such work")?;
    work(count.parse()?)?;
    Ok(true)
}

fn count_all() -> Outcome<Figures> {
    let mut figures = Figures::new();
    for &(name, _) in WORK {
        let [shorter, longer] = LENGTHS;
        let instructions = instructions(name, longer)?.checked_sub(instructions(name, shorter)?);
        let instructions = instructions.ok_or("a longer run has fewer instructions")?;
        let messages = (longer - shorter) * BATCH;
        figures.insert(name.to_string(), (instructions + messages / 2) / messages);
    }
    // The whole cost of a value beyond that of its bytes, the code around the format included.
    let encode = figures["ring, send"].saturating_sub(figures["ring, send bytes"]);
    figures.insert("encode".to_string(), encode);
    Ok(figures)
}

/// How many instructions the measured part of a run has.
fn instructions(name: &str, count: u64) -> Outcome<u64> {
    let out: PathBuf = env::temp_dir().join(format!("strait-instructions-{}", std::process::id()));
    let output = Command::new("valgrind")
        .args(["-q", "--tool=callgrind", "--toggle-collect=*instructions*measured*"])
        .arg(format!("--callgrind-out-file={}", out.display()))
        .arg(env::current_exe()?)
        .args(["--work", name, &count.to_string()])
        // libc selects `memcpy` by the features of the processor.
        .env("GLIBC_TUNABLES", "glibc.cpu.hwcaps=-AVX_Usable,-AVX2_Usable,-AVX,-AVX2,-ERMS,-FSRM")
        .stdin(Stdio::null())
        .output()
        .map_err(|error| format!("valgrind cannot be started: {error}"))?;
    let text = fs::read_to_string(&out);
    // If valgrind has failed, there may be none.
    let _ = fs::remove_file(&out);
    if !output.status.success() {
        return Err(format!("{name}: {}", String::from_utf8_lossy(&output.stderr)).into());
    }
    let text = text?;
    let total = text.lines().find_map(|line| line.strip_prefix("totals:")).ok_or("no totals")?;
    match total.trim().parse()? {
        0 => Err(format!("{name}: nothing was counted").into()),
        total => Ok(total),
    }
}

fn path() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(FIGURES)
}

/// The figures in the file.
fn committed() -> Outcome<Figures> {
    let text = fs::read_to_string(path())?;
    let lines = text.lines().filter(|line| !line.starts_with('#'));
    lines
        .map(|line| {
            let (name, figure) = line.rsplit_once(' ').ok_or("a line is a name and a figure")?;
            Ok((name.trim().to_string(), figure.parse()?))
        })
        .collect()
}

fn write(figures: &Figures) -> Outcome<()> {
    let compiler = Command::new("rustc").arg("--version").output()?.stdout;
    let mut text = String::from(
        "# Instructions for each message of 60 bytes. \
         `cargo bench --bench instructions -- --write` writes this.\n",
    );
    writeln!(text, "# {}", String::from_utf8(compiler)?.trim())?;
    for (name, figure) in figures {
        writeln!(text, "{name:<20} {figure:>6}")?;
    }
    print!("{text}");
    Ok(fs::write(path(), text)?)
}

/// Prints both, and returns whether no figure is much larger than in the file.
fn compare(figures: &Figures) -> Outcome<bool> {
    let committed = committed()?;
    if !committed.keys().eq(figures.keys()) {
        return Err(format!("{FIGURES} has other figures: write it anew").into());
    }
    println!("instructions         {:>6} {:>9}", "now", "committed");
    let mut is_good = true;
    for (name, &figure) in figures {
        let before = committed[name];
        let is_larger = figure * 100 > before * (100 + TOLERANCE);
        is_good &= !is_larger;
        let remark = if is_larger { "  too many" } else { "" };
        println!("{name:<20} {figure:>6} {before:>9}{remark}");
    }
    if !is_good {
        println!(
            "More than {TOLERANCE} % more. If that is worth it: \
             `cargo bench --bench instructions -- --write`."
        );
    }
    Ok(is_good)
}

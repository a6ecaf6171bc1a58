//! Runs the examples and checks their output.

#[allow(dead_code)]
#[path = "../../examples/sandbox/count.rs"]
mod count;

#[allow(dead_code)]
#[path = "../../examples/sandbox/estimate.rs"]
mod estimate;

#[cfg(all(target_os = "linux", not(feature = "force-inprocess")))]
mod processes;

use std::collections::HashMap;
use std::ffi::OsStr;
use std::io::Read;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::mpsc;
use std::time::{Duration, Instant};
use std::{env, thread};

use count::Counter;
use estimate::{Amount, Estimate};

/// The maximum duration of an example. It is generous, because machines may be slow.
const WATCHDOG: Duration = Duration::from_secs(120);

/// The output and the exit status of a process.
struct Output {
    code: Option<i32>,
    stdout: String,
    stderr: String,
}

impl Output {
    fn sorted_lines(&self) -> Vec<&str> {
        let mut lines: Vec<_> = self.stdout.lines().collect();
        lines.sort_unstable();
        lines
    }
}

/// The example's program, which Cargo puts next to the directory of this one.
fn program(example: &str) -> PathBuf {
    let tests = env::current_exe().unwrap();
    let profile = tests.parent().unwrap().parent().unwrap();
    let program = profile.join("examples").join(format!("{example}{}", env::consts::EXE_SUFFIX));
    assert!(
        program.exists(),
        "{program:?} is missing: `cargo test` builds it, `cargo test --test examples` does not"
    );
    program
}

fn run(example: &str, arguments: impl IntoIterator<Item = impl AsRef<OsStr>>) -> Output {
    finish(Command::new(program(example)).args(arguments))
}

/// Runs a command to its end, or kills it after the maximum duration.
fn finish(command: &mut Command) -> Output {
    let mut child =
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let deadline = Instant::now() + WATCHDOG;
    let stdout = read_to_end(child.stdout.take().unwrap());
    let stderr = read_to_end(child.stderr.take().unwrap());
    let mut wait = |stream: mpsc::Receiver<Vec<u8>>| {
        let bytes = stream.recv_timeout(deadline.saturating_duration_since(Instant::now()));
        if bytes.is_err() {
            child.kill().unwrap();
            child.wait().unwrap();
        }
        String::from_utf8(bytes.expect("the watchdog has barked")).unwrap()
    };
    let (stdout, stderr) = (wait(stdout), wait(stderr));
    Output { code: child.wait().unwrap().code(), stdout, stderr }
}

fn read_to_end(mut stream: impl Read + Send + 'static) -> mpsc::Receiver<Vec<u8>> {
    let (sender, receiver) = mpsc::channel();
    thread::spawn(move || {
        let mut bytes = Vec::new();
        stream.read_to_end(&mut bytes).unwrap();
        sender.send(bytes)
    });
    receiver
}

/// A stream of numbers that is the same each time.
struct Numbers(u64);

impl Numbers {
    fn below(&mut self, limit: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        (self.0 >> 33) as usize % limit
    }
}

#[test]
fn channels_over_channels() {
    let output = run("channels_over_channels", [""; 0]);
    assert_eq!(
        output.stdout,
        "2 squared is 4\n3 squared is 9\n4 squared is 16\nthe server has ended\n"
    );
    assert_eq!((output.code, output.stderr.as_str()), (Some(0), ""));
}

#[test]
fn many_receivers() {
    let output = run("many_receivers", [""; 0]);
    assert_eq!(output.sorted_lines(), ["one: 5050", "three: 5050", "two: 5050"]);
    assert_eq!((output.code, output.stderr.as_str()), (Some(0), ""));
}

#[cfg(feature = "async")]
#[test]
fn async_stream() {
    let output = run("async_stream", [""; 0]);
    assert_eq!(output.stdout, "the numbers add up to 55, their squares to 385\n");
    assert_eq!((output.code, output.stderr.as_str()), (Some(0), ""));
}

#[cfg(any(not(target_os = "linux"), feature = "force-inprocess"))]
#[test]
fn examples_with_several_processes_report_missing_support() {
    let examples = [
        "hello",
        "back_pressure",
        "pass_a_file",
        "shared_memory",
        "server",
        "threads_to_processes",
        "sandbox",
    ];
    for example in examples {
        let output = run(example, [""; 0]);
        assert_eq!((output.code, output.stdout.as_str()), (Some(1), ""), "{example}");
        assert!(output.stderr.contains("channels do not leave the process"), "{example}");
    }
}

/// The counter of the sandbox counts the same as a simpler one, wherever its input is split.
#[test]
fn sandbox_counts_words_over_every_boundary() {
    let pieces: [&[u8]; 18] = [
        b"a",
        b"B",
        b"zebra",
        b"42",
        b" ",
        b"\n",
        b"-",
        b"\0",
        b"\xff",
        b"\xe2\x82",
        b"\xf0\x9f",
        "é".as_bytes(),
        "Straße".as_bytes(),
        "İ".as_bytes(),
        "日本".as_bytes(),
        "€".as_bytes(),
        "𝔘".as_bytes(),
        "🦀".as_bytes(),
    ];
    let mut numbers = Numbers(1);
    for _ in 0..2000 {
        let bytes: Vec<u8> = (0..numbers.below(60))
            .flat_map(|_| pieces[numbers.below(pieces.len())])
            .copied()
            .collect();

        let text = String::from_utf8_lossy(&bytes);
        let words = text.split(|c: char| !c.is_alphanumeric()).filter(|word| !word.is_empty());
        let mut expected = HashMap::<String, u64>::new();
        let mut total = 0;
        for word in words {
            let word: String =
                word.chars().flat_map(char::to_lowercase).filter(|c| c.is_alphanumeric()).collect();
            total += 1;
            if word.len() <= count::MAX_WORD_BYTES {
                *expected.entry(word).or_default() += 1;
            }
        }

        let mut counter = Counter::default();
        let mut pending = Vec::new();
        let mut rest = &bytes[..];
        while !rest.is_empty() {
            let (now, later) = rest.split_at(rest.len().min(1 + numbers.below(5)));
            pending.extend_from_slice(now);
            let used = counter.feed(&pending);
            pending.drain(..used);
            assert!(pending.len() <= 3, "{bytes:?}");
            rest = later;
        }
        counter.finish();
        assert_eq!((counter.total(), counter.take()), (total, expected), "{bytes:?}");
    }
}

/// A clock in seconds since the start, and workers that follow it.
struct Clock(Instant);

impl Clock {
    fn at(&self, seconds: f64) -> Instant {
        self.0 + Duration::from_secs_f64(seconds)
    }

    /// The estimate, in seconds.
    fn left(&self, estimate: &Estimate, seconds: f64) -> Option<f64> {
        estimate.time_left(self.at(seconds)).map(|left| left.as_secs_f64())
    }
}

fn assert_about(actual: Option<f64>, expected: f64) {
    let is_near = actual.is_some_and(|actual| (0.9..1.1).contains(&(actual / expected)));
    assert!(is_near, "{actual:?} instead of {expected}");
}

#[test]
fn sandbox_estimate_follows_the_bytes_of_one_file() {
    let clock = Clock(Instant::now());
    let mut estimate = Estimate::new(Amount { files: 1, bytes: 1000 << 20 }, 8);
    estimate.begin(1, 1000 << 20, clock.at(0.0));
    assert_eq!(clock.left(&estimate, 5.0), None);
    for second in 1..1000 {
        estimate.read(1, second << 20);
        assert_eq!(estimate.done(), Amount { files: 0, bytes: second << 20 });
        // The other seven workers are idle.
        assert_about(clock.left(&estimate, second as f64), (1000 - second) as f64);
    }
    estimate.finish(1, 1000 << 20, 1000 << 20, clock.at(1000.0));
    assert_eq!(estimate.done(), estimate.total());
}

#[test]
fn sandbox_estimate_allows_for_the_time_that_a_file_takes_beside_its_bytes() {
    const LARGE: u64 = 10 << 20;
    let clock = Clock(Instant::now());
    let total = Amount { files: 10 + 10_000, bytes: 10 * LARGE + 10_000 };
    let mut estimate = Estimate::new(total, 1);
    let mut now = 0.0;
    for job in 0..10 {
        estimate.begin(job, LARGE, clock.at(now));
        now += 1.0;
        estimate.finish(job, LARGE, LARGE, clock.at(now));
    }
    for job in 10..1010 {
        estimate.begin(job, 1, clock.at(now));
        now += 0.01;
        estimate.finish(job, 1, 1, clock.at(now));
    }
    // Almost no bytes are left.
    assert_about(clock.left(&estimate, now), 90.0);
}

#[test]
fn sandbox_estimate_takes_back_what_a_failed_worker_had_read() {
    let clock = Clock(Instant::now());
    let mut estimate = Estimate::new(Amount { files: 2, bytes: 200 }, 2);
    estimate.begin(1, 100, clock.at(0.0));
    estimate.begin(2, 100, clock.at(0.0));
    estimate.read(1, 90);
    estimate.read(2, 50);
    assert_eq!(estimate.done(), Amount { files: 0, bytes: 140 });
    estimate.fail(1);
    assert_eq!(estimate.done(), Amount { files: 0, bytes: 50 });
    // A file that is not counted needs no time either, and a file may have changed its size.
    estimate.leave_out(100);
    estimate.finish(2, 100, 70, clock.at(1.0));
    assert_eq!(estimate.done(), Amount { files: 2, bytes: 70 });
    assert_eq!(estimate.done(), estimate.total());
}

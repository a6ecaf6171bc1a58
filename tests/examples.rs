//! Runs the examples and looks at what they say.
//!
//! The sandbox counts a corpus whose words are known, and must find the same whatever happens to its workers. That, and
//! what a hostile file may do to it, makes this file as long as it is.

#[allow(dead_code)]
#[path = "../examples/sandbox/count.rs"]
mod count;

use std::collections::HashMap;
use std::ffi::OsStr;
use std::io::Read;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::mpsc;
use std::time::{Duration, Instant};
use std::{env, thread};

use count::Counter;

/// How long an example may take. Not how long it should take: machines may be slow.
const WATCHDOG: Duration = Duration::from_secs(120);

/// What a process left behind.
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

/// Runs a command to its end, or kills it when the watchdog barks.
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
fn examples_with_several_processes_say_that_they_need_them() {
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

/// The counter of the sandbox finds what a simpler one finds, however its input is cut.
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

#[cfg(all(target_os = "linux", not(feature = "force-inprocess")))]
mod processes {
    use std::fs;
    use std::os::unix::fs::symlink;
    use std::path::Path;
    use std::sync::atomic::{AtomicU32, Ordering};

    use super::*;

    #[test]
    fn hello() {
        let output = run("hello", [""; 0]);
        assert_eq!(
            output.stdout,
            "parent: hello from another process: true\n\
             child: the parent says: hello yourself\n\
             parent: the child succeeded: true\n"
        );
        assert_eq!((output.code, output.stderr.as_str()), (Some(0), ""));
    }

    #[test]
    fn pass_a_file() {
        let output = run("pass_a_file", [""; 0]);
        let expected =
            ["child: the file begins with \"[package]\"", "parent: sent an open file, and no name"];
        assert_eq!(output.sorted_lines(), expected);
        assert_eq!((output.code, output.stderr.as_str()), (Some(0), ""));
    }

    #[test]
    fn shared_memory() {
        let output = run("shared_memory", [""; 0]);
        assert_eq!(output.stdout, "parent: 1048576 bytes add up to 3145728\n");
        assert_eq!((output.code, output.stderr.as_str()), (Some(0), ""));
    }

    #[test]
    fn back_pressure() {
        let output = run("back_pressure", [""; 0]);
        assert_eq!(
            output.stdout,
            "4 jobs wait for the worker, and there is no room for another\n\
             the worker has added up 5050\n"
        );
        assert_eq!((output.code, output.stderr.as_str()), (Some(0), ""));
    }

    #[test]
    fn threads_to_processes() {
        let output = run("threads_to_processes", [""; 0]);
        assert_eq!(
            output.stdout,
            "a thread says: [1, 3, 6, 10], and succeeded: true\n\
             another process says: [1, 3, 6, 10], and succeeded: true\n"
        );
        assert_eq!((output.code, output.stderr.as_str()), (Some(0), ""));
    }

    #[test]
    fn server() {
        let output = run("server", [""; 0]);
        let client = "client: 4 tickets, in order: true";
        assert_eq!(
            output.sorted_lines(),
            [client, client, client, "server: 12 tickets for 3 clients"]
        );
        assert_eq!((output.code, output.stderr.as_str()), (Some(0), ""));
    }

    /// A directory of files, and what the sandbox should say about them.
    struct Corpus {
        directory: PathBuf,
        counts: HashMap<String, u64>,
        files: u64,
        words: u64,
        bytes: u64,
    }

    impl Corpus {
        fn empty() -> Corpus {
            static NEXT: AtomicU32 = AtomicU32::new(0);
            let number = NEXT.fetch_add(1, Ordering::Relaxed);
            let name = format!("strait-examples-{}-{number}", std::process::id());
            let directory = env::temp_dir().join(name);
            fs::create_dir(&directory).unwrap();
            Corpus { directory, counts: HashMap::new(), files: 0, words: 0, bytes: 0 }
        }

        /// Files of all sizes: empty, smaller than a packet, larger than a buffer, with more different words than a
        /// worker keeps.
        fn generated() -> Corpus {
            let mut corpus = Corpus::empty();
            let mut numbers = Numbers(7);
            let separators = [" ", "\n", ", ", "—", "_", "\r\n\t"];
            for file in 0..60 {
                let words = [0, 1, 100, 3000][file % 4] * (1 + file / 20);
                let mut text = String::new();
                for _ in 0..words {
                    // Small numbers are frequent, so that the order of the most frequent words is no accident.
                    let limit = 1 + numbers.below(400);
                    let word = numbers.below(limit);
                    corpus.add_word(&mut text, ["wört", "Word", "WORD"][word % 3], word);
                    text += separators[numbers.below(separators.len())];
                }
                corpus.add(&format!("{file}.txt"), text.as_bytes());
            }
            let mut text = String::new();
            for word in (0..150_000).chain(0..150_000) {
                corpus.add_word(&mut text, "rare", word);
                text += "\n";
                if word % 50 == 0 {
                    corpus.add_word(&mut text, "often", word % 3);
                    text += " ";
                }
            }
            // Stop words are part of the total only, and so are words that are too long.
            text += "the and of ";
            text += &"x".repeat(100);
            corpus.words += 4;
            corpus.add("large.txt", text.as_bytes());
            // Larger than a buffer, so that some end within a character.
            for offset in 0..3 {
                let words = 40_000;
                corpus.add(
                    &format!("offset-{offset}.txt"),
                    (" ".repeat(offset) + &"日本 ".repeat(words)).as_bytes(),
                );
                corpus.words += words as u64;
                *corpus.counts.entry(String::from("日本")).or_default() += words as u64;
            }
            corpus
        }

        fn add_word(&mut self, text: &mut String, stem: &str, number: usize) {
            *text += &format!("{stem}{number}");
            self.words += 1;
            *self.counts.entry(format!("{}{number}", stem.to_lowercase())).or_default() += 1;
        }

        /// Adds a file that is counted, and whose words are known already.
        fn add(&mut self, name: &str, content: &[u8]) {
            fs::write(self.directory.join(name), content).unwrap();
            self.files += 1;
            self.bytes += content.len() as u64;
        }

        /// What the sandbox prints if, besides, there are so many files that are no text or can't be read.
        fn expected(&self, binary: u64, skipped: u64) -> String {
            let mut words: Vec<_> =
                self.counts.iter().map(|(word, count)| (-(*count as i64), word)).collect();
            words.sort_unstable();
            let mut text = String::new();
            for (count, word) in words.iter().take(20) {
                text += &format!("{:>12}  {word}\n", -count);
            }
            text +=
                &format!("files: {} counted, {binary} not text, {skipped} skipped\n", self.files);
            let distinct = words.len();
            text +=
                &format!("words: {}, {distinct} different ones besides stop words\n", self.words);
            text + &format!("bytes: {}\n", self.bytes)
        }

        fn path(&self, name: &str) -> PathBuf {
            self.directory.join(name)
        }
    }

    impl Drop for Corpus {
        fn drop(&mut self) {
            let removed = fs::remove_dir_all(&self.directory);
            assert!(removed.is_ok() || thread::panicking(), "{removed:?}");
        }
    }

    fn sandbox(paths: &[&Path], options: &[&str]) -> Output {
        let mut command = Command::new(program("sandbox"));
        let output = finish(command.args(options).args(paths));
        assert_eq!(output.code, Some(0), "{}", output.stderr);
        output
    }

    fn replaced(output: &Output) -> u32 {
        let line = output.stderr.lines().find(|line| line.contains(" workers replaced"));
        line.map_or(0, |line| line.split(' ').next().unwrap().parse().unwrap())
    }

    #[test]
    fn sandbox_counts_a_known_corpus() {
        let corpus = Corpus::generated();
        for workers in ["1", "2", "7"] {
            let output = sandbox(&[&corpus.directory], &["--workers", workers]);
            assert_eq!(output.stdout, corpus.expected(0, 0), "{workers} workers");
            assert_eq!(replaced(&output), 0, "{}", output.stderr);
        }
    }

    #[test]
    fn sandbox_result_does_not_depend_on_who_dies() {
        let corpus = Corpus::generated();
        for _ in 0..5 {
            let output = sandbox(&[&corpus.directory], &["--workers", "3", "--chaos"]);
            assert_eq!(output.stdout, corpus.expected(0, 0), "{}", output.stderr);
            assert!(replaced(&output) > 0, "{}", output.stderr);
            assert!(!output.stderr.contains("skipped"), "{}", output.stderr);
        }
    }

    #[test]
    fn sandbox_counts_below_the_current_directory() {
        let mut corpus = Corpus::empty();
        for directory in ["target", ".hidden", "a", "a/b"] {
            fs::create_dir(corpus.path(directory)).unwrap();
        }
        fs::write(corpus.path("target/no"), "no").unwrap();
        fs::write(corpus.path(".hidden/no"), "no").unwrap();
        symlink("a", corpus.path("again")).unwrap();
        symlink("a/yes", corpus.path("yes")).unwrap();
        corpus.counts.insert(String::from("yes"), 2);
        corpus.words = 2;
        corpus.add("a/yes", b"yes");
        corpus.add("a/b/yes", b"Yes!");
        let output = finish(Command::new(program("sandbox")).current_dir(&corpus.directory));
        assert_eq!(output.stdout, corpus.expected(0, 0), "{}", output.stderr);
    }

    #[test]
    fn sandbox_skips_what_it_cannot_read() {
        let mut corpus = Corpus::empty();
        corpus.counts.insert(String::from("good"), 1);
        corpus.words = 1;
        corpus.add("good", b"good");
        corpus.add("empty", b"");
        fs::write(corpus.path("binary"), b"\x7fELF\0\0").unwrap();
        symlink("nowhere", corpus.path("dangling")).unwrap();
        assert!(Command::new("mkfifo").arg(corpus.path("pipe")).status().unwrap().success());
        let names = ["good", "missing", "empty", "binary", "dangling", "pipe"];
        let paths = names.map(|name| corpus.path(name));
        let paths: Vec<&Path> =
            paths.iter().map(PathBuf::as_path).chain([Path::new("/dev/null")]).collect();
        let output = sandbox(&paths, &[]);
        assert_eq!(output.stdout, corpus.expected(1, 4), "{}", output.stderr);
        for name in [
            "missing: No such file",
            "dangling: No such file",
            "null: not a regular file",
            "pipe: not a regular file",
        ] {
            assert!(output.stderr.contains(name), "{name}: {}", output.stderr);
        }
    }

    #[test]
    fn sandbox_needs_few_descriptors_for_many_files() {
        let mut corpus = Corpus::empty();
        corpus.counts.insert(String::from("word"), 1500);
        corpus.words = 1500;
        for file in 0..1500 {
            corpus.add(&file.to_string(), b"word");
        }
        let limited =
            format!("ulimit -n 40 && exec {} --workers 2 --chaos .", program("sandbox").display());
        let output =
            finish(Command::new("sh").args(["-c", &limited]).current_dir(&corpus.directory));
        assert_eq!(output.stdout, corpus.expected(0, 0), "{}", output.stderr);
    }

    /// A file that takes over its workers is given up, and nothing else is the worse for it.
    #[test]
    fn sandbox_survives_workers_that_were_taken_over() {
        let deeds = [
            ("crash", "it gave no answer, and ended with signal: 6"),
            ("hang", "it took too long"),
            ("silence", "it gave no answer"),
            ("noise", "it sent something that is not a reply"),
            ("flood", "it sent too many words at once"),
            ("forge", "it sent something that is not a word"),
            ("lie", "it counted more words than the file can hold"),
        ];
        for (deed, complaint) in deeds {
            let mut corpus = Corpus::empty();
            corpus.counts.insert(String::from("innocent"), 50);
            corpus.words = 50;
            for file in 0..50 {
                corpus.add(&format!("{file}.txt"), b"innocent");
            }
            fs::write(corpus.path("guilty.txt"), format!("drill: {deed}\n")).unwrap();
            let timeout = if deed == "hang" { "1" } else { "100" };
            let options = ["--drill", "--workers", "2", "--timeout", timeout];
            let output = sandbox(&[&corpus.directory], &options);
            assert_eq!(output.stdout, corpus.expected(0, 1), "{deed}: {}", output.stderr);
            let report = format!("guilty.txt: 3 workers failed, the last: {complaint}");
            assert!(output.stderr.contains(&report), "{deed}: {}", output.stderr);
            assert_eq!(replaced(&output), 3, "{deed}: {}", output.stderr);
        }
    }

    /// Without `--drill` the same file is a text like any other.
    #[test]
    fn sandbox_drills_only_when_told_to() {
        let mut corpus = Corpus::empty();
        corpus.counts.extend([(String::from("drill"), 1), (String::from("crash"), 1)]);
        corpus.words = 2;
        corpus.add("drill.txt", b"drill: crash\n");
        let output = sandbox(&[&corpus.directory], &[]);
        assert_eq!(output.stdout, corpus.expected(0, 0), "{}", output.stderr);
    }

    #[test]
    fn sandbox_hears_an_answer_once() {
        let mut corpus = Corpus::empty();
        corpus.counts.insert(String::from("once"), 1);
        corpus.words = 1;
        corpus.add("drill.txt", b"drill: twice\n");
        corpus.bytes = 1;
        for _ in 0..10 {
            let output = sandbox(&[&corpus.directory], &["--drill"]);
            assert_eq!(output.stdout, corpus.expected(0, 0), "{}", output.stderr);
        }
    }

    /// A confined worker gets at nothing. Where the kernel has nothing to confine it with, the sandbox says so.
    #[test]
    fn sandbox_workers_cannot_escape() {
        let corpus = Corpus::empty();
        let bait = format!("drill: escape\n{}", "bait ".repeat(100));
        fs::write(corpus.path("drill.txt"), bait).unwrap();
        let output = sandbox(&[&corpus.directory], &["--drill"]);
        let words: Vec<_> = output
            .stdout
            .lines()
            .filter_map(|line| line.trim_start().strip_prefix("1  "))
            .collect();
        assert!(words.contains(&"tried"), "{}", output.stdout);
        if output.stderr.contains("workers: no seccomp") {
            return;
        }
        assert_eq!(words, ["tried"], "{}", output.stderr);
    }

    #[test]
    fn sandbox_explains_its_arguments() {
        for arguments in [&["--workers", "0"][..], &["--workers"], &["--timeout", "x"], &["--no"]] {
            let output = run("sandbox", arguments);
            assert_eq!((output.code, output.stdout.as_str()), (Some(2), ""));
            assert!(output.stderr.contains("usage: sandbox"), "{}", output.stderr);
        }
        let output = run("sandbox", ["--help"]);
        assert_eq!(output.code, Some(0));
        assert!(output.stdout.contains("usage: sandbox"));
    }
}

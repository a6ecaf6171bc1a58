//! The examples with several processes.
//!
//! The sandbox counts a corpus whose words are known. Its result must be the same whatever
//! happens to its workers, and whatever a hostile file contains. That takes most of this file.

use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{OpenOptionsExt, symlink};
use std::path::Path;
use std::sync::atomic::{AtomicU32, Ordering};

use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};

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
    assert_eq!(output.sorted_lines(), [client, client, client, "server: 12 tickets for 3 clients"]);
    assert_eq!((output.code, output.stderr.as_str()), (Some(0), ""));
}

/// A directory of files, and the result that the sandbox should print.
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

    /// Files of all sizes: empty, smaller than a packet, larger than a buffer, with more
    /// different words than a worker keeps.
    fn generated() -> Corpus {
        let mut corpus = Corpus::empty();
        let mut numbers = Numbers(7);
        let separators = [" ", "\n", ", ", "—", "_", "\r\n\t"];
        for file in 0..60 {
            let words = [0, 1, 100, 3000][file % 4] * (1 + file / 20);
            let mut text = String::new();
            for _ in 0..words {
                // Small numbers are frequent, so that the order of the most frequent words is
                // no accident.
                let limit = 1 + numbers.below(400);
                let word = numbers.below(limit);
                corpus.add_word(&mut text, ["wört", "Word", "WORD"][word % 3], word);
                text += separators[numbers.below(separators.len())];
            }
            corpus.add(&format!("{file}.txt"), text.as_bytes());
        }
        let mut text = String::new();
        for word in (0..40_000).chain(0..40_000) {
            corpus.add_word(&mut text, "rare", word);
            text += "\n";
            if word % 20 == 0 {
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
            let words = 30_000;
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

    /// The expected output if so many other files are no text or cannot be read.
    fn expected(&self, binary: u64, skipped: u64) -> String {
        let mut words: Vec<_> =
            self.counts.iter().map(|(word, count)| (-(*count as i64), word)).collect();
        words.sort_unstable();
        let mut text = String::new();
        for (count, word) in words.iter().take(20) {
            text += &format!("{:>12}  {word}\n", -count);
        }
        text += &format!("files: {} counted, {binary} not text, {skipped} skipped\n", self.files);
        let distinct = words.len();
        text += &format!("words: {}, {distinct} different ones besides stop words\n", self.words);
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

/// Runs the sandbox with long timeouts, because a machine may be slow or busy.
fn sandbox(paths: &[&Path], options: &[&str]) -> Output {
    finish(Command::new(program("sandbox")).args(PATIENT).args(options).args(paths))
}

const PATIENT: [&str; 2] = ["--timeout", "100"];

/// Checks that the sandbox has counted everything, or has reported that it has not.
#[track_caller]
fn assert_result(output: &Output, expected: &str) {
    assert_eq!(output.stdout, expected, "{}", output.stderr);
    let code = if expected.contains(" 0 skipped\n") { 0 } else { 3 };
    assert_eq!(output.code, Some(code), "{}", output.stderr);
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
        assert_result(&output, &corpus.expected(0, 0));
        assert_eq!(replaced(&output), 0, "{}", output.stderr);
    }
}

#[test]
fn sandbox_result_does_not_depend_on_which_worker_dies() {
    let corpus = Corpus::generated();
    for _ in 0..3 {
        let output = sandbox(&[&corpus.directory], &["--workers", "3", "--chaos"]);
        assert_result(&output, &corpus.expected(0, 0));
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
    fs::write(corpus.path("target/file"), "hidden").unwrap();
    fs::write(corpus.path(".hidden/file"), "hidden").unwrap();
    symlink("a", corpus.path("again")).unwrap();
    symlink("a/yes", corpus.path("yes")).unwrap();
    corpus.counts.insert(String::from("yes"), 2);
    corpus.words = 2;
    corpus.add("a/yes", b"yes");
    corpus.add("a/b/yes", b"Yes!");
    assert!(Command::new("mkfifo").arg(corpus.path("pipe")).status().unwrap().success());
    let count = |options: &[&str]| {
        let mut command = Command::new(program("sandbox"));
        finish(command.args(PATIENT).args(options).current_dir(&corpus.directory))
    };
    let output = count(&[]);
    assert_result(&output, &corpus.expected(0, 0));
    let left_out = "left out: hidden directories (1), directories called target (1), \
                    symbolic links (2), pipes, sockets and devices (1); \
                    --all takes the directories\n";
    assert!(output.stderr.contains(left_out), "{}", output.stderr);

    let output = count(&["--all"]);
    corpus.counts.insert(String::from("hidden"), 2);
    corpus.words += 2;
    corpus.bytes += 12;
    corpus.files += 2;
    assert_result(&output, &corpus.expected(0, 0));
    let left_out = "left out: symbolic links (2), pipes, sockets and devices (1)\n";
    assert!(output.stderr.contains(left_out), "{}", output.stderr);

    // A file that is named as an argument is never skipped.
    let output = sandbox(&[&corpus.path("target"), &corpus.path(".hidden/file")], &[]);
    assert!(output.stdout.contains("files: 2 counted"), "{}", output.stdout);
    assert!(!output.stderr.contains("left out"), "{}", output.stderr);
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
    assert_result(&output, &corpus.expected(1, 4));
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
    let limited = format!(
        "ulimit -n 40 && exec {} --timeout 100 --workers 2 --chaos .",
        program("sandbox").display()
    );
    let output = finish(Command::new("sh").args(["-c", &limited]).current_dir(&corpus.directory));
    assert_result(&output, &corpus.expected(0, 0));
}

/// A file that takes over its workers is skipped, and no other file is affected.
#[test]
fn sandbox_survives_workers_that_were_taken_over() {
    let deeds = [
        ("crash", "it gave no answer, and ended with signal: 6"),
        ("hang", "it took too long"),
        ("silence", "it gave no answer"),
        ("noise", "it sent something that is not a reply"),
        ("flood", "it sent too many words at once"),
        ("bloat", "it sent something that is not a reply"),
        ("boast", "it reported progress that it can't have made"),
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
        let options = ["--timeout", timeout, "--drill", "--workers", "2"];
        let output = sandbox(&[&corpus.directory], &options);
        assert_result(&output, &corpus.expected(0, 1));
        let report = format!("guilty.txt: 3 workers failed, the last: {complaint}");
        let report = if deed == "crash" { report } else { report + "\n" };
        assert!(output.stderr.contains(&report), "{deed}: {}", output.stderr);
        assert_eq!(replaced(&output), 3, "{deed}: {}", output.stderr);
    }
}

/// Without `--drill` the same file is a text like any other.
#[test]
fn sandbox_drills_only_with_the_drill_option() {
    let mut corpus = Corpus::empty();
    corpus.counts.extend([(String::from("drill"), 1), (String::from("crash"), 1)]);
    corpus.words = 2;
    corpus.add("drill.txt", b"drill: crash\n");
    let output = sandbox(&[&corpus.directory], &[]);
    assert_result(&output, &corpus.expected(0, 0));
}

#[test]
fn sandbox_counts_a_repeated_answer_once() {
    let mut corpus = Corpus::empty();
    corpus.counts.insert(String::from("once"), 1);
    corpus.words = 1;
    corpus.add("drill.txt", b"drill: twice\n");
    corpus.bytes = 1;
    for _ in 0..10 {
        let output = sandbox(&[&corpus.directory], &["--drill"]);
        assert_result(&output, &corpus.expected(0, 0));
    }
}

/// A confined worker has no access to files, network or processes. If the kernel cannot confine
/// it, the sandbox reports that.
#[test]
fn sandbox_workers_cannot_escape() {
    let corpus = Corpus::empty();
    let bait = format!("drill: escape\n{}", "bait ".repeat(100));
    fs::write(corpus.path("drill.txt"), bait).unwrap();
    let output = sandbox(&[&corpus.directory], &["--drill"]);
    let words: Vec<_> =
        output.stdout.lines().filter_map(|line| line.trim_start().strip_prefix("1  ")).collect();
    assert!(words.contains(&"tried"), "{}", output.stdout);
    if output.stderr.contains("workers: no seccomp") {
        return;
    }
    assert_eq!(words, ["tried"], "{}", output.stderr);
}

/// A worker gets its next job before it has finished the current one. If the worker fails, the
/// file of the next job is not counted as failed.
#[test]
fn sandbox_gives_a_worker_a_job_ahead() {
    let mut corpus = Corpus::empty();
    let innocent = String::from("innocent");
    corpus.counts.extend([(innocent, 1), (String::from("grabbed"), 1)]);
    // The longest file comes first.
    corpus.add("drill.txt", b"drill: grab\n");
    corpus.add("innocent.txt", b"innocent");
    corpus.words = 2;
    corpus.bytes = 9;
    let output = sandbox(&[&corpus.directory], &["--drill", "--workers", "1"]);
    assert_result(&output, &corpus.expected(0, 0));
    assert_eq!(replaced(&output), 1, "{}", output.stderr);
}

/// While a file stalls in the middle, half of it is shown as done, and nothing once its workers
/// have failed.
#[test]
fn sandbox_shows_progress_within_a_file() {
    let corpus = Corpus::empty();
    let text = String::from("drill: stall\n") + &" ".repeat((512 << 10) - 13);
    fs::write(corpus.path("stall.txt"), text).unwrap();
    let arguments = ["--drill", "--workers", "1", "--timeout", "1"];

    let (shown, code) =
        on_a_terminal(Command::new(program("sandbox")).args(arguments).arg(&corpus.directory));
    for state in ["0 of 1 files, 256.00 KiB of 512.00 KiB", "0 of 1 files, 0 B of 512.00 KiB"] {
        assert!(shown.contains(state), "{state} is not in {shown}");
    }
    assert!(shown.contains("stall.txt: 3 workers failed, the last: it took too long"));
    assert_eq!(code, Some(3));

    let output = sandbox(&[&corpus.path("missing")], &[]);
    assert!(!output.stderr.contains("of 0 files"), "{}", output.stderr);
}

/// Runs a command whose standard error is a terminal, and returns what that shows.
fn on_a_terminal(command: &mut Command) -> (String, Option<i32>) {
    let flags = OpenptFlags::RDWR | OpenptFlags::NOCTTY;
    let screen = openpt(flags).unwrap();
    grantpt(&screen).unwrap();
    unlockpt(&screen).unwrap();
    let path = ptsname(&screen, Vec::new()).unwrap();
    let terminal = fs::File::options()
        .read(true)
        .write(true)
        .custom_flags(libc::O_NOCTTY)
        .open(OsStr::from_bytes(path.as_bytes()))
        .unwrap();
    command.env("TERM", "xterm").stdin(Stdio::null()).stdout(Stdio::null()).stderr(terminal);
    let mut child = command.spawn().unwrap();
    // The terminal hangs up when all processes have closed it, including this one.
    command.stderr(Stdio::null());
    let (sender, receiver) = mpsc::channel();
    let mut screen = fs::File::from(screen);
    thread::spawn(move || {
        let (mut shown, mut buffer) = (Vec::new(), [0; 4096]);
        while let Ok(read @ 1..) = screen.read(&mut buffer) {
            shown.extend_from_slice(&buffer[..read]);
        }
        sender.send(shown)
    });
    let shown = receiver.recv_timeout(WATCHDOG);
    if shown.is_err() {
        child.kill().unwrap();
    }
    let code = child.wait().unwrap().code();
    (String::from_utf8_lossy(&shown.expect("the watchdog has barked")).into_owned(), code)
}

#[test]
fn sandbox_exit_status_is_an_error_unless_everything_was_counted() {
    let mut corpus = Corpus::empty();
    let missing = corpus.path("missing");
    let output = sandbox(&[&missing], &[]);
    assert_result(&output, &corpus.expected(0, 1));
    let output = sandbox(&[&corpus.directory], &[]);
    assert_result(&output, &corpus.expected(0, 0));
    corpus.counts.insert(String::from("word"), 1);
    corpus.words = 1;
    corpus.add("file", b"word");
    let output = sandbox(&[&missing, &corpus.directory], &[]);
    assert_result(&output, &corpus.expected(0, 1));
}

/// As `sandbox | head` does.
#[test]
fn sandbox_survives_a_closed_standard_output() {
    let mut corpus = Corpus::empty();
    corpus.add("file", b"word");
    let path = corpus.path("file");
    for arguments in [&["--help"][..], &[path.to_str().unwrap()]] {
        let (reader, writer) = rustix::pipe::pipe().unwrap();
        drop(reader);
        let mut child = Command::new(program("sandbox"))
            .args(arguments)
            .stdin(Stdio::null())
            .stdout(writer)
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let stderr = read_to_end(child.stderr.take().unwrap()).recv_timeout(WATCHDOG);
        if stderr.is_err() {
            child.kill().unwrap();
        }
        let code = child.wait().unwrap().code();
        let stderr = String::from_utf8(stderr.expect("the watchdog has barked")).unwrap();
        assert_eq!(code, Some(0), "{stderr}");
        assert!(!stderr.contains("panicked") && !stderr.contains("pipe"), "{stderr}");
    }
}

#[test]
fn sandbox_reports_that_its_result_could_not_be_written() {
    let mut corpus = Corpus::empty();
    corpus.add("file", b"word");
    let full = format!("exec {} file > /dev/full", program("sandbox").display());
    let output = finish(Command::new("sh").args(["-c", &full]).current_dir(&corpus.directory));
    assert_eq!(output.code, Some(1), "{}", output.stderr);
    let complaint = "sandbox: the result could not be written: No space left on device";
    assert!(output.stderr.contains(complaint), "{}", output.stderr);
}

#[test]
fn sandbox_explains_its_arguments() {
    let mistakes: [(&[&str], &str); 12] = [
        (&["--workers", "0"], "--workers takes a number from 1 to 256, not 0"),
        (&["--workers", "257"], "--workers takes a number from 1 to 256, not 257"),
        (&["--workers", "-1"], "--workers takes a number from 1 to 256, not -1"),
        (&["--workers"], "--workers takes a number from 1 to 256, and there is none"),
        (&["--timeout", "0"], "--timeout takes a number from 1 to 86400, not 0"),
        (&["--timeout", "0.9"], "--timeout takes a number from 1 to 86400, not 0.9"),
        (&["--timeout", "86401"], "--timeout takes a number from 1 to 86400, not 86401"),
        (&["--timeout", "nan"], "--timeout takes a number from 1 to 86400, not nan"),
        (&["--timeout", "x"], "--timeout takes a number from 1 to 86400, not x"),
        (&["--no"], "there is no option --no"),
        (&["--worker", "file"], "--worker takes no other arguments"),
        (&["file", "--worker"], "there is no option --worker"),
    ];
    for (arguments, complaint) in mistakes {
        let output = run("sandbox", arguments);
        assert_eq!((output.code, output.stdout.as_str()), (Some(2), ""));
        let first = output.stderr.lines().next();
        assert_eq!(first, Some(format!("sandbox: {complaint}").as_str()));
        assert!(output.stderr.contains("usage: sandbox"), "{}", output.stderr);
    }
    let output = run("sandbox", ["--help"]);
    assert_eq!((output.code, output.stderr.as_str()), (Some(0), ""));
    assert!(output.stdout.starts_with("usage: sandbox"));
    for status in ["  0  every", "  1  there is no result", "  2  the arg", "  3  there is a"] {
        assert!(output.stdout.contains(status), "{status}");
    }
}

#[test]
fn sandbox_worker_needs_a_parent() {
    let output = run("sandbox", ["--worker"]);
    assert_eq!((output.code, output.stdout.as_str()), (Some(1), ""));
    assert!(output.stderr.contains("not started with a channel"), "{}", output.stderr);
}

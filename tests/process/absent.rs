//! Children that never call `parent`, and programs that do not start.

use std::path::Path;
use std::thread;

use rustix::io::Errno;
use rustix::process::{WaitOptions, waitpid};
use strait::process::ChannelCommand;

use super::*;
use crate::connected::{echo_command, end_echo, start_echo};

/// Takes as long as it is let.
#[test]
fn silent_child() {
    child_main(|_| {
        loop {
            thread::park();
        }
    });
}

/// Has the handle no more, and lives on.
#[test]
fn child_that_closes_its_channel() {
    child_main(|_| {
        drop(strait::internals::inherited().unwrap());
        loop {
            thread::park();
        }
    });
}

#[test]
fn a_child_that_says_nothing_is_an_error_and_gone() {
    let _watchdog = watchdog();
    for timeout in [Duration::ZERO, Duration::from_millis(100)] {
        let starting =
            harness::command("absent::silent_child", &[]).start_with_channel::<(), ()>().unwrap();
        let id = starting.id();
        let error = starting.connect(timeout).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
        assert!(error.to_string().contains("strait::process::parent"), "{error}");
        assert!(!Path::new(&format!("/proc/{id}")).exists());
    }
}

#[test]
fn a_child_that_ends_too_early_is_an_error_that_says_how() {
    let _watchdog = watchdog();
    for (script, end) in [("exit 3", "exit status: 3"), ("kill -ABRT $$", "signal: 6")] {
        let mut command = Command::new("/bin/sh");
        command.args(["-c", script]);
        let error = command.spawn_with_channel::<(), ()>().unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::ConnectionAborted);
        assert!(error.to_string().contains(end), "{error}");
    }
}

#[test]
fn a_child_that_closes_its_channel_is_an_error_and_gone() {
    let _watchdog = watchdog();
    let starting = harness::command("absent::child_that_closes_its_channel", &[])
        .start_with_channel::<(), ()>()
        .unwrap();
    let id = starting.id();
    let error = starting.connect(LONG).unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::ConnectionAborted);
    assert!(error.to_string().contains("closed its channel"), "{error}");
    assert!(!Path::new(&format!("/proc/{id}")).exists());
}

#[test]
fn a_program_that_does_not_exist_is_an_error() {
    let _watchdog = watchdog();
    let mut command = Command::new("/nonexistent/program");
    let error = command.spawn_with_channel::<(), ()>().unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::NotFound);
    assert!(!error.to_string().contains("STRAIT_PARENT"), "{error}");
}

#[test]
fn nothing_is_left_of_processes_that_did_not_start() {
    harness::alone("absent::nothing_is_left_of_processes_that_did_not_start", || {
        let mut echo = echo_command();
        end_echo(start_echo(&mut echo));
        let before = harness::handles();
        for round in 0..200 {
            match round % 5 {
                0 => end_echo(start_echo(&mut echo)),
                1 => {
                    let mut missing = Command::new("/nonexistent/program");
                    missing.spawn_with_channel::<(), ()>().unwrap_err();
                }
                2 => drop(Command::new("/bin/true").spawn_with_channel::<(), ()>().unwrap_err()),
                3 => drop(echo.start_with_channel::<Vec<u8>, Vec<u8>>().unwrap()),
                _ => {
                    let starting = echo.start_with_channel::<Vec<u8>, Vec<u8>>().unwrap();
                    // In time if it is very quick.
                    if let Ok(started) = starting.connect(Duration::from_millis(1)) {
                        end_echo(started);
                    }
                }
            }
            assert_eq!(harness::handles_besides(&before), [], "round {round}");
        }
        assert_eq!(waitpid(None, WaitOptions::NOHANG).unwrap_err(), Errno::CHILD);
    });
}

#[test]
fn without_descriptors_nothing_starts_and_nothing_is_left() {
    use std::fs::File;

    use rustix::process::{Resource, Rlimit, setrlimit};

    harness::alone("absent::without_descriptors_nothing_starts_and_nothing_is_left", || {
        let mut echo = echo_command();
        end_echo(start_echo(&mut echo));
        setrlimit(Resource::Nofile, Rlimit { current: Some(64), maximum: Some(64) }).unwrap();
        let mut files: Vec<File> = std::iter::from_fn(|| File::open("/dev/null").ok()).collect();
        assert!(files.len() > 40);
        let mut failed = 0;
        loop {
            match echo.start_with_channel::<Vec<u8>, Vec<u8>>() {
                Ok(starting) => {
                    // Waiting for it needs no descriptor, either.
                    let (mut child, to_child, from_child) = starting.connect(LONG).unwrap();
                    files.extend(std::iter::from_fn(|| File::open("/dev/null").ok()));
                    assert_eq!(child.wait_timeout(Duration::from_millis(30)).unwrap(), None);
                    end_echo((child, to_child, from_child));
                    break;
                }
                Err(error) => {
                    failed += 1;
                    let errno = Errno::from_io_error(&error);
                    assert_eq!(errno, Some(Errno::MFILE), "{error}");
                }
            }
            // All that were to spare before are to spare again.
            let more: Vec<File> = std::iter::from_fn(|| File::open("/dev/null").ok()).collect();
            assert_eq!(more.len(), failed - 1);
            files.extend(more);
            files.truncate(files.len() - failed);
        }
        assert!(failed > 8, "{failed}");
        assert_eq!(waitpid(None, WaitOptions::NOHANG).unwrap_err(), Errno::CHILD);
    });
}

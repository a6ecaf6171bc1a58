//! Children that never call `parent`, and programs that do not start.

use std::fs;
use std::path::Path;
use std::ptr;
use std::thread;

use rustix::io::Errno;
use rustix::process::{Pid, WaitOptions, waitpid};
use strait::process::ChannelCommand;

use super::*;
use crate::connected::{echo_command, end_echo, start_echo};
use crate::harness::fork::fork;

/// Runs until its input ends or it is killed.
#[test]
fn silent_child() {
    child_main(|_| {
        loop {
            thread::park();
        }
    });
}

/// Closes its channel, and keeps running.
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
fn child_that_sends_nothing_is_an_error_and_is_reaped() {
    let _watchdog = watchdog();
    for timeout in [Duration::ZERO, Duration::from_millis(100)] {
        let starting = harness::command(harness::path_of(silent_child), &[])
            .start_with_channel::<(), ()>()
            .unwrap();
        let id = starting.id();
        let error = starting.connect(timeout).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
        assert!(error.to_string().contains("strait::process::parent"), "{error}");
        assert!(!Path::new(&format!("/proc/{id}")).exists());
    }
}

#[test]
fn child_that_ends_too_early_is_an_error_with_its_status() {
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
fn child_that_closes_its_channel_is_an_error_and_is_reaped() {
    let _watchdog = watchdog();
    let starting = harness::command(harness::path_of(child_that_closes_its_channel), &[])
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
fn processes_that_did_not_start_leave_no_handles() {
    harness::alone(harness::path_of(processes_that_did_not_start_leave_no_handles), || {
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
                    // It may have ended before, if it is very fast.
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
fn without_descriptors_no_process_starts_and_no_handle_is_left() {
    use std::fs::File;

    use rustix::process::{Resource, Rlimit, setrlimit};

    harness::alone(
        harness::path_of(without_descriptors_no_process_starts_and_no_handle_is_left),
        || {
            let mut echo = echo_command();
            end_echo(start_echo(&mut echo));
            setrlimit(Resource::Nofile, Rlimit { current: Some(64), maximum: Some(64) }).unwrap();
            let mut files: Vec<File> =
                std::iter::from_fn(|| File::open("/dev/null").ok()).collect();
            assert!(files.len() > 40);
            let mut failed = 0;
            loop {
                match echo.start_with_channel::<Vec<u8>, Vec<u8>>() {
                    Ok(starting) => {
                        // Waiting for it needs no file descriptor, either.
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
                // As many file descriptors are free as before.
                let more: Vec<File> = std::iter::from_fn(|| File::open("/dev/null").ok()).collect();
                assert_eq!(more.len(), failed - 1);
                files.extend(more);
                files.truncate(files.len() - failed);
            }
            assert!(failed >= 8, "{failed}");
            assert_eq!(waitpid(None, WaitOptions::NOHANG).unwrap_err(), Errno::CHILD);
        },
    );
}

#[test]
fn a_forked_child_kills_no_process_of_its_parent() {
    harness::alone(harness::path_of(a_forked_child_kills_no_process_of_its_parent), || {
        let (mut child, to_child, from_child) = start_echo(&mut echo_command());
        child.kill_on_drop(true);
        let mut inherited = Some(child);
        fork(|| drop(inherited.take())).completed();
        // A killed child writes nothing more.
        end_echo((inherited.unwrap(), to_child, from_child));
    });
}

/// Kills a child that it cannot reap, because its own parent traces it.
#[test]
fn parent_of_a_traced_child() {
    child_main(|_| {
        let (to_parent, from_parent) = process::parent::<u32, ()>().unwrap();
        let silent = || {
            let mut command = harness::command(harness::path_of(silent_child), &[]);
            command.start_with_channel::<(), ()>().unwrap()
        };
        let starting = silent();
        to_parent.send(starting.id()).unwrap();
        from_parent.recv().unwrap();
        let error = starting.connect(Duration::from_millis(10)).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::TimedOut, "{error}");
        let starting = silent();
        to_parent.send(starting.id()).unwrap();
        from_parent.recv().unwrap();
        drop(starting);
        to_parent.send(0).unwrap();
        from_parent.recv().unwrap();
        // The tracer has ended: the remaining children are reaped with the next one.
        drop(silent());
        assert_eq!(waitpid(None, WaitOptions::NOHANG).unwrap_err(), Errno::CHILD);
    });
}

#[test]
#[allow(unsafe_code)]
fn killed_child_that_is_traced_blocks_no_call() {
    harness::alone(harness::path_of(killed_child_that_is_traced_blocks_no_call), || {
        let mut command = harness::command(harness::path_of(parent_of_a_traced_child), &[]);
        let (mut child, to_child, from_child) = command.spawn_with_channel::<(), u32>().unwrap();
        let traced = [(); 2].map(|()| {
            let id = Pid::from_raw(from_child.recv().unwrap().try_into().unwrap()).unwrap();
            let nothing = ptr::null_mut::<libc::c_void>();
            let number = id.as_raw_nonzero().get();
            // SAFETY: it reads and writes no memory of this process.
            let result = unsafe { libc::ptrace(libc::PTRACE_SEIZE, number, nothing, nothing) };
            assert_eq!(result, 0, "{}", io::Error::last_os_error());
            to_child.send(()).unwrap();
            id
        });
        assert_eq!(from_child.recv().unwrap(), 0);
        // Each was killed, and its end is reported to this process, the tracer, first.
        for id in traced {
            let (_, status) = waitpid(Some(id), WaitOptions::empty()).unwrap().unwrap();
            assert_eq!(status.terminating_signal(), Some(libc::SIGKILL));
        }
        to_child.send(()).unwrap();
        assert_eq!(child.wait().unwrap().code(), Some(COMPLETED));
    });
}

#[test]
#[allow(unsafe_code)]
fn where_child_signals_are_ignored_everything_ends_with_a_documented_error() {
    let function =
        harness::path_of(where_child_signals_are_ignored_everything_ends_with_a_documented_error);
    harness::alone(function, || {
        // SAFETY: no other thread of this process uses the signal.
        unsafe { libc::signal(libc::SIGCHLD, libc::SIG_IGN) };
        let kind_of =
            |command: &mut Command| command.spawn_with_channel::<(), ()>().unwrap_err().kind();
        // Without a channel, std has the same outcome.
        for no_program in ["/nonexistent/program", "no-such-program", "", "/", "/etc/passwd"] {
            let expected = Command::new(no_program).spawn().unwrap_err().kind();
            assert_eq!(kind_of(&mut Command::new(no_program)), expected, "{no_program}");
        }
        let mut elsewhere = Command::new("true");
        elsewhere.env("PATH", "/nonexistent");
        assert_eq!(kind_of(&mut elsewhere), io::ErrorKind::NotFound);
        for nowhere in ["/nonexistent", "/etc/passwd"] {
            let mut command = Command::new("/bin/true");
            let expected = fs::read_dir(nowhere).unwrap_err().kind();
            assert_eq!(kind_of(command.current_dir(nowhere)), expected);
        }
        for program in ["/bin/true", "true"] {
            let error = Command::new(program).spawn_with_channel::<(), ()>().unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::ConnectionAborted, "{error}");
        }
        let error = harness::command(harness::path_of(silent_child), &[])
            .start_with_channel::<(), ()>()
            .unwrap()
            .connect(Duration::ZERO)
            .unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);

        let (mut child, to_child, from_child) = start_echo(&mut echo_command());
        assert_eq!(child.try_wait().unwrap(), None);
        to_child.send(b"one".to_vec()).unwrap();
        assert_eq!(from_child.recv().unwrap(), b"one");
        drop(to_child);
        let is_lost = |error: io::Error| Errno::from_io_error(&error) == Some(Errno::CHILD);
        assert!(is_lost(child.wait().unwrap_err()));
        assert!(is_lost(child.try_wait().unwrap_err()));
        assert!(is_lost(child.wait_timeout(LONG).unwrap_err()));
        child.kill().unwrap();
        child.kill_on_drop(true);
    });
}

//! Children that call `parent`, and how they end.

use std::os::fd::OwnedFd;
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::sync::Barrier;
use std::thread;
use std::time::Instant;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::pipe::PipeFlags;
use rustix::process::{Pid, Signal, WaitOptions, waitpid};
use strait::ipc::{IpcReceiver, IpcSender};
use strait::process::{ChannelCommand, Starting};
use strait::{IpcError, TryRecvError};

use super::*;

/// Sends each message back.
#[test]
fn echo_child() {
    child_main(|_| {
        let (to_parent, from_parent) = match process::parent::<Vec<u8>, Vec<u8>>() {
            // Some parents stop waiting, and kill it.
            Err(error) if error.kind() == io::ErrorKind::ConnectionAborted => return,
            channels => channels.unwrap(),
        };
        for message in from_parent {
            to_parent.send(message).unwrap();
        }
    });
}

type Echo = (Child, IpcSender<Vec<u8>>, IpcReceiver<Vec<u8>>);

pub(super) fn start_echo(command: &mut Command) -> Echo {
    command.start_with_channel().unwrap().connect(LONG).unwrap()
}

pub(super) fn echo_command() -> Command {
    harness::command(harness::path_of(echo_child), &[])
}

/// Kills it, and checks that its channel and its exit status show that.
pub(super) fn end_echo((mut child, to_child, from_child): Echo) {
    to_child.send(b"last".to_vec()).unwrap();
    drop(to_child);
    assert_eq!(from_child.recv().unwrap(), b"last");
    assert!(matches!(from_child.recv(), Err(IpcError::Disconnected)));
    let status = child.wait_timeout(LONG).unwrap().unwrap();
    assert_eq!(status.code(), Some(COMPLETED), "{status}");
}

#[test]
fn child_echoes_messages() {
    let _watchdog = watchdog();
    assert!(process::is_supported());
    let (child, to_child, from_child) = echo_command().spawn_with_channel().unwrap();
    for round in 0..100 {
        let message = vec![round; usize::from(round) * 100];
        to_child.send(message.clone()).unwrap();
        assert_eq!(from_child.recv().unwrap(), message);
    }
    end_echo((child, to_child, from_child));
}

#[test]
fn large_messages_are_sent_in_both_directions_at_once() {
    let _watchdog = watchdog();
    let (child, to_child, from_child) = start_echo(&mut echo_command());
    let message = |round: usize| vec![(round % 251) as u8; (round * 7919) % (1 << 20)];
    let sender = to_child.clone();
    let sending = thread::spawn(move || {
        for round in 0..200 {
            sender.send(message(round)).unwrap();
        }
    });
    for round in 0..200 {
        assert!(from_child.recv().unwrap() == message(round), "message {round} is another");
    }
    sending.join().unwrap();
    end_echo((child, to_child, from_child));
}

/// Counts until the receiver is dropped.
#[test]
fn counting_child() {
    child_main(|_| {
        let (to_parent, _from_parent) = process::parent::<u64, ()>().unwrap();
        let stopped = (0..).find_map(|number| to_parent.send(number).err());
        assert!(matches!(stopped, Some(IpcError::Disconnected)));
    });
}

#[test]
fn killed_child_disconnects_and_has_an_exit_status() {
    let _watchdog = watchdog();
    let mut command = harness::command(harness::path_of(counting_child), &[]);
    for round in 0..20_u64 {
        let starting = command.start_with_channel::<(), u64>().unwrap();
        let (mut child, to_child, from_child) = starting.connect(LONG).unwrap();
        let enough = round * round * 31 % 1000;
        for expected in 0..enough {
            assert_eq!(from_child.recv().unwrap(), expected);
        }
        child.kill().unwrap();
        let mut received = enough;
        let end = loop {
            match from_child.recv() {
                Ok(number) => assert_eq!(number, received),
                Err(end) => break end,
            }
            received += 1;
        };
        assert!(matches!(end, IpcError::Disconnected), "{end}");
        assert_eq!(child.wait().unwrap().signal(), Some(libc::SIGKILL));
        assert!(matches!(to_child.send(()), Err(IpcError::Disconnected)));
    }
}

#[test]
fn child_killed_while_it_starts_blocks_no_call() {
    let _watchdog = watchdog();
    let mut command = echo_command();
    let begun = Instant::now();
    let started = start_echo(&mut command);
    let usual = begun.elapsed();
    end_echo(started);
    for round in 0..40_u32 {
        let begun = Instant::now();
        let starting = command.start_with_channel::<Vec<u8>, Vec<u8>>().unwrap();
        let id = Pid::from_raw(starting.id().try_into().unwrap()).unwrap();
        let killing = thread::spawn(move || {
            // Delays from zero to twice the time that it takes to start.
            while begun.elapsed() < usual * round / 20 {
                std::hint::spin_loop();
            }
            rustix::process::kill_process(id, Signal::KILL)
        });
        match starting.connect(LONG) {
            Ok((mut child, _to_child, from_child)) => {
                assert!(matches!(from_child.recv(), Err(IpcError::Disconnected)));
                assert_eq!(child.wait().unwrap().signal(), Some(libc::SIGKILL));
            }
            Err(error) => {
                assert_eq!(error.kind(), io::ErrorKind::ConnectionAborted, "{error}");
                assert!(error.to_string().contains("signal: 9"), "{error}");
            }
        }
        killing.join().unwrap().unwrap();
    }
}

/// Calls `parent` only when its input ends.
#[test]
fn slow_child() {
    child_main(|_| {
        io::copy(&mut io::stdin(), &mut io::sink()).unwrap();
        let (to_parent, _from_parent) = process::parent::<u32, ()>().unwrap();
        to_parent.send(5).unwrap();
    });
}

fn start_one_that_takes_its_time() -> (Starting<(), u32>, OwnedFd) {
    let (input, end_of_input) = rustix::pipe::pipe_with(PipeFlags::CLOEXEC).unwrap();
    let mut command = harness::command(harness::path_of(slow_child), &[]);
    (command.stdin(input).start_with_channel().unwrap(), end_of_input)
}

#[test]
fn a_process_that_starts_can_be_polled() {
    let _watchdog = watchdog();
    let (mut starting, end_of_input) = start_one_that_takes_its_time();
    for short in [Duration::ZERO, Duration::from_millis(10)] {
        assert!(!starting.wait(short));
    }
    let readable = |starting: &Starting<(), u32>, timeout: Option<&Timespec>| {
        poll(&mut [PollFd::new(starting, PollFlags::IN)], timeout).unwrap() == 1
    };
    assert!(!readable(&starting, Some(&Timespec::default())));
    drop(end_of_input);
    assert!(readable(&starting, None));
    for _ in 0..2 {
        assert!(starting.wait(Duration::ZERO));
    }
    let (mut child, _to_child, from_child) = starting.connect(Duration::ZERO).unwrap();
    assert_eq!(from_child.recv().unwrap(), 5);
    assert_eq!(child.wait().unwrap().code(), Some(COMPLETED));
}

#[test]
fn process_that_ends_while_it_is_polled_returns_its_status() {
    let _watchdog = watchdog();
    let mut command = Command::new("/bin/sh");
    command.args(["-c", "exit 3"]);
    let mut starting = command.start_with_channel::<(), ()>().unwrap();
    assert!(starting.wait(LONG));
    let error = starting.connect(Duration::ZERO).unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::ConnectionAborted);
    assert!(error.to_string().contains("exit status: 3"), "{error}");
}

#[cfg(feature = "async")]
#[test]
fn a_process_that_starts_can_be_awaited() {
    use std::future::IntoFuture;

    use futures_lite::future::{block_on, poll_once};

    let _watchdog = watchdog();
    let (starting, end_of_input) = start_one_that_takes_its_time();
    let mut connecting = starting.into_future();
    assert!(block_on(poll_once(&mut connecting)).is_none());
    drop(end_of_input);
    let (mut child, _to_child, from_child) = block_on(&mut connecting).unwrap();
    assert_eq!(from_child.recv().unwrap(), 5);
    assert_eq!(child.wait().unwrap().code(), Some(COMPLETED));
    assert!(block_on(&mut connecting).is_err());

    let starting = Command::new("/bin/false").start_with_channel::<(), ()>().unwrap();
    let error = block_on(starting.into_future()).unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::ConnectionAborted);
    assert!(error.to_string().contains("exit status: 1"), "{error}");

    // A child that was dropped while it started was killed.
    let (starting, _end_of_input) = start_one_that_takes_its_time();
    let id = starting.id();
    let mut connecting = starting.into_future();
    assert!(block_on(poll_once(&mut connecting)).is_none());
    drop(connecting);
    assert!(!Path::new(&format!("/proc/{id}")).exists());
}

#[test]
fn several_get_ready_at_the_same_time() {
    let _watchdog = watchdog();
    let starting: Vec<_> =
        (0..5).map(|_| echo_command().start_with_channel::<Vec<u8>, Vec<u8>>().unwrap()).collect();
    let started: Vec<_> = starting.into_iter().map(|child| child.connect(LONG).unwrap()).collect();
    for (number, (_, to_child, _)) in started.iter().enumerate() {
        to_child.send(vec![number as u8]).unwrap();
    }
    for (number, (child, to_child, from_child)) in started.into_iter().enumerate() {
        assert_eq!(from_child.recv().unwrap(), [number as u8]);
        end_echo((child, to_child, from_child));
    }
}

#[test]
fn threads_start_processes_concurrently() {
    let _watchdog = watchdog();
    let together = Barrier::new(4);
    thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                together.wait();
                let mut command = echo_command();
                for _ in 0..10 {
                    end_echo(start_echo(&mut command));
                }
            });
        }
    });
}

fn exists(id: u32) -> bool {
    Path::new(&format!("/proc/{id}")).exists()
}

#[test]
fn child_with_kill_on_drop_has_ended_after_the_drop() {
    let _watchdog = watchdog();
    let (mut child, _to_child, from_child) = start_echo(&mut echo_command());
    child.kill_on_drop(true);
    let id = child.id();
    assert!(exists(id));
    drop(child);
    assert!(!exists(id));
    assert!(matches!(from_child.recv(), Err(IpcError::Disconnected)));
}

#[test]
fn child_without_kill_on_drop_continues_after_the_drop() {
    let _watchdog = watchdog();
    let (child, to_child, from_child) = start_echo(&mut echo_command());
    let id = child.id();
    drop(child);
    to_child.send(vec![1]).unwrap();
    assert_eq!(from_child.recv().unwrap(), [1]);
    drop(to_child);
    assert!(matches!(from_child.recv(), Err(IpcError::Disconnected)));
    let id = Pid::from_raw(id.try_into().unwrap()).unwrap();
    let (_, status) = waitpid(Some(id), WaitOptions::empty()).unwrap().unwrap();
    assert_eq!(status.exit_status(), Some(COMPLETED));
}

#[test]
fn child_dropped_while_it_starts_has_ended_after_the_drop() {
    let _watchdog = watchdog();
    let starting = echo_command().start_with_channel::<Vec<u8>, Vec<u8>>().unwrap();
    let id = starting.id();
    assert!(exists(id));
    drop(starting);
    assert!(!exists(id));
}

/// Continues in a forked process of its own when its parent has ended, as daemons do.
#[test]
fn daemon_child() {
    child_main(|_| {
        let _daemon = harness::fork::fork(|| {
            let (to_parent, from_parent) = process::parent::<Vec<u8>, Vec<u8>>().unwrap();
            for message in from_parent {
                to_parent.send(message).unwrap();
            }
        });
    });
}

#[test]
fn daemon_serves_the_channel_of_the_child_that_forked_it() {
    let _watchdog = watchdog();
    let (mut child, to_child, from_child) =
        start_echo(&mut harness::command(harness::path_of(daemon_child), &[]));
    assert_eq!(child.wait_timeout(LONG).unwrap().unwrap().code(), Some(COMPLETED));
    to_child.send(vec![1]).unwrap();
    assert_eq!(from_child.recv().unwrap(), [1]);
    drop(to_child);
    assert!(matches!(from_child.recv(), Err(IpcError::Disconnected)));
}

#[test]
fn message_of_another_type_is_one_error() {
    let _watchdog = watchdog();
    let (mut child, to_child, from_child) = harness::command(harness::path_of(counting_child), &[])
        .spawn_with_channel::<(), [bool; 3]>()
        .unwrap();
    let error = from_child.try_recv_timeout(LONG).unwrap_err();
    assert!(matches!(error, TryRecvError::IpcError(IpcError::SerializationError(_))), "{error}");
    drop((to_child, from_child));
    assert_eq!(child.wait().unwrap().code(), Some(COMPLETED));
}

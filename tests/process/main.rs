//! Processes that are started with a channel: they get it, and no other process does. If they
//! do anything else, their parent gets an error in time. This file is long because there are
//! many such things.

#[path = "../harness/mod.rs"]
mod harness;

use std::io;
use std::process::Command;
use std::time::Duration;

use strait::process::{self, Child};

use harness::{COMPLETED, child_main, watchdog};

/// Long enough for anything that happens at all.
const LONG: Duration = Duration::from_secs(60);

#[test]
fn child_that_ends_when_its_input_does() {
    child_main(|_| {
        io::copy(&mut io::stdin(), &mut io::sink()).unwrap();
    });
}

fn start_child_with_input() -> Child {
    let mut command = harness::command(harness::path_of(child_that_ends_when_its_input_does), &[]);
    Child::from(command.stdin(std::process::Stdio::piped()).spawn().unwrap())
}

#[test]
fn wait_timeout_returns_while_the_process_runs() {
    let _watchdog = watchdog();
    let mut child = start_child_with_input();
    // The child runs while its input is open.
    let input = child.stdin.take();
    for short in [Duration::ZERO, Duration::from_nanos(1), Duration::from_millis(30)] {
        assert_eq!(child.wait_timeout(short).unwrap(), None);
    }
    assert_eq!(child.try_wait().unwrap(), None);
    drop(input);
    for long in [LONG, Duration::MAX, Duration::ZERO] {
        let status = child.wait_timeout(long).unwrap();
        assert_eq!(status.unwrap().code(), Some(COMPLETED));
    }
    assert_eq!(child.wait().unwrap().code(), Some(COMPLETED));
    assert_eq!(child.try_wait().unwrap().unwrap().code(), Some(COMPLETED));
    child.kill().unwrap();
}

#[test]
fn waiting_closes_the_input_first() {
    let _watchdog = watchdog();
    for timeout in [LONG, Duration::MAX] {
        let mut child = start_child_with_input();
        let status = child.wait_timeout(timeout).unwrap();
        assert_eq!(status.unwrap().code(), Some(COMPLETED));
    }
    assert_eq!(start_child_with_input().wait().unwrap().code(), Some(COMPLETED));
}

#[test]
fn a_child_can_become_that_of_std_again() {
    let _watchdog = watchdog();
    let mut child = start_child_with_input();
    child.kill_on_drop(true);
    let id = child.id();
    let child = child.into_std();
    assert_eq!(child.id(), id);
    assert!(child.stdin.is_some() && child.stdout.is_none() && child.stderr.is_none());
    assert_eq!(child.wait_with_output().unwrap().status.code(), Some(COMPLETED));
}

#[cfg(any(not(target_os = "linux"), feature = "force-inprocess"))]
#[test]
fn spawn_is_unsupported_where_channels_cannot_leave_the_process() {
    use strait::process::ChannelCommand;

    let _watchdog = watchdog();
    assert!(!process::is_supported());
    let mut command = Command::new("there is no such program");
    let error = command.spawn_with_channel::<u8, u8>().unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::Unsupported);
    let error = process::parent::<u8, u8>().unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::Unsupported);
}

#[cfg(all(target_os = "linux", not(feature = "force-inprocess")))]
mod absent;
#[cfg(all(target_os = "linux", not(feature = "force-inprocess")))]
mod connected;
#[cfg(all(target_os = "linux", not(feature = "force-inprocess")))]
mod inherited;
#[cfg(all(target_os = "linux", not(feature = "force-inprocess")))]
mod variable;

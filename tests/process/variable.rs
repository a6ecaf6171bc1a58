//! What the environment variable may claim, and which other processes may call `parent`.

#![allow(unsafe_code, reason = "other descriptors are inherited, too")]

use std::ffi::{OsStr, OsString};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStringExt;
use std::os::unix::process::CommandExt;
use std::sync::Barrier;
use std::thread;

use rustix::io::FdFlags;
use rustix::net::{AddressFamily, SendFlags, SocketFlags, SocketType, send, socketpair, sockopt};
use strait::process::ChannelCommand;

use super::*;
use crate::connected::{echo_command, end_echo, start_echo};

const VARIABLE: &str = "STRAIT_PARENT";

/// Its first argument is the kind of error that it expects. Its handles must not change, except
/// those that it opens itself.
#[test]
fn child_that_is_refused() {
    child_main(|arguments| {
        let before = harness::handles();
        let error = process::parent::<(), ()>().unwrap_err();
        assert_eq!(format!("{:?}", error.kind()), arguments[0], "{error}");
        if arguments[0] == "NotFound" {
            assert_eq!(harness::handles(), before);
            // The handles are unchanged.
            let error = process::parent::<(), ()>().unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::NotFound, "{error}");
        } else {
            assert_eq!(harness::handles().len(), before.len() - 1);
            let error = process::parent::<(), ()>().unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::AlreadyExists, "{error}");
        }
    });
}

fn refused(value: impl AsRef<OsStr>, heir: Option<&OwnedFd>, kind: &str) {
    let mut command = harness::command(harness::path_of(child_that_is_refused), &[kind]);
    command.env(VARIABLE, value.as_ref());
    if let Some(heir) = heir {
        let number = heir.as_raw_fd();
        let inherit = move || {
            // SAFETY: `heir` outlives the command.
            let fd = unsafe { BorrowedFd::borrow_raw(number) };
            Ok(rustix::io::fcntl_setfd(fd, FdFlags::empty())?)
        };
        // SAFETY: it makes one system call.
        unsafe { command.pre_exec(inherit) };
    }
    harness::start(harness::path_of(child_that_is_refused), &mut command).completed();
}

/// The value of the variable for this file descriptor.
fn value_of(fd: &OwnedFd, number: i32) -> String {
    let about = rustix::fs::fstat(fd).unwrap();
    let cookie = sockopt::socket_cookie(fd).unwrap_or(0);
    format!("{number}:{}:{}:{cookie}", about.st_dev, about.st_ino)
}

fn pair(kind: SocketType) -> (OwnedFd, OwnedFd) {
    socketpair(AddressFamily::UNIX, kind, SocketFlags::CLOEXEC, None).unwrap()
}

#[test]
fn variable_without_a_descriptor_is_refused() {
    let _watchdog = watchdog();
    for value in [
        "",
        "garbage",
        "3",
        ":::",
        "-1:1:1:1",
        "-3:0:0:0",
        "99999999999999999999:1:1:1",
        "2147483648:1:1:1",
        "3:1:1:1:1",
        "3:1:1:-1",
        "3:1:1:99999999999999999999",
        "3:1:1:1 ",
        "1000000:1:1:1",
        "2147483647:1:1:1",
        "3:18446744073709551615:0:0",
    ] {
        refused(value, None, "NotFound");
    }
    refused(OsString::from_vec(b"3:1:1:\xff".to_vec()), None, "NotFound");
}

#[test]
fn variable_with_another_kind_of_descriptor_is_refused() {
    let _watchdog = watchdog();
    let file = OwnedFd::from(std::fs::File::open("/dev/null").unwrap());
    refused(value_of(&file, file.as_raw_fd()), Some(&file), "NotFound");
    for kind in [SocketType::STREAM, SocketType::DGRAM] {
        let (socket, _other) = pair(kind);
        refused(value_of(&socket, socket.as_raw_fd()), Some(&socket), "NotFound");
    }
    let (socket, other) = pair(SocketType::SEQPACKET);
    // Another number, another socket, and another number of the same socket.
    refused(value_of(&socket, socket.as_raw_fd() + 1), Some(&socket), "NotFound");
    refused(value_of(&other, socket.as_raw_fd()), Some(&socket), "NotFound");
    let number = socket.as_raw_fd();
    let right = value_of(&socket, number);
    refused(format!("{right}:0"), Some(&socket), "NotFound");
    refused(format!("{right} "), Some(&socket), "NotFound");
    for place in 1..4 {
        let mut parts: Vec<u64> = right.split(':').map(|part| part.parse().unwrap()).collect();
        parts[place] += 1;
        let wrong: Vec<String> = parts.iter().map(u64::to_string).collect();
        refused(wrong.join(":"), Some(&socket), "NotFound");
    }
}

/// Standard streams belong to std.
#[test]
fn standard_streams_are_not_taken() {
    let _watchdog = watchdog();
    let (socket, _other) = pair(SocketType::SEQPACKET);
    let mut command = harness::command(harness::path_of(child_that_is_refused), &["NotFound"]);
    command.env(VARIABLE, value_of(&socket, 0)).stdin(socket);
    harness::start(harness::path_of(child_that_is_refused), &mut command).completed();
}

#[test]
fn peer_that_sends_nothing_or_garbage_is_an_error_in_time() {
    let _watchdog = watchdog();
    // A peer that holds the other endpoint and sends nothing, a peer that has ended, and a peer
    // that sends garbage.
    let (socket, other) = pair(SocketType::SEQPACKET);
    refused(value_of(&socket, socket.as_raw_fd()), Some(&socket), "ConnectionAborted");
    drop(other);
    refused(value_of(&socket, socket.as_raw_fd()), Some(&socket), "ConnectionAborted");
    let (socket, other) = pair(SocketType::SEQPACKET);
    send(&other, b"nonsense", SendFlags::empty()).unwrap();
    refused(value_of(&socket, socket.as_raw_fd()), Some(&socket), "InvalidData");
}

#[test]
fn child_that_asks_twice() {
    child_main(|_| {
        let (to_parent, _from_parent) = process::parent::<u8, ()>().unwrap();
        let before = harness::handles();
        for _ in 0..2 {
            let error = process::parent::<u8, ()>().unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::AlreadyExists);
        }
        assert_eq!(harness::handles(), before);
        to_parent.send(1).unwrap();
    });
}

#[test]
fn child_that_asks_from_two_threads() {
    child_main(|_| {
        let together = Barrier::new(2);
        let ask = || {
            together.wait();
            process::parent::<u8, ()>()
        };
        let (one, other) = thread::scope(|scope| {
            let other = scope.spawn(ask);
            (ask(), other.join().unwrap())
        });
        let (got, refused) = if one.is_ok() { (one, other) } else { (other, one) };
        assert_eq!(refused.unwrap_err().kind(), io::ErrorKind::AlreadyExists);
        got.unwrap().0.send(1).unwrap();
    });
}

fn expect_one(function: &str) {
    let starting = harness::command(function, &[]).start_with_channel::<(), u8>().unwrap();
    let (mut child, _to_child, from_child) = starting.connect(LONG).unwrap();
    assert_eq!(from_child.recv().unwrap(), 1);
    let status = child.wait().unwrap();
    assert_eq!(status.code(), Some(COMPLETED), "{status}");
}

#[test]
fn a_process_has_its_channel_once() {
    let _watchdog = watchdog();
    expect_one(harness::path_of(child_that_asks_twice));
    for _ in 0..30 {
        expect_one(harness::path_of(child_that_asks_from_two_threads));
    }
}

/// Has the variable in its environment, but not the file descriptor that it names.
#[test]
fn child_with_children() {
    child_main(|_| {
        let (to_parent, _from_parent) = process::parent::<u8, ()>().unwrap();
        let variable = std::env::var_os(VARIABLE);
        assert!(variable.is_some(), "the watchdog is another thread");
        harness::child(harness::path_of(child_that_is_refused), &["NotFound"]).completed();
        // It may have children with channels, though.
        end_echo(start_echo(&mut echo_command()));
        assert_eq!(std::env::var_os(VARIABLE), variable);
        to_parent.send(1).unwrap();
    });
}

#[test]
fn a_childs_children_do_not_have_its_channel() {
    let _watchdog = watchdog();
    expect_one(harness::path_of(child_with_children));
}

/// Lets its own child take the channel, and then calls `parent`.
#[test]
fn child_whose_channel_was_taken() {
    child_main(|_| {
        harness::child(harness::path_of(child_that_sends_one), &[]).completed();
        let error = process::parent::<u8, ()>().unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::ConnectionAborted, "{error}");
    });
}

#[test]
fn child_that_sends_one() {
    child_main(|_| {
        process::parent::<u8, ()>().unwrap().0.send(1).unwrap();
    });
}

#[test]
fn first_process_that_asks_gets_the_channel() {
    let _watchdog = watchdog();
    expect_one(harness::path_of(child_whose_channel_was_taken));
}

/// In a process with one thread, as most have when they begin.
#[test]
fn forked_child() {
    child_main(|_| {
        harness::fork::fork(|| {
            let (to_parent, _from_parent) = process::parent::<u8, ()>().unwrap();
            assert_eq!(std::env::var_os(VARIABLE), None);
            to_parent.send(1).unwrap();
        })
        .completed();
        // This process has another thread, and its own environment.
        assert!(std::env::var_os(VARIABLE).is_some());
    });
}

#[test]
fn the_variable_is_cleared_where_that_is_safe() {
    let _watchdog = watchdog();
    expect_one(harness::path_of(forked_child));
}

/// Connects after its parent has ended, or has stopped waiting for it.
#[test]
fn late_child() {
    child_main(|_| {
        io::copy(&mut io::stdin(), &mut io::sink()).unwrap();
        let error = process::parent::<(), ()>().unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::ConnectionAborted, "{error}");
        println!("the parent does not wait");
    });
}

#[test]
fn child_is_disconnected_when_its_parent_is_killed() {
    let _watchdog = watchdog();
    let (input, ours) = pair(SocketType::STREAM);
    let (output, theirs) = pair(SocketType::STREAM);
    // Forked: the process that starts it ends before it calls `parent`.
    harness::fork::fork(|| {
        let mut command = harness::command(harness::path_of(late_child), &[]);
        command.stdin(input.as_fd().try_clone_to_owned().unwrap());
        command.stdout(theirs.as_fd().try_clone_to_owned().unwrap());
        let starting = command.start_with_channel::<(), ()>().unwrap();
        // Not dropped, which would kill it: this process just ends.
        std::thread_local! {
            static KEPT: std::cell::RefCell<Vec<Box<dyn std::any::Any>>> =
                const { std::cell::RefCell::new(Vec::new()) };
        }
        KEPT.with_borrow_mut(|kept| kept.push(Box::new(starting)));
    })
    .completed();
    drop((input, theirs, ours));
    let mut text = Vec::new();
    io::Read::read_to_end(&mut std::fs::File::from(output), &mut text).unwrap();
    let text = String::from_utf8_lossy(&text);
    assert!(text.contains("the parent does not wait"), "{text}");
}

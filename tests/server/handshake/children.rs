//! Parents and children: of this build, and with another version of the protocol or
//! another codec.

#![allow(
    unsafe_code,
    clippy::disallowed_methods,
    reason = "a child takes by hand what it inherits"
)]

use std::env;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::time::Duration;

use rustix::io::FdFlags;
use rustix::net::sockopt;
use strait::internals::frame::Dialect;
use strait::process::{self, ChannelCommand};

use super::check_types;
use super::foreign::{check_dialects, foreigners, pair, receive_hello};
use crate::harness::{self, child_main, raw, watchdog};

const LONG: Duration = Duration::from_secs(60);

const VARIABLE: &str = "STRAIT_PARENT";

/// Receives a value that is no `bool`, and sends one.
#[test]
fn child_of_other_types() {
    child_main(|_| {
        let (to_parent, from_parent) = process::parent::<u8, bool>().unwrap();
        check_types::<u32, bool>(from_parent.recv().unwrap_err());
        to_parent.send(7).unwrap();
        // Waits until the parent has noticed.
        assert!(from_parent.recv().unwrap_err().is_disconnected());
    });
}

#[test]
fn parent_and_child_name_the_type_that_the_other_sends() {
    let _watchdog = watchdog();
    let mut command = harness::command(harness::path_of(child_of_other_types), &[]);
    let starting = harness::starting();
    let (mut child, to_child, from_child) = command.spawn_with_channel::<u32, bool>().unwrap();
    drop(starting);
    to_child.send(0x0707_0707).unwrap();
    check_types::<u8, bool>(from_child.recv().unwrap_err());
    drop(to_child);
    assert_eq!(child.wait().unwrap().code(), Some(harness::COMPLETED));
}

/// Its argument says which dialect its parent has.
#[test]
fn child_of_another_dialect() {
    child_main(|arguments| {
        let (_, _, name) = &foreigners()[arguments[0].parse::<usize>().unwrap()];
        let error = process::parent::<u8, bool>().unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::InvalidData);
        check_dialects(error, name);
        let error = process::parent::<u8, bool>().unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::AlreadyExists);
    });
}

/// Starts a child that inherits this descriptor as if it were from strait.
fn start_heir(function: &str, arguments: &[&str], inherited: &OwnedFd) -> harness::Child {
    let about = rustix::fs::fstat(inherited).unwrap();
    let cookie = sockopt::socket_cookie(inherited).unwrap_or(0);
    let number = inherited.as_raw_fd();
    let value = format!("{number}:{}:{}:{cookie}", about.st_dev, about.st_ino);
    let mut command = harness::command(function, arguments);
    command.env(VARIABLE, value);
    let inherit = move || {
        // SAFETY: the descriptor outlives the command, which is started in this function.
        let fd = unsafe { BorrowedFd::borrow_raw(number) };
        Ok(rustix::io::fcntl_setfd(fd, FdFlags::empty())?)
    };
    // SAFETY: it makes one system call.
    unsafe { command.pre_exec(inherit) };
    harness::start(function, &mut command)
}

#[test]
fn child_names_both_dialects_and_sends_its_own() {
    let _watchdog = watchdog();
    for (index, (dialect, fields, _)) in foreigners().into_iter().enumerate() {
        let (first, inherited) = pair();
        let (_to_child, from_parent) = pair();
        let (to_parent, from_child) = pair();
        let (call, called) = pair();
        let handles = [from_parent.as_fd(), to_parent.as_fd(), call.as_fd()];
        raw::send(&first, &raw::hello(dialect, 3, &fields), &handles).unwrap();
        let index = index.to_string();
        let child = start_heir(harness::path_of(child_of_another_dialect), &[&index], &inherited);
        drop((from_parent, to_parent, call));
        let (hello, handles) = receive_hello(&called);
        assert_eq!(hello.sent.as_deref(), Some("u8"));
        assert_eq!((hello.expected.as_deref(), handles.len()), (Some("bool"), 0));
        child.completed();
        // The child has sent nothing through the other channel.
        assert_eq!(super::foreign::receive(&from_child).0, []);
    }
}

/// Its argument says which dialect it has.
#[test]
fn foreign_child() {
    child_main(|arguments| {
        let (dialect, fields, _) = &foreigners()[arguments[0].parse::<usize>().unwrap()];
        let value = env::var(VARIABLE).unwrap();
        let number = value.split(':').next().unwrap().parse().unwrap();
        // SAFETY: this process inherited it, and nothing else here takes it.
        let inherited = unsafe { OwnedFd::from_raw_fd(number) };
        let (hello, handles) = receive_hello(&inherited);
        assert_eq!((hello.sent.as_deref(), hello.expected.as_deref()), (Some("u32"), Some("u8")));
        assert_eq!(handles.len(), 3);
        raw::send(&handles[2], &raw::hello(*dialect, 0, fields), &[]).unwrap();
        // Waits until the parent has returned the error.
        let ended = super::foreign::receive(&handles[0]).0;
        assert_eq!(ended, []);
    });
}

#[test]
fn a_parent_names_both_dialects() {
    let _watchdog = watchdog();
    for (index, (_, _, name)) in foreigners().into_iter().enumerate() {
        let mut command = harness::command(harness::path_of(foreign_child), &[&index.to_string()]);
        let starting = {
            let _starting = harness::starting();
            command.start_with_channel::<u32, u8>().unwrap()
        };
        let error = starting.connect(LONG).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::InvalidData);
        check_dialects(error, name);
    }
}

#[cfg(feature = "async")]
#[test]
fn a_parent_that_awaits_its_child_names_both_dialects() {
    let _watchdog = watchdog();
    let (_, _, name) = foreigners()[2];
    let mut command = harness::command(harness::path_of(foreign_child), &["2"]);
    let starting = {
        let _starting = harness::starting();
        command.start_with_channel::<u32, u8>().unwrap()
    };
    let error = futures_lite::future::block_on(starting.into_future()).unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::InvalidData);
    check_dialects(error, name);
}

/// Its argument is the kind of error that it expects.
#[test]
fn child_that_expects_an_error() {
    child_main(|arguments| {
        let error = process::parent::<u8, bool>().unwrap_err();
        assert_eq!(format!("{:?}", error.kind()), arguments[0], "{error}");
    });
}

#[test]
fn child_whose_parent_sends_garbage_gets_an_error() {
    let _watchdog = watchdog();
    let own = Dialect::OWN;
    let (one, other) = pair();
    let pipe = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC).unwrap().0;
    let (one, other, pipe) = (one.as_fd(), other.as_fd(), pipe.as_fd());
    for (packet, handles, kind) in [
        (raw::hello(own, 0, &[]), vec![], "InvalidData"),
        (raw::hello(own, 2, &[]), vec![one, other], "InvalidData"),
        (raw::hello(own, 4, &[]), vec![one, other, one, other], "InvalidData"),
        (raw::hello(own, 3, &[1]), vec![one, other, other], "InvalidData"),
        (raw::hello(own, 3, &[]), vec![pipe, other, other], "InvalidData"),
        (raw::hello(own, 3, &[]), vec![one, pipe, other], "InvalidData"),
        (raw::hello(own, 3, &[]), vec![one, other, pipe], "InvalidData"),
        (raw::message(3, &[0; 20]), vec![one, other, other], "InvalidData"),
        (b"noise".to_vec(), vec![one], "InvalidData"),
    ] {
        let (first, inherited) = pair();
        raw::send(&first, &packet, &handles).unwrap();
        start_heir(harness::path_of(child_that_expects_an_error), &[kind], &inherited).completed();
    }
}

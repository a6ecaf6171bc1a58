//! One descriptor per receiver that any poller can wait on (C8): epoll in both modes, mio,
//! tokio; sets, too.
//!
//! # Safety
//!
//! tokio requires that a file descriptor stays open under its number for as long as the
//! receiver is owned.

#![allow(unsafe_code)]

mod moves;
mod readiness;
mod rings;
mod sets;

use std::fs::File;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::thread;
use std::time::Duration;

use mio::unix::SourceFd;
use mio::{Events, Interest, Poll, Token};
use rustix::event::epoll::{self, CreateFlags, EventData, EventFlags};
use rustix::event::{PollFd, PollFlags, Timespec};
use serde::Serialize;
use serde::de::DeserializeOwned;
use strait::handle::Handle;
use strait::ipc::{
    self, IpcReceiver, IpcReceiverSet, IpcSelectionResult, IpcSender, TryRecvError, TrySelectError,
};
use tokio::io::unix::AsyncFd;

use crate::harness;
use crate::harness::raw::{self, Random};

/// The readiness that `poll` reports of a file descriptor now.
fn state(fd: impl AsFd) -> PollFlags {
    let mut fds = [PollFd::from_borrowed_fd(fd.as_fd(), PollFlags::IN)];
    rustix::event::poll(&mut fds, Some(&Timespec::default())).unwrap();
    fds[0].revents()
}

/// Waits until `poll` reports readiness. That may take a moment after a drop: a child process
/// that another test is just starting has copies of everything until its `exec`.
fn wait_for(fd: impl AsFd, events: PollFlags) -> PollFlags {
    let mut fds = [PollFd::from_borrowed_fd(fd.as_fd(), events)];
    rustix::event::poll(&mut fds, None).unwrap();
    fds[0].revents()
}

fn is_readable(fd: impl AsFd) -> bool {
    state(fd).contains(PollFlags::IN)
}

/// An epoll instance with one member.
struct Epoll(OwnedFd);

impl Epoll {
    fn of(member: impl AsFd, mode: EventFlags) -> Epoll {
        let epoll = epoll::create(CreateFlags::CLOEXEC).unwrap();
        epoll::add(&epoll, member, EventData::new_u64(1), EventFlags::IN | mode).unwrap();
        Epoll(epoll)
    }

    /// Waits for an event.
    fn wait(&self) {
        assert!(self.has_event(None));
    }

    fn has_event(&self, timeout: Option<Duration>) -> bool {
        let timeout = timeout.map(|timeout| Timespec::try_from(timeout).unwrap());
        let mut events = [MaybeUninit::uninit(); 4];
        let (events, _) = epoll::wait(&self.0, &mut events, timeout.as_ref()).unwrap();
        !events.is_empty()
    }

    fn is_ready(&self) -> bool {
        self.has_event(Some(Duration::ZERO))
    }
}

/// As every program with a poller: receives until the channel is empty, then waits for the
/// next event.
fn receive_all<T>(receiver: &IpcReceiver<T>, mut wait: impl FnMut(), mut take: impl FnMut(T))
where
    T: Serialize + DeserializeOwned,
{
    loop {
        match receiver.try_recv() {
            Ok(value) => take(value),
            Err(TryRecvError::Empty) => wait(),
            Err(error) if error.is_disconnected() => return,
            Err(error) => panic!("{error:?}"),
        }
    }
}

/// The same of a set.
fn select_all(set: &mut IpcReceiverSet, mut wait: impl FnMut(), mut take: impl FnMut(u64, u64)) {
    while !set.is_empty() {
        match set.try_select() {
            Ok(results) => {
                for result in results {
                    if let IpcSelectionResult::MessageReceived(id, message) = result {
                        take(id, message.to().unwrap());
                    }
                }
            }
            Err(TrySelectError::Empty) => wait(),
            Err(TrySelectError::IoError(error)) => panic!("{error:?}"),
        }
    }
}

/// Sends in bursts, so that the receiver is sometimes faster and sometimes slower.
fn send_in_bursts(seed: u64, count: u64, mut send: impl FnMut(u64) + Send + 'static) {
    thread::spawn(move || {
        let mut random = Random::new(seed);
        for number in 0..count {
            if random.below(30) == 0 {
                thread::sleep(Duration::from_micros(random.below(200) as u64));
            }
            send(number);
        }
    });
}

/// Uses a channel until its messages are sent by shared memory, and empties it.
fn heat(sender: &IpcSender<u64>, receiver: &IpcReceiver<u64>) {
    for number in 0..1000 {
        sender.send(number).unwrap();
        assert_eq!(receiver.recv().unwrap(), number);
    }
}

type IsReady<'a> = Box<dyn Fn() -> bool + 'a>;

/// The ways in which level-triggered pollers wait.
fn level_triggered(fd: BorrowedFd<'_>) -> [(&'static str, IsReady<'_>); 2] {
    let epoll = Epoll::of(fd, EventFlags::empty());
    [("poll", Box::new(move || is_readable(fd))), ("epoll", Box::new(move || epoll.is_ready()))]
}

/// Checks that it is ready for each of these messages, and soon not any more when they
/// are received.
#[track_caller]
fn expect_one_by_one(receiver: &IpcReceiver<u64>, is_ready: impl Fn() -> bool, count: u64) {
    for expected in 0..count {
        assert!(is_ready(), "{expected} of {count} were received");
        assert_eq!(receiver.try_recv().unwrap(), expected);
    }
    let mut in_vain = 0;
    while is_ready() {
        assert!(receiver.try_recv().unwrap_err().is_empty());
        in_vain += 1;
    }
    assert!(in_vain <= 1, "{in_vain}");
}

fn send_to(sender: &IpcSender<u64>, count: u64) {
    for number in 0..count {
        sender.send(number).unwrap();
    }
}

/// The descriptors of rings in this process.
fn rings() -> Vec<harness::OpenHandle> {
    let mut handles = harness::handles();
    handles.retain(|handle| handle.what.contains("strait-ring"));
    handles
}

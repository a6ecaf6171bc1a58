//! Closing what a peer sent and nothing here has asked for: without waiting, whatever it is of.
//!
//! To close the last descriptor of something can take as long as a peer likes: of a TCP socket that lingers, of a file on a file
//! system that the peer runs itself (FUSE), of a pipe whose lock the peer holds while the kernel reads from a page of such a file.
//! To ask what it is can, too. So only this is closed at once, and what it is shows by calls that take no lock and ask no file system:
//!
//! - memory, which has seals;
//! - Unix sockets in which nothing waits: what waits there could be a descriptor in its turn.
//!
//! All else is left to a thread that may get stuck. Whoever drops such a descriptor waits until that thread has closed it, so that
//! descriptors of messages that were refused are not in the way of the next ones; but not for longer than [`STUCK`], and not at all
//! as long as a thread is stuck. The thread ends when there was nothing to close for a moment, and none is started for messages that
//! are decoded, or that have only memory and ends of channels that are in use.

use std::collections::VecDeque;
use std::mem;
use std::os::fd::OwnedFd;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::net::{AddressFamily, sockopt};

use crate::platform::PerProcess;

/// After how long at one descriptor a thread is taken to be stuck, so that another one is started for those that wait.
const STUCK: Duration = Duration::from_millis(100);

/// For how long a thread waits for more.
const LINGER: Duration = Duration::from_millis(10);

/// How many threads there are at most. What waits when all are stuck stays open.
const MAX_THREADS: usize = 64;

const STACK_BYTES: usize = 64 << 10;

/// A forked child has its own: the threads are its parent's, and so may be the lock. What waits at the fork is not closed in the child.
static CLOSER: PerProcess<Closer> = PerProcess::of_nobody(Closer {
    queue: Mutex::new(Queue {
        waiting: VecDeque::new(),
        threads: 0,
        busy: 0,
        progress: None,
        is_watched: false,
        is_stuck: false,
    }),
    news: Condvar::new(),
    done: Condvar::new(),
});

#[derive(Debug, Default)]
struct Closer {
    queue: Mutex<Queue>,
    /// Something waits.
    news: Condvar,
    /// Everything is closed.
    done: Condvar,
}

#[derive(Debug, Default)]
struct Queue {
    waiting: VecDeque<OwnedFd>,
    /// How many threads close what waits.
    threads: usize,
    /// How many of them are at a descriptor.
    busy: usize,
    /// When one of them was started, or began with a descriptor, last.
    progress: Option<Instant>,
    /// Whether there is a thread that looks whether these are stuck.
    is_watched: bool,
    /// Whether one has been at a descriptor for long, and not all are closed since.
    is_stuck: bool,
}

/// Closes a descriptor that a peer sent.
pub(super) fn close(fd: OwnedFd) {
    if is_closed_at_once(&fd) {
        return drop(fd);
    }
    let closer = CLOSER.get();
    let mut queue = closer.lock();
    queue.waiting.push_back(fd);
    if queue.threads == queue.busy && !queue.is_stuck {
        queue.start();
    }
    if queue.threads == 0 {
        // There may be no threads here. A peer with the rights for it can make this wait; one without them cannot.
        let waiting = mem::take(&mut queue.waiting);
        drop(queue);
        return waiting.into_iter().for_each(close_without_lingering);
    }
    closer.news.notify_one();
    if !queue.is_stuck {
        let is_open = |queue: &mut Queue| queue.busy > 0 || !queue.waiting.is_empty();
        let waited = closer.done.wait_timeout_while(queue, STUCK, is_open);
        let (waited, timeout) = waited.unwrap_or_else(PoisonError::into_inner);
        queue = waited;
        queue.is_stuck |= timeout.timed_out();
    }
    if !queue.waiting.is_empty() {
        // If nothing more comes, nobody else looks for what waits behind the one that is stuck.
        queue.is_watched = queue.is_watched || spawn(watch);
    }
}

impl Closer {
    fn lock(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Queue {
    /// Starts a thread that closes what waits.
    fn start(&mut self) {
        if self.threads < MAX_THREADS && spawn(close_waiting) {
            self.threads += 1;
            self.progress = Some(Instant::now());
        }
    }
}

fn spawn(body: fn()) -> bool {
    let builder = thread::Builder::new().name("strait-close".to_string());
    builder.stack_size(STACK_BYTES).spawn(body).is_ok()
}

fn close_waiting() {
    let closer = CLOSER.get();
    let mut queue = closer.lock();
    loop {
        if queue.waiting.is_empty() {
            let is_over = |queue: &mut Queue| queue.waiting.is_empty();
            let waited = closer.news.wait_timeout_while(queue, LINGER, is_over);
            (queue, _) = waited.unwrap_or_else(PoisonError::into_inner);
        }
        let Some(fd) = queue.waiting.pop_front() else {
            queue.threads -= 1;
            return;
        };
        queue.busy += 1;
        queue.progress = Some(Instant::now());
        drop(queue);
        close_without_lingering(fd);
        queue = closer.lock();
        queue.busy -= 1;
        if queue.busy == 0 && queue.waiting.is_empty() {
            queue.is_stuck = false;
            closer.done.notify_all();
        }
    }
}

fn watch() {
    let closer = CLOSER.get();
    loop {
        thread::sleep(STUCK);
        let mut queue = closer.lock();
        if queue.waiting.is_empty() {
            queue.is_watched = false;
            return;
        }
        if queue.progress.is_none_or(|progress| progress.elapsed() >= STUCK) {
            queue.start();
        }
    }
}

/// Closes it without waiting for data to be sent, if it is a socket that would.
fn close_without_lingering(fd: OwnedFd) {
    // Of anything but a socket this is an error, and changes nothing.
    let _ = sockopt::set_socket_linger(&fd, None);
    drop(fd);
}

fn is_closed_at_once(fd: &OwnedFd) -> bool {
    // Neither takes a lock that somebody holds while it sleeps: `SO_DOMAIN` is a field of the socket, and other files are told from
    // sockets, and from what has seals, by their operations.
    match sockopt::socket_domain(fd) {
        Ok(AddressFamily::UNIX) => is_empty(fd),
        Ok(_) => false,
        Err(_) => rustix::fs::fcntl_get_seals(fd).is_ok(),
    }
}

/// Whether nothing waits in a Unix socket. What else makes it readable is found to be something.
fn is_empty(fd: &OwnedFd) -> bool {
    let mut polled = [PollFd::new(fd, PollFlags::IN)];
    let at_once = Timespec { tv_sec: 0, tv_nsec: 0 };
    matches!(poll(&mut polled, Some(&at_once)), Ok(0))
}

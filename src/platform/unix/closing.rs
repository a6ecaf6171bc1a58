//! Closes unused file descriptors that a peer sent, without blocking, whatever they refer to.
//!
//! Closing the last file descriptor of an object can take as long as a peer likes. Examples are a
//! TCP socket that lingers, and a file on a file system that the peer runs itself (FUSE). Another
//! is a pipe whose lock the peer holds while the kernel reads from a page of such a file. Even
//! querying the type of the object can take as long. So only what the system is known to close at
//! once is closed by the caller, which asks the flavour.
//!
//! Everything else is left to a thread that may get stuck. A caller that drops such a file
//! descriptor blocks until that thread has closed it. So file descriptors of refused messages
//! do not take the place of the next ones. But callers that do so in a row block no longer than
//! [`STUCK`] and [`BRIEF`] for each of them, and not at all while a thread is stuck. The thread
//! ends when there was nothing to close for a moment. None is started for messages that are
//! decoded, or that have only memory and endpoints of channels that are in use.

use std::collections::VecDeque;
use std::mem;
use std::os::fd::OwnedFd;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use rustix::net::sockopt;

use crate::platform::PerProcess;

/// How long a thread may take for one file descriptor before it counts as stuck, so that another
/// one is started for the others.
const STUCK: Duration = Duration::from_millis(100);

/// How long it takes at most to close one that nothing delays.
const BRIEF: Duration = Duration::from_millis(1);

/// How long a thread waits for more.
const LINGER: Duration = Duration::from_millis(10);

/// The maximum number of threads. What is queued when all are stuck stays open.
const MAX_THREADS: usize = 64;

const STACK_BYTES: usize = 64 << 10;

/// A forked child has its own: the threads are its parent's, and the lock may be held by one. What
/// is queued at the fork is not closed in the child.
static CLOSER: PerProcess<Closer> = PerProcess::of_no_process(Closer {
    queue: Mutex::new(Queue {
        waiting: VecDeque::new(),
        threads: 0,
        busy: 0,
        progress: None,
        is_watched: false,
        is_stuck: false,
        blocked: Duration::ZERO,
        last_blocked: None,
    }),
    news: Condvar::new(),
    done: Condvar::new(),
});

#[derive(Debug, Default)]
struct Closer {
    queue: Mutex<Queue>,
    /// Signals that something is queued.
    news: Condvar,
    /// Signals that everything is closed.
    done: Condvar,
}

#[derive(Debug, Default)]
struct Queue {
    waiting: VecDeque<OwnedFd>,
    /// How many threads close what is queued.
    threads: usize,
    /// How many of them are closing a file descriptor now.
    busy: usize,
    /// When one of them was last started, or last began with a file descriptor.
    progress: Option<Instant>,
    /// Whether there is a thread that checks whether these are stuck.
    is_watched: bool,
    /// Whether a thread was stuck, and not everything was closed since.
    is_stuck: bool,
    /// For how long callers have blocked in a row, without [`BRIEF`] for each file descriptor, ...
    blocked: Duration,
    /// ... and when the last of them did.
    last_blocked: Option<Instant>,
}

/// Closes a file descriptor that a peer sent, and that may take time to close.
pub(super) fn close(fd: OwnedFd) {
    let closer = CLOSER.get();
    let mut queue = closer.lock();
    queue.waiting.push_back(fd);
    if queue.threads == queue.busy && !queue.is_stuck {
        queue.start();
    }
    if queue.threads == 0 {
        // Threads may be unavailable here. A peer with the rights for it can make this block; one
        // without them cannot.
        let waiting = mem::take(&mut queue.waiting);
        drop(queue);
        return waiting.into_iter().for_each(close_without_lingering);
    }
    closer.news.notify_one();
    if !queue.is_stuck {
        let since = Instant::now();
        let is_open = |queue: &mut Queue| queue.busy > 0 || !queue.waiting.is_empty();
        let limit = queue.limit(since);
        let waited = closer.done.wait_timeout_while(queue, limit, is_open);
        let (waited, timeout) = waited.unwrap_or_else(PoisonError::into_inner);
        queue = waited;
        queue.is_stuck |= timeout.timed_out();
        queue.note_blocked(since);
    }
    if !queue.waiting.is_empty() {
        // If nothing more comes, no other call checks on what is queued behind the stuck thread.
        queue.is_watched = queue.is_watched || spawn(watch);
    }
}

impl Closer {
    fn lock(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Queue {
    /// Returns how long a caller may block now. The file descriptors of a message are closed one
    /// after another, and each of them may take almost as long as a stuck one.
    fn limit(&mut self, now: Instant) -> Duration {
        if self.last_blocked.is_none_or(|at| now.saturating_duration_since(at) >= STUCK) {
            self.blocked = Duration::ZERO;
        }
        self.blocked = self.blocked.saturating_sub(BRIEF);
        STUCK.saturating_sub(self.blocked)
    }

    /// Notes that a caller has blocked since then.
    fn note_blocked(&mut self, since: Instant) {
        self.blocked += since.elapsed();
        self.last_blocked = Some(Instant::now());
    }

    /// Starts a thread that closes what is queued.
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

/// Closes it. If it is a socket that would block until data is sent, it does not.
fn close_without_lingering(fd: OwnedFd) {
    // For anything but a socket this is an error, and changes nothing.
    let _ = sockopt::set_socket_linger(&fd, None);
    drop(fd);
}

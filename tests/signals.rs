//! Signals do not shorten or prolong any wait, or make it fail: thousands per second, with a
//! handler that restarts nothing.
//!
//! # Safety
//!
//! The handler does one atomic addition. A [`Storm`] signals the thread that made it, which
//! outlives it.

#![cfg(all(target_os = "linux", not(feature = "force-inprocess")))]
#![allow(unsafe_code)]

mod harness;

use std::mem;
use std::os::fd::{AsFd, OwnedFd};
use std::ptr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType};
use strait::ipc::{self, IpcOneShotServer, IpcReceiverSet, IpcSender, IpcSharedMemory};

use harness::raw;

/// How many signals make it certain that a wait was interrupted.
const MANY: usize = 30;

/// How long the storm rests between signals. Shorter than the shortest timeout.
const PAUSE: Duration = Duration::from_micros(200);

/// Timeouts that are easily handled wrongly: less than a millisecond, not a whole number of
/// milliseconds, long.
const TIMEOUTS: [Duration; 4] = [
    Duration::from_micros(300),
    Duration::from_micros(1900),
    Duration::from_nanos(2_000_001),
    Duration::from_millis(50),
];

/// Signals to the thread that made it, until it is dropped.
struct Storm {
    count: Arc<AtomicUsize>,
    is_over: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

/// How many signals were handled in the whole process.
static HANDLED: AtomicUsize = AtomicUsize::new(0);

extern "C" fn handle(_signal: libc::c_int) {
    HANDLED.fetch_add(1, Ordering::Relaxed);
}

impl Storm {
    fn over_this_thread() -> Storm {
        // SAFETY: all zeroes are a valid `sigaction`: no flags, so no SA_RESTART, and an
        // empty mask.
        let mut action: libc::sigaction = unsafe { mem::zeroed() };
        action.sa_sigaction = handle as extern "C" fn(libc::c_int) as usize;
        // SAFETY: the handler is a function of the right type that is safe to run at any moment.
        let installed =
            unsafe { libc::sigaction(libc::SIGUSR1, &raw const action, ptr::null_mut()) };
        assert_eq!(installed, 0);
        // SAFETY: it has no conditions.
        let target = unsafe { libc::pthread_self() };
        let count = Arc::new(AtomicUsize::new(0));
        let is_over = Arc::new(AtomicBool::new(false));
        let thread = thread::spawn({
            let (count, is_over) = (Arc::clone(&count), Arc::clone(&is_over));
            move || {
                while !is_over.load(Ordering::Relaxed) {
                    // SAFETY: the target waits for this thread before it ends.
                    let sent = unsafe { libc::pthread_kill(target, libc::SIGUSR1) };
                    assert_eq!(sent, 0);
                    count.fetch_add(1, Ordering::Relaxed);
                    thread::sleep(PAUSE);
                }
            }
        });
        Storm { count, is_over, thread: Some(thread) }
    }

    /// Returns a function for another thread, which returns after many more signals.
    fn waiter(&self) -> impl Fn() + Send + use<> {
        let count = Arc::clone(&self.count);
        move || {
            let enough = count.load(Ordering::Relaxed) + MANY;
            while count.load(Ordering::Relaxed) < enough {
                thread::sleep(PAUSE);
            }
        }
    }
}

impl Drop for Storm {
    fn drop(&mut self) {
        self.is_over.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            thread.join().unwrap();
        }
        if !thread::panicking() {
            assert!(HANDLED.load(Ordering::Relaxed) > 0, "no signal came through");
        }
    }
}

/// Calls `wait` with each timeout; it returns whether it timed out, as it should.
fn assert_never_early(what: &str, mut wait: impl FnMut(Duration) -> bool) {
    for timeout in TIMEOUTS {
        for _ in 0..if timeout < Duration::from_millis(10) { 20 } else { 3 } {
            let start = Instant::now();
            assert!(wait(timeout), "{what}: something came");
            let waited = start.elapsed();
            assert!(waited >= timeout, "{what}: {waited:?} instead of {timeout:?}");
        }
    }
}

#[test]
fn timeouts_are_never_early() {
    let _watchdog = harness::watchdog();
    let _storm = Storm::over_this_thread();
    let (_sender, receiver) = ipc::channel::<u32>().unwrap();
    assert_never_early("recv_timeout", |timeout| {
        receiver.recv_timeout(timeout).unwrap_err().is_empty()
    });
    assert_never_early("try_recv_timeout", |timeout| {
        receiver.try_recv_timeout(timeout).unwrap_err().is_empty()
    });
    let (_bytes_sender, bytes) = ipc::bytes_channel().unwrap();
    assert_never_early("bytes", |timeout| bytes.try_recv_timeout(timeout).unwrap_err().is_empty());
    let mut set = IpcReceiverSet::new().unwrap();
    assert_never_early("an empty set", |timeout| {
        set.try_select_timeout(timeout).unwrap_err().is_empty()
    });
    set.add(receiver).unwrap();
    set.add_bytes(bytes).unwrap();
    assert_never_early("a set", |timeout| set.try_select_timeout(timeout).unwrap_err().is_empty());
    set.as_fd();
    assert_never_early("a set that is polled elsewhere", |timeout| {
        set.try_select_timeout(timeout).unwrap_err().is_empty()
    });
    assert_never_early("accept_timeout", |timeout| {
        let (server, _name) = IpcOneShotServer::<u32>::new().unwrap();
        server.accept_timeout(timeout).unwrap_err().is_empty()
    });
}

#[test]
fn timeouts_are_kept_while_a_large_message_is_incomplete() {
    let _watchdog = harness::watchdog();
    let _storm = Storm::over_this_thread();
    let (sender, receiver) = ipc::bytes_channel().unwrap();
    raw::send(&sender, &raw::first(1, 1 << 30, &[0; 1000]), &[]).unwrap();
    assert_never_early("it stalls", |timeout| {
        receiver.try_recv_timeout(timeout).unwrap_err().is_empty()
    });
    // The parts arrive slowly.
    let is_over = Arc::new(AtomicBool::new(false));
    let socket: OwnedFd = sender.as_fd().try_clone_to_owned().unwrap();
    let dribble = thread::spawn({
        let is_over = Arc::clone(&is_over);
        move || {
            let part = raw::middle(1, b"x");
            while !is_over.load(Ordering::Relaxed) {
                let _ = raw::try_send(&socket, &part, &[]);
                thread::sleep(Duration::from_micros(50));
            }
        }
    });
    assert_never_early("it dribbles", |timeout| {
        receiver.try_recv_timeout(timeout).unwrap_err().is_empty()
    });
    let mut set = IpcReceiverSet::new().unwrap();
    set.add_bytes(receiver).unwrap();
    assert_never_early("it dribbles into a set", |timeout| {
        set.try_select_timeout(timeout).unwrap_err().is_empty()
    });
    is_over.store(true, Ordering::Relaxed);
    dribble.join().unwrap();
}

#[test]
fn recv_waits_for_its_message() {
    let _watchdog = harness::watchdog();
    let storm = Storm::over_this_thread();
    let (sender, receiver) = ipc::channel::<u32>().unwrap();
    let wait = storm.waiter();
    let sending = thread::spawn(move || {
        for number in 0..3 {
            wait();
            sender.send(number).unwrap();
        }
        wait();
    });
    assert_eq!(receiver.recv().unwrap(), 0);
    assert_eq!(receiver.recv_timeout(Duration::from_secs(60)).unwrap(), 1);
    assert_eq!(receiver.iter().collect::<Vec<_>>(), [2]);
    assert!(receiver.recv().unwrap_err().is_disconnected());
    sending.join().unwrap();
}

#[test]
fn select_waits_for_its_message() {
    let _watchdog = harness::watchdog();
    let storm = Storm::over_this_thread();
    let (sender, receiver) = ipc::channel::<u32>().unwrap();
    let mut set = IpcReceiverSet::new().unwrap();
    set.add(receiver).unwrap();
    let wait = storm.waiter();
    let sending = thread::spawn(move || {
        wait();
        sender.send(1).unwrap();
        wait();
        sender.send(2).unwrap();
        wait();
    });
    let (_, message) = set.select().unwrap().remove(0).unwrap();
    assert_eq!(message.to::<u32>().unwrap(), 1);
    let results = set.try_select_timeout(Duration::from_secs(60)).unwrap();
    let (_, message) = results.into_iter().next().unwrap().unwrap();
    assert_eq!(message.to::<u32>().unwrap(), 2);
    set.select().unwrap();
    assert!(set.is_empty());
    sending.join().unwrap();
}

#[test]
fn accept_waits_for_its_client() {
    let _watchdog = harness::watchdog();
    let storm = Storm::over_this_thread();
    for timeout in [None, Some(Duration::from_secs(60))] {
        let (server, name) = IpcOneShotServer::<String>::new().unwrap();
        let wait = storm.waiter();
        let client = thread::spawn(move || {
            wait();
            let client = IpcSender::connect(name).unwrap();
            wait();
            client.send("hello".to_string()).unwrap();
        });
        let greeting = match timeout {
            None => server.accept().unwrap().1,
            Some(timeout) => server.accept_timeout(timeout).unwrap().1,
        };
        assert_eq!(greeting, "hello");
        client.join().unwrap();
    }
}

/// While the backlog is full.
#[test]
fn connect_waits_for_its_server() {
    let _watchdog = harness::watchdog();
    let storm = Storm::over_this_thread();
    let (server, name) = IpcOneShotServer::<u32>::new().unwrap();
    let others = fill_queue(&name);
    let wait = storm.waiter();
    let serving = thread::spawn(move || {
        wait();
        server.accept().unwrap().1
    });
    IpcSender::<u32>::connect(name).unwrap().send(5).unwrap();
    assert_eq!(serving.join().unwrap(), 5);
    drop(others);
}

/// Connects until a further client would have to wait.
fn fill_queue(name: &str) -> Vec<OwnedFd> {
    let address = SocketAddrUnix::new(name).unwrap();
    let mut clients = Vec::new();
    loop {
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let (family, kind) = (AddressFamily::UNIX, SocketType::SEQPACKET);
        let client = rustix::net::socket_with(family, kind, flags, None).unwrap();
        match rustix::net::connect(&client, &address) {
            Ok(()) => clients.push(client),
            Err(rustix::io::Errno::AGAIN) => return clients,
            Err(errno) => panic!("{errno}"),
        }
    }
}

#[test]
fn send_waits_for_room() {
    let _watchdog = harness::watchdog();
    let storm = Storm::over_this_thread();
    let (sender, receiver) = ipc::channel::<(u32, String)>().unwrap();
    let wait = storm.waiter();
    let receiving = thread::spawn(move || {
        let _storm = Storm::over_this_thread();
        // The sender finds the socket full twice.
        wait();
        for number in 0..500 {
            assert_eq!(receiver.recv().unwrap().0, number);
        }
        wait();
        for number in 500..510 {
            let (received, large) = receiver.recv().unwrap();
            assert_eq!((received, large.len()), (number, 1_000_000));
            assert!(large == "0123456789".repeat(100_000));
        }
        assert!(receiver.recv().unwrap_err().is_disconnected());
    });
    for number in 0..500 {
        sender.send((number, "small".to_string())).unwrap();
    }
    for number in 500..510 {
        sender.send((number, "0123456789".repeat(100_000))).unwrap();
    }
    drop(sender);
    receiving.join().unwrap();
}

#[test]
fn endpoints_and_memory_are_sent_and_received() {
    let _watchdog = harness::watchdog();
    let _storm = Storm::over_this_thread();
    type ReturnSlot = (Vec<IpcSender<usize>>, IpcSharedMemory);
    let (sender, receiver) = ipc::channel::<ReturnSlot>().unwrap();
    let (number_sender, numbers) = ipc::channel().unwrap();
    let receiving = thread::spawn(move || {
        let _storm = Storm::over_this_thread();
        for count in 0..100 {
            let (senders, memory) = receiver.recv().unwrap();
            assert_eq!(memory.len(), 5000);
            assert_eq!(senders.len(), count);
            for sender in senders {
                sender.send(count).unwrap();
            }
        }
    });
    for count in 0..100 {
        let memory = IpcSharedMemory::try_from_byte(1, 5000).unwrap();
        sender.send((vec![number_sender.clone(); count], memory)).unwrap();
        for _ in 0..count {
            assert_eq!(numbers.recv().unwrap(), count);
        }
    }
    receiving.join().unwrap();
}

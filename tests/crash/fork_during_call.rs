//! Forks while another thread is in the middle of a call: in the child, no thread ever releases
//! the locks that it held.
//!
//! # Safety
//!
//! The allocator of this test binary is the system's. A thread can be paused in one of its next
//! allocations, before the system's allocator is called, so it holds no lock of that.

#![allow(unsafe_code)]

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use strait::ipc::{self, IpcSender};
use strait::router::RouterProxy;

use crate::harness;
use crate::harness::fork::fork;

const LONG: Duration = Duration::from_secs(50);

struct Pausing;

#[global_allocator]
static ALLOCATOR: Pausing = Pausing;

thread_local! {
    /// In which of its next allocations a thread waits; 0 is none.
    static PAUSE_AT: Cell<usize> = const { Cell::new(0) };
}

static IS_PAUSED: AtomicBool = AtomicBool::new(false);
static MAY_GO_ON: AtomicBool = AtomicBool::new(false);

fn pause_if_asked_to() {
    let left = PAUSE_AT.try_with(|left| left.replace(left.get().saturating_sub(1)));
    if left == Ok(1) {
        IS_PAUSED.store(true, Ordering::SeqCst);
        while !MAY_GO_ON.load(Ordering::SeqCst) {
            thread::yield_now();
        }
    }
}

// SAFETY: it does what `System` does.
unsafe impl GlobalAlloc for Pausing {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        pause_if_asked_to();
        // SAFETY: the caller's promises are those that `System` asks for.
        unsafe { System.alloc(layout) }
    }

    unsafe fn realloc(&self, start: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        pause_if_asked_to();
        // SAFETY: the caller's promises are those that `System` asks for.
        unsafe { System.realloc(start, layout, size) }
    }

    unsafe fn dealloc(&self, start: *mut u8, layout: Layout) {
        // SAFETY: the caller's promises are those that `System` asks for.
        unsafe { System.dealloc(start, layout) };
    }
}

/// Runs `interrupted` on another thread up to its allocation `number`, and then `in_child` in a
/// forked child. Returns whether there are so many allocations.
fn fork_in_allocation(
    number: usize,
    interrupted: impl FnOnce() + Send,
    in_child: impl FnOnce(),
) -> bool {
    IS_PAUSED.store(false, Ordering::SeqCst);
    MAY_GO_ON.store(false, Ordering::SeqCst);
    thread::scope(|scope| {
        let other = scope.spawn(|| {
            PAUSE_AT.set(number);
            interrupted();
            PAUSE_AT.set(0);
        });
        while !IS_PAUSED.load(Ordering::SeqCst) && !other.is_finished() {
            thread::yield_now();
        }
        let is_paused = IS_PAUSED.load(Ordering::SeqCst);
        let child = is_paused.then(|| fork(in_child));
        MAY_GO_ON.store(true, Ordering::SeqCst);
        other.join().unwrap();
        if let Some(child) = child {
            child.completed();
        }
        is_paused
    })
}

/// Adds a route, and waits until its callback has got a message.
fn route_a_message(router: &RouterProxy) {
    let (sender, receiver) = ipc::channel::<u32>().unwrap();
    let (values, routed) = mpsc::channel();
    router.add_typed_route(receiver, Box::new(move |value| values.send(value.unwrap()).unwrap()));
    sender.send(5).unwrap();
    assert_eq!(routed.recv_timeout(LONG), Ok(5));
}

#[test]
fn a_child_adds_routes_while_a_thread_of_its_parent_does() {
    harness::alone(harness::path_of(a_child_adds_routes_while_a_thread_of_its_parent_does), || {
        let running = RouterProxy::new();
        route_a_message(&running);
        for uses_running in [true, false] {
            let mut number = 1;
            loop {
                let new = RouterProxy::new();
                let router = if uses_running { &running } else { &new };
                if !fork_in_allocation(
                    number,
                    || route_a_message(router),
                    || route_a_message(router),
                ) {
                    break;
                }
                number += 1;
            }
            assert!(number > 3, "{number}");
        }
    });
}

#[test]
fn a_router_that_was_shut_down_is_shut_down_in_a_child() {
    harness::alone(harness::path_of(a_router_that_was_shut_down_is_shut_down_in_a_child), || {
        let router = RouterProxy::new();
        route_a_message(&router);
        router.shutdown();
        fork(|| {
            let (sender, receiver) = ipc::channel::<u32>().unwrap();
            router.add_typed_route(receiver, Box::new(|_| {}));
            assert!(sender.send(5).unwrap_err().is_disconnected());
        })
        .completed();
    });
}

#[cfg(feature = "async")]
#[test]
fn a_child_makes_streams_while_a_thread_of_its_parent_does() {
    use std::io::{Read, Write};
    use std::os::unix::net::UnixStream;

    use futures_lite::StreamExt;
    use futures_lite::future::block_on;

    fn stream_a_message() {
        let (sender, receiver) = ipc::channel::<u32>().unwrap();
        let mut stream = receiver.to_stream();
        let sending = thread::spawn(move || sender.send(5).unwrap());
        assert_eq!(block_on(stream.next()).unwrap().unwrap(), 5);
        sending.join().unwrap();
    }

    harness::alone(
        harness::path_of(a_child_makes_streams_while_a_thread_of_its_parent_does),
        || {
            let mut number = 1;
            loop {
                // Only the first stream of a process takes locks, so each round has a process
                // of its own.
                let (mut result, mut said) = UnixStream::pair().unwrap();
                fork(|| {
                    let is_paused = fork_in_allocation(number, stream_a_message, stream_a_message);
                    said.write_all(&[is_paused.into()]).unwrap();
                })
                .completed();
                let mut is_paused = [0];
                result.read_exact(&mut is_paused).unwrap();
                if is_paused == [0] {
                    break;
                }
                number += 1;
            }
            assert!(number > 3, "{number}");
        },
    );
}

#[test]
fn a_child_receives_senders_while_a_thread_of_its_parent_does() {
    fn pass_a_sender_on() {
        let (carrier, arrived) = ipc::channel::<IpcSender<u32>>().unwrap();
        let (sender, receiver) = ipc::channel::<u32>().unwrap();
        carrier.send(sender).unwrap();
        arrived.recv().unwrap().send(5).unwrap();
        assert_eq!(receiver.recv().unwrap(), 5);
    }

    harness::alone(
        harness::path_of(a_child_receives_senders_while_a_thread_of_its_parent_does),
        || {
            let mut number = 1;
            while fork_in_allocation(number, pass_a_sender_on, pass_a_sender_on) {
                number += 1;
            }
            assert!(number > 3, "{number}");
        },
    );
}

//! Receivers as streams.

use std::future::Future;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc;
use std::task::{Context, Poll, Wake, Waker};
use std::thread::{self, Thread};
use std::time::Duration;

use futures_core::{FusedStream, Stream};
use futures_lite::future::block_on;
use futures_lite::{StreamExt, future};
use strait::asynch::{IpcBytesStream, IpcStream};
use strait::ipc::{self, IpcSender};

use crate::harness::{self, watchdog_without_children as watchdog};

const LONG: Duration = Duration::from_secs(60);

/// Wakes a thread and counts how often.
struct Counting {
    thread: Thread,
    wakes: AtomicUsize,
}

impl Counting {
    fn new() -> Arc<Counting> {
        Arc::new(Counting { thread: thread::current(), wakes: AtomicUsize::new(0) })
    }

    fn wait_for(&self, wakes: usize) {
        while self.wakes.load(Ordering::SeqCst) < wakes {
            thread::park_timeout(LONG);
        }
    }
}

impl Wake for Counting {
    fn wake(self: Arc<Self>) {
        self.wakes.fetch_add(1, Ordering::SeqCst);
        self.thread.unpark();
    }
}

fn poll(stream: &mut IpcStream<u32>, waker: &Waker) -> Poll<Option<u32>> {
    let next = Pin::new(stream).poll_next(&mut Context::from_waker(waker));
    next.map(|item| item.map(Result::unwrap))
}

fn pair() -> (IpcSender<u32>, IpcStream<u32>) {
    let (sender, receiver) = ipc::channel().unwrap();
    (sender, receiver.to_stream())
}

#[test]
fn stream_yields_messages_and_then_ends() {
    let _watchdog = watchdog();
    let (sender, stream) = pair();
    sender.send(0).unwrap();
    let thread = thread::spawn(move || {
        for number in 1..500 {
            sender.send(number).unwrap();
        }
    });
    let values: Vec<u32> = block_on(stream.map(Result::unwrap).collect());
    assert_eq!(values, (0..500).collect::<Vec<_>>());
    thread.join().unwrap();
}

#[test]
fn ended_stream_stays_ended() {
    let _watchdog = watchdog();
    let (sender, mut stream) = pair();
    assert!(!stream.is_terminated());
    sender.send(1).unwrap();
    drop(sender);
    assert_eq!(block_on(stream.next()).unwrap().unwrap(), 1);
    assert!(!stream.is_terminated());
    for _ in 0..3 {
        assert!(block_on(stream.next()).is_none());
        assert!(stream.is_terminated());
    }
}

#[test]
fn a_message_that_cannot_be_decoded_is_one_item() {
    let _watchdog = watchdog();
    let (sender, mut stream) = pair();
    sender.clone().to_opaque().to_bytes().send(b"?").unwrap();
    sender.send(1).unwrap();
    assert!(block_on(stream.next()).unwrap().is_err());
    assert_eq!(block_on(stream.next()).unwrap().unwrap(), 1);
}

#[test]
fn a_pending_stream_wakes_its_task() {
    let _watchdog = watchdog();
    let (sender, mut stream) = pair();
    let counting = Counting::new();
    let waker = Waker::from(Arc::clone(&counting));
    for round in 0..100 {
        let woken = counting.wakes.load(Ordering::SeqCst);
        // A wake without a reason is allowed; only then is the next one certain.
        while poll(&mut stream, &waker).is_ready() {}
        sender.send(round).unwrap();
        counting.wait_for(woken + 1);
        while poll(&mut stream, &waker) != Poll::Ready(Some(round)) {
            thread::yield_now();
        }
    }
    assert!(poll(&mut stream, &waker).is_pending());
    drop(sender);
    while poll(&mut stream, &waker) != Poll::Ready(None) {
        thread::park_timeout(LONG);
    }
}

/// A stream that is moved to another task wakes that task.
#[test]
fn the_last_task_that_polled_is_woken() {
    let _watchdog = watchdog();
    let (sender, mut stream) = pair();
    let (first, second) = (Counting::new(), Counting::new());
    while poll(&mut stream, &Waker::from(Arc::clone(&first))).is_ready() {}
    while poll(&mut stream, &Waker::from(Arc::clone(&second))).is_ready() {}
    let woken = second.wakes.load(Ordering::SeqCst);
    sender.send(1).unwrap();
    second.wait_for(woken + 1);
    assert_eq!(poll(&mut stream, Waker::noop()), Poll::Ready(Some(1)));
}

#[test]
fn dropping_a_future_that_waits_loses_nothing() {
    let _watchdog = watchdog();
    let (sender, mut stream) = pair();
    for number in 0..100 {
        {
            let mut waiting = pin!(stream.next());
            let mut context = Context::from_waker(Waker::noop());
            assert!(waiting.as_mut().poll(&mut context).is_pending());
        }
        sender.send(number).unwrap();
        assert_eq!(block_on(stream.next()).unwrap().unwrap(), number);
    }
}

#[test]
fn dropping_a_stream_disconnects_the_senders() {
    let _watchdog = watchdog();
    // Never polled,
    let (sender, stream) = pair();
    drop(stream);
    assert!(sender.send(1).unwrap_err().is_disconnected());
    // waiting,
    let (sender, mut stream) = pair();
    assert!(poll(&mut stream, Waker::noop()).is_pending());
    drop(stream);
    assert!(sender.send(1).unwrap_err().is_disconnected());
    // and with messages that were not taken.
    let (sender, mut stream) = pair();
    for number in 0..3 {
        sender.send(number).unwrap();
    }
    assert_eq!(poll(&mut stream, Waker::noop()), Poll::Ready(Some(0)));
    drop(stream);
    assert!(sender.send(1).unwrap_err().is_disconnected());
}

/// Messages stay in the channel, not in another queue.
#[test]
fn a_stream_that_is_not_polled_takes_nothing() {
    let _watchdog = watchdog();
    let (sender, mut stream) = pair();
    assert!(poll(&mut stream, Waker::noop()).is_pending());
    let (carrier, carried) = ipc::channel::<IpcSender<u32>>().unwrap();
    // The sender in this message is closed with it, if the message is still in the channel when
    // the stream goes.
    let mut carried = carried.to_stream();
    let mut context = Context::from_waker(Waker::noop());
    assert!(Pin::new(&mut carried).poll_next(&mut context).is_pending());
    carrier.send(sender).unwrap();
    drop(carried);
    assert!(block_on(stream.next()).is_none());
}

#[test]
fn a_stream_of_a_moved_receiver_ends() {
    let _watchdog = watchdog();
    let (carrier, _carried) = ipc::channel().unwrap();
    let (_sender, receiver) = ipc::channel::<u32>().unwrap();
    carrier.send_ref(&receiver).unwrap();
    let mut stream = receiver.to_stream();
    assert!(block_on(stream.next()).unwrap().is_err());
    assert!(block_on(stream.next()).is_none());
    assert!(stream.is_terminated());
}

#[test]
fn large_messages_are_assembled() {
    let _watchdog = watchdog();
    let (sender, receiver) = ipc::channel().unwrap();
    let thread = thread::spawn(move || {
        for number in 0..5_u8 {
            sender.send(vec![number; 600_000]).unwrap();
        }
    });
    let mut stream = receiver.to_stream();
    for number in 0..5 {
        assert!(block_on(stream.next()).unwrap().unwrap() == vec![number; 600_000]);
    }
    assert!(block_on(stream.next()).is_none());
    thread.join().unwrap();
}

#[test]
fn two_streams_in_one_task() {
    let _watchdog = watchdog();
    let ((first, first_stream), (second, second_stream)) = (pair(), pair());
    let thread = thread::spawn(move || {
        for number in 0..200 {
            first.send(number).unwrap();
            second.send(1000 + number).unwrap();
        }
    });
    let (firsts, seconds): (Vec<u32>, Vec<u32>) = block_on(future::zip(
        first_stream.map(Result::unwrap).collect(),
        second_stream.map(Result::unwrap).collect(),
    ));
    assert_eq!(firsts, (0..200).collect::<Vec<_>>());
    assert_eq!(seconds, (1000..1200).collect::<Vec<_>>());
    thread.join().unwrap();
}

#[test]
fn a_stream_of_bytes_yields_them_as_they_were_sent() {
    let _watchdog = watchdog();
    let (sender, receiver) = ipc::bytes_channel().unwrap();
    let mut stream = receiver.to_stream();
    assert!(poll_bytes(&mut stream).is_pending());
    let messages = [b"".to_vec(), b"a".to_vec(), vec![7; 600_000]];
    let sent = messages.clone();
    let thread = thread::spawn(move || sent.iter().for_each(|bytes| sender.send(bytes).unwrap()));
    for expected in &messages {
        assert!(block_on(stream.next()).unwrap().unwrap() == *expected);
    }
    assert!(block_on(stream.next()).is_none());
    assert!(stream.is_terminated());
    thread.join().unwrap();
}

fn poll_bytes(stream: &mut IpcBytesStream) -> Poll<Option<Vec<u8>>> {
    let next = Pin::new(stream).poll_next(&mut Context::from_waker(Waker::noop()));
    next.map(|item| item.map(Result::unwrap))
}

/// Counts how often it has run until the other future is ready.
async fn turns_until_ready(other: impl Future<Output = ()>) -> usize {
    let mut turns = 0;
    let counting = future::poll_fn(|context| {
        turns += 1;
        context.waker().wake_by_ref();
        Poll::<()>::Pending
    });
    future::or(other, counting).await;
    turns
}

#[test]
fn a_stream_with_a_backlog_lets_other_tasks_run() {
    const MESSAGES: u32 = 100_000;

    let _watchdog = watchdog();
    let (sender, mut stream) = pair();
    for number in 0..MESSAGES {
        sender.send(number).unwrap();
    }
    drop(sender);
    let turns = block_on(turns_until_ready(async {
        for number in 0..MESSAGES {
            assert_eq!(stream.next().await.unwrap().unwrap(), number);
        }
        assert!(stream.next().await.is_none());
    }));
    assert!(turns >= MESSAGES as usize / 128, "the other task ran {turns} times");
}

#[test]
fn two_tasks_on_two_threads() {
    let _watchdog = watchdog();
    let ((ping, mut pings), (pong, mut pongs)) = (pair(), pair());
    let thread = thread::spawn(move || {
        block_on(async {
            while let Some(number) = pings.next().await {
                pong.send(number.unwrap() + 1).unwrap();
            }
        });
    });
    block_on(async {
        for number in 0..500 {
            ping.send(number).unwrap();
            assert_eq!(pongs.next().await.unwrap().unwrap(), number + 1);
        }
        drop(ping);
        assert!(pongs.next().await.is_none());
    });
    thread.join().unwrap();
}

/// A waker that panics affects only its own stream.
#[test]
fn a_waker_that_panics_stops_no_other_stream() {
    struct Panics(mpsc::Sender<()>);

    impl Wake for Panics {
        fn wake(self: Arc<Self>) {
            self.0.send(()).unwrap();
            std::panic::resume_unwind(Box::new("a waker that panics"));
        }
    }

    let _watchdog = watchdog();
    let (bad_sender, mut bad) = pair();
    let (woken, is_woken) = mpsc::channel();
    let waker = Waker::from(Arc::new(Panics(woken)));
    while poll(&mut bad, &waker).is_ready() {}
    bad_sender.send(1).unwrap();
    is_woken.recv_timeout(LONG).unwrap();
    let (sender, mut good) = pair();
    let thread = thread::spawn(move || block_on(good.next()).unwrap().unwrap());
    sender.send(2).unwrap();
    assert_eq!(thread.join().unwrap(), 2);
    assert_eq!(poll(&mut bad, Waker::noop()), Poll::Ready(Some(1)));
}

#[test]
fn a_thousand_streams() {
    harness::alone(harness::path_of(a_thousand_streams), || {
        let count = 1000.min(harness::room_for_handles() / 3) as u32;
        let (senders, streams): (Vec<_>, Vec<_>) = (0..count).map(|_| pair()).unzip();
        let thread = thread::spawn(move || {
            for round in 0..3 {
                for (number, sender) in (0..).zip(&senders) {
                    sender.send(number * 10 + round).unwrap();
                }
            }
        });
        // One task polls all of them.
        let mut waiting: Vec<_> = streams
            .into_iter()
            .zip(0..)
            .map(|(mut stream, number)| {
                Box::pin(async move {
                    for round in 0..3 {
                        let value = stream.next().await.unwrap().unwrap();
                        assert_eq!(value, number * 10 + round);
                    }
                    assert!(stream.next().await.is_none());
                })
            })
            .collect();
        block_on(future::poll_fn(|context| {
            waiting.retain_mut(|future| future.as_mut().poll(context).is_pending());
            if waiting.is_empty() { Poll::Ready(()) } else { Poll::Pending }
        }));
        thread.join().unwrap();
    });
}

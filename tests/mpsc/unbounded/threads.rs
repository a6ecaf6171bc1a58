//! Many threads, and many messages.

use std::cell::RefCell;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;

use super::mpsc::{Receiver, RecvError, Sender, TryRecvError, channel};
use super::watchdog;

const THREADS: u32 = 8;
const EACH: u32 = 5_000;

/// Sends `EACH` numbers from each of several threads, each with the number of its thread.
fn flood(sender: Sender<(u32, u32)>) {
    for thread in 0..THREADS {
        let sender = sender.clone();
        thread::spawn(move || (0..EACH).for_each(|i| sender.send((thread, i)).unwrap()));
    }
}

/// Checks that what comes from each thread is complete and in order.
fn expect_all(received: impl Iterator<Item = (u32, u32)>) {
    let mut next = [0; THREADS as usize];
    for (thread, number) in received {
        assert_eq!(next[thread as usize], number, "of thread {thread}");
        next[thread as usize] += 1;
    }
    assert_eq!(next, [EACH; THREADS as usize]);
}

#[test]
fn send_to_one_receiver_which_waits() {
    let _watchdog = watchdog();
    let (sender, receiver) = channel();
    flood(sender);
    expect_all(receiver.into_iter());
}

#[test]
fn send_to_one_receiver_which_polls() {
    let _watchdog = watchdog();
    let (sender, receiver) = channel();
    flood(sender);
    expect_all(std::iter::from_fn(|| {
        loop {
            match receiver.try_recv() {
                Ok(value) => return Some(value),
                Err(TryRecvError::Empty) => thread::yield_now(),
                Err(TryRecvError::Disconnected) => return None,
            }
        }
    }));
}

#[test]
fn share_one_sender() {
    let _watchdog = watchdog();
    let (sender, receiver) = channel();
    thread::scope(|scope| {
        let sender = &sender;
        for thread in 0..THREADS {
            scope.spawn(move || (0..EACH).for_each(|i| sender.send((thread, i)).unwrap()));
        }
    });
    drop(sender);
    expect_all(receiver.try_iter());
    assert_eq!(receiver.try_recv(), Err(TryRecvError::Disconnected));
}

#[test]
fn receive_in_turn() {
    let _watchdog = watchdog();
    let (sender, receiver) = channel();
    flood(sender);
    let mut received = Vec::new();
    let mut receiver = receiver;
    loop {
        let part;
        (receiver, part) = thread::spawn(move || {
            let part: Vec<(u32, u32)> = receiver.iter().take(3_333).collect();
            (receiver, part)
        })
        .join()
        .unwrap();
        if part.is_empty() {
            break;
        }
        received.extend(part);
    }
    expect_all(received.into_iter());
}

#[test]
fn wait_for_each_other() {
    let _watchdog = watchdog();
    let (there, inbox) = channel::<u32>();
    let (back, answers) = channel();
    let echo = thread::spawn(move || inbox.iter().for_each(|number| back.send(number).unwrap()));
    for number in 0..2_000 {
        there.send(number).unwrap();
        assert_eq!(answers.recv(), Ok(number));
    }
    drop(there);
    assert_eq!(answers.recv(), Err(RecvError));
    echo.join().unwrap();
}

#[test]
fn pass_a_message_around() {
    let _watchdog = watchdog();
    let (first, receiver) = channel::<u32>();
    let mut threads = Vec::new();
    let mut last: Receiver<u32> = receiver;
    for _ in 0..20 {
        let (sender, receiver) = channel();
        let inbox = std::mem::replace(&mut last, receiver);
        threads.push(thread::spawn(move || {
            inbox.iter().for_each(|number| sender.send(number + 1).unwrap());
        }));
    }
    for number in 0..100 {
        first.send(number).unwrap();
    }
    drop(first);
    assert!(last.into_iter().eq(20..120));
    threads.into_iter().for_each(|thread| thread.join().unwrap());
}

/// Each message is sent and received by another pair of threads.
#[test]
fn hand_on_both_ends() {
    let _watchdog = watchdog();
    fn send(sender: Sender<u32>, number: u32) {
        if number < 100 {
            thread::spawn(move || {
                sender.send(number).unwrap();
                send(sender, number + 1);
            });
        }
    }
    fn receive(receiver: Receiver<u32>, number: u32, done: Sender<bool>) {
        thread::spawn(move || {
            if number < 100 {
                assert_eq!(receiver.recv(), Ok(number));
                receive(receiver, number + 1, done);
            } else {
                done.send(receiver.recv().is_err()).unwrap();
            }
        });
    }
    let (done, is_done) = channel();
    for _ in 0..10 {
        let (sender, receiver) = channel();
        send(sender, 0);
        receive(receiver, 0, done.clone());
    }
    drop(done);
    assert_eq!(is_done.into_iter().collect::<Vec<_>>(), [true; 10]);
}

/// As a pool of workers does it, with a queue that has one receiver.
#[test]
fn share_one_receiver() {
    let _watchdog = watchdog();
    let (sender, receiver) = channel();
    let (done, results) = channel();
    let receiver = Arc::new(Mutex::new(receiver));
    for _ in 0..4 {
        let (receiver, done) = (Arc::clone(&receiver), done.clone());
        thread::spawn(move || {
            loop {
                let received = receiver.lock().unwrap().recv();
                match received {
                    Ok(value) => done.send(value).unwrap(),
                    Err(RecvError) => return,
                }
            }
        });
    }
    drop((receiver, done));
    for number in 0..2_000_u32 {
        sender.send(number).unwrap();
    }
    drop(sender);
    let mut all: Vec<u32> = results.into_iter().collect();
    all.sort_unstable();
    assert!(all.into_iter().eq(0..2_000));
}

/// Thread-locals, the channel's included, may have been destroyed already.
#[test]
fn use_their_ends_while_they_end() {
    struct AtExit {
        sender: Sender<String>,
        receiver: Receiver<u32>,
    }

    impl Drop for AtExit {
        fn drop(&mut self) {
            let sum: u32 = self.receiver.iter().sum();
            self.sender.send(format!("the sum is {sum}")).unwrap();
        }
    }

    thread_local! {
        static ENDS: RefCell<Option<AtExit>> = const { RefCell::new(None) };
    }

    let _watchdog = watchdog();
    for is_used_before in [false, true] {
        let (numbers, receiver) = channel();
        let (sender, sums) = channel();
        let thread = thread::spawn(move || {
            if is_used_before {
                receiver.recv().unwrap();
            }
            // Registered before the channel's own thread-locals, or after.
            ENDS.set(Some(AtExit { sender, receiver }));
        });
        for number in 1..=4 {
            numbers.send(number).unwrap();
        }
        drop(numbers);
        let sum = if is_used_before { 9 } else { 10 };
        assert_eq!(sums.recv(), Ok(format!("the sum is {sum}")));
        assert_eq!(sums.recv(), Err(RecvError));
        thread.join().unwrap();
    }
}

/// A blocked `recv` does not keep other threads from making and dropping endpoints.
#[test]
fn blocked_in_recv_do_not_delay_senders() {
    let _watchdog = watchdog();
    let (sender, receiver) = channel();
    let is_received = AtomicBool::new(false);
    thread::scope(|scope| {
        scope.spawn(|| {
            let receiver = receiver;
            assert_eq!(receiver.recv(), Ok(1));
            is_received.store(true, Ordering::SeqCst);
            assert_eq!(receiver.recv(), Err(RecvError));
        });
        for _ in 0..1_000 {
            drop(sender.clone());
        }
        assert!(!is_received.load(Ordering::SeqCst));
        sender.send(1).unwrap();
        for _ in 0..1_000 {
            drop(sender.clone());
        }
        drop(sender);
    });
}

//! Many threads and many messages in bounded channels.

use std::thread;

use super::mpsc::{RecvError, TryRecvError, TrySendError, sync_channel};
use super::watchdog;

const THREADS: usize = 6;
const EACH: u32 = 1_000;

fn expect_all(received: impl Iterator<Item = (usize, u32)>) {
    let mut next = [0; THREADS];
    for (thread, number) in received {
        assert_eq!(next[thread], number, "of thread {thread}");
        next[thread] += 1;
    }
    assert_eq!(next, [EACH; THREADS]);
}

#[test]
fn that_wait_for_room_send_all_values() {
    let _watchdog = watchdog();
    for bound in [0, 1, 10] {
        let (sender, receiver) = sync_channel(bound);
        for thread in 0..THREADS {
            let sender = sender.clone();
            thread::spawn(move || (0..EACH).for_each(|i| sender.send((thread, i)).unwrap()));
        }
        drop(sender);
        expect_all(receiver.into_iter());
    }
}

#[test]
fn that_repeat_try_send_send_all_values() {
    let _watchdog = watchdog();
    for bound in [1, 10] {
        let (sender, receiver) = sync_channel(bound);
        for thread in 0..THREADS {
            let sender = sender.clone();
            thread::spawn(move || {
                for number in 0..EACH {
                    let mut value = (thread, number);
                    while let Err(error) = sender.try_send(value) {
                        let TrySendError::Full(back) = error else { panic!("{error:?}") };
                        value = back;
                        thread::yield_now();
                    }
                }
            });
        }
        drop(sender);
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
}

#[test]
fn wait_for_each_other() {
    let _watchdog = watchdog();
    for bound in [0, 1] {
        let (there, inbox) = sync_channel::<u32>(bound);
        let (back, answers) = sync_channel(bound);
        let echo = thread::spawn(move || inbox.iter().for_each(|n| back.send(n).unwrap()));
        for number in 0..1_000 {
            there.send(number).unwrap();
            assert_eq!(answers.recv(), Ok(number));
        }
        drop(there);
        assert_eq!(answers.recv(), Err(RecvError));
        echo.join().unwrap();
    }
}

#[test]
fn hand_on_a_receiver_with_senders_waiting() {
    let _watchdog = watchdog();
    let (sender, receiver) = sync_channel(1);
    let sending = thread::spawn(move || (0..100).for_each(|number| sender.send(number).unwrap()));
    let mut receiver = receiver;
    for number in 0..100 {
        receiver = thread::spawn(move || {
            assert_eq!(receiver.recv(), Ok(number));
            receiver
        })
        .join()
        .unwrap();
    }
    assert_eq!(receiver.recv(), Err(RecvError));
    sending.join().unwrap();
}

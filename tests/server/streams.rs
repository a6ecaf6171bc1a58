//! Servers as streams.

use std::task::Poll;
use std::thread;

use futures_core::FusedStream;
use futures_lite::StreamExt;
use futures_lite::future::{block_on, or, poll_fn, poll_once};

use super::{connect, server, watchdog};

#[test]
fn stream_yields_the_clients() {
    let _watchdog = watchdog();
    let (server, name) = server();
    let mut stream = server.to_stream();
    let clients = thread::spawn(move || {
        for number in 0..300 {
            let (sender, receiver) = connect(&name);
            sender.send(number).unwrap();
            if number % 3 == 0 {
                assert_eq!(receiver.recv().unwrap(), number + 1);
            }
        }
    });
    block_on(async {
        for number in 0..300 {
            let (sender, receiver) = stream.next().await.unwrap().unwrap().split();
            assert_eq!(receiver.to_stream().next().await.unwrap().unwrap(), number);
            let _ = sender.send(number + 1);
        }
        assert!(poll_once(stream.next()).await.is_none());
    });
    assert!(!stream.is_terminated());
    clients.join().unwrap();
}

#[test]
fn clients_that_connected_before_are_yielded_and_a_dropped_future_loses_none() {
    let _watchdog = watchdog();
    let (mut server, name) = server();
    let _clients: Vec<_> = (0..100).map(|_| connect(&name)).collect();
    server.accept().unwrap();
    let mut stream = server.to_stream();
    block_on(async {
        for _ in 1..100 {
            assert!(stream.next().await.unwrap().is_ok());
        }
        assert!(poll_once(stream.next()).await.is_none());
        let _client = connect(&name);
        assert!(stream.next().await.unwrap().is_ok());
    });
}

/// There is always another client: each connects when the one before was accepted.
#[test]
fn stream_of_many_clients_lets_other_tasks_run() {
    const CLIENTS: usize = 1000;

    let _watchdog = watchdog();
    let (server, name) = server();
    let mut stream = server.to_stream();
    let mut turns = 0;
    let counting = poll_fn(|context| {
        turns += 1;
        context.waker().wake_by_ref();
        Poll::<()>::Pending
    });
    let serving = async {
        let mut client = connect(&name);
        for _ in 0..CLIENTS {
            stream.next().await.unwrap().unwrap();
            client = connect(&name);
        }
        drop(client);
    };
    block_on(or(serving, counting));
    assert!(turns >= CLIENTS / 128, "the other task ran {turns} times");
}

#[test]
fn dropped_stream_drops_its_server() {
    let _watchdog = watchdog();
    let (server, name) = server();
    let mut stream = server.to_stream();
    block_on(async { assert!(poll_once(stream.next()).await.is_none()) });
    let (_sender, receiver) = connect(&name);
    drop(stream);
    assert!(receiver.recv().unwrap_err().is_disconnected());
    assert!(strait::ipc::connect::<u32, u32>(name).is_err());
}

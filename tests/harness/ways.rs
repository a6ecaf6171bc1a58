//! Every way to receive, behind one function: all have the same guarantees.
//!
//! # Safety
//!
//! Tokio takes a receiver whose descriptor stays the same and open for as long as the receiver
//! exists. Receivers promise that.

#![allow(unsafe_code)]

use std::collections::VecDeque;
use std::mem::MaybeUninit;
use std::os::fd::AsFd;
use std::sync::mpsc;
use std::time::Duration;

use rustix::event::epoll::{self, CreateFlags, EventData, EventFlags};
use rustix::event::{PollFd, PollFlags};
use serde::Serialize;
use serde::de::DeserializeOwned;
use strait::ipc::{IpcError, IpcReceiver, IpcReceiverSet, IpcSelectionResult, TryRecvError};
use strait::router::RouterProxy;

/// The next outcome of a receiver.
#[derive(Debug, PartialEq, Eq)]
pub enum Next<T> {
    /// A value.
    Value(T),
    /// A message that is only an error.
    Refused,
    /// Disconnected.
    Closed,
}

impl<T> Next<T> {
    #[track_caller]
    pub fn value(self) -> T {
        match self {
            Next::Value(value) => value,
            Next::Refused => panic!("a message was refused"),
            Next::Closed => panic!("the channel is closed"),
        }
    }
}

/// A receiver, used in one of the ways.
pub type Source<T> = Box<dyn FnMut() -> Next<T>>;

/// A way to use a receiver.
pub type Way<T> = fn(IpcReceiver<T>) -> Source<T>;

/// All ways and their names.
pub fn ways<T>() -> Vec<(&'static str, Way<T>)>
where
    T: Serialize + DeserializeOwned + Send + 'static,
{
    vec![
        ("recv", by_recv),
        ("try_recv", by_try_recv),
        ("recv_timeout", by_timeout),
        ("set", by_set),
        ("router", by_router),
        #[cfg(feature = "async")]
        ("stream", by_stream),
    ]
}

/// Those of [`ways`], those of pollers, and those that skip errors: for tests in which
/// there are none.
pub fn all_ways<T>() -> Vec<(&'static str, Way<T>)>
where
    T: Serialize + DeserializeOwned + Send + 'static,
{
    let mut all = ways();
    all.extend([
        ("epoll", by_epoll as Way<T>),
        ("epoll, edge-triggered", by_edges),
        ("tokio's AsyncFd", by_async_fd),
        ("iter", by_iter),
        ("try_iter", by_try_iter),
        ("mpsc recv", by_mpsc_recv),
        ("mpsc recv_timeout", by_mpsc_timeout),
        ("mpsc iter", by_mpsc_iter),
    ]);
    all
}

fn of_result<T>(result: Result<T, IpcError>) -> Next<T> {
    match result {
        Ok(value) => Next::Value(value),
        Err(IpcError::SerializationError(_)) => Next::Refused,
        Err(IpcError::Disconnected) => Next::Closed,
        Err(IpcError::Io(error)) => panic!("the operating system refused: {error}"),
    }
}

/// By `recv`.
pub fn by_recv<T: Serialize + DeserializeOwned + 'static>(receiver: IpcReceiver<T>) -> Source<T> {
    Box::new(move || of_result(receiver.recv()))
}

/// By `try_recv`, when the descriptor is readable.
pub fn by_try_recv<T: Serialize + DeserializeOwned + 'static>(
    receiver: IpcReceiver<T>,
) -> Source<T> {
    by_trying(receiver, |receiver| {
        let mut fds = [PollFd::from_borrowed_fd(receiver.as_fd(), PollFlags::IN)];
        rustix::event::poll(&mut fds, None).unwrap();
    })
}

/// By `try_recv`, and by `wait` when there is nothing.
fn by_trying<T: Serialize + DeserializeOwned + 'static>(
    receiver: IpcReceiver<T>,
    wait: impl Fn(&IpcReceiver<T>) + 'static,
) -> Source<T> {
    Box::new(move || {
        loop {
            match receiver.try_recv() {
                Ok(value) => return Next::Value(value),
                Err(TryRecvError::IpcError(error)) => return of_result(Err(error)),
                Err(TryRecvError::Empty) => wait(&receiver),
            }
        }
    })
}

/// By `recv_timeout`.
pub fn by_timeout<T: Serialize + DeserializeOwned + 'static>(
    receiver: IpcReceiver<T>,
) -> Source<T> {
    Box::new(move || {
        loop {
            match receiver.recv_timeout(Duration::from_millis(50)) {
                Ok(value) => return Next::Value(value),
                Err(TryRecvError::IpcError(error)) => return of_result(Err(error)),
                Err(TryRecvError::Empty) => {}
            }
        }
    })
}

/// By a set.
pub fn by_set<T: Serialize + DeserializeOwned + 'static>(receiver: IpcReceiver<T>) -> Source<T> {
    let mut set = IpcReceiverSet::new().unwrap();
    let id = set.add(receiver).unwrap();
    let mut results = VecDeque::new();
    Box::new(move || {
        loop {
            match results.pop_front() {
                Some(IpcSelectionResult::MessageReceived(from, message)) => {
                    assert_eq!(from, id);
                    return message.to().map_or(Next::Refused, Next::Value);
                }
                Some(IpcSelectionResult::ChannelClosed(closed)) => {
                    assert_eq!(closed, id);
                    assert!(set.is_empty());
                    return Next::Closed;
                }
                None => results.extend(set.select().unwrap()),
            }
        }
    })
}

/// By a route of a router.
pub fn by_router<T: Serialize + DeserializeOwned + Send + 'static>(
    receiver: IpcReceiver<T>,
) -> Source<T> {
    let router = RouterProxy::new();
    let (results, routed) = mpsc::channel();
    router.add_typed_route(
        receiver,
        Box::new(move |result| {
            // Fails when the test has ended.
            let _ = results.send(result);
        }),
    );
    Box::new(move || {
        // The router goes with the closure.
        let _router = &router;
        match routed.recv() {
            Ok(result) => result.map_or(Next::Refused, Next::Value),
            Err(mpsc::RecvError) => Next::Closed,
        }
    })
}

/// As a stream.
#[cfg(feature = "async")]
pub fn by_stream<T: Serialize + DeserializeOwned + 'static>(receiver: IpcReceiver<T>) -> Source<T> {
    use futures_lite::StreamExt;

    let mut stream = receiver.to_stream();
    Box::new(move || match futures_lite::future::block_on(stream.next()) {
        Some(result) => result.map_or(Next::Refused, Next::Value),
        None => Next::Closed,
    })
}

/// By `try_recv` until there is nothing, and then waiting for the next event of an epoll instance.
fn by_events<T: Serialize + DeserializeOwned + 'static>(
    receiver: IpcReceiver<T>,
    mode: EventFlags,
) -> Source<T> {
    let epoll = epoll::create(CreateFlags::CLOEXEC).unwrap();
    epoll::add(&epoll, receiver.as_fd(), EventData::new_u64(1), EventFlags::IN | mode).unwrap();
    by_trying(receiver, move |_| {
        let mut events = [MaybeUninit::uninit(); 4];
        epoll::wait(&epoll, &mut events, None).unwrap();
    })
}

/// By level-triggered events.
pub fn by_epoll<T: Serialize + DeserializeOwned + 'static>(receiver: IpcReceiver<T>) -> Source<T> {
    by_events(receiver, EventFlags::empty())
}

/// By edge-triggered events.
pub fn by_edges<T: Serialize + DeserializeOwned + 'static>(receiver: IpcReceiver<T>) -> Source<T> {
    by_events(receiver, EventFlags::ET)
}

/// In tokio's reactor.
pub fn by_async_fd<T: Serialize + DeserializeOwned + 'static>(
    receiver: IpcReceiver<T>,
) -> Source<T> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let registered = runtime.block_on(async {
        // SAFETY: a receiver keeps a descriptor that it has lent out open under its number.
        unsafe { tokio::io::unix::AsyncFd::register(receiver).unwrap() }
    });
    // Dropped in this order: what is registered needs its reactor.
    let mut place = (registered, runtime);
    Box::new(move || {
        let (registered, runtime) = &mut place;
        runtime.block_on(async {
            loop {
                match registered.get_ref().try_recv() {
                    Ok(value) => return Next::Value(value),
                    Err(TryRecvError::IpcError(error)) => return of_result(Err(error)),
                    Err(TryRecvError::Empty) => {
                        let mut guard = registered.readable().await.unwrap();
                        // A packet that arrives in the meantime makes it ready again.
                        match guard.get_inner().try_recv() {
                            Ok(value) => return Next::Value(value),
                            Err(TryRecvError::IpcError(error)) => return of_result(Err(error)),
                            Err(TryRecvError::Empty) => guard.clear_ready(),
                        }
                    }
                }
            }
        })
    })
}

fn of_option<T>(next: Option<T>) -> Next<T> {
    next.map_or(Next::Closed, Next::Value)
}

/// By its iterator.
pub fn by_iter<T: Serialize + DeserializeOwned + 'static>(receiver: IpcReceiver<T>) -> Source<T> {
    let mut values = receiver.into_iter();
    Box::new(move || of_option(values.next()))
}

/// By the iterator of what is there, and by `recv` when there is nothing.
pub fn by_try_iter<T: Serialize + DeserializeOwned + 'static>(
    receiver: IpcReceiver<T>,
) -> Source<T> {
    Box::new(move || match receiver.try_iter().next() {
        Some(value) => Next::Value(value),
        None => of_result(receiver.recv()),
    })
}

/// By the receiver of `strait::mpsc`.
pub fn by_mpsc_recv<T: Serialize + DeserializeOwned + 'static>(
    receiver: IpcReceiver<T>,
) -> Source<T> {
    let receiver = strait::mpsc::Receiver::from(receiver);
    Box::new(move || of_option(receiver.recv().ok()))
}

/// By the `recv_timeout` of `strait::mpsc`.
pub fn by_mpsc_timeout<T: Serialize + DeserializeOwned + 'static>(
    receiver: IpcReceiver<T>,
) -> Source<T> {
    let receiver = strait::mpsc::Receiver::from(receiver);
    Box::new(move || {
        loop {
            match receiver.recv_timeout(Duration::from_millis(50)) {
                Ok(value) => return Next::Value(value),
                Err(mpsc::RecvTimeoutError::Disconnected) => return Next::Closed,
                Err(mpsc::RecvTimeoutError::Timeout) => {}
            }
        }
    })
}

/// By its iterator.
pub fn by_mpsc_iter<T: Serialize + DeserializeOwned + 'static>(
    receiver: IpcReceiver<T>,
) -> Source<T> {
    let mut values = strait::mpsc::Receiver::from(receiver).into_iter();
    Box::new(move || of_option(values.next()))
}

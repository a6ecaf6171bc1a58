//! Every way there is to receive, behind one function: what is promised of one is promised of all.

use std::collections::VecDeque;
use std::os::fd::AsFd;
use std::sync::mpsc;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags};
use serde::Serialize;
use serde::de::DeserializeOwned;
use strait::ipc::{IpcError, IpcReceiver, IpcReceiverSet, IpcSelectionResult, TryRecvError};
use strait::router::RouterProxy;

/// What comes next.
#[derive(Debug, PartialEq, Eq)]
pub enum Next<T> {
    /// A value.
    Value(T),
    /// A message that is only an error.
    Refused,
    /// Nothing, ever.
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
    Box::new(move || {
        loop {
            match receiver.try_recv() {
                Ok(value) => return Next::Value(value),
                Err(TryRecvError::IpcError(error)) => return of_result(Err(error)),
                Err(TryRecvError::Empty) => {
                    let fd = receiver.as_fd();
                    let mut fds = [PollFd::from_borrowed_fd(fd, PollFlags::IN)];
                    rustix::event::poll(&mut fds, None).unwrap();
                }
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
            // It fails when the test is over.
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

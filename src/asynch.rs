//! Receivers as streams, on any runtime.
//!
//! Messages stay in the channel until the stream is polled. One thread for the whole process, started with the first stream
//! that has to wait, watches the receivers and wakes the tasks; it holds no messages.

use std::collections::{HashMap, VecDeque};
use std::fmt;
use std::io;
use std::marker::PhantomData;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};
use std::thread;
use std::time::Duration;

use futures_core::{FusedStream, Stream};
use serde::{Deserialize, Serialize};

use crate::channel::{Purpose, Receiver, RecvError, Slot, scratch};
use crate::codec;
use crate::error::SerDeError;
use crate::ipc::IpcReceiver;
use crate::platform::{Poller, Registry, Wait, process_mark};

/// How long the thread rests when the operating system refuses to tell it what happened.
const REST: Duration = Duration::from_millis(10);

/// The messages of a receiver as a stream, made by [`IpcReceiver::to_stream`].
///
/// It ends when the channel is disconnected. A message that cannot be decoded is one `Err` item. Dropping the stream closes
/// the receiver, and senders notice.
///
/// A stream that is not polled receives nothing: what is sent takes up memory of those who send it, as for any receiver.
///
/// # Cancel safety
///
/// A message is taken from the channel only when it is returned; dropping a future that waits for the next item loses nothing.
///
/// # Platform
///
/// A forked child cannot use the streams of its parent; those it makes itself work.
pub struct IpcStream<T> {
    /// A mutex so that the stream is `Sync`; never contended.
    source: Mutex<Source>,
    values: PhantomData<fn() -> T>,
}

enum Source {
    /// Not polled yet.
    New(Slot),
    /// Watched by the reactor.
    Watched(Box<Watch>),
    /// Over.
    Over,
}

impl<T> IpcReceiver<T>
where
    T: for<'de> Deserialize<'de> + Serialize,
{
    /// Makes the receiver a stream.
    ///
    /// # Examples
    ///
    /// ```
    /// use futures_lite::StreamExt;
    ///
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let (sender, receiver) = strait::ipc::channel::<u32>()?;
    /// sender.send(3)?;
    /// drop(sender);
    /// let mut stream = receiver.to_stream();
    /// futures_lite::future::block_on(async {
    ///     while let Some(number) = stream.next().await {
    ///         assert_eq!(number?, 3);
    ///     }
    ///     Ok(())
    /// })
    /// # }
    /// ```
    pub fn to_stream(self) -> IpcStream<T> {
        IpcStream { source: Mutex::new(Source::New(self.into_slot())), values: PhantomData }
    }
}

impl<T> Stream for IpcStream<T>
where
    T: for<'de> Deserialize<'de> + Serialize,
{
    type Item = Result<T, SerDeError>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let source = self.source.get_mut().unwrap_or_else(PoisonError::into_inner);
        if let Err(error) = source.watch() {
            return Poll::Ready(Some(Err(lost(error))));
        }
        let Source::Watched(watch) = source else {
            return Poll::Ready(None);
        };
        // Before the receiver is looked at, so that what comes in meanwhile wakes the task.
        watch.task.set(cx.waker());
        let item = scratch::with_receive_buffer(|buffer| {
            let message = watch.receiver.receive(buffer, Purpose::Look, Wait::Never)?;
            Ok(codec::decode(message.body.bytes(buffer), message.attachments))
        });
        match item {
            Ok(item) => Poll::Ready(Some(item)),
            Err(RecvError::Empty) => Poll::Pending,
            Err(RecvError::Unfinished) => {
                cx.waker().wake_by_ref();
                Poll::Pending
            }
            Err(RecvError::Lost(problem)) => Poll::Ready(Some(Err(problem.into()))),
            Err(RecvError::Io(error)) => Poll::Ready(Some(Err(lost(error)))),
            Err(RecvError::Broken(error)) => {
                *source = Source::Over;
                Poll::Ready(Some(Err(lost(error))))
            }
            Err(RecvError::Disconnected) => {
                *source = Source::Over;
                Poll::Ready(None)
            }
        }
    }
}

impl<T> FusedStream for IpcStream<T>
where
    T: for<'de> Deserialize<'de> + Serialize,
{
    fn is_terminated(&self) -> bool {
        matches!(*lock(&self.source), Source::Over)
    }
}

impl<T> fmt::Debug for IpcStream<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("IpcStream").finish_non_exhaustive()
    }
}

fn lost(error: io::Error) -> SerDeError {
    SerDeError::from_format("received", Box::new(error))
}

impl Source {
    /// Has the receiver watched, if it is not yet. What fails may succeed later, except for a receiver that is not there
    /// any more: that is the end.
    fn watch(&mut self) -> io::Result<()> {
        match std::mem::replace(self, Source::Over) {
            Source::New(slot) => match Watch::new(slot.into_receiver()?) {
                Ok(watch) => *self = Source::Watched(Box::new(watch)),
                Err((error, receiver)) => {
                    *self = Source::New(Slot::from(receiver));
                    return Err(error);
                }
            },
            source => *self = source,
        }
        Ok(())
    }
}

/// A receiver that is watched.
struct Watch {
    receiver: Receiver,
    id: u64,
    task: Arc<Task>,
    reactor: Arc<Reactor>,
}

impl Watch {
    fn new(mut receiver: Receiver) -> Result<Watch, (io::Error, Receiver)> {
        let reactor = match Reactor::of_this_process() {
            Ok(reactor) => reactor,
            Err(error) => return Err((error, receiver)),
        };
        let task = Arc::new(Task::default());
        let id = lock(&reactor.tasks).add(Arc::clone(&task));
        let watched = receiver.watch().and_then(|packets| reactor.registry.add(packets, id));
        match watched {
            Ok(()) => Ok(Watch { receiver, id, task, reactor }),
            Err(error) => {
                lock(&reactor.tasks).by_id.remove(&id);
                Err((error, receiver))
            }
        }
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        // In a forked child the registry is still the parent's, and a thread that is not there may hold the lock.
        if self.reactor.process != process_mark() {
            return;
        }
        if let Some(packets) = self.receiver.packets() {
            let _ = self.reactor.registry.remove(packets);
        }
        lock(&self.reactor.tasks).by_id.remove(&self.id);
    }
}

/// Who is to be woken for one receiver.
#[derive(Default)]
struct Task(Mutex<Option<Waker>>);

impl Task {
    fn set(&self, waker: &Waker) {
        if lock(&self.0).as_ref().is_some_and(|known| known.will_wake(waker)) {
            return;
        }
        // Cloning and dropping wakers runs the runtime's code: outside the lock.
        let new = waker.clone();
        let old = lock(&self.0).replace(new);
        drop(old);
    }

    fn wake(&self) {
        // Outside the lock, since it runs the runtime's code; that it panics is the runtime's affair.
        let waker = lock(&self.0).take();
        if let Some(waker) = waker {
            let _ = catch_unwind(AssertUnwindSafe(|| waker.wake()));
        }
    }
}

/// The thread that watches, as others see it.
struct Reactor {
    registry: Registry,
    tasks: Mutex<Tasks>,
    process: u64,
}

#[derive(Default)]
struct Tasks {
    by_id: HashMap<u64, Arc<Task>>,
    next_id: u64,
}

impl Tasks {
    fn add(&mut self, task: Arc<Task>) -> u64 {
        let id = self.next_id;
        self.next_id += 1;
        self.by_id.insert(id, task);
        id
    }
}

impl Reactor {
    fn of_this_process() -> io::Result<Arc<Reactor>> {
        static REACTOR: Mutex<Option<Arc<Reactor>>> = Mutex::new(None);
        let mut current = lock(&REACTOR);
        match &*current {
            Some(reactor) if reactor.process == process_mark() => Ok(Arc::clone(reactor)),
            _ => {
                let reactor = Reactor::start()?;
                *current = Some(Arc::clone(&reactor));
                Ok(reactor)
            }
        }
    }

    fn start() -> io::Result<Arc<Reactor>> {
        let poller = Poller::new()?;
        let reactor = Arc::new(Reactor {
            registry: poller.registry()?,
            tasks: Mutex::default(),
            process: process_mark(),
        });
        let watched = Arc::clone(&reactor);
        thread::Builder::new()
            .name("strait-streams".to_string())
            .spawn(move || watched.run(poller))?;
        Ok(reactor)
    }

    fn run(&self, mut poller: Poller) {
        let mut ready = VecDeque::new();
        loop {
            if poller.wait(Wait::Forever, &mut ready).is_err() {
                thread::sleep(REST);
            }
            for id in ready.drain(..) {
                let task = lock(&self.tasks).by_id.get(&id).cloned();
                if let Some(task) = task {
                    task.wake();
                }
            }
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

//! A router calls callbacks for received messages, on a thread of its own.
//!
//! A [`RouterProxy`] has a thread that owns a receiver set. Adding a route never blocks, and
//! callbacks can add routes. If a callback panics, only its own route is closed.
//!
//! # Examples
//!
//! See [`RouterProxy`].

use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::mem::{self, ManuallyDrop};
use std::ops::ControlFlow;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, LazyLock, Mutex, MutexGuard, PoisonError};
use std::thread::{self, ThreadId};
use std::time::Duration;

use crossbeam_channel::{Receiver, Sender};
use serde::Deserialize;

use crate::channel::{Event, ReceiverSet, Slot};
use crate::error::SerDeError;
use crate::ipc::{IpcBytesReceiver, IpcMessage, IpcReceiver, OpaqueIpcReceiver};
use crate::platform::contract::PollWaker as _;
use crate::platform::{PerProcess, PollWaker, Wait};

/// The router of this process. Its thread starts when the first route is added.
///
/// # Examples
///
/// See [`RouterProxy`].
pub static ROUTER: LazyLock<RouterProxy> = LazyLock::new(RouterProxy::new);

/// The time for which the thread sleeps when the operating system fails to report events.
const REST: Duration = Duration::from_millis(10);

/// A callback that is called with each message of a route, undecoded.
///
/// # Examples
///
/// See [`IpcMessage::to`].
pub type RouterMultiHandler = Box<dyn FnMut(IpcMessage) + Send>;
/// A callback that is called with the first message of a route, undecoded.
///
/// # Examples
///
/// See [`IpcMessage::to`].
pub type RouterOneShotHandler = Box<dyn FnOnce(IpcMessage) + Send>;
/// A callback that is called with each message of a route, decoded.
///
/// # Examples
///
/// See [`RouterProxy::add_typed_route`].
pub type TypedRouterMultiHandler<T> = Box<dyn FnMut(Result<T, SerDeError>) + Send>;
/// A callback that is called with the first message of a route, decoded.
///
/// # Examples
///
/// See [`RouterProxy::add_typed_one_shot_route`].
pub type TypedRouterOneShotHandler<T> = Box<dyn FnOnce(Result<T, SerDeError>) + Send>;
/// A callback that is called with each message of a route of bytes.
///
/// # Examples
///
/// See [`RouterProxy::add_bytes_route`].
pub type BytesRouterHandler = Box<dyn FnMut(Result<Vec<u8>, SerDeError>) + Send>;

/// The name of [`RouterMultiHandler`] in ipc-channel 0.20.
#[deprecated(note = "use `RouterMultiHandler`")]
pub type RouterHandler = RouterMultiHandler;
/// The name of [`TypedRouterMultiHandler`] in ipc-channel 0.20.
#[deprecated(note = "use `TypedRouterMultiHandler`")]
pub type TypedRouterHandler<T> = TypedRouterMultiHandler<T>;

/// Handles a message of a route. `Break` closes the route.
type Handler = Box<dyn FnMut(IpcMessage) -> ControlFlow<()> + Send>;

/// A router: a thread that calls callbacks with the messages of many receivers.
///
/// The callbacks of one router run one after another on its thread, which also decodes the
/// messages. A callback that blocks delays all routes of its router: use another router, or another
/// thread, for work that takes long. When a channel is disconnected or its callback panics, the
/// router closes the route and drops the callback.
///
/// The router drops a receiver and its callback if it cannot poll the receiver: because this
/// process has no handles left, or because the receiver was moved into a message. The channel is
/// disconnected then.
///
/// After a `fork`, the child has no thread of the parent: the first route that the child adds
/// starts a new thread. The parent keeps its routes.
///
/// # Examples
///
/// ```
/// use strait::ipc;
/// use strait::router::ROUTER;
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let (sender, receiver) = ipc::channel::<u32>()?;
/// let numbers = ROUTER.route_ipc_receiver_to_new_crossbeam_receiver(receiver);
/// sender.send(5)?;
/// assert_eq!(numbers.recv()?, 5);
/// # Ok(())
/// # }
/// ```
#[derive(Default)]
pub struct RouterProxy {
    /// `None` until there is a route. Never dropped in a forked child, because its channels belong
    /// to the threads of the parent.
    worker: PerProcess<Mutex<Option<ManuallyDrop<Worker>>>>,
    /// Written before `worker` is locked, and read under its lock.
    is_shut_down: AtomicBool,
}

impl RouterProxy {
    /// Creates a router with a thread of its own, which starts when the first route is added.
    ///
    /// If the operating system cannot provide the thread or a handle, the router drops the route's
    /// receiver, so the channel is disconnected. The next route tries again.
    pub fn new() -> RouterProxy {
        RouterProxy::default()
    }

    /// Calls `callback` with each decoded message of `receiver`, or with the error if it cannot be
    /// decoded.
    ///
    /// # Examples
    ///
    /// ```
    /// use std::sync::mpsc;
    ///
    /// use strait::ipc;
    /// use strait::router::RouterProxy;
    ///
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let router = RouterProxy::new();
    /// let (sender, receiver) = ipc::channel::<u32>()?;
    /// let (squares, results) = mpsc::channel();
    /// let square = move |number| {
    ///     if let Ok(number) = number {
    ///         let _ = squares.send(number * number);
    ///     }
    /// };
    /// router.add_typed_route(receiver, Box::new(square));
    /// sender.send(3)?;
    /// sender.send(4)?;
    /// assert_eq!([results.recv()?, results.recv()?], [9, 16]);
    /// router.shutdown();
    /// # Ok(())
    /// # }
    /// ```
    pub fn add_typed_route<T>(
        &self,
        receiver: IpcReceiver<T>,
        mut callback: TypedRouterMultiHandler<T>,
    ) where
        T: for<'de> Deserialize<'de> + 'static,
    {
        self.add_every(receiver.into_slot(), Box::new(move |message| callback(message.to())));
    }

    /// Calls `callback` with the first decoded message of `receiver`, or with the error if it
    /// cannot be decoded.
    ///
    /// The router discards later messages. The channel stays connected until its senders have been
    /// dropped.
    ///
    /// # Examples
    ///
    /// ```
    /// use std::sync::mpsc;
    ///
    /// use strait::ipc;
    /// use strait::router::ROUTER;
    ///
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let (reply, receiver) = ipc::channel::<String>()?;
    /// let (answer, answers) = mpsc::channel();
    /// ROUTER.add_typed_one_shot_route(receiver, Box::new(move |text| drop(answer.send(text))));
    /// reply.send("done".to_string())?;
    /// assert_eq!(answers.recv()??, "done");
    /// # Ok(())
    /// # }
    /// ```
    pub fn add_typed_one_shot_route<T>(
        &self,
        receiver: IpcReceiver<T>,
        callback: TypedRouterOneShotHandler<T>,
    ) where
        T: for<'de> Deserialize<'de> + 'static,
    {
        let mut callback = Some(callback);
        self.add_every(
            receiver.into_slot(),
            Box::new(move |message| {
                if let Some(callback) = callback.take() {
                    callback(message.to());
                }
            }),
        );
    }

    /// Calls `callback` with each message of `receiver`, or with the error if it is malformed.
    ///
    /// # Examples
    ///
    /// ```
    /// use std::sync::mpsc;
    ///
    /// use strait::ipc;
    /// use strait::router::ROUTER;
    ///
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let (sender, receiver) = ipc::bytes_channel()?;
    /// let (length, lengths) = mpsc::channel();
    /// let measure = move |bytes: Result<Vec<u8>, _>| {
    ///     drop(length.send(bytes.map(|bytes| bytes.len())));
    /// };
    /// ROUTER.add_bytes_route(receiver, Box::new(measure));
    /// sender.send(b"four")?;
    /// assert_eq!(lengths.recv()??, 4);
    /// # Ok(())
    /// # }
    /// ```
    pub fn add_bytes_route(&self, receiver: IpcBytesReceiver, mut callback: BytesRouterHandler) {
        self.add_every(
            receiver.into_slot(),
            Box::new(move |message| callback(message.into_bytes())),
        );
    }

    /// Calls `callback` with each message of `receiver`, undecoded.
    #[deprecated(note = "use `add_typed_route`")]
    pub fn add_route(&self, receiver: OpaqueIpcReceiver, callback: RouterMultiHandler) {
        self.add_every(receiver.into_slot(), callback);
    }

    /// Forwards the messages of `receiver` into a crossbeam channel, and skips messages that cannot
    /// be decoded.
    ///
    /// After the crossbeam channel has been disconnected, the next message closes the route. While
    /// a bounded crossbeam channel is full, the router blocks, with all its routes.
    ///
    /// # Examples
    ///
    /// ```
    /// use strait::ipc;
    /// use strait::router::ROUTER;
    ///
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let (from_both, numbers) = crossbeam_channel::bounded(8);
    /// let (one, receiver) = ipc::channel::<u32>()?;
    /// ROUTER.route_ipc_receiver_to_crossbeam_sender(receiver, from_both.clone());
    /// let (other, receiver) = ipc::channel::<u32>()?;
    /// ROUTER.route_ipc_receiver_to_crossbeam_sender(receiver, from_both);
    /// one.send(1)?;
    /// other.send(2)?;
    /// assert_eq!(numbers.recv()? + numbers.recv()?, 3);
    /// # Ok(())
    /// # }
    /// ```
    pub fn route_ipc_receiver_to_crossbeam_sender<T>(
        &self,
        receiver: IpcReceiver<T>,
        sender: Sender<T>,
    ) where
        T: for<'de> Deserialize<'de> + Send + 'static,
    {
        self.add(
            receiver.into_slot(),
            Box::new(move |message| match message.to().map(|value| sender.send(value)) {
                Ok(Err(_)) => ControlFlow::Break(()),
                Ok(Ok(())) | Err(_) => ControlFlow::Continue(()),
            }),
        );
    }

    /// Forwards the messages of `receiver` into a new unbounded crossbeam channel, and returns its
    /// receiver.
    ///
    /// Messages are forwarded as by
    /// [`route_ipc_receiver_to_crossbeam_sender`](Self::route_ipc_receiver_to_crossbeam_sender).
    ///
    /// # Examples
    ///
    /// See [`RouterProxy`].
    pub fn route_ipc_receiver_to_new_crossbeam_receiver<T>(
        &self,
        receiver: IpcReceiver<T>,
    ) -> Receiver<T>
    where
        T: for<'de> Deserialize<'de> + Send + 'static,
    {
        let (crossbeam_sender, crossbeam_receiver) = crossbeam_channel::unbounded();
        self.route_ipc_receiver_to_crossbeam_sender(receiver, crossbeam_sender);
        crossbeam_receiver
    }

    /// Closes all routes, stops the thread, and blocks until the thread has ended.
    ///
    /// If a callback of this router calls `shutdown`, it does not block; the thread ends when the
    /// callback returns. Routes that are added later are dropped at once. A second call does
    /// nothing.
    pub fn shutdown(&self) {
        self.is_shut_down.store(true, Ordering::Release);
        let worker = mem::take(&mut *self.worker());
        // Outside the lock: callbacks that run meanwhile can add routes.
        if let Some(worker) = worker {
            ManuallyDrop::into_inner(worker).stop();
        }
    }

    fn add_every(&self, slot: Slot, mut callback: RouterMultiHandler) {
        self.add(
            slot,
            Box::new(move |message| {
                callback(message);
                ControlFlow::Continue(())
            }),
        );
    }

    fn add(&self, slot: Slot, handler: Handler) {
        // Before the lock is taken: threads that add routes without end would keep
        // `shutdown` from it.
        if self.is_shut_down.load(Ordering::Acquire) {
            return;
        }
        let mut worker = self.worker();
        if worker.is_none() && !self.is_shut_down.load(Ordering::Acquire) {
            *worker = Worker::start().map(ManuallyDrop::new).ok();
        }
        let route = Route { slot, handler };
        let refused = match &*worker {
            Some(worker) => worker.add(route).err(),
            None => Some(route),
        };
        // In this order: dropping the callback runs code of the user.
        drop(worker);
        drop(refused);
    }

    fn worker(&self) -> MutexGuard<'_, Option<ManuallyDrop<Worker>>> {
        self.worker.get().lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for RouterProxy {
    fn drop(&mut self) {
        self.shutdown();
    }
}

impl fmt::Debug for RouterProxy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RouterProxy").finish_non_exhaustive()
    }
}

struct Route {
    slot: Slot,
    handler: Handler,
}

/// The thread, as other threads see it.
struct Worker {
    routes: Sender<Route>,
    waker: PollWaker,
    is_over: Arc<AtomicBool>,
    thread: ThreadId,
    /// Disconnected when the thread ends.
    ended: Receiver<()>,
}

impl Worker {
    fn start() -> io::Result<Worker> {
        let set = ReceiverSet::new()?;
        let waker = set.waker()?;
        let (routes, new_routes) = crossbeam_channel::unbounded();
        let is_over = Arc::new(AtomicBool::new(false));
        let router =
            Router { set, handlers: BTreeMap::new(), new_routes, is_over: Arc::clone(&is_over) };
        // Not a `JoinHandle`: in a forked child, dropping one detaches a thread that does not
        // exist, or another thread.
        let (running, ended) = crossbeam_channel::bounded::<()>(0);
        let thread = thread::Builder::new().name("router-proxy".to_string()).spawn(move || {
            router.run();
            drop(running);
        })?;
        let thread = thread.thread().id();
        Ok(Worker { routes, waker, is_over, thread, ended })
    }

    /// Passes a route to the thread. Returns the route if the thread has ended.
    fn add(&self, route: Route) -> Result<(), Route> {
        self.routes.send(route).map_err(|refused| refused.0)?;
        // The thread exists, and so does the set that it blocks on.
        let _ = self.waker.wake();
        Ok(())
    }

    fn stop(self) {
        self.is_over.store(true, Ordering::Release);
        let _ = self.waker.wake();
        if self.thread != thread::current().id() {
            // No message is ever sent: this returns when the thread ends.
            let _ = self.ended.recv();
        }
    }
}

/// The state of the thread.
struct Router {
    set: ReceiverSet,
    handlers: BTreeMap<u64, Handler>,
    new_routes: Receiver<Route>,
    is_over: Arc<AtomicBool>,
}

impl Router {
    fn run(mut self) {
        while !self.is_over() {
            match self.set.select(Wait::Forever) {
                Ok(events) => {
                    for event in events {
                        if self.is_over() {
                            break;
                        }
                        self.handle(event);
                    }
                }
                Err(_) => thread::sleep(REST),
            }
            self.add_new_routes();
        }
        while let Some((_, handler)) = self.handlers.pop_first() {
            discard(handler);
        }
        while let Ok(route) = self.new_routes.try_recv() {
            discard(route);
        }
    }

    fn is_over(&self) -> bool {
        self.is_over.load(Ordering::Acquire)
    }

    fn add_new_routes(&mut self) {
        // No more than there are now: for those that are added meanwhile, the thread is
        // woken again.
        for _ in 0..self.new_routes.len() {
            if self.is_over() {
                return;
            }
            let Ok(Route { slot, handler }) = self.new_routes.try_recv() else { return };
            // A receiver that was moved or cannot be polled has no messages to route.
            match slot.into_receiver().and_then(|receiver| self.set.add(receiver)) {
                Ok(id) => drop(self.handlers.insert(id, handler)),
                Err(_) => discard(handler),
            }
        }
    }

    fn handle(&mut self, event: Event) {
        let (id, message) = match event {
            Event::Message(id, bytes, entries, sent_type) => {
                (id, IpcMessage::new(bytes, entries).sent_as(sent_type))
            }
            Event::Client(id, client) => (id, IpcMessage::of_client(*client)),
            Event::Lost(id, problem) => (id, IpcMessage::lost(problem.into())),
            Event::Closed(id) => return self.close(id),
        };
        let Some(handler) = self.handlers.get_mut(&id) else {
            return;
        };
        match catch_unwind(AssertUnwindSafe(|| handler(message))) {
            Ok(ControlFlow::Continue(())) => {}
            Ok(ControlFlow::Break(())) => self.close(id),
            Err(panic) => {
                discard(panic);
                self.close(id);
            }
        }
    }

    fn close(&mut self, id: u64) {
        drop(self.set.remove(id));
        if let Some(handler) = self.handlers.remove(&id) {
            discard(handler);
        }
    }
}

/// Drops a value of the user. Its `Drop` may panic.
fn discard<T>(value: T) {
    // Dropping the payload of that panic may panic, too, which is caught here. Such a chain has no
    // end, so its further panics are not caught.
    if let Err(panic) = catch_unwind(AssertUnwindSafe(|| drop(value))) {
        let _ = catch_unwind(AssertUnwindSafe(|| drop(panic)));
    }
}

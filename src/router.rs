//! Callbacks for messages, run by a thread.
//!
//! A [`RouterProxy`] stands for a thread that owns a receiver set. Routes are added by a queue and a waker that never block, from
//! callbacks, too. A callback that panics loses its own route and nothing else.

use std::collections::HashMap;
use std::fmt;
use std::io;
use std::ops::ControlFlow;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, LazyLock, Mutex, MutexGuard, PoisonError};
use std::thread::{self, ThreadId};
use std::time::Duration;

use crossbeam_channel::{Receiver, Sender};
use serde::{Deserialize, Serialize};

use crate::channel::{Event, ReceiverSet, Slot};
use crate::error::SerDeError;
use crate::ipc::{IpcBytesReceiver, IpcMessage, IpcReceiver, OpaqueIpcReceiver};
use crate::platform::{PollWaker, Wait, process_mark};

/// The router of the whole process. Its thread starts with its first use.
pub static ROUTER: LazyLock<RouterProxy> = LazyLock::new(RouterProxy::new);

/// How long the thread rests when the operating system refuses to tell it what happened.
const REST: Duration = Duration::from_millis(10);

/// Called for every message of a route.
pub type RouterMultiHandler = Box<dyn FnMut(IpcMessage) + Send>;
/// Called for the first message of a route.
pub type RouterOneShotHandler = Box<dyn FnOnce(IpcMessage) + Send>;
/// Called for every message of a route, decoded.
pub type TypedRouterMultiHandler<T> = Box<dyn FnMut(Result<T, SerDeError>) + Send>;
/// Called for the first message of a route, decoded.
pub type TypedRouterOneShotHandler<T> = Box<dyn FnOnce(Result<T, SerDeError>) + Send>;
/// Called for every message of a route of bytes.
pub type BytesRouterHandler = Box<dyn FnMut(Result<Vec<u8>, SerDeError>) + Send>;

/// The name that [`RouterMultiHandler`] had in ipc-channel 0.20.
#[deprecated(note = "use `RouterMultiHandler`")]
pub type RouterHandler = RouterMultiHandler;
/// The name that [`TypedRouterMultiHandler`] had in ipc-channel 0.20.
#[deprecated(note = "use `TypedRouterMultiHandler`")]
pub type TypedRouterHandler<T> = TypedRouterMultiHandler<T>;

/// What a route does with a message; `Break` ends the route.
type Handler = Box<dyn FnMut(IpcMessage) -> ControlFlow<()> + Send>;

/// A thread that calls back for messages.
///
/// A receiver that cannot be watched, for want of handles or because it was moved into a message, is dropped with its callback; its
/// senders find it disconnected.
///
/// Callbacks of one router run one after another, on its thread, and values are decoded there. A callback that does not return
/// holds up the other routes of its router, so whatever takes long has a router, or a thread, of its own. When a channel
/// is disconnected or its callback panics, the callback is dropped and the route is closed.
///
/// A forked child has no thread: there, too, the first route that is added starts a new one, and routes of the parent stay with
/// the parent.
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
    state: Mutex<State>,
}

/// What a router is doing.
#[derive(Default)]
enum State {
    /// It has had nothing to do yet.
    #[default]
    New,
    Running(Worker),
    ShutDown,
}

impl RouterProxy {
    /// Makes a router of its own. Its thread starts with the first route.
    ///
    /// When the operating system has no thread or handles for it, that route is dropped, so that its senders find it
    /// disconnected, and the next route tries again.
    pub fn new() -> RouterProxy {
        RouterProxy::default()
    }

    /// Calls `callback` for every message of `receiver`, or for the error that it is one.
    pub fn add_typed_route<T>(
        &self,
        receiver: IpcReceiver<T>,
        mut callback: TypedRouterMultiHandler<T>,
    ) where
        T: for<'de> Deserialize<'de> + Serialize + 'static,
    {
        self.add_every(receiver.into_slot(), Box::new(move |message| callback(message.to())));
    }

    /// Calls `callback` for the first message of `receiver`, or for the error that it is one.
    ///
    /// Later messages are dropped. The channel stays connected until its senders are gone.
    pub fn add_typed_one_shot_route<T>(
        &self,
        receiver: IpcReceiver<T>,
        callback: TypedRouterOneShotHandler<T>,
    ) where
        T: for<'de> Deserialize<'de> + Serialize + 'static,
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

    /// Calls `callback` for every message of `receiver`.
    pub fn add_bytes_route(&self, receiver: IpcBytesReceiver, mut callback: BytesRouterHandler) {
        self.add_every(
            receiver.into_slot(),
            Box::new(move |message| callback(message.into_bytes())),
        );
    }

    /// Calls `callback` for every message of `receiver`, undecoded.
    #[deprecated(note = "use `add_typed_route`")]
    pub fn add_route(&self, receiver: OpaqueIpcReceiver, callback: RouterMultiHandler) {
        self.add_every(receiver.into_slot(), callback);
    }

    /// Passes the messages of `receiver` on to a crossbeam channel. Messages that cannot be decoded are passed over.
    ///
    /// When the crossbeam channel is disconnected, so is this one, as soon as a message comes that cannot be passed on. If it is
    /// bounded and full, all routes of this router wait.
    pub fn route_ipc_receiver_to_crossbeam_sender<T>(
        &self,
        receiver: IpcReceiver<T>,
        sender: Sender<T>,
    ) where
        T: for<'de> Deserialize<'de> + Serialize + Send + 'static,
    {
        self.add(
            receiver.into_slot(),
            Box::new(move |message| match message.to().map(|value| sender.send(value)) {
                Ok(Err(_)) => ControlFlow::Break(()),
                Ok(Ok(())) | Err(_) => ControlFlow::Continue(()),
            }),
        );
    }

    /// Passes the messages of `receiver` on to a new, unbounded crossbeam channel. As
    /// [`route_ipc_receiver_to_crossbeam_sender`](RouterProxy::route_ipc_receiver_to_crossbeam_sender).
    pub fn route_ipc_receiver_to_new_crossbeam_receiver<T>(
        &self,
        receiver: IpcReceiver<T>,
    ) -> Receiver<T>
    where
        T: for<'de> Deserialize<'de> + Serialize + Send + 'static,
    {
        let (crossbeam_sender, crossbeam_receiver) = crossbeam_channel::unbounded();
        self.route_ipc_receiver_to_crossbeam_sender(receiver, crossbeam_sender);
        crossbeam_receiver
    }

    /// Ends all routes and the thread, and waits for it, unless called by one of its callbacks: then it ends when the
    /// callback returns. Routes that are added later are dropped at once. A second time it does nothing.
    pub fn shutdown(&self) {
        let state = std::mem::replace(&mut *self.state(), State::ShutDown);
        // Outside the lock: callbacks that run meanwhile may add routes.
        if let State::Running(worker) = state {
            worker.stop();
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
        let mut state = self.state();
        let needs_worker = match &*state {
            State::New => true,
            State::Running(worker) => worker.is_of_a_parent(),
            State::ShutDown => false,
        };
        if needs_worker {
            *state = Worker::start().map_or(State::New, State::Running);
        }
        let refused = match &*state {
            State::Running(worker) => worker.add(Route { slot, handler }).err(),
            State::New | State::ShutDown => Some(Route { slot, handler }),
        };
        // In this order: dropping the callback runs foreign code.
        drop(state);
        drop(refused);
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
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

/// The thread, as others see it.
struct Worker {
    routes: Sender<Route>,
    waker: PollWaker,
    is_over: Arc<AtomicBool>,
    thread: ThreadId,
    /// Disconnected when the thread ends.
    ended: Receiver<()>,
    process: u64,
}

impl Worker {
    fn start() -> io::Result<Worker> {
        let set = ReceiverSet::new()?;
        let waker = set.waker()?;
        let (routes, new_routes) = crossbeam_channel::unbounded();
        let is_over = Arc::new(AtomicBool::new(false));
        let router =
            Router { set, handlers: HashMap::new(), new_routes, is_over: Arc::clone(&is_over) };
        // Not a `JoinHandle`: in a forked child, dropping one detaches a thread that is not there, or another one.
        let (running, ended) = crossbeam_channel::bounded::<()>(0);
        let thread = thread::Builder::new().name("router-proxy".to_string()).spawn(move || {
            router.run();
            drop(running);
        })?;
        let thread = thread.thread().id();
        Ok(Worker { routes, waker, is_over, thread, ended, process: process_mark() })
    }

    fn is_of_a_parent(&self) -> bool {
        self.process != process_mark()
    }

    /// Hands a route to the thread, or back if that is gone.
    fn add(&self, route: Route) -> Result<(), Route> {
        self.routes.send(route).map_err(|refused| refused.0)?;
        // The thread is there, and so is what it waits on.
        let _ = self.waker.wake();
        Ok(())
    }

    fn stop(self) {
        if self.is_of_a_parent() {
            return;
        }
        self.is_over.store(true, Ordering::Release);
        let _ = self.waker.wake();
        if self.thread != thread::current().id() {
            // Nothing is ever sent: this returns when the thread ends.
            let _ = self.ended.recv();
        }
    }
}

/// The thread, as it sees itself.
struct Router {
    set: ReceiverSet,
    handlers: HashMap<u64, Handler>,
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
        for (_, handler) in self.handlers.drain() {
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
        while let Ok(Route { slot, handler }) = self.new_routes.try_recv() {
            // A receiver that was moved away or cannot be watched has no messages to route.
            match slot.into_receiver().and_then(|receiver| self.set.add(receiver)) {
                Ok(id) => drop(self.handlers.insert(id, handler)),
                Err(_) => discard(handler),
            }
        }
    }

    fn handle(&mut self, event: Event) {
        let (id, message) = match event {
            Event::Message(id, bytes, attachments) => (id, IpcMessage::new(bytes, attachments)),
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

/// Drops what a user made, whose `Drop` may panic.
fn discard<T>(value: T) {
    // A panic of that panic's own drop is the one thing left; there is no end to such a chain but this.
    if let Err(panic) = catch_unwind(AssertUnwindSafe(|| drop(value))) {
        let _ = catch_unwind(AssertUnwindSafe(|| drop(panic)));
    }
}

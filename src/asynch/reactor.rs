//! The thread that waits for events of all streams.

use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::Waker;
use std::thread;
use std::time::Duration;

use crate::channel::{Receiver, Server};
use crate::platform::contract::{Poller as _, Registry as _};
use crate::platform::{PerProcess, Poller, Registry, Wait, fork_generation};

/// The time for which the thread sleeps when the operating system fails to report events.
const REST: Duration = Duration::from_millis(10);

/// A source of events, which can be registered.
pub(super) trait Watch {
    /// Registers the source, which is reported as `id`.
    fn join(&mut self, registry: &Registry, id: u64) -> io::Result<()>;

    /// Deregisters the source.
    fn leave(&self, registry: &Registry) -> io::Result<()>;
}

impl Watch for Receiver {
    fn join(&mut self, registry: &Registry, id: u64) -> io::Result<()> {
        registry.add(self.watch()?, id)
    }

    fn leave(&self, registry: &Registry) -> io::Result<()> {
        self.packets().map_or(Ok(()), |packets| registry.remove(packets))
    }
}

impl Watch for Server {
    fn join(&mut self, registry: &Registry, id: u64) -> io::Result<()> {
        registry.add_poller(self.poller(), id)
    }

    fn leave(&self, registry: &Registry) -> io::Result<()> {
        registry.remove_poller(self.poller())
    }
}

/// A registered source.
pub(super) struct Watched<S: Watch> {
    pub(super) source: S,
    id: u64,
    task: Arc<Task>,
    reactor: Arc<Reactor>,
}

impl<S: Watch> Watched<S> {
    /// Registers `source`, or returns it with the error.
    pub(super) fn new(mut source: S) -> Result<Watched<S>, (io::Error, S)> {
        let reactor = match Reactor::of_this_process() {
            Ok(reactor) => reactor,
            Err(error) => return Err((error, source)),
        };
        let task = Arc::new(Task::default());
        let id = lock(&reactor.tasks).add(Arc::clone(&task));
        match source.join(&reactor.registry, id) {
            Ok(()) => Ok(Watched { source, id, task, reactor }),
            Err(error) => {
                lock(&reactor.tasks).by_id.remove(&id);
                Err((error, source))
            }
        }
    }

    /// Wakes this task at the next event.
    pub(super) fn wake(&self, waker: &Waker) {
        self.task.set(waker);
    }
}

impl<S: Watch> Drop for Watched<S> {
    fn drop(&mut self) {
        // In a forked child the registry is still the parent's, and a thread that does not exist
        // here may hold the lock.
        if self.reactor.process != fork_generation() {
            return;
        }
        let _ = self.source.leave(&self.reactor.registry);
        lock(&self.reactor.tasks).by_id.remove(&self.id);
    }
}

/// The task to wake for one source.
#[derive(Default)]
struct Task(Mutex<Option<Waker>>);

impl Task {
    fn set(&self, waker: &Waker) {
        if lock(&self.0).as_ref().is_some_and(|known| known.will_wake(waker)) {
            return;
        }
        // Outside the lock, because cloning and dropping wakers runs code of the runtime.
        let new = waker.clone();
        let old = lock(&self.0).replace(new);
        drop(old);
    }

    fn wake(&self) {
        // Outside the lock, because waking runs code of the runtime. If that code panics, the panic
        // is ignored here.
        let waker = lock(&self.0).take();
        if let Some(waker) = waker {
            let _ = catch_unwind(AssertUnwindSafe(|| waker.wake()));
        }
    }
}

/// The thread, as other threads see it.
struct Reactor {
    registry: Registry,
    tasks: Mutex<Tasks>,
    process: u64,
}

#[derive(Default)]
struct Tasks {
    by_id: BTreeMap<u64, Arc<Task>>,
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
        static REACTOR: PerProcess<Mutex<Option<Arc<Reactor>>>> =
            PerProcess::of_no_process(Mutex::new(None));

        let mut current = lock(REACTOR.get());
        if let Some(reactor) = &*current {
            return Ok(Arc::clone(reactor));
        }
        let reactor = Reactor::start()?;
        *current = Some(Arc::clone(&reactor));
        Ok(reactor)
    }

    fn start() -> io::Result<Arc<Reactor>> {
        let poller = Poller::new()?;
        let reactor = Arc::new(Reactor {
            registry: poller.registry()?,
            tasks: Mutex::default(),
            process: fork_generation(),
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

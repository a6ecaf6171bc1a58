//! A registry of values by the identity that the platform gives a channel. A sender that arrives in
//! a message again, or comes home, is replaced by the one that is registered. So it needs no second
//! handle and no second ring.
//!
//! The registry does not keep values alive. The entry of a dropped value is removed by its owner or
//! by its successor, whichever comes first.

use std::collections::BTreeMap;
use std::num::NonZeroU64;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use crate::platform::{self, PerProcess};

/// A tree, because it needs no randomness, which a sandbox may forbid, and no initialisation. A
/// forked child could find the lock of an initialisation taken, and would never get it.
type Values<T> = BTreeMap<NonZeroU64, Weak<T>>;

/// The registered values of each process. A forked child has none of its parent's.
#[derive(Debug)]
pub(super) struct Registry<T>(PerProcess<Mutex<Values<T>>>);

/// What a value keeps of its entry in the registry. The `Drop` of the value has to
/// [remove](Registry::remove) the entry.
#[derive(Debug, Default)]
pub(super) struct RegistryKey {
    /// The process that it is registered in: a forked child has entries of its own.
    process: AtomicU64,
    /// The identity that it is registered under, or 0.
    identity: AtomicU64,
}

/// What is registered under an identity.
pub(super) enum Registered<'a, T> {
    /// A value that is in use.
    Value(Arc<T>),
    /// None; the registry is locked.
    Vacant(Vacancy<'a, T>),
}

/// A place in the registry, which is locked.
pub(super) struct Vacancy<'a, T> {
    values: MutexGuard<'a, Values<T>>,
    identity: NonZeroU64,
}

impl<T> Registry<T> {
    /// Makes a registry without values, for a `static`.
    pub(super) const fn new() -> Registry<T> {
        Registry(PerProcess::of_no_process(Mutex::new(BTreeMap::new())))
    }

    /// Returns the value that is registered under `identity`, or the place for one.
    pub(super) fn get(&self, identity: NonZeroU64) -> Registered<'_, T> {
        let values = self.lock();
        // Only upgraded under the lock: if it turns out to be the last one, dropping it takes the
        // lock.
        let value = values.get(&identity).and_then(Weak::upgrade);
        match value {
            Some(value) => Registered::Value(value),
            None => Registered::Vacant(Vacancy { values, identity }),
        }
    }

    /// Registers a value, which has this key, under `identity`, unless this was done in this
    /// process or another one is registered.
    pub(super) fn add(
        &self,
        value: &Arc<T>,
        key: &RegistryKey,
        identity: impl FnOnce() -> Option<NonZeroU64>,
    ) {
        let process = platform::fork_generation();
        if key.process.load(Ordering::Relaxed) == process {
            return;
        }
        let identity = identity();
        key.identity.store(identity.map_or(0, NonZeroU64::get), Ordering::Relaxed);
        key.process.store(process, Ordering::Relaxed);
        let Some(identity) = identity else { return };
        let mut values = self.lock();
        if values.get(&identity).is_none_or(|known| known.strong_count() == 0) {
            values.insert(identity, Arc::downgrade(value));
        }
    }

    /// Removes the entry of a value that is being dropped.
    pub(super) fn remove(&self, key: &mut RegistryKey) {
        let Some(identity) = NonZeroU64::new(*key.identity.get_mut()) else { return };
        if *key.process.get_mut() != platform::fork_generation() {
            return;
        }
        let mut values = self.lock();
        // A live value is another one, which arrived when this one was dropped and its entry was
        // still there.
        if values.get(&identity).is_some_and(|known| known.strong_count() == 0) {
            values.remove(&identity);
        }
    }

    fn lock(&self) -> MutexGuard<'_, Values<T>> {
        self.0.get().lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<T> Vacancy<'_, T> {
    /// Registers what `make` makes with its key.
    pub(super) fn insert(mut self, make: impl FnOnce(RegistryKey) -> T) -> Arc<T> {
        let process = AtomicU64::new(platform::fork_generation());
        let key = RegistryKey { process, identity: AtomicU64::new(self.identity.get()) };
        let value = Arc::new(make(key));
        self.values.insert(self.identity, Arc::downgrade(&value));
        value
    }
}

//! A registry of this process's senders that were in a message, by the identity that the platform
//! gives them. A sender that arrives again, or comes home, is replaced by the one that is
//! registered. So it needs no second handle and no second ring.
//!
//! The registry does not keep senders alive. The entry of a dropped sender is removed by the sender
//! itself or by its successor, whichever comes first.

use std::collections::BTreeMap;
use std::num::NonZeroU64;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use super::{PlatformSender, Shared};
use crate::platform::{self, PerProcess};

type Senders = BTreeMap<NonZeroU64, Weak<Shared>>;

/// A tree, because it needs no randomness, which a sandbox may forbid, and no initialisation. A
/// forked child could find the lock of an initialisation taken, and would never get it.
static HERE: PerProcess<Mutex<Senders>> = PerProcess::of_nobody(Mutex::new(BTreeMap::new()));

fn here() -> MutexGuard<'static, Senders> {
    HERE.get().lock().unwrap_or_else(PoisonError::into_inner)
}

/// A sender's entry in the registry. Dropping it removes the entry.
#[derive(Debug, Default)]
pub(super) struct Entry {
    /// The process that it is registered in: a forked child has entries of its own.
    process: AtomicU64,
    /// The identity that it is registered under, or 0.
    identity: AtomicU64,
}

impl Entry {
    fn new(identity: NonZeroU64) -> Entry {
        let process = AtomicU64::new(platform::process_mark());
        Entry { process, identity: AtomicU64::new(identity.get()) }
    }
}

impl Drop for Entry {
    fn drop(&mut self) {
        let Some(identity) = NonZeroU64::new(*self.identity.get_mut()) else { return };
        if *self.process.get_mut() != platform::process_mark() {
            return;
        }
        let mut here = here();
        // A live sender is another one, which arrived when this one was dropped and its entry was
        // still there.
        if here.get(&identity).is_some_and(|known| known.strong_count() == 0) {
            here.remove(&identity);
        }
    }
}

/// Returns the registered sender for `platform`, or a new one, and registers that.
pub(super) fn find_or_add(platform: PlatformSender) -> Arc<Shared> {
    let Some(identity) = platform.packets().identity() else {
        return Arc::new(Shared::new(platform, Entry::default()));
    };
    let mut here = here();
    // Only upgraded under the lock: if it turns out to be the last one, dropping it takes the lock.
    let Some(known) = here.get(&identity).and_then(Weak::upgrade) else {
        let new = Arc::new(Shared::new(platform, Entry::new(identity)));
        here.insert(identity, Arc::downgrade(&new));
        return new;
    };
    drop(here);
    if known.platform().is_some_and(|known| known.is_same(&platform)) {
        return known;
    }
    Arc::new(Shared::new(platform, Entry::default()))
}

/// Registers a sender and its channel, unless this was done in this process or another one is
/// registered.
pub(super) fn add(sender: &Arc<Shared>, platform: &PlatformSender) {
    let process = platform::process_mark();
    if sender.entry.process.load(Ordering::Relaxed) == process {
        return;
    }
    let identity = platform.packets().identity();
    sender.entry.identity.store(identity.map_or(0, NonZeroU64::get), Ordering::Relaxed);
    sender.entry.process.store(process, Ordering::Relaxed);
    let Some(identity) = identity else { return };
    let mut here = here();
    if here.get(&identity).is_none_or(|known| known.strong_count() == 0) {
        here.insert(identity, Arc::downgrade(sender));
    }
}

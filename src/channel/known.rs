//! The senders of this process that were in a message, by what the platform knows them by: one that arrives again, or comes home, is
//! the one that is here. So it costs no second handle, and has no second ring.
//!
//! Nothing here keeps a sender: what is left of one that is gone is taken away by whoever comes first, itself or its successor.

use std::collections::BTreeMap;
use std::num::NonZeroU64;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use super::local::Way;
use super::sender::Shared;
use crate::platform::{self, PerProcess};

type Senders = BTreeMap<NonZeroU64, Weak<Shared>>;

/// A tree, because it needs no randomness, which a sandbox may forbid, and nothing to begin with: a lock that a forked child found
/// being made would never be there.
static HERE: PerProcess<Mutex<Senders>> = PerProcess::of_nobody(Mutex::new(BTreeMap::new()));

fn here() -> MutexGuard<'static, Senders> {
    HERE.get().lock().unwrap_or_else(PoisonError::into_inner)
}

/// How a sender is entered; it takes itself out when it is dropped.
#[derive(Debug, Default)]
pub(super) struct Entry {
    /// In which process: a forked child has entries of its own.
    process: AtomicU64,
    /// Under which number, or 0.
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
        // What is alive is another one, which arrived when this one was gone and not yet here.
        if here.get(&identity).is_some_and(|known| known.strong_count() == 0) {
            here.remove(&identity);
        }
    }
}

/// The sender by this way that is here, or a new one that is from now on.
pub(super) fn find_or_add(way: Way) -> Arc<Shared> {
    let Some(identity) = way.packets.identity() else {
        return Arc::new(Shared::new(way, Entry::default()));
    };
    let mut here = here();
    // Only upgraded under the lock: if it turns out to be the last one, dropping it takes the lock.
    let Some(known) = here.get(&identity).and_then(Weak::upgrade) else {
        let new = Arc::new(Shared::new(way, Entry::new(identity)));
        here.insert(identity, Arc::downgrade(&new));
        return new;
    };
    drop(here);
    if known.is_by(&way) {
        return known;
    }
    Arc::new(Shared::new(way, Entry::default()))
}

/// Enters a sender and its way, unless that was done in this process or another one is there.
pub(super) fn add(sender: &Arc<Shared>, way: &Way) {
    let process = platform::process_mark();
    if sender.entry.process.load(Ordering::Relaxed) == process {
        return;
    }
    let identity = way.packets.identity();
    sender.entry.identity.store(identity.map_or(0, NonZeroU64::get), Ordering::Relaxed);
    sender.entry.process.store(process, Ordering::Relaxed);
    let Some(identity) = identity else { return };
    let mut here = here();
    if here.get(&identity).is_none_or(|known| known.strong_count() == 0) {
        here.insert(identity, Arc::downgrade(sender));
    }
}

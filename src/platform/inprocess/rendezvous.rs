//! Names: a map that the whole process shares.

use std::collections::HashMap;
use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use uuid::Uuid;

use super::poller::Interest;
use super::queue::{Consumer, Producer, queue};
use super::{PacketReceiver, PacketSender, channel};
use crate::platform::{RecvError, Wait};

type Names = HashMap<String, Arc<Producer<PacketReceiver>>>;

static NAMES: Mutex<Option<Names>> = Mutex::new(None);

/// A name that others can connect to. It disappears on drop.
#[derive(Debug)]
pub struct Listener {
    name: String,
    connections: Consumer<PacketReceiver>,
}

impl Listener {
    /// Makes a new name and listens on it.
    pub fn bind() -> io::Result<(Listener, String)> {
        let name = format!("strait-{}", unique_id()?.simple());
        let (producer, connections) = queue();
        names().get_or_insert_default().insert(name.clone(), Arc::new(producer));
        Ok((Listener { name: name.clone(), connections }, name))
    }

    /// Accepts one connection; `Empty` when none came in time.
    pub fn accept(&self, wait: Wait) -> Result<(PacketReceiver, Peer), RecvError> {
        self.connections.pop(wait).map(|receiver| (receiver, Peer))
    }

    pub(super) fn observe(&self, interest: Arc<Interest>) {
        self.connections.observe(Some(interest));
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        let removed = names().as_mut().and_then(|names| names.remove(&self.name));
        // Outside the lock: it drops the connections nobody accepted.
        drop(removed);
    }
}

/// Who connected: always this process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Peer;

impl Peer {
    /// Whether it runs as the user that this process runs as.
    pub fn is_same_user(&self) -> bool {
        true
    }
}

/// Makes an id that nothing else in this process has. There is nobody to keep it from.
pub fn unique_id() -> io::Result<Uuid> {
    static LAST: AtomicU64 = AtomicU64::new(0);
    Ok(Uuid::from_u64_pair(0, LAST.fetch_add(1, Ordering::Relaxed)))
}

/// Connects to the listener of that name.
pub(super) fn connect(name: &str) -> io::Result<PacketSender> {
    let no_such_server =
        || io::Error::new(io::ErrorKind::NotFound, format!("no server has the name {name:?}"));
    let producer =
        names().as_ref().and_then(|names| names.get(name).cloned()).ok_or_else(no_such_server)?;
    let (sender, receiver) = channel()?;
    producer.push(receiver).map_err(|_| no_such_server())?;
    Ok(sender)
}

fn names() -> MutexGuard<'static, Option<Names>> {
    NAMES.lock().unwrap_or_else(PoisonError::into_inner)
}

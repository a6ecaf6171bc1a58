//! Servers' names: a map that the whole process shares.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::fmt;
use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use uuid::Uuid;

use super::{InProcess, PacketReceiver, PacketSender, channel};
use crate::platform::ready::{Consumer, Interest, Observe, Producer, queue};
use crate::platform::{RecvError, ServerName, Wait, contract};

type Names = BTreeMap<Name, Arc<Producer<PacketReceiver>>>;

static NAMES: Mutex<Names> = Mutex::new(BTreeMap::new());

/// The key of a listener.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Name {
    /// A name that was made for the listener.
    Fresh(String),
    /// A name that the user has chosen.
    Chosen(ServerName),
}

/// A name that clients can connect to. Dropping it removes the name.
#[derive(Debug)]
pub struct Listener {
    name: Name,
    connections: Consumer<PacketReceiver>,
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Name::Fresh(name) => write!(f, "{name:?}"),
            Name::Chosen(name) => name.fmt(f),
        }
    }
}

impl contract::Listener<InProcess> for Listener {
    fn bind() -> io::Result<(Listener, String)> {
        let name = format!("strait-{}", unique_id()?.simple());
        let listener = Listener::at(Name::Fresh(name.clone()))?;
        Ok((listener, name))
    }

    fn bind_named(name: &ServerName) -> io::Result<Listener> {
        name.check()?;
        Listener::at(Name::Chosen(name.clone()))
    }

    fn reserve(&self) -> io::Result<()> {
        Ok(())
    }

    fn release(&self) {}

    fn accept(&self, wait: Wait) -> Result<(PacketReceiver, Peer), RecvError> {
        self.connections.pop(wait).map(|receiver| (receiver, Peer))
    }
}

impl Listener {
    fn at(name: Name) -> io::Result<Listener> {
        let (producer, connections) = queue();
        match names().entry(name.clone()) {
            Entry::Vacant(place) => place.insert(Arc::new(producer)),
            Entry::Occupied(_) => {
                let error = format!("a server already has the name: {name}");
                return Err(io::Error::new(io::ErrorKind::AddrInUse, error));
            }
        };
        Ok(Listener { name, connections })
    }
}

impl Observe for Listener {
    fn observe(&self, interest: Option<Arc<Interest>>) {
        self.connections.observe(interest);
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        let removed = names().remove(&self.name);
        // Outside the lock: it drops the connections that were not accepted.
        drop(removed);
    }
}

/// The process at the other end: always this one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Peer;

impl contract::Peer for Peer {
    fn is_same_user(&self) -> bool {
        true
    }

    fn shows_as_same_user(&self) -> bool {
        true
    }
}

/// Makes an id that is unique in this process. It need not be secret.
pub fn unique_id() -> io::Result<Uuid> {
    static LAST: AtomicU64 = AtomicU64::new(0);
    Ok(Uuid::from_u64_pair(0, LAST.fetch_add(1, Ordering::Relaxed)))
}

/// Connects to the listener of that name, which `Listener::bind` has made.
pub fn connect(name: &str) -> io::Result<PacketSender> {
    find(&Name::Fresh(name.to_string()))
}

/// Connects to the listener that has this name. There is always room.
pub fn connect_named(name: &ServerName, _: Wait) -> io::Result<PacketSender> {
    name.check()?;
    find(&Name::Chosen(name.clone()))
}

fn find(name: &Name) -> io::Result<PacketSender> {
    let no_such_server =
        || io::Error::new(io::ErrorKind::NotFound, format!("no server has the name {name}"));
    let producer = names().get(name).cloned().ok_or_else(no_such_server)?;
    let (sender, receiver) = channel()?;
    producer.push(receiver).map_err(|_| no_such_server())?;
    Ok(sender)
}

fn names() -> MutexGuard<'static, Names> {
    NAMES.lock().unwrap_or_else(PoisonError::into_inner)
}

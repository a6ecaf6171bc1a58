//! Waiting for many receivers at once.

use std::io;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::{IpcBytesReceiver, IpcMessage, IpcReceiver, IpcServer, OpaqueIpcReceiver};
use crate::channel::{Event, ReceiverSet, Slot};
use crate::error::{SerDeError, TrySelectError};
use crate::platform::Wait;

/// Many receivers, from which whatever arrives first is received.
///
/// Members are served in turn: one that is flooded does not keep the others waiting, and a selection returns after at most
/// some thousand messages or some megabytes. The cost of a selection depends on how many members have something, not on how many
/// there are.
///
/// # Platform
///
/// On Linux it is [`AsFd`](std::os::fd::AsFd): readable when a selection may find something. After a `fork` a set belongs to the
/// parent; the child must not use it.
///
/// # Examples
///
/// ```
/// use strait::ipc::{self, IpcReceiverSet, IpcSelectionResult};
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let (numbers, receiver) = ipc::channel::<u32>()?;
/// let mut set = IpcReceiverSet::new()?;
/// let numbers_id = set.add(receiver)?;
/// numbers.send(7)?;
/// drop(numbers);
/// while !set.is_empty() {
///     for result in set.select()? {
///         match result {
///             IpcSelectionResult::MessageReceived(id, message) => {
///                 assert_eq!(id, numbers_id);
///                 assert_eq!(message.to::<u32>()?, 7);
///             }
///             IpcSelectionResult::ChannelClosed(id) => assert_eq!(id, numbers_id),
///         }
///     }
/// }
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct IpcReceiverSet {
    set: ReceiverSet,
}

impl IpcReceiverSet {
    /// Makes an empty set.
    ///
    /// # Errors
    ///
    /// The operating system's, when it has no more handles for this process, say.
    pub fn new() -> Result<IpcReceiverSet, io::Error> {
        Ok(IpcReceiverSet { set: ReceiverSet::new()? })
    }

    /// Adds a receiver and returns its id in the results. Ids count from zero and are never used again.
    ///
    /// # Errors
    ///
    /// The operating system's; [`InvalidInput`](io::ErrorKind::InvalidInput) if the receiver was moved into a message. The receiver
    /// is dropped then, with all that it has not delivered.
    pub fn add<T>(&mut self, receiver: IpcReceiver<T>) -> Result<u64, io::Error>
    where
        T: for<'de> Deserialize<'de> + Serialize,
    {
        self.add_slot(receiver.into_slot())
    }

    /// Adds a receiver of some type. As [`add`](IpcReceiverSet::add).
    ///
    /// # Errors
    ///
    /// As [`add`](IpcReceiverSet::add).
    pub fn add_opaque(&mut self, receiver: OpaqueIpcReceiver) -> Result<u64, io::Error> {
        self.add_slot(receiver.into_slot())
    }

    /// Adds a receiver of bytes, whose messages are taken with [`IpcMessage::into_bytes`]. As [`add`](IpcReceiverSet::add).
    ///
    /// # Errors
    ///
    /// As [`add`](IpcReceiverSet::add).
    pub fn add_bytes(&mut self, receiver: IpcBytesReceiver) -> Result<u64, io::Error> {
        self.add_slot(receiver.into_slot())
    }

    fn add_slot(&mut self, slot: Slot) -> Result<u64, io::Error> {
        self.set.add(slot.into_receiver()?)
    }

    /// Adds a server and returns its id, from the same numbers as those of receivers. Each client that comes is a message with that
    /// id, which [`IpcMessage::to`] makes an [`IpcConnection`](super::IpcConnection) of the server's types of, or a pair of a sender and a
    /// receiver. Clients do not become members by themselves. A server is a member until it is removed.
    ///
    /// # Errors
    ///
    /// The operating system's. The server is dropped then.
    ///
    /// # Examples
    ///
    /// ```
    /// use strait::ipc::{self, IpcConnection, IpcReceiverSet, IpcSelectionResult, IpcServer};
    ///
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let name = format!("set-{}", std::process::id());
    /// # let name = name.as_str();
    /// let mut set = IpcReceiverSet::new()?;
    /// let server_id = set.add_server(IpcServer::<String, u32>::bind(name)?)?;
    /// # let (sender, receiver) = ipc::connect::<u32, String>(name)?;
    /// # sender.send(5)?;
    /// // A client comes, and sends 5.
    /// let mut clients = Vec::new();
    /// while clients.is_empty() {
    ///     for result in set.select()? {
    ///         match result {
    ///             IpcSelectionResult::MessageReceived(id, message) if id == server_id => {
    ///                 let client: IpcConnection<String, u32> = message.to()?;
    ///                 clients.push(client.sender);
    ///                 set.add(client.receiver)?;
    ///             }
    ///             IpcSelectionResult::MessageReceived(_, _) => {}
    ///             IpcSelectionResult::ChannelClosed(_) => {}
    ///         }
    ///     }
    /// }
    /// let (_, message) = set.select()?.remove(0).unwrap();
    /// assert_eq!(message.to::<u32>()?, 5);
    /// # Ok(())
    /// # }
    /// ```
    pub fn add_server<Out, In>(&mut self, server: IpcServer<Out, In>) -> Result<u64, io::Error>
    where
        Out: for<'de> Deserialize<'de> + Serialize,
        In: for<'de> Deserialize<'de> + Serialize,
    {
        self.set.add_server(server.into_core())
    }

    /// Gives a server back, with the clients that it has not delivered; `None` if the set has no server of that id. The types are not
    /// checked.
    pub fn remove_server<Out, In>(&mut self, id: u64) -> Option<IpcServer<Out, In>> {
        self.set.remove_server(id).map(IpcServer::from)
    }

    /// Gives a receiver back, with all that it has not delivered; `None` if the set has none of that id.
    pub fn remove(&mut self, id: u64) -> Option<OpaqueIpcReceiver> {
        self.set.remove(id).map(|receiver| OpaqueIpcReceiver::from(Slot::from(receiver)))
    }

    /// How many receivers and servers it has. One whose channel was reported closed is no longer among them.
    pub fn len(&self) -> usize {
        self.set.len()
    }

    /// Whether it has none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Waits until something happens, and returns it: at least one result. An empty set waits for ever.
    ///
    /// # Errors
    ///
    /// The operating system's. Nothing that was received is lost.
    pub fn select(&mut self) -> Result<Vec<IpcSelectionResult>, io::Error> {
        loop {
            let results = self.results(Wait::Forever)?;
            if !results.is_empty() {
                return Ok(results);
            }
        }
    }

    /// Returns what has happened, without waiting.
    ///
    /// # Errors
    ///
    /// [`Empty`](TrySelectError::Empty) if nothing has; else as [`select`](IpcReceiverSet::select).
    pub fn try_select(&mut self) -> Result<Vec<IpcSelectionResult>, TrySelectError> {
        self.some_results(Wait::Never)
    }

    /// Waits until something happens, for at most `duration`, and returns it. Neither a flood of messages nor signals
    /// prolong or shorten the wait.
    ///
    /// # Errors
    ///
    /// [`Empty`](TrySelectError::Empty) if nothing happened in time; else as [`select`](IpcReceiverSet::select).
    pub fn try_select_timeout(
        &mut self,
        duration: Duration,
    ) -> Result<Vec<IpcSelectionResult>, TrySelectError> {
        self.some_results(Wait::at_most(duration))
    }

    fn some_results(&mut self, wait: Wait) -> Result<Vec<IpcSelectionResult>, TrySelectError> {
        loop {
            let results = self.results(wait)?;
            if !results.is_empty() {
                return Ok(results);
            }
            if wait.is_over() {
                return Err(TrySelectError::Empty);
            }
        }
    }

    fn results(&mut self, wait: Wait) -> io::Result<Vec<IpcSelectionResult>> {
        Ok(self.set.select(wait)?.into_iter().map(IpcSelectionResult::from).collect())
    }

    #[allow(dead_code, reason = "only the modules in `os` need it")]
    pub(crate) fn core(&self) -> &ReceiverSet {
        &self.set
    }
}

/// One thing that happened in a set.
#[derive(Debug)]
pub enum IpcSelectionResult {
    /// The receiver of that id received a message, or the [server](IpcReceiverSet::add_server) of that id a client. If what arrived was malformed, [`IpcMessage::to`] returns the error.
    MessageReceived(u64, IpcMessage),
    /// The channel of the receiver of that id is disconnected, all its messages were received, and it has left the set.
    ChannelClosed(u64),
}

impl IpcSelectionResult {
    /// Takes the message and the id of its receiver.
    ///
    /// # Panics
    ///
    /// If it is [`ChannelClosed`](IpcSelectionResult::ChannelClosed).
    pub fn unwrap(self) -> (u64, IpcMessage) {
        match self {
            IpcSelectionResult::MessageReceived(id, message) => (id, message),
            IpcSelectionResult::ChannelClosed(id) => {
                panic!("called `IpcSelectionResult::unwrap` on the closing of channel {id}")
            }
        }
    }
}

impl From<Event> for IpcSelectionResult {
    fn from(event: Event) -> IpcSelectionResult {
        match event {
            Event::Message(id, bytes, attachments) => {
                IpcSelectionResult::MessageReceived(id, IpcMessage::new(bytes, attachments))
            }
            Event::Client(id, client) => {
                IpcSelectionResult::MessageReceived(id, IpcMessage::of_client(*client))
            }
            Event::Lost(id, problem) => {
                let error = SerDeError::from(problem);
                IpcSelectionResult::MessageReceived(id, IpcMessage::lost(error))
            }
            Event::Closed(id) => IpcSelectionResult::ChannelClosed(id),
        }
    }
}

//! Waiting for many receivers at once.

use std::io;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::{IpcBytesReceiver, IpcMessage, IpcReceiver, IpcServer, OpaqueIpcReceiver};
use crate::channel::{Event, ReceiverSet, Slot};
use crate::error::{SerDeError, TrySelectError};
use crate::platform::Wait;

/// A set of receivers, which receives the messages of all of them.
///
/// [`select`](IpcReceiverSet::select) serves the members in turn: a flooded member does not delay
/// the others, and a selection returns after at most some thousand messages or some megabytes. The
/// cost of a selection depends on the number of members that have messages, not on the number of
/// members.
///
/// # Platform
///
/// On Linux it is [`AsFd`](https://doc.rust-lang.org/std/os/fd/trait.AsFd.html): its descriptor is
/// readable while a selection may find something. After a `fork` a set belongs to the parent; the
/// child must not use it. See [the table of costs](crate#costs) for its descriptors.
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
    /// Those of the operating system, if it has no more handles for this process, say.
    pub fn new() -> Result<IpcReceiverSet, io::Error> {
        Ok(IpcReceiverSet { set: ReceiverSet::new()? })
    }

    /// Adds a receiver and returns its id, which the results name. Ids count from zero and are
    /// never used again.
    ///
    /// # Errors
    ///
    /// - [`InvalidInput`](io::ErrorKind::InvalidInput) if the receiver was moved into a message.
    /// - Others of the operating system.
    ///
    /// In both cases the receiver is dropped, with all messages that it has not delivered.
    ///
    /// # Examples
    ///
    /// See [`IpcReceiverSet`].
    pub fn add<T>(&mut self, receiver: IpcReceiver<T>) -> Result<u64, io::Error> {
        self.add_slot(receiver.into_slot())
    }

    /// Adds a receiver of messages of an unknown type. As [`add`](IpcReceiverSet::add).
    ///
    /// # Errors
    ///
    /// As [`add`](IpcReceiverSet::add).
    pub fn add_opaque(&mut self, receiver: OpaqueIpcReceiver) -> Result<u64, io::Error> {
        self.add_slot(receiver.into_slot())
    }

    /// Adds a receiver of bytes. [`IpcMessage::into_bytes`] returns the bytes of its messages. As
    /// [`add`](IpcReceiverSet::add).
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

    /// Adds a server and returns its id, from the same numbers as those of receivers.
    ///
    /// Each client that connects is a message with that id. [`IpcMessage::to`] makes of it an
    /// [`IpcConnection`](super::IpcConnection) of the server's types, or a pair of a sender and a
    /// receiver. Clients do not become members by themselves. A server is a member until it is
    /// removed. A client that speaks another version of the protocol is a message, too:
    /// [`IpcMessage::to`] returns the error that [`IpcServer::accept`] would return.
    ///
    /// # Errors
    ///
    /// Those of the operating system. The server is dropped then.
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

    /// Removes a server and returns it, with the clients that it has not delivered; `None` if the
    /// set has no server of that id. The types are not checked.
    pub fn remove_server<Out, In>(&mut self, id: u64) -> Option<IpcServer<Out, In>> {
        self.set.remove_server(id).map(IpcServer::from)
    }

    /// Removes a receiver and returns it, with all messages that it has not delivered; `None` if
    /// the set has no receiver of that id.
    ///
    /// # Examples
    ///
    /// See [`OpaqueIpcReceiver`].
    pub fn remove(&mut self, id: u64) -> Option<OpaqueIpcReceiver> {
        self.set.remove(id).map(|receiver| OpaqueIpcReceiver::from(Slot::from(receiver)))
    }

    /// Returns the number of receivers and servers. A receiver whose channel was reported closed is
    /// no longer a member.
    pub fn len(&self) -> usize {
        self.set.len()
    }

    /// Returns whether the set has no members.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Blocks until a member has a message, a client or a disconnection, and returns at least one
    /// result. With an empty set it blocks for ever.
    ///
    /// # Errors
    ///
    /// Those of the operating system. No received message is lost.
    ///
    /// # Examples
    ///
    /// See [`IpcReceiverSet`].
    pub fn select(&mut self) -> Result<Vec<IpcSelectionResult>, io::Error> {
        loop {
            let results = self.results(Wait::Forever)?;
            if !results.is_empty() {
                return Ok(results);
            }
        }
    }

    /// Returns the results that are there. Never blocks.
    ///
    /// # Errors
    ///
    /// - [`Empty`](TrySelectError::Empty) if there is none.
    /// - Otherwise as [`select`](IpcReceiverSet::select).
    pub fn try_select(&mut self) -> Result<Vec<IpcSelectionResult>, TrySelectError> {
        self.some_results(Wait::Never)
    }

    /// Blocks until a member has a message, a client or a disconnection, for at most `duration`,
    /// and returns the results. Neither floods of messages nor signals prolong or shorten the wait.
    /// A duration beyond the range of the clock is no limit.
    ///
    /// # Errors
    ///
    /// - [`Empty`](TrySelectError::Empty) if nothing happened in time.
    /// - Otherwise as [`select`](IpcReceiverSet::select).
    ///
    /// # Examples
    ///
    /// See [`TrySelectError`].
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

/// A result of [`IpcReceiverSet::select`].
///
/// # Examples
///
/// See [`IpcReceiverSet`].
// Not `non_exhaustive`: programs for ipc-channel match it exhaustively.
#[derive(Debug)]
pub enum IpcSelectionResult {
    /// The receiver of that id received a message, or the [server](IpcReceiverSet::add_server) of
    /// that id a client. If the message is malformed, [`IpcMessage::to`] returns the error.
    MessageReceived(u64, IpcMessage),
    /// All senders of the receiver of that id have been dropped, and all its messages were
    /// received. The receiver has left the set.
    ChannelClosed(u64),
}

impl IpcSelectionResult {
    /// Returns the message and the id of its receiver.
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
            Event::Message(id, bytes, entries, sent_type) => {
                let message = IpcMessage::new(bytes, entries).sent_as(sent_type);
                IpcSelectionResult::MessageReceived(id, message)
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

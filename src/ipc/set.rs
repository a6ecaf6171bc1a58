//! Receiving from many receivers at once.

use std::io;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::{IpcBytesReceiver, IpcMessage, IpcReceiver, IpcServer, OpaqueIpcReceiver};
use crate::channel::{Event, ReceiverSet, Slot};
use crate::error::{SerDeError, TrySelectError};
use crate::platform::Wait;

/// A set of receivers, which receives the messages of all its members.
///
/// [`select`](IpcReceiverSet::select) serves the members in turn, so a flooded member does not
/// delay the others. A selection returns after at most some thousand messages or some megabytes.
/// The cost of a selection depends on the number of members that have messages, not on the number
/// of members.
///
/// # Platform
///
/// On Linux a set implements [`AsFd`](https://doc.rust-lang.org/std/os/fd/trait.AsFd.html): its
/// file descriptor is readable while a selection may return something. After a `fork`, a set
/// belongs to the parent; the child must not use it. See [the table of costs](crate#costs) for its
/// file descriptors.
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
    /// Creates an empty set.
    ///
    /// # Errors
    ///
    /// - Any error of the operating system, for example if this process has no handles left.
    pub fn new() -> Result<IpcReceiverSet, io::Error> {
        Ok(IpcReceiverSet { set: ReceiverSet::new()? })
    }

    /// Adds a receiver and returns its id, by which the results name it. Ids count from zero and
    /// are never reused.
    ///
    /// # Errors
    ///
    /// - [`InvalidInput`](io::ErrorKind::InvalidInput) if the receiver was moved into a message.
    /// - Any other error of the operating system.
    ///
    /// In both cases the receiver is dropped, and its unreceived messages are discarded.
    ///
    /// # Examples
    ///
    /// See [`IpcReceiverSet`].
    pub fn add<T>(&mut self, receiver: IpcReceiver<T>) -> Result<u64, io::Error> {
        self.add_slot(receiver.into_slot())
    }

    /// Adds a receiver of messages of an unknown type, as [`add`](IpcReceiverSet::add) does.
    ///
    /// # Errors
    ///
    /// - Any error of [`add`](IpcReceiverSet::add).
    pub fn add_opaque(&mut self, receiver: OpaqueIpcReceiver) -> Result<u64, io::Error> {
        self.add_slot(receiver.into_slot())
    }

    /// Adds a receiver of bytes, as [`add`](IpcReceiverSet::add) does. [`IpcMessage::into_bytes`]
    /// returns the bytes of its messages.
    ///
    /// # Errors
    ///
    /// - Any error of [`add`](IpcReceiverSet::add).
    pub fn add_bytes(&mut self, receiver: IpcBytesReceiver) -> Result<u64, io::Error> {
        self.add_slot(receiver.into_slot())
    }

    fn add_slot(&mut self, slot: Slot) -> Result<u64, io::Error> {
        self.set.add(slot.into_receiver()?)
    }

    /// Adds a server and returns its id. The ids of servers and receivers are from the same
    /// sequence.
    ///
    /// Each client that connects is a message with that id. [`IpcMessage::to`] decodes it into an
    /// [`IpcConnection`](super::IpcConnection) of the server's types, or into a pair of a sender
    /// and a receiver. The set does not add the receivers of clients. A server is a member until it
    /// is removed.
    ///
    /// A client that has another version of strait's protocol is a message, too: [`IpcMessage::to`]
    /// returns the error that [`IpcServer::accept`] would return.
    ///
    /// # Errors
    ///
    /// - Any error of the operating system. The server is dropped then.
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
    /// // A client connects and sends 5.
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

    /// Removes a server and returns it, with the clients in its backlog. Returns `None` if the set
    /// has no server with this id. The types are not checked.
    pub fn remove_server<Out, In>(&mut self, id: u64) -> Option<IpcServer<Out, In>> {
        self.set.remove_server(id).map(IpcServer::from)
    }

    /// Removes a receiver and returns it, with its unreceived messages. Returns `None` if the set
    /// has no receiver with this id.
    ///
    /// # Examples
    ///
    /// See [`OpaqueIpcReceiver`].
    pub fn remove(&mut self, id: u64) -> Option<OpaqueIpcReceiver> {
        self.set.remove(id).map(|receiver| OpaqueIpcReceiver::from(Slot::from(receiver)))
    }

    /// Returns the number of receivers and servers. A receiver for which the set has returned
    /// [`ChannelClosed`](IpcSelectionResult::ChannelClosed) is not a member any more.
    pub fn len(&self) -> usize {
        self.set.len()
    }

    /// Returns whether the set has no members.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Blocks until a member has a message, a client or a disconnection, and returns at least one
    /// result. On an empty set it blocks forever.
    ///
    /// # Errors
    ///
    /// - Any error of the operating system. No received message is discarded.
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

    /// Returns the available results. Does not block, except for [a moment in a
    /// rendezvous](crate#what-may-block).
    ///
    /// # Errors
    ///
    /// - [`Empty`](TrySelectError::Empty) if no result is available.
    /// - Any error of [`select`](IpcReceiverSet::select).
    pub fn try_select(&mut self) -> Result<Vec<IpcSelectionResult>, TrySelectError> {
        self.some_results(Wait::Never)
    }

    /// Blocks until a member has a message, a client or a disconnection, for at most `duration`,
    /// and returns the results.
    ///
    /// Neither floods of messages nor signals prolong or shorten the timeout. A duration beyond the
    /// range of the clock counts as no timeout.
    ///
    /// # Errors
    ///
    /// - [`Empty`](TrySelectError::Empty) if no member had a result within `duration`.
    /// - Any error of [`select`](IpcReceiverSet::select).
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
// Not `non_exhaustive`: programs written for ipc-channel match it exhaustively.
#[derive(Debug)]
pub enum IpcSelectionResult {
    /// The receiver with this id received a message, or the [server](IpcReceiverSet::add_server)
    /// with this id accepted a client. If the message is malformed, [`IpcMessage::to`] returns the
    /// error.
    MessageReceived(u64, IpcMessage),
    /// All senders of the channel of the receiver with this id have been dropped, and all messages
    /// have been received. The receiver is not a member of the set any more.
    ChannelClosed(u64),
}

impl IpcSelectionResult {
    /// Returns the message and the id of its receiver.
    ///
    /// # Panics
    ///
    /// Panics if the result is [`ChannelClosed`](IpcSelectionResult::ChannelClosed).
    pub fn unwrap(self) -> (u64, IpcMessage) {
        match self {
            IpcSelectionResult::MessageReceived(id, message) => (id, message),
            IpcSelectionResult::ChannelClosed(id) => {
                panic!("called `IpcSelectionResult::unwrap` on the disconnection of channel {id}")
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

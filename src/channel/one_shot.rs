//! One-shot connections between two processes. A server listens on a name for one client, or a
//! child inherits a channel with a HELLO in it.

use std::io;
use std::sync::Arc;

use super::backlog::{AnyMessage, Backlog};
use super::hello::Introduction;
use super::message::{Message, RecvError};
use super::receive::{Inbound, Receiver};
use super::send::Sender;
use super::server::Connection;
use crate::platform::contract::{Attachment as _, Listener as _};
use crate::platform::{self, Attachment, Listener, PacketReceiver, Peer, SendError, Wait};

/// A server for one client.
#[derive(Debug)]
pub(crate) struct OneShotServer {
    backlog: Backlog<AnyMessage>,
}

impl OneShotServer {
    /// Makes a server and its name.
    pub(crate) fn new() -> io::Result<(OneShotServer, String)> {
        let (listener, name) = Listener::bind()?;
        Ok((OneShotServer { backlog: Backlog::new(listener)? }, name))
    }

    /// Waits for the first message of the first client that sends one, with `buffer` to receive it
    /// in. Clients that `filter` refuses, that send nothing, break the protocol or disconnect do
    /// not block later ones. A client with another protocol version or codec causes an error.
    pub(crate) fn accept(
        mut self,
        buffer: &mut Vec<u8>,
        wait: Wait,
        mut filter: impl FnMut(&Peer) -> bool,
    ) -> Result<(Receiver, Message), RecvError> {
        self.backlog.receive_next(buffer, wait, &mut filter)
    }
}

/// Connects to the one-shot server of that name, and sends a HELLO.
pub(crate) fn connect(name: &str, introduction: &Introduction) -> io::Result<Sender> {
    let sender = Sender::connect(name)?;
    // A dropped server, or one that has no room, shows with the first message. The HELLO is only
    // for the texts of errors.
    let _ = sender.say_hello(introduction, Vec::new(), Wait::Never);
    Ok(sender)
}

/// A parent's endpoints of the channels to its child.
#[derive(Debug)]
pub(crate) struct ParentEnds {
    /// The sender to the child, and the receiver from it.
    pub(crate) connection: Connection,
    /// Receives the report that the child has started.
    pub(crate) called: Receiver,
    /// For the child: the channel that has its endpoints.
    pub(crate) inherited: PacketReceiver,
}

/// Makes the channels to a child, and the channel that it is to inherit.
pub(crate) fn bequeath(introduction: &Introduction) -> Result<ParentEnds, SendError> {
    let channel = || platform::channel().map_err(SendError::Io);
    let (to_child, from_parent) = channel()?;
    let (to_parent, from_child) = channel()?;
    let (call, called) = channel()?;
    let (first, inherited) = channel()?;
    let handles = vec![
        Attachment::from_receiver(from_parent),
        Attachment::from_sender(Arc::new(to_parent)),
        Attachment::from_sender(Arc::new(call)),
    ];
    Sender::from(first).say_hello(introduction, handles, Wait::Forever)?;
    let connection = (Sender::from(to_child), Receiver::from(from_child));
    Ok(ParentEnds { connection, called: Receiver::from(called), inherited })
}

/// A child's endpoints of the channels to its parent.
#[derive(Debug)]
pub(crate) struct ChildEnds {
    /// The sender to the parent, and the receiver from it.
    pub(crate) connection: Connection,
    /// Reports that this process has started.
    pub(crate) call: Sender,
}

/// Takes a child's endpoints out of the inherited channel, with `buffer` to receive in. The parent
/// is sent a HELLO, before the first message, or instead of the report if it has another protocol
/// version or codec.
pub(crate) fn inherit(
    inherited: PacketReceiver,
    introduction: &Introduction,
    buffer: &mut Vec<u8>,
) -> Result<ChildEnds, RecvError> {
    // It was sent before this process was started.
    let (hello, handles) = Inbound::from(inherited).receive_hello(buffer, Wait::Never)?;
    let [from_parent, to_parent, call] = <[_; 3]>::try_from(handles).map_err(|_| {
        let error =
            "the first packet of the parent does not have the three handles of two channels";
        RecvError::Io(io::Error::new(io::ErrorKind::InvalidData, error))
    })?;
    let call = Sender::from_attachment(call).map_err(RecvError::Io)?;
    if !hello.dialect.is_own() {
        // The rest of the HELLO is of another version.
        let _ = call.say_hello(introduction, Vec::new(), Wait::Never);
        return Err(hello.into());
    }
    let mut receiver = Inbound::from(from_parent.into_receiver().map_err(RecvError::Io)?);
    receiver.note_type(&hello);
    let sender = Sender::from_attachment(to_parent).map_err(RecvError::Io)?;
    // If there is no room for it, errors in the parent say less.
    let _ = sender.say_hello(introduction, Vec::new(), Wait::Never);
    Ok(ChildEnds { connection: (sender, Receiver::new(receiver, None)), call })
}

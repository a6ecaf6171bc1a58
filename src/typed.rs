//! Values through channels, for all typed endpoints.
//!
//! [`send`] encodes a value and sends the message. If it is not sent, the receivers that were moved
//! into it are put back. [`receive`] receives a message into this thread's buffer and decodes it
//! there. If it cannot be decoded, the error names the type in the sender's program.
//!
//! The errors of the core become those of the API here, because [`error`](crate::error) imports
//! nothing of this crate, and the codec has no errors of channels.

use std::io;

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::buffers;
use crate::channel::frame::Malformed;
use crate::channel::one_shot::OneShotServer;
use crate::channel::table::{Entry, TableError};
use crate::channel::{
    Message, Problem, Purpose, Receiver, RecvError, SendFailure, Sender, Slot, limits,
};
use crate::codec::{self, Encoded, Fate, Foreign};
use crate::error::{IpcError, SerDeError, TryRecvError, TrySendError};
use crate::platform::{Attachment, Peer, SendError, Wait};

/// Sends a value. Blocks like [`Sender::send`]. If the channel is bounded and full, a call that
/// does not block fails before it encodes the value.
pub(crate) fn send<T: Serialize + ?Sized>(
    sender: &Sender,
    value: &T,
    fate: Fate,
    wait: Wait,
) -> Result<(), TrySendError> {
    if wait == Wait::Never && !sender.has_room() {
        return Err(TrySendError::Full);
    }
    buffers::with_send_buffer(|buffer| {
        let Some(encoded) = codec::encode(value, fate, buffer).map_err(IpcError::from)? else {
            return send_bytes(sender, buffer, wait);
        };
        if let Err(error) = check_entries(sender, &encoded.entries) {
            encoded.put_back();
            return Err(IpcError::from(SerDeError::of_encoding::<T>(error.into())).into());
        }
        send_with_entries(sender, encoded, buffer, wait)
    })
}

/// Sends bytes that are not encoded.
#[inline]
pub(crate) fn send_bytes(sender: &Sender, bytes: &[u8], wait: Wait) -> Result<(), TrySendError> {
    match sender.send(bytes, Vec::new(), wait) {
        Ok(()) => Ok(()),
        Err(failure) => Err(unsent(failure)),
    }
}

#[cold]
fn unsent(failure: SendFailure) -> TrySendError {
    failure.error.into()
}

fn send_with_entries(
    sender: &Sender,
    encoded: Encoded,
    buffer: &mut Vec<u8>,
    wait: Wait,
) -> Result<(), TrySendError> {
    let (attachments, returns) = encoded.append_table(buffer);
    sender.send(buffer, attachments, wait).map_err(|SendFailure { error, attachments }| {
        returns.put_back_from(buffer, attachments);
        error.into()
    })
}

/// Checks whether the sender's channel can transport the entries.
fn check_entries(sender: &Sender, entries: &[Entry<Attachment>]) -> Result<(), String> {
    let handles: usize = entries.iter().map(Entry::attachments).sum();
    let most = limits::MAX_MESSAGE_ATTACHMENTS;
    if handles > most {
        return Err(format!("the message has {handles} handles, more than the maximum of {most}"));
    }
    match entries.iter().find(|entry| !sender.admits(entry)) {
        Some(entry) => Err(format!("the channel cannot carry {}", entry.kind())),
        None => Ok(()),
    }
}

/// Why no value was received.
#[derive(Debug)]
pub(crate) enum ReceiveError {
    /// No message was received.
    NoMessage(RecvError),
    /// A message was received that is not a valid value.
    Undecodable(SerDeError),
}

/// Receives one message from the receiver in `slot` and decodes it.
#[inline]
pub(crate) fn receive<T: DeserializeOwned, E: From<ReceiveError>>(
    slot: &Slot,
    wait: Wait,
) -> Result<T, E> {
    receive_with(slot, Purpose::Look, wait, |message, buffer| {
        decode(message, buffer)
            .map_err(|error| E::from(ReceiveError::Undecodable(name_sent(slot, error))))
    })
}

/// Receives one message from the receiver in `slot` as it is.
#[inline]
pub(crate) fn receive_bytes(slot: &Slot, wait: Wait) -> Result<Vec<u8>, TryRecvError> {
    receive_with(slot, Purpose::Keep, wait, |message, buffer| Ok(message.body.into_vec(buffer)))
}

/// The receiver is back in its slot before `take` is called, which may run code of the user that
/// uses it. Errors are converted here, so that the value moves only once.
#[inline]
fn receive_with<R, E: From<ReceiveError>>(
    slot: &Slot,
    purpose: Purpose,
    wait: Wait,
    take: impl FnOnce(Message, &[u8]) -> Result<R, E>,
) -> Result<R, E> {
    let no_message = |error| E::from(ReceiveError::NoMessage(error));
    buffers::with_receive_buffer(|buffer| {
        let received = slot.with(|receiver| receiver.receive(buffer, purpose, wait));
        // A moved receiver does not come back by itself.
        let received = received.map_err(|error| no_message(RecvError::Broken(error)))?;
        take(received.map_err(no_message)?, buffer)
    })
}

/// Receives one message that is available, and converts it with `take`: for [`decode`], `purpose`
/// is [`Purpose::Look`].
#[cfg(feature = "async")]
pub(crate) fn receive_now<R>(
    receiver: &mut Receiver,
    purpose: Purpose,
    take: impl FnOnce(Message, &[u8]) -> Result<R, SerDeError>,
) -> Result<Result<R, SerDeError>, RecvError> {
    buffers::with_receive_buffer(|buffer| {
        let message = receiver.receive(buffer, purpose, Wait::Never)?;
        Ok(take(message, buffer).map_err(|error| error.sent_as(receiver.sent_type())))
    })
}

/// Accepts the client of a one-shot server, and decodes its first message.
pub(crate) fn accept<T: DeserializeOwned>(
    server: OneShotServer,
    wait: Wait,
    filter: impl FnMut(&Peer) -> bool,
) -> Result<(Receiver, T), TryRecvError> {
    buffers::with_receive_buffer(|buffer| {
        let (receiver, message) = server.accept(buffer, wait, filter)?;
        let value = decode(message, buffer)
            .map_err(|error| IpcError::from(error.sent_as(receiver.sent_type())))?;
        Ok((receiver, value))
    })
}

/// Decodes a message that was received into `buffer`.
#[inline]
pub(crate) fn decode<T: DeserializeOwned>(
    message: Message,
    buffer: &[u8],
) -> Result<T, SerDeError> {
    codec::decode(message.body.bytes(buffer), message.entries)
}

/// Counts the messages that a call which does not block has skipped, because they were discarded or
/// cannot be decoded. The packets between them that are no message are limited as well.
#[derive(Debug, Default)]
pub(crate) struct Skipped {
    messages: u64,
    /// What the receiver had counted after the first of them.
    packets_before: Option<u64>,
}

impl Skipped {
    /// Counts one more, and returns whether the call has to return without a message: a sender of
    /// nothing else must not prolong it.
    #[cold]
    pub(crate) fn is_enough_after(&mut self, slot: &Slot) -> bool {
        self.messages += 1;
        // The receiver was moved meanwhile.
        let Ok(packets_without_message) = slot.with(|receiver| receiver.packets_without_message())
        else {
            return true;
        };
        let before = *self.packets_before.get_or_insert(packets_without_message);
        // A message that was discarded is among these packets, one that cannot be decoded is not.
        let packets = packets_without_message.saturating_sub(before) + 1;
        self.messages.max(packets) >= limits::MAX_PASSED_OVER
    }
}

/// Returns the next value of `try_recv`, which receives from the receiver in `slot`. Skips messages
/// that cannot be decoded, but returns `None` if there is nothing else for long.
pub(crate) fn next_available<R>(
    slot: &Slot,
    try_recv: impl Fn() -> Result<R, TryRecvError>,
) -> Option<R> {
    let mut skipped = Skipped::default();
    loop {
        match try_recv() {
            Ok(value) => return Some(value),
            Err(TryRecvError::IpcError(IpcError::SerializationError(_))) => {}
            Err(TryRecvError::Empty | TryRecvError::IpcError(_)) => return None,
        }
        if skipped.is_enough_after(slot) {
            return None;
        }
    }
}

/// Adds the sender's name of the type to a message's error.
#[cold]
fn name_sent(slot: &Slot, error: SerDeError) -> SerDeError {
    let sent = slot.with(|receiver| receiver.sent_type().cloned());
    error.sent_as(sent.ok().flatten().as_ref())
}

impl From<SendError> for TrySendError {
    fn from(error: SendError) -> TrySendError {
        TrySendError::IpcError(match error {
            SendError::Full | SendError::TooManyInFlight => return TrySendError::Full,
            SendError::Closed => IpcError::Disconnected,
            SendError::Io(error) => IpcError::Io(error),
            SendError::TooLarge => IpcError::Io(io::Error::new(
                io::ErrorKind::InvalidInput,
                "the operating system's channel has too little room for any message",
            )),
        })
    }
}

impl From<RecvError> for TryRecvError {
    fn from(error: RecvError) -> TryRecvError {
        TryRecvError::IpcError(match error {
            RecvError::Empty | RecvError::BudgetSpent => return TryRecvError::Empty,
            RecvError::Disconnected => IpcError::Disconnected,
            RecvError::Lost(problem) => IpcError::SerializationError(problem.into()),
            RecvError::Io(error) | RecvError::Broken(error) => IpcError::Io(error),
        })
    }
}

impl From<ReceiveError> for TryRecvError {
    fn from(error: ReceiveError) -> TryRecvError {
        match error {
            ReceiveError::NoMessage(error) => error.into(),
            ReceiveError::Undecodable(error) => IpcError::from(error).into(),
        }
    }
}

impl From<Problem> for SerDeError {
    fn from(problem: Problem) -> SerDeError {
        let foreign = match problem {
            Problem::Foreign(hello) => Foreign { dialect: hello.dialect, codec: hello.codec },
            Problem::Malformed(Malformed::Foreign(dialect))
            | Problem::Table(TableError::Foreign(dialect)) => Foreign { dialect, codec: None },
            problem => return SerDeError::of_receiving(Box::new(problem)),
        };
        SerDeError::of_meeting(Box::new(foreign))
    }
}

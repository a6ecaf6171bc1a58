//! The channel core: messages, not values.
//!
//! A message is bytes and attachments. The core turns messages into packets and back ([`frame`], [`assembly`]), knows how
//! much a peer may cost us ([`limits`]), who is served next ([`set`]), how a receiver moves ([`slot`]) and how
//! processes meet ([`rendezvous`], [`server`]). It knows neither the type of a message nor which operating system carries it.
//!
//! The path of a message: [`Sender::send`](sender::Sender::send) puts a header before the bytes and hands the packet to
//! the backend, several packets if it is large or has many attachments. [`Receiver::receive`](receiver::Receiver::receive)
//! takes packets from the backend, checks them, and returns a message once one is complete.

pub mod assembly;
pub mod frame;
mod lane;
pub mod limits;
mod lobby;
pub(crate) mod message;
pub(crate) mod options;
pub(crate) mod receiver;
pub(crate) mod rendezvous;
pub mod ring;
mod ring_memory;
pub(crate) mod rings;
pub(crate) mod scratch;
pub(crate) mod sender;
pub(crate) mod server;
pub(crate) mod set;
pub(crate) mod slot;
mod spin;

pub(crate) use message::{Message, Problem, Purpose, RecvError};
pub(crate) use options::Options;
pub(crate) use receiver::{Luggage, Receiver, Room, Unfinished};
pub(crate) use rings::{MovedRing, Waiting};
pub(crate) use sender::{SendFailure, Sender};
pub(crate) use server::Server;
pub(crate) use set::{Event, ReceiverSet};
pub(crate) use slot::{Departure, Parcel, Slot};

use std::io;

use crate::platform;

/// Makes a channel.
pub(crate) fn channel(options: Options) -> io::Result<(Sender, Receiver)> {
    let (sender, receiver) = platform::channel()?;
    let mut receiver = Receiver::from(receiver);
    receiver.set_options(options);
    let sender = Sender::from(sender);
    if !options.wants_memory() {
        // It would only find out that its ring is not wanted.
        sender.share_no_memory();
    }
    Ok((sender, receiver))
}

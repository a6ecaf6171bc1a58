//! The channel core, which transports messages, not values.
//!
//! A message consists of bytes and attachments. The core turns messages into packets and back
//! ([`frame`], [`assembly`]). It limits what a peer may cost this process ([`limits`]), decides
//! which receiver is served next ([`set`]), and moves receivers ([`slot`]). It connects processes
//! ([`hello`], [`one_shot`], [`server`]). It knows neither the type of a message nor the
//! operating system.
//!
//! The path of a message: [`Sender::send`](send::Sender::send) takes a permit if the channel is
//! bounded. It puts the message into the queue in memory, into the ring or, as one packet or
//! several, into the socket. [`Receiver::receive`](receive::Receiver::receive) takes it from there:
//! the next message of all rings and the socket, checked and complete.

pub mod assembly;
mod backlog;
pub mod frame;
pub mod hello;
pub mod limits;
mod memory;
pub(crate) mod message;
pub(crate) mod one_shot;
pub(crate) mod options;
pub(crate) mod permits;
pub(crate) mod receive;
pub mod ring;
mod ring_memory;
pub(crate) mod send;
pub(crate) mod server;
pub(crate) mod set;
pub(crate) mod slot;
mod spin;
pub(crate) mod spool;
pub(crate) mod table;
pub(crate) mod transfer;

pub(crate) use message::{Message, Problem, Purpose, RecvError};
pub(crate) use options::Options;
pub(crate) use receive::Receiver;
pub(crate) use send::{SendFailure, Sender};
pub(crate) use server::Server;
pub(crate) use set::{Event, ReceiverSet};
pub(crate) use slot::{ReturnSlot, Slot, TakenApart};
pub(crate) use transfer::{Incomplete, Room, TransferState};

use std::io;
use std::sync::Arc;

use crate::platform;
use receive::Inbound;

/// Makes a channel that is the platform's from the start.
pub(crate) fn channel(options: Options) -> io::Result<(Sender, Receiver)> {
    let (sender, receiver) = platform::channel()?;
    Ok(with_options(Sender::from(sender), Receiver::from(receiver), options))
}

/// Makes a channel that is the platform's from the start, with a bound.
pub(crate) fn bounded_channel(options: Options, bound: usize) -> io::Result<(Sender, Receiver)> {
    let (sender, receiver) = platform::channel()?;
    let (permits, issuer) = permits::permits(bound, 0)?;
    let sender = Sender::new(Arc::new(sender), Some(permits));
    Ok(with_options(sender, Receiver::new(Inbound::from(receiver), Some(issuer)), options))
}

/// Makes a channel in the memory of this process, until one of its endpoints is moved out of it.
/// `bound` is the maximum of messages that were sent and not received.
pub(crate) fn local_channel(options: Options, bound: Option<usize>) -> (Sender, Receiver) {
    let (memory, receiver) = memory::channel(options, bound);
    (Sender::in_memory(memory, options.wants_memory()), Receiver::from(receiver))
}

fn with_options(sender: Sender, mut receiver: Receiver, options: Options) -> (Sender, Receiver) {
    receiver.set_options(options);
    if !options.wants_memory() {
        // It would only find out that its ring is not accepted.
        sender.disable_ring();
    }
    (sender, receiver)
}

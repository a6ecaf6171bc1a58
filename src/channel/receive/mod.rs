//! The receiver of a channel, wherever its messages are: in this process, or in the operating
//! system and in shared memory.

mod bounded;
mod budget;
mod in_order;
mod inbound;
pub mod merge;
mod moving;
mod notifications;
mod ordered;
mod packets;
mod queue;
mod readiness;
mod rings;

pub(in crate::channel) use inbound::Inbound;
pub(crate) use queue::QueuedMessage;
pub(in crate::channel) use rings::{AFTER_SOCKET, order};

use std::io;
use std::sync::Arc;

use self::bounded::BoundedInbound;
use super::limits::Limits;
use super::memory::{InMemoryReceiver, Promoted};
use super::message::{Message, Packed, Purpose, RecvError};
use super::options::Options;
use super::permits::{Issuer, OfferMode};
use super::spin::Seen;
use super::transfer::{Room, TransferState};
use crate::platform::{Attachment, PacketReceiver, Remainder, Wait};

/// Receives messages.
#[derive(Debug)]
pub(crate) struct Receiver {
    flavor: Flavor,
}

/// Where the messages are, and whether senders need permits for them.
#[derive(Debug)]
enum Flavor {
    /// In this process.
    InMemory(Box<InMemoryReceiver>),
    /// In the operating system.
    Unbounded(Box<Inbound>),
    /// In the operating system, with permits.
    Bounded(Box<BoundedInbound>),
}

impl Flavor {
    fn platform(inbound: Inbound, issuer: Option<Issuer>) -> Flavor {
        match issuer {
            None => Flavor::Unbounded(Box::new(inbound)),
            Some(issuer) => Flavor::Bounded(Box::new(BoundedInbound::new(inbound, issuer))),
        }
    }

    /// Makes the platform's channel of one that is in this process.
    ///
    /// # Errors
    ///
    /// Fails if the platform's channel cannot be made, or if this is a forked child of the process
    /// that owns the channel's memory.
    fn promoted(local: &mut InMemoryReceiver) -> io::Result<Flavor> {
        let options = local.options();
        let Promoted { packets, issuer, queued } = local.promote()?;
        let mut inbound = Inbound::from(packets);
        inbound.set_options(options);
        for (bytes, attachments) in queued {
            inbound.add_queued(bytes, attachments);
        }
        Ok(Flavor::platform(inbound, issuer))
    }
}

impl From<PacketReceiver> for Receiver {
    fn from(packets: PacketReceiver) -> Receiver {
        Receiver::new(Inbound::from(packets), None)
    }
}

/// Makes the receiver of a channel within this process.
impl From<InMemoryReceiver> for Receiver {
    fn from(receiver: InMemoryReceiver) -> Receiver {
        Receiver { flavor: Flavor::InMemory(Box::new(receiver)) }
    }
}

impl Receiver {
    /// Makes the receiver of the platform's channel, which is bounded if there is an issuer.
    pub(super) fn new(inbound: Inbound, issuer: Option<Issuer>) -> Receiver {
        Receiver { flavor: Flavor::platform(inbound, issuer) }
    }

    /// Receives the next message, with `buffer` to receive in.
    #[inline]
    pub(crate) fn receive(
        &mut self,
        buffer: &mut Vec<u8>,
        purpose: Purpose,
        wait: Wait,
    ) -> Result<Message, RecvError> {
        let packed = self.receive_packed(buffer, purpose, wait)?;
        if packed.attachments.is_empty() {
            return packed.unpack(buffer, &Limits::LARGEST);
        }
        packed.unpack(buffer, &self.options().limits)
    }

    #[inline]
    fn receive_packed(
        &mut self,
        buffer: &mut Vec<u8>,
        purpose: Purpose,
        wait: Wait,
    ) -> Result<Packed, RecvError> {
        loop {
            match &mut self.flavor {
                Flavor::Unbounded(inbound) => return inbound.receive(buffer, purpose, wait),
                Flavor::Bounded(bounded) => return bounded.receive(buffer, purpose, wait),
                Flavor::InMemory(local) => {
                    if let Some(message) = local.receive(buffer, purpose, wait)? {
                        return Ok(message);
                    }
                    self.flavor = Flavor::promoted(local).map_err(RecvError::Io)?;
                }
            }
        }
    }

    /// Returns the platform's channel, and promotes the channel if there was none.
    ///
    /// # Errors
    ///
    /// As [`Flavor::promoted`].
    fn promote(&mut self) -> io::Result<&mut Inbound> {
        loop {
            match self.flavor {
                Flavor::Unbounded(ref mut inbound) => return Ok(inbound),
                Flavor::Bounded(ref mut bounded) => return Ok(&mut bounded.inbound),
                Flavor::InMemory(ref mut local) => self.flavor = Flavor::promoted(local)?,
            }
        }
    }

    /// Returns the platform's channel, if there is one.
    fn inbound(&self) -> Option<&Inbound> {
        match &self.flavor {
            Flavor::InMemory(_) => None,
            Flavor::Unbounded(inbound) => Some(inbound),
            Flavor::Bounded(bounded) => Some(&bounded.inbound),
        }
    }

    fn inbound_mut(&mut self) -> Option<&mut Inbound> {
        match &mut self.flavor {
            Flavor::InMemory(_) => None,
            Flavor::Unbounded(inbound) => Some(inbound),
            Flavor::Bounded(bounded) => Some(&mut bounded.inbound),
        }
    }

    /// Returns what issues permits, if the channel is bounded and was promoted.
    fn issuer(&self) -> Option<&Issuer> {
        match &self.flavor {
            Flavor::Bounded(bounded) => Some(&bounded.issuer),
            Flavor::InMemory(_) | Flavor::Unbounded(_) => None,
        }
    }

    fn issuer_mut(&mut self) -> Option<&mut Issuer> {
        match &mut self.flavor {
            Flavor::Bounded(bounded) => Some(&mut bounded.issuer),
            Flavor::InMemory(_) | Flavor::Unbounded(_) => None,
        }
    }

    /// Returns the backend's receiver, and promotes the channel if there was none.
    ///
    /// # Errors
    ///
    /// Fails if the platform's channel cannot be made, or if this is a forked child of the process
    /// that owns the channel's memory.
    pub(crate) fn promoted_packets(&mut self) -> io::Result<&PacketReceiver> {
        self.promote().map(|inbound| inbound.packets())
    }

    /// Returns the receiver's options.
    pub(crate) fn options(&self) -> Options {
        match &self.flavor {
            Flavor::InMemory(local) => local.options(),
            Flavor::Unbounded(inbound) => inbound.options(),
            Flavor::Bounded(bounded) => bounded.inbound.options(),
        }
    }

    /// Sets the receiver's options.
    pub(crate) fn set_options(&mut self, options: Options) {
        match &mut self.flavor {
            Flavor::InMemory(local) => local.set_options(options),
            Flavor::Unbounded(inbound) => inbound.set_options(options),
            Flavor::Bounded(bounded) => bounded.inbound.set_options(options),
        }
    }

    /// Releases idle rings. Returns whether there are some left.
    pub(crate) fn retire_idle(&mut self) -> bool {
        self.inbound_mut().is_some_and(Inbound::retire_idle)
    }

    /// Returns how much the last call of [`receive`](Receiver::receive) took from the platform's
    /// channel, in bytes, parts of incomplete messages included. Many small messages count as more
    /// than their bytes.
    pub(crate) fn taken(&self) -> usize {
        self.inbound().map_or(0, Inbound::taken)
    }

    /// Returns how many packets have completed no message, of all calls of
    /// [`receive`](Receiver::receive).
    pub(crate) fn packets_without_message(&self) -> u64 {
        self.inbound().map_or(0, Inbound::packets_without_message)
    }

    /// Returns the backend's receiver, for waiting until it is ready. From now on, a receiver that
    /// finds nothing asks senders to wake it.
    ///
    /// # Errors
    ///
    /// Fails if the platform's channel cannot be made, or if this is a forked child of the process
    /// that owns the channel's memory.
    #[cfg(feature = "async")]
    pub(crate) fn watch(&mut self) -> io::Result<&PacketReceiver> {
        self.promote()?;
        if let Some(issuer) = self.issuer_mut() {
            issuer.set_offer_mode(OfferMode::UntilWithdrawn);
        }
        self.promote().map(|inbound| inbound.watch())
    }

    /// Sets whether it is a member of a set, which offers permits [for
    /// it](Receiver::offer_permit). Only of the platform's channel.
    pub(super) fn set_member(&mut self, is_member: bool) {
        // Other receivers have their turn after it.
        if let Some(inbound) = self.inbound_mut() {
            inbound.share_time(is_member);
        }
        if let Some(issuer) = self.issuer_mut() {
            issuer.set_offer_mode(if is_member {
                OfferMode::BySet
            } else {
                OfferMode::WhileBlocked
            });
        }
    }

    /// Returns whether it is a rendezvous, and a sender may arrive in the near future.
    pub(super) fn expects_senders(&self) -> bool {
        self.issuer().is_some_and(|issuer| issuer.is_rendezvous() && issuer.expects_sender())
    }

    /// Returns whether a sender probably sends as soon as it may.
    pub(super) fn has_waiting_senders(&self) -> bool {
        self.issuer().is_some_and(Issuer::has_waiting_senders)
    }

    /// Stops expecting senders. Those that did not send when they could have will notify the
    /// receiver again.
    pub(super) fn stop_expecting_senders(&mut self) {
        if let Some(issuer) = self.issuer_mut() {
            issuer.stop_expecting_senders();
        }
    }

    /// Offers a permit for a rendezvous with the set that it is a member of, until the permit is
    /// taken back.
    pub(super) fn offer_permit(&mut self) {
        if let Some(issuer) = self.issuer_mut() {
            issuer.offer_permit();
        }
    }

    /// Takes the offered permit back.
    pub(super) fn withdraw_permit(&mut self) {
        if let Some(issuer) = self.issuer_mut() {
            issuer.withdraw_permit();
        }
    }

    /// Returns whether messages do not only come by socket, so that a caller that waits for packets
    /// has to [ask to be woken](Receiver::arm).
    #[inline]
    pub(crate) fn has_other_sources(&self) -> bool {
        self.inbound().is_none_or(Inbound::has_other_sources)
    }

    /// Asks senders to wake the thread that waits for packets. Returns `false` if there may be a
    /// message already.
    pub(crate) fn arm(&mut self) -> bool {
        self.promote().is_ok_and(Inbound::arm)
    }

    /// Checks whether something arrived by shared memory.
    pub(crate) fn glance(&mut self) -> Seen {
        self.promote().map_or(Seen::Something, Inbound::glance)
    }

    /// Like [`watch`](Receiver::watch), for a file descriptor that the user polls. From now on it
    /// is ready while there may be a message, wherever that is. If it cannot show messages in some
    /// place, that place is no longer used: all messages are to come by socket.
    ///
    /// # Errors
    ///
    /// Fails if the platform's channel cannot be made, or if this is a forked child of the process
    /// that owns the channel's memory.
    #[allow(dead_code, reason = "only the modules in `os` need it")]
    pub(crate) fn lend(&mut self) -> io::Result<&PacketReceiver> {
        self.promote().map(|inbound| inbound.lend())
    }

    /// Notes that the user no longer polls.
    pub(crate) fn recall(&mut self) {
        if let Some(inbound) = self.inbound_mut() {
            inbound.recall();
        }
    }

    /// Returns the backend's receiver, unless the channel is in this process only.
    pub(crate) fn packets(&self) -> Option<&PacketReceiver> {
        self.inbound().map(Inbound::packets)
    }

    /// Takes the backend's receiver, if that is all there is to the receiver. This is so if no
    /// message was received incompletely or waits to be delivered, and senders need no permit.
    ///
    /// # Errors
    ///
    /// Returns the receiver if this is not so.
    #[allow(dead_code, reason = "only the modules in `os` need it")]
    pub(crate) fn into_packets(mut self) -> Result<PacketReceiver, Receiver> {
        // Whether there is a bound shows after promotion.
        let is_promoted = self.promote().is_ok();
        match self.flavor {
            Flavor::Unbounded(mut inbound) if is_promoted => {
                if inbound.detach() {
                    return Ok(inbound.into_packets());
                }
                Err(Receiver { flavor: Flavor::Unbounded(inbound) })
            }
            flavor => Err(Receiver { flavor }),
        }
    }

    /// Returns the sender's name for the type of its messages, if it has sent one.
    #[inline]
    pub(crate) fn sent_type(&self) -> Option<&Arc<str>> {
        self.inbound().and_then(Inbound::sent_type)
    }

    /// Takes the receiver apart so that it can move to another process. Also returns what has to
    /// stay in this process.
    pub(crate) fn take_apart(
        self,
        room: &mut Room,
    ) -> Result<(Attachment, TransferState, Remainder), (io::Error, Receiver)> {
        let (inbound, issuer) = match self.flavor {
            Flavor::Unbounded(inbound) => (*inbound, None),
            Flavor::Bounded(bounded) => {
                let BoundedInbound { inbound, issuer } = *bounded;
                (inbound, Some(issuer))
            }
            Flavor::InMemory(mut local) => {
                return match Flavor::promoted(&mut local) {
                    Ok(flavor) => Receiver { flavor }.take_apart(room),
                    Err(error) => Err((error, Receiver { flavor: Flavor::InMemory(local) })),
                };
            }
        };
        match inbound.take_apart(room) {
            Ok((attachment, mut transfer, remainder)) => {
                transfer.issuer = issuer.map(Issuer::take_apart);
                Ok((attachment, transfer, remainder))
            }
            Err((error, inbound)) => Err((error, Receiver::new(inbound, issuer))),
        }
    }

    /// Puts together a receiver that was taken apart, here or elsewhere. An invalid part of its
    /// state is discarded, and only that part.
    pub(crate) fn put_together(
        attachment: Attachment,
        mut transfer: TransferState,
    ) -> io::Result<Receiver> {
        let issuer = transfer.issuer.take().map(Issuer::put_together).transpose()?;
        Ok(Receiver::new(Inbound::put_together(attachment, transfer)?, issuer))
    }

    /// Takes back what stayed here when the receiver was taken apart.
    pub(crate) fn restore(&mut self, remainder: Remainder) {
        if let Some(inbound) = self.inbound_mut() {
            inbound.restore(remainder);
        }
    }
}

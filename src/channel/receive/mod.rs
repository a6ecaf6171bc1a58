//! The receiver of a channel, wherever its messages are: in this process, or in the operating
//! system and in shared memory.

mod budget;
pub(super) mod packets;
pub(crate) mod rings;

use std::io;
use std::sync::Arc;
use std::time::Instant;

use crate::channel::limits::{Limits, MAX_PACKETS_PER_STEP};
use crate::channel::luggage::{Luggage, Room};
use crate::channel::memory::{InMemoryReceiver, Promoted};
use crate::channel::message::{Message, Packed, Purpose, RecvError};
use crate::channel::options::Options;
use crate::channel::permits::{Issuer, MEETING, Manner};
use crate::channel::spin::Seen;
use crate::platform::{Attachment, PacketReceiver, Remains, Wait};
use packets::Incoming;

/// Receives messages.
#[derive(Debug)]
pub(crate) struct Receiver {
    place: Place,
    /// Issues permits to senders, if the channel is bounded and was promoted.
    issuer: Option<Box<Issuer>>,
}

#[derive(Debug)]
enum Place {
    /// In this process.
    Local(Box<InMemoryReceiver>),
    /// In the operating system.
    Platform(Box<Incoming>),
}

impl From<PacketReceiver> for Receiver {
    fn from(packets: PacketReceiver) -> Receiver {
        Receiver::new(Incoming::from(packets), None)
    }
}

/// Makes the receiver of a channel within this process.
impl From<InMemoryReceiver> for Receiver {
    fn from(receiver: InMemoryReceiver) -> Receiver {
        Receiver { place: Place::Local(Box::new(receiver)), issuer: None }
    }
}

impl Receiver {
    /// Makes the receiver of the platform's channel, which is bounded if there is an issuer.
    pub(in crate::channel) fn new(mut incoming: Incoming, issuer: Option<Issuer>) -> Receiver {
        if let Some(issuer) = &issuer {
            incoming.heed_wants(issuer.is_rendezvous());
        }
        Receiver { place: Place::Platform(Box::new(incoming)), issuer: issuer.map(Box::new) }
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
        match (&mut self.place, &self.issuer) {
            (Place::Platform(incoming), None) => return incoming.receive(buffer, purpose, wait),
            (Place::Local(local), _) => {
                if let Some(message) = local.receive(buffer, purpose, wait)? {
                    return Ok(message);
                }
                self.promote().map_err(RecvError::Io)?;
            }
            (Place::Platform(_), Some(_)) => {}
        }
        match (&mut self.place, &mut self.issuer) {
            (Place::Platform(incoming), Some(issuer)) => {
                receive_bounded(incoming, issuer, buffer, purpose, wait)
            }
            _ => self.receive_packed(buffer, purpose, wait),
        }
    }

    /// Promotes the channel to the platform's, unless it is.
    ///
    /// # Errors
    ///
    /// Fails if the platform's channel cannot be made, or if this is a forked child of the process
    /// that owns the channel's memory.
    fn promote(&mut self) -> io::Result<()> {
        if let Place::Local(local) = &mut self.place {
            let options = local.options();
            let Promoted { packets, issuer, backlog } = local.promote()?;
            let mut incoming = Incoming::from(packets);
            incoming.set_options(options);
            for (bytes, attachments) in backlog {
                incoming.add_backlog(bytes, attachments);
            }
            *self = Receiver::new(incoming, issuer);
        }
        Ok(())
    }

    /// Returns the backend's receiver, and promotes the channel if there was none.
    ///
    /// # Errors
    ///
    /// Fails if the platform's channel cannot be made, or if this is a forked child of the process
    /// that owns the channel's memory.
    pub(crate) fn promoted_packets(&mut self) -> io::Result<&PacketReceiver> {
        self.incoming().map(|incoming| incoming.packets())
    }

    /// Returns the platform's channel, and promotes the channel if there was none.
    fn incoming(&mut self) -> io::Result<&mut Incoming> {
        self.promote()?;
        match &mut self.place {
            Place::Platform(incoming) => Ok(incoming),
            Place::Local(_) => {
                Err(io::Error::other("the promoted channel is not a channel of the platform"))
            }
        }
    }

    /// Returns the receiver's options.
    pub(crate) fn options(&self) -> Options {
        match &self.place {
            Place::Platform(incoming) => incoming.options(),
            Place::Local(local) => local.options(),
        }
    }

    /// Sets the receiver's options.
    pub(crate) fn set_options(&mut self, options: Options) {
        match &mut self.place {
            Place::Platform(incoming) => incoming.set_options(options),
            Place::Local(local) => local.set_options(options),
        }
    }

    /// Releases idle rings. Returns whether there are some left.
    pub(crate) fn retire_idle(&mut self) -> bool {
        match &mut self.place {
            Place::Platform(incoming) => incoming.retire_idle(),
            Place::Local(_) => false,
        }
    }

    /// Returns how much the last call of [`receive`](Receiver::receive) took from the platform's
    /// channel, in bytes, parts of incomplete messages included. Many small messages count as more
    /// than their bytes.
    pub(crate) fn taken(&self) -> usize {
        match &self.place {
            Place::Platform(incoming) => incoming.taken(),
            Place::Local(_) => 0,
        }
    }

    /// Returns how many packets have completed no message, of all calls of
    /// [`receive`](Receiver::receive).
    pub(crate) fn in_vain(&self) -> u64 {
        match &self.place {
            Place::Platform(incoming) => incoming.in_vain(),
            Place::Local(_) => 0,
        }
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
        self.incoming()?;
        if let Some(issuer) = &mut self.issuer {
            issuer.set_manner(Manner::Stands);
        }
        self.incoming().map(|incoming| incoming.watch())
    }

    /// Sets whether it is a member of a set, which meets senders [for it](Receiver::invite). Only
    /// of the platform's channel.
    pub(in crate::channel) fn set_hosted(&mut self, is_hosted: bool) {
        // Other receivers have their turn after it.
        if let Place::Platform(incoming) = &mut self.place {
            incoming.share_time(is_hosted);
        }
        if let Some(issuer) = &mut self.issuer {
            issuer.set_manner(if is_hosted { Manner::IsHosted } else { Manner::Waits });
        }
    }

    /// Returns whether it is a rendezvous, and a sender may arrive in the near future.
    pub(in crate::channel) fn expects_guests(&self) -> bool {
        self.issuer.as_ref().is_some_and(|issuer| issuer.is_rendezvous() && issuer.is_frequented())
    }

    /// Returns whether a sender probably sends as soon as it may.
    pub(in crate::channel) fn has_guests(&self) -> bool {
        self.issuer.as_ref().is_some_and(|issuer| issuer.has_guests())
    }

    /// Stops expecting senders. Those that did not send when they could have will notify the
    /// receiver again.
    pub(in crate::channel) fn give_up_guests(&mut self) {
        if let Some(issuer) = &mut self.issuer {
            issuer.give_up_guests();
        }
    }

    /// Offers a permit for a rendezvous with the set that it is a member of, until the permit is
    /// taken back.
    pub(in crate::channel) fn invite(&mut self) {
        if let Some(issuer) = &mut self.issuer {
            issuer.invite();
        }
    }

    /// Takes the offered permit back.
    pub(in crate::channel) fn uninvite(&mut self) {
        if let Some(issuer) = &mut self.issuer {
            issuer.uninvite();
        }
    }

    /// Returns whether messages do not only come by socket, so that a caller that waits for packets
    /// has to [ask to be woken](Receiver::arm).
    #[inline]
    pub(crate) fn has_other_sources(&self) -> bool {
        match &self.place {
            Place::Platform(incoming) => incoming.has_other_sources(),
            Place::Local(_) => true,
        }
    }

    /// Asks senders to wake the thread that waits for packets. Returns `false` if there may be a
    /// message already.
    pub(crate) fn arm(&mut self) -> bool {
        self.incoming().is_ok_and(Incoming::arm)
    }

    /// Checks whether something arrived by shared memory.
    pub(crate) fn glance(&mut self) -> Seen {
        self.incoming().map_or(Seen::Something, Incoming::glance)
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
        self.incoming().map(|incoming| incoming.lend())
    }

    /// Notes that the user no longer polls.
    pub(crate) fn recall(&mut self) {
        if let Place::Platform(incoming) = &mut self.place {
            incoming.recall();
        }
    }

    /// Returns the backend's receiver, unless the channel is in this process only.
    pub(crate) fn packets(&self) -> Option<&PacketReceiver> {
        match &self.place {
            Place::Platform(incoming) => Some(incoming.packets()),
            Place::Local(_) => None,
        }
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
        let is_all = self.promote().is_ok()
            && self.issuer.is_none()
            && self.incoming().is_ok_and(Incoming::detach);
        match self.place {
            Place::Platform(incoming) if is_all => Ok(incoming.into_packets()),
            place => Err(Receiver { place, ..self }),
        }
    }

    /// Returns the sender's name for the type of its messages, if it has sent one.
    #[inline]
    pub(crate) fn sent_type(&self) -> Option<&Arc<str>> {
        match &self.place {
            Place::Platform(incoming) => incoming.sent_type(),
            Place::Local(_) => None,
        }
    }

    /// Takes the receiver apart so that it can move to another process. Also returns what has to
    /// stay in this process.
    pub(crate) fn depart(
        mut self,
        room: &mut Room,
    ) -> Result<(Attachment, Luggage, Remains), (io::Error, Receiver)> {
        if let Err(error) = self.promote() {
            return Err((error, self));
        }
        let Receiver { place, issuer } = self;
        match place {
            Place::Platform(incoming) => match incoming.depart(room) {
                Ok((attachment, mut luggage, remains)) => {
                    luggage.issuer = issuer.map(|issuer| issuer.depart());
                    Ok((attachment, luggage, remains))
                }
                Err((error, incoming)) => {
                    let place = Place::Platform(Box::new(incoming));
                    Err((error, Receiver { place, issuer }))
                }
            },
            place @ Place::Local(_) => {
                Err((io::ErrorKind::Other.into(), Receiver { place, issuer }))
            }
        }
    }

    /// Puts together a receiver that was taken apart, here or elsewhere. An invalid part of its
    /// state is discarded, and only that part.
    pub(crate) fn arrive(attachment: Attachment, mut luggage: Luggage) -> io::Result<Receiver> {
        let issuer = luggage.issuer.take().map(Issuer::arrive).transpose()?;
        Ok(Receiver::new(Incoming::arrive(attachment, luggage)?, issuer))
    }

    /// Takes back what stayed here when the receiver was taken apart.
    pub(crate) fn come_back(&mut self, remains: Remains) {
        if let Place::Platform(incoming) = &mut self.place {
            incoming.come_back(remains);
        }
    }
}

/// Receives the next message of a bounded channel, and issues a permit for it.
fn receive_bounded(
    incoming: &mut Incoming,
    issuer: &mut Issuer,
    buffer: &mut Vec<u8>,
    purpose: Purpose,
    wait: Wait,
) -> Result<Packed, RecvError> {
    if issuer.is_rendezvous() && wait == Wait::Never && issuer.manner() != Manner::Waits {
        return receive_what_is_there(incoming, issuer, buffer, purpose);
    }
    // A sender waits for a permit, and it is not known yet whether there are messages of others.
    let mut is_wanted = incoming.has_guests();
    // Since when there have been notifications, and other packets that are no message, in a row.
    let mut since = incoming.in_vain();
    loop {
        // A rendezvous is not offered while there is a message of a sender that was here before.
        let looks_first = is_wanted || (issuer.is_rendezvous() && wait != Wait::Never);
        let now = if looks_first { Wait::Never } else { wait };
        let mut received = incoming.receive(buffer, purpose, now);
        // A caller that blocks is not asked whether to continue: what had arrived was no message.
        if wait != Wait::Never && matches!(received, Err(RecvError::Unfinished)) {
            received = Err(RecvError::Empty);
        }
        // As many as there can be in the channel: what comes behind them was sent later.
        if !looks_first {
            since = incoming.in_vain();
        }
        let is_flooded = incoming.in_vain() - since >= MAX_PACKETS_PER_STEP as u64;
        let is_drained = !incoming.is_wanted() || is_flooded;
        if matches!(received, Err(RecvError::Empty)) && looks_first && is_drained {
            is_wanted = incoming.take_wanted();
            since = incoming.in_vain();
            if issuer.is_rendezvous() {
                if wait != Wait::Never {
                    received = meet(incoming, issuer, buffer, purpose, wait);
                } else if issuer.trust().is_given() {
                    received = meet(incoming, issuer, buffer, purpose, Wait::at_most(MEETING));
                    issuer.trust().note(!matches!(received, Err(RecvError::Empty)));
                }
                if matches!(received, Err(RecvError::Empty)) {
                    incoming.give_up_guests();
                }
            } else {
                issuer.starves();
            }
        }
        is_wanted |= incoming.take_wanted();
        match &received {
            Ok(_) => issuer.delivered(),
            Err(RecvError::Lost(problem)) => issuer.lost(problem),
            Err(RecvError::Empty) if wait == Wait::Never && is_wanted && is_flooded => {
                return Err(RecvError::Unfinished);
            }
            Err(RecvError::Empty) if (wait == Wait::Never && is_wanted) || !wait.is_over() => {
                continue;
            }
            Err(_) => {}
        }
        return received;
    }
}

/// Receives the next message of a rendezvous if it has arrived, for a caller that is notified of
/// the next one.
fn receive_what_is_there(
    incoming: &mut Incoming,
    issuer: &mut Issuer,
    buffer: &mut Vec<u8>,
    purpose: Purpose,
) -> Result<Packed, RecvError> {
    let since = incoming.in_vain();
    loop {
        let mut received = incoming.receive(buffer, purpose, Wait::Never);
        let is_flooded = incoming.in_vain() - since >= MAX_PACKETS_PER_STEP as u64;
        let is_wanted = incoming.take_wanted();
        if is_wanted || received.is_ok() {
            issuer.note_visit(is_wanted);
        }
        match &received {
            Ok(_) => issuer.delivered(),
            Err(RecvError::Lost(problem)) => issuer.lost(problem),
            // There may be a message behind the notification.
            Err(RecvError::Empty) if is_wanted && !is_flooded => continue,
            _ => {}
        }
        if matches!(received, Err(RecvError::Empty)) {
            // An offered permit is better than counting them.
            incoming.give_up_guests();
        }
        if issuer.manner() == Manner::Stands {
            if matches!(received, Err(RecvError::Empty)) && issuer.is_frequented() {
                issuer.invite();
            } else {
                issuer.uninvite();
            }
        }
        if is_wanted && matches!(received, Err(RecvError::Empty)) {
            received = Err(RecvError::Unfinished);
        }
        return received;
    }
}

/// Offers a permit to one sender, and receives from any sender until then.
///
/// Blocks no longer than `wait`. No permit is offered at the end of that time, so that a sender
/// that takes it late can still be received from. A message that arrives later all the same is
/// received by the next call.
fn meet(
    incoming: &mut Incoming,
    issuer: &mut Issuer,
    buffer: &mut Vec<u8>,
    purpose: Purpose,
    wait: Wait,
) -> Result<Packed, RecvError> {
    issuer.invite();
    let received = await_guest(incoming, buffer, purpose, early(wait), || {
        issuer.note_visit(true);
        issuer.invite();
    });
    issuer.uninvite();
    match received {
        Err(RecvError::Empty) => await_guest(incoming, buffer, purpose, wait, || {}),
        received => received,
    }
}

/// Returns a deadline shortly before the end of `wait`.
fn early(wait: Wait) -> Wait {
    match wait {
        Wait::Until(end) => {
            let left = end.saturating_duration_since(Instant::now());
            end.checked_sub(MEETING.min(left / 4)).map_or(wait, Wait::Until)
        }
        wait => wait,
    }
}

/// Receives the next message. Calls `on_want` for notifications of waiting senders, which do not
/// end the wait.
fn await_guest(
    incoming: &mut Incoming,
    buffer: &mut Vec<u8>,
    purpose: Purpose,
    wait: Wait,
    mut on_want: impl FnMut(),
) -> Result<Packed, RecvError> {
    loop {
        let received = incoming.receive(buffer, purpose, wait);
        let is_news = !matches!(received, Err(RecvError::Empty)) || !incoming.take_wanted();
        if is_news || wait.is_over() {
            return received;
        }
        on_want();
    }
}

//! The receiving end, wherever its messages are: in this process, or with the operating system and in shared memory.

use std::io;
use std::sync::Arc;
use std::time::Instant;

use super::incoming::Incoming;
use super::limits::{Limits, MAX_PACKETS_PER_STEP};
use super::local::{LocalReceiver, Promoted};
use super::luggage::{Luggage, Room};
use super::message::{Message, Packed, Purpose, RecvError};
use super::options::Options;
use super::permits::{Issuer, MEETING, Manner};
use super::spin::Seen;
use crate::platform::{Attachment, PacketReceiver, Remains, Wait};

/// Receives messages.
#[derive(Debug)]
pub(crate) struct Receiver {
    place: Place,
    /// Lets senders send, if the channel is bounded and not only in this process.
    issuer: Option<Box<Issuer>>,
}

#[derive(Debug)]
enum Place {
    /// In this process.
    Local(Box<LocalReceiver>),
    /// With the operating system.
    Platform(Box<Incoming>),
}

impl From<PacketReceiver> for Receiver {
    fn from(packets: PacketReceiver) -> Receiver {
        Receiver::new(Incoming::from(packets), None)
    }
}

/// Of a channel that has not left this process.
impl From<LocalReceiver> for Receiver {
    fn from(receiver: LocalReceiver) -> Receiver {
        Receiver { place: Place::Local(Box::new(receiver)), issuer: None }
    }
}

impl Receiver {
    /// Of the platform's channel, which is bounded if there is an issuer.
    pub(super) fn new(mut incoming: Incoming, issuer: Option<Issuer>) -> Receiver {
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

    /// Makes the channel the platform's, unless it is.
    ///
    /// # Errors
    ///
    /// It cannot be made, or this is a forked child of the process whose memory it is in.
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

    /// What the backend receives with, which there is from now on if there was none.
    ///
    /// # Errors
    ///
    /// It cannot be made the platform's channel, or this is a forked child of the process whose memory it is in.
    pub(crate) fn promoted_packets(&mut self) -> io::Result<&PacketReceiver> {
        self.incoming().map(|incoming| incoming.packets())
    }

    /// The platform's channel, which there is from now on if there was none.
    fn incoming(&mut self) -> io::Result<&mut Incoming> {
        self.promote()?;
        match &mut self.place {
            Place::Platform(incoming) => Ok(incoming),
            Place::Local(_) => Err(io::Error::other("what was promoted is the platform's")),
        }
    }

    /// How it behaves.
    pub(crate) fn options(&self) -> Options {
        match &self.place {
            Place::Platform(incoming) => incoming.options(),
            Place::Local(local) => local.options(),
        }
    }

    /// From now on, behaves like this.
    pub(crate) fn set_options(&mut self, options: Options) {
        match &mut self.place {
            Place::Platform(incoming) => incoming.set_options(options),
            Place::Local(local) => local.set_options(options),
        }
    }

    /// Gives back the shared memory that nothing has come through for a while. Whether there is some left.
    pub(crate) fn retire_idle(&mut self) -> bool {
        match &mut self.place {
            Place::Platform(incoming) => incoming.retire_idle(),
            Place::Local(_) => false,
        }
    }

    /// How much the last call of [`receive`](Receiver::receive) took from the platform's channel, in bytes, parts of what is yet to be
    /// completed included. Many small ones count as more than they have.
    pub(crate) fn taken(&self) -> usize {
        match &self.place {
            Place::Platform(incoming) => incoming.taken(),
            Place::Local(_) => 0,
        }
    }

    /// What the backend receives with, to be waited for. From now on, when there is nothing, senders are asked to wake who does.
    ///
    /// # Errors
    ///
    /// It cannot be made the platform's channel, or this is a forked child of the process whose memory it is in.
    #[cfg(feature = "async")]
    pub(crate) fn watch(&mut self) -> io::Result<&PacketReceiver> {
        self.incoming()?;
        if let Some(issuer) = &mut self.issuer {
            issuer.set_manner(Manner::Stands);
        }
        self.incoming().map(|incoming| incoming.watch())
    }

    /// Whether it is a member of a set, which meets senders [for it](Receiver::invite). Only of the platform's channel.
    pub(super) fn set_hosted(&mut self, is_hosted: bool) {
        // Other receivers have their turn after it.
        if let Place::Platform(incoming) = &mut self.place {
            incoming.share_time(is_hosted);
        }
        if let Some(issuer) = &mut self.issuer {
            issuer.set_manner(if is_hosted { Manner::IsHosted } else { Manner::Waits });
        }
    }

    /// Whether it is a rendezvous, and a sender may come to it in the near future.
    pub(super) fn expects_guests(&self) -> bool {
        self.issuer.as_ref().is_some_and(|issuer| issuer.is_rendezvous() && issuer.is_frequented())
    }

    /// Whether one probably comes as soon as it may.
    pub(super) fn has_guests(&self) -> bool {
        self.issuer.as_ref().is_some_and(|issuer| issuer.has_guests())
    }

    /// Those that did not come when they could have will say again that they wait.
    pub(super) fn give_up_guests(&mut self) {
        if let Some(issuer) = &mut self.issuer {
            issuer.give_up_guests();
        }
    }

    /// Lets one sender meet the set that it is a member of, until that is taken back.
    pub(super) fn invite(&mut self) {
        if let Some(issuer) = &mut self.issuer {
            issuer.invite();
        }
    }

    /// Takes that back.
    pub(super) fn uninvite(&mut self) {
        if let Some(issuer) = &mut self.issuer {
            issuer.uninvite();
        }
    }

    /// Whether messages do not only come by socket, so that whoever waits for packets has to [ask to be woken](Receiver::arm).
    #[inline]
    pub(crate) fn has_other_sources(&self) -> bool {
        match &self.place {
            Place::Platform(incoming) => incoming.has_other_sources(),
            Place::Local(_) => true,
        }
    }

    /// Asks senders to wake who waits for packets. `false` if there may be something already.
    pub(crate) fn arm(&mut self) -> bool {
        self.incoming().is_ok_and(Incoming::arm)
    }

    /// Looks whether something came by shared memory.
    pub(crate) fn glance(&mut self) -> Seen {
        self.incoming().map_or(Seen::Something, Incoming::glance)
    }

    /// As [`watch`](Receiver::watch), for what is lent out to be polled: from now on it is ready while there may be something here,
    /// wherever that is. If it cannot show all of that, what it does not show comes to an end: all is to come by socket.
    ///
    /// # Errors
    ///
    /// It cannot be made the platform's channel, or this is a forked child of the process whose memory it is in.
    #[allow(dead_code, reason = "only the modules in `os` need it")]
    pub(crate) fn lend(&mut self) -> io::Result<&PacketReceiver> {
        self.incoming().map(|incoming| incoming.lend())
    }

    /// Nobody polls any more what was lent out.
    pub(crate) fn recall(&mut self) {
        if let Place::Platform(incoming) = &mut self.place {
            incoming.recall();
        }
    }

    /// What the backend receives with, unless the channel is in this process only.
    pub(crate) fn packets(&self) -> Option<&PacketReceiver> {
        match &self.place {
            Place::Platform(incoming) => Some(incoming.packets()),
            Place::Local(_) => None,
        }
    }

    /// Takes what the backend receives with, if that is all there is to the receiver: nothing was received incompletely or is yet to be
    /// delivered, and senders need no permit.
    ///
    /// # Errors
    ///
    /// That is not so.
    #[allow(dead_code, reason = "only the modules in `os` need it")]
    pub(crate) fn into_packets(mut self) -> Result<PacketReceiver, Receiver> {
        // Whether there is a bound shows when the channel is the platform's.
        let is_all = self.promote().is_ok()
            && self.issuer.is_none()
            && self.incoming().is_ok_and(Incoming::detach);
        match self.place {
            Place::Platform(incoming) if is_all => Ok(incoming.into_packets()),
            place => Err(Receiver { place, ..self }),
        }
    }

    /// What a sender calls the type that it sends, if one has said so.
    #[inline]
    pub(crate) fn sent_type(&self) -> Option<&Arc<str>> {
        match &self.place {
            Place::Platform(incoming) => incoming.sent_type(),
            Place::Local(_) => None,
        }
    }

    /// Takes the receiver apart for its way into another process; what has to stay in this one comes with it.
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

    /// Puts a receiver together that was taken apart, here or elsewhere. What is wrong with its luggage is lost with that alone.
    pub(crate) fn arrive(attachment: Attachment, mut luggage: Luggage) -> io::Result<Receiver> {
        let issuer = luggage.issuer.take().map(Issuer::arrive).transpose()?;
        Ok(Receiver::new(Incoming::arrive(attachment, luggage)?, issuer))
    }

    /// Takes back what stayed here of the receiver when it was taken apart.
    pub(crate) fn come_back(&mut self, remains: Remains) {
        if let Place::Platform(incoming) = &mut self.place {
            incoming.come_back(remains);
        }
    }
}

/// Receives the next message of a bounded channel, and lets another be sent for it.
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
    // A sender waits, and it is yet to be seen whether there is nothing from others.
    let mut is_wanted = incoming.has_guests();
    let mut rounds = 0;
    loop {
        // A rendezvous is not offered as long as there is something from a sender that was here before.
        let looks_first = is_wanted || (issuer.is_rendezvous() && wait != Wait::Never);
        let now = if looks_first { Wait::Never } else { wait };
        let mut received = incoming.receive(buffer, purpose, now);
        // A caller that waits is not asked whether to go on: what had arrived was no message.
        if wait != Wait::Never && matches!(received, Err(RecvError::Unfinished)) {
            received = Err(RecvError::Empty);
        }
        if matches!(received, Err(RecvError::Empty)) && looks_first && !incoming.is_wanted() {
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
            is_wanted = false;
        }
        is_wanted |= incoming.take_wanted();
        match &received {
            Ok(_) => issuer.delivered(),
            Err(RecvError::Lost(problem)) => issuer.lost(problem),
            Err(RecvError::Empty) if wait == Wait::Never && is_wanted => {
                rounds += 1;
                if rounds >= MAX_PACKETS_PER_STEP {
                    return Err(RecvError::Unfinished);
                }
                continue;
            }
            Err(RecvError::Empty) if !wait.is_over() => continue,
            Err(_) => {}
        }
        return received;
    }
}

/// Receives the next message of a rendezvous that is there, for a caller that will be told when something comes.
fn receive_what_is_there(
    incoming: &mut Incoming,
    issuer: &mut Issuer,
    buffer: &mut Vec<u8>,
    purpose: Purpose,
) -> Result<Packed, RecvError> {
    for _ in 0..MAX_PACKETS_PER_STEP {
        let received = incoming.receive(buffer, purpose, Wait::Never);
        let is_wanted = incoming.take_wanted();
        if is_wanted || received.is_ok() {
            issuer.note_visit(is_wanted);
        }
        match &received {
            Ok(_) => issuer.delivered(),
            Err(RecvError::Lost(problem)) => issuer.lost(problem),
            // There may be something behind that.
            Err(RecvError::Empty) if is_wanted => continue,
            _ => {}
        }
        if matches!(received, Err(RecvError::Empty)) {
            // An invitation is better than to count them.
            incoming.give_up_guests();
        }
        if issuer.manner() == Manner::Stands {
            if matches!(received, Err(RecvError::Empty)) && issuer.is_frequented() {
                issuer.invite();
            } else {
                issuer.uninvite();
            }
        }
        return received;
    }
    Err(RecvError::Unfinished)
}

/// Lets one sender send, and receives from whatever sender does until then.
///
/// That takes no longer than `wait`. So that a sender which accepts late can still be received from, there is no invitation at the end of
/// that time. What comes later all the same is received by the next call.
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

/// A moment before the end of `wait`.
fn early(wait: Wait) -> Wait {
    match wait {
        Wait::Until(end) => {
            let left = end.saturating_duration_since(Instant::now());
            end.checked_sub(MEETING.min(left / 4)).map_or(wait, Wait::Until)
        }
        wait => wait,
    }
}

/// Receives the next message, told of senders that wait: that they would come, too, is no news.
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

//! The receiving end, wherever its messages are: in this process, or with the operating system and in shared memory.

use std::io;
use std::time::{Duration, Instant};

use super::incoming::Incoming;
use super::limits::MAX_PACKETS_PER_STEP;
use super::local::{LocalReceiver, Promoted};
use super::luggage::{Luggage, Room};
use super::message::{Message, Purpose, RecvError};
use super::options::Options;
use super::permits::{Issuer, MEETING, STARVED};
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
            _ => self.receive(buffer, purpose, wait),
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
        self.incoming().map(|incoming| incoming.watch())
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
) -> Result<Message, RecvError> {
    // Somebody wants to send, and it is yet to be seen whether there is nothing from others.
    let mut is_wanted = incoming.has_guests();
    let mut rounds = 0;
    loop {
        // A rendezvous is not offered to anybody as long as there is something from somebody who was here before.
        let looks_first = is_wanted || (issuer.is_rendezvous() && wait != Wait::Never);
        let now = if looks_first { Wait::Never } else { wait };
        let mut received = incoming.receive(buffer, purpose, now);
        if matches!(received, Err(RecvError::Empty)) && looks_first && !incoming.is_wanted() {
            if issuer.is_rendezvous() {
                if wait != Wait::Never {
                    received = meet(incoming, issuer, buffer, purpose, wait, STARVED);
                } else if issuer.trusts_guests() {
                    let wait = Wait::at_most(MEETING);
                    received = meet(incoming, issuer, buffer, purpose, wait, MEETING);
                    issuer.note_guest(!matches!(received, Err(RecvError::Empty)));
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

/// Lets one sender send, and receives from whoever does until then; and who has accepted that may be so late.
fn meet(
    incoming: &mut Incoming,
    issuer: &Issuer,
    buffer: &mut Vec<u8>,
    purpose: Purpose,
    wait: Wait,
    patience: Duration,
) -> Result<Message, RecvError> {
    issuer.invite();
    let mut invited = Instant::now();
    let received = await_guest(incoming, buffer, purpose, wait, || {
        // Who accepted it may be gone. Whoever is not has found it stale by now.
        if invited.elapsed() >= STARVED {
            issuer.uninvite();
            issuer.invite();
            invited = Instant::now();
        }
    });
    if issuer.uninvite() || !matches!(received, Err(RecvError::Empty)) {
        return received;
    }
    // Somebody was about to.
    await_guest(incoming, buffer, purpose, Wait::at_most(patience), || {})
}

/// Receives the next message, told of senders that wait: that they would come, too, is no news.
fn await_guest(
    incoming: &mut Incoming,
    buffer: &mut Vec<u8>,
    purpose: Purpose,
    wait: Wait,
    mut on_want: impl FnMut(),
) -> Result<Message, RecvError> {
    loop {
        let received = incoming.receive(buffer, purpose, wait);
        let is_news = !matches!(received, Err(RecvError::Empty)) || !incoming.take_wanted();
        if is_news || wait.is_over() {
            return received;
        }
        on_want();
    }
}

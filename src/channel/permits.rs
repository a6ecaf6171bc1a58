//! Bounded channels between processes: a sender has to take a permit before it sends a message.
//!
//! There are as many permits as messages may be sent and not received. A sender takes one before it
//! sends. The receiver issues another for each message that it delivers. With a bound of zero
//! (rendezvous) it issues one only while it waits, and takes that back if no sender took it.
//!
//! A sender that finds no permit waits for one. After a while it notifies the receiver, by the
//! channel. So a sender that took permits and died, or only took them, does not block the others
//! for ever. The receiver issues the missing permits anew if it receives such a notification,
//! receives another a while later, and has delivered nothing in between. If the missing permits are
//! used after all, the bound can be exceeded by as many messages, once.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use super::frame::{Head, Kind, Malformed};
use super::message::Problem;
use super::table::MovedIssuer;
use crate::platform::contract::{
    Attachment as _, PacketSender as _, PermitIssuer as _, PermitTaker as _,
};
use crate::platform::{
    self, Attachment, PacketSender, PerProcess, Permit, PermitIssuer, PermitTaker, SendError, Wait,
};

/// After how long a waiting sender notifies the receiver, and after how long a sender that has
/// taken an offered permit is no longer expected.
pub(super) const STARVATION_TIME: Duration = Duration::from_millis(100);

/// How often a waiting sender repeats the notification at least, if nothing changes.
const MAX_PAUSE: Duration = Duration::from_secs(1);

/// A wait that is longer than this shows that other senders wait, too: a working receiver lets a
/// single sender continue much sooner.
const CROWDED: Duration = Duration::from_micros(200);

/// How long a sender that has waited for a while, and has notified the receiver, waits outside the
/// queue.
const OUTSIDE: Duration = Duration::from_millis(20);

/// How long a rendezvous permit is valid.
const STALE: Duration = Duration::from_millis(50);

/// How long a receiver that does not block otherwise blocks for senders that have notified it.
pub(super) const RENDEZVOUS_WAIT: Duration = Duration::from_millis(10);

/// How long it does not, after such a wait timed out; twice as long after the next, and so on, ...
const MIN_DISTRUST: Duration = Duration::from_millis(50);

/// ... up to this.
const MAX_DISTRUST: Duration = Duration::from_secs(1);

/// How long after a sender has sent, or has notified the receiver, another is expected.
const SENDER_EXPECTED_FOR: Duration = Duration::from_secs(10);

/// After how many messages the receiver checks whether missing permits were used after all.
/// Checking takes longer than issuing a permit.
const LOOK_FOR_SURPLUS: u64 = 64;

/// How many surplus permits it takes back at a time.
const MAX_ABSORBED: usize = 64;

/// The permits of a bounded channel, as the senders of one process use them.
#[derive(Debug)]
pub(crate) struct Permits {
    taker: Arc<PermitTaker>,
    /// Whether the channel is a rendezvous, so that permits expire.
    is_rendezvous: bool,
    /// Permits that were taken and not used. A forked child has none of its parent's.
    spare: PerProcess<AtomicUsize>,
    /// Whether the last sender that waited for a permit waited so long that many others probably
    /// do.
    is_crowded: AtomicBool,
    /// Since when non-blocking senders have found no permit, or when they last notified the
    /// receiver; zero if there was one.
    no_permit_since: AtomicU64,
}

/// Issues the permits of a bounded channel, for its receiver.
#[derive(Debug)]
pub(crate) struct Issuer {
    issuer: PermitIssuer,
    /// The number of permits; zero is a rendezvous.
    bound: usize,
    /// How many permits are still to be issued, because there was no room for them.
    owed: usize,
    /// How many permits were issued in place of missing ones.
    surplus: usize,
    /// The number of delivered messages.
    delivered: u64,
    /// When a sender first notified the receiver, and how many messages had been delivered then.
    starving_since: Option<(Instant, u64)>,
    /// When a rendezvous permit was offered, if one is.
    offered_at: Option<Instant>,
    /// Whether a sender has notified the receiver since then.
    is_wanted: bool,
    /// When a sender last sent a message, or notified the receiver, ...
    last_sender: Option<Instant>,
    /// ... and whether it was a notification.
    was_notified: bool,
    offer_mode: OfferMode,
    trust: Trust,
}

/// How a rendezvous receiver meets waiting senders when it is called without blocking.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum OfferMode {
    /// It blocks for a moment.
    #[default]
    WhileBlocked,
    /// It is called again when something arrives. Until then, a permit stays offered.
    UntilWithdrawn,
    /// A receiver set offers the permit, for as long as it blocks.
    BySet,
}

/// Decides whether it is worth blocking for senders that have said that they wait.
#[derive(Debug, Default)]
pub(super) struct Trust {
    not_before: Option<Instant>,
    pause: Duration,
}

/// A permit to send a message.
#[derive(Debug)]
pub(super) struct TakenPermit<'a> {
    permits: &'a Permits,
    since: Option<Instant>,
}

/// Makes the permits of a channel with a bound of `bound`, `used` of which are taken already.
pub(super) fn permits(bound: usize, used: usize) -> io::Result<(Permits, Issuer)> {
    let (taker, issuer) = platform::permits(bound.saturating_sub(used))?;
    let bound = bound.min(issuer.capacity());
    let issuer = Issuer::new(issuer, bound, 0);
    Ok((Permits::new(Arc::new(taker), bound == 0), issuer))
}

impl Permits {
    fn new(taker: Arc<PermitTaker>, is_rendezvous: bool) -> Permits {
        let (spare, no_permit_since) = (PerProcess::default(), AtomicU64::new(0));
        Permits { taker, is_rendezvous, spare, is_crowded: AtomicBool::new(false), no_permit_since }
    }

    /// Converts an attachment that was received.
    pub(crate) fn from_attachment(
        attachment: Attachment,
        is_rendezvous: bool,
    ) -> io::Result<Permits> {
        Ok(Permits::new(attachment.into_taker()?, is_rendezvous))
    }

    /// Makes an attachment by which another process can take permits.
    pub(crate) fn to_attachment(&self) -> Attachment {
        Attachment::from_taker(Arc::clone(&self.taker))
    }

    /// Returns whether the channel is a rendezvous, so that permits expire.
    pub(crate) fn is_rendezvous(&self) -> bool {
        self.is_rendezvous
    }

    /// Returns whether both are the same permits of the same kind of channel.
    pub(super) fn is_same(&self, other: &Permits) -> bool {
        self.is_rendezvous == other.is_rendezvous && self.taker.is_same(&other.taker)
    }

    /// Returns whether there is a permit. A sender that calls this repeatedly notifies the
    /// receiver, like a blocked one. For a rendezvous the first call does, because there is no
    /// permit before that.
    pub(super) fn is_any(&self, packets: &PacketSender) -> bool {
        let is_any = self.spare.get().load(Ordering::Relaxed) > 0 || self.taker.is_any();
        if is_any {
            self.no_permit_since.store(0, Ordering::Relaxed);
            return true;
        }
        let (now, since) = (platform::now(), self.no_permit_since.load(Ordering::Relaxed));
        let is_due =
            since == 0 || u128::from(now.saturating_sub(since)) >= STARVATION_TIME.as_nanos();
        let (known, new) = (Ordering::Relaxed, Ordering::Relaxed);
        let is_first = since == 0 && !self.is_rendezvous;
        if is_due
            && self.no_permit_since.compare_exchange(since, now, known, new).is_ok()
            && !is_first
        {
            notify(packets);
        }
        false
    }

    /// Takes a permit, blocking until there is one, as `wait` says.
    pub(super) fn take(
        &self,
        packets: &PacketSender,
        wait: Wait,
    ) -> Result<TakenPermit<'_>, SendError> {
        let less = |spare: usize| spare.checked_sub(1);
        let mut pause = if self.is_rendezvous { Duration::ZERO } else { STARVATION_TIME };
        let mut until_told = None;
        let mut waited_since = None;
        loop {
            // 1. Take a permit that this process has left, which includes those that another thread
            //    gives back meanwhile, ...
            if self.spare.get().fetch_update(Ordering::Relaxed, Ordering::Relaxed, less).is_ok() {
                return Ok(TakenPermit { permits: self, since: None });
            }
            // 2. ... or one that the receiver has issued. The clock is read before, so that the
            //    permit is not older than it looks.
            let since = self.is_rendezvous.then(Instant::now);
            match self.taker.take().map_err(SendError::Io)? {
                Permit::Taken => {
                    if let Some(waited) = waited_since.as_ref().map(Instant::elapsed) {
                        self.is_crowded.store(waited >= CROWDED, Ordering::Relaxed);
                    }
                    return Ok(TakenPermit { permits: self, since });
                }
                Permit::Closed => return Err(SendError::Closed),
                Permit::None if packets.is_closed() => return Err(SendError::Closed),
                Permit::None if wait.is_over() => return Err(SendError::Full),
                Permit::None => {}
            }
            // 3. There is none. Notify the receiver if it is time for that.
            let mut until = *until_told.get_or_insert_with(|| Wait::at_most(pause));
            let mut is_in_queue = waited_since.is_some() || self.is_crowded.load(Ordering::Relaxed);
            let waited_since = *waited_since.get_or_insert_with(Instant::now);
            if until.is_over() {
                notify(packets);
                pause = (2 * pause).clamp(STARVATION_TIME, MAX_PAUSE);
                until = Wait::at_most(pause);
                until_told = Some(until);
                // A process that is woken by each permit and takes none cannot keep this one from
                // what the receiver issues now.
                if waited_since.elapsed() >= STARVATION_TIME {
                    is_in_queue = false;
                    until = Wait::at_most(OUTSIDE);
                }
            }
            // 4. Block until there may be one, or until the next notification.
            let now = if until.is_before(wait) { until } else { wait };
            self.taker.wait(packets, now, is_in_queue).map_err(SendError::Io)?;
        }
    }
}

/// Notifies the receiver that a sender waits for a permit.
fn notify(packets: &PacketSender) {
    let head = Head::new(Kind::PermitRequest, 0, 0);
    // If there is no room for the notification, the receiver has something to receive before it.
    let _ = packets.send(head.as_bytes(), &[], Vec::new(), Wait::Never);
}

impl TakenPermit<'_> {
    /// Returns whether the receiver may have stopped waiting for the message of this permit.
    pub(super) fn is_stale(&self) -> bool {
        self.since.is_some_and(|since| since.elapsed() > STALE)
    }

    /// Gives an unused permit back to the senders of this process.
    pub(super) fn give_back(self) {
        if self.since.is_none() {
            self.permits.spare.get().fetch_add(1, Ordering::Relaxed);
        }
    }
}

impl Issuer {
    fn new(issuer: PermitIssuer, bound: usize, surplus: usize) -> Issuer {
        Issuer {
            issuer,
            bound,
            owed: 0,
            surplus,
            delivered: 0,
            starving_since: None,
            offered_at: None,
            is_wanted: false,
            last_sender: None,
            was_notified: false,
            offer_mode: OfferMode::default(),
            trust: Trust::default(),
        }
    }

    /// Returns whether the channel is a rendezvous: senders send one message at a time, and only
    /// while a receiver waits for it.
    pub(super) fn is_rendezvous(&self) -> bool {
        self.bound == 0
    }

    /// Notes that a message was delivered, and issues a permit.
    pub(super) fn delivered(&mut self) {
        self.delivered += 1;
        if self.is_rendezvous() {
            return;
        }
        self.owed = self.issuer.issue(self.owed + 1);
        if self.surplus > 0 && self.delivered % LOOK_FOR_SURPLUS == 0 {
            self.absorb();
        }
    }

    /// Takes back permits in excess of the bound, because missing ones were used after all.
    fn absorb(&mut self) {
        let unclaimed = self.issuer.unclaimed().unwrap_or(0);
        let excess = unclaimed.saturating_sub(self.bound).min(self.surplus).min(MAX_ABSORBED);
        self.surplus -= (0..excess).take_while(|_| self.issuer.take_back()).count();
    }

    /// Notes that a message was discarded, unless the problem is something that no honest sender
    /// sends as a message.
    pub(super) fn lost(&mut self, problem: &Problem) {
        use Malformed::{NoMemory, Quota, TooLarge};

        match problem {
            Problem::Malformed(TooLarge | Quota | NoMemory) => self.delivered(),
            Problem::Malformed(_) | Problem::Foreign(_) => {}
            _ => self.delivered(),
        }
    }

    /// Notes that there is nothing to deliver while a sender waits for a permit, and issues missing
    /// permits if that has lasted.
    pub(super) fn note_starvation(&mut self) {
        let now = Instant::now();
        let since_then = self.starving_since.filter(|&(_, delivered)| delivered == self.delivered);
        let (since, _) = *self.starving_since.insert(since_then.unwrap_or((now, self.delivered)));
        if now - since < STARVATION_TIME {
            return;
        }
        self.starving_since = None;
        if self.issuer.unclaimed() == Some(0) {
            self.surplus = self.surplus.saturating_add(self.bound);
            self.owed = self.issuer.issue(self.bound);
        }
    }

    /// Returns how it meets waiting senders in a non-blocking call.
    pub(super) fn offer_mode(&self) -> OfferMode {
        self.offer_mode
    }

    /// Sets how it meets waiting senders in a non-blocking call.
    pub(super) fn set_offer_mode(&mut self, offer_mode: OfferMode) {
        self.withdraw_permit();
        self.offer_mode = offer_mode;
    }

    /// Returns whether to block for waiting senders in a non-blocking call.
    pub(super) fn trust(&mut self) -> &mut Trust {
        &mut self.trust
    }

    /// Notes that a sender has sent a message, or has notified the receiver.
    pub(super) fn note_sender(&mut self, is_wanted: bool) {
        self.is_wanted |= is_wanted;
        self.was_notified = is_wanted;
        self.last_sender = Some(Instant::now());
        if !is_wanted {
            self.trust.note(true);
        }
    }

    /// Returns whether a sender may arrive in the near future.
    pub(super) fn expects_sender(&self) -> bool {
        self.last_sender.is_some_and(|at| at.elapsed() < SENDER_EXPECTED_FOR)
    }

    /// Returns whether a sender probably sends as soon as it may.
    pub(super) fn has_waiting_senders(&self) -> bool {
        let is_probable =
            self.was_notified || self.last_sender.is_some_and(|at| at.elapsed() < STARVATION_TIME);
        is_probable && self.trust.is_given()
    }

    /// Stops expecting senders. Those that did not send when they could have will notify the
    /// receiver again.
    pub(super) fn stop_expecting_senders(&mut self) {
        self.was_notified = false;
        self.trust.note(false);
    }

    /// Offers one permit for a rendezvous, until it is taken back.
    ///
    /// If one is offered already, and another sender notifies the receiver all the same, that
    /// permit was taken. If that was long ago, the sender has found it stale or has died.
    pub(super) fn offer_permit(&mut self) {
        match self.offered_at {
            Some(at) if !self.is_wanted || at.elapsed() < STARVATION_TIME => return,
            Some(_) => drop(self.issuer.take_back()),
            None => {}
        }
        self.is_wanted = false;
        self.issuer.issue(1);
        self.offered_at = Some(Instant::now());
    }

    /// Takes the offered permit back. Returns whether a sender has taken it, and so is about to
    /// send.
    pub(super) fn withdraw_permit(&mut self) -> bool {
        self.offered_at.take().is_some() && !self.issuer.take_back()
    }

    /// Takes the issuer apart so that it can move to another process.
    pub(super) fn take_apart(mut self) -> MovedIssuer<Attachment> {
        self.withdraw_permit();
        MovedIssuer {
            attachments: Attachment::from_issuer(self.issuer),
            bound: self.bound as u64,
            surplus: self.surplus as u64,
        }
    }

    /// Puts an issuer together from its parts.
    pub(super) fn put_together(moved: MovedIssuer<Attachment>) -> io::Result<Issuer> {
        let issuer = Attachment::into_issuer(moved.attachments)?;
        let bound = usize::try_from(moved.bound).unwrap_or(usize::MAX).min(issuer.capacity());
        let surplus = usize::try_from(moved.surplus).unwrap_or(usize::MAX);
        Ok(Issuer::new(issuer, bound, surplus))
    }
}

impl Trust {
    /// Returns whether to block for senders now.
    pub(super) fn is_given(&self) -> bool {
        self.not_before.is_none_or(|at| Instant::now() >= at)
    }

    /// Notes whether expected senders have sent. If not, the receiver does not block for them for a
    /// while, which is longer each time.
    pub(super) fn note(&mut self, have_come: bool) {
        if have_come {
            *self = Trust::default();
        } else {
            self.pause = (2 * self.pause).clamp(MIN_DISTRUST, MAX_DISTRUST);
            self.not_before = Instant::now().checked_add(self.pause);
        }
    }
}

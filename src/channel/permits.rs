//! Bounded channels between processes: who takes a permit may send a message.
//!
//! There are as many permits as messages may be on their way. A sender takes one before it sends; the receiver issues another for each
//! message that it delivers. With none, which is a rendezvous, it issues one only while it waits, and takes that back if nobody took it.
//!
//! Who finds no permit waits for one, and says so after a while, by the channel. That keeps a sender that took permits and died, or only took
//! them, from stopping the others: if the receiver hears of one that waits, and hears it again a while later, and has delivered
//! nothing in between, the permits that are missing are issued anew. Should they turn up after all, there can be as many messages more, once.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use super::frame::{Head, Kind, Malformed};
use super::message::Problem;
use crate::platform::{
    self, Attachment, PacketSender, PerProcess, Permit, PermitIssuer, PermitTaker, SendError, Wait,
};

/// After how long a sender that waits says so, and for how long a receiver that hears of it waits for who may be about to send.
pub(super) const STARVED: Duration = Duration::from_millis(100);

/// How often it says so at least, if nothing changes.
const MAX_PAUSE: Duration = Duration::from_secs(1);

/// For how long a permit to meet the receiver is good.
const STALE: Duration = Duration::from_millis(50);

/// For how long a receiver that does not wait otherwise does so for a sender that has said that it waits.
pub(super) const MEETING: Duration = Duration::from_millis(10);

/// What the senders of a process need of a bounded channel.
#[derive(Debug)]
pub(crate) struct Permits {
    taker: Arc<PermitTaker>,
    /// Whether permits are for the moment only.
    is_rendezvous: bool,
    /// Those that were taken in vain. Of what is its parent's a forked child has nothing.
    spare: PerProcess<AtomicUsize>,
    /// Since when those who do not wait have found none, or have said so; zero if they have not.
    in_vain: AtomicU64,
}

/// What the receiver needs.
#[derive(Debug)]
pub(crate) struct Issuer {
    issuer: PermitIssuer,
    /// How many permits there are; zero is a rendezvous.
    bound: usize,
    /// How many are to be issued that there was no room for.
    owed: usize,
    /// How many were issued for those that were missing.
    surplus: usize,
    /// How many messages were delivered.
    delivered: u64,
    /// When a sender was first heard of that waits, and how many messages had been delivered then.
    starved: Option<(Instant, u64)>,
    /// When one who had said that it would come, and was waited for by who does not wait otherwise, did not.
    stood_up: Option<Instant>,
}

/// An issuer on its way to another process.
#[derive(Debug)]
pub(crate) struct MovedIssuer {
    /// What it consists of.
    pub(crate) attachments: Vec<Attachment>,
    /// How many permits there are.
    pub(crate) bound: u64,
    /// How many were issued for those that were missing.
    pub(crate) surplus: u64,
}

/// Leave to send a message.
#[derive(Debug)]
pub(super) struct Leave<'a> {
    permits: &'a Permits,
    since: Option<Instant>,
}

/// Makes the permits of a channel that may have `bound` messages and has `used`.
pub(super) fn permits(bound: usize, used: usize) -> io::Result<(Permits, Issuer)> {
    let (taker, issuer) = platform::permits(bound)?;
    let most = bound.min(issuer.capacity());
    let owed = issuer.issue(most.saturating_sub(used));
    let issuer = Issuer {
        issuer,
        bound: most,
        owed,
        surplus: 0,
        delivered: 0,
        starved: None,
        stood_up: None,
    };
    Ok((Permits::new(Arc::new(taker), bound == 0), issuer))
}

impl Permits {
    fn new(taker: Arc<PermitTaker>, is_rendezvous: bool) -> Permits {
        let (spare, in_vain) = (PerProcess::default(), AtomicU64::new(0));
        Permits { taker, is_rendezvous, spare, in_vain }
    }

    /// Takes what arrived as this.
    pub(crate) fn from_attachment(
        attachment: Attachment,
        is_rendezvous: bool,
    ) -> io::Result<Permits> {
        Ok(Permits::new(attachment.into_taker()?, is_rendezvous))
    }

    /// Lets another process take permits, too.
    pub(crate) fn to_attachment(&self) -> Attachment {
        Attachment::from_taker(Arc::clone(&self.taker))
    }

    /// Whether permits are for the moment only.
    pub(crate) fn is_rendezvous(&self) -> bool {
        self.is_rendezvous
    }

    /// Whether they are those, and for as long.
    pub(super) fn is_same(&self, other: &Permits) -> bool {
        self.is_rendezvous == other.is_rendezvous && self.taker.is_same(&other.taker)
    }

    /// Whether there is a permit. Who asks for one again and again says that it waits, as who does.
    pub(super) fn is_any(&self, packets: &PacketSender) -> bool {
        let is_any = self.spare.get().load(Ordering::Relaxed) > 0 || self.taker.is_any();
        if is_any {
            self.in_vain.store(0, Ordering::Relaxed);
            return true;
        }
        let (now, since) = (platform::now(), self.in_vain.load(Ordering::Relaxed));
        let is_due = since == 0 || u128::from(now.saturating_sub(since)) >= STARVED.as_nanos();
        let (known, new) = (Ordering::Relaxed, Ordering::Relaxed);
        if is_due && self.in_vain.compare_exchange(since, now, known, new).is_ok() && since > 0 {
            tell(packets);
        }
        false
    }

    /// Takes a permit, and waits for one if there is none.
    pub(super) fn take(&self, packets: &PacketSender, wait: Wait) -> Result<Leave<'_>, SendError> {
        let less = |spare: usize| spare.checked_sub(1);
        let mut pause = if self.is_rendezvous { Duration::ZERO } else { STARVED };
        let mut until_told = None;
        loop {
            // Also those that another thread gives back meanwhile.
            if self.spare.get().fetch_update(Ordering::Relaxed, Ordering::Relaxed, less).is_ok() {
                return Ok(Leave { permits: self, since: None });
            }
            // Before it is taken, so that it is not older than it looks.
            let since = self.is_rendezvous.then(Instant::now);
            match self.taker.take().map_err(SendError::Io)? {
                Permit::Taken => return Ok(Leave { permits: self, since }),
                Permit::Closed => return Err(SendError::Closed),
                Permit::None if packets.is_closed() => return Err(SendError::Closed),
                Permit::None if wait.is_over() => return Err(SendError::Full),
                Permit::None => {}
            }
            let mut until = *until_told.get_or_insert_with(|| Wait::at_most(pause));
            if until.is_over() {
                tell(packets);
                pause = (2 * pause).clamp(STARVED, MAX_PAUSE);
                until = Wait::at_most(pause);
                until_told = Some(until);
            }
            let now = if until.is_before(wait) { until } else { wait };
            self.taker.wait(packets, now).map_err(SendError::Io)?;
        }
    }
}

/// Says that a sender waits for a permit.
fn tell(packets: &PacketSender) {
    let head = Head::new(Kind::Want, 0, 0);
    // If there is no room for it, there is something to receive before it.
    let _ = packets.send(head.as_bytes(), &[], Vec::new());
}

impl Leave<'_> {
    /// Whether the receiver may have stopped waiting for what is to be sent with it.
    pub(super) fn is_stale(&self) -> bool {
        self.since.is_some_and(|since| since.elapsed() > STALE)
    }

    /// Nothing was sent with it, so it may be used for something else.
    pub(super) fn give_back(self) {
        if self.since.is_none() {
            self.permits.spare.get().fetch_add(1, Ordering::Relaxed);
        }
    }
}

impl Issuer {
    /// Whether senders are let send one message at a time, and only while somebody waits for it.
    pub(super) fn is_rendezvous(&self) -> bool {
        self.bound == 0
    }

    /// A message was delivered.
    pub(super) fn delivered(&mut self) {
        self.delivered += 1;
        if self.is_rendezvous() {
            return;
        }
        if self.surplus > 0 && self.issuer.unclaimed() >= self.bound {
            self.surplus -= 1;
            return;
        }
        self.owed = self.issuer.issue(self.owed + 1);
    }

    /// Something was received and is lost: a message, unless nobody who keeps to the rules sends such.
    pub(super) fn lost(&mut self, problem: &Problem) {
        use Malformed::{NoMemory, Quota, TooLarge};

        match problem {
            Problem::Malformed(TooLarge | Quota | NoMemory) => self.delivered(),
            Problem::Malformed(_) => {}
            _ => self.delivered(),
        }
    }

    /// There is nothing to deliver, and a sender waits.
    pub(super) fn starves(&mut self) {
        let now = Instant::now();
        let since_then = self.starved.filter(|&(_, delivered)| delivered == self.delivered);
        let (since, _) = *self.starved.insert(since_then.unwrap_or((now, self.delivered)));
        if now - since < STARVED {
            return;
        }
        self.starved = None;
        if self.issuer.unclaimed() == 0 {
            self.surplus = self.surplus.saturating_add(self.bound);
            self.owed = self.issuer.issue(self.bound);
        }
    }

    /// Whether it is worth while to wait for who says that it would come: not a moment after somebody did not.
    pub(super) fn trusts_guests(&self) -> bool {
        self.stood_up.is_none_or(|at| at.elapsed() >= STALE)
    }

    /// Whether somebody has come.
    pub(super) fn note_guest(&mut self, has_come: bool) {
        self.stood_up = if has_come { None } else { Some(Instant::now()) };
    }

    /// Lets one sender meet who waits.
    pub(super) fn invite(&self) {
        self.issuer.issue(1);
    }

    /// Whether nobody has accepted that.
    pub(super) fn uninvite(&self) -> bool {
        self.issuer.take_back()
    }

    /// Takes it apart for its way into another process.
    pub(super) fn depart(self) -> MovedIssuer {
        MovedIssuer {
            attachments: Attachment::from_issuer(self.issuer),
            bound: self.bound as u64,
            surplus: self.surplus as u64,
        }
    }

    /// Puts one together that was taken apart.
    pub(super) fn arrive(moved: MovedIssuer) -> io::Result<Issuer> {
        let issuer = Attachment::into_issuer(moved.attachments)?;
        let bound = usize::try_from(moved.bound).unwrap_or(usize::MAX).min(issuer.capacity());
        let surplus = usize::try_from(moved.surplus).unwrap_or(usize::MAX);
        Ok(Issuer { issuer, bound, owed: 0, surplus, delivered: 0, starved: None, stood_up: None })
    }
}

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
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use super::frame::{Head, Kind, Malformed};
use super::message::Problem;
use crate::platform::{
    self, Attachment, PacketSender, PerProcess, Permit, PermitIssuer, PermitTaker, SendError, Wait,
};

/// After how long a sender that waits says so, and after how long one that has accepted an invitation is not expected any more.
pub(super) const STARVED: Duration = Duration::from_millis(100);

/// How often it says so at least, if nothing changes.
const MAX_PAUSE: Duration = Duration::from_secs(1);

/// After how long a wait others wait, too: a receiver that is at work lets one sender go on much sooner.
const CROWDED: Duration = Duration::from_micros(200);

/// For how long a permit to meet the receiver is good.
const STALE: Duration = Duration::from_millis(50);

/// For how long a receiver that does not wait otherwise does so for senders that have said that they wait.
pub(super) const MEETING: Duration = Duration::from_millis(10);

/// For how long it does not, after such a wait was in vain; twice as long after the next, and so on, ...
const MIN_DISTRUST: Duration = Duration::from_millis(50);

/// ... up to this.
const MAX_DISTRUST: Duration = Duration::from_secs(1);

/// For how long after a sender has come, or has said that it waits, one is expected to come.
const FREQUENTED: Duration = Duration::from_secs(10);

/// After how many messages the receiver looks whether permits that were missing have turned up. To look takes longer than to issue one.
const LOOK_FOR_SURPLUS: u64 = 64;

/// How many of those it takes back at a time.
const MAX_ABSORBED: usize = 64;

/// What the senders of a process need of a bounded channel.
#[derive(Debug)]
pub(crate) struct Permits {
    taker: Arc<PermitTaker>,
    /// Whether permits are for the moment only.
    is_rendezvous: bool,
    /// Those that were taken in vain. Of what is its parent's a forked child has nothing.
    spare: PerProcess<AtomicUsize>,
    /// Whether the last sender that waited for one waited as long as if many others do.
    is_crowded: AtomicBool,
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
    /// Since when one sender may meet the receiver, if one may.
    invited: Option<Instant>,
    /// Whether a sender has said that it waits since then.
    is_wanted: bool,
    /// When a sender has last come, or said that it waits, ...
    visited: Option<Instant>,
    /// ... and whether it was the latter.
    is_awaited: bool,
    manner: Manner,
    trust: Trust,
}

/// How a receiver that is asked for what is there meets the senders that wait for it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Manner {
    /// It waits for a moment.
    #[default]
    Waits,
    /// It is asked again when something comes, and until then an invitation stands.
    Stands,
    /// A set invites, for as long as it waits.
    IsHosted,
}

/// Whether it is worth while to wait for those who say that they would come.
#[derive(Debug, Default)]
pub(super) struct Trust {
    not_before: Option<Instant>,
    pause: Duration,
}

/// An issuer on its way to another process.
#[derive(Debug)]
pub(crate) struct MovedIssuer<A = Attachment> {
    /// What it consists of.
    pub(crate) attachments: Vec<A>,
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
    let (taker, issuer) = platform::permits(bound.saturating_sub(used))?;
    let bound = bound.min(issuer.capacity());
    let issuer = Issuer::new(issuer, bound, 0);
    Ok((Permits::new(Arc::new(taker), bound == 0), issuer))
}

impl Permits {
    fn new(taker: Arc<PermitTaker>, is_rendezvous: bool) -> Permits {
        let (spare, in_vain) = (PerProcess::default(), AtomicU64::new(0));
        Permits { taker, is_rendezvous, spare, is_crowded: AtomicBool::new(false), in_vain }
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

    /// Whether there is a permit. A sender that asks for one again and again says that it waits, as one that does. Of a rendezvous it says so
    /// with the first attempt, because there is no permit before that.
    pub(super) fn is_any(&self, packets: &PacketSender) -> bool {
        let is_any = self.spare.get().load(Ordering::Relaxed) > 0 || self.taker.is_any();
        if is_any {
            self.in_vain.store(0, Ordering::Relaxed);
            return true;
        }
        let (now, since) = (platform::now(), self.in_vain.load(Ordering::Relaxed));
        let is_due = since == 0 || u128::from(now.saturating_sub(since)) >= STARVED.as_nanos();
        let (known, new) = (Ordering::Relaxed, Ordering::Relaxed);
        let is_first = since == 0 && !self.is_rendezvous;
        if is_due && self.in_vain.compare_exchange(since, now, known, new).is_ok() && !is_first {
            tell(packets);
        }
        false
    }

    /// Takes a permit, and waits for one if there is none.
    pub(super) fn take(&self, packets: &PacketSender, wait: Wait) -> Result<Leave<'_>, SendError> {
        let less = |spare: usize| spare.checked_sub(1);
        let mut pause = if self.is_rendezvous { Duration::ZERO } else { STARVED };
        let mut until_told = None;
        let mut waited_since = None;
        loop {
            // Also those that another thread gives back meanwhile.
            if self.spare.get().fetch_update(Ordering::Relaxed, Ordering::Relaxed, less).is_ok() {
                return Ok(Leave { permits: self, since: None });
            }
            // Before it is taken, so that it is not older than it looks.
            let since = self.is_rendezvous.then(Instant::now);
            match self.taker.take().map_err(SendError::Io)? {
                Permit::Taken => {
                    if let Some(waited) = waited_since.as_ref().map(Instant::elapsed) {
                        self.is_crowded.store(waited >= CROWDED, Ordering::Relaxed);
                    }
                    return Ok(Leave { permits: self, since });
                }
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
            let is_in_queue = waited_since.is_some() || self.is_crowded.load(Ordering::Relaxed);
            waited_since.get_or_insert_with(Instant::now);
            self.taker.wait(packets, now, is_in_queue).map_err(SendError::Io)?;
        }
    }
}

/// Says that a sender waits for a permit.
fn tell(packets: &PacketSender) {
    let head = Head::new(Kind::Want, 0, 0);
    // If there is no room for it, there is something to receive before it.
    let _ = packets.send(head.as_bytes(), &[], Vec::new(), Wait::Never);
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
    fn new(issuer: PermitIssuer, bound: usize, surplus: usize) -> Issuer {
        Issuer {
            issuer,
            bound,
            owed: 0,
            surplus,
            delivered: 0,
            starved: None,
            invited: None,
            is_wanted: false,
            visited: None,
            is_awaited: false,
            manner: Manner::default(),
            trust: Trust::default(),
        }
    }

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
        self.owed = self.issuer.issue(self.owed + 1);
        if self.surplus > 0 && self.delivered % LOOK_FOR_SURPLUS == 0 {
            self.absorb();
        }
    }

    /// Takes back what is beyond the bound, because permits that were missing have turned up.
    fn absorb(&mut self) {
        let unclaimed = self.issuer.unclaimed().unwrap_or(0);
        let excess = unclaimed.saturating_sub(self.bound).min(self.surplus).min(MAX_ABSORBED);
        self.surplus -= (0..excess).take_while(|_| self.issuer.take_back()).count();
    }

    /// Something was received and is lost: a message, unless nobody who keeps to the rules sends such.
    pub(super) fn lost(&mut self, problem: &Problem) {
        use Malformed::{NoMemory, Quota, TooLarge};

        match problem {
            Problem::Malformed(TooLarge | Quota | NoMemory) => self.delivered(),
            Problem::Malformed(_) | Problem::Foreign(_) => {}
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
        if self.issuer.unclaimed() == Some(0) {
            self.surplus = self.surplus.saturating_add(self.bound);
            self.owed = self.issuer.issue(self.bound);
        }
    }

    /// How it meets senders when it is asked for what is there.
    pub(super) fn manner(&self) -> Manner {
        self.manner
    }

    /// From now on, meets them like this.
    pub(super) fn set_manner(&mut self, manner: Manner) {
        self.uninvite();
        self.manner = manner;
    }

    /// Whether to wait for senders when it is asked for what is there.
    pub(super) fn trust(&mut self) -> &mut Trust {
        &mut self.trust
    }

    /// A sender has come, or has said that it waits.
    pub(super) fn note_visit(&mut self, is_wanted: bool) {
        self.is_wanted |= is_wanted;
        self.is_awaited = is_wanted;
        self.visited = Some(Instant::now());
        if !is_wanted {
            self.trust.note(true);
        }
    }

    /// Whether a sender may come in the near future.
    pub(super) fn is_frequented(&self) -> bool {
        self.visited.is_some_and(|at| at.elapsed() < FREQUENTED)
    }

    /// Whether one probably comes as soon as it may.
    pub(super) fn has_guests(&self) -> bool {
        let is_probable = self.is_awaited || self.visited.is_some_and(|at| at.elapsed() < STARVED);
        is_probable && self.trust.is_given()
    }

    /// Those that did not come when they could have will say again that they wait.
    pub(super) fn give_up_guests(&mut self) {
        self.is_awaited = false;
        self.trust.note(false);
    }

    /// Lets one sender meet the receiver, until that is taken back. If one is let already, and another one waits all the same, that was
    /// accepted: by a sender that has found it stale, if it was long ago, or is gone.
    pub(super) fn invite(&mut self) {
        match self.invited {
            Some(at) if !self.is_wanted || at.elapsed() < STARVED => return,
            Some(_) => drop(self.issuer.take_back()),
            None => {}
        }
        self.is_wanted = false;
        self.issuer.issue(1);
        self.invited = Some(Instant::now());
    }

    /// Takes that back. Whether a sender has accepted it, and so is about to send.
    pub(super) fn uninvite(&mut self) -> bool {
        self.invited.take().is_some() && !self.issuer.take_back()
    }

    /// Takes it apart for its way into another process.
    pub(super) fn depart(mut self) -> MovedIssuer {
        self.uninvite();
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
        Ok(Issuer::new(issuer, bound, surplus))
    }
}

impl Trust {
    /// Whether it is.
    pub(super) fn is_given(&self) -> bool {
        self.not_before.is_none_or(|at| Instant::now() >= at)
    }

    /// Those who were waited for have come, or have not: then they are not waited for again for a while, which is longer each time.
    pub(super) fn note(&mut self, have_come: bool) {
        if have_come {
            *self = Trust::default();
        } else {
            self.pause = (2 * self.pause).clamp(MIN_DISTRUST, MAX_DISTRUST);
            self.not_before = Instant::now().checked_add(self.pause);
        }
    }
}

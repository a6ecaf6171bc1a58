//! Receives from a bounded channel between processes.
//!
//! A sender takes a permit before it sends, and the receiver issues one for each message that it
//! delivers: [`permits`](crate::channel::permits). In a rendezvous there is a permit only while the
//! receiver offers one. A sender that finds no permit sends a notification after a while, which
//! ends the receiver's wait. There are two reasons for it, and the receiver has to tell them apart:
//!
//! - There are messages that the receiver has not delivered. Delivering them issues permits.
//! - There are none. Then permits are missing, because a sender has taken them and has not sent, or
//!   the channel is a rendezvous.
//!
//! Therefore a notification is followed by a call that does not block. Only if that finds neither a
//! message nor another notification does the receiver act on the notification: it issues missing
//! permits, or offers one. An offered permit is taken back when the receiver has a message, or no
//! longer waits. A sender that has taken it by then is about to send, and is waited for.
//!
//! A caller of a rendezvous that does not block would never find a sender there. So the
//! receiver blocks for a moment if a sender has notified it, as long as senders that have done
//! so send. A receiver that is called again when something arrives [keeps a permit
//! offered](OfferMode::UntilWithdrawn) instead; for a member of a set, [the
//! set](OfferMode::BySet) offers it.

use std::time::Instant;

use super::inbound::Inbound;
use crate::channel::limits::MAX_PACKETS_PER_STEP;
use crate::channel::message::{Packed, Purpose, RecvError};
use crate::channel::permits::{Issuer, OfferMode, RENDEZVOUS_WAIT};
use crate::platform::Wait;
use crate::platform::contract::PacketReceiver as _;

/// The receiver of a bounded channel between processes.
#[derive(Debug)]
pub(super) struct BoundedInbound {
    pub(super) inbound: Inbound,
    pub(super) issuer: Issuer,
}

impl BoundedInbound {
    pub(super) fn new(mut inbound: Inbound, issuer: Issuer) -> BoundedInbound {
        inbound.notifications.heed(issuer.is_rendezvous());
        BoundedInbound { inbound, issuer }
    }

    /// Receives the next message, and issues a permit for it.
    pub(super) fn receive(
        &mut self,
        buffer: &mut Vec<u8>,
        purpose: Purpose,
        wait: Wait,
    ) -> Result<Packed, RecvError> {
        let is_rendezvous = self.issuer.is_rendezvous();
        if is_rendezvous
            && wait == Wait::Never
            && self.issuer.offer_mode() != OfferMode::WhileBlocked
        {
            return self.receive_what_is_there(buffer, purpose);
        }
        // A sender waits for a permit, and it is not known yet whether there are messages of
        // others.
        let mut is_wanted = self.inbound.notifications.has_waiting_senders();
        let mut flood = Flood::since(&self.inbound);
        loop {
            // 1. Look for a message, without blocking if a sender waits for a permit. A rendezvous
            //    is not offered while there is a message of a sender that was here before.
            let looks_first = is_wanted || (is_rendezvous && wait != Wait::Never);
            if !looks_first {
                flood = Flood::since(&self.inbound);
            }
            let now = if looks_first { Wait::Never } else { wait };
            let mut received = self.inbound.receive(buffer, purpose, now);
            // A caller that blocks is not asked whether to continue: what had arrived was no
            // message.
            if wait != Wait::Never && matches!(received, Err(RecvError::BudgetSpent)) {
                received = Err(RecvError::Empty);
            }
            let is_flooded = flood.is_full(&self.inbound);
            // 2. If there is none, the sender needs a permit. Behind another notification there may
            //    be a message, unless there were as many packets as there can be.
            let is_wanted_again = self.inbound.notifications.is_wanted();
            let needs_permit = if is_wanted_again { is_flooded } else { looks_first };
            if needs_permit && matches!(received, Err(RecvError::Empty)) {
                is_wanted = self.inbound.notifications.take();
                flood = Flood::since(&self.inbound);
                received = self.serve_waiting(buffer, purpose, wait);
            }
            is_wanted |= self.inbound.notifications.take();
            // 3. Issue a permit for a message, or start again.
            match &received {
                Err(RecvError::Empty) if wait == Wait::Never && is_wanted && is_flooded => {
                    return Err(RecvError::BudgetSpent);
                }
                Err(RecvError::Empty) if (wait == Wait::Never && is_wanted) || !wait.is_over() => {}
                _ => {
                    self.note_outcome(&received);
                    return received;
                }
            }
        }
    }

    /// Issues missing permits, or receives the next message of a rendezvous, since a sender waits
    /// for a permit and there is no message.
    fn serve_waiting(
        &mut self,
        buffer: &mut Vec<u8>,
        purpose: Purpose,
        wait: Wait,
    ) -> Result<Packed, RecvError> {
        if !self.issuer.is_rendezvous() {
            self.issuer.note_starvation();
            return Err(RecvError::Empty);
        }
        let mut received = Err(RecvError::Empty);
        if wait != Wait::Never {
            received = self.receive_rendezvous(buffer, purpose, wait);
        } else if self.issuer.trust().is_given() {
            received = self.receive_rendezvous(buffer, purpose, Wait::at_most(RENDEZVOUS_WAIT));
            self.issuer.trust().note(!matches!(received, Err(RecvError::Empty)));
        }
        if matches!(received, Err(RecvError::Empty)) {
            self.inbound.stop_expecting_senders();
        }
        received
    }

    /// Receives the next message of a rendezvous if it has arrived, for a caller that is notified
    /// of the next one.
    fn receive_what_is_there(
        &mut self,
        buffer: &mut Vec<u8>,
        purpose: Purpose,
    ) -> Result<Packed, RecvError> {
        let flood = Flood::since(&self.inbound);
        loop {
            let received = self.inbound.receive(buffer, purpose, Wait::Never);
            let is_wanted = self.inbound.notifications.take();
            if is_wanted || received.is_ok() {
                self.issuer.note_sender(is_wanted);
            }
            self.note_outcome(&received);
            let is_empty = matches!(received, Err(RecvError::Empty));
            // There may be a message behind the notification.
            if is_empty && is_wanted && !flood.is_full(&self.inbound) {
                continue;
            }
            if is_empty {
                // An offered permit is better than counting them.
                self.inbound.stop_expecting_senders();
            }
            if self.issuer.offer_mode() == OfferMode::UntilWithdrawn {
                if is_empty && self.issuer.expects_sender() {
                    self.issuer.offer_permit();
                } else {
                    self.issuer.withdraw_permit();
                }
            }
            return if is_empty && is_wanted { Err(RecvError::BudgetSpent) } else { received };
        }
    }

    /// Issues a permit if a message was delivered or discarded.
    fn note_outcome(&mut self, received: &Result<Packed, RecvError>) {
        match received {
            Ok(_) => self.issuer.delivered(),
            Err(RecvError::Lost(problem)) => self.issuer.lost(problem),
            Err(_) => {}
        }
    }

    /// Offers a permit to one sender, and receives from any sender until then.
    ///
    /// Blocks no longer than `wait`. No permit is offered at the end of that time, so that a sender
    /// that takes it late can still be received from. A message that arrives later all the same is
    /// received by the next call.
    fn receive_rendezvous(
        &mut self,
        buffer: &mut Vec<u8>,
        purpose: Purpose,
        wait: Wait,
    ) -> Result<Packed, RecvError> {
        let BoundedInbound { inbound, issuer } = self;
        // 1. Offer a permit, and another if a sender finds it taken.
        issuer.offer_permit();
        let received = receive_offered(inbound, buffer, purpose, early(wait), || {
            issuer.note_sender(true);
            issuer.offer_permit();
        });
        // 2. Take it back.
        issuer.withdraw_permit();
        // 3. If a sender has it, its message is on the way.
        match received {
            Err(RecvError::Empty) => receive_offered(inbound, buffer, purpose, wait, || {}),
            received => received,
        }
    }
}

/// How many packets in a row have completed no message, notifications above all.
#[derive(Clone, Copy, Debug)]
struct Flood {
    packets_before: u64,
}

impl Flood {
    fn since(inbound: &Inbound) -> Flood {
        Flood { packets_before: inbound.packets_without_message() }
    }

    /// Returns whether there were as many as there can be in the channel: what comes behind
    /// them was sent later.
    fn is_full(self, inbound: &Inbound) -> bool {
        inbound.packets_without_message() - self.packets_before >= MAX_PACKETS_PER_STEP as u64
    }
}

/// Returns a deadline shortly before the end of `wait`.
fn early(wait: Wait) -> Wait {
    match wait {
        Wait::Until(end) => {
            let left = end.saturating_duration_since(Instant::now());
            end.checked_sub(RENDEZVOUS_WAIT.min(left / 4)).map_or(wait, Wait::Until)
        }
        wait => wait,
    }
}

/// Receives the next message. Calls `on_want` for notifications of waiting senders, which do not
/// end the wait.
fn receive_offered(
    inbound: &mut Inbound,
    buffer: &mut Vec<u8>,
    purpose: Purpose,
    wait: Wait,
    mut on_want: impl FnMut(),
) -> Result<Packed, RecvError> {
    loop {
        let received = inbound.receive(buffer, purpose, wait);
        let is_news = !matches!(received, Err(RecvError::Empty)) || !inbound.notifications.take();
        if is_news || wait.is_over() {
            return received;
        }
        on_want();
    }
}

impl Inbound {
    /// Stops expecting senders. Those that did not send when they could have will send another
    /// notification.
    fn stop_expecting_senders(&mut self) {
        if self.notifications.stop_expecting_senders() && self.reader.packets.shows_more() {
            self.show(true);
        }
    }
}

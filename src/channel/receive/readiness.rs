//! Waiting for a receiver without calling it: wake-ups from rings, and a file descriptor that the
//! user polls.

use std::sync::atomic::Ordering;

use super::inbound::Inbound;
use crate::channel::spin::Seen;
use crate::platform::PacketReceiver;
use crate::platform::contract::PacketReceiver as _;

impl Inbound {
    /// Returns the backend's receiver, for waiting until it is ready. From now on, a receiver that
    /// finds nothing asks senders to wake it.
    pub(in crate::channel) fn watch(&self) -> &PacketReceiver {
        self.is_watched.store(true, Ordering::Relaxed);
        &self.reader.packets
    }

    /// Returns whether messages can come from elsewhere than the socket, so that a caller that
    /// waits for packets has to [ask to be woken](Inbound::arm).
    #[inline]
    pub(super) fn has_other_sources(&self) -> bool {
        self.ordered.as_ref().is_some_and(|ordered| ordered.is_in_use())
    }

    /// Asks senders to wake the thread that waits for packets. Returns `false` if there may be a
    /// message already.
    pub(super) fn arm(&mut self) -> bool {
        self.ordered().arm()
    }

    /// Checks whether something arrived by shared memory.
    pub(super) fn glance(&mut self) -> Seen {
        self.ordered().glance()
    }

    /// Like [`watch`](Inbound::watch), for a file descriptor that the user polls. From now on it
    /// is ready while there may be a message, wherever that is. If it cannot show messages in some
    /// place, that place is no longer used: all messages are to come by socket.
    #[allow(dead_code, reason = "only the modules in `os` need it")]
    pub(super) fn lend(&mut self) -> &PacketReceiver {
        let shows_all = self.reader.packets.lend();
        if self.ordered.is_some() || !shows_all {
            self.ordered().rings.refuse_rings(!shows_all);
        }
        self.show(false);
        self.watch()
    }

    /// Notes that the user no longer polls.
    pub(super) fn recall(&mut self) {
        self.reader.packets.recall();
        *self.is_watched.get_mut() = false;
        if let Some(ordered) = &mut self.ordered {
            ordered.rings.refuse_rings(false);
        }
    }

    /// Makes the lent file descriptor show whether there is something besides packets. If there is
    /// nothing, asks senders to wake its poller. If it `is_news`, an edge-triggered poller is
    /// notified even if the same was shown before.
    pub(super) fn show(&mut self, is_news: bool) {
        let is_there = self.ordered.as_mut().is_some_and(|ordered| !ordered.arm());
        self.reader.packets.show(is_there || self.notifications.has_waiting_senders(), is_news);
    }
}

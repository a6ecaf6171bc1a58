//! How the receiver of the platform's channel moves to another process.

use std::io;

use super::inbound::Inbound;
use super::ordered::Ordered;
use super::packets::PacketReader;
use super::queue::QueuedMessage;
use super::rings::MovedRing;
use crate::channel::assembly::Contents;
use crate::channel::luggage::{Luggage, Room};
use crate::platform::contract::{Attachment as _, PacketReceiver as _};
use crate::platform::{self, Attachment};

impl Inbound {
    /// Takes the receiver apart so that it can move to another process. Also returns what has to
    /// stay in this process.
    pub(super) fn depart(
        self,
        room: &mut Room,
    ) -> Result<(Attachment, Luggage, platform::Remains), (io::Error, Inbound)> {
        let (packets, remains) = match self.reader.packets.depart() {
            Ok(departed) => departed,
            Err((error, packets)) => {
                let reader = PacketReader { packets, ..self.reader };
                return Err((error, Inbound { reader, ..self }));
            }
        };
        let PacketReader { assembly, sent_type, .. } = self.reader;
        let Inbound { options, ordered, .. } = self;
        let Contents { mut unfinished, lost } = assembly.into_contents();
        // Messages that a peer has piled up here must not keep the receiver from moving, nor
        // others' messages from moving with it.
        unfinished.sort_by_key(|message| message.bytes.len());
        let (carried, left_behind) = unfinished.into_iter().partition(|message| room.take(message));
        let (rings, waiting) =
            ordered.map_or_else(Default::default, |ordered| ordered.depart(&mut room.drained));
        let luggage = Luggage {
            carried,
            left_behind,
            lost,
            rings,
            waiting,
            options,
            issuer: None,
            sent_type,
        };
        Ok((Attachment::from_receiver(packets), luggage, remains))
    }

    /// Puts together a receiver that was taken apart, here or elsewhere. An invalid part of its
    /// state is discarded, and only that part.
    pub(super) fn arrive(attachment: Attachment, luggage: Luggage) -> io::Result<Inbound> {
        let mut receiver = Inbound::from(attachment.into_receiver()?);
        receiver.set_options(luggage.options);
        receiver.reader.sent_type = luggage.sent_type;
        let assembly = &mut receiver.reader.assembly;
        let limit = platform::max_waiting_attachments();
        luggage.carried.into_iter().for_each(|message| assembly.resume(message, limit));
        luggage.left_behind.into_iter().for_each(|message| assembly.resume(message, limit));
        luggage.lost.into_iter().for_each(|lost| assembly.remember(lost));
        luggage.rings.into_iter().for_each(|ring| receiver.ordered().rings.arrive(ring));
        if !luggage.waiting.is_empty() {
            receiver.ordered().resume(luggage.waiting);
        }
        Ok(receiver)
    }

    /// Takes back what stayed here when the receiver was taken apart.
    pub(super) fn come_back(&mut self, remains: platform::Remains) {
        self.reader.packets.come_back(remains);
        if self.reader.packets.is_lent() {
            // Senders that were waiting for it may continue.
            self.watch();
            if !self.reader.packets.shows_more() {
                self.ordered().rings.refuse(true);
            }
        }
    }
}

impl Ordered {
    /// Takes the rings and the messages apart so that they can move to another process.
    fn depart(self, room: &mut usize) -> (Vec<MovedRing>, Vec<QueuedMessage>) {
        let Ordered { rings, mut merge, .. } = self;
        let mut messages = merge.take_messages();
        // A receiver that moves again and again must not grow without end.
        let bytes: usize = messages.iter().map(|message| message.bytes.len()).sum();
        *room = room.saturating_sub(bytes);
        (rings.depart(&mut messages, room), messages)
    }
}

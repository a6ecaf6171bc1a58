//! How the receiver of the platform's channel moves to another process.

use std::io;

use super::inbound::Inbound;
use super::ordered::Ordered;
use super::packets::PacketReader;
use super::queue::QueuedMessage;
use crate::channel::assembly::Contents;
use crate::channel::table::MovedRing;
use crate::channel::transfer::{Room, TransferState};
use crate::platform::contract::{Attachment as _, PacketReceiver as _};
use crate::platform::{self, Attachment};

impl Inbound {
    /// Takes the receiver apart so that it can move to another process. Also returns what has to
    /// stay in this process.
    pub(super) fn take_apart(
        self,
        room: &mut Room,
    ) -> Result<(Attachment, TransferState, platform::Remainder), (io::Error, Inbound)> {
        let (packets, remainder) = match self.reader.packets.take_apart() {
            Ok(departed) => departed,
            Err((error, packets)) => {
                let reader = PacketReader { packets, ..self.reader };
                return Err((error, Inbound { reader, ..self }));
            }
        };
        let PacketReader { assembly, sent_type, .. } = self.reader;
        let Inbound { options, ordered, .. } = self;
        let Contents { mut incomplete, lost } = assembly.into_contents();
        // Messages that a peer has piled up here must not keep the receiver from moving, nor
        // others' messages from moving with it.
        incomplete.sort_by_key(|message| message.bytes.len());
        let (carried, left_behind) = incomplete.into_iter().partition(|message| room.take(message));
        let (rings, waiting) =
            ordered.map_or_else(Default::default, |ordered| ordered.take_apart(&mut room.drained));
        let transfer = TransferState {
            carried,
            left_behind,
            lost,
            rings,
            waiting,
            options,
            issuer: None,
            sent_type,
        };
        Ok((Attachment::from_receiver(packets), transfer, remainder))
    }

    /// Puts together a receiver that was taken apart, here or elsewhere. An invalid part of its
    /// state is discarded, and only that part.
    pub(super) fn put_together(
        attachment: Attachment,
        transfer: TransferState,
    ) -> io::Result<Inbound> {
        let mut receiver = Inbound::from(attachment.into_receiver()?);
        receiver.set_options(transfer.options);
        receiver.reader.sent_type = transfer.sent_type;
        let assembly = &mut receiver.reader.assembly;
        let limit = platform::max_kept_attachments();
        transfer.carried.into_iter().for_each(|message| assembly.resume(message, limit));
        transfer.left_behind.into_iter().for_each(|message| assembly.resume(message, limit));
        transfer.lost.into_iter().for_each(|lost| assembly.remember(lost));
        transfer.rings.into_iter().for_each(|ring| receiver.ordered().rings.put_together(ring));
        if !transfer.waiting.is_empty() {
            receiver.ordered().resume(transfer.waiting);
        }
        Ok(receiver)
    }

    /// Takes back what stayed here when the receiver was taken apart.
    pub(super) fn restore(&mut self, remainder: platform::Remainder) {
        self.reader.packets.restore(remainder);
        if self.reader.packets.is_lent() {
            // Senders that were waiting for it may continue.
            self.watch();
            if !self.reader.packets.shows_more() {
                self.ordered().rings.refuse_rings(true);
            }
        }
    }
}

impl Ordered {
    /// Takes the rings and the messages apart so that they can move to another process.
    fn take_apart(self, room: &mut usize) -> (Vec<MovedRing<Attachment>>, Vec<QueuedMessage>) {
        let Ordered { rings, mut merge, .. } = self;
        let mut messages = merge.take_messages();
        // A receiver that moves again and again must not grow without end.
        let bytes: usize = messages.iter().map(|message| message.bytes.len()).sum();
        *room = room.saturating_sub(bytes);
        (rings.take_apart(&mut messages, room), messages)
    }
}

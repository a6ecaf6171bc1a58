//! The state that moves with a receiver, and the limits on its size.

use std::collections::BTreeSet;
use std::io;
use std::sync::Arc;

use super::assembly::{Incomplete as IncompleteMessage, Lost};
use super::limits::{
    MAX_DRAINED_BYTES, MAX_MOVED_ATTACHMENTS, MAX_MOVED_BYTES, MAX_SPOOLED_BYTES,
    MAX_SPOOLED_RECORDS,
};
use super::options::Options;
use super::receive::QueuedMessage;
use super::receive::Receiver;
use super::spool::Contents;
use super::table::{
    MAX_INLINE_BYTES, MAX_INLINE_BYTES_IN_ALL, MovedIssuer, MovedReceiver, MovedRing, SpoolPlace,
};
use crate::platform::contract::{Attachment as _, Spool as _, SpoolWriter as _};
use crate::platform::{Attachment, SpoolWriter};

/// A message of which parts are missing.
pub(crate) type Incomplete = IncompleteMessage<Attachment>;

/// The state that moves with a receiver.
#[derive(Debug, Default)]
pub(crate) struct TransferState {
    /// Incomplete messages that move with it, the shortest first.
    pub(crate) carried: Vec<Incomplete>,
    /// Incomplete messages that there is no room for: they are discarded, unless the receiver comes
    /// back.
    pub(crate) left_behind: Vec<Incomplete>,
    /// Messages that were discarded before.
    pub(crate) lost: Vec<Lost>,
    /// The rings that it reads.
    pub(crate) rings: Vec<MovedRing<Attachment>>,
    /// Messages that it has received and not delivered.
    pub(crate) waiting: Vec<QueuedMessage>,
    /// Its options.
    pub(crate) options: Options,
    /// Issues permits to senders, if the channel is bounded.
    pub(crate) issuer: Option<MovedIssuer<Attachment>>,
    /// The sender's name for the type of its messages, if it has sent one.
    pub(crate) sent_type: Option<Arc<str>>,
}

/// How much may move with the receivers in one message.
#[derive(Debug)]
pub(crate) struct Room {
    bytes: usize,
    attachments: usize,
    /// How many bytes in rings may become messages.
    pub(super) drained: usize,
    /// How long their spools may be, taken together: when sending by their content, and when
    /// receiving by what a peer announces.
    pub(super) spooled: u64,
    /// How many records they may have.
    records: usize,
    /// How long the spools may be that go into the table because there is no memory that could go
    /// beside the message.
    inline: usize,
}

impl Default for Room {
    fn default() -> Room {
        Room {
            bytes: MAX_MOVED_BYTES,
            attachments: MAX_MOVED_ATTACHMENTS,
            drained: MAX_DRAINED_BYTES,
            spooled: MAX_SPOOLED_BYTES,
            records: MAX_SPOOLED_RECORDS,
            inline: MAX_INLINE_BYTES_IN_ALL,
        }
    }
}

impl Room {
    /// Takes what a message needs, and returns whether there was enough.
    pub(super) fn take(&mut self, message: &Incomplete) -> bool {
        let bytes = self.bytes.checked_sub(message.bytes.len());
        let attachments = self.attachments.checked_sub(message.attachments.len());
        let (Some(bytes), Some(attachments)) = (bytes, attachments) else {
            return false;
        };
        (self.bytes, self.attachments) = (bytes, attachments);
        true
    }

    /// Takes what a spool needs.
    fn take_spool(&mut self, len: u64) -> io::Result<()> {
        self.spooled = self.spooled.checked_sub(len).ok_or_else(|| {
            let most = MAX_SPOOLED_BYTES >> 20;
            let text = format!(
                "the receivers in one message have more than {most} MiB of undelivered messages: \
                 send them in several messages"
            );
            io::Error::new(io::ErrorKind::InvalidInput, text)
        })?;
        Ok(())
    }

    /// Writes a spool: into the table if it is short, else beside the message, or into the
    /// table after all if that fails. In that case, incomplete messages without room are
    /// not moved.
    fn write_spool(
        &mut self,
        contents: &mut Contents<Attachment>,
        left_behind: &mut Vec<Incomplete>,
    ) -> io::Result<SpoolPlace<Attachment>> {
        self.take_spool(contents.len() as u64)?;
        self.records = self.records.checked_sub(contents.records()).ok_or_else(|| {
            let text = format!(
                "the receivers in one message have more than {MAX_SPOOLED_RECORDS} \
                 undelivered messages"
            );
            io::Error::new(io::ErrorKind::InvalidInput, text)
        })?;
        if contents.len() > MAX_INLINE_BYTES {
            let spool = SpoolWriter::new().and_then(|mut spool| {
                contents.write(|bytes| spool.write(bytes))?;
                Attachment::from_spool(spool)
            });
            match spool {
                Ok(spool) => return Ok(SpoolPlace::Beside(spool)),
                // There may be no such memory where a sandbox forbids to make it.
                Err(error) => {
                    while contents.len() > self.inline {
                        // They are ordered by length.
                        let Some(message) = contents.incomplete.pop() else {
                            return Err(too_much_inline(&error));
                        };
                        contents.lost.push(Lost { id: message.id, is_told: false });
                        left_behind.push(message);
                    }
                    self.inline -= contents.len();
                }
            }
        }
        let mut bytes = Vec::with_capacity(contents.len());
        contents.write(|part| {
            bytes.extend_from_slice(part);
            Ok(())
        })?;
        Ok(SpoolPlace::Inline(bytes))
    }
}

/// The error if there is no memory beside a message, and too little room in it.
#[cold]
fn too_much_inline(error: &io::Error) -> io::Error {
    let most = MAX_INLINE_BYTES_IN_ALL >> 20;
    let text = format!(
        "the receivers in one message have more than {most} MiB of undelivered messages, \
         and memory for them could not be created: {error}"
    );
    io::Error::new(error.kind(), text)
}

/// What was not packed: the error, the receiver, and its state.
pub(super) type Unpacked = (io::Error, Attachment, TransferState);

impl TransferState {
    /// Makes the state an entry of a message, of the receiver that has `channel`. What is left
    /// behind stays here.
    ///
    /// # Errors
    ///
    /// Fails if the state is too much for one message, and returns the parts.
    pub(crate) fn pack(
        mut self,
        channel: Attachment,
        room: &mut Room,
    ) -> Result<(MovedReceiver<Attachment>, Vec<Incomplete>), Unpacked> {
        let left_behind = self.left_behind.iter();
        let left_behind = left_behind.map(|message| Lost { id: message.id, is_told: false });
        let mut contents = Contents {
            lost: self.lost.iter().copied().chain(left_behind).collect(),
            incomplete: std::mem::take(&mut self.carried),
            waiting: std::mem::take(&mut self.waiting),
            partials: self.rings.iter_mut().map(|ring| ring.state.partial.take()).collect(),
        };
        match room.write_spool(&mut contents, &mut self.left_behind) {
            Ok(spool) => {
                let TransferState { left_behind, rings, options, issuer, sent_type, .. } = self;
                let undelivered = contents.into_attachments();
                Ok((
                    MovedReceiver {
                        channel,
                        spool,
                        undelivered,
                        rings,
                        options,
                        issuer,
                        sent_type,
                    },
                    left_behind,
                ))
            }
            Err(error) => {
                (self.carried, self.waiting) = (contents.incomplete, contents.waiting);
                for (ring, partial) in self.rings.iter_mut().zip(contents.partials) {
                    ring.state.partial = partial;
                }
                Err((error, channel, self))
            }
        }
    }

    /// Puts the receiver together, with what it has left behind if that still exists.
    pub(crate) fn unpack(
        moved: MovedReceiver<Attachment>,
        left_behind: Vec<Incomplete>,
        room: &mut Room,
    ) -> io::Result<Receiver> {
        let MovedReceiver { channel, spool, undelivered, mut rings, options, issuer, sent_type } =
            moved;
        let contents = read_spool(spool, undelivered, room)?;
        let here: BTreeSet<u128> = left_behind.iter().map(|message| message.id).collect();
        let lost = contents.lost.into_iter().filter(|lost| !here.contains(&lost.id)).collect();
        for (ring, partial) in rings.iter_mut().zip(contents.partials) {
            ring.state.partial = partial;
        }
        let (carried, waiting) = (contents.incomplete, contents.waiting);
        Receiver::put_together(
            channel,
            TransferState {
                carried,
                left_behind,
                lost,
                rings,
                waiting,
                options,
                issuer,
                sent_type,
            },
        )
    }
}

fn read_spool(
    spool: SpoolPlace<Attachment>,
    undelivered: Vec<Attachment>,
    room: &mut Room,
) -> io::Result<Contents<Attachment>> {
    let contents = match spool {
        SpoolPlace::Inline(bytes) => {
            let len = bytes.len() as u64;
            let mut rest = &bytes[..];
            let read = |to: &mut [u8]| io::Read::read_exact(&mut rest, to);
            Contents::read(len, room.records, read, undelivered)?
        }
        SpoolPlace::Beside(spool) => {
            let mut spool = spool.into_spool()?;
            room.take_spool(spool.size())?;
            Contents::read(spool.size(), room.records, |to| spool.read(to), undelivered)?
        }
    };
    room.records = room.records.saturating_sub(contents.records());
    Ok(contents)
}

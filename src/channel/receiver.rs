//! The receiving end: packets become messages.

use std::io;

use super::assembly::{Assembly, Unfinished as UnfinishedMessage};
use super::frame::{self, Frame, Kind, Malformed};
use super::limits::MAX_PACKETS_PER_STEP;
use super::message::{Body, Message, Problem, RecvError};
use crate::platform::{self, Attachment, PacketReceiver, Wait};

/// A message of which parts are missing.
pub(crate) type Unfinished = UnfinishedMessage<Attachment>;

/// How often a limited wait looks at the clock while packets keep coming.
const PACKETS_PER_CLOCK: usize = 64;

/// Receives messages.
#[derive(Debug)]
pub(crate) struct Receiver {
    packets: PacketReceiver,
    assembly: Assembly<Attachment>,
}

impl From<PacketReceiver> for Receiver {
    fn from(packets: PacketReceiver) -> Receiver {
        Receiver { packets, assembly: Assembly::default() }
    }
}

impl Receiver {
    /// Receives the next message, with `buffer` to receive packets in.
    pub(crate) fn receive(
        &mut self,
        buffer: &mut Vec<u8>,
        wait: Wait,
    ) -> Result<Message, RecvError> {
        let mut packets = 0;
        loop {
            let mut attachments = Vec::new();
            let arrival = match self.packets.recv(buffer, &mut attachments, wait) {
                Ok(arrival) => arrival,
                Err(platform::RecvError::Empty) => return Err(RecvError::Empty),
                Err(platform::RecvError::Closed) => return Err(RecvError::Disconnected),
                Err(platform::RecvError::Io(error)) => return Err(RecvError::Io(error)),
            };
            let lost = |problem: Malformed| RecvError::Lost(Problem::Malformed(problem));
            if arrival.truncated {
                return Err(lost(Malformed::Length));
            }
            if arrival.attachments_lost {
                if self.note_damage(&buffer[..arrival.len]) {
                    return Err(RecvError::Lost(Problem::AttachmentsLost));
                }
                continue;
            }
            let frame = frame::parse(&buffer[..arrival.len], attachments.len()).map_err(lost)?;
            match frame.kind {
                Kind::Message => {
                    let body = Body::Buffered(arrival.len - frame.body.len()..arrival.len);
                    return Ok(Message { body, attachments });
                }
                Kind::Part { id, position } => {
                    // Asked for only where it matters: it is a system call.
                    let limit = if attachments.is_empty() {
                        usize::MAX
                    } else {
                        platform::max_waiting_attachments()
                    };
                    let added = self.assembly.add(id, position, frame.body, attachments, limit);
                    if let Some((bytes, attachments)) = added.map_err(lost)? {
                        return Ok(Message { body: Body::Owned(bytes), attachments });
                    }
                }
                Kind::Abort { id } => self.assembly.abort(id).map_err(lost)?,
            }
            packets += 1;
            match wait {
                Wait::Never if packets >= MAX_PACKETS_PER_STEP => {
                    return Err(RecvError::Unfinished);
                }
                Wait::Until(_) if packets % PACKETS_PER_CLOCK == 0 && wait.is_over() => {
                    return Err(RecvError::Empty);
                }
                _ => {}
            }
        }
    }

    /// Gives up the message that a packet belongs to whose attachments are gone. Whether anybody is to be told.
    fn note_damage(&mut self, packet: &[u8]) -> bool {
        match frame::parse_damaged(packet) {
            Ok(Frame { kind: Kind::Part { id, position }, .. }) => {
                self.assembly.damage(id, position)
            }
            _ => true,
        }
    }

    /// What the backend receives with.
    pub(crate) fn packets(&self) -> &PacketReceiver {
        &self.packets
    }

    /// Whether there is nothing here that was received incompletely.
    #[allow(dead_code, reason = "only the modules in `os` need it")]
    pub(crate) fn is_idle(&self) -> bool {
        self.assembly.is_empty()
    }

    /// Takes what the backend receives with.
    #[allow(dead_code, reason = "only the modules in `os` need it")]
    pub(crate) fn into_packets(self) -> PacketReceiver {
        self.packets
    }

    /// Takes the receiver apart for its way into another process; what has to stay in this one comes with it.
    pub(crate) fn depart(
        self,
    ) -> Result<(Attachment, Vec<Unfinished>, platform::Remains), (io::Error, Receiver)> {
        let Receiver { packets, assembly } = self;
        match packets.depart() {
            Ok((packets, remains)) => {
                Ok((Attachment::from_receiver(packets), assembly.into_unfinished(), remains))
            }
            Err((error, packets)) => Err((error, Receiver { packets, assembly })),
        }
    }

    /// Puts a receiver together that was taken apart, here or elsewhere.
    pub(crate) fn arrive(
        attachment: Attachment,
        unfinished: Vec<Unfinished>,
    ) -> io::Result<Receiver> {
        let mut receiver = Receiver::from(attachment.into_receiver()?);
        for message in unfinished {
            receiver
                .assembly
                .resume(message, platform::max_waiting_attachments())
                .map_err(|problem| io::Error::new(io::ErrorKind::InvalidData, problem))?;
        }
        Ok(receiver)
    }
}

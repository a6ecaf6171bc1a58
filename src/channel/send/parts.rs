//! Messages that one packet has no room for: several packets, each with a part.

use super::socket::{Deadline, SendFailure, Socket};
use crate::channel::frame::{Head, Kind, Position};
use crate::platform::contract::PacketSender as _;
use crate::platform::{self, Attachment, MAX_PACKET_ATTACHMENTS, SendError};

/// A channel that does not even take parts of this size takes none.
pub(super) const MIN_PART_BYTES: usize = 256;

/// Sends a message as several packets, with parts of at most `part_bytes`.
pub(super) fn send(
    socket: &Socket,
    body: &[u8],
    mut attachments: Vec<Attachment>,
    stamp: u64,
    mut part_bytes: usize,
    mut deadline: Deadline,
) -> Result<(), SendFailure> {
    // Unguessable, so that no other sender can add to this message; fresh, so that a forked child's
    // ids differ.
    let id = match platform::unique_id() {
        Ok(id) => id.as_u128(),
        Err(error) => return Err(SendFailure { error: SendError::Io(error), attachments }),
    };
    let mut position =
        Position::First { bytes: body.len() as u64, attachments: attachments.len() as u32 };
    let mut rest = body;
    let mut all_here = true;
    loop {
        // 1. Choose what goes into this part.
        let (part, after) = rest.split_at(rest.len().min(part_bytes));
        // Attachments are sent with the last parts. Until then they can be returned. A sender of
        // this very channel may be among them. It must not keep the channel connected if this
        // process is killed and the receiver waits for the rest.
        let leaving =
            if after.is_empty() { attachments.len().min(MAX_PACKET_ATTACHMENTS) } else { 0 };
        let later = attachments.split_off(leaving);
        if position == Position::Middle && after.is_empty() && later.is_empty() {
            position = Position::Last;
        }
        let head = Head::new(Kind::Part { id, position }, leaving as u8, part.len() as u32);
        match socket.send(&head.stamped(stamp), part, attachments, &mut deadline) {
            // 2. It was sent: continue with the rest.
            Ok(()) if position == Position::Last => return Ok(()),
            Ok(()) => {
                position = Position::Middle;
                rest = after;
                all_here &= leaving == 0;
                attachments = later;
            }
            // 3. The socket never takes so large a packet: try half of it.
            Err((SendError::TooLarge, unsent)) if part_bytes >= 2 * MIN_PART_BYTES => {
                part_bytes /= 2;
                if position == Position::Last {
                    position = Position::Middle;
                }
                attachments = unsent;
                attachments.extend(later);
            }
            // 4. It cannot be sent: abort the message, and return the attachments if all are here.
            Err((error, mut unsent)) => {
                if !matches!(position, Position::First { .. }) {
                    // The receiver would wait for the rest. If this fails, too, the receiver finds
                    // out by itself.
                    let head = Head::new(Kind::Abort { id }, 0, 0);
                    let _ = socket.packets.send_past_limit(head.as_bytes(), &[], Vec::new());
                }
                if all_here {
                    unsent.extend(later);
                } else {
                    unsent.clear();
                }
                return Err(SendFailure { error, attachments: unsent });
            }
        }
    }
}

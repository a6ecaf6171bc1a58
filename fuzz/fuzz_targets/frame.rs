//! Any bytes as a packet: it is refused, or says what a packet that is made of the same says.
//!
//! The first two bytes of the input are the number of attachments that came with it. The third says which fields are
//! corrected, since no length that is guessed is ever right.

#![no_main]

use libfuzzer_sys::fuzz_target;
use strait::internals::frame::{
    self, Frame, HEADER_BYTES, Head, Kind, MAX_HEAD_BYTES, Position, VERSION,
};

fuzz_target!(|input: &[u8]| {
    let Some((&[low, high, corrections], packet)) = input.split_first_chunk() else {
        return;
    };
    let attachments = u16::from_le_bytes([low, high]);
    let mut packet = packet.to_vec();
    if packet.len() >= HEADER_BYTES {
        let len = (packet.len() - HEADER_BYTES) as u32;
        if corrections & 1 != 0 {
            packet[0] = VERSION;
        }
        if corrections & 2 != 0 {
            packet[2..4].copy_from_slice(&attachments.to_le_bytes());
        }
        if corrections & 4 != 0 {
            packet[4..8].copy_from_slice(&len.to_le_bytes());
        }
    }
    let packet = &packet[..];
    let result = frame::parse(packet, packet.len(), attachments.into());
    // The beginning is enough.
    let start = &packet[..packet.len().min(MAX_HEAD_BYTES)];
    assert_eq!(frame::parse(start, packet.len(), attachments.into()), result);
    let Ok(Frame { kind, stamp, head_len }) = result else {
        return;
    };
    assert_eq!(frame::announced_attachments(start), usize::from(attachments));
    let body = match kind {
        Kind::Attach { .. } => &[],
        _ => &packet[head_len..],
    };
    let head = Head::new(kind, attachments, body.len() as u32).stamped(stamp);
    assert_eq!(head.as_bytes().len() + body.len(), packet.len());
    let again = [head.as_bytes(), body].concat();
    assert_eq!(frame::parse(&again, again.len(), attachments.into()), result);
    // Whatever has no meaning aside, they are the same.
    let meaning = match kind {
        Kind::Message | Kind::Bell | Kind::Want => 0,
        Kind::Attach { .. } => 8,
        Kind::Part { position: Position::First { .. }, .. } => 28,
        Kind::Part { .. } | Kind::Abort { .. } => 16,
    };
    assert_eq!(again[..16], packet[..16]);
    assert_eq!(again[16..16 + meaning], packet[16..16 + meaning]);
});

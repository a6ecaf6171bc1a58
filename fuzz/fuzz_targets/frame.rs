//! Any bytes as a packet: it is refused, or equals a packet that is made of the parsed fields.
//!
//! The first byte of the input is the number of attachments that came with it. The second
//! selects the fields that are corrected, because random lengths are never valid. The fields of
//! a HELLO are parsed, too.

#![no_main]

use libfuzzer_sys::fuzz_target;
use strait::internals::frame::{
    self, CODEC, Frame, HEADER_BYTES, Head, Kind, MAX_HEAD_BYTES, Position, VERSION,
};
use strait::internals::hello::{Hello, MAX_NAME_BYTES};

fuzz_target!(|input: &[u8]| {
    let Some((&[attachments, corrections], packet)) = input.split_first_chunk() else {
        return;
    };
    let mut packet = packet.to_vec();
    if packet.len() >= HEADER_BYTES {
        let len = (packet.len() - HEADER_BYTES) as u32;
        if corrections & 1 != 0 {
            packet[0] = VERSION;
            packet[2] = CODEC;
        }
        if corrections & 2 != 0 {
            packet[3] = attachments;
        }
        if corrections & 4 != 0 {
            packet[4..8].copy_from_slice(&len.to_le_bytes());
        }
    }
    let packet = &packet[..];
    let result = frame::parse(packet, packet.len(), attachments.into());
    // The first bytes suffice.
    let start = &packet[..packet.len().min(MAX_HEAD_BYTES)];
    assert_eq!(frame::parse(start, packet.len(), attachments.into()), result);
    let Ok(Frame { kind, stamp, head_len }) = result else {
        return;
    };
    assert_eq!(frame::announced_attachments(start), usize::from(attachments));
    if let Kind::Hello { dialect } = kind {
        if let Ok(hello) = Hello::read(dialect, &packet[head_len..]) {
            for name in [hello.codec, hello.sent, hello.expected].into_iter().flatten() {
                assert!(name.len() <= MAX_NAME_BYTES && !name.chars().any(char::is_control));
            }
        }
    }
    let body = match kind {
        Kind::RingOffer { .. } => &[],
        _ => &packet[head_len..],
    };
    let head = Head::new(kind, attachments, body.len() as u32).stamped(stamp);
    assert_eq!(head.as_bytes().len() + body.len(), packet.len());
    let again = [head.as_bytes(), body].concat();
    assert_eq!(frame::parse(&again, again.len(), attachments.into()), result);
    // They are equal, except for fields without a meaning.
    let meaning = match kind {
        Kind::Message | Kind::WakeUp | Kind::PermitRequest | Kind::Hello { .. } => 0,
        Kind::RingOffer { .. } => 8,
        Kind::Part { position: Position::First { .. }, .. } => 28,
        Kind::Part { .. } | Kind::Abort { .. } => 16,
    };
    assert_eq!(again[..16], packet[..16]);
    assert_eq!(again[16..16 + meaning], packet[16..16 + meaning]);
});

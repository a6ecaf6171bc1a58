//! The endpoint table of a message, written by hand.

use strait::internals::frame::Dialect;

/// What an entry is: the codes of the format.
const SENDER: u8 = 1;
const BOUNDED_SENDER: u8 = 2;
const RECEIVER: u8 = 3;
const MEMORY: u8 = 4;
const HANDLE: u8 = 5;

const IS_BOUNDED: u32 = 2;
const SPOOL_IS_BESIDE: u32 = 4;

/// What can be done with the memory of an entry.
pub const FIXED: u32 = 0;
pub const WRITE: u32 = 1;
pub const READ: u32 = 2;

/// An entry. Each of its fields may be invalid.
#[derive(Clone, Debug)]
pub struct Entry {
    pub kind: u8,
    pub version: u8,
    pub codec: u8,
    pub attachments: u32,
    pub said: Vec<u8>,
}

fn entry(kind: u8, attachments: u32, said: Vec<u8>) -> Entry {
    let Dialect { version, codec } = Dialect::OWN;
    Entry { kind, version, codec, attachments, said }
}

/// A sender of a channel with all capabilities.
pub fn sender() -> Entry {
    sender_that_can(u32::MAX >> 16)
}

/// A sender of a channel with these capabilities.
pub fn sender_that_can(capabilities: u32) -> Entry {
    entry(SENDER, 1, capabilities.to_le_bytes().to_vec())
}

/// A sender of a bounded channel.
pub fn bounded_sender(is_rendezvous: bool) -> Entry {
    let capabilities = u32::MAX >> 16 | u32::from(is_rendezvous) << 16;
    entry(BOUNDED_SENDER, 2, capabilities.to_le_bytes().to_vec())
}

/// A receiver that has received nothing.
pub fn receiver() -> Entry {
    receiver_with(&[], 0, &[])
}

/// A receiver with a spool, the attachments of the messages in it, and rings.
pub fn receiver_with(spool: &[u8], undelivered: u32, rings: &[[u8; 40]]) -> Entry {
    let count = rings.len() as u32;
    let head = [0, count, 0, undelivered].map(u32::to_le_bytes).concat();
    entry(RECEIVER, 1 + count + undelivered, [&head[..], &rings.concat(), spool].concat())
}

/// A receiver of a bounded channel, which issues permits by so many attachments.
pub fn bounded_receiver(issuer: u32, bound: u64, surplus: u64) -> Entry {
    let head = [IS_BOUNDED, 0, issuer, 0].map(u32::to_le_bytes).concat();
    entry(
        RECEIVER,
        1 + issuer,
        [&head[..], &[bound, surplus].map(u64::to_le_bytes).concat()].concat(),
    )
}

/// A receiver whose spool is beside the message.
pub fn receiver_with_spool_beside() -> Entry {
    entry(RECEIVER, 2, [SPOOL_IS_BESIDE, 0, 0, 0].map(u32::to_le_bytes).concat())
}

/// Shared memory of so many bytes.
pub fn memory(bytes: u64, access: u32) -> Entry {
    entry(MEMORY, 1, [&bytes.to_le_bytes()[..], &access.to_le_bytes()].concat())
}

/// A handle of the operating system.
pub fn handle() -> Entry {
    entry(HANDLE, 1, Vec::new())
}

/// The user's bytes for an entry: its number.
pub fn number(number: u32) -> Vec<u8> {
    number.to_le_bytes().to_vec()
}

/// The user's bytes for shared memory.
pub fn memory_number(number: u32) -> Vec<u8> {
    [&[1][..], &number.to_le_bytes()].concat()
}

/// The user's bytes with a table.
pub fn with(user: &[u8], entries: &[Entry]) -> Vec<u8> {
    let mut table = Vec::new();
    for Entry { kind, version, codec, attachments, said } in entries {
        table.extend([*kind, *version, *codec, 0]);
        table.extend(attachments.to_le_bytes());
        table.extend((said.len() as u32).to_le_bytes());
        table.extend(said);
    }
    let trailer = [entries.len() as u32, table.len() as u32].map(u32::to_le_bytes).concat();
    [user, &table, &trailer].concat()
}

/// The user's bytes with a table of so many handles, or without a table if there are none.
pub fn with_handles(user: &[u8], count: usize) -> Vec<u8> {
    match count {
        0 => user.to_vec(),
        count => with(user, &vec![handle(); count]),
    }
}

//! The state of senders, rings, socket and receiver, and of the store buffers.

pub(super) const MESSAGES: usize = 8;
pub(super) const ACTORS: usize = 3;
pub(super) const RINGS: usize = 2;
pub(super) const SLOTS: usize = 4;
pub(super) const FRAMES: usize = 4;
pub(super) const STORES: usize = 3;

/// For slots and frames: none.
pub(super) const NONE: u8 = u8::MAX;

/// A frame that is no message.
pub(super) const BELL: u8 = 0x40;

#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct State {
    pub(super) threads: [ThreadState; ACTORS],
    pub(super) processes: [ProcessState; ACTORS],
    pub(super) rings: [RingState; RINGS],
    pub(super) socket: [u8; FRAMES],
    pub(super) receiver: ReceiverState,
    pub(super) returned: u8,
    pub(super) delivered: u8,
}

#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct ThreadState {
    pub(super) send: u8,
    pub(super) step: u8,
    /// How far it is in a step of several parts.
    pub(super) part: u8,
    pub(super) saw_sleeper: bool,
    pub(super) slot: u8,
    pub(super) stores: [Store; STORES],
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Store {
    Nothing,
    Tail(u8, u8),
    Flag(u8, bool),
}

#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct ProcessState {
    pub(super) locked: bool,
    pub(super) gone: bool,
}

#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct RingState {
    pub(super) tail: u8,
    pub(super) asleep: bool,
    pub(super) flag: bool,
    pub(super) slots: [u8; SLOTS],
    /// The sender's copy of the tail.
    pub(super) position: u8,
    pub(super) head: u8,
}

#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct ReceiverState {
    pub(super) phase: Phase,
    pub(super) ring: u8,
    pub(super) part: u8,
    /// A message was received in this pass.
    pub(super) found: bool,
    pub(super) end_read: bool,
    /// The frame that was read, and whose room is not free yet.
    pub(super) held: u8,
    pub(super) stores: [Store; STORES],
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Phase {
    LookAhead,
    Read,
    Scan,
    /// This step of waiting.
    Wait(u8),
    Disconnected,
}

impl State {
    pub(super) fn new() -> Self {
        let stores = [Store::Nothing; STORES];
        let ring = RingState {
            tail: 0,
            asleep: false,
            flag: false,
            slots: [NONE; SLOTS],
            position: 0,
            head: 0,
        };
        Self {
            threads: [ThreadState::at(0, stores); ACTORS],
            processes: [ProcessState { locked: false, gone: false }; ACTORS],
            rings: [ring; RINGS],
            socket: [NONE; FRAMES],
            receiver: ReceiverState::at_start(stores),
            returned: 0,
            delivered: 0,
        }
    }
}

impl ThreadState {
    pub(super) fn at(send: u8, stores: [Store; STORES]) -> Self {
        Self { send, step: 0, part: 0, saw_sleeper: false, slot: NONE, stores }
    }
}

impl ReceiverState {
    pub(super) fn at_start(stores: [Store; STORES]) -> Self {
        let phase = Phase::Read;
        Self { phase, ring: 0, part: 0, found: false, end_read: false, held: NONE, stores }
    }
}

pub(super) fn buffer(stores: &mut [Store; STORES], store: Store) {
    let place = stores.iter().position(|&store| store == Store::Nothing);
    stores[place.expect("there is room for all stores of a step")] = store;
}

pub(super) fn is_drained(stores: &[Store; STORES]) -> bool {
    stores[0] == Store::Nothing
}

/// The tail as the owner of the buffer sees it.
pub(super) fn tail_seen(state: &State, stores: &[Store; STORES], ring: usize) -> u8 {
    let own = stores.iter().rev().find_map(|&store| match store {
        Store::Tail(of, tail) if of as usize == ring => Some(tail),
        _ => None,
    });
    own.unwrap_or(state.rings[ring].tail)
}

pub(super) fn flag_seen(state: &State, stores: &[Store; STORES], ring: usize) -> bool {
    let own = stores.iter().rev().find_map(|&store| match store {
        Store::Flag(of, flag) if of as usize == ring => Some(flag),
        _ => None,
    });
    own.unwrap_or(state.rings[ring].flag)
}

/// The oldest store becomes visible to all.
pub(super) fn drain(rings: &mut [RingState; RINGS], stores: &mut [Store; STORES]) {
    match stores[0] {
        Store::Nothing => {}
        Store::Tail(ring, tail) => {
            (rings[ring as usize].tail, rings[ring as usize].asleep) = (tail, false);
        }
        Store::Flag(ring, flag) => rings[ring as usize].flag = flag,
    }
    stores.copy_within(1.., 0);
    stores[STORES - 1] = Store::Nothing;
}

pub(super) fn push(queue: &mut [u8; FRAMES], frame: u8) {
    let place = queue.iter().position(|&slot| slot == NONE);
    queue[place.expect("no more frames than there is room for")] = frame;
}

//! Any parts of any messages, and all other events of an assembly: only bytes that were added
//! come out, and all that stays is counted.

#![no_main]

use std::rc::Rc;
use std::sync::atomic::{AtomicUsize, Ordering};

use libfuzzer_sys::arbitrary::{self, Arbitrary};
use libfuzzer_sys::fuzz_target;
use strait::internals::assembly::Assembly;
use strait::internals::frame::Position;

#[derive(Arbitrary, Clone, Copy, Debug)]
enum Where {
    First { bytes: u8, attachments: u8 },
    FirstOfMany { bytes: u64, attachments: u32 },
    Middle,
    Last,
}

#[derive(Arbitrary, Debug)]
enum Event {
    Part {
        id: u8,
        position: Where,
        body: u8,
        attachments: u8,
    },
    /// Received in place.
    LandedPart {
        id: u8,
        is_last: bool,
        body: u8,
        attachments: u8,
    },
    LendInVain {
        id: u8,
    },
    Damage {
        id: u8,
        position: Where,
    },
    Abort {
        id: u8,
    },
    Move,
}

#[derive(Arbitrary, Debug)]
struct Input {
    max_attachments: u8,
    events: Vec<Event>,
}

/// Few ids, so that they repeat.
const IDS: u8 = 8;

impl From<Where> for Position {
    fn from(position: Where) -> Position {
        match position {
            Where::First { bytes, attachments } => {
                Position::First { bytes: bytes.into(), attachments: attachments.into() }
            }
            Where::FirstOfMany { bytes, attachments } => Position::First { bytes, attachments },
            Where::Middle => Position::Middle,
            Where::Last => Position::Last,
        }
    }
}

/// How many attachments are waiting. Inputs are tried one after another.
static WAITING: AtomicUsize = AtomicUsize::new(0);

fuzz_target!(|input: Input| {
    let limit = usize::from(input.max_attachments);
    // An attachment is a reference to this, which counts them.
    let token = Rc::new(());
    let tokens = |count: u8| vec![Rc::clone(&token); count.into()];
    let mut assembly = Assembly::new(&WAITING);
    // The size that each message announced when it began.
    let mut announced = [None; IDS as usize];
    for event in input.events {
        let (id, whole) = match event {
            Event::Part { id, position, body, attachments } => {
                let id = id % IDS;
                let position = Position::from(position);
                if let Position::First { bytes, attachments } = position {
                    announced[usize::from(id)] = Some((bytes, attachments));
                }
                let body = vec![id; body.into()];
                (id, assembly.add(id.into(), position, &body, tokens(attachments), limit))
            }
            Event::LandedPart { id, is_last, body, attachments } => {
                let id = id % IDS;
                let Some(mut bytes) = assembly.lend(id.into()) else {
                    continue;
                };
                bytes.extend(vec![id; body.into()]);
                let position = if is_last { Position::Last } else { Position::Middle };
                let attachments = tokens(attachments);
                (id, assembly.add_in_place(id.into(), position, bytes, attachments, limit))
            }
            Event::LendInVain { id } => {
                let id = u128::from(id % IDS);
                if let Some(bytes) = assembly.lend(id) {
                    assembly.give_back(id, bytes);
                }
                continue;
            }
            Event::Damage { id, position } => {
                assembly.damage((id % IDS).into(), position.into());
                continue;
            }
            Event::Abort { id } => {
                let _ = assembly.abort((id % IDS).into());
                continue;
            }
            Event::Move => {
                let mut elsewhere = Assembly::new(&WAITING);
                let contents = assembly.into_contents();
                contents.incomplete.into_iter().for_each(|open| elsewhere.resume(open, limit));
                contents.lost.into_iter().for_each(|lost| elsewhere.remember(lost));
                assembly = elsewhere;
                continue;
            }
        };
        if let Ok(Some((bytes, attachments))) = whole {
            let size = (bytes.len() as u64, attachments.len() as u32);
            assert_eq!(Some(size), announced[usize::from(id)]);
            assert!(bytes.iter().all(|byte| *byte == id), "bytes of another message");
        }
        // The last parts of messages are not kept, so they are not limited.
        assert!(Rc::strong_count(&token) - 1 <= limit, "more are waiting than may");
    }
    for id in 0..IDS {
        let _ = assembly.abort(id.into());
    }
    assert!(assembly.is_empty());
    assert_eq!(Rc::strong_count(&token), 1, "attachments are left over");
    assert_eq!(WAITING.load(Ordering::Relaxed), 0);
    let books = format!("{assembly:?}");
    assert_eq!(books, "Assembly { messages: 0, bytes: 0, attachments: 0 }");
});

//! Framing and assembly with random input, compared with a model of a few lines.

use proptest::collection::vec;
use proptest::prelude::*;
use strait::internals::frame::{
    self, Dialect, Frame, Head, Kind, MAX_HEAD_BYTES, Malformed, Position,
};

fn a_position() -> impl Strategy<Value = Position> {
    prop_oneof![
        (any::<u64>(), any::<u32>())
            .prop_map(|(bytes, attachments)| Position::First { bytes, attachments }),
        Just(Position::Middle),
        Just(Position::Last),
    ]
}

fn a_kind() -> impl Strategy<Value = Kind> {
    prop_oneof![
        Just(Kind::Message),
        (any::<u128>(), a_position()).prop_map(|(id, position)| Kind::Part { id, position }),
        any::<u128>().prop_map(|id| Kind::Abort { id }),
        any::<(u8, u8)>()
            .prop_map(|(version, codec)| Kind::Hello { dialect: Dialect { version, codec } }),
    ]
}

/// Without a file of past failures: an input that failed becomes a test with a name.
fn settings() -> ProptestConfig {
    ProptestConfig { failure_persistence: None, ..ProptestConfig::default() }
}

mod framing {
    use super::*;

    /// As `parse`, with the length from the packet.
    fn parse(packet: &[u8], attachments: usize) -> Result<frame::Frame, Malformed> {
        frame::parse(packet, packet.len(), attachments)
    }

    proptest! {
        #![proptest_config(settings())]

        #[test]
        fn written_head_is_parsed_back(
            kind in a_kind(),
            attachments: u8,
            stamp: u64,
            body in vec(any::<u8>(), 0..300),
            seen in MAX_HEAD_BYTES..400,
        ) {
            let head = Head::new(kind, attachments, body.len() as u32).stamped(stamp);
            let packet = [head.as_bytes(), &body].concat();
            let seen = &packet[..packet.len().min(seen)];
            let frame = frame::parse(seen, packet.len(), attachments.into()).unwrap();
            prop_assert_eq!((frame.kind, frame.stamp), (kind, stamp));
            prop_assert_eq!(&packet[frame.head_len..], body);
        }

        /// A frame without a message has no body and a fixed number of attachments.
        #[test]
        fn frame_without_message_has_exact_length(
            clock_domain: u64,
            attachments in 0..3_u8,
            body in vec(any::<u8>(), 0..2),
        ) {
            let attach = Kind::RingOffer { clock_domain, has_messages: true };
            for (kind, needs) in [(Kind::WakeUp, 0), (attach, 1)] {
                let head = Head::new(kind, attachments, body.len() as u32);
                let parsed = parse(&[head.as_bytes(), &body].concat(), attachments.into());
                let is_right = body.is_empty() && attachments == needs;
                prop_assert_eq!(parsed.map(|frame| frame.kind).ok(), is_right.then_some(kind));
            }
        }

        #[test]
        fn random_bytes_are_parsed_or_refused(
            packet in vec(any::<u8>(), 0..100),
            claimed: u16,
            attachments in 0..300_usize,
        ) {
            let _ = frame::parse(&packet, claimed.into(), attachments);
            let _ = frame::announced_attachments(&packet);
            if let Ok(frame) = parse(&packet, attachments) {
                prop_assert!(frame.head_len <= packet.len());
            }
        }

        /// A frame with one flipped bit is refused, or differs in the field of that bit.
        #[test]
        fn flipped_bit_is_refused_or_changes_the_frame(
            kind in a_kind(),
            attachments: u8,
            body in vec(any::<u8>(), 0..50),
            bit: proptest::sample::Index,
        ) {
            let head = Head::new(kind, attachments, body.len() as u32);
            let mut packet = [head.as_bytes(), &body].concat();
            let bit = bit.index(packet.len() * 8);
            packet[bit / 8] ^= 1 << (bit % 8);
            let result = parse(&packet, attachments.into());
            match bit / 8 {
                // The head of a HELLO is the same in every version.
                0 | 2 => match (kind, result) {
                    (
                        Kind::Hello { dialect },
                        Ok(Frame { kind: Kind::Hello { dialect: other }, .. }),
                    ) => {
                        prop_assert!(other != dialect);
                    }
                    (_, result) => prop_assert!(matches!(result, Err(Malformed::Foreign(_)))),
                },
                1 => prop_assert!(result.map(|frame| frame.kind) != Ok(kind)),
                3 => prop_assert_eq!(result, Err(Malformed::Attachments)),
                4..8 => prop_assert_eq!(result, Err(Malformed::Length)),
                // Every stamp is valid.
                8..16 => {
                    let frame = result.unwrap();
                    prop_assert_eq!(frame.kind, kind);
                    prop_assert_eq!(frame.stamp, 1 << (bit - 64));
                }
                _ => prop_assert!(result.is_ok()),
            }
        }

        #[test]
        fn truncated_or_extended_packet_is_refused(
            kind in a_kind(),
            body in vec(any::<u8>(), 0..50),
            cut: proptest::sample::Index,
            more in vec(any::<u8>(), 1..50),
        ) {
            let head = Head::new(kind, 0, body.len() as u32);
            let packet = [head.as_bytes(), &body].concat();
            let cut = &packet[..cut.index(packet.len())];
            prop_assert!(matches!(parse(cut, 0), Err(Malformed::Short | Malformed::Length)));
            prop_assert_eq!(parse(&[&packet[..], &more].concat(), 0), Err(Malformed::Length));
            prop_assert_eq!(parse(&packet, 1), Err(Malformed::Attachments));
        }
    }
}

mod assembling {
    use std::collections::HashMap;
    use std::sync::atomic::AtomicUsize;

    use strait::internals::assembly::Assembly;
    use strait::internals::limits::{MAX_MESSAGE_ATTACHMENTS, MAX_MESSAGE_BYTES};

    use super::*;

    const NO_LIMIT: usize = usize::MAX;

    type Whole = (Vec<u8>, Vec<u32>);

    /// An assembly that shares its limit only with those made at the same place in the code.
    macro_rules! new_assembly {
        () => {{
            static WAITING: AtomicUsize = AtomicUsize::new(0);
            Assembly::new(&WAITING)
        }};
    }

    /// The bytes and attachments that the assembly counts as waiting.
    fn waiting(assembly: &Assembly<u32>) -> (usize, usize) {
        let text = format!("{assembly:?}");
        let number_after = |name: &str| {
            let (_, after) = text.rsplit_once(name).expect("a field of that name");
            let digits = after.find(|c: char| !c.is_ascii_digit()).unwrap_or(after.len());
            after[..digits].parse().expect("a number")
        };
        (number_after(" bytes: "), number_after(" attachments: "))
    }

    /// A part of a message that is being sent.
    #[derive(Clone, Debug)]
    struct Part {
        id: u128,
        position: Position,
        body: Vec<u8>,
        attachments: Vec<u32>,
        /// Whether it is received in place, instead of being copied there.
        lands: bool,
    }

    /// Adds a part, in place or by a copy.
    fn add(assembly: &mut Assembly<u32>, part: Part) -> Result<Option<Whole>, Malformed> {
        let Part { id, position, body, attachments, lands } = part;
        if lands && !matches!(position, Position::First { .. }) {
            if let Some(mut bytes) = assembly.lend(id) {
                bytes.extend_from_slice(&body);
                return assembly.add_in_place(id, position, bytes, attachments, NO_LIMIT);
            }
        }
        assembly.add(id, position, &body, attachments, NO_LIMIT)
    }

    /// A message and the sizes of its parts.
    fn a_message() -> impl Strategy<Value = (Whole, Vec<(usize, usize, bool)>)> {
        let content = (vec(any::<u8>(), 0..2000), vec(any::<u32>(), 0..20));
        // An empty message has no parts.
        let content = content.prop_filter("something", |(b, a)| b.len() + a.len() > 0);
        (content, vec((0..700_usize, 0..8_usize, any::<bool>()), 1..12))
    }

    /// The parts in which a sender sends a message.
    fn parts_of(id: u128, (message, sizes): (Whole, Vec<(usize, usize, bool)>)) -> Vec<Part> {
        let (mut bytes, mut attachments) = message;
        let mut position =
            Position::First { bytes: bytes.len() as u64, attachments: attachments.len() as u32 };
        let mut parts = Vec::new();
        // There is always a first and a last part, and the last part completes the message.
        for (some_bytes, some_attachments, lands) in sizes {
            let most = (bytes.len(), attachments.len());
            let (some_bytes, some_attachments) =
                (some_bytes.min(most.0), some_attachments.min(most.1));
            if (some_bytes, some_attachments) == most {
                break;
            }
            let body = bytes.drain(..some_bytes).collect();
            let attachments = attachments.drain(..some_attachments).collect();
            parts.push(Part { id, position, body, attachments, lands });
            position = Position::Middle;
        }
        if parts.is_empty() {
            parts.push(Part { id, position, body: vec![], attachments: vec![], lands: false });
        }
        let position = Position::Last;
        parts.push(Part { id, position, body: bytes, attachments, lands: true });
        parts
    }

    /// What may happen to an assembly.
    #[derive(Clone, Debug)]
    enum Event {
        Part(Part),
        Abort(u128),
        Damage(u128, Position),
        LendInVain(u128),
    }

    /// Any event, about few messages of few bytes, so that events interact.
    fn an_event() -> impl Strategy<Value = Event> {
        let id = 0..4_u128;
        let position = prop_oneof![
            (0..12_u64, 0..3_u32)
                .prop_map(|(bytes, attachments)| Position::First { bytes, attachments }),
            (any::<u64>(), any::<u32>())
                .prop_map(|(bytes, attachments)| Position::First { bytes, attachments }),
            Just(Position::Middle),
            Just(Position::Middle),
            Just(Position::Last),
        ];
        let content = (vec(any::<u8>(), 0..6), vec(any::<u32>(), 0..2), any::<bool>());
        let part = (id.clone(), position.clone(), content).prop_map(
            |(id, position, (body, attachments, lands))| {
                Event::Part(Part { id, position, body, attachments, lands })
            },
        );
        prop_oneof![
            8 => part,
            1 => id.clone().prop_map(Event::Abort),
            1 => (id.clone(), position).prop_map(|(id, position)| Event::Damage(id, position)),
            1 => id.prop_map(Event::LendInVain),
        ]
    }

    /// The simplest model of an assembly without limits.
    #[derive(Debug, Default)]
    struct Model {
        /// `None` is a message that is lost.
        messages: HashMap<u128, Option<(u64, u32, Whole)>>,
    }

    impl Model {
        fn add(&mut self, part: &Part) -> Result<Option<Whole>, Malformed> {
            let is_last = part.position == Position::Last;
            if let Position::First { bytes, attachments } = part.position {
                self.begin(part.id, bytes, attachments)?;
            }
            let message = self.messages.get_mut(&part.id).ok_or(Malformed::Unknown)?;
            let Some((bytes, attachments, content)) = message else {
                if is_last {
                    self.messages.remove(&part.id);
                }
                return Ok(None);
            };
            content.0.extend_from_slice(&part.body);
            content.1.extend_from_slice(&part.attachments);
            let so_far = (content.0.len() as u64, content.1.len() as u32);
            let fits = so_far.0 <= *bytes && so_far.1 <= *attachments;
            if !fits || is_last != (so_far == (*bytes, *attachments)) {
                self.lose(part.id, is_last);
                return Err(Malformed::Part);
            }
            if !is_last {
                return Ok(None);
            }
            Ok(self.messages.remove(&part.id).flatten().map(|(_, _, content)| content))
        }

        fn begin(&mut self, id: u128, bytes: u64, attachments: u32) -> Result<(), Malformed> {
            if self.messages.contains_key(&id) {
                self.lose(id, false);
                return Err(Malformed::Part);
            }
            let is_too_large =
                bytes > MAX_MESSAGE_BYTES as u64 || attachments as usize > MAX_MESSAGE_ATTACHMENTS;
            let message = (!is_too_large).then(|| (bytes, attachments, Whole::default()));
            self.messages.insert(id, message);
            if is_too_large { Err(Malformed::TooLarge) } else { Ok(()) }
        }

        fn lose(&mut self, id: u128, is_over: bool) {
            if is_over {
                self.messages.remove(&id);
            } else if let Some(message) = self.messages.get_mut(&id) {
                *message = None;
            }
        }

        fn damage(&mut self, id: u128, position: Position) -> bool {
            let is_news = self.messages.get(&id).is_none_or(Option::is_some);
            if let Position::First { .. } = position {
                self.messages.insert(id, None);
            }
            self.lose(id, position == Position::Last);
            is_news
        }

        fn waiting(&self) -> (usize, usize) {
            let open = self.messages.values().flatten();
            open.fold((0, 0), |(bytes, attachments), (_, _, content)| {
                (bytes + content.0.len(), attachments + content.1.len())
            })
        }
    }

    proptest! {
        #![proptest_config(settings())]

        /// However the parts of several messages interleave, each message is complete when its
        /// last part is added.
        #[test]
        fn interleaved_messages_are_assembled(
            messages in vec(a_message(), 1..8),
            order: u64,
        ) {
            let expected: Vec<Whole> =
                messages.iter().map(|(message, _)| message.clone()).collect();
            let mut queues: Vec<_> = messages
                .into_iter()
                .zip(0..)
                .map(|(message, id)| parts_of(id, message).into_iter())
                .collect();
            let mut assembly = new_assembly!();
            let mut order = order;
            let mut done = 0;
            while done < queues.len() {
                // A linear congruential generator: any order will do, if it is the same in
                // every run.
                order = order.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                let chosen = (order >> 33) as usize % queues.len();
                let Some(part) = queues[chosen].next() else { continue };
                let is_last = part.position == Position::Last;
                let whole = add(&mut assembly, part).unwrap();
                prop_assert_eq!(whole.is_some(), is_last);
                if let Some((bytes, attachments)) = whole {
                    prop_assert_eq!(bytes.capacity(), bytes.len());
                    prop_assert_eq!(&(bytes, attachments), &expected[chosen]);
                    done += 1;
                }
            }
            prop_assert!(assembly.is_empty());
            prop_assert_eq!(waiting(&assembly), (0, 0));
        }

        /// After every event, results and counts are those of the model.
        #[test]
        fn random_events_match_the_model(events in vec(an_event(), 0..60)) {
            let mut assembly = new_assembly!();
            let mut model = Model::default();
            for event in events {
                match event {
                    Event::Part(part) => {
                        let expected = model.add(&part);
                        prop_assert_eq!(add(&mut assembly, part), expected);
                    }
                    Event::Abort(id) => {
                        let expected = model.messages.remove(&id).map(drop);
                        prop_assert_eq!(assembly.abort(id), expected.ok_or(Malformed::Unknown));
                    }
                    Event::Damage(id, position) => {
                        let expected = model.damage(id, position);
                        prop_assert_eq!(assembly.damage(id, position), expected);
                    }
                    Event::LendInVain(id) => {
                        if let Some(bytes) = assembly.lend(id) {
                            assembly.give_back(id, bytes);
                        }
                    }
                }
                prop_assert_eq!(waiting(&assembly), model.waiting());
                prop_assert_eq!(assembly.is_empty(), model.messages.values().all(Option::is_none));
            }
            for id in 0..4 {
                let _ = assembly.abort(id);
            }
            prop_assert_eq!(waiting(&assembly), (0, 0));
        }

        /// An incomplete message that is moved to another process is completed there.
        #[test]
        fn moved_assembly_completes_messages(
            messages in vec(a_message(), 1..5),
            moves in vec(0..10_usize, 1..5),
        ) {
            let expected: Vec<Whole> =
                messages.iter().map(|(message, _)| message.clone()).collect();
            let mut queues: Vec<_> = messages
                .into_iter()
                .zip(0..)
                .map(|(message, id)| parts_of(id, message).into_iter())
                .collect();
            let mut assembly = new_assembly!();
            let mut done = vec![None; expected.len()];
            let mut step = 0;
            while queues.iter().any(|queue| queue.len() > 0) {
                step += 1;
                if moves.contains(&(step % 10)) {
                    let mut elsewhere = new_assembly!();
                    for incomplete in assembly.into_contents().incomplete {
                        elsewhere.resume(incomplete, NO_LIMIT);
                    }
                    assembly = elsewhere;
                }
                for (number, queue) in queues.iter_mut().enumerate() {
                    if let Some(part) = queue.next() {
                        if let Some(whole) = add(&mut assembly, part).unwrap() {
                            done[number] = Some(whole);
                        }
                    }
                }
            }
            let done: Vec<Whole> = done.into_iter().flatten().collect();
            prop_assert_eq!(done, expected);
            prop_assert_eq!(waiting(&assembly), (0, 0));
        }

        /// The attachments that wait are limited over all senders, and refused attachments are
        /// not counted.
        #[test]
        fn attachments_are_limited(
            parts in vec((0..6_u128, 0..5_usize), 1..100),
            limit in 1..12_usize,
        ) {
            let mut assembly = new_assembly!();
            for id in 0..6 {
                let first = Position::First { bytes: 1, attachments: 1000 };
                prop_assert_eq!(assembly.add(id, first, &[], vec![], limit), Ok(None));
            }
            let mut lost = [false; 6];
            for (id, count) in parts {
                let before = waiting(&assembly).1;
                let result = assembly.add(id, Position::Middle, &[], vec![0; count], limit);
                let is_too_much = before + count > limit && !lost[id as usize];
                prop_assert_eq!(result, if is_too_much { Err(Malformed::Quota) } else { Ok(None) });
                lost[id as usize] |= is_too_much;
                prop_assert!(waiting(&assembly).1 <= limit);
            }
        }
    }
}

//! The codec with random values and random bytes, compared with the format's own crate; and how deeply values may be nested.

mod harness;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::marker::PhantomData;
use std::{fmt, iter};

use bincode::config::Config;
use serde::de::{DeserializeOwned, SeqAccess, Visitor};
use serde::ser::SerializeSeq;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use strait::internals::decode_bytes;
use strait::ipc;

use proptest::collection::vec;
use proptest::prelude::*;

/// Everything that the data model of serde knows, nested in itself.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
enum Rich {
    Unit,
    Bool(bool),
    Signed(i8, i16, i32, i64, i128),
    Unsigned(u8, u16, u32, u64, u128),
    Float { single: f32, double: f64 },
    Char(char),
    Text(String),
    Bytes(Vec<u8>),
    Boxed(Box<[u8]>),
    Queue(VecDeque<u8>),
    ByteSet(BTreeSet<u8>),
    Array([u8; 5]),
    Words(Vec<u16>),
    Maybe(Option<Box<Rich>>),
    Outcome(Result<Box<Rich>, String>),
    List(Vec<Rich>),
    Map(BTreeMap<String, Rich>),
    Record(Record),
    Pairs(Vec<(u8, Option<u8>)>),
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Record {
    name: Name,
    nothing: Nothing,
    tuple: (u8, Box<Rich>, ()),
    #[serde(skip)]
    skipped: u8,
    grid: Vec<Vec<u8>>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Name(String);

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Nothing;

fn a_rich_value() -> impl Strategy<Value = Rich> {
    let bytes = || vec(any::<u8>(), 0..40);
    let leaf = prop_oneof![
        Just(Rich::Unit),
        any::<bool>().prop_map(Rich::Bool),
        any::<(i8, i16, i32, i64, i128)>().prop_map(|(a, b, c, d, e)| Rich::Signed(a, b, c, d, e)),
        any::<(u8, u16, u32, u64, u128)>()
            .prop_map(|(a, b, c, d, e)| Rich::Unsigned(a, b, c, d, e)),
        any::<(f32, f64)>().prop_map(|(single, double)| Rich::Float { single, double }),
        any::<char>().prop_map(Rich::Char),
        any::<String>().prop_map(Rich::Text),
        bytes().prop_map(Rich::Bytes),
        bytes().prop_map(|bytes| Rich::Boxed(bytes.into())),
        bytes().prop_map(|bytes| Rich::Queue(bytes.into())),
        bytes().prop_map(|bytes| Rich::ByteSet(bytes.into_iter().collect())),
        any::<[u8; 5]>().prop_map(Rich::Array),
        vec(any::<u16>(), 0..20).prop_map(Rich::Words),
        vec(any::<(u8, Option<u8>)>(), 0..10).prop_map(Rich::Pairs),
    ];
    leaf.prop_recursive(6, 60, 6, move |inner| {
        let boxed = || inner.clone().prop_map(Box::new);
        prop_oneof![
            proptest::option::of(boxed()).prop_map(Rich::Maybe),
            proptest::result::maybe_ok(boxed(), any::<String>()).prop_map(Rich::Outcome),
            vec(inner.clone(), 0..6).prop_map(Rich::List),
            proptest::collection::btree_map(any::<String>(), inner.clone(), 0..5)
                .prop_map(Rich::Map),
            (any::<String>(), any::<u8>(), boxed(), vec(bytes(), 0..4)).prop_map(
                |(name, byte, value, grid)| {
                    Rich::Record(Record {
                        name: Name(name),
                        nothing: Nothing,
                        tuple: (byte, value, ()),
                        skipped: 0,
                        grid,
                    })
                }
            ),
        ]
    })
}

/// The format, by its own crate. The limit is on what it may allocate for what a message only announces.
fn config() -> impl Config {
    bincode::config::standard().with_fixed_int_encoding().with_limit::<1_000_000>()
}

/// How many more elements than bytes a message may have.
const UNITS: usize = 1 << 20;

/// The bytes of a value, if it can be encoded: what a channel carries.
fn encode<T: Serialize + DeserializeOwned>(value: &T) -> Option<Vec<u8>> {
    let (sender, receiver) = ipc::channel::<T>().unwrap();
    sender.send_ref(value).ok()?;
    Some(receiver.to_opaque().to_bytes().recv().unwrap())
}

/// Both ways, compared with the format's own crate.
fn check<T: Serialize + DeserializeOwned>(value: &T) -> Result<(), TestCaseError> {
    let theirs = bincode::serde::encode_to_vec(value, config()).ok();
    let ours = encode(value);
    prop_assert_eq!(&ours, &theirs);
    if let Some(bytes) = ours {
        check_bytes::<T>(&bytes)?;
    }
    Ok(())
}

/// That bytes are the same value, or none, here and there.
fn check_bytes<T: Serialize + DeserializeOwned>(bytes: &[u8]) -> Result<(), TestCaseError> {
    let again = |value: T| bincode::serde::encode_to_vec(&value, config()).ok();
    let theirs = bincode::serde::decode_from_slice::<T, _>(bytes, config())
        .ok()
        .and_then(|(value, used)| (used == bytes.len()).then(|| again(value)));
    let ours = decode_bytes::<T>(bytes).ok().map(again);
    prop_assert_eq!(ours, theirs);
    Ok(())
}

/// That a value is sent if, and only if, it can be received, and arrives as it was.
fn check_sending<T>(value: &T) -> Result<(), TestCaseError>
where
    T: Serialize + DeserializeOwned + PartialEq + fmt::Debug,
{
    let theirs = bincode::serde::encode_to_vec(value, config()).unwrap();
    let received = decode_bytes::<T>(&theirs).ok();
    let sent = encode(value);
    prop_assert_eq!(sent.is_some(), received.is_some());
    if let (Some(sent), Some(received)) = (sent, received) {
        prop_assert_eq!(sent, theirs);
        prop_assert_eq!(&received, value);
    }
    Ok(())
}

/// As [`check_bytes`], of a sequence that may announce what it will never read. Strait refuses that by the announcement, the
/// format's own crate never notices.
fn check_few(bytes: &[u8]) -> Result<(), TestCaseError> {
    let theirs = bincode::serde::decode_from_slice::<(Few, Vec<u8>), _>(bytes, config());
    if let (Ok(((_, rest), _)), Some(announced)) = (theirs, bytes.first_chunk()) {
        // What is left over is there, byte for byte.
        drop(rest);
        if u64::from_le_bytes(*announced) > bytes.len() as u64 + 65_536 {
            prop_assert!(decode_bytes::<(Few, Vec<u8>)>(bytes).is_err());
            return Ok(());
        }
    }
    check_bytes::<(Few, Vec<u8>)>(bytes)
}

fn check_bytes_as_everything(bytes: &[u8]) -> Result<(), TestCaseError> {
    check_bytes::<Rich>(bytes)?;
    check_bytes::<Record>(bytes)?;
    check_bytes::<Vec<u8>>(bytes)?;
    check_bytes::<Vec<Vec<u8>>>(bytes)?;
    check_bytes::<(String, Option<String>)>(bytes)?;
    check_bytes::<BTreeMap<u8, Vec<u8>>>(bytes)?;
    check_bytes::<Vec<(u8, char, bool)>>(bytes)?;
    check_few(bytes)?;
    check_bytes::<(Mixed, u16)>(bytes)?;
    check_bytes::<[Option<u8>; 3]>(bytes)?;
    check_bytes::<u128>(bytes)?;
    check_bytes::<()>(bytes)
}

/// A sequence of which at most three elements are read, and the first two kept, whatever it announces.
#[derive(Clone, Debug)]
struct Few(Vec<u8>);

impl Serialize for Few {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.0.serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Few {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Few, D::Error> {
        struct Reader;

        impl<'de> Visitor<'de> for Reader {
            type Value = Few;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a few bytes")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut bytes: A) -> Result<Few, A::Error> {
                let mut few = Vec::new();
                while let (true, Some(byte)) = (few.len() < 2, bytes.next_element()?) {
                    few.push(byte);
                }
                Ok(Few(few))
            }
        }

        deserializer.deserialize_seq(Reader)
    }
}

/// A sequence whose elements are of several types: the first says of which type the next is.
#[derive(Clone, Debug)]
struct Mixed(Vec<(u8, u64)>);

impl Serialize for Mixed {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut sequence = serializer.serialize_seq(Some(2 * self.0.len()))?;
        for (kind, value) in &self.0 {
            sequence.serialize_element(kind)?;
            match kind % 3 {
                0 => sequence.serialize_element(&(*value as u8))?,
                1 => sequence.serialize_element(&(*value as u16))?,
                _ => sequence.serialize_element(&vec![*value as u8; 3])?,
            }
        }
        sequence.end()
    }
}

impl<'de> Deserialize<'de> for Mixed {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Mixed, D::Error> {
        struct Reader;

        impl<'de> Visitor<'de> for Reader {
            type Value = Mixed;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("elements of several types")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut elements: A) -> Result<Mixed, A::Error> {
                let mut mixed = Vec::new();
                while let Some(kind) = elements.next_element::<u8>()? {
                    let value = match kind % 3 {
                        0 => elements.next_element::<u8>()?.map(u64::from),
                        1 => elements.next_element::<u16>()?.map(u64::from),
                        _ => elements.next_element::<Vec<u8>>()?.map(|v| v.len() as u64),
                    };
                    mixed.push((kind, value.unwrap_or(0)));
                }
                Ok(Mixed(mixed))
            }
        }

        deserializer.deserialize_seq(Reader)
    }
}

/// Bytes by way of an iterator that does not know how many it has.
#[derive(Clone, Debug, Deserialize)]
struct Filtered(Vec<u8>);

impl Serialize for Filtered {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(self.0.iter().filter(|byte| **byte != 0))
    }
}

/// Bytes by way of an iterator that knows it.
#[derive(Clone, Debug, Deserialize)]
struct Collected(Vec<u8>);

impl Serialize for Collected {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(self.0.iter().rev().chain(&[1, 2]))
    }
}

/// Bytes that become others where they arrive: they are inverted.
#[derive(Clone, Debug, Serialize)]
#[serde(transparent)]
struct Inverted(Vec<u8>);

impl<'de> Deserialize<'de> for Inverted {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Inverted, D::Error> {
        /// Called as serde's own.
        struct VecVisitor<T>(PhantomData<T>);

        impl<'de> Visitor<'de> for VecVisitor<u8> {
            type Value = Vec<u8>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("bytes to invert")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut bytes: A) -> Result<Vec<u8>, A::Error> {
                let mut inverted = Vec::new();
                while let Some(byte) = bytes.next_element::<u8>()? {
                    inverted.push(!byte);
                }
                Ok(inverted)
            }
        }

        deserializer.deserialize_seq(VecVisitor::<u8>(PhantomData)).map(Inverted)
    }
}

/// What looks like a byte in a message, and is another type than `u8`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Octet(u8);

type BytesInEverything =
    (Vec<u8>, u16, Box<[u8]>, VecDeque<u8>, Vec<i8>, Vec<Octet>, Vec<[u8; 3]>, Vec<bool>, u64);

/// Nested in itself in every way, with one level of something with a name for each, or with two.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
enum Deep {
    End(End),
    Newtype(Box<Deep>),
    Tuple(u8, Box<Deep>),
    Struct {
        inner: Box<Deep>,
    },
    InNewtype(InNewtype),
    InTuple(InTuple),
    InStruct(InStruct),
    Maybe(Option<Box<Deep>>),
    List(Vec<Deep>),
    Map(BTreeMap<u8, Deep>),
    Pair((u8, Box<Deep>)),
    /// Four levels without names, so that there can be too many of them.
    Four(Option<(Vec<Option<Box<Deep>>>, u8)>),
}

/// What a value ends with: levels that have nothing in them, and others.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
enum End {
    Nothing,
    Number(u64),
    Text(String),
    Unit(Nothing),
    None(Option<u8>),
    Bytes(Vec<u8>),
    Units(Vec<()>),
    Empty(BTreeMap<u8, u8>),
    Array([u8; 0]),
    Unnamed([Option<(u8, ())>; 2]),
    Named(Option<InnermostName>),
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
enum InnermostName {
    Here,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct InNewtype(Box<Deep>);

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct InTuple(u8, Box<Deep>);

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct InStruct {
    name: String,
    inner: Box<Deep>,
}

/// A value around another.
fn around(inner: Deep, way: u8) -> Deep {
    let inner = Box::new(inner);
    match way {
        0 => Deep::Newtype(inner),
        1 => Deep::Tuple(1, inner),
        2 => Deep::Struct { inner },
        3 => Deep::InNewtype(InNewtype(inner)),
        4 => Deep::InTuple(InTuple(2, inner)),
        5 => Deep::InStruct(InStruct { name: "name".to_string(), inner }),
        6 => Deep::Maybe(Some(inner)),
        7 => Deep::List(vec![Deep::End(End::Nothing), *inner, Deep::Maybe(None)]),
        8 => Deep::Map(BTreeMap::from([(3, *inner)])),
        9 => Deep::Pair((4, inner)),
        _ => Deep::Four(Some((vec![None, Some(inner)], 5))),
    }
}

fn ends() -> Vec<End> {
    vec![
        End::Nothing,
        End::Number(6),
        End::Text("text".to_string()),
        End::Unit(Nothing),
        End::None(None),
        End::None(Some(7)),
        End::Bytes(vec![8, 9]),
        End::Units(vec![(); 10]),
        End::Empty(BTreeMap::new()),
        End::Array([]),
        End::Unnamed([None, Some((11, ()))]),
        End::Named(None),
        End::Named(Some(InnermostName::Here)),
    ]
}

/// Values that are nested as deeply as they may be, a little less or a little more.
fn a_deep_value() -> impl Strategy<Value = Deep> {
    let end = proptest::sample::select(ends());
    // Of few ways at a time, so that now the one limit comes first, and now the other.
    let ways = vec(0..11_u8, 1..4);
    let len = prop_oneof![0..50_usize, 58..70_usize, 80..100_usize, 120..130_usize];
    let choices = vec(any::<proptest::sample::Index>(), 130);
    (end, ways, len, choices).prop_map(|(end, ways, len, choices)| {
        let ways = choices[..len].iter().map(|choice| ways[choice.index(ways.len())]);
        ways.fold(Deep::End(end), around)
    })
}

/// Without a file of past failures: what failed once becomes a test with a name.
fn settings() -> ProptestConfig {
    ProptestConfig { failure_persistence: None, ..ProptestConfig::default() }
}

proptest! {
        #![proptest_config(settings())]

    #[test]
    fn values_come_back(value in a_rich_value()) {
        let bytes = encode(&value).unwrap();
        prop_assert_eq!(&decode_bytes::<Rich>(&bytes).unwrap(), &value);
        check(&value)?;
    }

    #[test]
    fn sequences_are_what_their_impls_make_of_them(
        bytes in vec(any::<u8>(), 0..20),
        mixed in vec(any::<(u8, u64)>(), 0..10),
    ) {
        check(&Few(bytes.clone()))?;
        check(&(Few(bytes.iter().copied().take(2).collect()), 1_u8))?;
        check(&(Mixed(mixed), 7_u16))?;
        check(&Filtered(bytes.clone()))?;
        check(&(Inverted(bytes.clone()), bytes.clone()))?;
        check(&(Collected(bytes), 3_u32))?;
    }

    /// Of every length, because what is copied in one piece is copied in blocks and a rest.
    #[test]
    fn bytes_come_back_whatever_they_are_in(
        bytes in vec(any::<u8>(), 0..1000),
        turn: proptest::sample::Index,
    ) {
        // What is pushed to the front stands at the end of its memory.
        let (front, back) = bytes.split_at(turn.index(bytes.len() + 1));
        let mut queue: VecDeque<u8> = back.iter().copied().collect();
        front.iter().rev().for_each(|byte| queue.push_front(*byte));
        let signed: Vec<i8> = bytes.iter().map(|byte| *byte as i8).collect();
        let octets: Vec<Octet> = bytes.iter().copied().map(Octet).collect();
        let pieces: Vec<[u8; 3]> = bytes.chunks_exact(3).map(|c| [c[0], c[1], c[2]]).collect();
        let flags: Vec<bool> = bytes.iter().map(|byte| byte % 2 == 1).collect();
        let value = (bytes.clone(), 1_u16, bytes.into_boxed_slice(), queue, signed, octets, pieces, flags, 2_u64);
        let sent = encode(&value).unwrap();
        prop_assert!(decode_bytes::<BytesInEverything>(&sent).unwrap() == value);
        check(&value)?;
    }

    #[test]
    fn changed_bytes_are_another_value_or_none(
        value in a_rich_value(),
        changes in vec((any::<proptest::sample::Index>(), any::<u8>()), 1..4),
        cut: Option<proptest::sample::Index>,
    ) {
        let mut bytes = encode(&value).unwrap();
        for (place, byte) in changes {
            let place = place.index(bytes.len());
            bytes[place] = byte;
        }
        if let Some(cut) = cut {
            bytes.truncate(cut.index(bytes.len()));
        }
        check_bytes::<Rich>(&bytes)?;
    }

    #[test]
    fn any_bytes_are_a_value_or_none(bytes in vec(any::<u8>(), 0..300)) {
        check_bytes_as_everything(&bytes)?;
    }

    /// Bytes that look a little more like something: small numbers, little-endian.
    #[test]
    fn any_small_numbers_are_a_value_or_none(numbers in vec((0..20_u64, 1..9_usize), 0..60)) {
        let bytes = numbers.iter().flat_map(|(number, len)| number.to_le_bytes()[..*len].to_vec());
        check_bytes_as_everything(&bytes.collect::<Vec<_>>())?;
    }

    /// Elements without bytes may be announced in some number, not in any.
    #[test]
    fn elements_without_bytes_are_limited(count: u64) {
        let message = count.to_le_bytes();
        let result = decode_bytes::<Vec<()>>(&message);
        prop_assert_eq!(result.map(|v| v.len() as u64).ok(), (count <= UNITS as u64 + 8).then_some(count));
        let _ = decode_bytes::<Vec<Vec<()>>>(&message);
        let _ = decode_bytes::<BTreeSet<()>>(&message);
        let _ = decode_bytes::<Vec<[(); 32]>>(&message);
    }

    /// However deep it is, what is sent is received, and what would not be is not sent.
    #[test]
    fn deep_values_are_received_or_not_sent(value in a_deep_value()) {
        check_sending(&value)?;
    }

}

proptest! {
    // Each has a million elements.
    #![proptest_config(ProptestConfig { cases: 16, ..settings() })]

    /// However many elements without bytes there are: as many as there may be, or a few less or more.
    #[test]
    fn values_of_many_elements_are_received_or_not_sent(
        units in vec(0..320_000_usize, 0..4),
        too_many in -10..10_isize,
        bytes in vec(any::<u8>(), 0..20),
        pairs in proptest::collection::btree_map(any::<u8>(), any::<u16>(), 0..5),
    ) {
        let mut value = (Vec::new(), bytes, pairs);
        value.0.extend(units.into_iter().map(|len| vec![(); len]));
        value.0.push(Vec::new());
        let encoded = bincode::serde::encode_to_vec(&value, config()).unwrap();
        let elements: usize = value.0.iter().map(Vec::len).sum();
        let elements = elements + value.0.len() + value.1.len() + value.2.len();
        let rest = (encoded.len() + UNITS - elements).checked_add_signed(too_many).unwrap();
        value.0.last_mut().unwrap().resize(rest, ());
        prop_assert_eq!(encode(&value).is_some(), too_many <= 0);
        check_sending(&value)?;
    }
}

/// Elements of which the second and the fourth may be longer than a byte, read with a look at how many are left before each.
struct Counted<const IS_TUPLE: bool, const IS_MIXED: bool>;

impl<const IS_TUPLE: bool, const IS_MIXED: bool> Counted<IS_TUPLE, IS_MIXED> {
    const COUNT: usize = 5;

    fn message() -> Vec<u8> {
        let len = (!IS_TUPLE).then_some(Self::COUNT as u64);
        let element = |place| if Self::is_long(place) { vec![7, 0, 0, 0] } else { vec![7] };
        len.into_iter()
            .flat_map(u64::to_le_bytes)
            .chain((0..Self::COUNT).flat_map(element))
            .collect()
    }

    fn is_long(place: usize) -> bool {
        IS_MIXED && place % 2 == 1
    }
}

impl<'de, const IS_TUPLE: bool, const IS_MIXED: bool> Deserialize<'de>
    for Counted<IS_TUPLE, IS_MIXED>
{
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        if IS_TUPLE {
            deserializer.deserialize_tuple(Self::COUNT, Self)
        } else {
            deserializer.deserialize_seq(Self)
        }
    }
}

impl<'de, const IS_TUPLE: bool, const IS_MIXED: bool> Visitor<'de> for Counted<IS_TUPLE, IS_MIXED> {
    type Value = Self;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("five sevens")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut elements: A) -> Result<Self, A::Error> {
        for place in 0..Self::COUNT {
            assert_eq!(elements.size_hint(), Some(Self::COUNT - place));
            let element = if Self::is_long(place) {
                elements.next_element::<u32>()?
            } else {
                elements.next_element::<u8>()?.map(u32::from)
            };
            assert_eq!(element, Some(7));
        }
        assert_eq!(elements.size_hint(), Some(0));
        assert_eq!(elements.next_element::<u8>()?, None);
        assert_eq!(elements.next_element::<u32>()?, None);
        assert_eq!(elements.size_hint(), Some(0));
        Ok(self)
    }
}

/// What it announces and does not read is 2^48 elements: the format's own crate finds three and then twelve. This was found by
/// [`any_small_numbers_are_a_value_or_none`] when it expected the same of both.
#[test]
fn what_is_announced_and_not_read_is_refused() {
    let _watchdog = harness::watchdog();
    let numbers: [(u64, usize); 6] = [(0, 6), (1, 5), (12, 8), (0, 8), (0, 3), (0, 1)];
    let bytes = numbers.iter().flat_map(|(number, len)| number.to_le_bytes()[..*len].to_vec());
    let bytes: Vec<u8> = bytes.collect();
    let theirs = bincode::serde::decode_from_slice::<(Few, Vec<u8>), _>(&bytes, config());
    assert!(matches!(theirs, Ok(((_, twelve), 31)) if twelve.len() == 12));
    assert!(decode_bytes::<(Few, Vec<u8>)>(&bytes).is_err());
    check_bytes_as_everything(&bytes).unwrap();
    // What is read is there as well as it is in the other crate, with as many announced as may be.
    let most = (65_536_u64 + bytes.len() as u64 - 12).to_le_bytes();
    let bytes = [&most[..], &bytes[8..]].concat();
    assert!(decode_bytes::<(Few, Vec<u8>)>(&bytes).is_ok());
    check_bytes_as_everything(&bytes).unwrap();
}

#[test]
fn sequences_know_how_many_elements_are_left() {
    let _watchdog = harness::watchdog();
    assert!(decode_bytes::<Counted<false, false>>(&Counted::<false, false>::message()).is_ok());
    assert!(decode_bytes::<Counted<false, true>>(&Counted::<false, true>::message()).is_ok());
    assert!(decode_bytes::<Counted<true, false>>(&Counted::<true, false>::message()).is_ok());
    assert!(decode_bytes::<Counted<true, true>>(&Counted::<true, true>::message()).is_ok());
}

/// Every way of being nested, at the one limit and at the other.
#[test]
fn every_level_is_counted_where_it_is_sent() {
    let _watchdog = harness::watchdog();
    for (most, len) in [(0, 122), (10, 62)] {
        for (way, further) in (0..11).flat_map(|way| (0..9).map(move |further| (way, further))) {
            for end in ends() {
                let ways = iter::repeat_n(way, further).chain(iter::repeat_n(most, len));
                check_sending(&ways.fold(Deep::End(end), around)).unwrap();
            }
        }
    }
}

mod refusals {
    use std::error::Error;

    use strait::internals::limits::{MAX_MESSAGE_ATTACHMENTS, MAX_MESSAGE_BYTES};
    use strait::ipc::{IpcReceiver, IpcSharedMemory};
    use strait::{IpcError, SerDeError};

    use super::*;

    /// Why a message could not be sent, in words.
    fn refused(result: Result<(), IpcError>) -> String {
        match result {
            Err(IpcError::SerializationError(error)) => why(error),
            other => panic!("{other:?}"),
        }
    }

    fn why(error: SerDeError) -> String {
        error.source().unwrap().to_string()
    }

    struct Zeros(usize);

    impl Serialize for Zeros {
        fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
            serializer.serialize_bytes(&vec![0; self.0])
        }
    }

    impl<'de> Deserialize<'de> for Zeros {
        fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Zeros, D::Error> {
            Vec::deserialize(deserializer).map(|zeros: Vec<u8>| Zeros(zeros.len()))
        }
    }

    #[test]
    fn of_large_messages_say_so() {
        let _watchdog = harness::watchdog();
        let (sender, receiver) = ipc::channel::<Zeros>().unwrap();
        let text = refused(sender.send(Zeros(MAX_MESSAGE_BYTES - 7)));
        assert_eq!(text, "the message is larger than 1073741824 bytes");
        sender.send(Zeros(1)).unwrap();
        assert_eq!(receiver.recv().unwrap().0, 1);
    }

    #[test]
    fn of_many_handles_say_so_and_give_receivers_back() {
        let _watchdog = harness::watchdog();
        let (kept, receiver) = ipc::channel::<u32>().unwrap();
        let (carrier, carried) = ipc::channel().unwrap();
        let memory = IpcSharedMemory::try_from_byte(1, 1).unwrap();
        let mut value = (receiver, vec![memory; MAX_MESSAGE_ATTACHMENTS]);
        let text = refused(carrier.send_ref(&value));
        assert_eq!(text, "the message has 65537 handles, and may have 65536");
        kept.send(1).unwrap();
        assert_eq!(value.0.recv().unwrap(), 1);
        value.1.truncate(1);
        carrier.send(value).unwrap();
        let (receiver, _): (IpcReceiver<u32>, Vec<IpcSharedMemory>) = carried.recv().unwrap();
        kept.send(2).unwrap();
        assert_eq!(receiver.recv().unwrap(), 2);
    }

    /// Without a length, or failing by itself.
    #[derive(Deserialize)]
    struct Odd(bool);

    impl Serialize for Odd {
        fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
            if self.0 {
                return Err(serde::ser::Error::custom("it is odd"));
            }
            serializer.serialize_seq(None)?.end()
        }
    }

    #[test]
    fn are_in_words() {
        let _watchdog = harness::watchdog();
        let (sender, _receiver) = ipc::channel::<Odd>().unwrap();
        assert_eq!(refused(sender.send(Odd(true))), "it is odd");
        let text = "a sequence or map does not know how many elements it has";
        assert_eq!(refused(sender.send(Odd(false))), text);

        fn not_decoded<T: DeserializeOwned>(bytes: &[u8]) -> String {
            why(decode_bytes::<T>(bytes).map(drop).unwrap_err())
        }

        assert_eq!(not_decoded::<u32>(&[1]), "the message ends 3 bytes too early");
        for announced in [1, 2, 1000] {
            let message = [&u64::to_le_bytes(announced)[..], &[0; 1]].concat();
            let message = &message[..if announced == 1 { 8 } else { 9 }];
            let text = "the message ends 1 bytes too early";
            assert_eq!(not_decoded::<Vec<u8>>(message), text);
            assert_eq!(not_decoded::<Vec<i8>>(message), text);
            assert_eq!(
                not_decoded::<Vec<Vec<u8>>>(&[&[1, 0, 0, 0, 0, 0, 0, 0], message].concat()),
                text
            );
        }
        assert_eq!(not_decoded::<Vec<u8>>(&[0; 7]), "the message ends 1 bytes too early");
        assert_eq!(
            not_decoded::<Vec<u8>>(&[0; 9]),
            "the message is longer than a value of this type"
        );
        let text =
            "the sequences and maps have over 1048576 elements more than the message has bytes";
        assert_eq!(not_decoded::<Vec<u8>>(&[0xff; 100]), text);
        assert_eq!(not_decoded::<Vec<i8>>(&[0xff; 100]), text);
        assert_eq!(not_decoded::<bool>(&[2]), "a truth value is 2, which is neither 0 nor 1");
        assert_eq!(not_decoded::<char>(&[0xff; 4]), "a character is not in UTF-8");
        assert_eq!(not_decoded::<Option<u8>>(&[3, 0]), "Option<T> has no variant 3");
        let text = "the type has to be told what is in a message, which messages do not say";
        assert_eq!(not_decoded::<serde::de::IgnoredAny>(&[]), text);
        let text = "invalid value: integer `99`, expected variant index 0 <= i < 19";
        assert_eq!(not_decoded::<Rich>(&[99, 0, 0, 0]), text);
    }
}

/// Elements without bytes.
mod units {
    use std::cell::Cell;
    use std::collections::VecDeque;

    use serde::de::Error as _;

    use super::*;

    fn sent<T: Serialize + DeserializeOwned>(value: &T) -> Result<T, String> {
        let (sender, receiver) = ipc::channel::<T>().unwrap();
        sender.send_ref(value).map_err(|error| error.to_string())?;
        receiver.recv().map_err(|error| error.to_string())
    }

    #[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
    struct Unit;

    #[test]
    fn are_received_up_to_a_million() {
        let _watchdog = harness::watchdog();
        for count in [65_545, 100_000, UNITS] {
            assert_eq!(sent(&vec![(); count]).unwrap().len(), count);
            assert_eq!(sent(&VecDeque::from(vec![Unit; count])).unwrap().len(), count);
            assert_eq!(sent(&vec![[(); 3]; count].into_boxed_slice()).unwrap().len(), count);
        }
        // What has bytes is not one of them, before and after.
        let value = (vec![7_u64; 1000], vec![(); UNITS], vec![8_u8; 200_000], vec![Some(()); 9]);
        assert_eq!(sent(&value).unwrap(), value);
        let value = vec![vec![(); 20_000]; 52];
        assert_eq!(sent(&value).unwrap(), value);
    }

    thread_local!(static WRITTEN: Cell<usize> = const { Cell::new(0) });

    /// A unit that counts how often it is written.
    #[derive(Clone, Debug, Deserialize)]
    struct Counted;

    impl Serialize for Counted {
        fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
            WRITTEN.set(WRITTEN.get() + 1);
            serializer.serialize_unit_struct("Counted")
        }
    }

    #[test]
    fn beyond_that_are_refused_without_writing_all() {
        let _watchdog = harness::watchdog();
        for count in [UNITS + 9, 5_000_000, 50_000_000] {
            let text = sent(&vec![Counted; count]).unwrap_err();
            assert!(text.contains("have over 1048576 elements more"), "{text}");
            assert!(WRITTEN.replace(0) <= 2 * UNITS);
        }
        assert!(sent(&vec![(); UNITS + 9]).is_err());
        assert!(sent(&vec![vec![(); 20_000]; 53]).is_err());
        // However many there are, if they have bytes.
        assert_eq!(sent(&vec![1_u16; 3 * UNITS]).unwrap().len(), 3 * UNITS);
    }

    thread_local!(static READ: Cell<usize> = const { Cell::new(0) });

    /// Without bytes, but not without memory.
    #[derive(Debug)]
    struct Hidden([u64; 16]);

    impl<'de> Deserialize<'de> for Hidden {
        fn deserialize<D: Deserializer<'de>>(_: D) -> Result<Hidden, D::Error> {
            READ.set(READ.get() + 1);
            Ok(Hidden([0; 16]))
        }
    }

    #[derive(Debug)]
    struct Nothing;

    impl<'de> Deserialize<'de> for Nothing {
        fn deserialize<D: Deserializer<'de>>(_: D) -> Result<Nothing, D::Error> {
            READ.set(READ.get() + 1);
            if READ.get() > 2 * UNITS {
                return Err(D::Error::custom("too many"));
            }
            Ok(Nothing)
        }
    }

    #[test]
    fn cost_a_receiver_no_more_than_that() {
        let _watchdog = harness::watchdog();
        for count in [UNITS as u64 + 9, 1 << 30, 1 << 60, u64::MAX] {
            assert!(decode_bytes::<Vec<Nothing>>(&count.to_le_bytes()).is_err());
            assert_eq!(READ.get(), 0);
        }
        decode_bytes::<Vec<Nothing>>(&(UNITS as u64 + 8).to_le_bytes()).unwrap();
        assert_eq!(READ.replace(0), UNITS + 8);
        // Of what takes up memory there may be fewer.
        let received = decode_bytes::<Vec<Hidden>>(&65_544_u64.to_le_bytes()).unwrap();
        assert_eq!(received.iter().map(|hidden| hidden.0[0]).sum::<u64>(), 0);
        assert_eq!(READ.replace(0), 65_544);
        for message in [&[65_545][..], &[2, 32_780, 32_780], &[1, 1_000_000]] {
            let bytes: Vec<u8> = message.iter().flat_map(|len: &u64| len.to_le_bytes()).collect();
            let error = match message {
                [_] => decode_bytes::<Vec<Hidden>>(&bytes).map(drop),
                _ => decode_bytes::<Vec<Vec<Hidden>>>(&bytes).map(drop),
            };
            let text = error.unwrap_err().to_string();
            assert!(text.contains("over 65536 elements more"), "{text}");
            assert!(READ.replace(0) <= 32_780);
        }
    }
}

/// Formats for people, used within messages: an endpoint in such a text would be in the message, too, where nobody looks for it.
mod texts {
    use serde::de::value::Error as TextError;
    use serde::de::{DeserializeOwned, IntoDeserializer};
    use strait::ipc::{IpcBytesSender, IpcReceiver, IpcSender, IpcSharedMemory, OpaqueIpcReceiver};

    use super::*;

    /// A value, sent as its text, or what arrives of it: none if it has no text.
    enum AsText<T> {
        Value(T),
        Text(Option<String>),
    }

    impl<T: Serialize> Serialize for AsText<T> {
        fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
            struct Text<'a, T>(&'a T);

            impl<T: Serialize> fmt::Display for Text<'_, T> {
                fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                    self.0.serialize(f)
                }
            }

            match self {
                AsText::Value(value) => {
                    let mut text = String::new();
                    let result = fmt::Write::write_fmt(&mut text, format_args!("{}", Text(value)));
                    result.ok().map(|()| text).serialize(serializer)
                }
                AsText::Text(text) => text.serialize(serializer),
            }
        }
    }

    impl<'de, T> Deserialize<'de> for AsText<T> {
        fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
            Option::deserialize(deserializer).map(AsText::Text)
        }
    }

    /// What is received as the index of an endpoint that a text has. Ends with why that was refused.
    struct FromText<T> {
        refusal: Option<String>,
        _type: PhantomData<T>,
    }

    impl<'de, T: DeserializeOwned> Deserialize<'de> for FromText<T> {
        fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
            let index = u32::deserialize(deserializer)?;
            let result: Result<T, TextError> = T::deserialize(index.into_deserializer());
            let refusal = result.err().map(|error| error.to_string());
            Ok(FromText { refusal, _type: PhantomData })
        }
    }

    /// Only because a receiver's type has to have it.
    impl<T> Serialize for FromText<T> {
        fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
            self.refusal.serialize(serializer)
        }
    }

    /// That there is no text of it; it comes back.
    #[track_caller]
    fn assert_not_sent<T: Serialize>(value: T) -> T {
        let (sender, receiver) = ipc::channel().unwrap();
        let value = AsText::Value(value);
        sender.send_ref(&value).unwrap();
        assert!(matches!(receiver.recv().unwrap(), AsText::Text(None)));
        match value {
            AsText::Value(value) => value,
            AsText::Text(_) => unreachable!("it was made a value"),
        }
    }

    #[test]
    fn do_not_take_endpoints_along() {
        let _watchdog = harness::watchdog();
        let (carrier, carried) = ipc::channel().unwrap();
        carrier.send(AsText::Value(7_u8)).unwrap();
        assert!(matches!(carried.recv().unwrap(), AsText::Text(Some(text)) if text == "7"));

        let (sender, receiver) = ipc::channel::<u8>().unwrap();
        let sender = assert_not_sent(sender);
        sender.send(1).unwrap();
        let receiver = assert_not_sent(receiver);
        assert_eq!(receiver.recv().unwrap(), 1);
        assert_not_sent(receiver.to_opaque());
        let (sender, receiver) = ipc::bytes_channel().unwrap();
        assert_not_sent(sender);
        assert_not_sent(receiver);
        assert_not_sent(IpcSharedMemory::from_byte(1, 10));
        assert_not_sent(IpcSharedMemory::from_byte(1, 0));
        #[cfg(unix)]
        assert_not_sent(strait::handle::Handle(std::fs::File::open("Cargo.toml").unwrap()));

        // Nor unnoticed: an endpoint that waits in a message keeps its channel connected.
        let (sender, receiver) = ipc::channel::<u8>().unwrap();
        let (carrier, _carried) = ipc::channel().unwrap();
        carrier.send(AsText::Value(sender)).unwrap();
        let error = receiver.try_recv().unwrap_err();
        assert!(error.is_disconnected(), "{error:?}");
    }

    #[track_caller]
    fn assert_not_taken<T: DeserializeOwned>() {
        let (sender, receiver) = ipc::channel::<IpcSender<u8>>().unwrap();
        let (one, _) = ipc::channel().unwrap();
        sender.send(one).unwrap();
        let receiver: IpcReceiver<FromText<T>> = receiver.to_opaque().to();
        assert_eq!(
            receiver.recv().unwrap().refusal.unwrap(),
            "channel endpoints, handles and shared memory can only be received in messages of a channel"
        );
    }

    #[test]
    fn do_not_take_endpoints_out() {
        let _watchdog = harness::watchdog();
        assert_not_taken::<IpcSender<u8>>();
        assert_not_taken::<IpcReceiver<u8>>();
        assert_not_taken::<IpcBytesSender>();
        assert_not_taken::<OpaqueIpcReceiver>();
        assert_not_taken::<IpcSharedMemory>();
        #[cfg(unix)]
        assert_not_taken::<strait::handle::Handle<std::fs::File>>();
    }
}

mod nesting {
    use std::collections::BTreeMap;
    use std::thread;

    use serde::de::DeserializeOwned;
    use serde::{Deserialize, Serialize};
    use strait::internals::decode_bytes;
    use strait::{IpcError, TryRecvError, ipc};

    /// How many structs and enums may be within each other.
    const NAMED: usize = 128;

    /// How many sequences, maps, tuples and options may be.
    const UNNAMED: usize = 256;

    /// What `std` gives a thread.
    const STACK: usize = 2 << 20;

    /// An expression, as compilers and databases send them.
    #[derive(Debug, Serialize, Deserialize)]
    enum Expression {
        Number(f64),
        Name(String),
        Negate(Box<Expression>),
        Binary { operator: char, left: Box<Expression>, right: Box<Expression> },
        Call(String, Vec<Expression>),
        Choose(Box<(Expression, Expression, Expression)>),
    }

    /// A tree with some data of its own in each node.
    #[derive(Debug, Serialize, Deserialize)]
    struct Node {
        name: String,
        position: [f64; 3],
        transform: [[f32; 4]; 4],
        properties: BTreeMap<String, Vec<u8>>,
        tags: Vec<String>,
        parent: Option<u64>,
        children: Vec<Node>,
    }

    /// A document, as JSON is one.
    #[derive(Debug, Serialize, Deserialize)]
    enum Document {
        Null,
        Flag(bool),
        Number(f64),
        Text(String),
        List(Vec<Document>),
        Object(BTreeMap<String, Document>),
    }

    /// A node of a syntax tree, with much to say about itself: what takes the most stack.
    #[allow(clippy::large_enum_variant, reason = "that is what it is for")]
    #[derive(Debug, Serialize, Deserialize)]
    enum Syntax {
        Leaf,
        #[rustfmt::skip]
        Function {
            a: String, b: String, c: String, d: String, e: String, f: String, g: String, h: String,
            i: String, j: String, k: String, l: String, m: String, n: String, o: String, p: String,
            body: Box<Syntax>,
        },
        Table {
            entries: [[u64; 32]; 4],
            next: Box<Syntax>,
        },
        #[rustfmt::skip]
        Block {
            a: String, b: String, c: String, d: String, e: String, f: String, g: String, h: String,
            entries: [[u64; 8]; 4],
            statements: Vec<Option<Box<Syntax>>>,
        },
    }

    /// A list of large records.
    #[rustfmt::skip]
    #[derive(Debug, Serialize, Deserialize)]
    struct Entry {
        a: String, b: String, c: String, d: String, e: String, f: String, g: String, h: String,
        i: String, j: String, k: String, l: String, m: String, n: String, o: String, p: String,
        entries: [[u64; 8]; 8],
        next: Option<Box<Entry>>,
    }

    /// A tree of large records.
    #[rustfmt::skip]
    #[derive(Debug, Serialize, Deserialize)]
    struct Branch {
        a: String, b: String, c: String, d: String, e: String, f: String, g: String, h: String,
        i: String, j: String, k: String, l: String,
        entries: [[u64; 8]; 4],
        branches: Vec<Branch>,
    }

    /// A tree of records of different kinds.
    #[rustfmt::skip]
    #[derive(Debug, Serialize, Deserialize)]
    enum Bush {
        Leaf,
        Flower([[u64; 8]; 7]),
        Fork {
            a: String, b: String, c: String, d: String, e: String, f: String, g: String, h: String,
            entries: [[u64; 8]; 4],
            branches: Vec<Bush>,
        },
    }

    /// The least that can be nested.
    #[derive(Debug, Serialize, Deserialize)]
    struct Chain(Option<Box<Chain>>);

    /// Nested in itself without anything that has a name.
    #[derive(Debug, Serialize, Deserialize)]
    #[serde(transparent)]
    struct Bare(Option<Box<Bare>>);

    #[derive(Debug, Serialize, Deserialize)]
    enum Array {
        Leaf,
        Array(Vec<Array>),
    }

    fn chain(len: usize) -> Chain {
        (1..len).fold(Chain(None), |chain, _| Chain(Some(Box::new(chain))))
    }

    fn bare(len: usize) -> Bare {
        (1..len).fold(Bare(None), |bare, _| Bare(Some(Box::new(bare))))
    }

    fn array(len: usize) -> Array {
        (1..len).fold(Array::Leaf, |array, _| Array::Array(vec![array]))
    }

    /// That it is received as it was sent.
    fn assert_exchanged<T: Serialize + DeserializeOwned>(value: &T) {
        let (sender, receiver) = ipc::channel::<T>().unwrap();
        sender.send_ref(value).unwrap();
        let received = receiver.recv().unwrap();
        let bytes = |value: &T| super::encode(value).unwrap();
        assert_eq!(bytes(&received), bytes(value));
    }

    /// That it is not sent, and why; and that what was encoded by other means is not received.
    fn assert_too_deep<T: Serialize + DeserializeOwned>(value: &T, text: &str) {
        let (sender, receiver) = ipc::channel::<T>().unwrap();
        let Err(IpcError::SerializationError(error)) = sender.send_ref(value) else {
            panic!("it was sent");
        };
        let source = std::error::Error::source(&error).unwrap().to_string();
        assert!(source.contains(text), "{source}");
        assert!(matches!(receiver.try_recv(), Err(TryRecvError::Empty)));
        let bytes = bincode::serde::encode_to_vec(value, super::config()).unwrap();
        assert!(decode_bytes::<T>(&bytes).is_err());
    }

    #[test]
    fn is_limited_where_it_is_sent() {
        let _watchdog = crate::harness::watchdog();
        assert_exchanged(&chain(NAMED));
        assert_too_deep(&chain(NAMED + 1), "more than 128 structs and enums");
        assert_exchanged(&array(NAMED));
        assert_too_deep(&array(NAMED + 1), "more than 128 structs and enums");
        assert_exchanged(&bare(UNNAMED));
        assert_too_deep(&bare(UNNAMED + 1), "more than 256 sequences, maps, tuples and options");
        // Levels are left where they end: what is side by side is not deeper than one of it, whether the one before was
        // complete or not.
        assert_exchanged(&[chain(NAMED), chain(1), chain(NAMED)]);
        assert_exchanged(&(0..10).map(|_| array(NAMED)).collect::<Vec<_>>());
        let (sender, receiver) = ipc::channel::<Vec<Chain>>().unwrap();
        sender.send(vec![chain(NAMED), chain(NAMED + 1)]).unwrap_err();
        sender.send(vec![chain(NAMED)]).unwrap();
        assert_eq!(receiver.recv().unwrap().len(), 1);
    }

    /// What is sent to exhaust a stack: `depth` times what comes before the innermost value, and what comes after.
    fn bomb(depth: usize, before: &[u8], innermost: &[u8], after: &[u8]) -> Vec<u8> {
        [&before.repeat(depth), innermost, &after.repeat(depth)].concat()
    }

    fn number(number: u64) -> [u8; 8] {
        number.to_le_bytes()
    }

    /// On a thread with the usual stack: what is as deep as `depth` is decoded, sent, received and dropped, what is deeper is
    /// refused, and nothing ends the process.
    fn survives<T: Serialize + DeserializeOwned>(
        depth: usize,
        bomb: impl Fn(usize) -> Vec<u8> + Sync,
    ) {
        thread::scope(|scope| {
            let exchanging = thread::Builder::new().stack_size(STACK).spawn_scoped(scope, || {
                let (sender, receiver) = ipc::channel::<T>().unwrap();
                for depth in [0, 1, depth / 2, depth] {
                    let value = decode_bytes::<T>(&bomb(depth)).unwrap();
                    sender.send(value).unwrap();
                    drop(receiver.recv().unwrap());
                }
                for depth in [depth + 1, 2 * depth, 1000, 100_000] {
                    assert!(decode_bytes::<T>(&bomb(depth)).is_err());
                }
            });
            exchanging.unwrap().join().unwrap();
        });
    }

    /// A stack that overflows ends the process, so it is one of its own that is at risk.
    #[test]
    fn is_limited_before_the_stack_ends() {
        crate::harness::alone("nesting::is_limited_before_the_stack_ends", || {
            survives::<Chain>(127, |depth| bomb(depth, &[1], &[0], &[]));
            survives::<Bare>(255, |depth| bomb(depth, &[1], &[0], &[]));
            let array = [&1_u32.to_le_bytes()[..], &number(1)].concat();
            survives::<Array>(127, |depth| bomb(depth, &array, &[0; 4], &[]));
            let negate = 2_u32.to_le_bytes();
            let leaf = [&[0; 4][..], &1_f64.to_le_bytes()].concat();
            survives::<Expression>(127, |depth| bomb(depth, &negate, &leaf, &[]));
            let binary = [&3_u32.to_le_bytes()[..], b"+"].concat();
            survives::<Expression>(127, |depth| bomb(depth, &binary, &leaf, &leaf));
            let call = [&4_u32.to_le_bytes()[..], &number(0), &number(1)].concat();
            survives::<Expression>(127, |depth| bomb(depth, &call, &leaf, &[]));
            let choose = 5_u32.to_le_bytes();
            let two = [&leaf[..], &leaf].concat();
            survives::<Expression>(127, |depth| bomb(depth, &choose, &leaf, &two));
            let list = [&4_u32.to_le_bytes()[..], &number(1)].concat();
            survives::<Document>(127, |depth| bomb(depth, &list, &[0; 4], &[]));
            let object = [&5_u32.to_le_bytes()[..], &number(1), &number(0)].concat();
            survives::<Document>(127, |depth| bomb(depth, &object, &[0; 4], &[]));
            let function = [&1_u32.to_le_bytes()[..], &[0; 16 * 8]].concat();
            survives::<Syntax>(127, |depth| bomb(depth, &function, &[0; 4], &[]));
            let table = [&2_u32.to_le_bytes()[..], &[0; 1024]].concat();
            survives::<Syntax>(127, |depth| bomb(depth, &table, &[0; 4], &[]));
            let block = [&3_u32.to_le_bytes()[..], &[0; 8 * 8 + 256], &number(1), &[1]].concat();
            survives::<Syntax>(127, |depth| bomb(depth, &block, &[0; 4], &[]));
            let entry = [&[0; 16 * 8 + 512][..], &[1]].concat();
            let last = [0; 16 * 8 + 512 + 1];
            survives::<Entry>(127, |depth| bomb(depth, &entry, &last, &[]));
            let branch = [&[0; 12 * 8 + 256][..], &number(1)].concat();
            let twig = [0; 12 * 8 + 256 + 8];
            survives::<Branch>(127, |depth| bomb(depth, &branch, &twig, &[]));
            let fork = [&2_u32.to_le_bytes()[..], &[0; 8 * 8 + 256], &number(1)].concat();
            survives::<Bush>(127, |depth| bomb(depth, &fork, &[0; 4], &[]));
            let node = [&number(0)[..], &[0; 24 + 64], &number(0), &number(0), &[0], &number(1)];
            let node = node.concat();
            let leaf = [&node[..node.len() - 8], &number(0)].concat();
            survives::<Node>(127, |depth| bomb(depth, &node, &leaf, &[]));
        });
    }

    /// A node with two KiB of its own.
    #[cfg(all(target_os = "linux", not(feature = "force-inprocess")))]
    #[derive(Debug, Serialize, Deserialize)]
    struct Large {
        entries: [[[u64; 8]; 8]; 4],
        next: Vec<Large>,
    }

    /// As deep as may be on a thread with little stack: what it has no room for is an error, and ends nothing.
    #[cfg(all(target_os = "linux", not(feature = "force-inprocess")))]
    fn survives_on<T: Serialize + DeserializeOwned>(
        stack: usize,
        bomb: impl Fn(usize) -> Vec<u8> + Sync,
    ) {
        const WHY: &str = "than the stack of this thread has room for";

        thread::scope(|scope| {
            let small = thread::Builder::new().stack_size(stack).spawn_scoped(scope, || {
                drop(decode_bytes::<T>(&bomb(2)).unwrap());
                let results = (3..=127).map(|depth| decode_bytes::<T>(&bomb(depth)).map(drop));
                let results: Vec<_> = results.collect();
                let most = results.iter().take_while(|result| result.is_ok()).count();
                for result in &results[most..] {
                    let text = result.as_ref().unwrap_err().to_string();
                    assert!(text.contains(WHY), "{text}");
                }
                // It is so for those who send, too, and the channel goes on.
                let (sender, receiver) = ipc::channel::<T>().unwrap();
                thread::scope(|scope| {
                    let big =
                        thread::Builder::new().stack_size(32 << 20).spawn_scoped(scope, || {
                            let deep = decode_bytes::<T>(&bomb(127)).unwrap();
                            sender.send_ref(&deep).unwrap();
                            drop(deep);
                            sender.send(decode_bytes(&bomb(0)).unwrap()).unwrap();
                        });
                    big.unwrap().join().unwrap();
                });
                let received = receiver.recv().map(drop).map_err(|error| error.to_string());
                assert!(received.as_ref().err().is_none_or(|text| text.contains(WHY)));
                assert_eq!(received.is_ok(), most == results.len());
                receiver.recv().unwrap();
                most
            });
            let most = small.unwrap().join().unwrap();
            println!("{} at {stack}: {most}", std::any::type_name::<T>());
        });
    }

    #[cfg(all(target_os = "linux", not(feature = "force-inprocess")))]
    #[test]
    fn is_limited_by_a_stack_that_is_small() {
        crate::harness::alone("nesting::is_limited_by_a_stack_that_is_small", || {
            let array = [&1_u32.to_le_bytes()[..], &number(1)].concat();
            let object = [&5_u32.to_le_bytes()[..], &number(1), &number(0)].concat();
            let fork = [&2_u32.to_le_bytes()[..], &[0; 8 * 8 + 256], &number(1)].concat();
            let large = [&[0; 2048][..], &number(1)].concat();
            for stack in [256 << 10, 512 << 10, 1 << 20, 2 << 20] {
                survives_on::<Chain>(stack, |depth| bomb(depth, &[1], &[0], &[]));
                survives_on::<Bare>(stack, |depth| bomb(2 * depth, &[1], &[0], &[]));
                survives_on::<Array>(stack, |depth| bomb(depth, &array, &[0; 4], &[]));
                survives_on::<Document>(stack, |depth| bomb(depth, &object, &[0; 4], &[]));
                if stack > 256 << 10 {
                    survives_on::<Bush>(stack, |depth| bomb(depth, &fork, &[0; 4], &[]));
                }
                if stack > 512 << 10 {
                    let end = [0; 2048 + 8];
                    survives_on::<Large>(stack, |depth| bomb(depth, &large, &end, &[]));
                }
            }
        });
    }
}

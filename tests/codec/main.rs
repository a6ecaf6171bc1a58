//! The codec with random values and random bytes, compared with the format's own crate; and how
//! deeply values may be nested.

#[path = "../harness/mod.rs"]
mod harness;

mod frames;
mod nesting;
mod refusals;
mod texts;
mod units;

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

/// The format, by its own crate. The limit is on what it may allocate for what a message only
/// announces.
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

/// Checks that bytes decode to the same value in both, or in neither.
fn check_bytes<T: Serialize + DeserializeOwned>(bytes: &[u8]) -> Result<(), TestCaseError> {
    let again = |value: T| bincode::serde::encode_to_vec(&value, config()).ok();
    let theirs = bincode::serde::decode_from_slice::<T, _>(bytes, config())
        .ok()
        .and_then(|(value, used)| (used == bytes.len()).then(|| again(value)));
    let ours = decode_bytes::<T>(bytes).ok().map(again);
    prop_assert_eq!(ours, theirs);
    Ok(())
}

/// Checks that a value is sent if, and only if, it can be received, and that it is received
/// unchanged.
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

/// As [`check_bytes`], of a sequence that may announce more elements than it reads. Strait
/// refuses it because of the announced number, which the format's own crate ignores.
fn check_few(bytes: &[u8]) -> Result<(), TestCaseError> {
    let theirs = bincode::serde::decode_from_slice::<(Few, Vec<u8>), _>(bytes, config());
    if let (Ok(((_, rest), _)), Some(announced)) = (theirs, bytes.first_chunk()) {
        // The bytes that are left over are the same.
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

/// A sequence of which at most three elements are read, and the first two kept, whatever it
/// announces.
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

/// Bytes that are inverted when they are decoded.
#[derive(Clone, Debug, Serialize)]
#[serde(transparent)]
struct Inverted(Vec<u8>);

impl<'de> Deserialize<'de> for Inverted {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Inverted, D::Error> {
        /// Has the name of serde's own visitor.
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

/// A type that is encoded as a byte, and is not `u8`.
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
    fn decoding_inverts_encoding(value in a_rich_value()) {
        let bytes = encode(&value).unwrap();
        prop_assert_eq!(&decode_bytes::<Rich>(&bytes).unwrap(), &value);
        check(&value)?;
    }

    #[test]
    fn sequences_follow_their_serde_impls(
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
    fn bytes_in_every_container_are_decoded_back(
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
        let boxed = bytes.clone().into_boxed_slice();
        let value = (bytes, 1_u16, boxed, queue, signed, octets, pieces, flags, 2_u64);
        let sent = encode(&value).unwrap();
        prop_assert!(decode_bytes::<BytesInEverything>(&sent).unwrap() == value);
        check(&value)?;
    }

    #[test]
    fn changed_bytes_decode_to_another_value_or_fail(
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
    fn random_bytes_decode_or_fail(bytes in vec(any::<u8>(), 0..300)) {
        check_bytes_as_everything(&bytes)?;
    }

    /// Bytes that decode more often: small numbers, little-endian.
    #[test]
    fn random_small_numbers_decode_or_fail(numbers in vec((0..20_u64, 1..9_usize), 0..60)) {
        let bytes = numbers.iter().flat_map(|(number, len)| number.to_le_bytes()[..*len].to_vec());
        check_bytes_as_everything(&bytes.collect::<Vec<_>>())?;
    }

    /// The number of announced elements without bytes is limited.
    #[test]
    fn elements_without_bytes_are_limited(count: u64) {
        let message = count.to_le_bytes();
        let result = decode_bytes::<Vec<()>>(&message);
        let expected = (count <= UNITS as u64 + 8).then_some(count);
        prop_assert_eq!(result.map(|v| v.len() as u64).ok(), expected);
        let _ = decode_bytes::<Vec<Vec<()>>>(&message);
        let _ = decode_bytes::<BTreeSet<()>>(&message);
        let _ = decode_bytes::<Vec<[(); 32]>>(&message);
    }

    /// However deep a value is, it is received if it is sent, and refused by `send` otherwise.
    #[test]
    fn nested_values_are_received_or_refused_by_send(value in a_deep_value()) {
        check_sending(&value)?;
    }

}

proptest! {
    // Each has a million elements.
    #![proptest_config(ProptestConfig { cases: 16, ..settings() })]

    /// Numbers of elements without bytes around the maximum.
    #[test]
    fn values_of_many_elements_are_received_or_refused_by_send(
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

/// Elements of which the second and the fourth may be longer than a byte, read with a look at
/// how many are left before each.
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

/// What it announces and does not read is 2^48 elements: the format's own crate finds three and
/// then twelve. This was found by [`random_small_numbers_decode_or_fail`] when it expected the
/// same of both.
#[test]
fn announced_elements_that_are_not_read_are_refused() {
    let _watchdog = harness::watchdog();
    let numbers: [(u64, usize); 6] = [(0, 6), (1, 5), (12, 8), (0, 8), (0, 3), (0, 1)];
    let bytes = numbers.iter().flat_map(|(number, len)| number.to_le_bytes()[..*len].to_vec());
    let bytes: Vec<u8> = bytes.collect();
    let theirs = bincode::serde::decode_from_slice::<(Few, Vec<u8>), _>(&bytes, config());
    assert!(matches!(theirs, Ok(((_, twelve), 31)) if twelve.len() == 12));
    assert!(decode_bytes::<(Few, Vec<u8>)>(&bytes).is_err());
    check_bytes_as_everything(&bytes).unwrap();
    // With the maximum of announced elements, the decoded ones are those of the other crate.
    let most = (65_536_u64 + bytes.len() as u64 - 12).to_le_bytes();
    let bytes = [&most[..], &bytes[8..]].concat();
    assert!(decode_bytes::<(Few, Vec<u8>)>(&bytes).is_ok());
    check_bytes_as_everything(&bytes).unwrap();
}

#[test]
fn size_hint_is_the_number_of_remaining_elements() {
    let _watchdog = harness::watchdog();
    assert!(decode_bytes::<Counted<false, false>>(&Counted::<false, false>::message()).is_ok());
    assert!(decode_bytes::<Counted<false, true>>(&Counted::<false, true>::message()).is_ok());
    assert!(decode_bytes::<Counted<true, false>>(&Counted::<true, false>::message()).is_ok());
    assert!(decode_bytes::<Counted<true, true>>(&Counted::<true, true>::message()).is_ok());
}

/// Every kind of nesting, at each of the two limits.
#[test]
fn encoder_counts_every_level() {
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

//! The codec with random values and random bytes, compared with the format's own crate; and how deeply values may be nested.

mod harness;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::fmt;

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

fn check_bytes_as_everything(bytes: &[u8]) -> Result<(), TestCaseError> {
    check_bytes::<Rich>(bytes)?;
    check_bytes::<Record>(bytes)?;
    check_bytes::<Vec<u8>>(bytes)?;
    check_bytes::<Vec<Vec<u8>>>(bytes)?;
    check_bytes::<(String, Option<String>)>(bytes)?;
    check_bytes::<BTreeMap<u8, Vec<u8>>>(bytes)?;
    check_bytes::<Vec<(u8, char, bool)>>(bytes)?;
    // It may announce what it will never read; strait refuses that by the announcement.
    if decode_bytes::<(Few, Vec<u8>)>(bytes).is_ok() {
        check_bytes::<(Few, Vec<u8>)>(bytes)?;
    }
    check_bytes::<(Mixed, u16)>(bytes)?;
    check_bytes::<[Option<u8>; 3]>(bytes)?;
    check_bytes::<u128>(bytes)?;
    check_bytes::<()>(bytes)
}

/// A sequence of which only the first two elements are read, whatever it announces.
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
        check(&(Collected(bytes), 3_u32))?;
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
        prop_assert_eq!(result.map(|v| v.len() as u64).ok(), (count <= 65_536 + 8).then_some(count));
        let _ = decode_bytes::<Vec<Vec<()>>>(&message);
        let _ = decode_bytes::<BTreeSet<()>>(&message);
        let _ = decode_bytes::<Vec<[(); 32]>>(&message);
    }
}

mod nesting {
    use std::collections::BTreeMap;
    use std::thread;

    use serde::de::DeserializeOwned;
    use serde::{Deserialize, Serialize};
    use strait::internals::decode_bytes;

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
    }

    /// The least that can be nested.
    #[derive(Debug, Serialize, Deserialize)]
    struct Chain(Option<Box<Chain>>);

    /// What is sent to exhaust a stack: `depth` times what comes before the innermost value, and what comes after.
    fn bomb(depth: usize, before: &[u8], innermost: &[u8], after: &[u8]) -> Vec<u8> {
        [&before.repeat(depth), innermost, &after.repeat(depth)].concat()
    }

    fn number(number: u64) -> [u8; 8] {
        number.to_le_bytes()
    }

    /// On a thread with the usual stack: everything up to `depth` is decoded and dropped, what is far deeper is refused, and
    /// nothing in between ends the process.
    fn survives<T: DeserializeOwned>(depth: usize, bomb: impl Fn(usize) -> Vec<u8> + Sync) {
        thread::scope(|scope| {
            let decoding = thread::Builder::new().stack_size(STACK).spawn_scoped(scope, || {
                assert!(decode_bytes::<T>(&bomb(depth)).is_ok(), "{depth} is not too deep");
                for depth in 0..300 {
                    drop(decode_bytes::<T>(&bomb(depth)));
                }
                assert!(decode_bytes::<T>(&bomb(1000)).is_err());
                assert!(decode_bytes::<T>(&bomb(100_000)).is_err());
            });
            decoding.unwrap().join().unwrap();
        });
    }

    /// A stack that overflows ends the process, so it is one of its own that is at risk.
    #[test]
    fn is_limited_before_the_stack_ends() {
        crate::harness::alone("nesting::is_limited_before_the_stack_ends", || {
            survives::<Chain>(40, |depth| bomb(depth, &[1], &[0], &[]));
            let negate = 2_u32.to_le_bytes();
            let leaf = [&[0; 4][..], &1_f64.to_le_bytes()].concat();
            survives::<Expression>(60, |depth| bomb(depth, &negate, &leaf, &[]));
            let binary = [&3_u32.to_le_bytes()[..], b"+"].concat();
            survives::<Expression>(40, |depth| bomb(depth, &binary, &leaf, &leaf));
            let call = [&4_u32.to_le_bytes()[..], &number(0), &number(1)].concat();
            survives::<Expression>(40, |depth| bomb(depth, &call, &leaf, &[]));
            let choose = 5_u32.to_le_bytes();
            let two = [&leaf[..], &leaf].concat();
            survives::<Expression>(40, |depth| bomb(depth, &choose, &leaf, &two));
            let list = [&4_u32.to_le_bytes()[..], &number(1)].concat();
            survives::<Document>(40, |depth| bomb(depth, &list, &[0; 4], &[]));
            let object = [&5_u32.to_le_bytes()[..], &number(1), &number(0)].concat();
            survives::<Document>(40, |depth| bomb(depth, &object, &[0; 4], &[]));
            let function = [&1_u32.to_le_bytes()[..], &[0; 16 * 8]].concat();
            survives::<Syntax>(60, |depth| bomb(depth, &function, &[0; 4], &[]));
            let table = [&2_u32.to_le_bytes()[..], &[0; 1024]].concat();
            survives::<Syntax>(60, |depth| bomb(depth, &table, &[0; 4], &[]));
            let node = [&number(0)[..], &[0; 24 + 64], &number(0), &number(0), &[0], &number(1)];
            let node = node.concat();
            let leaf = [&node[..node.len() - 8], &number(0)].concat();
            survives::<Node>(40, |depth| bomb(depth, &node, &leaf, &[]));
        });
    }
}

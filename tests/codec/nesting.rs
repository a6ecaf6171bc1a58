//! How deeply values may be nested.

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

/// The stack that `std` gives a thread.
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

/// A node of a syntax tree with many fields, which takes the most stack.
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

/// The smallest type that can be nested.
#[derive(Debug, Serialize, Deserialize)]
struct Chain(Option<Box<Chain>>);

/// Nested in itself without a struct or an enum.
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

/// Checks that the value is received as it was sent.
fn assert_exchanged<T: Serialize + DeserializeOwned>(value: &T) {
    let (sender, receiver) = ipc::channel::<T>().unwrap();
    sender.send_ref(value).unwrap();
    let received = receiver.recv().unwrap();
    let bytes = |value: &T| super::encode(value).unwrap();
    assert_eq!(bytes(&received), bytes(value));
}

/// Checks that the value is refused by `send` with this error, and by `recv` if it was encoded
/// by other means.
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
fn is_limited_by_send() {
    let _watchdog = crate::harness::watchdog();
    assert_exchanged(&chain(NAMED));
    assert_too_deep(&chain(NAMED + 1), "more than 128 structs and enums");
    assert_exchanged(&array(NAMED));
    assert_too_deep(&array(NAMED + 1), "more than 128 structs and enums");
    assert_exchanged(&bare(UNNAMED));
    assert_too_deep(&bare(UNNAMED + 1), "more than 256 sequences, maps, tuples and options");
    // Levels end where their values end: values side by side are not deeper than one of them,
    // whether the one before was complete or not.
    assert_exchanged(&[chain(NAMED), chain(1), chain(NAMED)]);
    assert_exchanged(&(0..10).map(|_| array(NAMED)).collect::<Vec<_>>());
    let (sender, receiver) = ipc::channel::<Vec<Chain>>().unwrap();
    sender.send(vec![chain(NAMED), chain(NAMED + 1)]).unwrap_err();
    sender.send(vec![chain(NAMED)]).unwrap();
    assert_eq!(receiver.recv().unwrap().len(), 1);
}

/// A message that is to exhaust a stack: `depth` times what comes before the innermost value,
/// and what comes after.
fn bomb(depth: usize, before: &[u8], innermost: &[u8], after: &[u8]) -> Vec<u8> {
    [&before.repeat(depth), innermost, &after.repeat(depth)].concat()
}

fn number(number: u64) -> [u8; 8] {
    number.to_le_bytes()
}

/// Checks on a thread with the usual stack that a value of this depth is decoded, sent,
/// received and dropped. A deeper one is refused, and the stack does not overflow.
fn survives<T: Serialize + DeserializeOwned>(depth: usize, bomb: impl Fn(usize) -> Vec<u8> + Sync) {
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

/// A stack that overflows ends the process, so the test has a process of its own.
#[test]
fn is_limited_before_the_stack_ends() {
    crate::harness::alone(crate::harness::path_of(is_limited_before_the_stack_ends), || {
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

/// Checks the maximum of nesting on a thread with a small stack: a value that it has no room
/// for is an error, and the stack does not overflow.
#[cfg(all(target_os = "linux", not(feature = "force-inprocess")))]
fn survives_on<T: Serialize + DeserializeOwned>(
    stack: usize,
    bomb: impl Fn(usize) -> Vec<u8> + Sync,
) {
    const WHY: &str = "too deeply for the stack of this thread";

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
            // `send` has the same limit, and the channel stays usable.
            let (sender, receiver) = ipc::channel::<T>().unwrap();
            thread::scope(|scope| {
                let big = thread::Builder::new().stack_size(32 << 20).spawn_scoped(scope, || {
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
    crate::harness::alone(crate::harness::path_of(is_limited_by_a_stack_that_is_small), || {
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

//! Any bytes as values of many types: strait and the format's own crate decode the same.
//!
//! The first byte of the input chooses the type.

#![no_main]

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use libfuzzer_sys::fuzz_target;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use strait::internals::decode_bytes;
use strait::ipc::{IpcReceiver, IpcSender, IpcSharedMemory};

#[derive(Serialize, Deserialize)]
enum Tree {
    Nothing,
    Number(i128),
    Character(char),
    Text(String),
    Bytes(Vec<u8>),
    Wide { numbers: [u64; 8], flag: bool, float: f64 },
    Branch(Box<Tree>),
    Branches(Vec<Tree>),
    Named(BTreeMap<String, Tree>),
    Maybe(Option<Box<Tree>>),
    Result(Result<Box<Tree>, String>),
}

#[derive(Serialize, Deserialize)]
struct Chain(Option<Box<Chain>>);

/// Nested in itself without a struct or an enum.
#[derive(Serialize, Deserialize)]
#[serde(transparent)]
struct Bare(Option<Box<Bare>>);

#[derive(Serialize, Deserialize)]
struct Record {
    name: String,
    set: BTreeSet<u8>,
    queue: VecDeque<u8>,
    grid: Vec<Vec<u8>>,
    pairs: Vec<(u8, Option<u16>)>,
    boxed: Box<[u8]>,
    array: [u8; 7],
    text: Box<str>,
    time: std::time::Duration,
    path: std::path::PathBuf,
    string: std::ffi::CString,
}

/// With a limit, so that the other crate does not allocate for announced lengths.
fn config() -> impl bincode::config::Config {
    bincode::config::standard().with_fixed_int_encoding().with_limit::<1_000_000>()
}

/// Whether `T` can be nested deeper than strait allows.
#[derive(PartialEq)]
enum Depth {
    Limited,
    Unlimited,
}

fn check<T: Serialize + DeserializeOwned>(bytes: &[u8], depth: Depth) {
    let encode = |value: T| bincode::serde::encode_to_vec(value, config()).ok();
    let ours = decode_bytes::<T>(bytes).ok();
    if ours.is_none() && depth == Depth::Unlimited {
        return;
    }
    let theirs = bincode::serde::decode_from_slice::<T, _>(bytes, config())
        .ok()
        .and_then(|(value, used)| (used == bytes.len()).then_some(value));
    assert_eq!(ours.map(encode), theirs.map(encode));
}

fuzz_target!(|input: &[u8]| {
    let Some((choice, bytes)) = input.split_first() else {
        return;
    };
    match choice % 16 {
        0 => check::<Tree>(bytes, Depth::Unlimited),
        1 => check::<Vec<Tree>>(bytes, Depth::Unlimited),
        2 => drop((decode_bytes::<Chain>(bytes), decode_bytes::<Bare>(bytes))),
        3 => check::<Record>(bytes, Depth::Limited),
        4 => check::<Vec<Record>>(bytes, Depth::Limited),
        5 => check::<Vec<u8>>(bytes, Depth::Limited),
        6 => check::<Vec<Vec<u8>>>(bytes, Depth::Limited),
        7 => check::<(String, Option<String>, char)>(bytes, Depth::Limited),
        8 => check::<BTreeMap<String, Vec<(u8, bool)>>>(bytes, Depth::Limited),
        9 => check::<(u128, i128, f32, Result<u8, String>)>(bytes, Depth::Limited),
        // Elements without bytes: the other crate would count to any number.
        10 => drop(decode_bytes::<Vec<()>>(bytes)),
        11 => drop(decode_bytes::<Vec<Vec<[(); 3]>>>(bytes)),
        12 => drop(decode_bytes::<BTreeMap<(), Vec<()>>>(bytes)),
        // Endpoints, of which there are none.
        13 => drop(decode_bytes::<Vec<IpcSender<u8>>>(bytes)),
        14 => drop(decode_bytes::<(IpcReceiver<u8>, IpcReceiver<u8>)>(bytes)),
        _ => drop(decode_bytes::<Vec<IpcSharedMemory>>(bytes)),
    }
});

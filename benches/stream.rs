//! Messages to another process as fast as they go, timed until it answers the last one.

mod child;

use std::process::ExitCode;

use criterion::measurement::WallTime;
use criterion::{BenchmarkGroup, Criterion, Throughput};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use strait::IpcError;

use crate::child::{Child, Outcome};

const KIB: usize = 1024;
const MIB: usize = 1024 * KIB;

/// Has a flag for the last one, so that the channel carries nothing else.
trait Value: Serialize + DeserializeOwned {
    fn make(last: bool) -> Self;

    fn is_last(&self) -> bool;
}

#[derive(Serialize, Deserialize)]
struct Small {
    last: u64,
    value: f64,
}

impl Value for Small {
    fn make(last: bool) -> Self {
        Self { last: last.into(), value: 21.5 }
    }

    fn is_last(&self) -> bool {
        self.last == 1
    }
}

#[derive(Serialize, Deserialize)]
struct Wide {
    id: u64,
    time: u64,
    matrix: [f64; 4],
    count: u64,
    last: u64,
}

impl Value for Wide {
    fn make(last: bool) -> Self {
        Self {
            id: 7_000_001,
            time: 1_700_000_000_000_000_000,
            matrix: [1.0, 0.5, 0.25, 0.125],
            count: 1_000,
            last: last.into(),
        }
    }

    fn is_last(&self) -> bool {
        self.last == 1
    }
}

impl Value for Vec<u8> {
    fn make(last: bool) -> Self {
        vec![last.into(); 64 * KIB]
    }

    fn is_last(&self) -> bool {
        self.first() == Some(&1)
    }
}

fn main() -> ExitCode {
    child::main(
        &[
            ("small", drain::<Small>),
            ("wide", drain::<Wide>),
            ("vector", drain::<Vec<u8>>),
            ("bytes", drain_bytes),
        ],
        |criterion| {
            if let Err(error) = stream(criterion) {
                panic!("{error}");
            }
        },
    )
}

fn drain<V: Value>(server: &str) -> Outcome<()> {
    let (sender, receiver) = child::join::<V, u64>(server)?;
    let mut received = 0;
    loop {
        match receiver.recv() {
            Ok(value) => {
                received += 1;
                if value.is_last() {
                    sender.send(received)?;
                    received = 0;
                }
            }
            Err(IpcError::Disconnected) => return Ok(()),
            Err(error) => return Err(error.into()),
        }
    }
}

fn drain_bytes(server: &str) -> Outcome<()> {
    let (sender, receiver) = child::join_bytes(server)?;
    let mut received: u64 = 0;
    loop {
        match receiver.recv() {
            Ok(bytes) => {
                received += 1;
                if bytes.first() == Some(&1) {
                    sender.send(&received.to_le_bytes())?;
                    received = 0;
                }
            }
            Err(IpcError::Disconnected) => return Ok(()),
            Err(error) => return Err(error.into()),
        }
    }
}

fn stream(criterion: &mut Criterion) -> Outcome<()> {
    let mut group = criterion.benchmark_group("stream");
    typed::<Small>(&mut group, "small", "16 B struct", 16)?;
    typed::<Wide>(&mut group, "wide", "64 B struct", 64)?;
    typed::<Vec<u8>>(&mut group, "vector", "Vec<u8> of 64 KiB", 64 * KIB)?;
    bytes(&mut group, "bytes 1 KiB", KIB)?;
    bytes(&mut group, "bytes 64 KiB", 64 * KIB)?;
    bytes(&mut group, "bytes 1 MiB", MIB)?;
    // A sample of these is many megabytes.
    group.sample_size(20);
    bytes(&mut group, "bytes 16 MiB", 16 * MIB)?;
    group.finish();
    Ok(())
}

fn typed<V: Value>(
    group: &mut BenchmarkGroup<'_, WallTime>,
    role: &str,
    name: &str,
    size: usize,
) -> Outcome<()> {
    let (child, sender, receiver) = Child::typed::<V, u64>(role)?;
    group.throughput(Throughput::Bytes(size as u64));
    group.bench_function(name, |bencher| {
        child::measure(bencher, |rounds| {
            for round in 1..=rounds {
                sender.send(V::make(round == rounds))?;
            }
            check(rounds, receiver.recv()?)
        });
    });
    drop((sender, receiver));
    child.finish()
}

fn bytes(group: &mut BenchmarkGroup<'_, WallTime>, name: &str, size: usize) -> Outcome<()> {
    let (child, sender, receiver) = Child::bytes("bytes")?;
    let mut chunk = vec![0; size];
    group.throughput(Throughput::Bytes(size as u64));
    group.bench_function(name, |bencher| {
        child::measure(bencher, |rounds| {
            for round in 1..=rounds {
                chunk[0] = u8::from(round == rounds);
                sender.send(&chunk)?;
            }
            check(rounds, u64::from_le_bytes(receiver.recv()?.as_slice().try_into()?))
        });
    });
    drop((sender, receiver));
    child.finish()
}

fn check(sent: u64, received: u64) -> Outcome<()> {
    if sent == received {
        Ok(())
    } else {
        Err(format!("{sent} messages sent, {received} received").into())
    }
}

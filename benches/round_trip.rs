//! A value to another process and the same value back.

mod child;

use std::process::ExitCode;

use criterion::Criterion;
use serde::{Deserialize, Serialize};
use strait::IpcError;

use crate::child::{Child, Outcome};

/// 60 bytes once serialised.
#[derive(Clone, Copy, Serialize, Deserialize)]
struct Record {
    id: u64,
    time: u64,
    position: [f64; 2],
    key: [u8; 16],
    flags: u32,
    count: u32,
    level: u32,
}

fn main() -> ExitCode {
    child::main(&[("echo", echo)], |criterion| {
        if let Err(error) = round_trip(criterion) {
            panic!("{error}");
        }
    })
}

fn echo(server: &str) -> Outcome<()> {
    let (sender, receiver) = child::join::<Record, Record>(server)?;
    loop {
        match receiver.recv() {
            Ok(record) => sender.send(record)?,
            Err(IpcError::Disconnected) => return Ok(()),
            Err(error) => return Err(error.into()),
        }
    }
}

fn round_trip(criterion: &mut Criterion) -> Outcome<()> {
    let (child, sender, receiver) = Child::typed::<Record, Record>("echo")?;
    let record = Record {
        id: 7_000_001,
        time: 1_700_000_000_000_000_000,
        position: [48.2, 16.4],
        key: *b"0123456789abcdef",
        flags: 5,
        count: 1_000,
        level: 3,
    };
    criterion.bench_function("round_trip", |bencher| {
        child::measure(bencher, |rounds| {
            for _ in 0..rounds {
                sender.send(record)?;
                receiver.recv()?;
            }
            Ok(())
        });
    });
    drop((sender, receiver));
    child.finish()
}

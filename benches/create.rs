//! The cost of a channel: made and dropped, and made for a single message.

mod child;

use std::hint::black_box;
use std::process::ExitCode;

use criterion::Criterion;
use strait::ipc::{self, ChannelOptions};

fn main() -> ExitCode {
    child::main(&[], create)
}

fn create(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("create");
    group.bench_function("drop", |bencher| {
        child::measure(bencher, |rounds| {
            for _ in 0..rounds {
                black_box(ipc::channel::<u64>()?);
            }
            Ok(())
        });
    });
    group.bench_function("one message, drop", |bencher| {
        child::measure(bencher, |rounds| {
            for round in 0..rounds {
                let (sender, receiver) = ipc::channel::<u64>()?;
                sender.send(round)?;
                black_box(receiver.recv()?);
            }
            Ok(())
        });
    });
    // Within the process, as the channels of `strait::mpsc` begin.
    let lazy = ChannelOptions::new().lazy(true);
    group.bench_function("lazy, drop", |bencher| {
        child::measure(bencher, |rounds| {
            for _ in 0..rounds {
                black_box(lazy.channel::<u64>()?);
            }
            Ok(())
        });
    });
    group.bench_function("lazy, one message, drop", |bencher| {
        child::measure(bencher, |rounds| {
            for round in 0..rounds {
                let (sender, receiver) = lazy.channel::<u64>()?;
                sender.send(round)?;
                black_box(receiver.recv()?);
            }
            Ok(())
        });
    });
    group.finish();
}

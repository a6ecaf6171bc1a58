//! A value to the far side and the same value back.

use std::hint::black_box;
use std::time::{Duration, Instant};

use crate::contender::{Link, Outcome, Receiver, Sender, Start};
use crate::work::Work;
use crate::work::record::{Record, Value};

#[derive(Clone, Copy)]
pub struct RoundTrip;

impl<C: Link<Record, Record>> Work<C> for RoundTrip {
    type Near = (Sender<C, Record>, Receiver<C, Record>);

    fn near(&self, start: Start<'_>) -> Outcome<Self::Near> {
        C::serve(start)
    }

    fn sample(&self, (sender, receiver): &mut Self::Near, rounds: u64) -> Outcome<Duration> {
        let begun = Instant::now();
        for _ in 0..rounds {
            C::send(sender, black_box(Record::make(false)))?;
            black_box(C::recv(receiver)?.ok_or("no echo")?);
        }
        Ok(begun.elapsed())
    }

    fn far(&self, name: &str) -> Outcome<()> {
        let (mut sender, mut receiver) = C::join(name)?;
        while let Some(record) = C::recv(&mut receiver)? {
            C::send(&mut sender, record)?;
        }
        Ok(())
    }
}

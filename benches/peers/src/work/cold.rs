//! A channel made for one message to another process: the receiver is sent first, then the
//! message, and an answer comes back on a channel that is warm.

use std::hint::black_box;
use std::time::{Duration, Instant};

use crate::contender::{Channel, Fresh, Link, Outcome, Receiver, Sender, Start};
use crate::work::Work;
use crate::work::record::{Record, Value};

#[derive(Clone, Copy)]
pub struct Cold;

type ReturnSlot<C> = Receiver<C, Record>;

impl<C: Fresh<Record> + Link<ReturnSlot<C>, u64>> Work<C> for Cold {
    type Near = (Sender<C, ReturnSlot<C>>, Receiver<C, u64>);

    fn near(&self, start: Start<'_>) -> Outcome<Self::Near> {
        <C as Link<ReturnSlot<C>, u64>>::serve(start)
    }

    fn sample(&self, (parcels, answers): &mut Self::Near, rounds: u64) -> Outcome<Duration> {
        let begun = Instant::now();
        for _ in 0..rounds {
            let (mut sender, receiver) = <C as Fresh<Record>>::channel()?;
            <C as Channel<ReturnSlot<C>>>::send(parcels, receiver)?;
            <C as Channel<Record>>::send(&mut sender, black_box(Record::make(true)))?;
            drop(sender);
            <C as Channel<u64>>::recv(answers)?.ok_or("no answer")?;
        }
        Ok(begun.elapsed())
    }

    fn far(&self, name: &str) -> Outcome<()> {
        let (mut answers, mut parcels) = <C as Link<ReturnSlot<C>, u64>>::join(name)?;
        while let Some(mut receiver) = <C as Channel<ReturnSlot<C>>>::recv(&mut parcels)? {
            let record =
                <C as Channel<Record>>::recv(&mut receiver)?.ok_or("the message is lost")?;
            <C as Channel<u64>>::send(&mut answers, black_box(record).is_last().into())?;
        }
        Ok(())
    }
}

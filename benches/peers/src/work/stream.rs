//! Messages in one direction, as fast as they go; the far side answers the last one. The time
//! is from the first send to that answer, so nothing counts that has not been received.

use std::hint::black_box;
use std::marker::PhantomData;
use std::time::{Duration, Instant};

use crate::contender::{Bytes, Channel, Link, Outcome, Receiver, Sender, Start};
use crate::work::Work;
use crate::work::record::Value;

/// A stream of typed values.
pub struct Values<V>(PhantomData<fn() -> V>);

impl<V> Values<V> {
    pub fn new() -> Self {
        Self(PhantomData)
    }
}

impl<V> Clone for Values<V> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<V> Copy for Values<V> {}

impl<C: Link<V, u64>, V: Value> Work<C> for Values<V> {
    type Near = (Sender<C, V>, Receiver<C, u64>);

    fn near(&self, start: Start<'_>) -> Outcome<Self::Near> {
        C::serve(start)
    }

    fn sample(&self, (sender, receiver): &mut Self::Near, rounds: u64) -> Outcome<Duration> {
        let begun = Instant::now();
        for round in 1..=rounds {
            <C as Channel<V>>::send(sender, black_box(V::make(round == rounds)))?;
        }
        let received = <C as Channel<u64>>::recv(receiver)?.ok_or("no answer")?;
        let elapsed = begun.elapsed();
        if received != rounds {
            return Err(format!("{rounds} messages sent, {received} received").into());
        }
        Ok(elapsed)
    }

    fn far(&self, name: &str) -> Outcome<()> {
        let (mut sender, mut receiver) = C::join(name)?;
        let mut received = 0;
        while let Some(value) = <C as Channel<V>>::recv(&mut receiver)? {
            received += 1;
            if black_box(value).is_last() {
                <C as Channel<u64>>::send(&mut sender, received)?;
                received = 0;
            }
        }
        Ok(())
    }
}

/// A stream of byte strings of this length. The first byte says whether it is the last.
#[derive(Clone, Copy)]
pub struct Chunks(pub usize);

pub struct Source<C: Bytes> {
    sender: C::Sender,
    receiver: C::Receiver,
    chunk: Vec<u8>,
}

impl<C: Bytes> Work<C> for Chunks {
    type Near = Source<C>;

    fn near(&self, start: Start<'_>) -> Outcome<Self::Near> {
        let (sender, receiver) = C::serve(start, self.0)?;
        Ok(Source { sender, receiver, chunk: vec![0; self.0] })
    }

    fn sample(&self, near: &mut Self::Near, rounds: u64) -> Outcome<Duration> {
        let begun = Instant::now();
        for round in 1..=rounds {
            near.chunk[0] = u8::from(round == rounds);
            C::send(&mut near.sender, black_box(&near.chunk))?;
        }
        let answer = C::recv(&mut near.receiver)?.ok_or("no answer")?;
        let elapsed = begun.elapsed();
        if answer != rounds.to_le_bytes() {
            return Err(format!("{rounds} messages sent, {answer:?} received").into());
        }
        Ok(elapsed)
    }

    fn far(&self, name: &str) -> Outcome<()> {
        let (mut sender, mut receiver) = C::join(name, self.0)?;
        let mut received: u64 = 0;
        while let Some(bytes) = C::recv(&mut receiver)? {
            if bytes.len() != self.0 {
                return Err(format!("{} bytes instead of {}", bytes.len(), self.0).into());
            }
            received += 1;
            if black_box(bytes)[0] == 1 {
                C::send(&mut sender, &received.to_le_bytes())?;
                received = 0;
            }
        }
        Ok(())
    }
}

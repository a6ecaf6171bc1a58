//! Receiver sets with few and with many members.

use std::hint::black_box;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use crate::contender::{Outcome, Payload, Sets, Start};
use crate::work::Work;
use crate::work::record::{Small, Value};

/// The far side selects, the near side sends. A round is one message to each active member, and one answer.
#[derive(Clone, Copy)]
pub struct Across {
    pub members: usize,
    pub active: usize,
}

/// What the far side sends: first its members, then an answer per round.
#[derive(Serialize, Deserialize)]
pub enum Down<S> {
    Member(S),
    Answer,
}

pub struct Senders<C: Sets>
where
    C::Sender<Small>: Payload,
{
    all: Vec<C::Sender<Small>>,
    answers: C::Receiver<Down<C::Sender<Small>>>,
}

impl<C: Sets> Work<C> for Across
where
    C::Sender<Small>: Payload,
{
    type Near = Senders<C>;

    fn near(&self, start: Start<'_>) -> Outcome<Self::Near> {
        let (_, answers) = C::serve::<(), Down<C::Sender<Small>>>(start)?;
        let mut all = Vec::with_capacity(self.members);
        while all.len() < self.members {
            match C::recv(&answers)? {
                Some(Down::Member(sender)) => all.push(sender),
                Some(Down::Answer) | None => return Err("too few members".into()),
            }
        }
        Ok(Senders { all, answers })
    }

    fn sample(&self, near: &mut Self::Near, rounds: u64) -> Outcome<Duration> {
        // In the middle, so that neither the first nor the last member is favoured.
        let first = (self.members - self.active) / 2;
        let active = &near.all[first..first + self.active];
        let begun = Instant::now();
        for _ in 0..rounds {
            for sender in active {
                C::send(sender, black_box(Small::make(false)))?;
            }
            C::recv(&near.answers)?.ok_or("no answer")?;
        }
        Ok(begun.elapsed())
    }

    fn far(&self, name: &str) -> Outcome<()> {
        let (sender, _open) = C::join::<(), Down<C::Sender<Small>>>(name)?;
        let mut set = C::set()?;
        for _ in 0..self.members {
            let (member, receiver) = C::channel::<Small>()?;
            C::add(&mut set, receiver)?;
            C::send(&sender, Down::Member(member))?;
        }
        let mut received = 0;
        let mut closed = 0;
        while closed < self.members {
            closed += C::select(&mut set, |small: Small| {
                black_box(small);
                received += 1;
                if received == self.active {
                    received = 0;
                    C::send(&sender, Down::Answer)?;
                }
                Ok(())
            })?;
        }
        Ok(())
    }

    fn messages(&self) -> u64 {
        self.active as u64
    }
}

/// Both sides in one thread: the cost of the calls alone, with no wake-up to hide it.
#[derive(Clone, Copy)]
pub struct Inside {
    pub members: usize,
}

pub struct Local<C: Sets> {
    set: C::Set,
    senders: Vec<C::Sender<Small>>,
}

impl<C: Sets> Work<C> for Inside {
    type Near = Local<C>;

    fn near(&self, _: Start<'_>) -> Outcome<Self::Near> {
        let mut set = C::set()?;
        let mut senders = Vec::with_capacity(self.members);
        for _ in 0..self.members {
            let (sender, receiver) = C::channel()?;
            C::add(&mut set, receiver)?;
            senders.push(sender);
        }
        Ok(Local { set, senders })
    }

    fn sample(&self, near: &mut Self::Near, rounds: u64) -> Outcome<Duration> {
        let sender = &near.senders[self.members / 2];
        let mut received = 0;
        let begun = Instant::now();
        for round in 1..=rounds {
            C::send(sender, black_box(Small::make(false)))?;
            while received < round {
                C::select(&mut near.set, |small: Small| {
                    black_box(small);
                    received += 1;
                    Ok(())
                })?;
            }
        }
        Ok(begun.elapsed())
    }

    fn far(&self, _: &str) -> Outcome<()> {
        Ok(())
    }
}

//! Receiver sets with few and with many members.

use std::hint::black_box;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use crate::contender::{Channel, Fresh, Link, Outcome, Receiver, Sender, Sets, Start};
use crate::work::Work;
use crate::work::record::{Small, Value};

/// The far side selects, the near side sends. A round is one message to each active member, and
/// one answer.
#[derive(Clone, Copy)]
pub struct Across {
    pub members: usize,
    pub active: usize,
}

/// The messages of the far side: first its members, then an answer per round.
#[derive(Serialize, Deserialize)]
pub enum Down<S> {
    Member(S),
    Answer,
}

type Answers<C> = Down<Sender<C, Small>>;

pub struct Senders<C: Sets<Small> + Channel<Answers<C>>> {
    all: Vec<Sender<C, Small>>,
    answers: Receiver<C, Answers<C>>,
}

impl<C: Sets<Small> + Link<(), Answers<C>>> Work<C> for Across {
    type Near = Senders<C>;

    fn near(&self, start: Start<'_>) -> Outcome<Self::Near> {
        let (_, mut answers) = <C as Link<(), Answers<C>>>::serve(start)?;
        let mut all = Vec::with_capacity(self.members);
        while all.len() < self.members {
            match <C as Channel<Answers<C>>>::recv(&mut answers)? {
                Some(Down::Member(sender)) => all.push(sender),
                Some(Down::Answer) | None => return Err("too few members".into()),
            }
        }
        Ok(Senders { all, answers })
    }

    fn sample(&self, near: &mut Self::Near, rounds: u64) -> Outcome<Duration> {
        // In the middle, so that neither the first nor the last member is favoured.
        let first = (self.members - self.active) / 2;
        let active = &mut near.all[first..first + self.active];
        let begun = Instant::now();
        for _ in 0..rounds {
            for sender in &mut *active {
                <C as Channel<Small>>::send(sender, black_box(Small::make(false)))?;
            }
            <C as Channel<Answers<C>>>::recv(&mut near.answers)?.ok_or("no answer")?;
        }
        Ok(begun.elapsed())
    }

    fn far(&self, name: &str) -> Outcome<()> {
        let (mut sender, _open) = <C as Link<(), Answers<C>>>::join(name)?;
        let mut set = C::set()?;
        for _ in 0..self.members {
            let (member, receiver) = <C as Fresh<Small>>::channel()?;
            C::add(&mut set, receiver)?;
            <C as Channel<Answers<C>>>::send(&mut sender, Down::Member(member))?;
        }
        let mut received = 0;
        let mut closed = 0;
        while closed < self.members {
            closed += C::select(&mut set, |small: Small| {
                black_box(small);
                received += 1;
                if received == self.active {
                    received = 0;
                    <C as Channel<Answers<C>>>::send(&mut sender, Down::Answer)?;
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

pub struct Local<C: Sets<Small>> {
    set: C::Set,
    senders: Vec<Sender<C, Small>>,
}

impl<C: Sets<Small>> Work<C> for Inside {
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
        let sender = &mut near.senders[self.members / 2];
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

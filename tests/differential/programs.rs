//! Random programs, run on both.

use super::twin::*;
use super::*;

/// Prints the seed of the program if the test fails.
struct Seed(u64);

impl Drop for Seed {
    fn drop(&mut self) {
        if thread::panicking() {
            eprintln!("the program was that of seed {}", self.0);
        }
    }
}

/// The state of a program.
struct World<'a> {
    random: Random,
    workers: &'a mut Vec<Worker>,
    /// The place of each endpoint that a process has.
    twins: BTreeMap<Name, (usize, Twin)>,
    died_unseen: Vec<Rc<Cell<bool>>>,
    next_name: Name,
    step: u32,
}

impl<'a> World<'a> {
    fn new(seed: u64, workers: &'a mut Vec<Worker>) -> World<'a> {
        let mut world = World {
            random: Random::new(seed),
            workers,
            twins: BTreeMap::new(),
            died_unseen: Vec::new(),
            next_name: 0,
            step: 0,
        };
        for channel in 0..1 + world.random.below(3) {
            let (sender, receiver) = ipc::channel().unwrap();
            let (token_sender, tokens) = mpsc::channel();
            let died_unseen = Rc::new(Cell::new(false));
            world.died_unseen.push(Rc::clone(&died_unseen));
            let twin = TwinReceiver {
                tokens,
                taken: VecDeque::new(),
                is_travelling: Cell::new(false),
                died_unseen,
            };
            world.place(channel, Endpoint::Sender(sender), TwinEnd::Sender(token_sender));
            world.place(channel, Endpoint::Receiver(receiver), TwinEnd::Receiver(twin));
        }
        world
    }

    /// Gives a new endpoint to a random process.
    fn place(&mut self, channel: usize, endpoint: Endpoint, end: TwinEnd) {
        let place = self.random.below(self.workers.len());
        let name = self.name();
        self.workers[place].order(Order::Keep(name, endpoint));
        assert_eq!(self.workers[place].done(), Report::Done);
        self.twins.insert(name, (place, Twin { channel, end }));
    }

    fn name(&mut self) -> Name {
        self.next_name += 1;
        self.next_name
    }

    /// Gives the order, and waits for its report, by a random way.
    fn order(&mut self, place: usize, order: Order) -> Report {
        let by_pipe = self.random.below(2) == 0;
        self.workers[place].tell_by_pipe(by_pipe);
        self.workers[place].order(order);
        self.workers[place].done()
    }

    fn any_of(&mut self, is_one: impl Fn(&Twin) -> bool) -> Option<Name> {
        let names: Vec<Name> = self
            .twins
            .iter()
            .filter(|(_, (_, twin))| is_one(twin))
            .map(|(name, _)| *name)
            .collect();
        if names.is_empty() { None } else { Some(names[self.random.below(names.len())]) }
    }

    fn any_sender(&mut self) -> Option<Name> {
        self.any_of(|twin| matches!(twin.end, TwinEnd::Sender(_)))
    }

    fn any_receiver(&mut self) -> Option<Name> {
        self.any_of(|twin| matches!(twin.end, TwinEnd::Receiver(_)))
    }

    /// A random length: most are small, some near the limit of a path, some large.
    fn len(&mut self) -> u32 {
        let len = match self.random.below(40) {
            0 => self.random.below(300 << 10),
            1 => (200 << 10) - 200 + self.random.below(400),
            2 => (16 << 10) - 100 + self.random.below(200),
            3..=9 => self.random.below(5000),
            10..=19 => 0,
            _ => self.random.below(60),
        };
        len as u32
    }

    fn letters(&mut self, thread: usize) -> Vec<Tag> {
        let count = match self.random.below(3) {
            0 => 1,
            1 => 1 + self.random.below(20),
            // Enough for a ring.
            _ => 70 + self.random.below(150),
        };
        // So many of random length would be several megabytes.
        let mut is_small = count > 50 && self.random.below(4) > 0;
        (0..count as u32)
            .map(|number| {
                let len = if is_small { self.random.below(100) as u32 } else { self.len() };
                is_small |= number > 40;
                Tag { step: self.step, thread: thread as u32, number, len }
            })
            .collect()
    }

    fn run_step(&mut self) {
        self.step += 1;
        match self.random.below(20) {
            0..=5 => self.send(false),
            6..=8 => self.send(true),
            9..=12 => self.receive(),
            13..=15 => self.carry(),
            16..=17 => self.clone_sender(),
            18 => self.drop_one(),
            _ => self.lose_process(),
        }
    }

    /// Lets several threads and processes send letters, which are received meanwhile, or not.
    fn send(&mut self, is_received: bool) {
        let Some(name) = self.any_sender() else { return };
        let channel = self.twins[&name].1.channel;
        let mut senders: BTreeMap<usize, Name> = BTreeMap::new();
        senders.insert(self.twins[&name].0, name);
        if self.random.below(2) == 0 {
            for (name, (place, twin)) in &self.twins {
                if twin.channel == channel && matches!(twin.end, TwinEnd::Sender(_)) {
                    senders.entry(*place).or_insert(*name);
                }
            }
        }
        let receiver = self.twins.iter().find(|(_, (place, twin))| {
            is_received
                && twin.channel == channel
                && matches!(twin.end, TwinEnd::Receiver(_))
                && !senders.contains_key(place)
        });
        let receiver = receiver.map(|(name, _)| *name);
        let mut sent = Vec::new();
        for (place, name) in &senders {
            let threads = if self.random.below(4) == 0 { 2 } else { 1 };
            let letters: Vec<Vec<Tag>> =
                (0..threads).map(|thread| self.letters(10 * place + thread)).collect();
            sent.push((*place, *name, letters));
        }
        for (place, name, letters) in &sent {
            let order = Order::Send { by: *name, letters: letters.clone() };
            self.workers[*place].order(order);
        }
        if let Some(name) = receiver {
            let new: usize = sent.iter().flat_map(|(.., letters)| letters).map(Vec::len).sum();
            let (place, twin) = self.twins.get_mut(&name).unwrap();
            let place = *place;
            let all = twin.receiver().queued() + new;
            let count = all - if self.random.below(2) == 0 { 0 } else { self.random.below(all) };
            let how = if self.random.below(2) == 0 {
                self.some_way_to_wait()
            } else {
                How::WaitForMoment
            };
            let count = if let How::WaitForMoment = how { count.min(20) } else { count };
            self.workers[place].order(Order::Receive { by: name, count, how });
        }
        for (place, name, letters) in sent {
            let report = self.workers[place].done();
            for tag in letters.into_iter().flatten() {
                let sent = self.twins[&name].1.sender().send(Token { tag, carried: vec![] });
                self.compare_sent(channel, &report, sent.is_ok());
            }
        }
        if let Some(name) = receiver {
            self.take_received(name, true);
        }
    }

    fn compare_sent(&self, channel: usize, report: &Report, sent: bool) {
        match report {
            Report::Done => assert!(sent || self.died_unseen[channel].get()),
            Report::Refused => assert!(!sent),
            other => panic!("{other:?}"),
        }
    }

    fn some_way_to_wait(&mut self) -> How {
        [How::Wait, How::Wait, How::Iterate, How::Poll, How::PollEdges][self.random.below(5)]
    }

    fn receive(&mut self) {
        let Some(name) = self.any_receiver() else { return };
        let (place, twin) = self.twins.get_mut(&name).unwrap();
        let (place, queued) = (*place, twin.receiver().queued());
        let is_over = twin.receiver().at_end() == Some(Received::Disconnected);
        let (count, how) = match self.random.below(3) {
            0 => (1 + self.random.below(queued + 3), How::Try),
            1 => (queued + usize::from(is_over), self.some_way_to_wait()),
            _ => (1 + self.random.below(queued.min(5) + 1), How::WaitForMoment),
        };
        self.workers[place].order(Order::Receive { by: name, count, how });
        self.take_received(name, false);
    }

    /// Compares what was received. `is_early` if it was received during the sends, so that
    /// there may have been nothing yet.
    fn take_received(&mut self, name: Name, is_early: bool) {
        let place = self.twins[&name].0;
        let Report::Received(received) = self.workers[place].reports.recv().unwrap() else {
            panic!("nothing was received");
        };
        for received in received {
            if is_early && received == Received::Empty {
                continue;
            }
            let (_, twin) = self.twins.get_mut(&name).unwrap();
            if received == Received::Empty
                && twin.receiver().at_end() == Some(Received::Disconnected)
            {
                // A process that is just being started has copies of all file descriptors, for
                // a moment. Disconnection comes a little later.
                self.workers[place].order(Order::Receive { by: name, count: 1, how: How::Wait });
                let end = self.workers[place].reports.recv().unwrap();
                assert_eq!(end, Report::Received(vec![Received::Disconnected]));
                continue;
            }
            let carried = twin.receiver().take(&received);
            self.twins.extend(carried.into_iter().map(|(name, twin)| (name, (place, twin))));
        }
    }

    /// Moves endpoints in a letter.
    fn carry(&mut self) {
        let Some(name) = self.any_sender() else { return };
        let (place, channel) = (self.twins[&name].0, self.twins[&name].1.channel);
        // A receiver is moved in one direction only: it must not be queued in its own channel.
        let may_go = |(other, (at, twin)): (&Name, &(usize, Twin))| {
            let may_go = match twin.end {
                TwinEnd::Sender(_) => true,
                TwinEnd::Receiver(_) => twin.channel < channel,
            };
            (*at == place && *other != name && may_go).then_some(*other)
        };
        let mut carried: Vec<Name> = self.twins.iter().filter_map(may_go).collect();
        while carried.len() > 1 && self.random.below(3) > 0 {
            carried.swap_remove(self.random.below(carried.len()));
        }
        let letter = Tag { step: self.step, thread: 0, number: 0, len: self.len() % 30_000 };
        let order = Order::Carry { by: name, letter, carried: carried.clone() };
        let report = self.order(place, order);
        if report == Report::Full {
            return;
        }
        let twins = carried.iter().map(|name| {
            let (_, twin) = self.twins.remove(name).unwrap();
            twin.set_travelling(true);
            (*name, twin)
        });
        let token = Token { tag: letter, carried: twins.collect() };
        let sent = self.twins[&name].1.sender().send(token);
        if let Err(mpsc::SendError(token)) = &sent {
            // Its sender drops what could not be sent.
            token.carried.iter().for_each(|(_, twin)| twin.set_travelling(false));
        }
        self.compare_sent(channel, &report, sent.is_ok());
    }

    fn clone_sender(&mut self) {
        let Some(of) = self.any_sender() else { return };
        let new = self.name();
        let (place, twin) = &self.twins[&of];
        let place = *place;
        let twin = Twin { channel: twin.channel, end: TwinEnd::Sender(twin.sender().clone()) };
        assert_eq!(self.order(place, Order::Clone { of, new }), Report::Done);
        self.twins.insert(new, (place, twin));
    }

    fn drop_one(&mut self) {
        // Receivers are dropped seldom: without one there is not much to compare.
        let name = if self.random.below(5) == 0 { self.any_receiver() } else { self.any_sender() };
        let Some(name) = name else { return };
        let (place, twin) = self.twins.remove(&name).unwrap();
        assert_eq!(self.order(place, Order::Drop(name)), Report::Done);
        drop(twin);
    }

    /// A process exits with all its endpoints, and another takes its place.
    fn lose_process(&mut self) {
        let lost = self.random.below(self.workers.len());
        if self.random.below(3) > 0 {
            return;
        }
        let worker = std::mem::replace(&mut self.workers[lost], Worker::start(lost));
        worker.exited();
        self.unlink_all(lost);
    }

    /// The senders of a receiver that exited with its process have not noticed yet.
    fn unlink_all(&mut self, lost: usize) {
        self.twins.retain(|_, (place, twin)| {
            if *place == lost && lost != 0 {
                twin.set_travelling(true);
            }
            *place != lost
        });
    }

    /// Receives all letters, while dropping the senders one by one.
    fn finish(mut self) {
        loop {
            let receivers: Vec<Name> = self
                .twins
                .iter()
                .filter(|(_, (_, twin))| matches!(twin.end, TwinEnd::Receiver(_)))
                .map(|(name, _)| *name)
                .collect();
            for name in receivers {
                let (place, twin) = self.twins.get_mut(&name).unwrap();
                let (place, count) = (*place, twin.receiver().queued() + 1);
                let order = Order::Receive { by: name, count, how: How::Try };
                self.workers[place].order(order);
                self.take_received(name, false);
            }
            // More of them may have been received.
            let Some(name) = self.any_sender() else { break };
            let (place, twin) = self.twins.remove(&name).unwrap();
            assert_eq!(self.order(place, Order::Drop(name)), Report::Done);
            drop(twin);
        }
        for worker in &mut *self.workers {
            worker.order(Order::Clear);
            assert_eq!(worker.done(), Report::Done);
        }
    }
}

#[test]
fn random_programs_behave_as_with_std() {
    let _watchdog = harness::watchdog();
    thread::scope(|scope| {
        // Run at the same time, so that they affect each other.
        for first in [1000, 2000] {
            scope.spawn(move || {
                let mut workers: Vec<Worker> = (0..3).map(Worker::start).collect();
                for seed in first..first + 40 {
                    let _seed = Seed(seed);
                    let mut world = World::new(seed, &mut workers);
                    for _ in 0..30 {
                        world.run_step();
                    }
                    world.finish();
                }
                workers.into_iter().for_each(Worker::exited);
            });
        }
    });
}

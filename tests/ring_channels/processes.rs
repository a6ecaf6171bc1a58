//! C3, C5, C6: processes that are killed, stopped, forked, and that pass receivers on.

use super::*;

/// Kills a sender with a busy ring, at a random moment.
fn kill_senders(rounds: u64, plan: Plan) {
    let mut random = Random::new(rounds);
    let mut most_sent = 0;
    for _ in 0..rounds {
        let (sender, receiver) = ipc::channel::<Note>().unwrap();
        let sent = SharedMemoryWriter::new(8).unwrap();
        let mut sender = Some(sender);
        let child = fork(|| {
            let sender = sender.take().unwrap();
            for number in 0.. {
                sender.send(Note::new(0, number, plan)).unwrap();
                sent.write_at(0, &(number + 1).to_ne_bytes()).unwrap();
            }
        });
        drop(sender);
        let mut received = 0;
        let before = if plan == Plan::Small { 150 + random.below(300) } else { random.below(10) };
        for _ in 0..before {
            receiver.recv().unwrap().check(&mut received);
        }
        for _ in 0..random.below(6000) {
            std::hint::spin_loop();
        }
        child.killed();
        loop {
            match receiver.recv() {
                Ok(note) => note.check(&mut received),
                Err(IpcError::Disconnected) => break,
                Err(error) => panic!("{error:?}"),
            }
        }
        let mut bytes = [0; 8];
        sent.read_at(0, &mut bytes).unwrap();
        let sent = u64::from_ne_bytes(bytes);
        // The last note may have been sent while its process was killed, before it was counted.
        assert!((sent..=sent + 1).contains(&received), "sent {sent}, received {received}");
        most_sent = most_sent.max(sent);
    }
    assert!(plan != Plan::Small || most_sent > 500);
}

#[test]
fn c5_messages_in_a_ring_are_received_after_their_sender_is_killed() {
    harness::alone(
        harness::path_of(c5_messages_in_a_ring_are_received_after_their_sender_is_killed),
        || {
            kill_senders(200, Plan::Small);
        },
    );
}

#[test]
fn c5_large_messages_in_a_ring_are_received_after_their_sender_is_killed() {
    let name =
        harness::path_of(c5_large_messages_in_a_ring_are_received_after_their_sender_is_killed);
    harness::alone(name, || {
        kill_senders(60, Plan::Large);
        kill_senders(60, Plan::Mixed);
    });
}

/// The job of a writing child.
#[derive(Debug, Serialize, Deserialize)]
struct Job {
    notes: IpcSender<Note>,
    from: u32,
    count: u64,
    plan: Plan,
}

#[test]
fn writing_child() {
    harness::child_main(|arguments| {
        let (job_sender, jobs) = ipc::channel::<Job>().unwrap();
        IpcSender::connect(arguments[0].clone()).unwrap().send(job_sender).unwrap();
        let Job { notes, from, count, plan } = jobs.recv().unwrap();
        for number in 0..count {
            notes.send(Note::new(from, number, plan)).unwrap();
        }
    });
}

fn start_writer(notes: IpcSender<Note>, from: u32, count: u64, plan: Plan) -> Child {
    let (server, name) = IpcOneShotServer::<IpcSender<Job>>::new().unwrap();
    let child = harness::child(harness::path_of(writing_child), &[&name]);
    server.accept().unwrap().1.send(Job { notes, from, count, plan }).unwrap();
    child
}

/// A process that receives notes for a while, and passes on how many it has received.
#[derive(Debug, Serialize, Deserialize)]
struct Turn {
    notes: IpcReceiver<Note>,
    next: Vec<u64>,
    /// Stops after so many notes, or at disconnection.
    count: usize,
    pass_on: IpcSender<Turn>,
}

impl Turn {
    /// Whether there may be more.
    fn take(&mut self) -> bool {
        for _ in 0..self.count {
            match self.notes.recv() {
                Ok(note) => note.check(&mut self.next[note.from as usize]),
                Err(IpcError::Disconnected) => return false,
                Err(error) => panic!("{error:?}"),
            }
        }
        true
    }
}

#[test]
fn taking_child() {
    harness::child_main(|arguments| {
        let (turn_sender, turns) = ipc::channel::<Turn>().unwrap();
        IpcSender::connect(arguments[0].clone()).unwrap().send(turn_sender).unwrap();
        for mut turn in turns.iter() {
            if !turn.take() {
                turn.count = 0;
            }
            turn.pass_on.clone().send(turn).unwrap();
        }
    });
}

fn start_taker() -> (Child, IpcSender<Turn>) {
    let (server, name) = IpcOneShotServer::<IpcSender<Turn>>::new().unwrap();
    let child = harness::child(harness::path_of(taking_child), &[&name]);
    (child, server.accept().unwrap().1)
}

fn pid_of(child: &Child) -> Pid {
    Pid::from_raw(child.id().try_into().unwrap()).unwrap()
}

#[test]
fn c3_stopped_senders_and_a_stopped_receiver_lose_nothing() {
    let _watchdog = harness::watchdog();
    let (notes, received) = ipc::channel().unwrap();
    let (taker, turns) = start_taker();
    let (pass_on, passed_on) = ipc::channel::<Turn>().unwrap();
    let writers: Vec<Child> =
        (0..3).map(|from| start_writer(notes.clone(), from, 8000, Plan::Mixed)).collect();
    drop(notes);
    turns.send(Turn { notes: received, next: vec![0; 3], count: usize::MAX, pass_on }).unwrap();
    let is_over = Arc::new(AtomicBool::new(false));
    let pids: Vec<Pid> = writers.iter().chain([&taker]).map(pid_of).collect();
    let disturbing = thread::spawn({
        let is_over = Arc::clone(&is_over);
        move || {
            let mut random = Random::new(3);
            while !is_over.load(Ordering::Relaxed) {
                let pid = pids[random.below(pids.len())];
                // A writer may have exited, and is not reaped yet.
                kill_process(pid, Signal::STOP).unwrap();
                thread::sleep(Duration::from_micros(random.below(1500) as u64));
                kill_process(pid, Signal::CONT).unwrap();
                thread::sleep(Duration::from_micros(random.below(500) as u64));
            }
        }
    });
    let turn = passed_on.recv().unwrap();
    is_over.store(true, Ordering::Relaxed);
    disturbing.join().unwrap();
    assert_eq!(turn.next, [8000; 3]);
    writers.into_iter().for_each(Child::completed);
    drop((turn, turns));
    taker.completed();
}

/// A process that only sends, by ring, can notice that the receiver is gone only by a look at
/// its socket.
#[test]
fn c6_sender_by_ring_is_disconnected_when_the_receiver_is_killed() {
    harness::alone(
        harness::path_of(c6_sender_by_ring_is_disconnected_when_the_receiver_is_killed),
        || {
            let mut random = Random::new(6);
            for round in 0..40 {
                let (sender, receiver) = ipc::channel::<Note>().unwrap();
                let (progress, seen) = ipc::channel::<u64>().unwrap();
                let mut receiver = Some(receiver);
                let child = fork(|| {
                    let receiver = receiver.take().unwrap();
                    // The receiver does not sleep.
                    let mut next = 0;
                    loop {
                        match receiver.try_recv() {
                            Ok(note) => note.check(&mut next),
                            Err(error) => assert!(error.is_empty(), "{error:?}"),
                        }
                        if next == 500 {
                            progress.send(next).unwrap();
                        }
                    }
                });
                drop((receiver, progress));
                let mut number = 0;
                let mut child = Some(child);
                let until = 1000 + random.below(3000) as u64;
                let error = loop {
                    match sender.send(Note::new(0, number, Plan::Small)) {
                        Ok(()) => number += 1,
                        Err(error) => break error,
                    }
                    if number == 600 {
                        assert_eq!(seen.recv().unwrap(), 500);
                    }
                    if number == until {
                        child.take().unwrap().killed();
                    }
                };
                assert!(error.is_disconnected(), "{error:?}");
                assert!(number >= until, "round {round}");
                // All further sends fail, too.
                for _ in 0..3 {
                    let again = sender.send(Note::new(0, number, Plan::Mixed)).unwrap_err();
                    assert!(again.is_disconnected(), "{again:?}");
                }
            }
        },
    );
}

#[test]
fn c3_forked_sender_and_its_parent_keep_their_orders() {
    harness::alone(harness::path_of(c3_forked_sender_and_its_parent_keep_their_orders), || {
        let (sender, receiver) = ipc::channel::<Note>().unwrap();
        let mut sender = Some(sender);
        let receiving = fork(|| {
            drop(sender.take());
            let mut next = [0; 7];
            for note in receiver.iter() {
                note.check(&mut next[note.from as usize]);
            }
            assert_eq!(next, [8000, 2000, 2000, 2000, 2000, 2000, 2000]);
        });
        drop(receiver);
        let sender = sender.unwrap();
        let send = |from, numbers: std::ops::Range<u64>| {
            for number in numbers {
                sender.send(Note::new(from, number, Plan::Mixed)).unwrap();
            }
        };
        send(0, 0..1000);
        assert_eq!(rings(), 1);
        let mut children = Vec::new();
        for child in 1..=6 {
            children.push(fork(|| {
                if child % 2 == 0 {
                    // A child of a child shares no ring with either.
                    send(child, 0..1000);
                    fork(|| send(child, 1000..2000)).completed();
                } else {
                    send(child, 0..2000);
                }
            }));
            let from = u64::from(child) * 1000;
            send(0, from..from + 1000);
        }
        send(0, 7000..8000);
        children.into_iter().for_each(Fork::completed);
        drop(sender);
        receiving.completed();
    });
}

#[test]
fn c3_a_receiver_moves_with_its_rings_again_and_again() {
    harness::alone(harness::path_of(c3_a_receiver_moves_with_its_rings_again_and_again), || {
        let before = harness::handles();
        let (notes, received) = ipc::channel().unwrap();
        let takers = [start_taker(), start_taker()];
        let (pass_on, passed_on) = ipc::channel::<Turn>().unwrap();
        let writers: Vec<Child> =
            (0..3).map(|from| start_writer(notes.clone(), from, 3000, Plan::Mixed)).collect();
        drop(notes);
        let mut random = Random::new(30);
        let mut turn = Turn { notes: received, next: vec![0; 3], count: 0, pass_on };
        let mut most_rings = 0;
        loop {
            turn.count = 1 + random.below(200);
            match random.below(3) {
                2 => {
                    let goes_on = turn.take();
                    most_rings = most_rings.max(rings());
                    if !goes_on {
                        break;
                    }
                }
                taker => {
                    takers[taker].1.send(turn).unwrap();
                    turn = passed_on.recv().unwrap();
                }
            }
        }
        assert_eq!(turn.next, [3000; 3]);
        // All of them, as a rule; but a writer with few notes ends soon.
        assert!(most_rings > 0);
        writers.into_iter().for_each(Child::completed);
        drop((turn, passed_on));
        for (taker, turns) in takers {
            drop(turns);
            taker.completed();
        }
        assert_eq!(harness::handles_besides(&before), []);
    });
}

/// Also if the receiver never received a message.
#[test]
fn c6_next_send_is_disconnected_after_the_receiver_is_dropped() {
    let _watchdog = harness::watchdog();
    for received in [0, 1] {
        let (sender, receiver) = ipc::bytes_channel().unwrap();
        for _ in 0..3 {
            sender.send(&vec![1; 300_000]).unwrap();
        }
        for _ in 0..received {
            receiver.recv().unwrap();
        }
        drop(receiver);
        assert!(sender.send(b"more").is_err());
    }
}

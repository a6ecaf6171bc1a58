//! A relay: a receiver that is passed on from process to process, and letters that are sent to
//! it meanwhile.

use super::*;

/// What is handed on: the process that has it sends some letters and passes it to
/// another process.
#[derive(Debug, Serialize, Deserialize)]
struct Baton {
    hops: u32,
    random: u64,
}

/// The endpoints of a process of the relay.
#[derive(Debug, Serialize, Deserialize)]
struct Track {
    index: usize,
    batons: IpcReceiver<Baton>,
    to: Vec<IpcSender<Baton>>,
    letters: IpcSender<Letter>,
}

/// Sends letters while it has the baton, some with an endpoint, which are sent by socket
/// instead of ring.
fn run(track: Track) {
    let Track { batons, to, letters, index } = track;
    for Baton { hops, random } in batons.iter() {
        if hops == 0 {
            // Tells the other processes to end, too.
            for sender in &to {
                // A process that has ended already needs no message.
                let _ = sender.send(Baton { hops, random });
            }
            return;
        }
        let mut random = Random::new(random);
        let count = if random.below(30) == 0 { 100 } else { 1 + random.below(3) };
        for number in 0..count {
            let len = match random.below(200) {
                0 => 100_000,
                1..=10 => 20_000,
                _ => random.below(50),
            };
            let tag =
                Tag { step: hops, thread: index as u32, number: number as u32, len: len as u32 };
            let has_endpoint = random.below(6) == 0;
            let carried =
                has_endpoint.then(|| (0, Endpoint::Sender(letters.clone()))).into_iter().collect();
            letters.send(Letter { tag, body: tag.body(), carried }).unwrap();
        }
        let next = random.below(to.len());
        to[next].send(Baton { hops: hops - 1, random: random.next() }).unwrap();
    }
}

#[test]
fn running_child() {
    harness::child_main(|arguments| {
        let (sender, receiver) = ipc::channel().unwrap();
        let boot = IpcSender::<IpcSender<Track>>::connect(arguments[0].clone()).unwrap();
        boot.send(sender).unwrap();
        run(receiver.recv().unwrap());
    });
}

/// The process with the baton knows of all letters sent before. The baton moves as fast as it
/// can while the letters are received.
#[test]
fn messages_sent_by_a_relay_of_processes_arrive_in_order() {
    const HOPS: u32 = 1000;

    let _watchdog = harness::watchdog();
    for (index, (way, receive)) in all_ways::<Letter>().into_iter().enumerate() {
        let runners = 2 + index as u64 % 2;
        let (letters, received) = ipc::channel::<Letter>().unwrap();
        let (to, batons): (Vec<_>, Vec<_>) =
            (0..runners).map(|_| ipc::channel::<Baton>().unwrap()).unzip();
        let mut tracks: Vec<Track> = (0..)
            .zip(batons)
            .map(|(index, batons)| Track {
                index,
                batons,
                to: to.clone(),
                letters: letters.clone(),
            })
            .collect();
        drop(letters);
        let mine = tracks.pop().unwrap();
        let children: Vec<Child> = tracks
            .into_iter()
            .map(|track| {
                let (server, name) = IpcOneShotServer::<IpcSender<Track>>::new().unwrap();
                let child = harness::child(harness::path_of(running_child), &[&name]);
                server.accept().unwrap().1.send(track).unwrap();
                child
            })
            .collect();
        let running = thread::spawn(move || run(mine));
        to[0].send(Baton { hops: HOPS, random: runners }).unwrap();
        drop(to);
        let mut last = Tag { step: HOPS + 1, thread: 0, number: 0, len: 0 };
        let mut count = 0;
        let mut next = receive(received);
        loop {
            let letter = match next() {
                Next::Value(letter) => letter,
                Next::Refused => panic!("{way}: an error out of nothing"),
                Next::Closed => break,
            };
            let tag = letter.tag;
            assert!(letter.body == tag.body(), "{way}: {tag:?} is damaged");
            let is_next = (tag.step, tag.thread, tag.number)
                == (last.step, last.thread, last.number + 1)
                || (tag.step, tag.number) == (last.step - 1, 0);
            assert!(is_next, "{way}: {tag:?} came after {last:?}");
            last = tag;
            count += 1;
        }
        assert_eq!(last.step, 1, "{way}");
        assert!(count >= HOPS, "{way}");
        running.join().unwrap();
        children.into_iter().for_each(Child::completed);
    }
}

//! Floods: peers that send faster than the receiver receives.

use std::cell::RefCell;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::net::sockopt::{self, Timeout};
use serde::{Deserialize, Serialize};
use strait::internals::frame::{Kind, Position};
use strait::ipc::{
    self, ChannelOptions, IpcReceiver, IpcReceiverSet, IpcSelectionResult, IpcSender,
};

use crate::harness;
use crate::harness::raw::{self, Random};
use crate::harness::ring::{self, RawRing};
use crate::harness::ways::{Next, ways};

/// A thread that sends until this is dropped.
pub(crate) struct Flood {
    is_over: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Flood {
    /// `send` must not block for ever.
    fn of(mut send: impl FnMut() -> io::Result<()> + Send + 'static) -> Flood {
        let is_over = Arc::new(AtomicBool::new(false));
        let is_over_too = Arc::clone(&is_over);
        let thread = thread::spawn(move || {
            while !is_over_too.load(Ordering::Relaxed) {
                if send().is_err() {
                    // The socket is full.
                    thread::yield_now();
                }
            }
        });
        Flood { is_over, thread: Some(thread) }
    }

    /// A flood of parts that never complete a message and are no error, from several threads,
    /// so that the socket is never empty.
    fn of_parts(socket: impl AsFd) -> [Flood; 3] {
        Flood::of_counted_parts(socket, &Arc::default())
    }

    /// The same, with a count of all that were sent.
    fn of_counted_parts(socket: impl AsFd, all: &Arc<AtomicUsize>) -> [Flood; 3] {
        sockopt::set_socket_send_buffer_size(&socket, 4 << 20).unwrap();
        [1, 2, 3].map(|id| {
            let socket = socket.as_fd().try_clone_to_owned().unwrap();
            let parts = [raw::first(id, 100, b"x"), raw::abort(id)];
            let all = Arc::clone(all);
            let mut sent = 0;
            Flood::of(move || {
                raw::try_send(&socket, &parts[sent % 2], &[])?;
                sent += 1;
                all.fetch_add(1, Ordering::Relaxed);
                Ok(())
            })
        })
    }

    /// A flood of one packet, from several threads, until `most` of them were sent. `sent` counts
    /// them.
    pub(crate) fn of_packets(
        socket: impl AsFd,
        packet: &[u8],
        most: usize,
        sent: &Arc<AtomicUsize>,
    ) -> [Flood; 3] {
        sockopt::set_socket_send_buffer_size(&socket, 4 << 20).unwrap();
        [(); 3].map(|()| {
            let socket = socket.as_fd().try_clone_to_owned().unwrap();
            let (packet, sent) = (packet.to_vec(), Arc::clone(sent));
            Flood::of(move || {
                if sent.load(Ordering::Relaxed) >= most {
                    return Err(io::ErrorKind::WouldBlock.into());
                }
                raw::try_send(&socket, &packet, &[])?;
                sent.fetch_add(1, Ordering::Relaxed);
                Ok(())
            })
        })
    }

    /// A flood of valid messages.
    fn of_messages(socket: OwnedFd, body: Vec<u8>) -> Flood {
        let message = raw::message(0, &body);
        Flood::of(move || raw::try_send(&socket, &message, &[]))
    }
}

impl Drop for Flood {
    fn drop(&mut self) {
        self.is_over.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            thread.join().unwrap();
        }
    }
}

/// Sends a number from another thread, without waiting for room. The kernel wakes a waiting
/// sender only when three quarters of the socket's buffer are free, and senders that do not
/// wait fill it before.
fn keep_trying(socket: impl AsFd, number: u32) -> JoinHandle<()> {
    let socket = socket.as_fd().try_clone_to_owned().unwrap();
    let message = raw::message(0, &number.to_le_bytes());
    thread::spawn(move || {
        while raw::try_send(&socket, &message, &[]).is_err() {
            thread::yield_now();
        }
    })
}

#[test]
fn c7_timeouts_end_in_a_flood_of_parts() {
    let _watchdog = harness::watchdog();
    let (sender, receiver) = ipc::channel::<u32>().unwrap();
    let flood = Flood::of_parts(&sender);
    for timeout in [3, 30].map(Duration::from_millis) {
        let start = Instant::now();
        assert!(receiver.try_recv().unwrap_err().is_empty());
        assert!(receiver.recv_timeout(timeout).unwrap_err().is_empty());
        assert!(start.elapsed() >= timeout);
    }
    let sending = keep_trying(&sender, 1);
    assert_eq!(receiver.recv().unwrap(), 1);
    sending.join().unwrap();
    let mut set = IpcReceiverSet::new().unwrap();
    set.add(receiver).unwrap();
    for timeout in [3, 30].map(Duration::from_millis) {
        let start = Instant::now();
        assert!(set.try_select().unwrap_err().is_empty());
        assert!(set.try_select_timeout(timeout).unwrap_err().is_empty());
        assert!(start.elapsed() >= timeout);
    }
    let sending = keep_trying(&sender, 2);
    let (_, message) = set.select().unwrap().remove(0).unwrap();
    assert_eq!(message.to::<u32>().unwrap(), 2);
    sending.join().unwrap();
    drop(flood);
}

/// Also while the receiver has a ring, and therefore reads the socket ahead.
#[test]
fn c7_a_call_beside_a_ring_takes_a_bounded_amount_of_parts() {
    let _watchdog = harness::watchdog();
    let (sender, receiver) = ipc::channel::<u32>().unwrap();
    let ring = RawRing::new();
    ring.offer(&sender, true);
    assert!(receiver.try_recv().unwrap_err().is_empty());
    assert_eq!(ring.state().load(Ordering::Acquire), ring::ACCEPTED);
    let sent = Arc::new(AtomicUsize::new(0));
    let floods = Flood::of_counted_parts(&sender, &sent);
    while raw::is_writable(&sender) {
        thread::yield_now();
    }
    for _ in 0..5 {
        let before = sent.load(Ordering::Relaxed);
        assert!(receiver.try_recv().unwrap_err().is_empty());
        let taken = sent.load(Ordering::Relaxed) - before;
        assert!(taken < 100_000, "{taken}");
    }
    drop(floods);
}

thread_local! {
    /// The sender of each [`Encore`], how many were decoded, and how many packets precede each.
    static ENCORES: RefCell<Option<(IpcSender<Encore>, usize, usize)>> =
        const { RefCell::new(None) };
}

/// A value that cannot be decoded. Each attempt to decode it sends another.
#[derive(Debug)]
struct Encore;

impl Serialize for Encore {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_u32(0)
    }
}

impl<'de> Deserialize<'de> for Encore {
    fn deserialize<D: serde::Deserializer<'de>>(_: D) -> Result<Encore, D::Error> {
        ENCORES.with_borrow_mut(|encores| {
            let (sender, count, others) = encores.as_mut().unwrap();
            *count += 1;
            if *count < 100_000 {
                let wake_up = raw::packet(Kind::WakeUp, 0, &[]);
                (0..*others).for_each(|_| raw::try_send(&*sender, &wake_up, &[]).unwrap());
                sender.send(Encore).unwrap();
            }
        });
        Err(serde::de::Error::custom("one more"))
    }
}

/// Returns how many of them `call` has tried to decode, with so many other packets before each.
fn encores(others: usize, call: impl FnOnce(IpcReceiver<Encore>)) -> usize {
    let (sender, receiver) =
        ChannelOptions::new().shared_memory(false).channel::<Encore>().unwrap();
    sender.send(Encore).unwrap();
    ENCORES.set(Some((sender, 0, others)));
    call(receiver);
    ENCORES.take().unwrap().1
}

#[test]
fn c7_an_iterator_that_does_not_block_passes_over_hundreds_of_malformed_messages() {
    let _watchdog = harness::watchdog();
    let (sender, receiver) = ipc::channel::<u32>().unwrap();
    sockopt::set_socket_send_buffer_size(&sender, 4 << 20).unwrap();
    let send = |number| {
        (0..1000).for_each(|_| raw::send(&sender, b"bad", &[]).unwrap());
        sender.send(number).unwrap();
    };
    send(1);
    assert_eq!(receiver.try_iter().next(), Some(1));
    send(2);
    let receiver = strait::mpsc::Receiver::from(receiver);
    assert_eq!(receiver.try_recv(), Ok(2));
}

#[test]
fn c7_an_iterator_that_does_not_block_passes_over_a_bounded_amount() {
    let _watchdog = harness::watchdog();
    let tried = encores(0, |receiver| assert!(receiver.try_iter().next().is_none()));
    assert!((1..2000).contains(&tried), "{tried}");
    let tried = encores(0, |receiver| {
        assert!(strait::mpsc::Receiver::from(receiver).try_iter().next().is_none());
    });
    assert!((1..2000).contains(&tried), "{tried}");

    let (sender, receiver) = ipc::bytes_channel().unwrap();
    let sent = Arc::new(AtomicUsize::new(0));
    let floods = Flood::of_packets(&sender, b"bad", 1_000_000, &sent);
    while raw::is_writable(&sender) {
        thread::yield_now();
    }
    let before = sent.load(Ordering::Relaxed);
    assert!(receiver.try_iter().next().is_none());
    let taken = sent.load(Ordering::Relaxed) - before;
    assert!(taken < 100_000, "{taken}");
    drop(floods);
}

/// The packets before each skipped message count, too.
#[test]
fn c7_a_call_that_passes_over_messages_takes_a_bounded_amount_of_other_packets() {
    let _watchdog = harness::watchdog();
    let tried = encores(150, |receiver| assert!(receiver.try_iter().next().is_none()));
    assert!((1..20).contains(&tried), "{tried}");
    let tried = encores(150, |receiver| {
        assert!(strait::mpsc::Receiver::from(receiver).try_recv().is_err());
    });
    assert!((1..20).contains(&tried), "{tried}");
}

#[test]
fn c7_flooded_set_member_does_not_delay_others() {
    let _watchdog = harness::watchdog();
    let mut set = IpcReceiverSet::new().unwrap();
    let mut member = || {
        let (sender, receiver) = ipc::channel::<u64>().unwrap();
        (sender, set.add(receiver).unwrap())
    };
    let flooded: Vec<_> = (0..2).map(|_| member()).collect();
    let quiet: Vec<_> = (0..50).map(|_| member()).collect();
    let floods: Vec<Flood> = flooded
        .iter()
        .map(|(sender, _)| {
            let socket = sender.as_fd().try_clone_to_owned().unwrap();
            Flood::of_messages(socket, 0_u64.to_le_bytes().to_vec())
        })
        .collect();
    for round in 1..20 {
        for (sender, _) in &quiet {
            sender.send(round).unwrap();
        }
        let mut heard = 0;
        let mut selections = 0;
        while heard < quiet.len() {
            selections += 1;
            let results = set.try_select_timeout(Duration::from_millis(10)).unwrap();
            assert!(results.len() < 2000, "{} results at once", results.len());
            for result in results {
                let (id, message) = result.unwrap();
                if flooded.iter().all(|(_, flooded)| id != *flooded) {
                    assert_eq!(message.to::<u64>().unwrap(), round);
                    heard += 1;
                }
            }
        }
        assert!(selections <= 3, "{selections} selections to hear them all");
    }
    drop(floods);
}

/// However many messages each member has queued.
#[test]
fn c7_every_member_of_a_flooded_set_is_served() {
    let _watchdog = harness::watchdog();
    let mut set = IpcReceiverSet::new().unwrap();
    let senders: Vec<_> = (0..50)
        .map(|_| {
            let (sender, receiver) = ipc::channel::<u32>().unwrap();
            set.add(receiver).unwrap();
            (0..250).for_each(|number| sender.send(number).unwrap());
            sender
        })
        .collect();
    let mut received = [0; 50];
    while received != [250; 50] {
        let results = set.select().unwrap();
        assert!(results.len() < 1200, "{} results at once", results.len());
        let mut turns = [0; 50];
        for result in results {
            let (id, message) = result.unwrap();
            assert_eq!(message.to::<u32>().unwrap(), received[id as usize]);
            received[id as usize] += 1;
            turns[id as usize] += 1;
        }
        assert!(turns.iter().all(|&turn| turn <= 100), "{turns:?}");
        // No member is ahead by more than two turns.
        let (least, most) = (received.iter().min().unwrap(), received.iter().max().unwrap());
        assert!(most - least <= 200, "{received:?}");
    }
    drop(senders);
}

/// Parts count as messages do, though they return no result.
#[test]
fn c7_a_selection_takes_a_bounded_amount_of_parts() {
    let _watchdog = harness::watchdog();
    let mut set = IpcReceiverSet::new().unwrap();
    let senders: Vec<_> = (0..200)
        .map(|_| {
            let (sender, receiver) = ipc::channel::<u32>().unwrap();
            set.add(receiver).unwrap();
            raw::send(&sender, &raw::first(1, 1 << 30, b""), &[]).unwrap();
            while raw::try_send(&sender, &raw::middle(1, &[0; 50_000]), &[]).is_ok() {}
            sender
        })
        .collect();
    let full = || {
        let is_full = |sender: &&IpcSender<u32>| {
            let mut fds = [PollFd::new(*sender, PollFlags::OUT)];
            rustix::event::poll(&mut fds, Some(&Timespec::default())).unwrap() == 0
        };
        senders.iter().filter(is_full).count()
    };
    assert!(set.try_select().unwrap_err().is_empty());
    assert!(full() > 100, "only {} of 200 have not had their turn", full());
    // The other members are served in the end.
    while full() > 0 {
        assert!(set.try_select().unwrap_err().is_empty());
    }
}

#[test]
fn c7_one_selection_returns_a_bounded_amount() {
    let _watchdog = harness::watchdog();
    let mut set = IpcReceiverSet::new().unwrap();
    let mut floods = Vec::new();
    for _ in 0..8 {
        let (sender, receiver) = ipc::bytes_channel().unwrap();
        set.add_bytes(receiver).unwrap();
        // Large enough for the limit to matter.
        sockopt::set_socket_send_buffer_size(&sender, 8 << 20).unwrap();
        let socket = sender.as_fd().try_clone_to_owned().unwrap();
        floods.push(Flood::of_messages(socket, vec![7; 180_000]));
    }
    for _ in 0..20 {
        let mut bytes = 0;
        for result in set.select().unwrap() {
            let (_, message) = result.unwrap();
            bytes += message.into_bytes().unwrap().len();
        }
        assert!(bytes < 16 << 20, "{bytes} bytes at once");
    }
    drop(floods);
}

#[derive(Debug, Serialize, Deserialize)]
struct Letter {
    from: u32,
    number: u32,
    body: String,
    reply: Option<IpcSender<u32>>,
}

fn body_of(from: u32, number: u32) -> String {
    from.to_string().repeat([10, 100_000, 500_000][number as usize % 3])
}

/// All attacks at once, on one channel: a hostile sender does not change messages of
/// other senders.
#[test]
fn c7_honest_senders_are_never_disturbed() {
    let _watchdog = harness::watchdog();
    for (way, receive) in ways::<Letter>() {
        let (sender, receiver) = ipc::channel::<Letter>().unwrap();
        let hostile = Flood::of(misbehave(sender.as_fd().try_clone_to_owned().unwrap()));
        let healthy: Vec<_> = (0..3)
            .map(|from| {
                let sender = sender.clone();
                thread::spawn(move || {
                    let (reply, replies) = ipc::channel().unwrap();
                    for number in 0..60 {
                        let body = body_of(from, number);
                        let reply = (number % 4 == 0).then(|| reply.clone());
                        let letter = Letter { from, number, body, reply };
                        sender.send(letter).unwrap();
                    }
                    drop(reply);
                    replies.iter().count()
                })
            })
            .collect();
        let mut next = receive(receiver);
        let mut numbers = [0; 3];
        while numbers != [60; 3] {
            match next() {
                Next::Value(letter) => {
                    let Letter { from, number, body, reply } = letter;
                    assert_eq!(number, numbers[from as usize], "{way}: from {from}");
                    assert!(body == body_of(from, number), "{way}: from {from}");
                    assert_eq!(reply.is_some(), number % 4 == 0);
                    if let Some(reply) = reply {
                        reply.send(number).unwrap();
                    }
                    numbers[from as usize] += 1;
                }
                Next::Refused => {}
                Next::Closed => panic!("{way}: it is not over"),
            }
        }
        drop(next);
        for sender in healthy {
            assert_eq!(sender.join().unwrap(), 15, "{way}");
        }
        drop(hostile);
    }
}

/// Makes one random attack on a socket that honest senders use, too.
fn misbehave(socket: OwnedFd) -> impl FnMut() -> io::Result<()> + Send {
    let mut random = Random::new(7);
    let mut id = 0;
    move || {
        // Pauses now and then, so that honest senders get room.
        if random.below(4) == 0 {
            thread::sleep(Duration::from_micros(100));
        }
        let fds = [socket.as_fd(); 20];
        let fds = &fds[..random.below(20)];
        match random.below(11) {
            0 => raw::try_send(&socket, &[], fds),
            1 => raw::try_send(&socket, &random.bytes(100), fds),
            2 => {
                let body = random.bytes(100);
                raw::try_send(&socket, &raw::message(fds.len() as u8, &body), fds)
            }
            // Some of the messages are never completed, but fewer than the limit.
            3 if id < 900 => {
                id += 1;
                let position = Position::First { bytes: 1 << 30, attachments: 0 };
                raw::try_send(&socket, &raw::packet(Kind::Part { id, position }, 0, b"x"), &[])
            }
            4 => raw::try_send(&socket, &raw::middle(id, &random.bytes(500)), &[]),
            5 => raw::try_send(&socket, &raw::last(id, &random.bytes(500)), &[]),
            6 => raw::try_send(&socket, &raw::abort(id), &[]),
            7 => Ok(rustix::io::ioctl_fionbio(&socket, random.below(2) == 0)?),
            8 => {
                let size = [1, 10_000, 1 << 20][random.below(3)];
                Ok(sockopt::set_socket_send_buffer_size(&socket, size)?)
            }
            9 => {
                let timeout = Duration::from_micros(1 + random.below(1000) as u64);
                Ok(sockopt::set_socket_timeout(&socket, Timeout::Send, Some(timeout))?)
            }
            _ => Ok(sockopt::set_socket_passcred(&socket, random.below(2) == 0)?),
        }
    }
}

/// A set continues after a malformed message of one member, and loses no message of the others.
#[test]
fn c7_a_bad_message_among_good_ones_is_one_result() {
    let _watchdog = harness::watchdog();
    let mut set = IpcReceiverSet::new().unwrap();
    let senders: Vec<IpcSender<u32>> = (0..10)
        .map(|_| {
            let (sender, receiver) = ipc::channel().unwrap();
            set.add(receiver).unwrap();
            sender
        })
        .collect();
    for (member, sender) in senders.iter().enumerate() {
        for number in 0..20 {
            sender.send(number).unwrap();
            if member % 2 == 0 {
                raw::send(sender, b"bad", &[]).unwrap();
            }
        }
    }
    drop(senders);
    let mut numbers = [0; 10];
    let mut bad = [0; 10];
    while !set.is_empty() {
        for result in set.select().unwrap() {
            if let IpcSelectionResult::MessageReceived(id, message) = result {
                match message.to::<u32>() {
                    Ok(number) => {
                        assert_eq!(number, numbers[id as usize]);
                        numbers[id as usize] += 1;
                    }
                    Err(_) => bad[id as usize] += 1,
                }
            }
        }
    }
    assert_eq!(numbers, [20; 10]);
    assert_eq!(bad, [20, 0, 20, 0, 20, 0, 20, 0, 20, 0]);
}

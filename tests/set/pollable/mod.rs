//! One descriptor per receiver that any poller can wait on (C8): epoll in both modes, mio, tokio; sets, too.
//!
//! # Safety
//!
//! tokio wants it promised that a descriptor stays open under its number for as long as the receiver is owned.

#![allow(unsafe_code)]

use std::fs::File;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::thread;
use std::time::Duration;

use mio::unix::SourceFd;
use mio::{Events, Interest, Poll, Token};
use rustix::event::epoll::{self, CreateFlags, EventData, EventFlags};
use rustix::event::{PollFd, PollFlags, Timespec};
use serde::Serialize;
use serde::de::DeserializeOwned;
use strait::handle::Handle;
use strait::ipc::{
    self, IpcReceiver, IpcReceiverSet, IpcSelectionResult, IpcSender, TryRecvError, TrySelectError,
};
use tokio::io::unix::AsyncFd;

use crate::harness;
use crate::harness::raw::{self, Random};

/// What `poll` says of a descriptor now.
fn state(fd: impl AsFd) -> PollFlags {
    let mut fds = [PollFd::from_borrowed_fd(fd.as_fd(), PollFlags::IN)];
    rustix::event::poll(&mut fds, Some(&Timespec::default())).unwrap();
    fds[0].revents()
}

/// Waits until `poll` has something to say. What is dropped here is not always gone at once: a child process that another
/// test is just starting has copies of everything until its `exec`.
fn wait_for(fd: impl AsFd, events: PollFlags) -> PollFlags {
    let mut fds = [PollFd::from_borrowed_fd(fd.as_fd(), events)];
    rustix::event::poll(&mut fds, None).unwrap();
    fds[0].revents()
}

fn is_readable(fd: impl AsFd) -> bool {
    state(fd).contains(PollFlags::IN)
}

/// An epoll instance with one member.
struct Epoll(OwnedFd);

impl Epoll {
    fn of(member: impl AsFd, mode: EventFlags) -> Epoll {
        let epoll = epoll::create(CreateFlags::CLOEXEC).unwrap();
        epoll::add(&epoll, member, EventData::new_u64(1), EventFlags::IN | mode).unwrap();
        Epoll(epoll)
    }

    /// Waits for an event.
    fn wait(&self) {
        assert!(self.has_event(None));
    }

    fn has_event(&self, timeout: Option<Duration>) -> bool {
        let timeout = timeout.map(|timeout| Timespec::try_from(timeout).unwrap());
        let mut events = [MaybeUninit::uninit(); 4];
        let (events, _) = epoll::wait(&self.0, &mut events, timeout.as_ref()).unwrap();
        !events.is_empty()
    }

    fn is_ready(&self) -> bool {
        self.has_event(Some(Duration::ZERO))
    }
}

/// What every user of a poller does: receive until there is nothing, then wait for the next event.
fn receive_all<T>(receiver: &IpcReceiver<T>, mut wait: impl FnMut(), mut take: impl FnMut(T))
where
    T: Serialize + DeserializeOwned,
{
    loop {
        match receiver.try_recv() {
            Ok(value) => take(value),
            Err(TryRecvError::Empty) => wait(),
            Err(error) if error.is_disconnected() => return,
            Err(error) => panic!("{error:?}"),
        }
    }
}

/// The same of a set.
fn select_all(set: &mut IpcReceiverSet, mut wait: impl FnMut(), mut take: impl FnMut(u64, u64)) {
    while !set.is_empty() {
        match set.try_select() {
            Ok(results) => {
                for result in results {
                    if let IpcSelectionResult::MessageReceived(id, message) = result {
                        take(id, message.to().unwrap());
                    }
                }
            }
            Err(TrySelectError::Empty) => wait(),
            Err(TrySelectError::IoError(error)) => panic!("{error:?}"),
        }
    }
}

/// Sends in bursts, so that the receiver is now ahead and now behind.
fn send_in_bursts(seed: u64, count: u64, mut send: impl FnMut(u64) + Send + 'static) {
    thread::spawn(move || {
        let mut random = Random::new(seed);
        for number in 0..count {
            if random.below(30) == 0 {
                thread::sleep(Duration::from_micros(random.below(200) as u64));
            }
            send(number);
        }
    });
}

#[test]
fn c8_readable_is_when_there_is_something_to_receive() {
    let _watchdog = harness::watchdog();
    let (sender, receiver) = ipc::channel::<u32>().unwrap();
    assert!(!is_readable(&receiver));
    sender.send(1).unwrap();
    assert!(is_readable(&receiver));
    assert_eq!(receiver.recv().unwrap(), 1);
    assert!(!is_readable(&receiver));
    drop(sender);
    wait_for(&receiver, PollFlags::IN);
    assert!(receiver.try_recv().unwrap_err().is_disconnected());
}

/// The kernel clears and sets what a poller sees at the moments that matter.
#[test]
fn c8_level_triggered() {
    let _watchdog = harness::watchdog();
    let (sender, receiver) = ipc::channel::<u32>().unwrap();
    let epoll = Epoll::of(&receiver, EventFlags::empty());
    assert!(!epoll.is_ready());
    sender.send(1).unwrap();
    sender.send(2).unwrap();
    for expected in [1, 2] {
        assert!(epoll.is_ready() && epoll.is_ready());
        assert_eq!(receiver.try_recv().unwrap(), expected);
    }
    assert!(!epoll.is_ready());
    drop(sender);
    epoll.wait();
    assert!(receiver.try_recv().unwrap_err().is_disconnected());
}

#[test]
fn c8_level_and_edge_triggered_pollers_hear_everything() {
    let _watchdog = harness::watchdog();
    for mode in [EventFlags::empty(), EventFlags::ET, EventFlags::ET | EventFlags::RDHUP] {
        let (sender, receiver) = ipc::channel::<(u64, String)>().unwrap();
        let epoll = Epoll::of(&receiver, mode);
        send_in_bursts(1, 2000, move |number| {
            // Now and then one in parts.
            let len = if number % 100 == 99 { 300_000 } else { 10 };
            sender.send((number, "x".repeat(len))).unwrap();
        });
        let mut expected = 0;
        receive_all(
            &receiver,
            || epoll.wait(),
            |(number, _)| {
                assert_eq!(number, expected);
                expected += 1;
            },
        );
        assert_eq!(expected, 2000);
    }
}

/// Also what has come by shared memory, which shows in no descriptor.
#[test]
fn c8_what_was_there_before_is_an_event_of_the_set_it_is_added_to() {
    let _watchdog = harness::watchdog();
    let (sender, receiver) = ipc::channel::<u32>().unwrap();
    for number in 0..1000 {
        sender.send(number).unwrap();
        assert_eq!(receiver.recv().unwrap(), number);
    }
    sender.send(7).unwrap();
    let mut set = IpcReceiverSet::new().unwrap();
    assert!(!is_readable(&set));
    set.add(receiver).unwrap();
    assert!(is_readable(&set));
    let (_, message) = set.select().unwrap().remove(0).unwrap();
    assert_eq!(message.to::<u32>().unwrap(), 7);
    assert!(matches!(set.try_select(), Err(TrySelectError::Empty)));
    assert!(!is_readable(&set));
}

#[test]
fn c8_what_was_there_before_is_an_event() {
    let _watchdog = harness::watchdog();
    let (sender, receiver) = ipc::channel::<u32>().unwrap();
    sender.send(1).unwrap();
    let epoll = Epoll::of(&receiver, EventFlags::ET);
    epoll.wait();
    assert_eq!(receiver.try_recv().unwrap(), 1);
    let (sender, receiver) = ipc::channel::<u32>().unwrap();
    drop(sender);
    wait_for(&receiver, PollFlags::IN);
    let epoll = Epoll::of(&receiver, EventFlags::ET);
    epoll.wait();
    assert!(receiver.try_recv().unwrap_err().is_disconnected());
}

/// `Empty` must mean that the next packet is an event, however much there was that is no message.
#[test]
fn c8_an_edge_is_not_lost_behind_packets_that_are_no_messages() {
    let _watchdog = harness::watchdog();
    let (sender, receiver) = ipc::channel::<u32>().unwrap();
    // Room for them all at once, as far as an unprivileged process may have it.
    rustix::net::sockopt::set_socket_send_buffer_size(&sender, 4 << 20).unwrap();
    let mut parts = 0;
    while parts < 3000 {
        let sent = raw::try_send(&sender, &raw::first(1, 100, b"x"), &[])
            .and_then(|()| raw::try_send(&sender, &raw::abort(1), &[]));
        if sent.is_err() {
            break;
        }
        parts += 2;
    }
    if raw::try_send(&sender, &raw::message(0, &7_u32.to_le_bytes()), &[]).is_err() {
        // This system's sockets hold less than what it takes.
        return;
    }
    let epoll = Epoll::of(&receiver, EventFlags::ET);
    epoll.wait();
    while receiver.try_recv().is_err() {
        assert!(epoll.has_event(Some(Duration::from_secs(10))), "the message is not announced");
    }
}

#[test]
fn c8_mio() {
    let _watchdog = harness::watchdog();
    let mut poll = Poll::new().unwrap();
    let mut events = Events::with_capacity(4);
    let receivers: Vec<_> = (0..5_usize)
        .map(|member| {
            let (sender, receiver) = ipc::channel::<u64>().unwrap();
            let fd = receiver.as_fd().as_raw_fd();
            let token = Token(member);
            poll.registry().register(&mut SourceFd(&fd), token, Interest::READABLE).unwrap();
            send_in_bursts(member as u64, 500, move |number| sender.send(number).unwrap());
            receiver
        })
        .collect();
    let mut expected = [0; 5];
    let mut open = 5;
    while open > 0 {
        poll.poll(&mut events, None).unwrap();
        for event in &events {
            let member = event.token().0;
            loop {
                match receivers[member].try_recv() {
                    Ok(number) => {
                        assert_eq!(number, expected[member]);
                        expected[member] += 1;
                    }
                    Err(TryRecvError::Empty) => break,
                    Err(error) => {
                        assert!(error.is_disconnected());
                        let fd = receivers[member].as_fd().as_raw_fd();
                        poll.registry().deregister(&mut SourceFd(&fd)).unwrap();
                        open -= 1;
                        break;
                    }
                }
            }
        }
    }
    assert_eq!(expected, [500; 5]);
}

fn in_tokio<T>(receiver: IpcReceiver<T>) -> AsyncFd<IpcReceiver<T>> {
    // SAFETY: that is what a receiver promises of a descriptor that it has lent out.
    unsafe { AsyncFd::register(receiver).unwrap() }
}

#[test]
fn c8_tokio() {
    let _watchdog = harness::watchdog();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let (sender, receiver) = ipc::channel::<u64>().unwrap();
        let receiver = in_tokio(receiver);
        let nothing = tokio::time::timeout(Duration::from_millis(5), receiver.readable()).await;
        assert!(nothing.is_err());
        send_in_bursts(1, 2000, move |number| sender.send(number).unwrap());
        let mut expected = 0;
        'open: loop {
            let mut guard = receiver.readable().await.unwrap();
            loop {
                match guard.get_inner().try_recv() {
                    Ok(number) => {
                        assert_eq!(number, expected);
                        expected += 1;
                    }
                    Err(TryRecvError::Empty) => break guard.clear_ready(),
                    Err(error) => {
                        assert!(error.is_disconnected());
                        break 'open;
                    }
                }
            }
        }
        assert_eq!(expected, 2000);
    });
}

#[test]
fn c8_many_tasks_of_tokio() {
    let _watchdog = harness::watchdog();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let tasks: Vec<_> = (0..20)
            .map(|member| {
                let (sender, receiver) = ipc::channel::<u64>().unwrap();
                send_in_bursts(member, 100, move |number| sender.send(number).unwrap());
                tokio::spawn(async move {
                    let mut receiver = in_tokio(receiver);
                    let mut sum = 0;
                    loop {
                        let mut guard = receiver.readable_mut().await.unwrap();
                        // `WouldBlock` is how it learns that it has to wait.
                        let received = guard.try_io(|inner| Ok(inner.get_ref().try_recv()?));
                        match received {
                            Ok(Ok(number)) => sum += number,
                            Ok(Err(error)) => {
                                assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset);
                                return sum;
                            }
                            Err(_would_block) => {}
                        }
                    }
                })
            })
            .collect();
        for task in tasks {
            assert_eq!(task.await.unwrap(), 4950);
        }
    });
}

#[test]
fn c8_every_endpoint_has_a_descriptor() {
    let _watchdog = harness::watchdog();
    let (sender, receiver) = ipc::bytes_channel().unwrap();
    assert!(!is_readable(&receiver));
    let number = sender.as_fd().as_raw_fd();
    let sender = sender.to_opaque();
    assert_eq!(sender.as_fd().as_raw_fd(), number);
    let sender: IpcSender<u32> = sender.to();
    assert_eq!(sender.as_fd().as_raw_fd(), number);
    assert_eq!(sender.clone().as_fd().as_raw_fd(), number);
    sender.send(1).unwrap();
    let number = receiver.as_fd().as_raw_fd();
    let receiver = receiver.to_opaque();
    assert!(is_readable(&receiver));
    let receiver: IpcReceiver<u32> = receiver.to();
    assert_eq!(receiver.as_fd().as_raw_fd(), number);
    assert_eq!(receiver.recv().unwrap(), 1);
}

/// Hanging up shows at a sender, too, for those who want to know before they send.
#[test]
fn c8_a_sender_sees_that_its_receiver_is_gone() {
    let _watchdog = harness::watchdog();
    let (sender, receiver) = ipc::channel::<u32>().unwrap();
    assert!(!state(&sender).contains(PollFlags::HUP));
    drop(receiver);
    assert!(wait_for(&sender, PollFlags::empty()).contains(PollFlags::HUP));
}

/// Who replaces a descriptor of strait's breaks that receiver, and no other.
#[test]
#[expect(clippy::disallowed_methods, reason = "that somebody does so is what is tested")]
fn c8_a_member_that_can_never_be_received_from_again_is_closed() {
    harness::alone(
        harness::path_of(c8_a_member_that_can_never_be_received_from_again_is_closed),
        || {
            let (broken, receiver) = ipc::channel::<u32>().unwrap();
            let (good, other) = ipc::channel::<u32>().unwrap();
            let descriptor = OwnedFd::try_from(receiver).unwrap();
            // epoll knows the socket, so it goes on reporting it for as long as there is a descriptor of it.
            let socket = descriptor.try_clone().unwrap();
            let number = descriptor.as_raw_fd();
            let receiver = IpcReceiver::<u32>::try_from(descriptor).unwrap();
            let mut set = IpcReceiverSet::new().unwrap();
            let broken_id = set.add(receiver).unwrap();
            let good_id = set.add(other).unwrap();
            let null = File::open("/dev/null").unwrap();
            // SAFETY: the number is open, and stays so.
            let replaced = unsafe { libc::dup3(null.as_raw_fd(), number, libc::O_CLOEXEC) };
            assert_eq!(replaced, number);
            broken.send(1).unwrap();
            good.send(2).unwrap();
            let (mut errors, mut closed, mut values) = (0, 0, 0);
            while closed == 0 || values == 0 {
                for result in set.select().unwrap() {
                    match result {
                        IpcSelectionResult::MessageReceived(id, message) if id == broken_id => {
                            let error = message.to::<u32>().unwrap_err();
                            assert!(error.to_string().contains("refused"), "{error}");
                            errors += 1;
                        }
                        IpcSelectionResult::MessageReceived(id, message) => {
                            assert_eq!((id, message.to::<u32>().unwrap()), (good_id, 2));
                            values += 1;
                        }
                        IpcSelectionResult::ChannelClosed(id) => {
                            assert_eq!(id, broken_id);
                            closed += 1;
                        }
                    }
                }
            }
            assert_eq!((errors, closed, values, set.len()), (1, 1, 1, 1));
            drop(socket);
        },
    );
}

// ---- What does not show in the socket ----

/// Uses a channel until its messages go by shared memory, and leaves nothing in it.
fn heat(sender: &IpcSender<u64>, receiver: &IpcReceiver<u64>) {
    for number in 0..1000 {
        sender.send(number).unwrap();
        assert_eq!(receiver.recv().unwrap(), number);
    }
}

type IsReady<'a> = Box<dyn Fn() -> bool + 'a>;

/// The ways in which level-triggered pollers wait.
fn level_triggered(fd: BorrowedFd<'_>) -> [(&'static str, IsReady<'_>); 2] {
    let epoll = Epoll::of(fd, EventFlags::empty());
    [("poll", Box::new(move || is_readable(fd))), ("epoll", Box::new(move || epoll.is_ready()))]
}

/// That it is ready for each of these messages, and soon not any more when they are received.
#[track_caller]
fn expect_one_by_one(receiver: &IpcReceiver<u64>, is_ready: impl Fn() -> bool, count: u64) {
    for expected in 0..count {
        assert!(is_ready(), "{expected} of {count} were received");
        assert_eq!(receiver.try_recv().unwrap(), expected);
    }
    let mut in_vain = 0;
    while is_ready() {
        assert!(receiver.try_recv().unwrap_err().is_empty());
        in_vain += 1;
    }
    assert!(in_vain <= 1, "{in_vain}");
}

fn send_to(sender: &IpcSender<u64>, count: u64) {
    for number in 0..count {
        sender.send(number).unwrap();
    }
}

#[test]
fn c8_shared_memory_shows_in_a_level_triggered_poller() {
    harness::alone(harness::path_of(c8_shared_memory_shows_in_a_level_triggered_poller), || {
        for is_lent_first in [true, false] {
            let (sender, receiver) = ipc::channel::<u64>().unwrap();
            if is_lent_first {
                receiver.as_fd();
            }
            heat(&sender, &receiver);
            assert_eq!(rings().len(), 2, "one of each side");
            send_to(&sender, 30);
            for (_, is_ready) in level_triggered(receiver.as_fd()) {
                expect_one_by_one(&receiver, &is_ready, 30);
                for count in [1, 1, 2, 300, 1] {
                    send_to(&sender, count);
                    expect_one_by_one(&receiver, &is_ready, count);
                }
                send_to(&sender, 30);
            }
            drop(sender);
            // What was sent first, then the end, which lasts.
            for (_, is_ready) in level_triggered(receiver.as_fd()) {
                assert!(is_ready());
            }
            assert_eq!(receiver.try_iter().count(), 30);
            for (_, is_ready) in level_triggered(receiver.as_fd()) {
                assert!(is_ready());
                assert!(receiver.try_recv().unwrap_err().is_disconnected());
                assert!(is_ready());
            }
        }
    });
}

/// The descriptors of rings in this process.
fn rings() -> Vec<harness::OpenHandle> {
    let mut handles = harness::handles();
    handles.retain(|handle| handle.what.contains("strait-ring"));
    handles
}

/// With handles by socket, without by shared memory: what is read of one to find its place among the others shows as well.
#[test]
fn c8_what_was_read_ahead_shows_in_a_level_triggered_poller() {
    let _watchdog = harness::watchdog();
    let (sender, receiver) = ipc::channel::<(u64, Option<IpcSender<u64>>)>().unwrap();
    let (passenger, _passengers) = ipc::channel::<u64>().unwrap();
    for number in 0..1000 {
        sender.send((number, None)).unwrap();
        assert_eq!(receiver.recv().unwrap().0, number);
    }
    for (how, is_ready) in level_triggered(receiver.as_fd()) {
        for number in 0..40 {
            sender.send((number, (number % 3 > 0).then(|| passenger.clone()))).unwrap();
        }
        for expected in 0..40 {
            assert!(is_ready(), "{how}: {expected}");
            assert_eq!(receiver.try_recv().unwrap().0, expected);
        }
        let in_vain = (0..1000).take_while(|_| is_ready() && receiver.try_recv().is_err()).count();
        assert!(in_vain <= 1, "{how}: {in_vain}");
    }
}

#[test]
fn bursts_child() {
    harness::child_main(|arguments| {
        let sender = IpcSender::<(u64, String)>::connect(arguments[0].clone()).unwrap();
        let mut random = Random::new(3);
        for number in 0..BURSTS {
            if random.below(100) == 0 {
                thread::sleep(Duration::from_micros(random.below(300) as u64));
            }
            let len = if number % 1000 == 999 { 300_000 } else { 10 };
            sender.send((number, "x".repeat(len))).unwrap();
        }
    });
}

const BURSTS: u64 = 20_000;

/// One message for each time that a poller says there is one, which goes to sleep in between: it must neither sleep when there is one,
/// nor be woken again and again when there is none.
#[test]
fn c8_one_message_per_event_of_a_level_triggered_poller() {
    let _watchdog = harness::watchdog();
    for is_epoll in [false, true] {
        let (server, name) = ipc::IpcOneShotServer::<(u64, String)>::new().unwrap();
        let child = harness::child(harness::path_of(bursts_child), &[&name]);
        let (receiver, (first, _)) = server.accept().unwrap();
        assert_eq!(first, 0);
        let epoll = is_epoll.then(|| Epoll::of(&receiver, EventFlags::empty()));
        let mut expected = 1;
        let mut in_vain = 0;
        loop {
            match &epoll {
                Some(epoll) => epoll.wait(),
                None => drop(wait_for(&receiver, PollFlags::IN)),
            }
            match receiver.try_recv() {
                Ok((number, _)) => {
                    assert_eq!(number, expected);
                    expected += 1;
                }
                Err(TryRecvError::Empty) => in_vain += 1,
                Err(error) => {
                    assert!(error.is_disconnected(), "{error:?}");
                    break;
                }
            }
        }
        assert_eq!(expected, BURSTS);
        // A large one has several parts, each of which may be an event.
        assert!(in_vain <= BURSTS + 20 * BURSTS / 1000, "{in_vain}");
        child.completed();
    }
}

/// Received until there is nothing, by a poller that tells of changes only.
#[test]
fn c8_another_process_in_an_edge_triggered_poller() {
    let _watchdog = harness::watchdog();
    let (server, name) = ipc::IpcOneShotServer::<(u64, String)>::new().unwrap();
    let child = harness::child(harness::path_of(bursts_child), &[&name]);
    let (receiver, _) = server.accept().unwrap();
    let mut poll = Poll::new().unwrap();
    let mut events = Events::with_capacity(4);
    let mut source = SourceFd(&receiver.as_raw_fd());
    poll.registry().register(&mut source, Token(0), Interest::READABLE).unwrap();
    let mut expected = 1;
    receive_all(
        &receiver,
        || {
            poll.poll(&mut events, None).unwrap();
        },
        |(number, _)| {
            assert_eq!(number, expected);
            expected += 1;
        },
    );
    assert_eq!(expected, BURSTS);
    child.completed();
}

/// Waiting calls in between leave the descriptor as it should be.
#[test]
fn c8_calls_that_wait_leave_the_descriptor_right() {
    let _watchdog = harness::watchdog();
    let (sender, receiver) = ipc::channel::<u64>().unwrap();
    heat(&sender, &receiver);
    for (_, is_ready) in level_triggered(receiver.as_fd()) {
        send_to(&sender, 5);
        assert_eq!(receiver.recv().unwrap(), 0);
        assert!(is_ready());
        for expected in 1..5 {
            assert_eq!(receiver.recv_timeout(Duration::from_secs(60)).unwrap(), expected);
        }
        assert!(receiver.recv_timeout(Duration::from_millis(1)).unwrap_err().is_empty());
        assert!(!is_ready());
        send_to(&sender, 3);
        expect_one_by_one(&receiver, is_ready, 3);
    }
}

/// The kernel limits in how many ways one object may wake pollers of pollers.
#[test]
fn c8_hundreds_of_receivers_in_one_poller() {
    harness::alone(harness::path_of(c8_hundreds_of_receivers_in_one_poller), || {
        let count = 1200.min(harness::room_for_handles() / 4 - 10);
        let epoll = epoll::create(CreateFlags::CLOEXEC).unwrap();
        let members: Vec<_> = (0..count)
            .map(|number| {
                let (sender, receiver) = ipc::channel::<u64>().unwrap();
                let data = EventData::new_u64(number as u64);
                epoll::add(&epoll, &receiver, data, EventFlags::IN).unwrap();
                (sender, receiver)
            })
            .collect();
        for (number, (sender, receiver)) in members.iter().enumerate() {
            sender.send(7).unwrap();
            let mut events = [MaybeUninit::uninit(); 4];
            let (events, _) = epoll::wait(&epoll, &mut events, None).unwrap();
            assert_eq!(
                events.iter().map(|event| event.data.u64()).collect::<Vec<_>>(),
                [number as u64]
            );
            assert_eq!(receiver.try_recv().unwrap(), 7);
        }
    });
}

// ---- Without descriptors for it ----

/// Takes all descriptors that are left.
fn take_descriptors() -> Vec<OwnedFd> {
    use rustix::process::{Resource, getrlimit, setrlimit};

    let null = File::open("/dev/null").unwrap();
    let mut limits = getrlimit(Resource::Nofile);
    limits.current = Some(null.as_raw_fd() as u64 + 30);
    setrlimit(Resource::Nofile, limits).unwrap();
    std::iter::from_fn(|| null.try_clone().ok()).map(OwnedFd::from).collect()
}

/// All messages come by socket then.
#[test]
fn c8_a_receiver_can_be_polled_with_a_full_descriptor_table() {
    harness::alone(
        harness::path_of(c8_a_receiver_can_be_polled_with_a_full_descriptor_table),
        || {
            for is_hot in [false, true] {
                let (sender, receiver) = ipc::channel::<u64>().unwrap();
                if is_hot {
                    heat(&sender, &receiver);
                }
                let taken = take_descriptors();
                let lent = receiver.as_fd();
                drop(taken);
                assert_eq!(kind_of(lent.as_raw_fd()), "socket");
                for (_, is_ready) in level_triggered(lent) {
                    // Fewer at a time than the socket takes.
                    for _ in 0..50 {
                        send_to(&sender, 50);
                        expect_one_by_one(&receiver, &is_ready, 50);
                    }
                }
                // The sender learns with one of its messages that a ring is refused.
                while !rings().is_empty() {
                    send_to(&sender, 1);
                    expect_one_by_one(&receiver, || is_readable(lent), 1);
                }
                let number = lent.as_raw_fd();
                let (carrier, carried) = ipc::channel::<IpcReceiver<u64>>().unwrap();
                // It can leave and come back like any other.
                drop(carried);
                assert!(carrier.send_ref(&receiver).unwrap_err().is_disconnected());
                assert!(receiver.try_recv().unwrap_err().is_empty());
                assert!(is_open(number));
                let mut was_offered = false;
                while !was_offered || !rings().is_empty() {
                    was_offered |= !rings().is_empty();
                    send_to(&sender, 50);
                    expect_one_by_one(&receiver, || is_readable(lent), 50);
                }
                // Now that there are descriptors again, there is nothing that does not show.
                assert_eq!(kind_of(receiver.as_raw_fd()), "anon_inode");
                send_to(&sender, 100);
                expect_one_by_one(&receiver, || is_readable(&receiver), 100);
                drop((sender, receiver));
                assert!(!is_open(number));
            }
        },
    );
}

/// What kind of thing has this number.
fn kind_of(number: RawFd) -> String {
    let handle = harness::handles().into_iter().find(|handle| handle.number == number).unwrap();
    handle.what.split(':').next().unwrap().to_string()
}

// ---- Receivers that move ----

fn is_open(number: RawFd) -> bool {
    harness::handles().iter().any(|handle| handle.number == number)
}

/// A number that was lent out belongs to the receiver for as long as the user has it, even when there is nothing in it any more:
/// nothing else may appear under it.
#[test]
fn c8_a_receiver_that_moved_keeps_its_number() {
    harness::alone(harness::path_of(c8_a_receiver_that_moved_keeps_its_number), || {
        let (carrier, carried) = ipc::channel::<IpcReceiver<u32>>().unwrap();
        let (sender, receiver) = ipc::channel::<u32>().unwrap();
        let borrowed: BorrowedFd<'_> = receiver.as_fd();
        let number = borrowed.as_raw_fd();
        let epoll = Epoll::of(borrowed, EventFlags::ET);
        carrier.send_ref(&receiver).unwrap();
        // Whoever waits wakes up, and learns why.
        assert!(is_readable(borrowed));
        assert!(is_readable(&receiver));
        assert!(!receiver.try_recv().unwrap_err().is_empty());
        let others: Vec<File> = (0..50).map(|_| File::open("/dev/null").unwrap()).collect();
        assert!(others.iter().all(|other| other.as_raw_fd() != number));
        // It keeps nothing alive.
        drop(carried.recv().unwrap());
        assert!(sender.send(1).unwrap_err().is_disconnected());
        assert!(is_open(number));
        drop(receiver);
        assert!(!is_open(number));
        drop(epoll);
    });
}

#[test]
fn c8_a_receiver_that_comes_back_can_be_polled_again() {
    harness::alone(harness::path_of(c8_a_receiver_that_comes_back_can_be_polled_again), || {
        let (carrier, carried) = ipc::channel::<IpcReceiver<u32>>().unwrap();
        drop(carried);
        let (sender, receiver) = ipc::channel::<u32>().unwrap();
        let number = receiver.as_fd().as_raw_fd();
        let epoll = Epoll::of(&receiver, EventFlags::ET);
        assert!(carrier.send_ref(&receiver).unwrap_err().is_disconnected());
        assert!(receiver.try_recv().unwrap_err().is_empty());
        let before = harness::handles();
        for round in 0..100 {
            assert!(carrier.send_ref(&receiver).unwrap_err().is_disconnected());
            assert!(receiver.try_recv().unwrap_err().is_empty());
            // The same number, and it is the channel's again; epoll never noticed.
            assert_eq!(receiver.as_fd().as_raw_fd(), number);
            assert!(!is_readable(&receiver));
            sender.send(round).unwrap();
            assert!(is_readable(&receiver));
            epoll.wait();
            assert_eq!(receiver.recv().unwrap(), round);
        }
        // Of a ring, which it has by now or not, each end has a handle.
        let mut new = harness::handles_besides(&before);
        new.retain(|handle| !handle.what.contains("strait-ring"));
        assert_eq!(new.len(), 0, "{new:?}");
        epoll::delete(&epoll.0, &receiver).unwrap();
        drop(receiver);
        assert!(!is_open(number));
    });
}

#[test]
fn c8_a_receiver_that_was_never_lent_out_leaves_nothing() {
    harness::alone(harness::path_of(c8_a_receiver_that_was_never_lent_out_leaves_nothing), || {
        let (carrier, _carried) = ipc::channel::<IpcReceiver<u32>>().unwrap();
        let (_sender, receiver) = ipc::channel::<u32>().unwrap();
        let before = harness::handles().len();
        carrier.send_ref(&receiver).unwrap();
        assert_eq!(harness::handles().len(), before - 1);
        assert!(is_readable(&receiver));
    });
}

/// A registration of what was lent out stays where it was made: it neither reports the new owner's messages, nor is it in the way.
#[test]
fn c8_a_receiver_that_moves_need_not_be_taken_out_of_pollers() {
    let _watchdog = harness::watchdog();
    for mode in [EventFlags::empty(), EventFlags::ET] {
        let (carrier, carried) = ipc::channel::<IpcReceiver<u64>>().unwrap();
        let (sender, receiver) = ipc::channel::<u64>().unwrap();
        heat(&sender, &receiver);
        let epoll = Epoll::of(&receiver, mode);
        assert!(!epoll.is_ready());
        send_to(&sender, 20);
        assert_eq!(receiver.try_recv().unwrap(), 0);
        carrier.send_ref(&receiver).unwrap();
        epoll.wait();
        assert!(!receiver.try_recv().unwrap_err().is_empty());
        let moved = carried.recv().unwrap();
        // Those that it took along show, also in another poller; here nothing changes any more.
        for expected in 1..20 {
            assert!(is_readable(&moved));
            assert_eq!(moved.try_recv().unwrap(), expected);
        }
        for _ in 0..3 {
            send_to(&sender, 20);
            expect_one_by_one(&moved, || is_readable(&moved), 20);
            assert_eq!(epoll.is_ready(), mode == EventFlags::empty());
        }
        epoll::delete(&epoll.0, &receiver).unwrap();
    }
}

#[test]
fn c8_what_a_receiver_comes_back_with_shows() {
    let _watchdog = harness::watchdog();
    let (carrier, carried) = ipc::channel::<IpcReceiver<u64>>().unwrap();
    drop(carried);
    let (sender, receiver) = ipc::channel::<u64>().unwrap();
    heat(&sender, &receiver);
    let number = receiver.as_raw_fd();
    for (_, is_ready) in level_triggered(receiver.as_fd()) {
        for count in [20, 0, 1, 20] {
            send_to(&sender, count);
            assert!(carrier.send_ref(&receiver).unwrap_err().is_disconnected());
            assert!(is_ready());
            assert_eq!(receiver.as_raw_fd(), number);
            expect_one_by_one(&receiver, &is_ready, count);
        }
    }
}

/// Whose descriptor is the set's then, and its own again when it is given back.
#[test]
fn c8_a_receiver_that_was_polled_becomes_a_member_and_back() {
    harness::alone(
        harness::path_of(c8_a_receiver_that_was_polled_becomes_a_member_and_back),
        || {
            let (sender, receiver) = ipc::channel::<u64>().unwrap();
            heat(&sender, &receiver);
            let mut set = IpcReceiverSet::new().unwrap();
            let before = harness::handles();
            let lent = receiver.as_raw_fd();
            let epoll = Epoll::of(&receiver, EventFlags::empty());
            send_to(&sender, 30);
            assert_eq!(receiver.try_recv().unwrap(), 0);
            let id = set.add(receiver).unwrap();
            assert!(!is_open(lent) && !epoll.is_ready());
            drop(epoll);
            assert_eq!(harness::handles_besides(&before), []);
            let mut received = 0;
            while received < 29 {
                received += set.select().unwrap().len();
            }
            send_to(&sender, 30);
            let receiver = set.remove(id).unwrap().to::<u64>();
            for (_, is_ready) in level_triggered(receiver.as_fd()) {
                expect_one_by_one(&receiver, &is_ready, 30);
                send_to(&sender, 30);
            }
        },
    );
}

/// What came of a large message moves along, and is the receiver's business to wait for.
#[test]
fn c8_a_half_received_message_is_not_readable() {
    let _watchdog = harness::watchdog();
    let (sender, receiver) = ipc::bytes_channel().unwrap();
    let epoll = Epoll::of(&receiver, EventFlags::ET);
    raw::send(&sender, &raw::first(1, 3, b"a"), &[]).unwrap();
    epoll.wait();
    assert!(receiver.try_recv().unwrap_err().is_empty());
    assert!(!is_readable(&receiver));
    raw::send(&sender, &raw::middle(1, b"b"), &[]).unwrap();
    raw::send(&sender, &raw::last(1, b"c"), &[]).unwrap();
    epoll.wait();
    assert_eq!(receiver.try_recv().unwrap(), b"abc");
}

// ---- Sets ----

#[test]
fn c8_sets_in_level_and_edge_triggered_pollers_hear_everything() {
    let _watchdog = harness::watchdog();
    for mode in [EventFlags::empty(), EventFlags::ET] {
        let mut set = IpcReceiverSet::new().unwrap();
        let epoll = Epoll::of(&set, mode);
        for member in 0..8 {
            let (sender, receiver) = ipc::channel::<u64>().unwrap();
            assert_eq!(set.add(receiver).unwrap(), member);
            send_in_bursts(member, 300, move |number| sender.send(number).unwrap());
        }
        let mut expected = [0; 8];
        select_all(
            &mut set,
            || epoll.wait(),
            |id, number| {
                assert_eq!(number, expected[id as usize]);
                expected[id as usize] += 1;
            },
        );
        assert_eq!(expected, [300; 8]);
    }
}

/// Whoever takes one selection per event: what one leaves over is the next event.
#[test]
fn c8_what_a_selection_leaves_over_keeps_the_set_readable() {
    let _watchdog = harness::watchdog();
    for mode in [EventFlags::empty(), EventFlags::ET] {
        let mut set = IpcReceiverSet::new().unwrap();
        let epoll = Epoll::of(&set, mode);
        let senders = fill(&mut set);
        let mut received = 0;
        while received < senders.len() * 200 {
            epoll.wait();
            received += count(&mut set);
        }
        drop(senders);
        while !set.is_empty() {
            epoll.wait();
            count(&mut set);
        }
    }
}

/// Whoever first asks for the descriptor when something is left over already.
#[test]
fn c8_a_set_with_something_left_over_is_readable_from_the_start() {
    let _watchdog = harness::watchdog();
    for mode in [EventFlags::empty(), EventFlags::ET] {
        let mut set = IpcReceiverSet::new().unwrap();
        let senders = fill(&mut set);
        let mut received = count(&mut set);
        assert!(received < senders.len() * 200, "nothing is left over");
        let epoll = Epoll::of(&set, mode);
        while received < senders.len() * 200 {
            assert!(epoll.has_event(Some(Duration::from_secs(10))), "{received} were received");
            received += count(&mut set);
        }
    }
}

/// More than one selection returns.
fn fill(set: &mut IpcReceiverSet) -> Vec<IpcSender<u64>> {
    let member = |_| {
        let (sender, receiver) = ipc::channel::<u64>().unwrap();
        set.add(receiver).unwrap();
        for number in 0..200 {
            sender.send(number).unwrap();
        }
        sender
    };
    (0..12).map(member).collect()
}

fn count(set: &mut IpcReceiverSet) -> usize {
    match set.try_select() {
        Ok(results) => results
            .iter()
            .filter(|result| matches!(result, IpcSelectionResult::MessageReceived(..)))
            .count(),
        Err(TrySelectError::Empty) => 0,
        Err(TrySelectError::IoError(error)) => panic!("{error:?}"),
    }
}

#[test]
fn c8_an_idle_set_is_not_readable() {
    let _watchdog = harness::watchdog();
    let mut set = IpcReceiverSet::new().unwrap();
    let (sender, receiver) = ipc::channel::<u64>().unwrap();
    let id = set.add(receiver).unwrap();
    assert!(!is_readable(&set));
    sender.send(1).unwrap();
    assert!(is_readable(&set));
    assert_eq!(count(&mut set), 1);
    // It may say once too often that there is something, but not for ever.
    while is_readable(&set) {
        assert_eq!(count(&mut set), 0);
    }
    let receiver = set.remove(id).unwrap();
    sender.send(2).unwrap();
    assert!(!is_readable(&set));
    assert_eq!(receiver.to::<u64>().recv().unwrap(), 2);
}

/// A handle received from a channel can be whatever a poller wants.
#[test]
fn c8_a_descriptor_can_itself_be_sent() {
    let _watchdog = harness::watchdog();
    let (carrier, carried) = ipc::channel::<Handle<OwnedFd>>().unwrap();
    let (sender, receiver) = ipc::channel::<u32>().unwrap();
    carrier.send(Handle(receiver.try_into().unwrap())).unwrap();
    let receiver = IpcReceiver::<u32>::try_from(carried.recv().unwrap().into_inner()).unwrap();
    sender.send(1).unwrap();
    assert!(is_readable(&receiver));
    assert_eq!(receiver.recv().unwrap(), 1);
}

//! Endpoints in messages, and conversions to endpoints of the `ipc` face.

use std::cell::RefCell;
use std::fmt::Debug;
use std::thread;

use serde::{Deserialize, Serialize};
use strait::ipc::{
    self, ChannelOptions, IpcReceiver, IpcReceiverSet, IpcSelectionResult, IpcSender,
    IpcSyncSender, Ordering,
};
use strait::mpsc::{
    self, Receiver, RecvError, RecvTimeoutError, Sender, SyncSender, TryRecvError, TrySendError,
};
use strait::router::ROUTER;
use strait::{IpcError, SerDeError};

use crate::LONG;
use crate::harness::watchdog;

/// A message with endpoints, as users derive it.
#[derive(Debug, Serialize, Deserialize)]
struct Job {
    name: String,
    input: Receiver<u32>,
    output: Option<Sender<u32>>,
}

/// A channel that carries its own sender.
#[derive(Serialize, Deserialize)]
struct Own(Sender<Own>);

#[track_caller]
fn expect_left<T>(receiver: &Receiver<T>)
where
    T: Serialize + for<'de> Deserialize<'de> + Debug + PartialEq,
{
    assert_eq!(receiver.recv(), Err(RecvError));
    assert_eq!(receiver.try_recv(), Err(TryRecvError::Disconnected));
    assert_eq!(receiver.recv_timeout(LONG), Err(RecvTimeoutError::Disconnected));
    assert_eq!(receiver.iter().next(), None);
    assert_eq!(receiver.try_iter().next(), None);
}

#[test]
fn senders_are_cloned() {
    let _watchdog = watchdog();
    let (sender, receiver) = mpsc::channel::<u8>();
    let (outer, inbox) = mpsc::channel();
    outer.send_ref(&sender).unwrap();
    outer.send_ref(&sender).unwrap();
    sender.send(1).unwrap();
    drop(sender);
    let arrived = [inbox.recv().unwrap(), inbox.recv().unwrap()];
    arrived[0].send(2).unwrap();
    arrived[1].send(3).unwrap();
    drop(arrived);
    assert!(receiver.into_iter().eq([1, 2, 3]));
}

#[test]
fn moved_receivers_keep_their_messages() {
    let _watchdog = watchdog();
    let (sender, receiver) = mpsc::channel::<u32>();
    let (outer, inbox) = mpsc::channel();
    // Many values, so that some are in shared memory.
    (0..1_000).for_each(|number| sender.send(number).unwrap());
    assert!(receiver.iter().take(10).eq(0..10));
    outer.send_ref(&receiver).unwrap();
    expect_left(&receiver);
    (1_000..1_010).for_each(|number| sender.send(number).unwrap());
    let arrived = inbox.recv().unwrap();
    expect_left(&receiver);
    drop(receiver);
    drop(sender);
    assert!(arrived.into_iter().eq(10..1_010));
}

/// A moved receiver cannot be sent again, and the other values of the message come back.
#[test]
fn receivers_can_be_moved_once() {
    let _watchdog = watchdog();
    let (sender, receiver) = mpsc::channel::<u8>();
    let (_sender, other) = mpsc::channel::<u8>();
    let (outer, inbox) = mpsc::channel::<[Receiver<u8>; 2]>();
    let pair = [other, receiver];
    let (first, first_inbox) = mpsc::channel();
    first.send_ref(&pair[1]).unwrap();
    let mpsc::SendError(pair) = outer.send(pair).unwrap_err();
    expect_left(&pair[1]);
    assert_eq!(pair[0].try_recv(), Err(TryRecvError::Empty));
    sender.send(1).unwrap();
    assert_eq!(first_inbox.recv().unwrap().recv(), Ok(1));
    drop(outer);
    assert!(inbox.recv().is_err());
}

#[test]
fn receivers_of_a_failed_send_come_back() {
    let _watchdog = watchdog();
    let (sender, receiver) = mpsc::channel::<u8>();
    let (outer, inbox) = mpsc::channel::<(Receiver<u8>, RefCell<u8>)>();
    sender.send(1).unwrap();
    let value = (receiver, RefCell::new(0));
    let lent = value.1.borrow_mut();
    let refused = outer.send_ref(&value);
    assert!(matches!(refused, Err(IpcError::SerializationError(_))), "{refused:?}");
    assert_eq!(value.0.recv(), Ok(1));
    drop(lent);
    drop(inbox);
    assert!(matches!(outer.send_ref(&value), Err(IpcError::Disconnected)));
    sender.send(2).unwrap();
    assert_eq!(value.0.recv(), Ok(2));
    let mpsc::SendError((receiver, _)) = outer.send(value).unwrap_err();
    sender.send(3).unwrap();
    assert_eq!(receiver.recv(), Ok(3));
}

#[test]
fn ends_are_fields_of_messages() {
    let _watchdog = watchdog();
    let (jobs, inbox) = mpsc::channel::<Job>();
    let worker = thread::spawn(move || {
        for Job { name, input, output } in inbox {
            assert_eq!(name, "add");
            output.unwrap().send(input.iter().sum()).unwrap();
        }
    });
    for count in 0..20 {
        let (numbers, input) = mpsc::channel();
        let (output, result) = mpsc::channel();
        jobs.send(Job { name: "add".to_string(), input, output: Some(output) }).unwrap();
        (0..count).for_each(|number| numbers.send(number).unwrap());
        drop(numbers);
        assert_eq!(result.recv(), Ok((0..count).sum()));
        assert_eq!(result.recv(), Err(RecvError));
    }
    drop(jobs);
    worker.join().unwrap();
}

/// Senders that are queued in their own channel are dropped with its receiver.
#[test]
fn a_channel_may_carry_its_own_sender() {
    let _watchdog = watchdog();
    let (sender, receiver) = mpsc::channel();
    sender.send(Own(sender.clone())).unwrap();
    drop(sender);
    let Own(sender) = receiver.recv().unwrap();
    sender.send(Own(sender.clone())).unwrap();
    drop(receiver);
    assert!(sender.send(Own(sender.clone())).is_err());
}

#[test]
fn of_the_ipc_face_are_the_same_ends() {
    let _watchdog = watchdog();
    let (sender, receiver) = mpsc::channel::<u32>();
    sender.send(1).unwrap();
    let ipc_sender = IpcSender::from(sender.clone());
    ipc_sender.send(2).unwrap();
    let receiver = IpcReceiver::from(receiver);
    assert_eq!(receiver.recv().unwrap(), 1);
    let receiver = Receiver::from(receiver);
    assert_eq!(receiver.recv(), Ok(2));
    Sender::from(ipc_sender).send(3).unwrap();
    drop(sender);
    assert!(receiver.into_iter().eq([3]));

    let (sender, receiver) = ipc::channel::<u32>().unwrap();
    sender.send(4).unwrap();
    let (sender, receiver) = (Sender::from(sender), Receiver::from(receiver));
    sender.send(5).unwrap();
    drop(sender);
    assert!(receiver.into_iter().eq([4, 5]));
}

#[test]
fn senders_with_a_bound_keep_it_wherever_they_are() {
    let _watchdog = watchdog();
    for make in [mpsc::sync_channel, |bound| mpsc::try_sync_channel(bound).unwrap()] {
        let (sender, receiver) = make(3);
        sender.send(1).unwrap();
        let (outer, inbox) = mpsc::channel();
        outer.send_ref(&sender).unwrap();
        let arrived: SyncSender<u32> = inbox.recv().unwrap();
        let ipc_sender = IpcSyncSender::from(arrived.clone());
        arrived.try_send(2).unwrap();
        ipc_sender.try_send(&3).unwrap();
        assert_eq!(sender.try_send(4), Err(TrySendError::Full(4)));
        assert_eq!(arrived.try_send(4), Err(TrySendError::Full(4)));
        assert!(ipc_sender.try_send(&4).is_err_and(|error| error.is_full()));
        outer.send_ref(&sender).unwrap();
        let (carrier, elsewhere) = mpsc::channel();
        carrier.send(receiver).unwrap();
        let receiver: Receiver<u32> = elsewhere.recv().unwrap();
        assert_eq!(receiver.recv(), Ok(1));
        SyncSender::from(ipc_sender).try_send(4).unwrap();
        drop((sender, arrived, outer, inbox));
        assert!(receiver.into_iter().eq([2, 3, 4]));
    }
}

/// Only `send_ref` returns the reason of a failed encoding; `send` returns the value.
#[test]
fn value_of_a_failed_send_comes_back() {
    let _watchdog = watchdog();
    let (sender, receiver) = mpsc::sync_channel::<RefCell<u32>>(1);
    let value = RefCell::new(1);
    let lent = value.borrow_mut();
    assert!(matches!(sender.send_ref(&value), Err(IpcError::SerializationError(_))));
    drop(lent);
    sender.send_ref(&value).unwrap();
    drop(receiver);
    assert!(matches!(sender.send_ref(&value), Err(IpcError::Disconnected)));
    assert_eq!(sender.send(value).unwrap_err().0, RefCell::new(1));
}

#[test]
fn of_the_ipc_face_arrive_as_either() {
    let _watchdog = watchdog();
    let (outer, inbox) = mpsc::channel::<(IpcSender<u8>, Receiver<u8>)>();
    let (sender, receiver) = mpsc::channel::<u8>();
    outer.send((sender.into(), receiver)).unwrap();
    let inbox: Receiver<(Sender<u8>, IpcReceiver<u8>)> =
        IpcReceiver::from(inbox).to_opaque().to().into();
    let (sender, receiver) = inbox.recv().unwrap();
    sender.send(1).unwrap();
    assert_eq!(receiver.recv().unwrap(), 1);
}

#[test]
fn moved_receiver_returns_an_error_as_an_ipc_receiver() {
    let _watchdog = watchdog();
    let (_sender, receiver) = mpsc::channel::<u8>();
    let (outer, _inbox) = mpsc::channel();
    outer.send_ref(&receiver).unwrap();
    let error = IpcReceiver::from(receiver).recv().unwrap_err();
    assert!(error.to_string().contains("was moved into a message"), "{error}");
}

#[test]
fn receivers_go_into_sets_and_routers() {
    let _watchdog = watchdog();
    let mut set = IpcReceiverSet::new().unwrap();
    let senders: Vec<Sender<u32>> = (0..3)
        .map(|_| {
            let (sender, receiver) = mpsc::channel();
            set.add(receiver.into()).unwrap();
            sender
        })
        .collect();
    for (sender, number) in senders.iter().zip(0..) {
        sender.send(number).unwrap();
    }
    drop(senders);
    let (mut numbers, mut closed) = (Vec::new(), 0);
    while closed < 3 {
        for event in set.select().unwrap() {
            match event {
                IpcSelectionResult::MessageReceived(_, message) => {
                    numbers.push(message.to::<u32>().unwrap());
                }
                IpcSelectionResult::ChannelClosed(_) => closed += 1,
            }
        }
    }
    numbers.sort_unstable();
    assert_eq!(numbers, [0, 1, 2]);

    let (sender, receiver) = mpsc::channel::<u32>();
    let (routed, results) = mpsc::channel::<u32>();
    ROUTER.add_typed_route(
        receiver.into(),
        Box::new(move |value: Result<u32, SerDeError>| routed.send(value.unwrap() + 1).unwrap()),
    );
    sender.send(1).unwrap();
    assert_eq!(results.recv(), Ok(2));
}

#[test]
fn receivers_keep_their_options() {
    let _watchdog = watchdog();
    let options = ChannelOptions::new().ordering(Ordering::PerSender);
    let (sender, receiver) = options.channel::<u8>().unwrap();
    let receiver = Receiver::from(receiver);
    sender.send(1).unwrap();
    assert_eq!(receiver.recv(), Ok(1));
    let (outer, inbox) = mpsc::channel();
    outer.send(receiver).unwrap();
    let receiver = IpcReceiver::from(inbox.recv().unwrap());
    assert_eq!(receiver.options().unwrap(), options);
}

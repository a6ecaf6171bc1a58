//! The order of messages that are sent by ring and by socket, or received in several passes.

use serde::{Deserialize, Serialize};
use strait::ipc::{self, IpcReceiver, IpcSender};

use crate::harness;

#[derive(Serialize, Deserialize)]
enum Item {
    Bytes(u32, Vec<u8>),
    Handle(u32, IpcSender<()>),
}

impl Item {
    fn number(&self) -> u32 {
        match self {
            Item::Bytes(number, _) | Item::Handle(number, _) => *number,
        }
    }
}

#[test]
fn a_large_message_in_a_ring_arrives_before_a_later_one_by_socket() {
    let _watchdog = harness::watchdog();
    let (sender, receiver) = ipc::channel::<Item>().unwrap();
    let (handle, _kept) = ipc::channel::<()>().unwrap();
    sender.send(Item::Bytes(0, vec![1; 12 << 20])).unwrap();
    sender.send(Item::Handle(1, handle)).unwrap();
    let order: Vec<u32> = (0..2).map(|_| receiver.recv().unwrap().number()).collect();
    assert_eq!(order, [0, 1]);
}

#[test]
fn a_receiver_that_moves_with_full_rings_keeps_the_order() {
    let _watchdog = harness::watchdog();
    let (sender, receiver) = ipc::channel::<Item>().unwrap();
    let (handle, _kept) = ipc::channel::<()>().unwrap();
    sender.send(Item::Bytes(0, vec![1; 512 << 10])).unwrap();
    assert_eq!(receiver.recv().unwrap().number(), 0);
    for number in 1..12 {
        if number == 5 {
            sender.send(Item::Handle(number, handle.clone())).unwrap();
        } else {
            sender.send(Item::Bytes(number, vec![1; 512 << 10])).unwrap();
        }
    }
    let (mover, arrivals) = ipc::channel::<IpcReceiver<Item>>().unwrap();
    mover.send(receiver).unwrap();
    let receiver = arrivals.recv().unwrap();
    let order: Vec<u32> = (1..12).map(|_| receiver.recv().unwrap().number()).collect();
    assert_eq!(order, (1..12).collect::<Vec<_>>());
}

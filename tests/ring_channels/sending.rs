//! C1: a send by ring does not wait for the receiver.

use super::*;

#[test]
fn c1_send_returns_although_no_thread_receives() {
    harness::alone(harness::path_of(c1_send_returns_although_no_thread_receives), || {
        let (sender, receiver) = ipc::channel().unwrap();
        for number in 0..100_000 {
            sender.send(Note::new(0, number, Plan::Small)).unwrap();
        }
        assert_eq!(rings(), 1);
        for number in 0..50 {
            sender.send(Note::new(1, number, Plan::Large)).unwrap();
        }
        let mut next = [0; 2];
        for _ in 0..100_050 {
            let note: Note = receiver.recv().unwrap();
            // The large ones are last.
            assert!(note.from == 0 || next[0] == 100_000);
            note.check(&mut next[note.from as usize]);
        }
        assert!(receiver.try_recv().unwrap_err().is_empty());
        drop(sender);
        assert!(receiver.recv().unwrap_err().is_disconnected());
    });
}

/// Sends all messages, then receives all of the other process.
fn exchange(sender: &IpcSender<Note>, receiver: &IpcReceiver<Note>, plan: Plan) {
    let notes = if plan == Plan::Small { 30_000 } else { 25 };
    for number in 0..notes {
        sender.send(Note::new(0, number, plan)).unwrap();
    }
    let mut next = 0;
    for _ in 0..notes {
        receiver.recv().unwrap().check(&mut next);
    }
}

#[test]
fn exchanging_child() {
    harness::child_main(|arguments| {
        let (sender, received) = ipc::channel().unwrap();
        let (answers, answered) = ipc::channel().unwrap();
        IpcSender::connect(arguments[0].clone()).unwrap().send((sender, answered)).unwrap();
        exchange(&answers, &received, Plan::Small);
        exchange(&answers, &received, Plan::Large);
    });
}

#[test]
fn c1_processes_that_send_much_before_they_receive_do_not_deadlock() {
    let _watchdog = harness::watchdog();
    let (server, name) = IpcOneShotServer::<(IpcSender<Note>, IpcReceiver<Note>)>::new().unwrap();
    let child = harness::child(harness::path_of(exchanging_child), &[&name]);
    let (_, (sender, received)) = server.accept().unwrap();
    exchange(&sender, &received, Plan::Small);
    exchange(&sender, &received, Plan::Large);
    child.completed();
}

/// Messages of any length fill the socket: the last one that it accepts may be larger than its
/// free room.
#[test]
fn c1_messages_of_all_sizes_do_not_wait() {
    let _watchdog = harness::watchdog();
    for sizes in [&[100_000, 204_000, 1][..], &[60_000, 60_000, 60_000, 64_000, 65_000, 1, 1]] {
        let (sender, receiver) = ipc::bytes_channel().unwrap();
        for round in 0..20 {
            for size in sizes {
                sender.send(&vec![round; *size]).unwrap();
            }
        }
        for round in 0..20 {
            for size in sizes {
                assert_eq!(receiver.recv().unwrap(), vec![round; *size]);
            }
        }
    }
}

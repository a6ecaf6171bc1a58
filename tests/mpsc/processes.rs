//! Endpoints in other processes, and faults of system calls.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::thread;
use std::time::Duration;

use rustix::io::Errno;
use rustix::process::{Resource, getrlimit, setrlimit};
use serde::Serialize;
use serde::de::DeserializeOwned;
use strait::ipc::{IpcOneShotServer, IpcSender};
use strait::mpsc::{self, Receiver, RecvError, RecvTimeoutError, Sender, SyncSender, TryRecvError};

use crate::LONG;
use crate::harness::fork::fork;
use crate::harness::sandbox::forbid;
use crate::harness::{
    Child, alone, child, child_main, handles, handles_besides, path_of, watchdog,
};

/// Starts a child that runs `function`, which [`take`]s `value` by the same type.
pub(crate) fn give<T: Serialize + DeserializeOwned>(function: &str, value: T) -> Child {
    let (server, name) = IpcOneShotServer::<Sender<T>>::new().unwrap();
    let child = child(function, &[&name]);
    let (_, sender) = server.accept().unwrap();
    assert!(sender.send(value).is_ok());
    child
}

/// Receives the value that the parent gave.
pub(crate) fn take<T: Serialize + DeserializeOwned>(arguments: &[String]) -> T {
    let (sender, receiver) = mpsc::channel();
    IpcSender::connect(arguments[0].clone()).unwrap().send(sender).unwrap();
    receiver.recv().unwrap()
}

/// Work that runs in a thread or in a process, without any difference in the code.
fn work(jobs: Receiver<u32>, results: Sender<(u32, String)>) {
    for job in jobs {
        results.send((job, job.to_string())).unwrap();
    }
}

#[test]
fn work_child() {
    child_main(|arguments| {
        let (jobs, results) = take(&arguments);
        work(jobs, results);
    });
}

#[test]
fn a_thread_can_become_a_process() {
    let _watchdog = watchdog();
    for in_a_process in [false, true] {
        let (jobs, inbox) = mpsc::channel::<u32>();
        let (answers, results) = mpsc::channel::<(u32, String)>();
        // Before the worker is there, ...
        (0..5_000).for_each(|job| jobs.send(job).unwrap());
        let (mut thread, mut process) = (None, None);
        if in_a_process {
            process = Some(give(path_of(work_child), (inbox, answers)));
        } else {
            thread = Some(thread::spawn(move || work(inbox, answers)));
        }
        // ... and after.
        (5_000..10_000).for_each(|job| jobs.send(job).unwrap());
        drop(jobs);
        assert!(results.into_iter().eq((0..10_000).map(|job| (job, job.to_string()))));
        thread.into_iter().for_each(|thread| thread.join().unwrap());
        process.into_iter().for_each(Child::completed);
    }
}

#[test]
fn bounded_work_child() {
    child_main(|arguments| {
        let (jobs, results): (Receiver<u32>, SyncSender<u32>) = take(&arguments);
        for job in jobs {
            results.send(job + 1).unwrap();
        }
    });
}

#[test]
fn bounds_hold_between_processes() {
    let _watchdog = watchdog();
    for bound in [0, 1, 10] {
        let (jobs, inbox) = mpsc::sync_channel::<u32>(bound);
        let (answers, results) = mpsc::sync_channel::<u32>(bound);
        let process = give(path_of(bounded_work_child), (inbox, answers));
        let sending = thread::spawn(move || (0..2_000).for_each(|job| jobs.send(job).unwrap()));
        assert!(results.into_iter().eq(1..=2_000));
        sending.join().unwrap();
        process.completed();
    }
}

#[test]
fn threads_and_processes_share_a_channel() {
    let _watchdog = watchdog();
    let (answers, results) = mpsc::channel::<(u32, String)>();
    let mut jobs = Vec::new();
    let mut processes = Vec::new();
    for worker in 0..4 {
        let (sender, inbox) = mpsc::channel::<u32>();
        jobs.push(sender);
        let answers = answers.clone();
        if worker % 2 == 0 {
            processes.push(give(path_of(work_child), (inbox, answers)));
        } else {
            thread::spawn(move || work(inbox, answers));
        }
    }
    drop(answers);
    for job in 0..4_000 {
        jobs[job as usize % 4].send(job).unwrap();
    }
    drop(jobs);
    let mut next = [0, 1, 2, 3];
    for (job, text) in results {
        let expected = &mut next[job as usize % 4];
        assert_eq!((job, text), (*expected, expected.to_string()));
        *expected += 4;
    }
    assert_eq!(next, [4_000, 4_001, 4_002, 4_003]);
    processes.into_iter().for_each(Child::completed);
}

#[test]
fn few_at_a_time_child() {
    child_main(|arguments| {
        let (outer, back, numbers): (Receiver<Receiver<u32>>, _, _) = take(&arguments);
        let (back, numbers): (Sender<Receiver<u32>>, Sender<u32>) = (back, numbers);
        for receiver in outer {
            receiver.iter().take(100).for_each(|number| numbers.send(number).unwrap());
            back.send(receiver).unwrap();
        }
    });
}

/// A receiver is moved back and forth while a thread sends; each process receives the
/// next messages.
#[test]
fn receiver_is_moved_to_a_process_and_back() {
    let _watchdog = watchdog();
    let (there, outer) = mpsc::channel::<Receiver<u32>>();
    let (back, returned) = mpsc::channel::<Receiver<u32>>();
    let (numbers, received) = mpsc::channel::<u32>();
    let child = give(path_of(few_at_a_time_child), (outer, back, numbers));
    let (sender, mut receiver) = mpsc::channel::<u32>();
    let sending = thread::spawn(move || (0..4_000).for_each(|n| sender.send(n).unwrap()));
    for round in 0..20 {
        there.send(receiver).unwrap();
        receiver = returned.recv().unwrap();
        assert!(receiver.iter().take(100).eq(round * 200 + 100..round * 200 + 200));
    }
    assert_eq!(receiver.recv(), Err(RecvError));
    let theirs = (0..20).flat_map(|round| round * 200..round * 200 + 100);
    assert!(received.iter().take(2_000).eq(theirs));
    sending.join().unwrap();
    drop(there);
    child.completed();
}

#[test]
fn send_until_killed_child() {
    child_main(|arguments| {
        let numbers: Sender<u64> = take(&arguments);
        (0..).take_while(|number| numbers.send(*number).is_ok()).for_each(drop);
        unreachable!("it is killed before the receiver goes");
    });
}

#[test]
fn messages_of_a_killed_process_are_received_before_disconnection() {
    let _watchdog = watchdog();
    let (sender, receiver) = mpsc::channel::<u64>();
    let child = give(path_of(send_until_killed_child), sender);
    assert!(receiver.iter().take(1_000).eq(0..1_000));
    child.killed();
    for (number, expected) in receiver.iter().zip(1_000..) {
        assert_eq!(number, expected);
    }
    assert_eq!(receiver.recv(), Err(RecvError));
    assert_eq!(receiver.try_recv(), Err(TryRecvError::Disconnected));
}

#[test]
fn wait_child() {
    child_main(|arguments| {
        let (receiver, ready): (Receiver<u8>, Sender<()>) = take(&arguments);
        assert_eq!(receiver.recv(), Ok(1));
        ready.send(()).unwrap();
        let _ = receiver.recv();
        unreachable!("it is killed before anything comes");
    });
}

#[test]
fn sender_is_disconnected_when_the_receiving_process_is_killed() {
    let _watchdog = watchdog();
    let (sender, receiver) = mpsc::channel::<u8>();
    let (ready, is_ready) = mpsc::channel::<()>();
    let child = give(path_of(wait_child), (receiver, ready));
    sender.send(1).unwrap();
    is_ready.recv().unwrap();
    assert_eq!(is_ready.recv_timeout(Duration::from_millis(1)), Err(RecvTimeoutError::Timeout));
    child.killed();
    assert_eq!(is_ready.recv(), Err(RecvError));
    assert_eq!(sender.send(2), Err(mpsc::SendError(2)));
}

#[test]
fn panic_child() {
    child_main(|arguments| {
        let (receiver, sender): (Receiver<u8>, Sender<u8>) = take(&arguments);
        let unwound = catch_unwind(AssertUnwindSafe(move || {
            receiver.recv().unwrap();
            sender.send(2).unwrap();
            std::panic::resume_unwind(Box::new((receiver, sender)));
        }));
        drop(unwound);
        thread::park();
    });
}

/// The process continues; its endpoints were dropped.
#[test]
fn a_panic_in_another_process_drops_its_ends() {
    let _watchdog = watchdog();
    let (sender, receiver) = mpsc::channel::<u8>();
    let (answers, answer) = mpsc::channel::<u8>();
    let child = give(path_of(panic_child), (receiver, answers));
    sender.send(1).unwrap();
    assert!(answer.into_iter().eq([2]));
    while sender.send(3).is_ok() {}
    child.killed();
}

#[test]
fn forked_child_inherits_a_channel_of_the_operating_system() {
    alone(path_of(forked_child_inherits_a_channel_of_the_operating_system), || {
        let (sender, receiver) = mpsc::try_channel::<u32>().unwrap();
        let (there, inbox) = mpsc::try_channel::<u32>().unwrap();
        let (sender_here, inbox_here) = (sender.clone(), &inbox);
        let child = fork(move || {
            assert_eq!(inbox_here.recv(), Ok(1));
            (2..1_000).for_each(|number| sender_here.send(number).unwrap());
        });
        there.send(1).unwrap();
        assert!(receiver.iter().take(998).eq(2..1_000));
        child.completed();
        drop(sender);
        assert_eq!(receiver.recv(), Err(RecvError));
    });
}

#[test]
fn a_channel_costs_two_handles_and_leaves_none() {
    alone(path_of(a_channel_costs_two_handles_and_leaves_none), || {
        let before = handles();
        let ends = mpsc::try_channel::<u32>().unwrap();
        let new = handles_besides(&before);
        assert_eq!(new.len(), 2, "{new:?}");
        assert!(new.iter().all(|handle| handle.closes_on_exec), "{new:?}");
        drop(ends);
        let (sender, receiver) = mpsc::channel::<Sender<u32>>();
        assert!(handles_besides(&before).len() <= 2);
        let (inner, waiting) = mpsc::channel();
        sender.send(inner).unwrap();
        drop((sender, receiver));
        assert_eq!(waiting.recv(), Err(RecvError));
        drop(waiting);
        assert_eq!(handles(), before);
    });
}

#[test]
fn without_descriptors_try_channel_fails_and_other_channels_work() {
    alone(path_of(without_descriptors_try_channel_fails_and_other_channels_work), || {
        let (sender, receiver) = mpsc::try_channel::<u32>().unwrap();
        let (outer, inbox) = mpsc::try_channel::<Sender<u32>>().unwrap();
        let mut limit = getrlimit(Resource::Nofile);
        let usual = limit.current;
        limit.current = Some(0);
        setrlimit(Resource::Nofile, limit).unwrap();
        let refused = mpsc::try_channel::<u32>();
        assert_eq!(refused.unwrap_err().raw_os_error(), Some(Errno::MFILE.raw_os_error()));
        sender.send(1).unwrap();
        assert_eq!(receiver.recv(), Ok(1));
        // Needs none to go, and one to come.
        outer.send(sender.clone()).unwrap();
        limit.current = usual;
        setrlimit(Resource::Nofile, limit).unwrap();
        inbox.recv().unwrap().send(2).unwrap();
        assert_eq!(receiver.recv(), Ok(2));
    });
}

/// Receives in all ways on a thread where `recvmsg` fails, and hands the receiver back.
fn receive_where(error: Errno, receiver: Receiver<u32>) -> ([RecvTimeoutError; 3], Receiver<u32>) {
    let thread = thread::spawn(move || {
        forbid(libc::SYS_recvmsg, error);
        let limited = receiver.recv_timeout(Duration::from_millis(20)).unwrap_err();
        let unlimited = match receiver.try_recv().unwrap_err() {
            TryRecvError::Empty => RecvTimeoutError::Timeout,
            TryRecvError::Disconnected => RecvTimeoutError::Disconnected,
        };
        let at_once = receiver.recv_timeout(Duration::ZERO).unwrap_err();
        ([limited, unlimited, at_once], receiver)
    });
    thread.join().unwrap()
}

#[test]
fn temporary_failure_of_the_system_is_not_disconnection() {
    alone(path_of(temporary_failure_of_the_system_is_not_disconnection), || {
        let (sender, receiver) = mpsc::try_channel::<u32>().unwrap();
        sender.send(1).unwrap();
        let (seen, receiver) = receive_where(Errno::NOMEM, receiver);
        assert_eq!(seen, [RecvTimeoutError::Timeout; 3]);
        assert_eq!(receiver.recv_timeout(LONG), Ok(1));
        // An error that is permanent disconnects.
        sender.send(2).unwrap();
        let (seen, receiver) = receive_where(Errno::ACCESS, receiver);
        assert_eq!(seen, [RecvTimeoutError::Disconnected; 3]);
        assert_eq!(receiver.recv(), Ok(2));
    });
}

/// Waiting for memory takes next to no processor time.
#[test]
fn retry_after_a_failure_of_the_system_uses_no_processor_time() {
    alone(path_of(retry_after_a_failure_of_the_system_uses_no_processor_time), || {
        use rustix::time::{ClockId, clock_gettime};

        let (sender, receiver) = mpsc::try_channel::<u32>().unwrap();
        sender.send(1).unwrap();
        thread::spawn(move || {
            forbid(libc::SYS_recvmsg, Errno::NOMEM);
            let now = || Duration::try_from(clock_gettime(ClockId::ThreadCPUTime)).unwrap();
            let begun = now();
            let timeout = Duration::from_secs(1);
            assert_eq!(receiver.recv_timeout(timeout), Err(RecvTimeoutError::Timeout));
            assert!(now() - begun < timeout / 10);
        })
        .join()
        .unwrap();
    });
}

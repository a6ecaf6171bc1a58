//! C11: what channels cost in handles, threads and processor time.

use super::*;

#[test]
fn c11_a_channel_is_two_handles_and_nothing_else() {
    harness::alone(harness::path_of(c11_a_channel_is_two_handles_and_nothing_else), || {
        let threads = || fs::read_dir("/proc/self/task").unwrap().count();
        let handles = harness::handles();
        let threads_before = threads();
        let channels: Vec<_> = (0..100).map(|_| ipc::channel::<Item>().unwrap()).collect();
        let new: Vec<_> =
            harness::handles().into_iter().filter(|handle| !handles.contains(handle)).collect();
        assert_eq!(new.len(), 200);
        assert!(new.iter().all(|handle| handle.closes_on_exec), "{new:?}");
        // Clones share the handle.
        let clones: Vec<_> = channels.iter().map(|(sender, _)| sender.clone()).collect();
        // Use opens no handles either.
        for (sender, receiver) in &channels {
            sender.send(Item::new(0, 0)).unwrap();
            receiver.recv().unwrap().check(0);
            assert!(receiver.recv_timeout(Duration::from_micros(10)).unwrap_err().is_empty());
        }
        assert_eq!(harness::handles().len(), handles.len() + 200);
        assert_eq!(threads(), threads_before);
        drop(channels);
        drop(clones);
        assert_eq!(harness::handles(), handles);
    });
}

/// A busy channel has shared memory, one handle for each endpoint, which is closed with
/// the channel.
#[test]
fn c11_a_busy_channel_has_one_handle_more_for_each_end() {
    harness::alone(harness::path_of(c11_a_busy_channel_has_one_handle_more_for_each_end), || {
        let before = harness::handles();
        let (sender, receiver) = ipc::channel::<Item>().unwrap();
        let is_ring = |handle: &harness::OpenHandle| handle.what.contains("strait-ring");
        // Until the ring exists: how many messages that takes depends on the clock.
        let mut rings = 0;
        while rings < 2 {
            for number in 0..100 {
                sender.send(Item::new(0, number)).unwrap();
                receiver.recv().unwrap().check(number);
            }
            rings = harness::handles().iter().filter(|handle| is_ring(handle)).count();
        }
        let clones = vec![sender.clone(); 10];
        for number in 0..10_000 {
            clones[number as usize % 10].send(Item::new(0, number)).unwrap();
        }
        (0..10_000).for_each(|number| receiver.recv().unwrap().check(number));
        let new = harness::handles_besides(&before);
        assert_eq!(new.len(), 4, "{new:?}");
        assert!(new.iter().all(|handle| handle.closes_on_exec), "{new:?}");
        drop((sender, clones));
        assert!(receiver.recv().unwrap_err().is_disconnected());
        drop(receiver);
        assert_eq!(harness::handles(), before);
    });
}

#[test]
fn c11_received_endpoints_have_one_handle_each() {
    harness::alone(harness::path_of(c11_received_endpoints_have_one_handle_each), || {
        let (sender, receiver) = ipc::channel::<(IpcSender<u32>, IpcReceiver<u32>)>().unwrap();
        let before = harness::handles();
        sender.send(ipc::channel().unwrap()).unwrap();
        // No handle of it is open here while it is in flight.
        assert_eq!(harness::handles(), before);
        let received = receiver.recv().unwrap();
        let new: Vec<_> =
            harness::handles().into_iter().filter(|handle| !before.contains(handle)).collect();
        assert_eq!(new.len(), 2);
        assert!(new.iter().all(|handle| handle.closes_on_exec), "{new:?}");
        drop(received);
        assert_eq!(harness::handles(), before);
    });
}

/// A child process inherits no file descriptor of strait's.
#[test]
fn c11_programs_inherit_no_descriptor() {
    harness::alone(harness::path_of(c11_programs_inherit_no_descriptor), || {
        let before = harness::handles();
        let _everything = (
            ipc::channel::<u32>().unwrap(),
            IpcOneShotServer::<u32>::new().unwrap(),
            IpcServer::<u32, u32>::bind(format!("strait-inherited-{}", std::process::id()))
                .unwrap(),
            IpcReceiverSet::new().unwrap(),
            IpcSharedMemory::try_from_byte(1, 100).unwrap(),
        );
        let router = strait::router::RouterProxy::new();
        router.add_typed_route::<u32>(ipc::channel().unwrap().1, Box::new(|_| {}));
        let open = harness::handles();
        assert!(open.len() > before.len() + 9);
        let inherited = open.iter().filter(|handle| !before.contains(handle));
        let inherited: Vec<_> = inherited.filter(|handle| !handle.closes_on_exec).collect();
        assert!(inherited.is_empty(), "{inherited:?}");
    });
}

/// No blocked call uses processor time.
#[test]
fn c11_blocked_calls_use_no_processor_time() {
    harness::alone(harness::path_of(c11_blocked_calls_use_no_processor_time), || {
        let _idle: Vec<_> = (0..100).map(|_| ipc::channel::<u32>().unwrap()).collect();
        let (sender, receiver) = ipc::channel::<u32>().unwrap();
        // The channel was busy, and is idle now.
        for number in 0..10_000 {
            sender.send(number).unwrap();
            assert_eq!(receiver.recv().unwrap(), number);
        }
        let mut set = IpcReceiverSet::new().unwrap();
        let (set_sender, set_receiver) = ipc::channel::<u32>().unwrap();
        set.add(set_receiver).unwrap();
        let wait = Duration::from_millis(300);
        let before = processor_time();
        assert!(receiver.recv_timeout(wait).unwrap_err().is_empty());
        assert!(set.try_select_timeout(wait).unwrap_err().is_empty());
        let used = processor_time() - before;
        assert!(used < wait / 3, "{used:?} of {:?}", 2 * wait);
        drop(set_sender);
    });
}

/// The processor time of this process so far.
fn processor_time() -> Duration {
    let id = rustix::time::ClockId::ProcessCPUTime;
    let time = rustix::time::clock_gettime(id);
    Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
}

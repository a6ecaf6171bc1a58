//! No /proc, no memory, no large files, and no system calls.

use super::*;

#[test]
fn c7_everything_works_without_proc() {
    if !rustix::process::geteuid().is_root() {
        // Only root can change to a root directory without /proc.
        return;
    }
    harness::alone(harness::path_of(c7_everything_works_without_proc), || {
        let root = std::env::temp_dir().join(format!("strait-root-{}", std::process::id()));
        let temporary = std::env::temp_dir();
        fs::create_dir_all(root.join(temporary.strip_prefix("/").unwrap())).unwrap();
        let old_root = fs::File::open("/").unwrap();
        rustix::process::chroot(&root).unwrap();
        std::env::set_current_dir("/").unwrap();
        assert!(!fs::exists("/proc").unwrap());
        assert_business_as_usual();
        rustix::process::fchdir(&old_root).unwrap();
        rustix::process::chroot(".").unwrap();
        fs::remove_dir_all(&root).unwrap();
    });
}

#[test]
fn c7_allocation_beyond_the_address_space_is_an_error() {
    harness::alone(harness::path_of(c7_allocation_beyond_the_address_space_is_an_error), || {
        assert_business_as_usual();
        let (sender, receiver) = ipc::channel::<IpcSharedMemory>().unwrap();
        let large = IpcSharedMemory::try_from_byte(0, 1 << 30).unwrap();
        let (bytes_sender, bytes_receiver) = ipc::bytes_channel().unwrap();
        limit(Resource::As, address_space() + (200 << 20));
        assert!(IpcSharedMemory::try_from_byte(1, 1 << 30).is_err());
        assert!(IpcSharedMemory::try_from_byte(1, usize::MAX).is_err());
        assert!(IpcSharedMemory::try_from_byte(1, 1 << 62).is_err());
        sender.send(large.clone()).unwrap();
        assert!(matches!(receiver.recv(), Err(IpcError::SerializationError(_))));
        // A peer can send more than this process has memory for.
        let sending = thread::spawn(move || {
            let part = vec![7; 100_000];
            raw::send(&bytes_sender, &raw::first(1, 600_000_000, &part), &[]).unwrap();
            for _ in 1..5_999 {
                raw::send(&bytes_sender, &raw::middle(1, &part), &[]).unwrap();
            }
            raw::send(&bytes_sender, &raw::last(1, &part), &[]).unwrap();
            bytes_sender.send(b"small").unwrap();
        });
        assert!(matches!(bytes_receiver.recv(), Err(IpcError::SerializationError(_))));
        assert_eq!(bytes_receiver.recv().unwrap(), b"small");
        sending.join().unwrap();
        drop(large);
        assert_business_as_usual();
    });
}

fn address_space() -> u64 {
    let status = fs::read_to_string("/proc/self/statm").unwrap();
    let pages: u64 = status.split(' ').next().unwrap().parse().unwrap();
    pages * 4096
}

/// Sandboxes forbid writing files this way. The kernel kills a process that tries, by a signal.
#[test]
fn c7_memory_beyond_the_limit_on_files_is_an_error() {
    harness::alone(harness::path_of(c7_memory_beyond_the_limit_on_files_is_an_error), || {
        assert_business_as_usual();
        limit(Resource::Fsize, 4096);
        assert!(IpcSharedMemory::try_from_byte(1, 4097).is_err());
        assert_eq!(IpcSharedMemory::try_from_byte(1, 4096).unwrap().len(), 4096);
        limit(Resource::Fsize, 0);
        assert!(IpcSharedMemory::try_from_byte(1, 1).is_err());
        assert!(IpcSharedMemory::try_from_byte(1, 0).unwrap().is_empty());
        assert!(SharedMemoryWriter::new(1).is_err());
    });
}

#[test]
fn c7_every_call_works_or_fails_for_every_system_call_that_a_sandbox_forbids() {
    harness::alone(
        harness::path_of(c7_every_call_works_or_fails_for_every_system_call_that_a_sandbox_forbids),
        || {
            assert_business_as_usual();
            let handles = || {
                let mut handles = harness::handles();
                // std opens /dev/urandom if it has to, and keeps it open.
                handles.retain(|handle| handle.what != "/dev/urandom");
                handles
            };
            let before = handles();
            for (name, forbidden) in [
                ("memfd_create", libc::SYS_memfd_create),
                ("ftruncate", libc::SYS_ftruncate),
                ("fcntl", libc::SYS_fcntl),
                ("fstatfs", libc::SYS_fstatfs),
                ("fallocate", libc::SYS_fallocate),
                ("pwrite", libc::SYS_pwrite64),
                ("eventfd", libc::SYS_eventfd2),
                ("epoll_create", libc::SYS_epoll_create1),
                ("epoll_ctl", libc::SYS_epoll_ctl),
                ("socketpair", libc::SYS_socketpair),
                ("socket", libc::SYS_socket),
                ("bind", libc::SYS_bind),
                ("sendmsg", libc::SYS_sendmsg),
                ("recvmsg", libc::SYS_recvmsg),
                ("ppoll", libc::SYS_ppoll),
                ("ioctl", libc::SYS_ioctl),
                ("getsockopt", libc::SYS_getsockopt),
                ("dup3", libc::SYS_dup3),
                ("prlimit", libc::SYS_prlimit64),
                ("getrandom", libc::SYS_getrandom),
            ] {
                for error in [Errno::NOSYS, Errno::PERM] {
                    // A filter is for the thread that installs it, and for good.
                    let failed = thread::spawn(move || {
                        forbid(forbidden, error);
                        let failed = |call: &Call| call.1().is_err();
                        CALLS
                            .iter()
                            .filter(|call| failed(call))
                            .map(|call| call.0)
                            .collect::<Vec<_>>()
                    })
                    .join()
                    .unwrap_or_else(|_| panic!("without {name} something panics"));
                    println!("without {name}: {failed:?}");
                    if name == "memfd_create" {
                        assert_eq!(failed, ["memory", "written memory"]);
                    }
                    if name == "fallocate" {
                        assert_eq!(failed, [""; 0]);
                    }
                    assert_eq!(handles(), before, "without {name}");
                }
            }
            assert_business_as_usual();
        },
    );
}

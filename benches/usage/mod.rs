//! The usage of a process and of the system, as the kernel counts it. A value that cannot be
//! read counts as 0.

use std::fs;

use serde::{Deserialize, Serialize};

/// The usage of one process.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Usage {
    pub(crate) descriptors: f64,
    pub(crate) mappings: f64,
    /// Bytes of memory that only this process has: heap and stacks.
    pub(crate) heap: f64,
    /// Bytes of its page tables.
    pub(crate) page_tables: f64,
}

impl Usage {
    pub(crate) fn now() -> Usage {
        let rollup = fs::read_to_string("/proc/self/smaps_rollup").unwrap_or_default();
        let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
        let maps = fs::read_to_string("/proc/self/maps").unwrap_or_default();
        Usage {
            descriptors: fs::read_dir("/proc/self/fd").map_or(0, Iterator::count) as f64,
            mappings: maps.lines().count() as f64,
            heap: kilobytes(&rollup, "Pss_Anon:"),
            page_tables: kilobytes(&status, "VmPTE:"),
        }
    }

    pub(crate) fn since(self, before: Usage) -> Usage {
        Usage {
            descriptors: self.descriptors - before.descriptors,
            mappings: self.mappings - before.mappings,
            heap: self.heap - before.heap,
            page_tables: self.page_tables - before.page_tables,
        }
    }
}

/// The usage of all processes together. Other processes than the two that are measured
/// affect it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct SystemUsage {
    /// Bytes of shared memory, of all processes together.
    pub(crate) shared: f64,
    /// Bytes of the kernel's own objects: sockets, open files, what is in queues.
    pub(crate) kernel: f64,
}

impl SystemUsage {
    pub(crate) fn now() -> SystemUsage {
        let memory = fs::read_to_string("/proc/meminfo").unwrap_or_default();
        // Only root may look at the objects; pages of freed ones are kept for a while.
        let objects = fs::read_to_string("/proc/slabinfo").ok();
        SystemUsage {
            shared: kilobytes(&memory, "Shmem:"),
            kernel: objects.map_or_else(|| kilobytes(&memory, "Slab:"), |slabs| live(&slabs)),
        }
    }

    pub(crate) fn since(self, before: SystemUsage) -> SystemUsage {
        SystemUsage { shared: self.shared - before.shared, kernel: self.kernel - before.kernel }
    }
}

/// How many descriptors a process may have.
pub(crate) fn max_descriptors() -> Option<usize> {
    let limits = fs::read_to_string("/proc/self/limits").ok()?;
    let line = limits.lines().find_map(|line| line.strip_prefix("Max open files"))?;
    line.split_whitespace().next()?.parse().ok()
}

fn kilobytes(text: &str, name: &str) -> f64 {
    let line = text.lines().find_map(|line| line.strip_prefix(name));
    let number = line.and_then(|line| line.split_whitespace().next()?.parse::<f64>().ok());
    number.unwrap_or(0.0) * 1024.0
}

/// The bytes of all objects in use.
fn live(slabs: &str) -> f64 {
    let bytes = slabs.lines().filter_map(|line| {
        let mut columns = line.split_whitespace().skip(1);
        let objects = columns.next()?.parse::<f64>().ok()?;
        let size = columns.nth(1)?.parse::<f64>().ok()?;
        Some(objects * size)
    });
    bytes.sum()
}

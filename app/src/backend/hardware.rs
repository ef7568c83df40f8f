//! What this machine has for models: memory, how fast it is, and the GPU.
//!
//! Asked once in a process, when somebody first wants to know. Start at [`machine`].

use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use satchel_inference::{Device, DeviceKind};
use satchel_models::fit::{COMFORTABLE_SHARE, Machine};
use satchel_models::memory_speed::Block;

use super::model_host::worker_command;

/// Looks at memory and GPU, and measures how fast the memory is read, which takes about a tenth of a second.
///
/// What cannot be found out is left at zero: then nothing is claimed of it.
pub async fn machine(program: &Path) -> Machine {
    let devices = satchel_inference::devices(&worker_command(program, "inference")).await;
    let devices = devices.unwrap_or_default();
    let gpus = gpus(&devices);
    Machine {
        memory_bytes: memory_bytes(),
        read_bytes_per_s: read_bytes_per_s().await,
        cores: cores() as u64,
        gpu_free_bytes: gpus.iter().map(|gpu| gpu.memory_free_bytes).sum(),
        gpu_shares_memory: gpus.iter().any(|gpu| gpu.kind == DeviceKind::IntegratedGpu),
    }
}

/// Cores that this process may use; two threads of one core count once.
fn cores() -> usize {
    let available = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    sysinfo::System::physical_core_count().map_or(available, |physical| physical.min(available))
}

/// The GPUs that a model would be put on: those that share the processor's memory only where there is no other.
fn gpus(devices: &[Device]) -> Vec<&Device> {
    let of = |kind| devices.iter().filter(move |device| device.kind == kind);
    let own: Vec<&Device> = of(DeviceKind::Gpu).collect();
    if own.is_empty() {
        of(DeviceKind::IntegratedGpu).collect()
    } else {
        own
    }
}

/// The memory that a model may be loaded into now: where less is free than the machine has, so much that what is free
/// is a comfortable share of it. At once, without GPU and speed.
#[must_use]
pub fn memory_now() -> Machine {
    let memory_bytes = system().map_or(0, |system| {
        let free = system.available_memory() as f64 / COMFORTABLE_SHARE;
        memory_of(&system).min(free as u64)
    });
    Machine {
        memory_bytes,
        ..Machine::default()
    }
}

/// Memory of this machine; 0 where the system does not say.
fn memory_bytes() -> u64 {
    system().as_ref().map_or(0, memory_of)
}

/// `None` where sysinfo does not know the system.
fn system() -> Option<sysinfo::System> {
    let mut system = sysinfo::System::new().ok()?;
    system.refresh_memory();
    Some(system)
}

fn memory_of(system: &sysinfo::System) -> u64 {
    let total = system.total_memory();
    // Inside a container its own limit counts.
    let limit = system.cgroup_limits().map(|limits| limits.total_memory);
    limit
        .filter(|limit| *limit > 0)
        .map_or(total, |limit| limit.min(total))
}

/// How fast all cores together read memory; `None` where there is too little of it to try.
///
/// The best of several passes: what other programs do meanwhile is not the machine's speed.
async fn read_bytes_per_s() -> Option<u64> {
    const PASSES: usize = 4;
    let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let blocks: Option<Vec<Arc<Block>>> = (0..cores)
        .map(|_| Block::new(READ_BYTES / cores).map(Arc::new))
        .collect();
    let blocks = blocks?;
    let bytes: usize = blocks.iter().map(|block| block.bytes()).sum();
    let mut best = 0;
    for _ in 0..PASSES {
        let begun = Instant::now();
        let reading: Vec<_> = blocks
            .iter()
            .map(|block| {
                let block = Arc::clone(block);
                tokio::task::spawn_blocking(move || block.read())
            })
            .collect();
        for block in reading {
            std::hint::black_box(block.await.ok()?);
        }
        best = best.max((bytes as f64 / begun.elapsed().as_secs_f64()) as u64);
    }
    Some(best)
}

/// More than the caches of laptops hold, so that it is the memory that is read.
const READ_BYTES: usize = 256 << 20;

#[cfg(test)]
mod tests {
    use super::*;

    fn device(kind: DeviceKind) -> Device {
        Device {
            name: String::new(),
            description: String::new(),
            backend: String::new(),
            kind,
            memory_total_bytes: 0,
            memory_free_bytes: 0,
        }
    }

    #[test]
    fn a_gpu_that_shares_memory_counts_only_alone() {
        let [cpu, own, shared] =
            [DeviceKind::Cpu, DeviceKind::Gpu, DeviceKind::IntegratedGpu].map(device);
        let kinds = |devices: &[Device]| -> Vec<DeviceKind> {
            gpus(devices).iter().map(|gpu| gpu.kind).collect()
        };
        assert_eq!(kinds(std::slice::from_ref(&cpu)), []);
        assert_eq!(
            kinds(&[cpu.clone(), shared.clone()]),
            [DeviceKind::IntegratedGpu]
        );
        assert_eq!(kinds(&[cpu, shared, own]), [DeviceKind::Gpu]);
    }

    #[test]
    fn the_speed_of_memory_is_that_of_a_computer() {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .build()
            .unwrap();
        let speed = runtime.block_on(read_bytes_per_s()).unwrap();
        // From a phone beside other work to a server.
        assert!((500_000_000..2_000_000_000_000).contains(&speed), "{speed}");
    }
}

//! What this machine has for models: memory, how fast it is, and the GPU.
//!
//! Asked once in a process, when somebody first wants to know. Start at [`machine`].

use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use satchel_inference::{Device, DeviceKind, GPU_MARGIN_BYTES, gpus_to_use};
use satchel_models::fit::memory_speed::Block;
use satchel_models::fit::{COMFORTABLE_SHARE, Machine};

use super::model_host::worker_command;

/// Looks at memory and GPU, and measures how fast the memory is read, which takes about a tenth of a second.
///
/// What cannot be found out is left at zero: then nothing is claimed of it.
pub async fn machine(program: &Path) -> Machine {
    let devices = satchel_inference::devices(&worker_command(program, "inference")).await;
    let devices = devices.unwrap_or_default();
    let gpus = gpus_to_use(&devices);
    Machine {
        memory_bytes: memory_bytes(),
        read_bytes_per_s: read_bytes_per_s().await,
        cores: cores() as u64,
        gpu_room_bytes: gpus.iter().map(|gpu| room(gpu)).sum(),
        gpu_shares_memory: gpus.iter().any(|gpu| gpu.kind == DeviceKind::IntegratedGpu),
    }
}

/// What models may take of a GPU. Of all its memory, not of what is free: a model of ours may be on it just now.
fn room(gpu: &Device) -> u64 {
    let memory = gpu.memory_total_bytes.max(gpu.memory_free_bytes);
    memory.saturating_sub(GPU_MARGIN_BYTES)
}

/// Cores that this process may use; two threads of one core count once.
fn cores() -> usize {
    let available = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    sysinfo::System::physical_core_count().map_or(available, |physical| physical.min(available))
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
#[must_use]
pub fn memory_bytes() -> u64 {
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
    // Also the taking takes its time: the memory is written once.
    let taking = tokio::task::spawn_blocking(move || {
        let blocks = (0..cores).map(|_| Block::new(READ_BYTES / cores).map(Arc::new));
        blocks.collect::<Option<Vec<Arc<Block>>>>()
    });
    let blocks = taking.await.ok()??;
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

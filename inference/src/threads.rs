//! How many threads a model computes with.
//!
//! Reads what the system says about its cores; starts none.

use std::collections::HashSet;
use std::path::Path;

/// Threads for a model: what was asked for, else one per physical core that this process may use.
///
/// Two threads on the two halves of one core get in each other's way: both wait for the same arithmetic units. How this
/// behaves when other programs compute too is measured in `README`-like form at [`crate::generate`].
pub(crate) fn choose(asked: Option<u32>) -> u32 {
    match asked {
        Some(threads) => threads.clamp(1, MAX_THREADS),
        None => default_threads(),
    }
}

fn default_threads() -> u32 {
    // Respects cgroup quotas and the set of processors that the process is tied to.
    let available = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let physical = physical_cores(Path::new("/sys/devices/system/cpu")).unwrap_or(available);
    u32::try_from(available.min(physical))
        .unwrap_or(MAX_THREADS)
        .clamp(1, MAX_THREADS)
}

/// Counts cores by the groups of hardware threads that share one. `None` where the system does not tell.
fn physical_cores(cpus: &Path) -> Option<usize> {
    let mut cores = HashSet::new();
    for entry in std::fs::read_dir(cpus).ok()?.flatten() {
        let name = entry.file_name();
        let number = name.to_str().and_then(|name| name.strip_prefix("cpu"));
        if number.is_some_and(|number| {
            !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit())
        }) {
            // A processor that is switched off has no such file.
            if let Ok(siblings) =
                std::fs::read_to_string(entry.path().join("topology/thread_siblings_list"))
            {
                cores.insert(siblings);
            }
        }
    }
    (!cores.is_empty()).then_some(cores.len())
}

/// Beyond this the threads of one answer wait for each other more than they compute.
const MAX_THREADS: u32 = 64;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_explicit_choice_is_kept_within_reason() {
        assert_eq!(choose(Some(3)), 3);
        assert_eq!(choose(Some(0)), 1);
        assert_eq!(choose(Some(5000)), MAX_THREADS);
    }

    #[test]
    fn the_default_is_never_more_than_what_the_process_may_use() {
        let available = std::thread::available_parallelism().unwrap().get();
        assert!((1..=available).contains(&(choose(None) as usize)));
    }

    #[test]
    fn two_hardware_threads_of_one_core_count_once() {
        let root =
            std::env::temp_dir().join(format!("satchel-threads-test-{}", std::process::id()));
        for (cpu, siblings) in [
            ("cpu0", "0,2"),
            ("cpu1", "1,3"),
            ("cpu2", "0,2"),
            ("cpu3", "1,3"),
        ] {
            std::fs::create_dir_all(root.join(cpu).join("topology")).unwrap();
            std::fs::write(
                root.join(cpu).join("topology/thread_siblings_list"),
                siblings,
            )
            .unwrap();
        }
        std::fs::create_dir_all(root.join("cpufreq")).unwrap();
        let counted = physical_cores(&root);
        std::fs::remove_dir_all(&root).unwrap();
        assert_eq!(counted, Some(2));
        assert_eq!(physical_cores(&root), None);
    }
}

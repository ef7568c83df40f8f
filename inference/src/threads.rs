//! How many threads a model computes with.
//!
//! A model computes in many small steps, each as fast as its slowest thread: when another program takes one core, the
//! thread that shares it holds up all others. Measured with SmolLM2-135M Q4_1 on two cores of an AMD EPYC (AVX2) by
//! `measure_reading_and_writing` in `measure.rs`, in tokens per second, typical of several runs:
//!
//! | threads | reads 512, idle | writes 64, idle | reads, one core busy | writes, one core busy |
//! |---|---|---|---|---|
//! | 2 | 281 | 93 | 110 to 137 | 25 to 30 |
//! | 1 | 146 | 60 | 141 | 57 |
//!
//! So a model computes with as many threads as other programs leave cores free; [`OtherWork`] watches them. An answer of
//! 100 tokens beside a busy core then comes at 46 tokens per second, the moment of noticing included. Letting threads
//! sleep instead of spin between steps (`OMP_WAIT_POLICY=passive`) is no way out: 50 when idle, 40 when busy.
//!
//! Reads what the system says about its cores; starts no thread.

use std::collections::HashSet;
use std::path::Path;
use std::time::{Duration, Instant};

/// Threads for a model: what was asked for, else one per physical core that this process may use.
///
/// Two threads on the two halves of one core get in each other's way: both wait for the same arithmetic units.
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

/// Watches how much of the processor other programs use.
///
/// Counts time, not programs: what runs at a lower priority takes little from us and counts little. Where the system does
/// not tell, nobody else is assumed.
#[derive(Debug, Default)]
pub(crate) struct OtherWork {
    last: Option<Clocks>,
}

/// Time spent since the start of the machine, in the kernel's unit for all of them.
#[derive(Debug, Clone, Copy)]
struct Clocks {
    at: Instant,
    /// By every program on all cores.
    busy: u64,
    /// Busy or not, on all cores.
    total: u64,
    /// By this process.
    own: u64,
}

impl OtherWork {
    /// How many threads should compute now, given that so many did since the last call and at most so many may.
    ///
    /// Stays with `current` until there is something to judge by.
    pub(crate) fn threads_beside_them(&mut self, current: u32, most: u32) -> u32 {
        if self
            .last
            .is_some_and(|last| last.at.elapsed() < SHORTEST_JUDGED)
        {
            return current;
        }
        let now = Clocks::read();
        let last = std::mem::replace(&mut self.last, now);
        match (last, now) {
            // What happened long ago says nothing about now.
            (Some(last), Some(now)) if now.at - last.at < LONGEST_JUDGED => {
                threads_beside(cores_of_others(last, now), online_cores(), current, most)
            }
            _ => current,
        }
    }
}

/// Cores that other programs kept busy between two moments.
fn cores_of_others(last: Clocks, now: Clocks) -> f64 {
    let others = now
        .busy
        .saturating_sub(last.busy)
        .saturating_sub(now.own.saturating_sub(last.own));
    let total = now.total.saturating_sub(last.total).max(1);
    others as f64 / total as f64 * f64::from(online_cores())
}

/// One thread fewer for each core that others use. They must use a good part of one before it is given up, and leave it
/// nearly alone before it is taken back, or the number would change all the time.
fn threads_beside(cores_of_others: f64, cores: u32, current: u32, most: u32) -> u32 {
    let left = |tolerated: f64| {
        let left = f64::from(cores) - cores_of_others + tolerated;
        (left.max(1.0) as u32).clamp(1, most)
    };
    let (fewer, more) = (left(GIVE_UP_AT), left(TAKE_BACK_AT));
    if fewer < current {
        fewer
    } else {
        more.max(current)
    }
}

impl Clocks {
    fn read() -> Option<Self> {
        let all = std::fs::read_to_string("/proc/stat").ok()?;
        let own = std::fs::read_to_string("/proc/self/stat").ok()?;
        Self::parse(&all, &own, Instant::now())
    }

    fn parse(all: &str, own: &str, at: Instant) -> Option<Self> {
        // user nice system idle iowait irq softirq steal; what follows is counted in `user` already.
        let all: Vec<u64> = all
            .lines()
            .next()?
            .strip_prefix("cpu ")?
            .split_whitespace()
            .map_while(|field| field.parse().ok())
            .collect();
        let total: u64 = all.iter().take(8).sum();
        let busy = total - all.get(3)? - all.get(4)?;
        // The name of the program stands in brackets and may contain anything; user and system time are fields 14 and 15.
        let mut own = own.rsplit_once(") ")?.1.split(' ').skip(11);
        let own = own.next()?.parse::<u64>().ok()? + own.next()?.parse::<u64>().ok()?;
        Some(Self {
            at,
            busy,
            total,
            own,
        })
    }
}

fn online_cores() -> u32 {
    let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    u32::try_from(cores).unwrap_or(MAX_THREADS)
}

/// The kernel counts in steps of 10 ms; shorter than this a judgement would be a guess.
const SHORTEST_JUDGED: Duration = Duration::from_millis(150);
const LONGEST_JUDGED: Duration = Duration::from_secs(3);
const GIVE_UP_AT: f64 = 0.35;
const TAKE_BACK_AT: f64 = 0.15;

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
    fn writing_makes_room_for_others_and_takes_it_back() {
        assert_eq!(threads_beside(0.0, 2, 2, 2), 2);
        assert_eq!(threads_beside(0.3, 2, 2, 2), 2);
        // Somebody computes: on two cores three threads share, so the other one gets about two thirds of a core.
        assert_eq!(threads_beside(0.6, 2, 2, 2), 1);
        assert_eq!(threads_beside(1.0, 2, 1, 2), 1);
        assert_eq!(threads_beside(0.3, 2, 1, 2), 1);
        assert_eq!(threads_beside(0.1, 2, 1, 2), 2);
        assert_eq!(threads_beside(9.0, 2, 2, 2), 1);
        assert_eq!(threads_beside(1.0, 16, 8, 8), 8);
        assert_eq!(threads_beside(10.0, 16, 8, 8), 6);
    }

    #[test]
    fn the_work_of_others_is_what_is_left_after_our_own() {
        let begin = Instant::now();
        let stat = "12 (a) b (c) R 1 1 1 0 -1 4194304 1 0 0 0 30 20 0 0 20 0 1 0 5 6 7";
        let last = Clocks::parse("cpu  100 0 0 900 0 0 0 0 0 0\ncpu0 1", stat, begin).unwrap();
        assert_eq!((last.busy, last.total, last.own), (100, 1000, 50));
        let later = stat.replace(" 30 20 ", " 80 20 ");
        let now = Clocks::parse("cpu  200 10 10 970 5 3 2 0 0 0", &later, begin).unwrap();
        // 125 of 200 ticks were busy, 50 of them ours.
        let expected = 75.0 / 200.0 * f64::from(online_cores());
        assert!((cores_of_others(last, now) - expected).abs() < 1e-9);
        assert!(Clocks::parse("nonsense", stat, begin).is_none());
        assert!(Clocks::parse("cpu 1 2 3", stat, begin).is_none());
    }

    #[test]
    fn without_two_moments_nothing_changes() {
        let mut others = OtherWork::default();
        assert_eq!(others.threads_beside_them(2, 4), 2);
        assert_eq!(others.threads_beside_them(2, 4), 2);
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

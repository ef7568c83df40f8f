//! What the system knows about a process: the time it has used and the memory it holds.
//!
//! Reads `/proc`, so it knows nothing outside of Linux; callers then fall back to wall time.

use std::time::Duration;

/// Ticks per second in `/proc/<pid>/stat`; fixed at 100 for programs on every Linux that Rust runs on.
const TICKS_PER_SECOND: u64 = 100;

/// Processor time, user and system, that a process has used so far.
pub(crate) fn cpu_time(pid: u32) -> Option<Duration> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    parse_cpu_time(&stat)
}

fn parse_cpu_time(stat: &str) -> Option<Duration> {
    // The program's name stands in brackets and may itself hold blanks and brackets.
    let (_, fields) = stat.rsplit_once(") ")?;
    // Fields 14 and 15 of the whole line; the first here is field 3.
    let mut fields = fields.split(' ').skip(11);
    let user: u64 = fields.next()?.parse().ok()?;
    let system: u64 = fields.next()?.parse().ok()?;
    Some(Duration::from_millis(
        (user + system) * 1000 / TICKS_PER_SECOND,
    ))
}

/// Memory of a process that lies in RAM, in bytes.
pub(crate) fn resident_bytes(pid: u32) -> Option<u64> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    kib_field(&status, "VmRSS:")
}

/// Address space of the calling process, in bytes.
pub(crate) fn own_mapped_bytes() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    kib_field(&status, "VmSize:")
}

fn kib_field(status: &str, field: &str) -> Option<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix(field))?;
    let kib: u64 = line.trim().strip_suffix(" kB")?.parse().ok()?;
    Some(kib * 1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_name_with_brackets_does_not_shift_the_fields() {
        let stat = "7 (a) b (c)) S 1 7 7 0 -1 4194560 100 0 0 0 250 50 0 0 20 0 1 0 100 0 0";
        assert_eq!(parse_cpu_time(stat), Some(Duration::from_secs(3)));
    }

    #[test]
    fn memory_is_read_in_bytes() {
        assert_eq!(
            kib_field("Name:\tx\nVmRSS:\t    12 kB\n", "VmRSS:"),
            Some(12 << 10)
        );
        assert_eq!(kib_field("Name:\tx\n", "VmRSS:"), None);
    }
}

//! What Linux knows of a process.

use std::fs;

use anyhow::Context;

/// `USER_HZ`, the same on every architecture that Linux runs on.
const TICKS_PER_SECOND: f64 = 100.0;

/// CPU seconds, user and system, of all threads that the process has had.
pub fn cpu_seconds(pid: u32) -> anyhow::Result<f64> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat"))?;
    // The name in brackets may hold anything.
    let (_, fields) = stat.rsplit_once(')').context("no name in stat")?;
    let ticks: Vec<f64> = fields.split_whitespace().skip(11).take(2).map(str::parse).collect::<Result<_, _>>()?;
    Ok(ticks.iter().sum::<f64>() / TICKS_PER_SECOND)
}

/// Resident memory in MiB, now and at its highest.
pub fn memory(pid: u32) -> anyhow::Result<(f64, f64)> {
    let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
    let of = |name: &str| -> anyhow::Result<f64> {
        let line = status.lines().find_map(|line| line.strip_prefix(name)).context("a line is missing in status")?;
        Ok(line.trim_end_matches("kB").trim().parse::<f64>()? / 1024.0)
    };
    Ok((of("VmRSS:")?, of("VmHWM:")?))
}

/// Open descriptors.
pub fn descriptors(pid: u32) -> anyhow::Result<usize> {
    Ok(fs::read_dir(format!("/proc/{pid}/fd"))?.count())
}

//! Tables: what was seen, and what was aimed at.

use std::fmt::Write;

use lazyload_bench_common::Spread;

use crate::load::Seen;
use crate::measure::{Measured, RowMeasured};
use crate::peers::Peer;

fn milliseconds(measured: &Measured, of: impl Fn(&Seen) -> f64) -> String {
    Spread::of(measured.rounds.iter().map(|seen| of(seen) / 1000.0)).fine()
}

fn per_cpu_second(seen: &Seen) -> f64 {
    seen.requests as f64 / seen.cpu_seconds
}

fn failed(measured: &Measured) -> usize {
    measured.rounds.iter().map(|seen| seen.failed).sum()
}

/// Both tables. Writing to a String does not fail.
pub fn markdown(rows: &[RowMeasured]) -> String {
    let mut text = String::new();
    let _ = aims(&mut text, rows);
    let _ = figures(&mut text, rows);
    text
}

/// Requests per CPU-second, ours divided by Envoy's: the median of the rounds.
pub fn to_envoy(row: &RowMeasured) -> Option<f64> {
    let of = |peer: Peer| row.peers.iter().find(|measured| measured.peer == peer);
    let (ours, envoy) = (of(Peer::Ours)?, of(Peer::Envoy)?);
    let ratios =
        ours.rounds.iter().zip(&envoy.rounds).map(|(ours, envoy)| per_cpu_second(ours) / per_cpu_second(envoy));
    Some(Spread::of(ratios).median)
}

/// Ours against Envoy, round by round: medians of the ratios.
fn aims(text: &mut String, rows: &[RowMeasured]) -> std::fmt::Result {
    writeln!(text, "| load | requests per CPU-second | aim | p50 | p99 (aim 1.00) | p99.9 | memory (aim 0.20) |")?;
    writeln!(text, "|---|---|---|---|---|---|---|")?;
    for row in rows {
        let of = |peer: Peer| row.peers.iter().find(|measured| measured.peer == peer);
        let (Some(ours), Some(envoy)) = (of(Peer::Ours), of(Peer::Envoy)) else {
            continue;
        };
        let ratio = |of: fn(&Seen) -> f64| {
            Spread::of(ours.rounds.iter().zip(&envoy.rounds).map(|(ours, envoy)| of(ours) / of(envoy)))
        };
        let aim = if row.row.bytes < 1024 { 2.0 } else { 1.5 };
        let (cpu, p99, memory) = (ratio(per_cpu_second), ratio(|seen| seen.p99_us), ratio(|seen| seen.memory_mib));
        let mark = |met: bool| if met { "" } else { " **missed**" };
        writeln!(
            text,
            "| {} | {}{} | {aim} | {} | {}{} | {} | {}{} |",
            row.name,
            cpu.fine(),
            mark(cpu.median >= aim),
            ratio(|seen| seen.p50_us).fine(),
            p99.fine(),
            mark(p99.median <= 1.0),
            ratio(|seen| seen.p999_us).fine(),
            memory.fine(),
            mark(memory.median <= 0.2),
        )?;
    }
    writeln!(text)
}

fn figures(text: &mut String, rows: &[RowMeasured]) -> std::fmt::Result {
    writeln!(
        text,
        "| load | proxy | requests/s | requests per CPU-second | CPU µs per request | p50 ms | p99 ms | p99.9 ms | peak MiB | descriptors | failed |"
    )?;
    writeln!(text, "|---|---|---|---|---|---|---|---|---|---|---|")?;
    for row in rows {
        for measured in &row.peers {
            let spread = |of: fn(&Seen) -> f64| Spread::of(measured.rounds.iter().map(of));
            let is_proxy = measured.peer != Peer::Direct;
            let if_proxy = |figure: String| if is_proxy { figure } else { "–".to_owned() };
            writeln!(
                text,
                "| {} | {} | {} | {} | {} | {} | {} | {} | {} | {} | {} |",
                row.name,
                measured.peer.name(),
                spread(|seen| seen.requests as f64 / seen.seconds).whole(),
                if_proxy(spread(per_cpu_second).whole()),
                if_proxy(format!("{:.1}", spread(|seen| 1e6 / per_cpu_second(seen)).median)),
                milliseconds(measured, |seen| seen.p50_us),
                milliseconds(measured, |seen| seen.p99_us),
                milliseconds(measured, |seen| seen.p999_us),
                if_proxy(format!("{:.0}", spread(|seen| seen.memory_mib).highest)),
                if_proxy(format!("{:.0}", spread(|seen| seen.descriptors as f64).highest)),
                failed(measured),
            )?;
        }
    }
    Ok(())
}

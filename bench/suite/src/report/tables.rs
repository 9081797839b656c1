//! Tables in Markdown.

use lazyload_bench_common::{Spread, quantile};

use crate::churn::{Churned, Reaction, Steady};
use crate::cluster::Writes;
use crate::cold::{Cold, Start};
use crate::direct::Direct;
use crate::ingest::{Ingested, Rate};
use crate::istio::{Burst, Mesh, Saved};

fn mark(met: bool) -> &'static str {
    if met { "" } else { " **missed**" }
}

fn writes(writes: &Writes) -> String {
    if writes.is_empty() {
        return "none".to_owned();
    }
    let each: Vec<String> = writes.iter().map(|(what, count)| format!("{count} {what}")).collect();
    each.join(", ")
}

/// Cold start and memory.
pub fn cold(sizes: &[Cold]) -> String {
    let mut text = "\n## Cold start\n\n| Services (pods) | rounds | in one step, s | loop, s | ratio (aim 1.25) | in stages: each there, s | in its last form, s | CPU s, in stages | resident MiB (aim 250 at 10,000) | at most |\n|---|---|---|---|---|---|---|---|---|---|\n".to_owned();
    for size in sizes {
        let of = |starts: &[Start], figure: fn(&Start) -> f64| Spread::of(starts.iter().map(figure));
        let ratio = size.to_the_loop();
        let memory = of(&size.lossless, |start| start.memory_mib);
        text += &format!(
            "| {} ({}) | {} | {} | {} | {}{} | {} | {} | {} | {}{} | {} |\n",
            size.services,
            size.pods,
            size.apply_loop.len(),
            of(&size.fastest, |start| start.settled_seconds).digits(1),
            Spread::of(size.apply_loop.iter().copied()).digits(1),
            ratio.fine(),
            mark(ratio.median <= 1.25),
            of(&size.lossless, |start| start.seconds).digits(1),
            of(&size.lossless, |start| start.settled_seconds).digits(1),
            of(&size.lossless, |start| start.cpu_seconds).digits(1),
            memory.whole(),
            mark(memory.median <= 250.0),
            of(&size.lossless, |start| start.peak_mib).whole(),
        );
    }
    text += "\n| Services | writes in one step | writes in stages | writes of the loop | then, idle |\n|---|---|---|---|---|\n";
    for size in sizes {
        text += &format!(
            "| {} | {} | {} | {} | {} in {} s, {:.2} s of CPU |\n",
            size.services,
            writes(&size.fastest_writes),
            writes(&size.lossless_writes),
            writes(&size.loop_writes),
            writes(&size.idle_writes),
            size.idle_seconds,
            size.idle_cpu_seconds,
        );
    }
    text
}

/// A mesh that changes.
pub fn churn(churned: &Churned) -> String {
    let mut text = format!(
        "\n## Churn\n\n{} Services, {} pods.\n\n| what changed | pods replaced | Services changed | seconds | writes | CPU s | resident MiB |\n|---|---|---|---|---|---|---|\n",
        churned.services, churned.pods
    );
    let steady = |name: &str, steady: &Steady| {
        format!(
            "| {name} | {} | {} | {:.0} | {}{} | {:.2} | {:.0} |\n",
            steady.pods_replaced,
            steady.services_changed,
            steady.seconds,
            writes(&steady.writes),
            mark(steady.writes.is_empty()),
            steady.cpu_seconds,
            steady.memory_mib,
        )
    };
    text += &steady("5 % of the pods and 1 % of the Services each second", &churned.steady);
    text += &steady("all pods restart", &churned.rolling);
    text += "\n| from a new Service to its | ours p50, p99 ms | a script that writes at once p50, p99 ms | p99 beyond it (aim 50) |\n|---|---|---|---|\n";
    for (name, of) in [("fence", (|it| it.fence_ms) as fn(&Reaction) -> f64), ("Sidecar", |it| it.sidecar_ms)] {
        let all = |reactions: &[Reaction]| reactions.iter().map(of).collect::<Vec<f64>>();
        let (ours, script) = (all(&churned.ours), all(&churned.script));
        let beyond = quantile(&ours, 0.99) - quantile(&script, 0.99);
        text += &format!(
            "| {name} | {:.1}, {:.1} | {:.1}, {:.1} | {beyond:.1}{} |\n",
            quantile(&ours, 0.5),
            quantile(&ours, 0.99),
            quantile(&script, 0.5),
            quantile(&script, 0.99),
            mark(beyond <= 50.0),
        );
    }
    text
}

/// Access logs.
pub fn ingest(ingested: &Ingested) -> String {
    let thousands = |rates: &[Rate]| Spread::of(rates.iter().map(|rate| rate.per_cpu_second() / 1000.0));
    let mut text = format!(
        "\n## Access logs\n\nEntries of {} bytes, {} in a message.\n\n| what | thousand entries for each second of CPU | aim | a server that decodes with prost | ratio | most MiB |\n|---|---|---|---|---|---|\n",
        ingested.entry_bytes,
        crate::access_log::IN_A_MESSAGE
    );
    let memory = |rates: &[Rate]| Spread::of(rates.iter().map(|rate| rate.memory_mib)).highest;
    for known in &ingested.known {
        let ours = thousands(&known.ours);
        text += &format!(
            "| known pairs, streams: {} | {}{} | 1500 | {} | {} | {:.0} |\n",
            known.streams,
            ours.whole(),
            mark(ours.median >= 1500.0),
            thousands(&known.prost).whole(),
            known.to_prost().fine(),
            memory(&known.ours),
        );
    }
    let new = thousands(&ingested.new);
    text += &format!(
        "| new pairs, with what is written of them | {}{} | 300 | – | – | {:.0} |\n",
        new.whole(),
        mark(new.median >= 300.0),
        memory(&ingested.new)
    );
    text += &format!(
        "\n| a first call is in its fence's status | p50, p90, p99 ms, of {} |\n|---|---|\n",
        ingested.quiet_ms.len()
    );
    let rate = ingested.flood / 1000.0;
    for (what, took) in [
        ("on a quiet machine".to_owned(), &ingested.quiet_ms),
        ("while eight streams of others flood another process, the decoding server".to_owned(), &ingested.busy_ms),
        (format!("while they flood the controller, {rate:.0} thousand entries each second"), &ingested.flooded_ms),
    ] {
        let of = |quantile_of| quantile(took, quantile_of);
        text += &format!("| {what} | {:.1}, {:.1}, {:.1} |\n", of(0.5), of(0.9), of(0.99));
    }
    let more = quantile(&ingested.flooded_ms, 0.5) - quantile(&ingested.busy_ms, 0.5);
    text += &format!(
        "\nThe flood of others costs a first call {more:.1} ms beyond what a machine so busy costs it (aim: 10 at most{}).\n",
        if more <= 10.0 { "" } else { ", **missed**" }
    );
    text
}

/// What a mesh saves.
pub fn saved(meshes: &[Saved]) -> String {
    let mut text = "\n## What it saves\n".to_owned();
    for mesh in meshes {
        text += &format!(
            "\n{} Services with {} pods, each calls {} others; means over {} proxies.\n\n| | without | with | share left |\n|---|---|---|---|\n",
            mesh.services, mesh.pods, mesh.calls, mesh.sample
        );
        let rows: [(&str, fn(&Mesh) -> f64, usize); 8] = [
            ("clusters of a proxy", |it| it.clusters, 0),
            ("endpoint resources", |it| it.endpoints, 0),
            ("route configurations", |it| it.routes, 0),
            ("KiB of configuration", |it| it.config_bytes / 1024.0, 0),
            ("MiB that Envoy has allocated", |it| it.envoy_mib, 1),
            ("KiB pushed to a proxy while endpoints change", |it| it.pushed_bytes / 1024.0, 0),
            ("istiod's CPU s meanwhile", |it| it.cpu_seconds, 2),
            ("of it making pushes, s", |it| it.push_seconds, 2),
        ];
        for (name, of, digits) in rows {
            let (without, with) = (of(&mesh.without), of(&mesh.with));
            text += &format!("| {name} | {without:.digits$} | {with:.digits$} | {:.2} |\n", with / without);
        }
    }
    text
}

/// What learning costs istiod.
pub fn bursts(bursts: &[Burst]) -> String {
    if bursts.is_empty() {
        return String::new();
    }
    let mut text = "\n## What learning costs istiod\n\n| fences that learn | hosts each, at once | rounds of pushing | answers to proxies | istiod's CPU s | writes of Sidecars |\n|---|---|---|---|---|---|\n".to_owned();
    for burst in bursts {
        text += &format!(
            "| {} | {} | {} | {} | {} | {} |\n",
            burst.fences,
            burst.hosts,
            Spread::of(burst.contexts.iter().copied()).whole(),
            Spread::of(burst.pushes.iter().copied()).whole(),
            Spread::of(burst.cpu_seconds.iter().copied()).fine(),
            Spread::of(burst.sidecar_writes.iter().map(|count| *count as f64)).whole(),
        );
    }
    text
}

/// From the fallback to the direct way.
pub fn direct(direct: &Direct) -> String {
    let mut text = "\n## Time to direct\n\nFrom the first request to an unknown host to the first direct one, on a real mesh, in stages; probes every 20 ms. The floor is a script that changes a Sidecar in one step at the first answer.\n\n| what is called | probed | ours p50, p99 ms | floor p50, p99 ms | ratio of p50 (aim 2.5) | of p99 (aim 5) | requests lost, ours and floor |\n|---|---|---|---|---|---|---|\n".to_owned();
    for kind in &direct.kinds {
        let (ours, floor) = (&kind.ours, &kind.floor);
        let (middle, tail) = (ours.median() / floor.median(), ours.p99() / floor.p99());
        text += &format!(
            "| {} | {} | {:.0}, {:.0} | {:.0}, {:.0} | {middle:.2}{} | {tail:.2}{} | {}, {} |\n",
            kind.name,
            ours.ms.len(),
            ours.median(),
            ours.p99(),
            floor.median(),
            floor.p99(),
            mark(middle <= 2.5),
            mark(tail <= 5.0),
            ours.requests_lost,
            floor.requests_lost,
        );
    }
    text
}

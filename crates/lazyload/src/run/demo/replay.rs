//! An access log, line by line, into a controller: what was learned from which caller, and what was left out and why.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use lazyload_logic::observation::{Call, call_of, parse_line};
use lazyload_logic::types::{Kind, Object};

use super::settle::Desk;
use crate::folder::Folder;

/// What became of the lines.
#[derive(Debug, Default)]
pub struct Replay {
    lines: usize,
    calls: usize,
    left_out: BTreeMap<String, Lines>,
    unknown_callers: BTreeMap<IpAddr, Lines>,
    learned: Domains,
}

/// Some lines of the log.
#[derive(Debug)]
struct Lines {
    count: usize,
    first: usize,
    /// What the first one is about.
    detail: String,
}

/// Domains by fence.
type Domains = BTreeMap<String, BTreeSet<String>>;

/// Feeds the log to the controller and writes what follows.
pub fn replay(desk: &mut Desk, folder: &Folder, text: &str) -> Replay {
    let before = domains(folder);
    let mut replay = Replay::default();
    for (number, line) in (1..).zip(text.lines()) {
        if !line.trim().is_empty() {
            replay.line(desk, number, line);
        }
    }
    desk.settle();
    for (fence, hosts) in domains(folder) {
        let known = before.get(&fence);
        let new: BTreeSet<String> =
            hosts.into_iter().filter(|host| known.is_none_or(|known| !known.contains(host))).collect();
        if !new.is_empty() {
            replay.learned.insert(fence, new);
        }
    }
    replay
}

fn domains(folder: &Folder) -> Domains {
    let fences = folder.objects(Kind::Fence).into_iter().filter_map(|object| match object {
        Object::Fence(fence) => Some((fence.id.to_string(), fence.status.domains.into_keys().collect())),
        _ => None,
    });
    fences.collect()
}

impl Replay {
    fn line(&mut self, desk: &mut Desk, number: usize, line: &str) {
        self.lines += 1;
        let call = match parse_line(line).map(|line| call_of(&line)) {
            Ok(Ok(call)) => call,
            Ok(Err(reason)) => return self.leave_out(number, reason.name(), String::new()),
            Err(error) => return self.leave_out(number, "no_access_log_line", error.to_string()),
        };
        if desk.state().index().find_caller(call.caller, None).is_err() {
            let of_caller = self.unknown_callers.entry(call.caller);
            of_caller.or_insert(Lines { count: 0, first: number, detail: String::new() }).count += 1;
            return;
        }
        self.call(desk, number, call);
    }

    fn call(&mut self, desk: &mut Desk, number: usize, call: Call) {
        self.calls += 1;
        let told = format!("{} called {}", call.caller, call.authority);
        let before = desk.state().learned().clone();
        desk.called(call);
        let after = desk.state().learned().clone();
        if before == after {
            // It waits for a Service or a fence that speaks for its caller; here nothing more comes.
            return self.leave_out(number, "caller_without_service", told);
        }
        for (reason, count) in after.skipped {
            if before.skipped.get(reason) != Some(&count) {
                self.leave_out(number, reason, told.clone());
            }
        }
    }

    fn leave_out(&mut self, number: usize, reason: &str, detail: String) {
        let lines = self.left_out.entry(reason.to_owned()).or_insert(Lines { count: 0, first: number, detail });
        lines.count += 1;
    }

    /// For people, line by line.
    pub fn summary(&self, log: &str, directory: &str) -> Vec<String> {
        let mut text =
            vec![format!("{log}: {}, {} of known callers", counted(self.lines, "line"), counted(self.calls, "call"))];
        for (reason, lines) in &self.left_out {
            let detail = if lines.detail.is_empty() { String::new() } else { format!(" ({})", lines.detail) };
            text.push(format!(
                "  left out: {reason}, {}, first in line {}{detail}",
                counted(lines.count, "line"),
                lines.first
            ));
        }
        if !self.unknown_callers.is_empty() {
            text.push("  unknown callers, whose calls teach nothing:".to_owned());
            for (address, lines) in &self.unknown_callers {
                text.push(format!("    {address}, {}, first in line {}", counted(lines.count, "call"), lines.first));
            }
            text.push(format!(
                "  no Pod with such a status.podIP is in the folder. To have all: kubectl get \
                 svc,pods,endpointslices,virtualservices,servicefences,ns -A -o yaml > {directory}/cluster.yaml"
            ));
        }
        if self.learned.is_empty() {
            text.push("  learned: nothing new".to_owned());
        }
        for (fence, hosts) in &self.learned {
            let hosts: Vec<&str> = hosts.iter().map(String::as_str).collect();
            text.push(format!("  learned: {fence} calls {}", hosts.join(", ")));
        }
        text
    }
}

/// `1 line`, `2 lines`.
pub fn counted(count: usize, what: &str) -> String {
    format!("{count} {what}{}", if count == 1 { "" } else { "s" })
}

//! What a SlimeBoot's status says. Source: contract 1.8.

use k8s_openapi::jiff::Timestamp;
use serde_json::{Value, json};

use super::News;
use super::assess::{Assessment, Stop};
use super::memory::Memory;
use super::slime_boot::Boot;
use crate::boot::Installation;

/// Names that are listed of many.
const NAMED: usize = 3;

/// The operator may not do all that SlimeBoots need.
const MISSING_RIGHTS: &str = "MissingRights";

struct Verdict {
    ready: bool,
    progressing: bool,
    degraded: bool,
    reason: &'static str,
    message: String,
}

/// The status as it should be, and what is new for the user; nothing if it is as it should be.
pub(super) fn status(
    boot: &Boot,
    memory: &Memory,
    seen: &Assessment,
    unix_seconds: i64,
) -> Option<(Value, Option<News>)> {
    let verdict = verdict(boot, seen);
    let now = Timestamp::from_second(unix_seconds).map(|time| time.to_string()).unwrap_or_default();
    let before = |kind: &str| {
        let conditions = boot.status.get("conditions").and_then(Value::as_array);
        conditions.into_iter().flatten().find(|condition| condition.get("type").is_some_and(|it| it == kind))
    };
    let condition = |kind: &str, holds: bool| {
        let status = if holds { "True" } else { "False" };
        let since = before(kind)
            .filter(|before| before.get("status").is_some_and(|it| it == status))
            .and_then(|before| before.get("lastTransitionTime").and_then(Value::as_str))
            .unwrap_or(&now);
        json!({
            "type": kind, "status": status, "reason": verdict.reason, "message": verdict.message,
            "observedGeneration": boot.generation, "lastTransitionTime": since,
        })
    };
    let objects: Vec<Value> = memory
        .inventory
        .iter()
        .map(|(key, uid)| json!({"kind": key.kind().kind, "namespace": key.namespace, "name": key.name, "uid": uid}))
        .collect();
    let mut warnings = boot.reading.as_ref().map(|reading| reading.warnings.clone()).unwrap_or_default();
    warnings.extend(seen.warnings.iter().cloned());
    let mut status = json!({
        "observedGeneration": boot.generation,
        "conditions": [
            condition("Ready", verdict.ready), condition("Progressing", verdict.progressing), condition("Degraded", verdict.degraded),
        ],
        "objects": objects,
        "warnings": warnings,
    });
    if let (Some((ports, left_out)), Value::Object(fields)) = (&seen.ports, &mut status) {
        fields.insert("autoPort".to_owned(), json!({"ports": ports, "leftOut": left_out}));
    }
    // Somebody else's fields are left alone.
    let ours = status.as_object().into_iter().flatten();
    let obsolete = seen.ports.is_none() && boot.status.get("autoPort").is_some();
    if !obsolete && ours.into_iter().all(|(key, value)| boot.status.get(key) == Some(value)) {
        return None;
    }
    let said = before("Ready").is_some_and(|before| {
        before.get("reason").is_some_and(|it| it == verdict.reason)
            && (!verdict.degraded || before.get("message").is_some_and(|it| *it == verdict.message))
    });
    let news = (!said).then(|| News {
        warning: verdict.degraded,
        reason: verdict.reason.to_owned(),
        message: verdict.message.clone(),
    });
    Some((status, news))
}

/// What it means that no global-sidecar is wanted. It is no mistake: another SlimeBoot may install it, or fences list all that they need.
pub(super) fn without_fallback(installation: &Installation) -> Option<String> {
    installation.global_sidecar.is_none().then(|| {
        "component.globalSidecar.enable is not true: hosts that are not in a fence are not learned from access logs, and are reached only as far as the \
         mesh lets unknown hosts pass. Set it to true, or list every host in spec.host of the fences"
            .to_owned()
    })
}

fn verdict(boot: &Boot, seen: &Assessment) -> Verdict {
    let wrong = |reason, message| Verdict { ready: false, progressing: false, degraded: true, reason, message };
    match &seen.stopped {
        Some(Stop::Invalid(message)) => return wrong("Invalid", format!("{message}. Nothing was changed")),
        Some(Stop::Conflict(message)) => return wrong("Conflict", format!("{message}. Nothing was changed")),
        Some(Stop::Unsupported(message)) => {
            return wrong("UnsupportedIstio", format!("{message}. Nothing was changed"));
        }
        Some(Stop::Blind(message)) => return wrong(MISSING_RIGHTS, format!("{message}. Nothing is changed before")),
        None => {}
    }
    if !seen.problems.is_empty() {
        let reason = if seen.occupied { "Occupied" } else { "Failed" };
        return Verdict { progressing: true, ..wrong(reason, some_of(&seen.problems)) };
    }
    let removing = boot.installation().is_none();
    if !seen.waiting.is_empty() {
        let reason = if removing { "Removing" } else { "Waiting" };
        let waiting = some_of(&seen.waiting);
        return lacking(Verdict { ready: false, progressing: true, degraded: false, reason, message: waiting }, seen);
    }
    let (reason, message) = match (removing, boot.leaving) {
        (true, true) => ("Removed", "everything is removed".to_owned()),
        (true, false) => ("NothingToInstall", "no entry of spec.module has enable: true".to_owned()),
        (false, _) => ("Installed", "everything is there and runs".to_owned()),
    };
    lacking(Verdict { ready: !boot.leaving, progressing: false, degraded: false, reason, message }, seen)
}

/// What works goes on, and is ready if it was; but something else may not.
fn lacking(verdict: Verdict, seen: &Assessment) -> Verdict {
    let Some(lacks) = &seen.lacks else { return verdict };
    let message = format!("{lacks}. Besides: {}", verdict.message);
    Verdict { degraded: true, reason: MISSING_RIGHTS, message, ..verdict }
}

fn some_of(lines: &[String]) -> String {
    let named: Vec<&str> = lines.iter().take(NAMED).map(String::as_str).collect();
    let more = lines.len().saturating_sub(NAMED);
    let more = if more > 0 { format!("; and {more} more") } else { String::new() };
    format!("{}{more}", named.join("; "))
}

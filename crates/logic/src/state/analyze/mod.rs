//! Owns what is wrong, or will be, in a mesh with fences: findings with a code that stays, what it means and what to do.
//! Never changes anything; conditions of fences tell the same while a controller runs, this needs none.
//! Next: `fences` for each fence and `hosts` for what it depends on, `mesh` for what fences have in common, `ports` for calls without a fallback
//! and `peers` for where they fail, `sidecars` for those of users. The codes are explained in docs/reference/findings.md.

mod fences;
mod hosts;
mod mesh;
mod peers;
mod ports;
mod sidecars;

pub use peers::PeerAuthentications;
use serde::Serialize;

use super::State;
use crate::types::Labels;

/// What is named in a sentence, at most.
const NAMED: usize = 5;

/// One thing that is wrong.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Finding {
    /// How bad it is.
    pub severity: Severity,
    /// What it is; scripts may rely on it.
    pub code: Code,
    /// The object that it is about, `KIND NAMESPACE/NAME`.
    pub object: String,
    /// What is wrong.
    pub message: String,
    /// What to do.
    pub remedy: String,
}

/// How bad something is, the worst first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// Requests fail, or will, or a fence has no effect.
    Error,
    /// Something is not as its user thinks.
    Warning,
    /// Worth knowing.
    Info,
}

impl Severity {
    /// One word.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Error => "error",
            Self::Warning => "warning",
            Self::Info => "info",
        }
    }
}

macro_rules! codes {
    ($($(#[$doc:meta])* $name:ident = $code:literal, $severity:ident;)+) => {
        /// What is found. A code never changes its meaning.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
        pub enum Code {
            $($(#[$doc])* #[serde(rename = $code)] $name,)+
        }

        impl Code {
            /// Every code.
            pub const ALL: &'static [Self] = &[$(Self::$name,)+];

            /// As it is printed.
            #[must_use]
            pub fn name(self) -> &'static str {
                match self { $(Self::$name => $code,)+ }
            }

            fn severity(self) -> Severity {
                match self { $(Self::$name => Severity::$severity,)+ }
            }
        }
    };
}

codes! {
    /// There are fences, and no global-sidecar serves what they hide.
    NoGlobalSidecar = "LZ001", Error;
    /// A setting cannot be used and is left out.
    BadSetting = "LZ002", Warning;
    /// A Service should have a fence, and has none.
    NotFenced = "LZ003", Warning;
    /// Every Sidecar of a fence is away for now, of a namespace or of the mesh.
    BreakGlass = "LZ004", Warning;
    /// A port that callers may use is not served by the global-sidecar.
    PortWithoutFallback = "LZ005", Warning;
    /// The same, and its pods refuse what would pass the mesh by.
    PortRefused = "LZ006", Error;
    /// A Sidecar of the fence's name is somebody else's.
    ForeignSidecar = "LZ101", Error;
    /// Another Sidecar selects the same pods.
    RivalSidecar = "LZ102", Error;
    /// The pods of the fence are not known.
    UnknownPods = "LZ103", Error;
    /// No pod is selected.
    NoPods = "LZ104", Info;
    /// The fence is outside of the namespaces that a global-sidecar serves.
    WithoutFallback = "LZ105", Error;
    /// Part of the spec cannot be used.
    BadSpec = "LZ106", Warning;
    /// A dependency that should be in the Sidecar is not.
    Missing = "LZ107", Warning;
    /// Hosts that the mesh does not know go through the global-sidecar for good.
    External = "LZ108", Info;
    /// The first call of a host may be denied.
    FirstCallsDenied = "LZ109", Warning;
    /// A fence that is switched off.
    Disabled = "LZ110", Info;
    /// A fence whose mode is that it has no Sidecar.
    NotEnforced = "LZ111", Info;
    /// Another fence selects some of the same pods, and neither rules the other.
    SharedPods = "LZ112", Warning;
    /// A declared host is no Service's.
    UnknownHost = "LZ113", Warning;
    /// A learned host is no Service's any more.
    GoneHost = "LZ114", Info;
    /// Several users' Sidecars of a namespace have no selector.
    ManyDefaults = "LZ201", Warning;
    /// Two users' Sidecars select the same pods.
    SidecarsClash = "LZ202", Warning;
    /// A user's Sidecar selects no pod.
    SidecarWithoutPods = "LZ203", Info;
    /// A user's Sidecar imports what is not there.
    SidecarUnknownHost = "LZ204", Warning;
    /// A user's Sidecar in the root namespace has a selector.
    SelectorInRoot = "LZ205", Warning;
}

impl State {
    /// Everything that is found, the worst first.
    #[must_use]
    pub fn analyze(&self, peers: &PeerAuthentications, unix_seconds: i64) -> Vec<Finding> {
        let mut findings = self.of_the_mesh();
        self.of_ports(peers, &mut findings);
        self.of_users_sidecars(&mut findings);
        for fence in self.index.fences().filter(|fence| !fence.deleting) {
            self.of_fence(fence, unix_seconds, &mut findings);
            self.of_hosts(fence, &mut findings);
            self.of_shared_pods(fence, &mut findings);
        }
        findings.sort();
        findings
    }
}

fn finding(code: Code, object: String, message: String, remedy: impl Into<String>) -> Finding {
    Finding { severity: code.severity(), code, object, message, remedy: remedy.into() }
}

fn some_of(names: &[&str]) -> String {
    let named = names.iter().take(NAMED).copied().collect::<Vec<_>>().join(", ");
    let more = names.len().saturating_sub(NAMED);
    if more == 0 { named } else { format!("{named} and {more} more") }
}

fn pairs(labels: &Labels) -> String {
    labels.iter().map(|(key, value)| format!("{key}={value}")).collect::<Vec<_>>().join(",")
}

#[cfg(test)]
mod tests;

//! The Sidecar that a fence would have, for those who look at it before.

use std::collections::BTreeSet;

use serde_json::Value;

use super::State;
use crate::fence::sidecar::{sidecar_spec, workload_labels};
use crate::fence::switch::{Form, next_port};
use crate::manifest;
use crate::types::{Fence, Labels};

impl State {
    /// The Sidecar that follows from what a fence's status tells, as a user would write it.
    ///
    /// # Errors
    /// Why there would be none, in a sentence.
    pub fn recommended(&self, fence: &Fence) -> Result<Value, String> {
        if !fence.spec.enable {
            return Err("spec.enable is not true, so that it would have no Sidecar".to_owned());
        }
        let Some(workload) = workload_labels(&self.settings, fence, &self.index) else {
            return Err(format!("its pods are not known: there is no Service {} with a selector", fence.id));
        };
        let hosts = self.recommended_hosts(&fence.id);
        let hosts: BTreeSet<&str> = hosts.iter().map(String::as_str).collect();
        let spec = sidecar_spec(&Form::settled(hosts), next_port(None), &workload);
        Ok(manifest::sidecar(&fence.id, None, &Labels::new(), &spec, None))
    }
}

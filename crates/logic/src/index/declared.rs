//! Every host that the mesh declares, with what it costs a proxy that knows it.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::ops::{Add, AddAssign};

use serde::Serialize;

use super::Index;
use super::hosts::is_exported;
use crate::fence::completion::service_host;
use crate::types::{Labels, ObjectRef};

/// What a proxy has to keep.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Load {
    /// Outbound clusters: one for each port of a host.
    pub clusters: usize,
    /// Endpoints of these clusters.
    pub endpoints: usize,
}

impl Add for Load {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self { clusters: self.clusters + other.clusters, endpoints: self.endpoints + other.endpoints }
    }
}

impl AddAssign for Load {
    fn add_assign(&mut self, other: Self) {
        *self = *self + other;
    }
}

/// A host of a Service or of a ServiceEntry.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Declared<'a> {
    /// The host, which may be a wildcard.
    pub host: Cow<'a, str>,
    /// Where it is declared.
    pub namespace: &'a str,
    pub(super) export_to: &'a [String],
    /// What it costs.
    pub load: Load,
}

impl Declared<'_> {
    /// Whether callers of a namespace may know it.
    #[must_use]
    pub fn is_exported_to(&self, namespace: &str) -> bool {
        is_exported(self.export_to, self.namespace, namespace)
    }
}

impl Index {
    /// Every host that Services and ServiceEntries declare. Every pod that a Service selects counts as an endpoint, ready or not.
    pub fn declared(&self) -> impl Iterator<Item = Declared<'_>> {
        let mut foreign: BTreeMap<&ObjectRef, usize> = BTreeMap::new();
        for slice in self.callers.slices() {
            *foreign.entry(&slice.service).or_default() += slice.addresses.len();
        }
        let services = self.services().map(move |service| {
            let pods = self.count_pods(&service.id.namespace, &service.selector);
            let endpoints = pods + foreign.get(&service.id).copied().unwrap_or_default();
            Declared {
                host: service_host(&service.id).into(),
                namespace: &service.id.namespace,
                export_to: &[],
                load: Load { clusters: service.ports, endpoints: endpoints * service.ports },
            }
        });
        services.chain(self.registry.declared())
    }

    /// How many pods of a namespace a selector selects.
    #[must_use]
    pub fn count_pods(&self, namespace: &str, selector: &Labels) -> usize {
        self.workloads.count(namespace, selector)
    }
}

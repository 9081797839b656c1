//! Owns what is expected of a SlimeBoot: golden files, refusals, and the order of the objects for any settings.
//! Never touches a cluster.
//! Next: `golden/CLAIM/given.yaml` and `expect.yaml`; UPDATE_GOLDEN=1 rewrites the latter.

#[cfg(test)]
mod given;
#[cfg(test)]
mod golden;
#[cfg(test)]
mod network;
#[cfg(test)]
mod order;
#[cfg(test)]
mod refusals;

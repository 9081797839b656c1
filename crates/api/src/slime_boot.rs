//! `SlimeBoot`: the installation as its user writes it.
//! Source: seed "Install-and-Use", contract 1.1–1.8.

//! dhow as its users run it: the binary, real registries and real tools on this machine. A tool
//! that is not installed skips its tests with a word, and fails them under `CI=true`.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod archives;
mod authority;
mod canary;
mod compression;
mod cutter;
mod dhow;
mod docker_engine;
mod docker_faults;
mod docker_hosts;
mod doctor;
mod documents;
mod engine;
mod faults;
mod four_ways;
mod login;
mod matrix;
mod memory;
mod mirrors;
mod openshift;
mod podman;
mod processes;
mod proxies;
mod registry;
mod resume;
mod samples;
mod second_opinions;
mod sif;
mod storage;
mod sync;
mod sync_belongings;
mod sync_choices;
mod sync_manual;
mod sync_referrers;
mod sync_shards;
mod tls;
mod tools;
mod walkthrough;
mod wire;

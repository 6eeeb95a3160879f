//! `cargo xtask simulate`: what mirroring a registry costs, in virtual time and without a socket.
//!
//! ```text
//! arguments ─▶ workload (tags, blobs) ─▶ world: events in the order of time ─▶ tables
//!                                        shards: lists ─▶ images in work ─▶ requests ─▶ limits
//! ```
//!
//! The requests are those of `dhow sync` between two registries. What is left out: connections,
//! tokens, the time a registry thinks, failures, and that dhow gives up waiting after some tries.
//! What is estimated here is no measurement; `cargo xtask bench` measures.

mod arguments;
mod clock;
mod limit;
mod request;
mod shard;
mod table;
mod workload;
mod world;

use arguments::{Arguments, USAGE};
use world::World;

/// Plays what the arguments describe and prints what it costs.
pub(crate) fn run(words: &[String]) -> Result<(), String> {
    if words.iter().any(|word| word == "--help") {
        println!("{USAGE}");
        return Ok(());
    }
    let arguments = Arguments::parse(words)?;
    let costs = World::play(&arguments);
    println!("{}", table::show(&arguments, &costs));
    Ok(())
}

//! Writes the seeds of every target into the corpus, where the fuzzer begins:
//! `cargo run -p millrace-fuzz --bin seeds -- fuzz/corpus [TARGET...]`.
//! `fuzz/run` does it; minimising keeps those that still say something.

use std::{
    env, fs,
    hash::{DefaultHasher, Hash, Hasher},
    io,
    path::Path,
};

use millrace_fuzz::TARGETS;

fn main() -> io::Result<()> {
    let mut arguments = env::args().skip(1);
    let corpus = arguments.next().unwrap_or_else(|| "fuzz/corpus".to_owned());
    let wanted: Vec<String> = arguments.collect();
    for target in TARGETS {
        if !wanted.is_empty() && !wanted.iter().any(|name| name == target.name) {
            continue;
        }
        let folder = Path::new(&corpus).join(target.name);
        fs::create_dir_all(&folder)?;
        for seed in (target.seeds)() {
            let mut hasher = DefaultHasher::new();
            seed.hash(&mut hasher);
            fs::write(folder.join(format!("{:016x}", hasher.finish())), &seed)?;
        }
    }
    Ok(())
}
